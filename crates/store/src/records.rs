//! Records of application latency: kept once each, together with how far their source was read.

use std::net::IpAddr;

use model::record::{Instrument, Measurement, Metric, Record, RecordId};
use model::{BootId, Cursor, RecordSubmission, RecordsAccepted, WorkerName};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, params};

use crate::catalogue::Filter;
use crate::credentials::worker_name;
use crate::error::{StoreError, bad_column};
use crate::reader::Reader;
use crate::record_rollup::RecordIncrements;
use crate::store::Store;

/// Which records. A field left at its default does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordQuery {
    pub worker: Option<WorkerName>,
    /// Inclusive; microseconds since the epoch, of when the exchange began.
    pub since_us: Option<i64>,
    /// Exclusive.
    pub until_us: Option<i64>,
}

const COLUMNS: &str = "worker, boot, counter, library, language, version, metric, at_us, sent_us, received_us, app_us, \
                       library_us, network_us, connect_us, udp_us, wait_us, target, flags, dns_us, icmp_us, resolver, \
                       addresses";

impl Store {
    /// Keeps records, cursors and counts in one transaction. The same again changes nothing but the counts; a record whose id
    /// is there with another content is left out and counted as `record_conflicting`. Cursors never go back. Records must
    /// have passed [`Record::check`].
    pub fn submit(&mut self, submission: &RecordSubmission) -> Result<RecordsAccepted, StoreError> {
        self.write("save records", |db| {
            let mut accepted = RecordsAccepted::default();
            let mut sums = RecordIncrements::default();
            for record in &submission.records {
                if insert(db, record)? {
                    accepted.new += 1;
                    sums.add(record);
                } else if lookup(db, &record.id)?.as_ref() == Some(record) {
                    accepted.known += 1;
                } else {
                    accepted.conflicting += 1;
                }
            }
            sums.write(db)?;
            for cursor in &submission.cursors {
                db.prepare_cached(
                    "INSERT INTO cursor (source, position) VALUES (?1, ?2) \
                     ON CONFLICT (source) DO UPDATE SET position = max(position, excluded.position)",
                )?
                .execute(params![cursor.source, i64::try_from(cursor.position).unwrap_or(i64::MAX)])?;
            }
            let conflicting = ("record_conflicting".to_owned(), accepted.conflicting);
            for (name, count) in submission.counted.iter().chain([&conflicting]).filter(|(_, count)| *count > 0) {
                db.prepare_cached(
                    "INSERT INTO counter (name, value) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                )?
                .execute(params![name, i64::try_from(*count).unwrap_or(i64::MAX)])?;
            }
            Ok(accepted)
        })
    }

    pub fn cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        self.read("read the cursors", |db| {
            db.prepare("SELECT source, position FROM cursor ORDER BY source")?
                .query_map([], |row| Ok(Cursor { source: row.get(0)?, position: row.get::<_, i64>(1)? as u64 }))?
                .collect()
        })
    }
}

impl Reader {
    /// Calls `f` with every record of the query, by worker, boot and counter, until it answers false; answers with how many
    /// it was called with.
    pub fn records(&self, query: &RecordQuery, f: &mut dyn FnMut(Record) -> bool) -> Result<u64, StoreError> {
        self.read("read the records", |db| visit(db, query, f))
    }
}

pub(crate) fn insert(db: &Transaction<'_>, record: &Record) -> rusqlite::Result<bool> {
    let (id, instrument, measured) = (&record.id, &record.instrument, &record.measured);
    let added = db
        .prepare_cached(&format!(
            "INSERT OR IGNORE INTO record ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
             ?, ?, ?)"
        ))?
        .execute(params![
            id.worker.as_str(),
            id.boot.0 as i64,
            id.counter as i64,
            instrument.library,
            instrument.language,
            instrument.version,
            measured.metric.name(),
            measured.at_us,
            measured.sent_us,
            measured.received_us,
            measured.app_us.map(|us| us as i64),
            measured.library_us.map(|us| us as i64),
            measured.network_us.map(|us| us as i64),
            measured.connect_us.map(|us| us as i64),
            measured.udp_us.map(|us| us as i64),
            measured.wait_us as i64,
            measured.target,
            measured.flags.join(","),
            measured.dns_us.map(|us| us as i64),
            measured.icmp_us.map(|us| us as i64),
            measured.resolver.map(|resolver| resolver.to_string()),
            joined(&measured.addresses),
        ])?;
    Ok(added == 1)
}

/// With commas between them.
pub(crate) fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

fn lookup(db: &Connection, id: &RecordId) -> rusqlite::Result<Option<Record>> {
    let found = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM record WHERE worker = ? AND boot = ? AND counter = ?"))?
        .query_map(params![id.worker.as_str(), id.boot.0 as i64, id.counter as i64], record)?
        .next()
        .transpose()?;
    Ok(found)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let span = |column: usize| -> rusqlite::Result<_> { Ok(row.get::<_, Option<i64>>(column)?.map(|us| us as u64)) };
    let flags: String = row.get(17)?;
    let address = |text: &str, column| text.parse::<IpAddr>().map_err(|error| bad_column(column, error));
    let resolver = row.get::<_, Option<String>>(20)?.map(|text| address(&text, 20)).transpose()?;
    let addresses: String = row.get(21)?;
    let addresses = addresses.split(',').filter(|text| !text.is_empty()).map(|text| address(text, 21));
    Ok(Record {
        id: RecordId {
            worker: worker_name(row, 0)?,
            boot: BootId(row.get::<_, i64>(1)? as u64),
            counter: row.get::<_, i64>(2)? as u64,
        },
        instrument: Instrument { library: row.get(3)?, language: row.get(4)?, version: row.get(5)? },
        measured: Measurement {
            metric: row.get_ref(6)?.as_str()?.parse::<Metric>().map_err(|error| bad_column(6, error))?,
            at_us: row.get(7)?,
            sent_us: row.get(8)?,
            received_us: row.get(9)?,
            app_us: span(10)?,
            library_us: span(11)?,
            network_us: span(12)?,
            connect_us: span(13)?,
            udp_us: span(14)?,
            dns_us: span(18)?,
            icmp_us: span(19)?,
            resolver,
            addresses: addresses.collect::<rusqlite::Result<_>>()?,
            wait_us: row.get::<_, i64>(15)? as u64,
            target: row.get(16)?,
            flags: flags.split(',').filter(|flag| !flag.is_empty()).map(str::to_owned).collect(),
        },
    })
}

pub(crate) fn visit(db: &Connection, query: &RecordQuery, f: &mut dyn FnMut(Record) -> bool) -> rusqlite::Result<u64> {
    let mut filter = Filter::default();
    if let Some(worker) = &query.worker {
        filter.and("worker = ?", Value::Text(worker.as_str().to_owned()));
    }
    if let Some(since) = query.since_us {
        filter.and("at_us >= ?", Value::Integer(since));
    }
    if let Some(until) = query.until_us {
        filter.and("at_us < ?", Value::Integer(until));
    }
    let mut select =
        db.prepare(&format!("SELECT {COLUMNS} FROM record WHERE {} ORDER BY worker, boot, counter", filter.clauses()))?;
    let mut rows = select.query(filter.values())?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        if !f(record(row)?) {
            break;
        }
    }
    Ok(count)
}
