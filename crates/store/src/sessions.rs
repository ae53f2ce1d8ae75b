//! Sessions, and how far each of their streams has got.

use std::collections::BTreeMap;

use model::control::{SessionInfo, SynFingerprint};
use model::shaping::Transfer;
use model::{BootId, Direction, DirectionChoice, Family, Kind, SessionId, TaskId, Tos, UnixNanos, WorkerName};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::catalogue::Filter;
use crate::commit::SessionNote;
use crate::credentials::{worker_id, worker_name};
use crate::error::{StoreError, bad_column};
use crate::query::SessionQuery;
use crate::store::Store;

/// The keys of a session's probes. Secrets: kept while the session is open.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKeys {
    pub up: [u8; 32],
    pub down: [u8; 32],
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(secret)")
    }
}

/// What a session was asked to do, as far as [`SessionInfo`] does not say it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionPlan {
    pub classes: Vec<Tos>,
    pub rate_pps: f64,
    /// UDP payload bytes.
    pub size: u16,
    pub task: Option<TaskId>,
    pub seed: u64,
    pub syn: Option<SynFingerprint>,
}

/// A session that was open when the catalogue was last written.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSession {
    pub info: SessionInfo,
    pub keys: SessionKeys,
    pub plan: SessionPlan,
}

const MAX_NOTES: usize = 64;
const MAX_NOTE_CHARACTERS: usize = 500;

impl Store {
    /// False if the id is taken by a session that is still known: draw another.
    pub fn open_session(
        &mut self,
        info: &SessionInfo,
        keys: &SessionKeys,
        plan: &SessionPlan,
    ) -> Result<bool, StoreError> {
        self.write("save a session", |db| {
            let worker = worker_id(db, &info.worker, info.started_at)?;
            let json = |error: serde_json::Error| bad_column(0, error);
            let added = db.execute(
                "INSERT INTO session (id, worker, boot, kind, family, direction, started_at, ended_at, from_address, \
                 to_address, notes, key_up, key_down, plan, experiment) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (id) DO NOTHING",
                params![
                    info.session.0,
                    worker,
                    info.boot.0 as i64,
                    info.kind as u8,
                    info.family as u8,
                    info.direction.to_string(),
                    info.started_at.0,
                    info.ended_at.map(|at| at.0),
                    info.from,
                    info.to,
                    serde_json::to_string(&info.notes).map_err(json)?,
                    keys.up,
                    keys.down,
                    serde_json::to_string(plan).map_err(json)?,
                    info.experiment.as_ref().map(serde_json::to_string).transpose().map_err(json)?,
                ],
            )?;
            Ok(added == 1)
        })
    }

    /// Forgets the session's keys. Harmless if it has ended already.
    pub fn end_session(&mut self, session: SessionId, at: UnixNanos) -> Result<(), StoreError> {
        self.write("end a session", |db| end(db, session, at))
    }

    pub fn note_session(&mut self, note: &SessionNote) -> Result<(), StoreError> {
        self.write("add to a session", |db| add_note(db, note))
    }

    /// Sessions to take up again after a restart, oldest first.
    pub fn open_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        self.read("list the open sessions", |db| {
            db.prepare(&format!("{SESSIONS} WHERE s.ended_at IS NULL ORDER BY s.started_at, s.id"))?
                .query_map([], |row| {
                    Ok(OpenSession {
                        info: session_info(row)?,
                        keys: SessionKeys { up: row.get(11)?, down: row.get(12)? },
                        plan: serde_json::from_str(row.get_ref(13)?.as_str()?)
                            .map_err(|error| bad_column(13, error))?,
                    })
                })?
                .collect()
        })
    }

    pub fn session(&self, session: SessionId) -> Result<Option<SessionInfo>, StoreError> {
        self.read("read a session", |db| {
            db.query_row(&format!("{SESSIONS} WHERE s.id = ?"), [session.0], session_info).optional()
        })
    }

    /// The watermarks of [`crate::Commit::resolved`], for sessions that are open or still have pending halves.
    pub fn resolved(&self) -> Result<Vec<(SessionId, Direction, u32)>, StoreError> {
        self.read("read how far the sessions are resolved", |db| {
            db.prepare(
                "SELECT session, direction, sequence FROM resolved r WHERE \
                 EXISTS (SELECT 1 FROM session s WHERE s.id = r.session AND s.ended_at IS NULL) OR \
                 EXISTS (SELECT 1 FROM pending p WHERE p.session = r.session) ORDER BY session, direction",
            )?
            .query_map([], |row| Ok((SessionId(row.get(0)?), direction(row, 1)?, row.get(2)?)))?
            .collect()
        })
    }

    /// The newest batch that was committed of this start of this worker.
    pub fn last_batch(&self, worker: &WorkerName, boot: BootId) -> Result<Option<u64>, StoreError> {
        self.read("look a batch up", |db| {
            db.prepare_cached(
                "SELECT last FROM batch WHERE boot = ?1 AND worker = (SELECT id FROM worker WHERE name = ?2)",
            )?
            .query_row(params![boot.0 as i64, worker.as_str()], |row| row.get::<_, i64>(0))
            .optional()
            .map(|last| last.map(|last| last as u64))
        })
    }
}

pub(crate) fn end(db: &Connection, session: SessionId, at: UnixNanos) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE session SET ended_at = ?2, key_up = NULL, key_down = NULL WHERE id = ?1 AND ended_at IS NULL",
    )?
    .execute(params![session.0, at.0])
    .map(drop)
}

