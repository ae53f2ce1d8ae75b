//! The newest trace of each worker's path: which hops quoted which marks.

use model::{Direction, Family, UnixNanos, WorkerName};
use rusqlite::{Connection, params};

use crate::credentials::worker_id;
use crate::error::StoreError;
use crate::sessions::{direction, family};
use crate::store::Store;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRow {
    pub worker: WorkerName,
    pub direction: Direction,
    pub family: Family,
    /// On the server's clock.
    pub at: UnixNanos,
    /// JSON of whoever traced; the store does not look into it.
    pub body: String,
}

impl Store {
    /// Replaces what is known of this worker's path in this direction and family.
    pub fn put_trace(&mut self, row: &TraceRow) -> Result<(), StoreError> {
        self.write("save a trace", |db| {
            let worker = worker_id(db, &row.worker, row.at)?;
            db.prepare_cached(
                "INSERT OR REPLACE INTO trace (worker, direction, family, at, body) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![worker, row.direction as u8, row.family as u8, row.at.0, row.body])
            .map(drop)
        })
    }
}

pub(crate) fn traces(db: &Connection, worker: &WorkerName) -> rusqlite::Result<Vec<TraceRow>> {
    db.prepare(
        "SELECT direction, family, at, body FROM trace WHERE worker = (SELECT id FROM worker WHERE name = ?) \
         ORDER BY direction, family",
    )?
    .query_map([worker.as_str()], |row| {
        Ok(TraceRow {
            worker: worker.clone(),
            direction: direction(row, 0)?,
            family: family(row, 1)?,
            at: UnixNanos(row.get(2)?),
            body: row.get(3)?,
        })
    })?
    .collect()
}
