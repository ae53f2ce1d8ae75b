//! Looking at a data directory without writing to it, while a server writes or while none runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::control::SessionInfo;
use model::{Sample, Task, UnixNanos, WorkerName};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::alerts::{self, AlertNote, AlertState};
use crate::catalogue::{clocks, counters};
use crate::commit::ClockRow;
use crate::credentials::{WorkerRow, workers};
use crate::directory::Directory;
use crate::error::StoreError;
use crate::manifest::SegmentRow;
use crate::query::{Period, RollupQuery, SampleQuery, SessionQuery, TimeQuery};
use crate::rollup::{self, Rollup};
use crate::sessions::sessions;
use crate::store::BUSY_TIMEOUT;
use crate::traces::{TraceRow, traces};
use crate::verdicts::{self, VerdictRow};
use crate::{manifest, retain, rows, schema, segment_read, tasks};

/// A read-only look at a data directory: at the state of each call, whatever a server writes meanwhile.
///
/// Creates nothing. Of a directory that has no `netlat.db-wal` (a bare copy, never one a server left) it assumes that
/// no server starts on it while the reader is open.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    directory: Directory,
    database: PathBuf,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageSize {
    pub database_bytes: u64,
    pub segments: u64,
    pub segment_bytes: u64,
    pub sealed_samples: u64,
    pub unsealed_samples: u64,
    /// Segments whose file was not there when the server started.
    pub missing_segments: u64,
}

