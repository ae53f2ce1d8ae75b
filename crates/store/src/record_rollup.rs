//! One-minute and one-hour sums of records: what pages show of applications without reading a single record.

use std::collections::BTreeMap;

use model::{Metric, Record, UnixNanos, WorkerName};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::catalogue::Filter;
use crate::credentials::worker_name;
use crate::error::{StoreError, bad_column};
use crate::query::Period;
use crate::reader::Reader;
use crate::sketch::DelaySketch;

/// One bucket of one worker, library, metric and (of voice) media host.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordRollup {
    pub worker: WorkerName,
    pub period: Period,
    /// A whole multiple of the period since the epoch. A record belongs to the bucket in which its exchange began.
    pub start: UnixNanos,
    pub library: String,
    pub language: String,
    pub metric: Metric,
    /// `HOST:PORT` of a voice server, or a media host's name; empty for everything else.
    pub place: String,
    pub tally: RecordTally,
}

/// The sums; those of several rollups merge into one. Durations are in nanoseconds, as everywhere in sketches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordTally {
    /// Exchanges, answered or not.
    pub samples: u64,
    pub app: DelaySketch,
    /// Of the same connection, or of an own connect where the kernel was not asked.
    pub network: DelaySketch,
    /// Application minus network, exchange by exchange.
    pub overhead: DelaySketch,
    pub connect: DelaySketch,
    pub udp: DelaySketch,
    pub dns: DelaySketch,
    pub icmp: DelaySketch,
}

impl RecordTally {
    fn add(&mut self, record: &Record) {
        let measured = &record.measured;
        let ns = |us: u64| i64::try_from(us).unwrap_or(i64::MAX).saturating_mul(1000);
        let network = measured.network_us.or(measured.connect_us).map(ns);
        let app = measured.app_us.map(ns);
        self.samples += 1;
        app.into_iter().for_each(|ns| self.app.add(ns));
        network.into_iter().for_each(|ns| self.network.add(ns));
        app.zip(network).into_iter().for_each(|(app, network)| self.overhead.add(app - network));
        measured.connect_us.map(ns).into_iter().for_each(|ns| self.connect.add(ns));
        measured.udp_us.map(ns).into_iter().for_each(|ns| self.udp.add(ns));
        measured.dns_us.map(ns).into_iter().for_each(|ns| self.dns.add(ns));
        measured.icmp_us.map(ns).into_iter().for_each(|ns| self.icmp.add(ns));
    }

    pub fn merge(&mut self, other: &RecordTally) {
        self.samples += other.samples;
        self.app.merge(&other.app);
        self.network.merge(&other.network);
        self.overhead.merge(&other.overhead);
        self.connect.merge(&other.connect);
        self.udp.merge(&other.udp);
        self.dns.merge(&other.dns);
        self.icmp.merge(&other.icmp);
    }
}

/// Which sums: those whose bucket starts within `since..until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRollupQuery {
    pub period: Period,
    pub worker: Option<WorkerName>,
    /// Inclusive; rounded down to a whole bucket.
    pub since: UnixNanos,
    /// Exclusive.
    pub until: UnixNanos,
    /// `None`: all that time an application; what is of media hosts alone has to be asked for.
    pub metric: Option<Metric>,
}

type Key = (Period, String, i64, String, String, Metric, String);

fn start_s(at_us: i64, period: Period) -> i64 {
    at_us.div_euclid(period.seconds() * 1_000_000) * period.seconds()
}

/// What one submission adds: gathered before the sums are touched.
#[derive(Default)]
pub(crate) struct RecordIncrements(BTreeMap<Key, RecordTally>);

impl RecordIncrements {
    pub(crate) fn add(&mut self, record: &Record) {
        let (instrument, measured) = (&record.instrument, &record.measured);
        let place = match measured.metric {
            Metric::VoiceHeartbeat | Metric::MediaDns | Metric::MediaPing => measured.target.clone(),
            Metric::GatewayHeartbeat | Metric::Rest | Metric::MessageEcho | Metric::Interaction => String::new(),
        };
        for period in [Period::Minute, Period::Hour] {
            let key = (
                period,
                record.id.worker.as_str().to_owned(),
                start_s(measured.at_us, period),
                instrument.library.clone(),
                instrument.language.clone(),
                measured.metric,
                place.clone(),
            );
            self.0.entry(key).or_default().add(record);
        }
    }

