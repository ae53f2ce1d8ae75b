//! Samples as a Parquet file: the columns, and writing them a row group at a time.
//!
//! Kinds, directions and families are words, times are UTC timestamps in nanoseconds, marks are the whole ToS byte
//! (`tos_sent >> 2` is the DSCP, `tos_sent & 3` the ECN code point), so that DuckDB, Polars and pandas need no key to it.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use model::{Sample, Tos, WorkerName};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

use crate::manifest::Extent;
use crate::rows::time_of;

/// In this order in every format that is written.
pub(crate) const COLUMNS: [&str; 13] = [
    "worker",
    "session",
    "sequence",
    "kind",
    "direction",
    "family",
    "tos_sent",
    "tos_received",
    "sent_at_ns",
    "received_at_ns",
    "ttl",
    "size",
    "flags",
];

const SCHEMA: &str = "message sample {
    REQUIRED BYTE_ARRAY worker (STRING);
    REQUIRED INT32 session (INTEGER(32, false));
    REQUIRED INT32 sequence (INTEGER(32, false));
    REQUIRED BYTE_ARRAY kind (STRING);
    REQUIRED BYTE_ARRAY direction (STRING);
    REQUIRED BYTE_ARRAY family (STRING);
    REQUIRED INT32 tos_sent (INTEGER(8, false));
    OPTIONAL INT32 tos_received (INTEGER(8, false));
    REQUIRED INT64 sent_at_ns (TIMESTAMP(NANOS, true));
    OPTIONAL INT64 received_at_ns (TIMESTAMP(NANOS, true));
    OPTIONAL INT32 ttl (INTEGER(8, false));
    REQUIRED INT32 size (INTEGER(16, false));
    REQUIRED INT32 flags (INTEGER(16, false));
}";

/// Few distinct values each; the others are delta encoded.
const DICTIONARY: [&str; 9] =
    ["worker", "kind", "direction", "family", "tos_sent", "tos_received", "ttl", "size", "flags"];

/// Bounds the memory of writing and reading: about 50 bytes a row and a few megabytes of encoder.
pub(crate) const ROW_GROUP_ROWS: usize = 32_768;

pub(crate) fn schema() -> Result<TypePtr> {
    static SCHEMA_TYPE: OnceLock<TypePtr> = OnceLock::new();
    if let Some(schema) = SCHEMA_TYPE.get() {
        return Ok(Arc::clone(schema));
    }
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    Ok(Arc::clone(SCHEMA_TYPE.get_or_init(|| schema)))
}

fn properties() -> Result<WriterProperties> {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("netlat ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_dictionary_enabled(false);
    for column in COLUMNS {
        let path = ColumnPath::from(column);
        builder = if DICTIONARY.contains(&column) {
            builder.set_column_dictionary_enabled(path, true)
        } else {
            builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
        };
    }
    Ok(builder.build())
}

/// One row group's worth of samples by column.
#[derive(Default)]
struct Columns {
    worker: Vec<u32>,
    session: Vec<i32>,
    sequence: Vec<i32>,
    kind: Vec<&'static str>,
    direction: Vec<&'static str>,
    family: Vec<&'static str>,
    tos_sent: Vec<i32>,
    tos_received: Vec<Option<i32>>,
    sent_at: Vec<i64>,
    received_at: Vec<Option<i64>>,
    ttl: Vec<Option<i32>>,
    size: Vec<i32>,
    flags: Vec<i32>,
}

impl Columns {
    fn push(&mut self, worker: u32, sample: &Sample) {
        self.worker.push(worker);
        // Parquet's unsigned integers are signed ones with the same bits.
        self.session.push(sample.session.0 as i32);
        self.sequence.push(sample.sequence as i32);
        self.kind.push(sample.kind.name());
        self.direction.push(sample.direction.name());
        self.family.push(sample.family.name());
        self.tos_sent.push(sample.tos_sent.byte().into());
        self.tos_received.push(sample.tos_received.map(|tos: Tos| tos.byte().into()));
        self.sent_at.push(sample.sent_at.0);
        self.received_at.push(sample.received_at.map(|at| at.0));
        self.ttl.push(sample.ttl.map(i32::from));
        self.size.push(sample.size.into());
        self.flags.push(sample.flags.0.into());
    }
}

/// Writes samples, in the order in which they come, as one Parquet file.
pub(crate) struct SegmentWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Columns,
    workers: Vec<WorkerName>,
    extent: Extent,
}

