//! Verdicts of running workers, as they changed. The newest row of a comparison is in force; its finding is refreshed in place.

use model::report::{Differentiation, RateLimit, Subject, Verdict};
use model::{Direction, Family, UnixNanos, WorkerName};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::credentials::worker_id;
use crate::error::{StoreError, bad_column};
use crate::query::TimeQuery;
use crate::store::Store;

/// What a comparison says, or that there is a limit that all classes share.
#[derive(Clone, Debug, PartialEq)]
pub enum Stated {
    Entry(Box<Differentiation>),
    /// `None`: there is none (any more).
    RateLimit(Option<RateLimit>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct VerdictRow {
    pub worker: WorkerName,
    pub direction: Direction,
    pub family: Family,
    pub at: UnixNanos,
    /// Of a new row: what was in force before. `None` with the same verdict in force: only its finding is refreshed.
    pub changed_from: Option<Verdict>,
    pub stated: Stated,
}

const RATE_LIMIT: &str = "rate-limit";

impl Stated {
    fn comparison(&self) -> serde_json::Result<String> {
        match self {
            Stated::Entry(entry) => serde_json::to_string(&(&entry.subject, &entry.control)),
            Stated::RateLimit(_) => Ok(RATE_LIMIT.to_owned()),
        }
    }

    fn verdict(&self) -> &'static str {
        match self {
            Stated::Entry(entry) => entry.verdict.name(),
            Stated::RateLimit(Some(_)) => "limited",
            Stated::RateLimit(None) => "none",
        }
    }

    fn finding(&self) -> serde_json::Result<String> {
        match self {
            Stated::Entry(entry) => serde_json::to_string(entry),
            Stated::RateLimit(limit) => serde_json::to_string(limit),
        }
    }
}

impl Store {
    /// The verdicts in force of all running workers.
    pub fn verdicts(&self) -> Result<Vec<VerdictRow>, StoreError> {
        self.read("read the verdicts", |db| in_force(db, None))
    }
}

/// A new row where the verdict differs from the one in force, else the newest row's finding is replaced.
pub(crate) fn put(db: &Transaction<'_>, row: &VerdictRow) -> rusqlite::Result<()> {
    let json = |error: serde_json::Error| bad_column(0, error);
    let worker = worker_id(db, &row.worker, row.at)?;
    let comparison = row.stated.comparison().map_err(json)?;
    let finding = row.stated.finding().map_err(json)?;
    let newest: Option<(i64, String)> = db
        .prepare_cached(
            "SELECT id, verdict FROM verdict WHERE worker = ? AND direction = ? AND family = ? AND comparison = ? \
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![worker, row.direction as u8, row.family as u8, comparison], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match newest {
        Some((id, verdict)) if verdict == row.stated.verdict() => {
            db.prepare_cached("UPDATE verdict SET finding = ?2 WHERE id = ?1")?.execute(params![id, finding])?;
        }
        _ => {
            db.prepare_cached(
                "INSERT INTO verdict (worker, direction, family, comparison, at, verdict, changed_from, finding) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                worker,
                row.direction as u8,
                row.family as u8,
                comparison,
                row.at.0,
                row.stated.verdict(),
                row.changed_from.map(Verdict::name),
                finding,
            ])?;
        }
    }
    Ok(())
}

const COLUMNS: &str = "w.name, v.direction, v.family, v.at, v.comparison, v.changed_from, v.finding";

/// The verdicts in force.
pub(crate) fn in_force(db: &Connection, worker: Option<&WorkerName>) -> rusqlite::Result<Vec<VerdictRow>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM verdict v JOIN worker w ON w.id = v.worker WHERE (?1 IS NULL OR w.name = ?1) AND v.id IN \
         (SELECT max(id) FROM verdict GROUP BY worker, direction, family, comparison) ORDER BY v.id"
    ))?;
    let rows = statement.query_map([worker.map(WorkerName::as_str)], read)?;
    rows.collect()
}

/// What changed in a stretch of time, oldest first.
pub(crate) fn changes(db: &Connection, query: &TimeQuery) -> rusqlite::Result<Vec<VerdictRow>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM verdict v JOIN worker w ON w.id = v.worker WHERE (?1 IS NULL OR w.name = ?1) \
         AND v.changed_from IS NOT NULL AND v.at >= ?2 AND v.at < ?3 ORDER BY v.id"
    ))?;
    let (since, until) = (query.since.map_or(i64::MIN, |at| at.0), query.until.map_or(i64::MAX, |at| at.0));
    let rows = statement.query_map(params![query.worker.as_ref().map(WorkerName::as_str), since, until], read)?;
    rows.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<VerdictRow> {
    let comparison = row.get_ref(4)?.as_str()?.to_owned();
    let finding = row.get_ref(6)?.as_str()?;
    let json = |error: serde_json::Error| bad_column(6, error);
    let changed: Option<String> = row.get(5)?;
    let known = |word: String| {
        serde_json::from_value::<Verdict>(serde_json::Value::String(word)).map_err(|error| bad_column(5, error))
    };
    Ok(VerdictRow {
        worker: crate::credentials::worker_name(row, 0)?,
        direction: crate::sessions::direction(row, 1)?,
        family: crate::sessions::family(row, 2)?,
        at: UnixNanos(row.get(3)?),
        changed_from: changed.map(known).transpose()?,
        stated: if comparison == RATE_LIMIT {
            Stated::RateLimit(serde_json::from_str(finding).map_err(json)?)
        } else {
            Stated::Entry(Box::new(serde_json::from_str(finding).map_err(json)?))
        },
    })
}

/// Subject and control of a row that compares.
impl VerdictRow {
    pub fn compared(&self) -> Option<(&Subject, &Subject)> {
        match &self.stated {
            Stated::Entry(entry) => Some((&entry.subject, &entry.control)),
            Stated::RateLimit(_) => None,
        }
    }
}
