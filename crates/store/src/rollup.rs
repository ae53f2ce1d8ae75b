//! One-minute and one-hour sums of samples: what pages show without reading a single sample.

use std::collections::{BTreeMap, HashMap};

use model::{Direction, Family, Kind, Sample, SampleFlags, Tos, UnixNanos, WorkerName};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::commit::{CorrectedDelay, StoredSample};
use crate::error::bad_column;
use crate::query::{Period, RollupQuery};
use crate::rows::{time_of, worker_names};
use crate::sessions::{direction, family, kind};
use crate::sketch::DelaySketch;

/// One bucket of one worker, kind, direction, family and class. [`Kind::Clock`] has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollup {
    pub worker: WorkerName,
    pub period: Period,
    /// A whole multiple of the period since the epoch. A sample belongs to the bucket of [`time_of`] it.
    pub start: UnixNanos,
    pub kind: Kind,
    pub direction: Direction,
    pub family: Family,
    pub tos_sent: Tos,
    pub tally: Tally,
}

/// The sums; those of several rollups merge into one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Answered by a middlebox instead of the other end.
    pub intercepted: u64,
    /// Left their own host with another mark than was asked for.
    pub rewritten: u64,
    /// How often each mark arrived, without what is intercepted or rewritten. Received probes beyond their sum had a mark
    /// that could not be seen or says nothing of the path.
    pub marks: BTreeMap<Tos, u64>,
    /// Of the probes that came with a corrected delay.
    pub delay: DelaySketch,
    /// Exact, unlike the sketch.
    pub min_ns: Option<i64>,
    pub max_ns: Option<i64>,
    /// The worst among these delays.
    pub uncertainty_ns: Option<i64>,
}

impl Tally {
    pub fn add(&mut self, sample: &Sample, delay: Option<CorrectedDelay>) {
        self.sent += 1;
        match sample.received_at {
            Some(_) => self.received += 1,
            None => self.lost += 1,
        }
        self.duplicated += u64::from(sample.flags.has(SampleFlags::DUPLICATED));
        self.reordered += u64::from(sample.flags.has(SampleFlags::REORDERED));
        let intercepted = sample.flags.has(SampleFlags::INTERCEPTED);
        let rewritten = sample.flags.has(SampleFlags::LOCAL_REWRITE);
        self.intercepted += u64::from(intercepted);
        self.rewritten += u64::from(rewritten);
        if let (Some(_), Some(mark), false) = (sample.received_at, sample.tos_received, intercepted || rewritten) {
            *self.marks.entry(mark).or_default() += 1;
        }
        if let Some(delay) = delay {
            self.delay.add(delay.ns);
            self.min_ns = least(self.min_ns, Some(delay.ns));
            self.max_ns = self.max_ns.max(Some(delay.ns));
            self.uncertainty_ns = self.uncertainty_ns.max(Some(delay.uncertainty_ns));
        }
    }

    pub fn merge(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.intercepted += other.intercepted;
        self.rewritten += other.rewritten;
        for (mark, count) in &other.marks {
            *self.marks.entry(*mark).or_default() += count;
        }
        self.delay.merge(&other.delay);
        self.min_ns = least(self.min_ns, other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.uncertainty_ns = self.uncertainty_ns.max(other.uncertainty_ns);
    }
}

fn least(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    worker: i64,
    start_s: i64,
    kind: u8,
    direction: u8,
    family: u8,
    tos_sent: u8,
}

/// What one commit adds, gathered before the database is touched.
pub(crate) struct Increments {
    minutes: Vec<(Key, Tally)>,
    known: HashMap<Key, usize>,
    /// Where the latest sample of each DSCP went: nearly always where the next one goes.
    latest: [usize; 64],
}

impl Default for Increments {
    fn default() -> Increments {
        Increments { minutes: Vec::new(), known: HashMap::new(), latest: [0; 64] }
    }
}

fn bucket(time: UnixNanos, period: Period) -> i64 {
    time.0.div_euclid(period.seconds() * 1_000_000_000) * period.seconds()
}

impl Increments {
    pub(crate) fn add(&mut self, worker: i64, stored: &StoredSample) {
        let sample = &stored.sample;
        if sample.kind == Kind::Clock {
            return;
        }
        let key = Key {
            worker,
            start_s: bucket(time_of(sample), Period::Minute),
            kind: sample.kind as u8,
            direction: sample.direction as u8,
            family: sample.family as u8,
            tos_sent: sample.tos_sent.byte(),
        };
        let latest = &mut self.latest[usize::from(key.tos_sent >> 2)];
        if self.minutes.get(*latest).is_none_or(|(known, _)| *known != key) {
            *latest = *self.known.entry(key).or_insert_with(|| {
                self.minutes.push((key, Tally::default()));
                self.minutes.len() - 1
            });
        }
        if let Some((_, tally)) = self.minutes.get_mut(*latest) {
            tally.add(sample, stored.delay);
        }
    }

