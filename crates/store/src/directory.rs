//! The data directory as files: who may write it, what its files are called, and what the disk has really got.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StoreError;

const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Paths within one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(crate) fn new(root: &Path) -> Directory {
        Directory { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("netlat.db")
    }

    /// SQLite's own name for its log.
    pub(crate) fn database_log(&self) -> PathBuf {
        self.root.join("netlat.db-wal")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("netlat.lock")
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(crate) fn segment(&self, file: &str) -> PathBuf {
        self.segments().join(file)
    }

    /// Makes what is missing, for the owner alone. A directory that was there keeps its mode.
    pub(crate) fn create(&self) -> Result<(), StoreError> {
        for dir in [self.root.clone(), self.segments()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(StoreError::io("create the data directory", &dir))?;
        }
        let database = self.database();
        match private_file().create_new(true).open(&database) {
            Ok(_) => {}
            // Not opened again: closing it would drop the locks of this process's other connections (POSIX).
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::set_permissions(&database, fs::Permissions::from_mode(0o600))
                    .map_err(StoreError::io("restrict the mode of", &database))?;
            }
            Err(error) => return Err(StoreError::io("create", &database)(error)),
        }
        sync_directory(&self.root)
    }

    /// Held as long as the file is open; the kernel lets go of it when the process dies.
    pub(crate) fn lock_for_writing(&self) -> Result<File, StoreError> {
        let path = self.lock();
        let file = private_file()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::io("open the lock file", &path))?;
        // A reader that looks whether a server is here holds the lock for an instant.
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
            }
        }
        Err(StoreError::InUse(self.root.clone()))
    }

    /// False where the lock file cannot be opened: then nobody can hold it either.
    pub(crate) fn has_writer(&self) -> bool {
        let Ok(file) = File::open(self.lock()) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

/// For writing, by the owner alone.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Makes new, renamed and removed names of a directory survive a power loss.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StoreError::io("flush the directory", path))
}

pub(crate) const TEMPORARY: &str = ".tmp";

/// A file written aside: under its own name only once it is whole and on the disk, and gone if that never happens.
pub(crate) struct Aside {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    placed: bool,
}

impl Aside {
    /// `mode` applies before the umask.
    pub(crate) fn create(target: &Path, mode: u32) -> Result<Aside, StoreError> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}{TEMPORARY}", std::process::id()));
        let temporary = target.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)
            .map_err(StoreError::io("create", &temporary))?;
        Ok(Aside { file, temporary, target: target.to_owned(), placed: false })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Puts the file in its place, durably; answers with its length in bytes.
    pub(crate) fn place(mut self) -> Result<u64, StoreError> {
        let failed = |doing| StoreError::io(doing, &self.target);
        self.file.sync_all().map_err(failed("flush"))?;
        let bytes = self.file.metadata().map_err(failed("measure"))?.len();
        fs::rename(&self.temporary, &self.target).map_err(failed("put in place"))?;
        self.placed = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new(".")))?;
        Ok(bytes)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
