//! Who may open a directory, what is refused, and what a reader leaves behind: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use model::{ReceivedHalf, SampleFlags, SentHalf, Tos, UnixNanos};
use rusqlite::Connection;
use store::{Halves, Reader, SampleQuery, Store, StoreError, StoreOptions};

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
fn an_error_names_its_path_once() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let database = dir.path().join("netlat.db");
    fs::remove_file(&database).unwrap();
    fs::create_dir(&database).unwrap();
    for error in [open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
        let line = error.to_string();
        assert_eq!(line.matches("netlat.db").count(), 1, "{line}");
        assert!(line.contains("open"), "{line}");
    }
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

/// A directory as an earlier version left it: a sample a row, halves as the messages' JSON.
fn old_directory(dir: &Path, scripts: &[&str]) -> Vec<model::Sample> {
    let db = Connection::open(dir.join("netlat.db")).unwrap();
    for script in scripts {
        db.execute_batch(script).unwrap();
    }
    db.pragma_update(None, "application_id", 0x4e74_4c74).unwrap();
    db.pragma_update(None, "user_version", scripts.len() as u32).unwrap();
    db.execute_batch("INSERT INTO worker (id, name, joined_at) VALUES (1, 'nyc1', 0), (2, 'ams1', 0)").unwrap();
    let samples: Vec<_> = (0..5000).map(|i| plain(2 - i % 2, i)).collect();
    for sample in &samples {
        let worker = sample.session.0;
        let row: [Option<i64>; 14] = [
            Some(worker.into()),
            Some(sample.session.0.into()),
            Some(sample.direction as i64),
            Some(store::time_of(sample).0),
            Some(sample.sequence.into()),
            Some(sample.kind as i64),
            Some(sample.family as i64),
            Some(sample.tos_sent.byte().into()),
            sample.tos_received.map(|tos| tos.byte().into()),
            Some(sample.sent_at.0),
            sample.received_at.map(|at| at.0),
            sample.ttl.map(i64::from),
            Some(sample.size.into()),
            Some(sample.flags.0.into()),
        ];
        db.prepare_cached(
            "INSERT INTO sample (worker, session, direction, time_ns, sequence, kind, family, tos_sent, tos_received, \
             sent_at, received_at, ttl, size, flags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .unwrap()
        .execute(row)
        .unwrap();
    }
    let sent =
        r#"{"sequence":[7,9],"sent_at_ns":[-5,1790000000000000000],"tos":[184,0],"size":[220,96],"flags":[1,0]}"#;
    let received = r#"{"sequence":[8],"received_at_ns":[17],"tos":[-1],"ttl":[57],"flags":[4]}"#;
    db.execute(
        "INSERT INTO pending (session, direction, side, max_sequence, bytes) VALUES (1, 0, 0, 9, ?), (1, 1, 1, 8, ?)",
        [sent.as_bytes(), received.as_bytes()],
    )
    .unwrap();
    samples
}

#[test]
fn what_earlier_versions_left_is_carried_over() {
    let scripts = [include_str!("../../src/schema_1.sql"), include_str!("../../src/schema_2.sql")];
    for version in 1..=scripts.len() {
        let dir = tempfile::tempdir().unwrap();
        let samples = old_directory(dir.path(), &scripts[..version]);
        let error = Reader::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Older { .. }), "{error}");
        let mut store = open(dir.path()).unwrap();
        let of_worker = |worker: &str, session: u32| {
            commit_of(worker, samples.iter().filter(|sample| sample.session.0 == session).copied())
        };
        let expected = of_commits(&[of_worker("nyc1", 1), of_worker("ams1", 2)]);
        assert_eq!(read(dir.path(), &SampleQuery::default()), expected, "version {version}");
        let halves: Vec<_> = store.pending().unwrap().into_iter().map(|pending| pending.halves).collect();
        let sent = |sequence, at, tos, size, flags| SentHalf {
            sequence,
            sent_at: UnixNanos(at),
            tos: Tos::from_byte(tos),
            size,
            flags: SampleFlags(flags),
        };
        let received =
            ReceivedHalf { sequence: 8, received_at: UnixNanos(17), tos: None, ttl: Some(57), flags: SampleFlags(4) };
        let sent = vec![sent(7, -5, 184, 220, 1), sent(9, 1_790_000_000_000_000_000, 0, 96, 0)];
        assert_eq!(halves, [Halves::Sent(sent), Halves::Received(vec![received])], "version {version}");
        assert_eq!(store.seal_all(UnixNanos(START)).unwrap().samples, 5000);
        assert_eq!(read(dir.path(), &SampleQuery::default()), expected, "version {version}, sealed");
    }
}