pub(crate) fn add_note(db: &Connection, note: &SessionNote) -> rusqlite::Result<()> {
    let known = db
        .prepare_cached("SELECT notes FROM session WHERE id = ?")?
        .query_row([note.session.0], |row| row.get::<_, String>(0))
        .optional()?;
    let Some(known) = known else { return Ok(()) };
    let mut notes: Vec<String> = serde_json::from_str(&known).map_err(|error| bad_column(0, error))?;
    for text in &note.notes {
        let text: String = text.chars().take(MAX_NOTE_CHARACTERS).collect();
        if notes.len() < MAX_NOTES && !notes.contains(&text) {
            notes.push(text);
        }
    }
    let notes = serde_json::to_string(&notes).map_err(|error| bad_column(0, error))?;
    if !note.local_queue.is_empty() {
        let known: String = db
            .prepare_cached("SELECT local_queue FROM session WHERE id = ?")?
            .query_row([note.session.0], |row| row.get(0))?;
        let mut all: std::collections::BTreeSet<u16> =
            serde_json::from_str(&known).map_err(|error| bad_column(0, error))?;
        all.extend(&note.local_queue);
        let all = serde_json::to_string(&all).map_err(|error| bad_column(0, error))?;
        db.prepare_cached("UPDATE session SET local_queue = ?2 WHERE id = ?1")?
            .execute(params![note.session.0, all])?;
    }
    if !note.transfers.is_empty() {
        add_transfers(db, note)?;
    }
    db.prepare_cached(
        "UPDATE session SET notes = ?2, from_address = coalesce(?3, from_address), \
         to_address = coalesce(?4, to_address) WHERE id = ?1",
    )?
    .execute(params![note.session.0, notes, note.from, note.to])
    .map(drop)
}

fn add_transfers(db: &Connection, note: &SessionNote) -> rusqlite::Result<()> {
    let known: String = db
        .prepare_cached("SELECT transfers FROM session WHERE id = ?")?
        .query_row([note.session.0], |row| row.get(0))?;
    let known: Vec<Transfer> = serde_json::from_str(&known).map_err(|error| bad_column(0, error))?;
    // The first that was told of a sequence stays.
    let mut all: BTreeMap<u32, Transfer> = note.transfers.iter().map(|one| (one.sequence, *one)).collect();
    all.extend(known.into_iter().map(|one| (one.sequence, one)));
    let all: Vec<Transfer> = all.into_values().collect();
    let all = serde_json::to_string(&all).map_err(|error| bad_column(0, error))?;
    db.prepare_cached("UPDATE session SET transfers = ?2 WHERE id = ?1")?
        .execute(params![note.session.0, all])
        .map(drop)
}

const SESSIONS: &str = "SELECT s.id, w.name, s.boot, s.kind, s.family, s.direction, s.started_at, s.ended_at, \
     s.from_address, s.to_address, s.notes, s.key_up, s.key_down, s.plan, s.experiment, s.local_queue, s.transfers \
     FROM session s JOIN worker w ON w.id = s.worker";

fn session_info(row: &Row<'_>) -> rusqlite::Result<SessionInfo> {
    Ok(SessionInfo {
        session: SessionId(row.get(0)?),
        worker: worker_name(row, 1)?,
        boot: BootId(row.get::<_, i64>(2)? as u64),
        kind: kind(row, 3)?,
        family: family(row, 4)?,
        direction: row.get_ref(5)?.as_str()?.parse::<DirectionChoice>().map_err(|error| bad_column(5, error))?,
        started_at: UnixNanos(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(UnixNanos),
        from: row.get(8)?,
        to: row.get(9)?,
        notes: serde_json::from_str(row.get_ref(10)?.as_str()?).map_err(|error| bad_column(10, error))?,
        experiment: match row.get_ref(14)?.as_str_or_null()? {
            Some(text) => Some(serde_json::from_str(text).map_err(|error| bad_column(14, error))?),
            None => None,
        },
        local_queue: serde_json::from_str(row.get_ref(15)?.as_str()?).map_err(|error| bad_column(15, error))?,
        transfers: serde_json::from_str(row.get_ref(16)?.as_str()?).map_err(|error| bad_column(16, error))?,
    })
}

pub(crate) fn sessions(db: &Connection, query: &SessionQuery) -> rusqlite::Result<Vec<SessionInfo>> {
    let mut filter = Filter::default();
    if let Some(worker) = &query.worker {
        filter.and("w.name = ?", Value::Text(worker.as_str().to_owned()));
    }
    if let Some(since) = query.since {
        filter.and("(s.ended_at IS NULL OR s.ended_at >= ?)", Value::Integer(since.0));
    }
    if let Some(until) = query.until {
        filter.and("s.started_at < ?", Value::Integer(until.0));
    }
    let open = if query.open_only { "AND s.ended_at IS NULL" } else { "" };
    db.prepare(&format!("{SESSIONS} WHERE {} {open} ORDER BY s.started_at, s.id", filter.clauses()))?
        .query_map(filter.values(), session_info)?
        .collect()
}

pub(crate) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
    let code: u8 = row.get(column)?;
    Kind::from_code(code).ok_or_else(|| bad_column(column, format!("kind {code}")))
}

pub(crate) fn direction(row: &Row<'_>, column: usize) -> rusqlite::Result<Direction> {
    let code: u8 = row.get(column)?;
    Direction::from_code(code).ok_or_else(|| bad_column(column, format!("direction {code}")))
}

pub(crate) fn family(row: &Row<'_>, column: usize) -> rusqlite::Result<Family> {
    let code: u8 = row.get(column)?;
    let known = Family::ALL.into_iter().find(|family| *family as u8 == code);
    known.ok_or_else(|| bad_column(column, format!("address family {code}")))
}