    /// Reads, merges and writes each bucket once.
    pub(crate) fn write(self, db: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut hours: HashMap<Key, Tally> = HashMap::new();
        for (key, tally) in &self.minutes {
            let hour = Period::Hour.seconds();
            let key = Key { start_s: key.start_s.div_euclid(hour) * hour, ..*key };
            hours.entry(key).or_default().merge(tally);
        }
        write_all(db, Period::Minute, self.minutes)?;
        write_all(db, Period::Hour, hours.into_iter().collect())
    }
}

const TALLY: &str = "sent, received, lost, duplicated, reordered, min_ns, max_ns, uncertainty_ns, marks, sketch, intercepted, rewritten FROM rollup";
/// The same without the sketch.
const COUNTS: &str = "sent, received, lost, duplicated, reordered, min_ns, max_ns, uncertainty_ns, marks, NULL, intercepted, rewritten FROM rollup";

fn write_all(db: &Transaction<'_>, period: Period, mut tallies: Vec<(Key, Tally)>) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(&format!(
        "SELECT {TALLY} WHERE period = ? AND worker = ? AND start_s = ? AND kind = ? AND direction = ? AND family = ? \
         AND tos_sent = ?"
    ))?;
    let mut replace = db.prepare_cached(
        "INSERT OR REPLACE INTO rollup (period, worker, start_s, kind, direction, family, tos_sent, sent, received, lost, \
         duplicated, reordered, min_ns, max_ns, uncertainty_ns, marks, sketch, intercepted, rewritten) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    // In the tree's own order, so that each page is visited once.
    tallies.sort_unstable_by_key(|(key, _)| *key);
    for (key, mut tally) in tallies {
        let Key { worker, start_s, kind, direction, family, tos_sent } = key;
        let known = select
            .query_row(params![period as u8, worker, start_s, kind, direction, family, tos_sent], |row| read(row, 0))
            .optional()?;
        if let Some(known) = known {
            tally.merge(&known);
        }
        let sketch = (tally.delay.count() > 0).then(|| tally.delay.to_bytes());
        replace.execute(params![
            period as u8,
            worker,
            start_s,
            kind,
            direction,
            family,
            tos_sent,
            tally.sent as i64,
            tally.received as i64,
            tally.lost as i64,
            tally.duplicated as i64,
            tally.reordered as i64,
            tally.min_ns,
            tally.max_ns,
            tally.uncertainty_ns,
            marks_to_bytes(&tally.marks),
            sketch,
            tally.intercepted as i64,
            tally.rewritten as i64,
        ])?;
    }
    Ok(())
}

/// Per mark its byte and its count, 8 bytes, little endian.
fn marks_to_bytes(marks: &BTreeMap<Tos, u64>) -> Vec<u8> {
    marks.iter().flat_map(|(mark, count)| std::iter::once(mark.byte()).chain(count.to_le_bytes())).collect()
}

fn marks_from_bytes(bytes: &[u8]) -> Option<BTreeMap<Tos, u64>> {
    let (entries, rest) = bytes.as_chunks::<9>();
    rest.is_empty()
        .then(|| entries.iter().map(|[mark, count @ ..]| (Tos::from_byte(*mark), u64::from_le_bytes(*count))).collect())
}

fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Tally> {
    let count = |column: usize| row.get::<_, i64>(first + column).map(|value| value as u64);
    let (marks, sketch) = (first + 8, first + 9);
    Ok(Tally {
        sent: count(0)?,
        received: count(1)?,
        lost: count(2)?,
        duplicated: count(3)?,
        reordered: count(4)?,
        min_ns: row.get(first + 5)?,
        max_ns: row.get(first + 6)?,
        uncertainty_ns: row.get(first + 7)?,
        intercepted: count(10)?,
        rewritten: count(11)?,
        marks: marks_from_bytes(row.get_ref(marks)?.as_blob()?).ok_or_else(|| bad_column(marks, "received marks"))?,
        delay: match row.get_ref(sketch)?.as_blob_or_null()? {
            None => DelaySketch::default(),
            Some(bytes) => DelaySketch::from_bytes(bytes).ok_or_else(|| bad_column(sketch, "delay sketch"))?,
        },
    })
}

/// The filters by codes, which are numbers of ours and need no binding.
fn wanted(query: &RollupQuery) -> String {
    let mut clauses = String::new();
    let mut among = |column: &str, codes: Vec<u8>| {
        if !codes.is_empty() {
            let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
            clauses.push_str(&format!(" AND {column} IN ({})", codes.join(", ")));
        }
    };
    among("kind", query.kinds.iter().map(|kind| *kind as u8).collect());
    among("direction", query.direction.iter().map(|direction| *direction as u8).collect());
    among("family", query.family.iter().map(|family| *family as u8).collect());
    among("tos_sent", query.classes.iter().map(|class| class.byte()).collect());
    clauses
}

/// Calls `f` with every rollup of the query, by worker's name and then by time.
pub(crate) fn visit(db: &Connection, query: &RollupQuery, f: &mut dyn FnMut(Rollup)) -> rusqlite::Result<u64> {
    let mut workers: Vec<(WorkerName, i64)> = worker_names(db)?.into_iter().map(|(id, name)| (name, id)).collect();
    workers.retain(|(name, _)| query.worker.as_ref().is_none_or(|wanted| wanted == name));
    workers.sort_unstable();
    let since = query.since.map_or(i64::MIN, |since| bucket(since, query.period));
    // A bucket that starts at or after `until` is out; the last one in starts at or before the nanosecond before it.
    let last = query.until.map_or(i64::MAX, |until| bucket(until.plus(-1), query.period));
    let columns = if query.without_delays { COUNTS } else { TALLY };
    let mut select = db.prepare(&format!(
        "SELECT start_s, kind, direction, family, tos_sent, {columns} WHERE period = ? AND worker = ? \
         AND start_s BETWEEN ? AND ?{} ORDER BY start_s, kind, direction, family, tos_sent",
        wanted(query)
    ))?;
    let mut found = 0;
    for (worker, id) in workers {
        let mut rows = select.query(params![query.period as u8, id, since, last])?;
        while let Some(row) = rows.next()? {
            let (kind, direction) = (kind(row, 1)?, direction(row, 2)?);
            f(Rollup {
                worker: worker.clone(),
                period: query.period,
                start: UnixNanos(row.get::<_, i64>(0)?.saturating_mul(1_000_000_000)),
                kind,
                direction,
                family: family(row, 3)?,
                tos_sent: Tos::from_byte(row.get(4)?),
                tally: read(row, 5)?,
            });
            found += 1;
        }
    }
    Ok(found)
}

pub(crate) fn span(
    db: &Connection,
    worker: &WorkerName,
    period: Period,
) -> rusqlite::Result<Option<(UnixNanos, UnixNanos)>> {
    // Each end by itself is one step into the key; both in one query would be a scan.
    let end = |which: &str| -> rusqlite::Result<Option<i64>> {
        db.prepare_cached(&format!(
            "SELECT {which}(start_s) FROM rollup WHERE period = ? AND worker = (SELECT id FROM worker WHERE name = ?)"
        ))?
        .query_row(params![period as u8, worker.as_str()], |row| row.get(0))
    };
    let nanos = |seconds: i64| UnixNanos(seconds.saturating_mul(1_000_000_000));
    Ok(end("min")?.zip(end("max")?).map(|(first, last)| (nanos(first), nanos(last))))
}