impl<W: Write + Send> SegmentWriter<W> {
    pub(crate) fn new(out: W) -> Result<SegmentWriter<W>> {
        Ok(SegmentWriter {
            file: SerializedFileWriter::new(out, schema()?, Arc::new(properties()?))?,
            columns: Columns::default(),
            workers: Vec::new(),
            extent: Extent { rows: 0, min_time_ns: i64::MAX, max_time_ns: i64::MIN },
        })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.extent.rows
    }

    pub(crate) fn push(&mut self, worker: &WorkerName, sample: &Sample) -> Result<()> {
        // Nearly always the latest one.
        let known = self.workers.iter().rposition(|name| name == worker);
        let index = known.unwrap_or_else(|| {
            self.workers.push(worker.clone());
            self.workers.len() - 1
        });
        self.columns.push(index as u32, sample);
        let time = time_of(sample).0;
        self.extent.rows += 1;
        self.extent.min_time_ns = self.extent.min_time_ns.min(time);
        self.extent.max_time_ns = self.extent.max_time_ns.max(time);
        if self.columns.worker.len() == ROW_GROUP_ROWS { self.write_row_group() } else { Ok(()) }
    }

    pub(crate) fn finish(mut self) -> Result<Extent> {
        if !self.columns.worker.is_empty() {
            self.write_row_group()?;
        }
        self.file.finish()?;
        Ok(self.extent)
    }

    fn write_row_group(&mut self) -> Result<()> {
        let columns = &self.columns;
        let names: Vec<ByteArray> = self.workers.iter().map(|name| ByteArray::from(name.as_str())).collect();
        let workers: Vec<ByteArray> = columns.worker.iter().map(|index| names[*index as usize].clone()).collect();
        let mut group = self.file.next_row_group()?;
        required::<_, ByteArrayType>(&mut group, &workers)?;
        drop(workers);
        required::<_, Int32Type>(&mut group, &columns.session)?;
        required::<_, Int32Type>(&mut group, &columns.sequence)?;
        words(&mut group, &columns.kind)?;
        words(&mut group, &columns.direction)?;
        words(&mut group, &columns.family)?;
        required::<_, Int32Type>(&mut group, &columns.tos_sent)?;
        optional::<_, Int32Type>(&mut group, &columns.tos_received)?;
        required::<_, Int64Type>(&mut group, &columns.sent_at)?;
        optional::<_, Int64Type>(&mut group, &columns.received_at)?;
        optional::<_, Int32Type>(&mut group, &columns.ttl)?;
        required::<_, Int32Type>(&mut group, &columns.size)?;
        required::<_, Int32Type>(&mut group, &columns.flags)?;
        group.close()?;
        self.columns = Columns::default();
        self.workers.clear();
        Ok(())
    }
}

fn column<W: Write + Send, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    // `None` only after the schema's last column.
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

pub(crate) fn required<W: Write + Send, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> Result<()> {
    column::<W, T>(group, values, None)
}

pub(crate) fn optional<W: Write + Send, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[Option<T::T>],
) -> Result<()> {
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<T::T> = values.iter().flatten().cloned().collect();
    column::<W, T>(group, &present, Some(&levels))
}

fn words<W: Write + Send>(group: &mut SerializedRowGroupWriter<'_, W>, values: &[&'static str]) -> Result<()> {
    // There are few, and a clone of one is no copy.
    let mut known: Vec<(&'static str, ByteArray)> = Vec::new();
    let mut array = |word: &'static str| match known.iter().find(|(name, _)| *name == word) {
        Some((_, array)) => array.clone(),
        None => {
            known.push((word, ByteArray::from(word)));
            ByteArray::from(word)
        }
    };
    let values: Vec<ByteArray> = values.iter().map(|word| array(word)).collect();
    column::<W, ByteArrayType>(group, &values, None)
}
