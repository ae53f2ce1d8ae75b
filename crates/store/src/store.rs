//! The one writer of a data directory: opening, closing and the transaction every other file writes in.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::UnixNanos;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::directory::Directory;
use crate::error::StoreError;
use crate::options::StoreOptions;
use crate::{manifest, rows, schema};

/// How long to wait for a reader that keeps a checkpoint waiting.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The one writer of a data directory. Dropping it lets go of the directory.
#[derive(Debug)]
pub struct Store {
    pub(crate) db: Connection,
    pub(crate) directory: Directory,
    pub(crate) database: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) unsealed: Unsealed,
    // Last: released only when the database is closed.
    _lock: File,
}

/// What waits to be sealed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unsealed {
    pub(crate) rows: u64,
    /// When [`Store::seal`] first saw rows waiting.
    pub(crate) since: Option<UnixNanos>,
}

impl Store {
    /// Opens the directory for writing, makes it where it is missing, and puts in order what a crash left behind.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let directory = Directory::new(dir);
        directory.create()?;
        let lock = directory.lock_for_writing()?;
        let database = directory.database();
        let mut db = connect(&database)?;
        // Before anything is changed: it may be somebody else's.
        schema::check_writable(&db, &database)?;
        prepare(&db).map_err(StoreError::sql("set up the database", &database))?;
        schema::migrate(&mut db, &database)?;
        manifest::reconcile(&mut db, &directory)?;
        let rows = rows::count(&db).map_err(StoreError::sql("count the unsealed samples", &database))?;
        let unsealed = Unsealed { rows, since: None };
        Ok(Store { db, directory, database, options, unsealed, _lock: lock })
    }

    pub fn directory(&self) -> &Path {
        self.directory.root()
    }

    /// Runs `body` in one transaction: all of it or, on an error, nothing of it.
    pub(crate) fn write<T>(
        &mut self,
        doing: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let run = || {
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = body(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(StoreError::sql(doing, &self.database))
    }

    /// Like [`Store::write`], and on the disk when it returns, whatever happens to the power.
    pub(crate) fn write_durably<T>(
        &mut self,
        doing: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let set = |db: &Connection, level: &str| db.pragma_update(None, "synchronous", level);
        set(&self.db, "FULL").map_err(StoreError::sql(doing, &self.database))?;
        let result = self.write(doing, body);
        set(&self.db, "NORMAL").map_err(StoreError::sql(doing, &self.database))?;
        result
    }

    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        body(&self.db).map_err(StoreError::sql(doing, &self.database))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Empties the log but leaves its file, so that a reader needs to create nothing (see `connect`).
        let emptied = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = emptied {
            tracing::warn!(path = %self.database.display(), %error, "could not fold the log into the database; the next start will");
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(StoreError::sql("open the database", path))?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(StoreError::sql("open the database", path))?;
    Ok(db)
}

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(64);
    // 2 MiB of pages; the log goes back to 16 MiB after a burst.
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048; \
         PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 16777216; PRAGMA foreign_keys = ON;",
    )?;
    // SQLite would delete the log and its index when it closes, and a read-only reader would have to make them anew.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Ends a transaction's body without an error of SQLite's; the caller has a better one.
pub(crate) fn aborted() -> rusqlite::Error {
    rusqlite::Error::ExecuteReturnedResults
}