    /// Reads, merges and writes each bucket once.
    pub(crate) fn write(self, db: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut select = db.prepare_cached(&format!(
            "SELECT {TALLY} FROM record_rollup WHERE period = ? AND worker = ? AND start_s = ? AND library = ? \
             AND language = ? AND metric = ? AND place = ?"
        ))?;
        let mut replace = db.prepare_cached(&format!(
            "INSERT OR REPLACE INTO record_rollup (period, worker, start_s, library, language, metric, place, {TALLY}) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ))?;
        for ((period, worker, start_s, library, language, metric, place), mut tally) in self.0 {
            let known = select
                .query_row(params![period as u8, worker, start_s, library, language, metric.name(), place], |row| {
                    read_tally(row, 0)
                })
                .optional()?;
            known.iter().for_each(|known| tally.merge(known));
            let bytes = |sketch: &DelaySketch| (sketch.count() > 0).then(|| sketch.to_bytes());
            replace.execute(params![
                period as u8,
                worker,
                start_s,
                library,
                language,
                metric.name(),
                place,
                tally.samples as i64,
                bytes(&tally.app),
                bytes(&tally.network),
                bytes(&tally.overhead),
                bytes(&tally.connect),
                bytes(&tally.udp),
                bytes(&tally.dns),
                bytes(&tally.icmp),
            ])?;
        }
        Ok(())
    }
}

const TALLY: &str = "samples, app, network, overhead, connect, udp, dns, icmp";

fn read_tally(row: &Row<'_>, first: usize) -> rusqlite::Result<RecordTally> {
    let sketch = |column: usize| match row.get_ref(first + column)?.as_blob_or_null()? {
        None => Ok(DelaySketch::default()),
        Some(bytes) => DelaySketch::from_bytes(bytes).ok_or_else(|| bad_column(first + column, "delay sketch")),
    };
    Ok(RecordTally {
        samples: row.get::<_, i64>(first)? as u64,
        app: sketch(1)?,
        network: sketch(2)?,
        overhead: sketch(3)?,
        connect: sketch(4)?,
        udp: sketch(5)?,
        dns: sketch(6)?,
        icmp: sketch(7)?,
    })
}

impl Reader {
    /// Calls `f` with every sum of the query, by worker's name and then by time.
    pub fn record_rollups(&self, query: &RecordRollupQuery, f: &mut dyn FnMut(RecordRollup)) -> Result<(), StoreError> {
        self.read("read the sums of records", |db| visit(db, query, f))
    }

    /// The first hour and the last minute of a worker's records.
    pub fn record_span(&self, worker: &WorkerName) -> Result<Option<(UnixNanos, UnixNanos)>, StoreError> {
        self.read("look for the ends of the records", |db| {
            let end = |which: &str, period: Period| -> rusqlite::Result<Option<i64>> {
                db.prepare_cached(&format!(
                    "SELECT {which}(start_s) FROM record_rollup WHERE period = ? AND worker = ?"
                ))?
                .query_row(params![period as u8, worker.as_str()], |row| row.get(0))
            };
            let nanos = |seconds: i64| UnixNanos(seconds.saturating_mul(1_000_000_000));
            let ends = end("min", Period::Hour)?.zip(end("max", Period::Minute)?);
            Ok(ends.map(|(first, last)| (nanos(first), nanos(last))))
        })
    }

    /// The worker names that records have, sorted.
    pub fn record_workers(&self) -> Result<Vec<WorkerName>, StoreError> {
        self.read("list the workers of records", names)
    }
}

/// One step of the key for each name, however many rows each has.
pub(crate) fn names(db: &Connection) -> rusqlite::Result<Vec<WorkerName>> {
    let mut next =
        db.prepare_cached("SELECT worker FROM record_rollup WHERE period = 1 AND worker > ? ORDER BY worker LIMIT 1")?;
    let mut found = Vec::new();
    let mut last = String::new();
    while let Some(name) = next.query_row([&last], |row| worker_name(row, 0)).optional()? {
        last = name.as_str().to_owned();
        found.push(name);
    }
    Ok(found)
}

fn visit(db: &Connection, query: &RecordRollupQuery, f: &mut dyn FnMut(RecordRollup)) -> rusqlite::Result<()> {
    let workers = match &query.worker {
        Some(worker) => vec![worker.clone()],
        None => names(db)?,
    };
    let bucket = |at: UnixNanos| start_s(at.0.div_euclid(1000), query.period);
    for worker in workers {
        let mut filter = Filter::default();
        filter.and("period = ?", Value::Integer(query.period as i64));
        filter.and("worker = ?", Value::Text(worker.as_str().to_owned()));
        filter.and("start_s >= ?", Value::Integer(bucket(query.since)));
        filter.and("start_s <= ?", Value::Integer(bucket(query.until.plus(-1))));
        match query.metric {
            Some(metric) => filter.and("metric = ?", Value::Text(metric.name().to_owned())),
            None => {
                for metric in Metric::ALL.iter().filter(|metric| !metric.is_application()) {
                    filter.and("metric <> ?", Value::Text(metric.name().to_owned()));
                }
            }
        }
        let mut select = db.prepare(&format!(
            "SELECT start_s, library, language, metric, place, {TALLY} FROM record_rollup WHERE {} ORDER BY start_s",
            filter.clauses()
        ))?;
        let mut rows = select.query(filter.values())?;
        while let Some(row) = rows.next()? {
            f(RecordRollup {
                worker: worker.clone(),
                period: query.period,
                start: UnixNanos(row.get::<_, i64>(0)?.saturating_mul(1_000_000_000)),
                library: row.get(1)?,
                language: row.get(2)?,
                metric: row.get_ref(3)?.as_str()?.parse::<Metric>().map_err(|error| bad_column(3, error))?,
                place: row.get(4)?,
                tally: read_tally(row, 5)?,
            });
        }
    }
    Ok(())
}

/// Before schema 6 there were no sums of records. Done in the newest step, since it reads and writes today's columns.
pub(crate) fn sum_up(db: &Transaction<'_>) -> rusqlite::Result<()> {
    if db.query_row("SELECT EXISTS (SELECT 1 FROM record_rollup)", [], |row| row.get(0))? {
        return Ok(());
    }
    const AT_ONCE: u64 = 50_000;
    let (mut sums, mut gathered) = (RecordIncrements::default(), 0);
    let mut failure = None;
    crate::records::visit(db, &crate::RecordQuery::default(), &mut |record| {
        sums.add(&record);
        gathered += 1;
        if u64::is_multiple_of(gathered, AT_ONCE) {
            failure = std::mem::take(&mut sums).write(db).err();
        }
        failure.is_none()
    })?;
    match failure {
        Some(error) => Err(error),
        None => sums.write(db),
    }
}
