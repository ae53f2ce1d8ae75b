//! What store and reader both read of the catalogue, and how their filters become SQL.

use std::collections::BTreeMap;

use model::UnixNanos;
use rusqlite::types::Value;
use rusqlite::{Connection, ParamsFromIter, params_from_iter};

use crate::commit::ClockRow;
use crate::credentials::worker_name;
use crate::query::TimeQuery;

/// Conditions joined by AND, each with the one value of its `?`.
#[derive(Default)]
pub(crate) struct Filter {
    clauses: String,
    values: Vec<Value>,
}

impl Filter {
    pub(crate) fn and(&mut self, clause: &'static str, value: Value) {
        self.clauses.push_str(" AND ");
        self.clauses.push_str(clause);
        self.values.push(value);
    }

    /// What follows WHERE.
    pub(crate) fn clauses(&self) -> String {
        format!("1{}", self.clauses)
    }

    pub(crate) fn values(&self) -> ParamsFromIter<&Vec<Value>> {
        params_from_iter(&self.values)
    }
}

pub(crate) fn counters(db: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    db.prepare("SELECT name, value FROM counter")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?
        .collect()
}

/// Oldest first within each worker.
pub(crate) fn clocks(db: &Connection, query: &TimeQuery) -> rusqlite::Result<Vec<ClockRow>> {
    let mut filter = Filter::default();
    if let Some(worker) = &query.worker {
        filter.and("w.name = ?", Value::Text(worker.as_str().to_owned()));
    }
    if let Some(since) = query.since {
        filter.and("c.at >= ?", Value::Integer(since.0));
    }
    if let Some(until) = query.until {
        filter.and("c.at < ?", Value::Integer(until.0));
    }
    db.prepare(&format!(
        "SELECT w.name, c.at, c.offset_ns, c.uncertainty_ns, c.skew_ppm, c.steps \
         FROM clock c JOIN worker w ON w.id = c.worker WHERE {} ORDER BY w.name, c.at",
        filter.clauses()
    ))?
    .query_map(filter.values(), |row| {
        Ok(ClockRow {
            worker: worker_name(row, 0)?,
            at: UnixNanos(row.get(1)?),
            offset_ns: row.get(2)?,
            uncertainty_ns: row.get(3)?,
            skew_ppm: row.get(4)?,
            steps: row.get(5)?,
        })
    })?
    .collect()
}
