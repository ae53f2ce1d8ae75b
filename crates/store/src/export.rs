//! Samples for other programs: one file of Parquet, CSV or JSON lines, whole or not there at all.

use std::fmt;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

use model::sample::UnknownWord;
use model::{Sample, WorkerName};

use crate::directory::Aside;
use crate::error::StoreError;
use crate::query::SampleQuery;
use crate::reader::Reader;
use crate::segment::{COLUMNS, SegmentWriter};

/// All have the same columns, named alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    Parquet,
    /// With a header line; an empty field is what was not observed.
    Csv,
    /// One object a line; `null` is what was not observed.
    Jsonl,
}

impl ExportFormat {
    pub const ALL: [ExportFormat; 3] = [ExportFormat::Parquet, ExportFormat::Csv, ExportFormat::Jsonl];

    pub const fn name(self) -> &'static str {
        match self {
            ExportFormat::Parquet => "parquet",
            ExportFormat::Csv => "csv",
            ExportFormat::Jsonl => "jsonl",
        }
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ExportFormat {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<ExportFormat, UnknownWord> {
        ExportFormat::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| UnknownWord {
            what: "format",
            given: text.to_owned(),
            allowed: "parquet, csv, jsonl",
        })
    }
}

impl Reader {
    /// Writes the query's samples to a file, replacing one that is there; answers with their number. The file is
    /// written aside and put in place once it is whole and on the disk: on an error `out` is as it was.
    pub fn export(&self, format: ExportFormat, query: &SampleQuery, out: &Path) -> Result<u64, StoreError> {
        let aside = Aside::create(out, 0o666)?;
        let count = self.write_samples(format, query, &mut BufWriter::new(aside.file()), out)?;
        aside.place()?;
        Ok(count)
    }

    /// Writes the query's samples to standard output or any other stream; answers with their number.
    pub fn export_to<W: Write + Send>(
        &self,
        format: ExportFormat,
        query: &SampleQuery,
        out: &mut W,
    ) -> Result<u64, StoreError> {
        self.write_samples(format, query, out, Path::new("the export's output"))
    }

    fn write_samples<W: Write + Send>(
        &self,
        format: ExportFormat,
        query: &SampleQuery,
        out: &mut W,
        path: &Path,
    ) -> Result<u64, StoreError> {
        let failed = || StoreError::io("write to", path);
        let count = match format {
            ExportFormat::Parquet => {
                let failed = || StoreError::parquet("write to", path);
                let mut file = SegmentWriter::new(&mut *out).map_err(failed())?;
                let count = self
                    .visit(query, &mut |worker, sample| file.push(worker, sample).map_err(|error| failed()(error)))?;
                file.finish().map_err(failed())?;
                count
            }
            ExportFormat::Csv => {
                writeln!(out, "{}", COLUMNS.join(",")).map_err(failed())?;
                self.visit(query, &mut |worker, sample| csv(out, worker, sample).map_err(|error| failed()(error)))?
            }
            ExportFormat::Jsonl => {
                self.visit(query, &mut |worker, sample| json(out, worker, sample).map_err(|error| failed()(error)))?
            }
        };
        out.flush().map_err(failed())?;
        Ok(count)
    }
}

/// One column of a row. No field needs quoting within itself: names are DNS labels, words are ours, the rest are integers.
enum Field<'a> {
    Word(&'a str),
    Number(i64),
    NotObserved,
}

/// In the order of [`COLUMNS`].
fn fields<'a>(worker: &'a WorkerName, sample: &Sample) -> [Field<'a>; COLUMNS.len()] {
    use Field::{Number, Word};
    let observed = |value: Option<i64>| value.map_or(Field::NotObserved, Number);
    [
        Word(worker.as_str()),
        Number(sample.session.0.into()),
        Number(sample.sequence.into()),
        Word(sample.kind.name()),
        Word(sample.direction.name()),
        Word(sample.family.name()),
        Number(sample.tos_sent.byte().into()),
        observed(sample.tos_received.map(|tos| tos.byte().into())),
        Number(sample.sent_at.0),
        observed(sample.received_at.map(|at| at.0)),
        observed(sample.ttl.map(i64::from)),
        Number(sample.size.into()),
        Number(sample.flags.0.into()),
    ]
}

fn csv(out: &mut impl Write, worker: &WorkerName, sample: &Sample) -> std::io::Result<()> {
    let mut separator = "";
    for field in fields(worker, sample) {
        match field {
            Field::Word(word) => write!(out, "{separator}{word}")?,
            Field::Number(number) => write!(out, "{separator}{number}")?,
            Field::NotObserved => write!(out, "{separator}")?,
        }
        separator = ",";
    }
    writeln!(out)
}

fn json(out: &mut impl Write, worker: &WorkerName, sample: &Sample) -> std::io::Result<()> {
    let mut separator = '{';
    for (column, field) in COLUMNS.iter().zip(fields(worker, sample)) {
        match field {
            Field::Word(word) => write!(out, "{separator}\"{column}\":\"{word}\"")?,
            Field::Number(number) => write!(out, "{separator}\"{column}\":{number}")?,
            Field::NotObserved => write!(out, "{separator}\"{column}\":null")?,
        }
        separator = ',';
    }
    writeln!(out, "}}")
}
