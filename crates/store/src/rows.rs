//! Unsealed samples in SQLite, packed by commit and worker, and the time by which a sample is filed.

use std::collections::{BTreeMap, HashMap};

use model::{Direction, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName};
use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, params};

use crate::catalogue::Filter;
use crate::credentials::worker_name;
use crate::error::bad_column;
use crate::pack::{self, Packer};
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

/// What one commit adds of one worker.
#[derive(Default)]
pub(crate) struct Block {
    packer: Packer,
    rows: u64,
    min_time_ns: i64,
    max_time_ns: i64,
}

impl Block {
    pub(crate) fn push(&mut self, sample: &Sample) {
        let time = time_of(sample).0;
        if self.rows == 0 {
            (self.min_time_ns, self.max_time_ns) = (time, time);
        }
        self.min_time_ns = self.min_time_ns.min(time);
        self.max_time_ns = self.max_time_ns.max(time);
        self.rows += 1;
        self.packer.push(sample);
    }

    /// Answers with the number of its samples; a block of none is not written.
    pub(crate) fn write(&self, db: &Transaction<'_>, worker: i64) -> rusqlite::Result<u64> {
        if self.rows > 0 {
            db.prepare_cached(
                "INSERT INTO block (worker, rows, min_time_ns, max_time_ns, samples) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                worker,
                self.rows as i64,
                self.min_time_ns,
                self.max_time_ns,
                self.packer.bytes()
            ])?;
        }
        Ok(self.rows)
    }
}

/// How many unsealed samples there are.
pub(crate) fn count(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT coalesce(sum(rows), 0) FROM block", [], |row| row.get::<_, i64>(0)).map(|rows| rows as u64)
}

pub(crate) fn worker_names(db: &Connection) -> rusqlite::Result<HashMap<i64, WorkerName>> {
    db.prepare("SELECT id, name FROM worker")?.query_map([], |row| Ok((row.get(0)?, worker_name(row, 1)?)))?.collect()
}

/// The workers of all unsealed samples, by name.
pub(crate) fn workers(db: &Connection) -> rusqlite::Result<Vec<WorkerName>> {
    db.prepare("SELECT name FROM worker WHERE id IN (SELECT DISTINCT worker FROM block) ORDER BY name")?
        .query_map([], |row| worker_name(row, 0))?
        .collect()
}

/// Calls `f` with every unsealed sample of the query, sorted by worker's name, session, direction and time, until it
/// answers false. Holds the samples of one worker in memory.
pub(crate) fn visit(
    db: &Connection,
    query: &SampleQuery,
    f: &mut dyn FnMut(&WorkerName, &Sample) -> bool,
) -> rusqlite::Result<()> {
    for worker in workers(db)? {
        if query.worker.as_ref().is_some_and(|wanted| *wanted != worker) {
            continue;
        }
        for mut samples in streams(db, &worker, query)?.into_values() {
            // Nearly in order already: a stream's samples come by sequence.
            samples.sort_by_key(|sample| (time_of(sample), sample.sequence));
            if !samples.iter().all(|sample| f(&worker, sample)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

type Streams = BTreeMap<(SessionId, Direction), Vec<Sample>>;

/// What the query wants of one worker.
fn streams(db: &Connection, worker: &WorkerName, query: &SampleQuery) -> rusqlite::Result<Streams> {
    let mut filter = Filter::default();
    filter.and("worker = (SELECT id FROM worker WHERE name = ?)", Value::Text(worker.as_str().to_owned()));
    if let Some(since) = query.since {
        filter.and("max_time_ns >= ?", Value::Integer(since.0));
    }
    if let Some(until) = query.until {
        filter.and("min_time_ns < ?", Value::Integer(until.0));
    }
    let mut select = db.prepare(&format!("SELECT samples FROM block WHERE {} ORDER BY id", filter.clauses()))?;
    let mut blocks = select.query(filter.values())?;
    let mut streams = Streams::new();
    let (mut of, mut run) = ((SessionId(0), Direction::Up), Vec::new());
    while let Some(block) = blocks.next()? {
        pack::unpack(block.get_ref(0)?.as_blob()?, |sample| {
            if !query.matches(worker, sample) {
                return;
            }
            let stream = (sample.session, sample.direction);
            if stream != of {
                streams.entry(of).or_default().append(&mut run);
                of = stream;
            }
            run.push(*sample);
        })
        .map_err(|damage| bad_column(0, damage))?;
    }
    streams.entry(of).or_default().append(&mut run);
    Ok(streams)
}

/// Before schema 3 every sample was a row.
pub(crate) fn pack_rows(db: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut select = db.prepare(
        "SELECT worker, session, direction, sequence, kind, family, tos_sent, tos_received, sent_at, received_at, ttl, \
         size, flags FROM sample",
    )?;
    let mut rows = select.query([])?;
    let (mut worker, mut block) = (0, Block::default());
    while let Some(row) = rows.next()? {
        let of: i64 = row.get(0)?;
        if of != worker || block.rows == MIGRATED_ROWS {
            std::mem::take(&mut block).write(db, worker)?;
            worker = of;
        }
        block.push(&Sample {
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
        });
    }
    block.write(db, worker)?;
    drop(rows);
    drop(select);
    db.execute_batch("DROP TABLE sample")
}

const MIGRATED_ROWS: u64 = 4096;
