//! Workers and what lets them in. Tokens and credentials are known by their SHA-256 only; hashing is the caller's.

use model::{UnixNanos, WorkerName};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::error::{StoreError, bad_column};
use crate::store::Store;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    pub name: WorkerName,
    /// The program's version as the worker gave it; empty if it never did.
    pub version: String,
    /// Joined for one measurement.
    pub ephemeral: bool,
    pub joined_at: UnixNanos,
    pub seen_at: Option<UnixNanos>,
    /// What it held back on its own disk behind its newest upload. `None`: not told yet.
    pub waiting_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    pub worker: WorkerName,
    pub ephemeral: bool,
    pub revoked: bool,
}

impl Store {
    /// Adds a worker, or replaces what is known of it.
    pub fn put_worker(&mut self, worker: &WorkerRow) -> Result<(), StoreError> {
        self.write("save a worker", |db| {
            db.execute(
                "INSERT INTO worker (name, version, ephemeral, joined_at, seen_at, waiting_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (name) DO UPDATE SET version = ?2, ephemeral = ?3, joined_at = ?4, seen_at = ?5, waiting_bytes = ?6",
                params![
                    worker.name.as_str(),
                    worker.version,
                    worker.ephemeral,
                    worker.joined_at.0,
                    worker.seen_at.map(|at| at.0),
                    worker.waiting_bytes.map(|bytes| bytes as i64)
                ],
            )
            .map(drop)
        })
    }

    pub fn worker(&self, name: &WorkerName) -> Result<Option<WorkerRow>, StoreError> {
        self.read("read a worker", |db| {
            db.query_row(&format!("{WORKERS} WHERE name = ?"), [name.as_str()], worker_row).optional()
        })
    }

    pub fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.read("list the workers", workers)
    }

    /// Lets `uses` workers (`None`: any number) join with the token of this hash until `expires`.
    pub fn add_join_token(
        &mut self,
        hash: [u8; 32],
        uses: Option<u32>,
        expires: Option<UnixNanos>,
    ) -> Result<(), StoreError> {
        self.write("save a join token", |db| {
            db.execute(
                "INSERT INTO join_token (hash, uses_left, expires_at) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (hash) DO UPDATE SET uses_left = ?2, expires_at = ?3",
                params![hash, uses, expires.map(|at| at.0)],
            )
            .map(drop)
        })
    }

    /// Turns a join token into a worker with a credential. `None`: the token is unknown, used up or expired.
    /// A taken name gets the first free number: `nyc1`, `nyc1-2`, `nyc1-3`.
    pub fn redeem(
        &mut self,
        token_hash: [u8; 32],
        wanted: &WorkerName,
        credential_hash: [u8; 32],
        ephemeral: bool,
        version: &str,
        now: UnixNanos,
    ) -> Result<Option<WorkerName>, StoreError> {
        self.write("redeem a join token", |db| {
            let spent = db.execute(
                "UPDATE join_token SET uses_left = uses_left - 1 WHERE hash = ?1 \
                 AND (uses_left IS NULL OR uses_left > 0) AND (expires_at IS NULL OR expires_at > ?2)",
                params![token_hash, now.0],
            )?;
            if spent == 0 {
                return Ok(None);
            }
            let name = free_name(db, wanted)?;
            db.execute(
                "INSERT INTO worker (name, version, ephemeral, joined_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?4)",
                params![name.as_str(), version, ephemeral, now.0],
            )?;
            db.execute(
                "INSERT INTO credential (hash, worker, ephemeral) VALUES (?1, ?2, ?3)",
                params![credential_hash, db.last_insert_rowid(), ephemeral],
            )?;
            Ok(Some(name))
        })
    }

    pub fn credential(&self, hash: [u8; 32]) -> Result<Option<CredentialRow>, StoreError> {
        self.read("look a credential up", |db| {
            db.prepare_cached(
                "SELECT w.name, c.ephemeral, c.revoked FROM credential c JOIN worker w ON w.id = c.worker WHERE c.hash = ?",
            )?
            .query_row([hash], |row| {
                Ok(CredentialRow { worker: worker_name(row, 0)?, ephemeral: row.get(1)?, revoked: row.get(2)? })
            })
            .optional()
        })
    }

    /// Shuts a worker out. False if it had no credential that was still good.
    pub fn revoke(&mut self, worker: &WorkerName) -> Result<bool, StoreError> {
        self.write("revoke a credential", |db| {
            let revoked = db.execute(
                "UPDATE credential SET revoked = 1 WHERE NOT revoked AND worker = (SELECT id FROM worker WHERE name = ?)",
                [worker.as_str()],
            )?;
            Ok(revoked > 0)
        })
    }

    /// A small secret of the server (TLS key, mask key, admin token), made on first use. Kept as it is: the file is the
    /// owner's alone.
    pub fn secret(&mut self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, StoreError> {
        self.write_durably("read or make a secret", |db| {
            let known = db.query_row("SELECT value FROM secret WHERE name = ?", [name], |row| row.get(0)).optional()?;
            if let Some(value) = known {
                return Ok(value);
            }
            let value = make();
            db.execute("INSERT INTO secret (name, value) VALUES (?1, ?2)", params![name, value])?;
            Ok(value)
        })
    }
}

fn free_name(db: &Transaction<'_>, wanted: &WorkerName) -> rusqlite::Result<WorkerName> {
    let mut taken = db.prepare_cached("SELECT 1 FROM worker WHERE name = ?")?;
    let mut candidate = wanted.clone();
    let mut number = 1u64;
    while taken.exists([candidate.as_str()])? {
        number += 1;
        let suffix = format!("-{number}");
        // Names are ASCII and at most 63 bytes long.
        let room = wanted.as_str().len().min(63 - suffix.len());
        let stem = wanted.as_str()[..room].trim_end_matches('-');
        candidate = WorkerName::new(&format!("{stem}{suffix}")).map_err(|error| bad_column(0, error))?;
    }
    Ok(candidate)
}

const WORKERS: &str = "SELECT name, version, ephemeral, joined_at, seen_at, waiting_bytes FROM worker";

fn worker_row(row: &Row<'_>) -> rusqlite::Result<WorkerRow> {
    Ok(WorkerRow {
        name: worker_name(row, 0)?,
        version: row.get(1)?,
        ephemeral: row.get(2)?,
        joined_at: UnixNanos(row.get(3)?),
        seen_at: row.get::<_, Option<i64>>(4)?.map(UnixNanos),
        waiting_bytes: row.get::<_, Option<i64>>(5)?.map(|bytes| bytes as u64),
    })
}

pub(crate) fn workers(db: &Connection) -> rusqlite::Result<Vec<WorkerRow>> {
    db.prepare(&format!("{WORKERS} ORDER BY name"))?.query_map([], worker_row)?.collect()
}

pub(crate) fn worker_name(row: &Row<'_>, column: usize) -> rusqlite::Result<WorkerName> {
    WorkerName::new(row.get_ref(column)?.as_str()?).map_err(|error| bad_column(column, error))
}

/// The worker's number in this database; one that never joined is added.
pub(crate) fn worker_id(db: &Transaction<'_>, name: &WorkerName, now: UnixNanos) -> rusqlite::Result<i64> {
    let known = db
        .prepare_cached("SELECT id FROM worker WHERE name = ?")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    db.prepare_cached("INSERT INTO worker (name, joined_at) VALUES (?, ?)")?.insert(params![name.as_str(), now.0])
}
