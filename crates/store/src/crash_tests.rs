//! What a killed process, a full disk or a lost file leaves behind, step by step.

use std::fs;
use std::path::Path;

use model::{BootId, UnixNanos};

use crate::seal::Step;
use crate::testing::{commit, copy_directory, expected, name, stored};
use crate::{Commit, Period, Reader, RollupQuery, Store, StoreError, StoreOptions};

fn segment_files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("segments")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn rolled_up(dir: &Path) -> u64 {
    let mut sent = 0;
    let query = RollupQuery::all(Period::Hour);
    Reader::open(dir).unwrap().rollups(&query, &mut |rollup| sent += rollup.tally.sent).unwrap();
    sent
}

#[test]
fn a_kill_at_any_step_of_sealing_loses_nothing_and_doubles_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("data");
    let mut store = Store::open(&dir, StoreOptions::default()).unwrap();
    let first = commit(&["ams1", "nyc1"], 0, 500);
    store.commit(&first).unwrap();
    store.seal_all(UnixNanos(1)).unwrap();
    let second = commit(&["ams1", "nyc1"], 500, 1000);
    store.commit(&second).unwrap();

    // A copy of the files at a moment is what the next start finds if the process is killed at that moment.
    let mut images = Vec::new();
    store
        .seal_observed(UnixNanos(2), &mut |step| {
            let image = scratch.path().join(format!("{step:?}"));
            copy_directory(&dir, &image);
            images.push((step, image));
        })
        .unwrap();
    let steps: Vec<Step> = images.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [Step::Written, Step::Placed, Step::Recorded, Step::Committed]);

    let all = expected(&[&first, &second]);
    for (step, image) in images {
        // Before any server runs again, a reader gets along with what is there.
        assert_eq!(stored(&image), all, "{step:?}, read");
        let left: usize = segment_files(&image).len();
        assert_eq!(left, 2, "{step:?} has the old segment and a leftover or new one");
        let mut store = Store::open(&image, StoreOptions::default()).unwrap();
        let sealed = step == Step::Committed;
        assert_eq!(segment_files(&image).len(), if sealed { 2 } else { 1 }, "{step:?}");
        assert_eq!(store.unsealed.rows, if sealed { 0 } else { 1000 }, "{step:?}");
        assert_eq!(stored(&image), all, "{step:?}, reopened");
        store.seal_all(UnixNanos(3)).unwrap();
        assert_eq!(stored(&image), all, "{step:?}, sealed again");
        assert_eq!(segment_files(&image).len(), 2, "{step:?}");
        assert_eq!(rolled_up(&image), 2000, "{step:?}");
    }
}

#[test]
fn other_peoples_files_among_the_segments_stay() {
    let scratch = tempfile::tempdir().unwrap();
    drop(Store::open(scratch.path(), StoreOptions::default()).unwrap());
    let segments = scratch.path().join("segments");
    for file in ["notes.txt", "mine.parquet", "samples-0000000009.parquet", "samples-0000000010.parquet.77.tmp"] {
        fs::write(segments.join(file), b"x").unwrap();
    }
    drop(Store::open(scratch.path(), StoreOptions::default()).unwrap());
    assert_eq!(segment_files(scratch.path()), ["mine.parquet", "notes.txt"]);
}

