//! Which segments there are. A file that is not named here is not data; a name whose file is gone is kept and said.

use std::collections::HashMap;
use std::fs;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::catalogue::Filter;
use crate::directory::{Directory, TEMPORARY, sync_directory};
use crate::error::StoreError;
use crate::query::SampleQuery;

#[derive(Clone, Debug)]
pub(crate) struct SegmentRow {
    pub(crate) id: i64,
    pub(crate) file: String,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
    pub(crate) missing: bool,
}

/// What a segment was found to hold when it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) rows: u64,
    pub(crate) min_time_ns: i64,
    pub(crate) max_time_ns: i64,
}

const PREFIX: &str = "samples-";
const SUFFIX: &str = ".parquet";

pub(crate) fn file_name(id: i64) -> String {
    format!("{PREFIX}{id:010}{SUFFIX}")
}

/// The highest id ever given out.
pub(crate) fn last_id(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'segment'", [], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

pub(crate) fn add(db: &Transaction<'_>, id: i64, extent: Extent, bytes: u64, sealed_at: i64) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO segment (id, file, rows, bytes, min_time_ns, max_time_ns, sealed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![id, file_name(id), extent.rows as i64, bytes as i64, extent.min_time_ns, extent.max_time_ns, sealed_at],
    )
    .map(drop)
}

/// Segments newer than `after` that may hold samples of the query, oldest first.
pub(crate) fn list(db: &Connection, after: i64, query: &SampleQuery) -> rusqlite::Result<Vec<SegmentRow>> {
    let mut filter = Filter::default();
    filter.and("id > ?", Value::Integer(after));
    if let Some(since) = query.since {
        filter.and("max_time_ns >= ?", Value::Integer(since.0));
    }
    if let Some(until) = query.until {
        filter.and("min_time_ns < ?", Value::Integer(until.0));
    }
    db.prepare(&format!("SELECT id, file, rows, bytes, missing FROM segment WHERE {} ORDER BY id", filter.clauses()))?
        .query_map(filter.values(), |row| {
            Ok(SegmentRow {
                id: row.get(0)?,
                file: row.get(1)?,
                rows: row.get(2)?,
                bytes: row.get(3)?,
                missing: row.get(4)?,
            })
        })?
        .collect()
}

pub(crate) fn is_listed(db: &Connection, id: i64) -> rusqlite::Result<bool> {
    db.prepare("SELECT 1 FROM segment WHERE id = ?")?.exists([id])
}

/// Puts files and manifest in agreement: removes what a crash left behind, and marks segments whose file is not there.
/// A segment that comes back (a disk mounted late) counts again from the next start on.
pub(crate) fn reconcile(db: &mut Connection, directory: &Directory) -> Result<(), StoreError> {
    let database = directory.database();
    let failed = || StoreError::sql("compare the manifest with the segments", &database);
    let segments = directory.segments();
    let known = list(db, 0, &SampleQuery::default()).map_err(failed())?;
    let known_by_file: HashMap<&str, &SegmentRow> = known.iter().map(|row| (row.file.as_str(), row)).collect();

    let mut found: HashMap<String, u64> = HashMap::new();
    let mut removed = 0;
    for entry in fs::read_dir(&segments).map_err(StoreError::io("list", &segments))? {
        let entry = entry.map_err(StoreError::io("list", &segments))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let ours = name.starts_with(PREFIX) && (name.ends_with(SUFFIX) || name.ends_with(TEMPORARY));
        if known_by_file.contains_key(name.as_str()) {
            let length = entry.metadata().map_err(StoreError::io("measure", &entry.path()))?.len();
            found.insert(name, length);
        } else if ours {
            fs::remove_file(entry.path()).map_err(StoreError::io("remove", &entry.path()))?;
            tracing::warn!(file = %entry.path().display(), "removed what an interrupted write left behind; its samples are in the database");
            removed += 1;
        }
    }
    if removed > 0 {
        sync_directory(&segments)?;
    }

    for row in &known {
        let length = found.get(&row.file).copied();
        let missing = length != Some(row.bytes as u64);
        if missing {
            tracing::error!(
                file = %directory.segment(&row.file).display(), samples = row.rows, expected_bytes = row.bytes, ?length,
                "a segment is missing or has the wrong length: its samples cannot be read until it is restored"
            );
        }
        if missing != row.missing {
            db.execute("UPDATE segment SET missing = ? WHERE id = ?", params![missing, row.id]).map_err(failed())?;
        }
    }
    Ok(())
}
