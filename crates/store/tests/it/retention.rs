//! What is deleted, in which order, and what stays for ever.

use model::{SessionId, UnixNanos};
use store::{ClockRow, Commit, Period, Reader, RollupQuery, SampleQuery, Store, StoreOptions, TimeQuery};

use crate::generate::{START, commit_of, name, plain, read};

const DAY: i64 = 86_400_000_000_000;

fn on_day(day: i64) -> UnixNanos {
    UnixNanos(START + day * DAY)
}

/// One segment a day, of 100 samples each with its own session.
fn fill(store: &mut Store, days: i64) {
    for day in 0..days {
        let mut commit = commit_of("ams1", (0..100).map(|i| plain(day as u32, i)));
        for stored in &mut commit.samples[0].samples {
            stored.sample.sent_at.0 += day * DAY;
            stored.sample.received_at = stored.sample.received_at.map(|at| at.plus(day * DAY));
        }
        commit.clocks.push(ClockRow {
            worker: name("ams1"),
            at: on_day(day),
            offset_ns: 0,
            uncertainty_ns: 0,
            skew_ppm: 0.0,
            steps: 0,
        });
        store.commit(&commit).unwrap();
        store.seal_all(on_day(day)).unwrap();
    }
}

fn sessions_left(dir: &tempfile::TempDir) -> Vec<u32> {
    let mut sessions: Vec<u32> =
        read(dir.path(), &SampleQuery::default()).iter().map(|(_, sample)| sample.session.0).collect();
    sessions.dedup();
    sessions
}

fn days_rolled_up(dir: &tempfile::TempDir, period: Period) -> Vec<i64> {
    let mut days = Vec::new();
    Reader::open(dir.path())
        .unwrap()
        .rollups(&RollupQuery::all(period), &mut |rollup| days.push((rollup.start.0 + DAY / 2 - START) / DAY))
        .unwrap();
    days.dedup();
    days
}

fn segments(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path().join("segments")).unwrap().count()
}

#[test]
fn old_samples_and_minutes_go_and_hours_stay() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { raw_days: 3, minute_days: 6, ..StoreOptions::default() };
    let mut store = Store::open(dir.path(), options).unwrap();
    fill(&mut store, 10);
    let report = store.retain(on_day(9)).unwrap();
    assert_eq!((report.segments, report.samples, report.clocks), (6, 600, 3));
    assert_eq!(sessions_left(&dir), [6, 7, 8, 9]);
    assert_eq!(segments(&dir), 4);
    assert_eq!(days_rolled_up(&dir, Period::Minute), [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(days_rolled_up(&dir, Period::Hour), (0..10).collect::<Vec<_>>());
    let clocks = Reader::open(dir.path()).unwrap().clocks(&TimeQuery::default()).unwrap();
    assert_eq!(clocks.len(), 7);
    assert_eq!(store.retain(on_day(9)).unwrap(), Default::default(), "a second look finds nothing more");
}

#[test]
fn the_size_limit_takes_the_oldest_first_and_never_the_unsealed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    fill(&mut store, 6);
    store.commit(&commit_of("ams1", (0..100).map(|i| plain(6, i)))).unwrap();
    let size = Reader::open(dir.path()).unwrap().storage().unwrap();
    assert_eq!((size.segments, size.sealed_samples, size.unsealed_samples), (6, 600, 100));
    let each = size.segment_bytes / 6;
    drop(store);

    // Room for four and a half segments beside the database.
    let max_bytes = size.database_bytes + each * 9 / 2;
    let options = StoreOptions { max_bytes, ..StoreOptions::default() };
    let mut store = Store::open(dir.path(), options).unwrap();
    let report = store.retain(on_day(6)).unwrap();
    assert_eq!((report.segments, report.samples), (2, 200));
    assert_eq!(sessions_left(&dir), [2, 3, 4, 5, 6]);
    drop(store);

    let options = StoreOptions { max_bytes: 0, ..StoreOptions::default() };
    let mut store = Store::open(dir.path(), options).unwrap();
    assert_eq!(store.retain(on_day(6)).unwrap().segments, 4);
    assert_eq!(sessions_left(&dir), [6]);
    assert_eq!(segments(&dir), 0);
    // Ids are never used again, so a reader cannot take a new segment for one it has read.
    store.seal_all(on_day(6)).unwrap();
    assert!(dir.path().join("segments/samples-0000000007.parquet").exists());
}

#[test]
fn samples_with_absurd_times_go_like_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions { raw_days: 3, ..StoreOptions::default() }).unwrap();
    let mut commit = commit_of("ams1", (0..3).map(|i| plain(1, i)));
    for (stored, at) in commit.samples[0].samples.iter_mut().zip([i64::MIN, 0, i64::MAX]) {
        stored.sample.sent_at = UnixNanos(at);
        stored.sample.received_at = None;
    }
    store.commit(&commit).unwrap();
    store.seal_all(on_day(0)).unwrap();
    assert_eq!(store.retain(on_day(2)).unwrap().segments, 0);
    assert_eq!(store.retain(on_day(4)).unwrap().samples, 3);
}

#[test]
fn a_session_goes_with_its_samples() {
    use model::control::SessionInfo;
    use model::{BootId, DirectionChoice, Family, Kind};
    use store::{SessionKeys, SessionPlan, SessionQuery};

    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions { raw_days: 3, ..StoreOptions::default() }).unwrap();
    for id in [1, 2, 3] {
        let info = SessionInfo {
            session: SessionId(id),
            worker: name("ams1"),
            boot: BootId(1),
            kind: Kind::Rtp,
            family: Family::Ipv4,
            direction: DirectionChoice::Up,
            started_at: on_day(0),
            ended_at: None,
            from: None,
            to: None,
            notes: Vec::new(),
            experiment: None,
            local_queue: Vec::new(),
            transfers: Vec::new(),
        };
        store.open_session(&info, &SessionKeys { up: [0; 32], down: [0; 32] }, &SessionPlan::default()).unwrap();
    }
    let ended = vec![(SessionId(1), on_day(0)), (SessionId(2), on_day(2))];
    store.commit(&Commit { ended, ..Commit::default() }).unwrap();
    assert_eq!(store.retain(on_day(4)).unwrap().sessions, 1);
    let left = Reader::open(dir.path()).unwrap().sessions(&SessionQuery::default()).unwrap();
    assert_eq!(left.iter().map(|session| session.session.0).collect::<Vec<_>>(), [2, 3]);
}
