//! Samples back from a Parquet file, skipping the row groups that cannot hold any of the query.

use std::fs::File;
use std::path::Path;

use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

use crate::error::StoreError;
use crate::query::SampleQuery;
use crate::segment::schema;

/// Calls `f` with every sample of the query, in the file's order.
pub(crate) fn visit(
    path: &Path,
    file: File,
    query: &SampleQuery,
    f: &mut dyn FnMut(&WorkerName, &Sample) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = || StoreError::parquet("read the segment", path);
    let reader = SerializedFileReader::new(file).map_err(failed())?;
    let ours = schema().map_err(failed())?;
    // Reading a column as another type than it has would panic.
    if reader.metadata().file_metadata().schema_descr().root_schema() != ours.as_ref() {
        return Err(StoreError::Damaged { path: path.to_owned(), what: "its columns are not a segment's".to_owned() });
    }
    for index in 0..reader.num_row_groups() {
        if !may_match(reader.metadata().row_group(index), query) {
            continue;
        }
        let group = reader.get_row_group(index).map_err(failed())?;
        let rows = RowGroup::read(group.as_ref()).map_err(failed())?;
        for (worker, sample) in rows.samples() {
            if query.matches(worker, &sample) {
                f(worker, &sample)?;
            }
        }
    }
    Ok(())
}

/// False only if the row group's statistics rule every row out.
fn may_match(group: &RowGroupMetaData, query: &SampleQuery) -> bool {
    if let (Some(worker), Some(Statistics::ByteArray(range))) = (&query.worker, group.column(0).statistics())
        && let (Some(min), Some(max)) = (range.min_opt(), range.max_opt())
        && !(min.data()..=max.data()).contains(&worker.as_str().as_bytes())
    {
        return false;
    }
    if let (Some(session), Some(Statistics::Int32(range))) = (query.session, group.column(1).statistics())
        && let (Some(min), Some(max)) = (range.min_opt(), range.max_opt())
        && !(*min as u32..=*max as u32).contains(&session.0)
    {
        return false;
    }
    true
}

/// One row group, decoded. Words become codes a column at a time, which keeps the peak low.
struct RowGroup {
    names: Vec<WorkerName>,
    worker: Vec<u32>,
    session: Vec<i32>,
    sequence: Vec<i32>,
    kind: Vec<Kind>,
    direction: Vec<Direction>,
    family: Vec<Family>,
    tos_sent: Vec<i32>,
    tos_received: Vec<Option<i32>>,
    sent_at: Vec<i64>,
    received_at: Vec<Option<i64>>,
    ttl: Vec<Option<i32>>,
    size: Vec<i32>,
    flags: Vec<i32>,
}

impl RowGroup {
    fn read(group: &dyn RowGroupReader) -> ParquetResult<RowGroup> {
        let (names, worker) = workers(&required::<ByteArrayType>(group, 0)?)?;
        let kind = |word: &[u8]| Kind::ALL.into_iter().find(|kind| kind.name().as_bytes() == word);
        let direction = |word: &[u8]| Direction::ALL.into_iter().find(|known| known.name().as_bytes() == word);
        let family = |word: &[u8]| Family::ALL.into_iter().find(|known| known.name().as_bytes() == word);
        Ok(RowGroup {
            names,
            worker,
            session: required::<Int32Type>(group, 1)?,
            sequence: required::<Int32Type>(group, 2)?,
            kind: words(&required::<ByteArrayType>(group, 3)?, kind)?,
            direction: words(&required::<ByteArrayType>(group, 4)?, direction)?,
            family: words(&required::<ByteArrayType>(group, 5)?, family)?,
            tos_sent: required::<Int32Type>(group, 6)?,
            tos_received: optional::<Int32Type>(group, 7)?,
            sent_at: required::<Int64Type>(group, 8)?,
            received_at: optional::<Int64Type>(group, 9)?,
            ttl: optional::<Int32Type>(group, 10)?,
            size: required::<Int32Type>(group, 11)?,
            flags: required::<Int32Type>(group, 12)?,
        })
    }

    fn samples(&self) -> impl Iterator<Item = (&WorkerName, Sample)> {
        (0..self.worker.len()).map(|i| {
            let sample = Sample {
                session: SessionId(self.session[i] as u32),
                sequence: self.sequence[i] as u32,
                kind: self.kind[i],
                direction: self.direction[i],
                family: self.family[i],
                tos_sent: Tos::from_byte(self.tos_sent[i] as u8),
                tos_received: self.tos_received[i].map(|tos| Tos::from_byte(tos as u8)),
                sent_at: UnixNanos(self.sent_at[i]),
                received_at: self.received_at[i].map(UnixNanos),
                ttl: self.ttl[i].map(|ttl| ttl as u8),
                size: self.size[i] as u16,
                flags: SampleFlags(self.flags[i] as u16),
            };
            (&self.names[self.worker[i] as usize], sample)
        })
    }
}

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

fn workers(column: &[ByteArray]) -> ParquetResult<(Vec<WorkerName>, Vec<u32>)> {
    let mut names: Vec<WorkerName> = Vec::new();
    let mut indices = Vec::with_capacity(column.len());
    for word in column {
        let known = names.iter().rposition(|name| name.as_str().as_bytes() == word.data());
        let index = match known {
            Some(index) => index,
            None => {
                let name = word.as_utf8().ok().and_then(|name| WorkerName::new(name).ok());
                names.push(name.ok_or_else(|| damaged("a worker's name is not one"))?);
                names.len() - 1
            }
        };
        indices.push(index as u32);
    }
    Ok((names, indices))
}

fn words<T>(column: &[ByteArray], meaning: impl Fn(&[u8]) -> Option<T>) -> ParquetResult<Vec<T>> {
    column.iter().map(|word| meaning(word.data()).ok_or_else(|| damaged("an unknown word"))).collect()
}

fn column<T: DataType>(
    group: &dyn RowGroupReader,
    index: usize,
    levels: Option<&mut Vec<i16>>,
) -> ParquetResult<Vec<T::T>> {
    let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| damaged("a negative number of rows"))?;
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(index)?);
    let mut values = Vec::new();
    let mut levels = levels;
    let mut read = 0;
    while read < rows {
        let (records, _, _) = reader.read_records(rows - read, levels.as_deref_mut(), None, &mut values)?;
        if records == 0 {
            return Err(damaged("a column ends early"));
        }
        read += records;
    }
    Ok(values)
}

fn required<T: DataType>(group: &dyn RowGroupReader, index: usize) -> ParquetResult<Vec<T::T>> {
    let values = column::<T>(group, index, None)?;
    if values.len() as i64 != group.metadata().num_rows() {
        return Err(damaged("a column has too few values"));
    }
    Ok(values)
}

fn optional<T: DataType>(group: &dyn RowGroupReader, index: usize) -> ParquetResult<Vec<Option<T::T>>> {
    let mut levels = Vec::new();
    let mut present = column::<T>(group, index, Some(&mut levels))?.into_iter();
    let values: Vec<Option<T::T>> =
        levels.iter().map(|level| if *level == 1 { present.next() } else { None }).collect();
    if values.len() as i64 != group.metadata().num_rows() || present.next().is_some() {
        return Err(damaged("a column has too few values"));
    }
    Ok(values)
}
