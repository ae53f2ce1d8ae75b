//! A sample as a row of SQLite, and the time by which it is filed.

use std::collections::HashMap;

use model::{Direction, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Statement, Transaction, params};

use crate::catalogue::Filter;
use crate::credentials::worker_name;
use crate::query::SampleQuery;
use crate::sessions::{direction, family, kind};

/// The time by which a sample is filed, filtered and rolled up: the server's clock where it read one.
/// `Up`: when it was received, or when it was sent (worker's clock) if it was lost. `Down`: when it was sent.
/// `RoundTrip`: when it was sent (worker's clock).
pub fn time_of(sample: &Sample) -> UnixNanos {
    match (sample.direction, sample.received_at) {
        (Direction::Up, Some(received_at)) => received_at,
        _ => sample.sent_at,
    }
}

impl SampleQuery {
    pub fn matches(&self, worker: &WorkerName, sample: &Sample) -> bool {
        let time = time_of(sample);
        self.worker.as_ref().is_none_or(|wanted| wanted == worker)
            && self.session.is_none_or(|session| session == sample.session)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && (self.kinds.is_empty() || self.kinds.contains(&sample.kind))
            && self.direction.is_none_or(|direction| direction == sample.direction)
            && self.family.is_none_or(|family| family == sample.family)
    }
}

pub(crate) fn insert<'c>(db: &'c Transaction<'_>) -> rusqlite::Result<rusqlite::CachedStatement<'c>> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO sample (worker, session, direction, time_ns, sequence, kind, family, tos_sent, \
         tos_received, sent_at, received_at, ttl, size, flags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
}

/// False if this very row is there already.
pub(crate) fn add(insert: &mut Statement<'_>, worker: i64, sample: &Sample) -> rusqlite::Result<bool> {
    insert
        .execute(params![
            worker,
            sample.session.0,
            sample.direction as u8,
            time_of(sample).0,
            sample.sequence,
            sample.kind as u8,
            sample.family as u8,
            sample.tos_sent.byte(),
            sample.tos_received.map(Tos::byte),
            sample.sent_at.0,
            sample.received_at.map(|at| at.0),
            sample.ttl,
            sample.size,
            sample.flags.0,
        ])
        .map(|added| added == 1)
}

fn sample(row: &Row<'_>) -> rusqlite::Result<Sample> {
    Ok(Sample {
        session: SessionId(row.get(1)?),
        direction: direction(row, 2)?,
        sequence: row.get(3)?,
        kind: kind(row, 4)?,
        family: family(row, 5)?,
        tos_sent: Tos::from_byte(row.get(6)?),
        tos_received: row.get::<_, Option<u8>>(7)?.map(Tos::from_byte),
        sent_at: UnixNanos(row.get(8)?),
        received_at: row.get::<_, Option<i64>>(9)?.map(UnixNanos),
        ttl: row.get(10)?,
        size: row.get(11)?,
        flags: SampleFlags(row.get(12)?),
    })
}

pub(crate) fn worker_names(db: &Connection) -> rusqlite::Result<HashMap<i64, WorkerName>> {
    db.prepare("SELECT id, name FROM worker")?.query_map([], |row| Ok((row.get(0)?, worker_name(row, 1)?)))?.collect()
}

/// The workers of all unsealed samples, by name.
pub(crate) fn workers(db: &Connection) -> rusqlite::Result<Vec<WorkerName>> {
    db.prepare("SELECT name FROM worker WHERE id IN (SELECT DISTINCT worker FROM sample) ORDER BY name")?
        .query_map([], |row| worker_name(row, 0))?
        .collect()
}

/// Calls `f` with every unsealed sample of the query, sorted by worker's number, session, direction and time, until
/// it answers false.
pub(crate) fn visit(
    db: &Connection,
    query: &SampleQuery,
    f: &mut dyn FnMut(&WorkerName, &Sample) -> bool,
) -> rusqlite::Result<()> {
    let names = match &query.worker {
        Some(worker) => {
            let id = db.query_row("SELECT id FROM worker WHERE name = ?", [worker.as_str()], |row| row.get(0));
            id.optional()?.into_iter().map(|id| (id, worker.clone())).collect()
        }
        None => worker_names(db)?,
    };
    let mut filter = Filter::default();
    if let Some(worker) = &query.worker {
        filter.and("worker = (SELECT id FROM worker WHERE name = ?)", Value::Text(worker.as_str().to_owned()));
    }
    if let Some(session) = query.session {
        filter.and("session = ?", Value::Integer(session.0.into()));
    }
    if let Some(since) = query.since {
        filter.and("time_ns >= ?", Value::Integer(since.0));
    }
    if let Some(until) = query.until {
        filter.and("time_ns < ?", Value::Integer(until.0));
    }
    let mut select = db.prepare(&format!(
        "SELECT worker, session, direction, sequence, kind, family, tos_sent, tos_received, sent_at, received_at, ttl, \
         size, flags FROM sample WHERE {} ORDER BY worker, session, direction, time_ns, sequence",
        filter.clauses()
    ))?;
    let mut rows = select.query(filter.values())?;
    while let Some(row) = rows.next()? {
        let Some(worker) = names.get(&row.get(0)?) else { continue };
        let sample = sample(row)?;
        if query.matches(worker, &sample) && !f(worker, &sample) {
            break;
        }
    }
    Ok(())
}
