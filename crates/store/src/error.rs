//! What can go wrong with a data directory: what failed, on which path, and what to do.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("data directory {} is in use by another netlat server: stop that one, or give another --data-dir", .0.display())]
    InUse(PathBuf),
    #[error("there is no NetLat data in {}: start a server with this --data-dir first, or give the right one", .0.display())]
    NoData(PathBuf),
    #[error("{} is not a NetLat database: give another --data-dir", .0.display())]
    Foreign(PathBuf),
    #[error("{} was written by a newer netlat (schema {found}, this program knows {known}): update netlat", .path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{} was written by an older netlat (schema {found}, this program needs {needed}): start this version's server on it once", .path.display())]
    Older { path: PathBuf, found: u32, needed: u32 },
    #[error("no space left for {}: free some, or lower the store's size limit; nothing of this write was kept", .0.display())]
    Full(PathBuf),
    #[error("could not {doing} {}: {source}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("could not {doing} in {}: {source}", .path.display())]
    Database { doing: &'static str, path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error("could not {doing} {}: {source}", .path.display())]
    Segment { doing: &'static str, path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error("{} is damaged ({what}): restore it from a backup, or move it away", .path.display())]
    Damaged { path: PathBuf, what: String },
}

impl StoreError {
    pub(crate) fn sql(doing: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        move |source| match source {
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::DiskFull => StoreError::Full(path),
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::NotADatabase => {
                StoreError::Foreign(path)
            }
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::DatabaseCorrupt => {
                StoreError::Damaged { path, what: failure.to_string() }
            }
            rusqlite::Error::FromSqlConversionFailure(column, _, problem) => {
                StoreError::Damaged { path, what: format!("column {column}: {problem}") }
            }
            source => StoreError::Database { doing, source: without_path(source, &path), path },
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(path),
            _ => StoreError::Io { doing, path, source },
        }
    }

    pub(crate) fn parquet(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(parquet::errors::ParquetError) -> StoreError + use<> {
        let path = path.to_owned();
        move |source| {
            // The crate boxes the operating system's error; a full disk must stay recognisable.
            if let parquet::errors::ParquetError::External(inner) = &source
                && let Some(error) = inner.downcast_ref::<io::Error>()
                && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            {
                return StoreError::Full(path);
            }
            StoreError::Segment { doing, path, source: Box::new(source) }
        }
    }
}

/// Of a file that cannot be opened SQLite's own text names the path as well; the line names it already.
fn without_path(source: rusqlite::Error, path: &Path) -> Box<dyn Error + Send + Sync> {
    let text = source.to_string();
    match text.strip_suffix(&format!(": {}", path.display())) {
        Some(rest) => rest.into(),
        None => Box::new(source),
    }
}

/// A stored value that no version of this program writes.
pub(crate) fn bad_column(column: usize, what: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, what.into())
}