impl Reader {
    pub fn open(dir: &Path) -> Result<Reader, StoreError> {
        let directory = Directory::new(dir);
        let database = directory.database();
        match database.try_exists() {
            Ok(true) => {}
            Err(error) if error.kind() != std::io::ErrorKind::NotADirectory => {
                return Err(StoreError::io("look for data in", dir)(error));
            }
            Ok(false) | Err(_) => return Err(StoreError::NoData(dir.to_owned())),
        }
        let db = connect(&directory)?;
        schema::check(&db, &database)?;
        Ok(Reader { db, directory, database })
    }

    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        body(&self.db).map_err(StoreError::sql(doing, &self.database))
    }

    pub fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.read("list the workers", workers)
    }

    pub fn tasks(&self) -> Result<Vec<Task>, StoreError> {
        self.read("list the tasks", tasks::tasks)
    }

    /// The newest of each direction and family.
    pub fn traces(&self, worker: &WorkerName) -> Result<Vec<TraceRow>, StoreError> {
        self.read("read the traces", |db| traces(db, worker))
    }

    /// Oldest first. Sessions are known as long as their samples.
    pub fn sessions(&self, query: &SessionQuery) -> Result<Vec<SessionInfo>, StoreError> {
        self.read("list the sessions", |db| sessions(db, query))
    }

    pub fn counters(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read("read the counters", counters)
    }

    /// The verdicts in force of running workers.
    pub fn verdicts(&self, worker: Option<&WorkerName>) -> Result<Vec<VerdictRow>, StoreError> {
        self.read("read the verdicts", |db| verdicts::in_force(db, worker))
    }

    /// Verdicts that changed, oldest first.
    pub fn verdict_changes(&self, query: &TimeQuery) -> Result<Vec<VerdictRow>, StoreError> {
        self.read("read the changes of verdicts", |db| verdicts::changes(db, query))
    }

    /// What alerts stand raised or are about to turn.
    pub fn alerts(&self) -> Result<Vec<AlertState>, StoreError> {
        self.read("read the alerts", alerts::states)
    }

    /// What is to be told now, oldest first.
    pub fn alert_notes(&self, now_s: i64) -> Result<Vec<AlertNote>, StoreError> {
        self.read("read what alerts are to be told", |db| alerts::due(db, now_s))
    }

    /// Rules and how many notes of each still wait.
    pub fn alert_backlog(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read("count what alerts are to be told", alerts::backlog)
    }

    /// Differs from the last answer of this reader if anything was committed meanwhile.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.read("look for new data", |db| db.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    /// The first and the last bucket of a worker's rollups.
    pub fn rollup_span(
        &self,
        worker: &WorkerName,
        period: Period,
    ) -> Result<Option<(UnixNanos, UnixNanos)>, StoreError> {
        self.read("look for the ends of the rollups", |db| rollup::span(db, worker, period))
    }

    /// By worker's name, oldest first.
    pub fn clocks(&self, query: &TimeQuery) -> Result<Vec<ClockRow>, StoreError> {
        self.read("read the clocks", |db| clocks(db, query))
    }

    pub fn storage(&self) -> Result<StorageSize, StoreError> {
        self.read("measure the data", |db| {
            let mut size = StorageSize { database_bytes: retain::database_bytes(db)?, ..StorageSize::default() };
            for segment in manifest::list(db, 0, &SampleQuery::default())? {
                size.segments += 1;
                size.segment_bytes += segment.bytes as u64;
                size.sealed_samples += segment.rows as u64;
                size.missing_segments += u64::from(segment.missing);
            }
            size.unsealed_samples = rows::count(db)?;
            Ok(size)
        })
    }

    /// Calls `f` with every rollup of the query, by worker's name and then by time; answers with their number.
    pub fn rollups(&self, query: &RollupQuery, f: &mut dyn FnMut(Rollup)) -> Result<u64, StoreError> {
        self.read("read the rollups", |db| rollup::visit(db, query, f))
    }

    /// Calls `f` with every sample of the query once, sealed or not, also while a server seals; answers with their
    /// number. Segments come in the order of sealing and unsealed samples last; each of these is sorted by worker,
    /// session, direction and time. Samples that retention deletes meanwhile are left out.
    pub fn samples(&self, query: &SampleQuery, f: &mut dyn FnMut(&WorkerName, &Sample)) -> Result<u64, StoreError> {
        self.visit(query, &mut |worker, sample| {
            f(worker, sample);
            Ok(())
        })
    }

    /// [`Reader::samples`] that ends at the first error of `f`.
    pub(crate) fn visit(
        &self,
        query: &SampleQuery,
        f: &mut dyn FnMut(&WorkerName, &Sample) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let failed = || StoreError::sql("read samples", &self.database);
        let mut count = 0;
        let mut f = |worker: &WorkerName, sample: &Sample| {
            count += 1;
            f(worker, sample)
        };

        // Segments never change, so the many old ones need no transaction, which would keep the log from shrinking.
        let (segments, last) =
            self.snapshot(|db| Ok((manifest::list(db, 0, query)?, manifest::last_id(db)?))).map_err(failed())?;
        for segment in segments {
            self.visit_segment(&segment, query, &mut f)?;
        }

        // One look at what has been sealed meanwhile and at what has not: each row is in exactly one of the two.
        let transaction = self.db.unchecked_transaction().map_err(failed())?;
        for segment in manifest::list(&transaction, last, query).map_err(failed())? {
            self.visit_segment(&segment, query, &mut f)?;
        }
        let mut failure = None;
        rows::visit(&transaction, query, &mut |worker, sample| match f(worker, sample) {
            Ok(()) => true,
            Err(error) => {
                failure = Some(error);
                false
            }
        })
        .map_err(failed())?;
        match failure {
            Some(error) => Err(error),
            None => Ok(count),
        }
    }

    fn snapshot<T>(&self, body: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let transaction = self.db.unchecked_transaction()?;
        body(&transaction)
    }

    fn visit_segment(
        &self,
        segment: &SegmentRow,
        query: &SampleQuery,
        f: &mut dyn FnMut(&WorkerName, &Sample) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let path = self.directory.segment(&segment.file);
        match File::open(&path) {
            Ok(file) => segment_read::visit(&path, file, query, f),
            Err(_) if segment.missing => {
                tracing::warn!(file = %path.display(), samples = segment.rows, "left a missing segment out");
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_still_listed(segment)? => Ok(()),
            Err(error) => Err(StoreError::io("open the segment", &path)(error)),
        }
    }

    /// Asks on a connection of its own: this one may look at an older state.
    fn is_still_listed(&self, segment: &SegmentRow) -> Result<bool, StoreError> {
        let db = connect(&self.directory)?;
        manifest::is_listed(&db, segment.id).map_err(StoreError::sql("look a segment up", &self.database))
    }
}

/// A server that was just started makes the log within this time.
const STARTUP: Duration = Duration::from_millis(500);
const STARTUP_PAUSE: Duration = Duration::from_millis(20);

/// Where there is a log, SQLite's own locks do. A directory without one (a copy of the database alone) has no writer,
/// and is opened as a file that does not change; otherwise SQLite would create a log there.
fn connect(directory: &Directory) -> Result<Connection, StoreError> {
    let path = directory.database();
    let log = directory.database_log();
    let mut waited = Duration::ZERO;
    while !log.exists() && directory.has_writer() && waited < STARTUP {
        std::thread::sleep(STARTUP_PAUSE);
        waited += STARTUP_PAUSE;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let db = if log.exists() {
            Connection::open_with_flags(&path, flags)?
        } else {
            Connection::open_with_flags(unchanging(&path), flags | OpenFlags::SQLITE_OPEN_URI)?
        };
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.execute_batch("PRAGMA cache_size = -2048; PRAGMA query_only = ON;")?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(db)
    };
    open().map_err(StoreError::sql("open the database", &path))
}

fn unchanging(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            _ => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri + "?immutable=1"
}