#[test]
fn a_full_disk_is_named_and_leaves_what_was_there() {
    let scratch = tempfile::tempdir().unwrap();
    let mut store = Store::open(scratch.path(), StoreOptions::default()).unwrap();
    let first = commit(&["ams1"], 0, 100);
    store.commit(&first).unwrap();
    let pages: i64 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |store: &Store, pages: i64| {
        store.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    limit(&store, pages + 2);

    let mut second = commit(&["ams1"], 100, 5000);
    second.batches.push((name("ams1"), BootId(9), 4));
    let error = store.commit(&second).unwrap_err();
    assert!(matches!(&error, StoreError::Full(path) if *path == scratch.path().join("netlat.db")), "{error}");
    assert_eq!(stored(scratch.path()), expected(&[&first]));
    assert_eq!((rolled_up(scratch.path()), store.unsealed.rows), (100, 100));
    assert_eq!(store.last_batch(&name("ams1"), BootId(9)).unwrap(), None);

    limit(&store, 1 << 30);
    store.commit(&second).unwrap();
    assert_eq!(stored(scratch.path()), expected(&[&first, &second]));
    assert_eq!(rolled_up(scratch.path()), 5000);
    assert_eq!(store.last_batch(&name("ams1"), BootId(9)).unwrap(), Some(4));
}

#[test]
fn a_segment_that_could_not_be_written_is_taken_back() {
    let scratch = tempfile::tempdir().unwrap();
    let mut store = Store::open(scratch.path(), StoreOptions::default()).unwrap();
    let all = commit(&["ams1"], 0, 100);
    store.commit(&all).unwrap();
    // A directory in the way of the file's name: everything up to the rename works.
    let blocker = scratch.path().join("segments/samples-0000000001.parquet");
    fs::create_dir(&blocker).unwrap();
    let error = store.seal_all(UnixNanos(1)).unwrap_err();
    assert!(error.to_string().contains("samples-0000000001.parquet"), "{error}");
    assert_eq!(segment_files(scratch.path()), ["samples-0000000001.parquet"]);
    assert_eq!(stored(scratch.path()), expected(&[&all]));
    fs::remove_dir(&blocker).unwrap();
    assert_eq!(store.seal_all(UnixNanos(1)).unwrap().samples, 100);
    assert_eq!(stored(scratch.path()), expected(&[&all]));
}

#[test]
fn a_missing_segment_is_left_out_until_it_is_back() {
    let scratch = tempfile::tempdir().unwrap();
    let (first, second) = (commit(&["ams1"], 0, 100), commit(&["ams1"], 100, 200));
    let mut store = Store::open(scratch.path(), StoreOptions::default()).unwrap();
    for part in [&first, &second] {
        store.commit(part).unwrap();
        store.seal_all(UnixNanos(1)).unwrap();
    }
    let file = scratch.path().join("segments/samples-0000000001.parquet");
    let elsewhere = scratch.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    // While the server that knows it runs, its absence is an error and not a smaller answer.
    let reader = Reader::open(scratch.path()).unwrap();
    let error = reader.samples(&crate::SampleQuery::default(), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("samples-0000000001.parquet"), "{error}");

    drop(store);
    drop(Store::open(scratch.path(), StoreOptions::default()).unwrap());
    assert_eq!(stored(scratch.path()), expected(&[&second]));
    assert_eq!(reader.storage().unwrap().missing_segments, 1);
    fs::rename(&elsewhere, &file).unwrap();
    drop(Store::open(scratch.path(), StoreOptions::default()).unwrap());
    assert_eq!(stored(scratch.path()), expected(&[&first, &second]));
    assert_eq!(reader.storage().unwrap().missing_segments, 0);
}

#[test]
fn sealing_waits_for_enough_rows_or_enough_time() {
    let scratch = tempfile::tempdir().unwrap();
    let options =
        StoreOptions { seal_rows: 1000, seal_age: std::time::Duration::from_secs(60), ..StoreOptions::default() };
    let mut store = Store::open(scratch.path(), options).unwrap();
    let second = |n: i64| UnixNanos(n * 1_000_000_000);
    assert_eq!(store.seal(second(0)).unwrap().samples, 0);
    store.commit(&commit(&["ams1"], 0, 10)).unwrap();
    assert_eq!(store.seal(second(100)).unwrap().samples, 0);
    assert_eq!(store.seal(second(159)).unwrap().samples, 0);
    assert_eq!(store.seal(second(160)).unwrap().samples, 10);
    store.commit(&commit(&["ams1"], 10, 1009)).unwrap();
    assert_eq!(store.seal(second(161)).unwrap().samples, 0);
    store.commit(&commit(&["ams1"], 1009, 1010)).unwrap();
    assert_eq!(store.seal(second(162)).unwrap().samples, 1000);
    assert_eq!(store.seal(second(9999)).unwrap().samples, 0);
}

#[test]
fn the_same_commit_again_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut store = Store::open(scratch.path(), StoreOptions::default()).unwrap();
    let all: Commit = commit(&["ams1"], 0, 100);
    let overlapping: Commit = commit(&["ams1"], 50, 150);
    store.commit(&all).unwrap();
    store.commit(&all).unwrap();
    assert_eq!(stored(scratch.path()), expected(&[&all]));
    assert_eq!((rolled_up(scratch.path()), store.unsealed.rows), (100, 100));
    // Also what is sealed is known.
    store.seal_all(UnixNanos(1)).unwrap();
    store.commit(&overlapping).unwrap();
    assert_eq!(stored(scratch.path()), expected(&[&commit(&["ams1"], 0, 150)]));
    assert_eq!((rolled_up(scratch.path()), store.unsealed.rows), (150, 50));
}
