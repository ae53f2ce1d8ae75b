//! Who may open a directory, what is refused, and what a reader leaves behind: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use model::UnixNanos;
use rusqlite::Connection;
use store::{Reader, SampleQuery, Store, StoreError, StoreOptions};

use crate::generate::{START, commit_of, of_commits, plain, read};

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, StoreOptions::default())
}

fn listing(dir: &Path) -> BTreeSet<(String, u64)> {
    let entries = [dir.to_owned(), dir.join("segments")].into_iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path().display().to_string(), entry.metadata().unwrap().len()))
        .collect()
}

#[test]
fn one_server_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, StoreError::InUse(_)), "{message}");
    assert!(message.contains(&dir.path().display().to_string()) && message.contains("another netlat server"));
    drop(store);
    open(dir.path()).unwrap();
}

#[test]
fn files_are_the_owners_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("deep/data");
    let mut store = open(&dir).unwrap();
    store.commit(&commit_of("ams1", (0..10).map(|i| plain(1, i)))).unwrap();
    store.seal_all(UnixNanos(START)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("segments"))), (0o700, 0o700));
    for file in ["netlat.db", "netlat.db-wal", "netlat.db-shm", "netlat.lock", "segments/samples-0000000001.parquet"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    drop(store);
    fs::set_permissions(dir.join("netlat.db"), fs::Permissions::from_mode(0o644)).unwrap();
    let _store = open(&dir).unwrap();
    assert_eq!(mode(&dir.join("netlat.db")), 0o600);
}

#[test]
fn a_newer_or_foreign_database_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let database = dir.path().join("netlat.db");
    Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&database).unwrap();
    for error in [open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
        assert!(error.to_string().contains("update netlat"), "{error}");
    }
    assert_eq!(fs::read(&database).unwrap(), before);

    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("netlat.db");
    Connection::open(&database).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&database).unwrap();
    for error in [open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    }
    assert_eq!(fs::read(&database).unwrap(), before);

    fs::write(&database, vec![7; 5000]).unwrap();
    for error in [open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    }
}

#[test]
fn a_reader_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(dir.path()).unwrap_err(), StoreError::NoData(_)));
    assert!(listing(dir.path()).is_empty());

    let commits = [commit_of("ams1", (0..50).map(|i| plain(1, i))), commit_of("ams1", (50..99).map(|i| plain(1, i)))];
    let mut store = open(dir.path()).unwrap();
    store.commit(&commits[0]).unwrap();
    store.seal_all(UnixNanos(START)).unwrap();
    store.commit(&commits[1]).unwrap();
    drop(store);

    let before = listing(dir.path());
    assert_eq!(read(dir.path(), &SampleQuery::default()), of_commits(&commits));
    assert_eq!(listing(dir.path()), before, "after a server that stopped");

    // A copy of the database and the segments without SQLite's log, as a backup may be; with characters a URI escapes.
    let copy = dir.path().join("copy of 100% ä?#");
    fs::create_dir_all(copy.join("segments")).unwrap();
    for file in ["netlat.db", "segments/samples-0000000001.parquet"] {
        fs::copy(dir.path().join(file), copy.join(file)).unwrap();
    }
    let before = listing(&copy);
    assert_eq!(read(&copy, &SampleQuery::default()), of_commits(&commits));
    assert_eq!(listing(&copy), before, "a bare copy");
}

#[test]
fn a_reader_does_not_keep_a_server_from_starting_or_writing() {
    let dir = tempfile::tempdir().unwrap();
    let commits = [commit_of("ams1", (0..50).map(|i| plain(1, i))), commit_of("ams1", (50..99).map(|i| plain(1, i)))];
    open(dir.path()).unwrap().commit(&commits[0]).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let mut store = open(dir.path()).unwrap();
    store.commit(&commits[1]).unwrap();
    store.seal_all(UnixNanos(START)).unwrap();
    let mut count = 0;
    reader.samples(&SampleQuery::default(), &mut |_, _| count += 1).unwrap();
    assert_eq!(count, 99, "a reader opened before sees what was written since");
}
