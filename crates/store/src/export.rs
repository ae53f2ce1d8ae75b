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
                let count = self.visit(query, &mut |worker, sample| file.push(worker, sample).map_err(failed()))?;
                file.finish().map_err(failed())?;
                count
            }
            ExportFormat::Csv => {
                writeln!(out, "{}", COLUMNS.join(",")).map_err(failed())?;
                self.visit(query, &mut |worker, sample| csv(out, worker, sample).map_err(failed()))?
            }
            ExportFormat::Jsonl => {
                self.visit(query, &mut |worker, sample| json(out, worker, sample).map_err(failed()))?
            }
        };
        out.flush().map_err(failed())?;
        Ok(count)
    }
}

/// A value, or what stands for one that is not there.
struct Or<T>(Option<T>, &'static str);

impl<T: fmt::Display> fmt::Display for Or<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(self.1),
        }
    }
}

// No field of a sample needs quoting in either format: names are DNS labels, words are ours, the rest are integers.

fn csv(out: &mut impl Write, worker: &WorkerName, sample: &Sample) -> std::io::Result<()> {
    writeln!(
        out,
        "{worker},{},{},{},{},{},{},{},{},{},{},{},{}",
        sample.session.0,
        sample.sequence,
        sample.kind,
        sample.direction,
        sample.family,
        sample.tos_sent.byte(),
        Or(sample.tos_received.map(|tos| tos.byte()), ""),
        sample.sent_at.0,
        Or(sample.received_at.map(|at| at.0), ""),
        Or(sample.ttl, ""),
        sample.size,
        sample.flags.0,
    )
}

fn json(out: &mut impl Write, worker: &WorkerName, sample: &Sample) -> std::io::Result<()> {
    writeln!(
        out,
        "{{\"worker\":\"{worker}\",\"session\":{},\"sequence\":{},\"kind\":\"{}\",\"direction\":\"{}\",\
         \"family\":\"{}\",\"tos_sent\":{},\"tos_received\":{},\"sent_at_ns\":{},\"received_at_ns\":{},\"ttl\":{},\
         \"size\":{},\"flags\":{}}}",
        sample.session.0,
        sample.sequence,
        sample.kind,
        sample.direction,
        sample.family,
        sample.tos_sent.byte(),
        Or(sample.tos_received.map(|tos| tos.byte()), "null"),
        sample.sent_at.0,
        Or(sample.received_at.map(|at| at.0), "null"),
        Or(sample.ttl, "null"),
        sample.size,
        sample.flags.0,
    )
}
