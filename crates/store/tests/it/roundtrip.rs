//! Whatever is committed, sealed and reopened in whatever order: what is read is what was committed.

use std::collections::BTreeMap;

use model::{Kind, SampleFlags, UnixNanos, WorkerName};
use proptest::prelude::*;
use store::{
    Commit, CorrectedDelay, Period, Reader, Rollup, RollupQuery, SampleQuery, Store, StoreOptions, StoredSample, Tally,
    WorkerSamples, time_of,
};

use crate::generate::{START, commits, name, of_commits, plain, read, sorted};

#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    Seal,
    Reopen,
}

fn after() -> impl Strategy<Value = After> {
    prop_oneof![2 => Just(After::Nothing), 2 => Just(After::Seal), 1 => Just(After::Reopen)]
}

fn queries() -> impl Strategy<Value = SampleQuery> {
    let time = prop::option::of(START..START + 7_200_000_000_000).prop_map(|time| time.map(UnixNanos));
    (
        prop::option::of(prop::sample::select(vec!["ams1", "nyc1", "nobody"])),
        prop::option::of(prop::sample::select(vec![1u32, u32::MAX, 7])),
        time.clone(),
        time,
        prop::collection::vec(prop::sample::select(Kind::ALL.to_vec()), 0..3),
        prop::option::of(prop::sample::select(model::Direction::ALL.to_vec())),
        prop::option::of(prop::sample::select(model::Family::ALL.to_vec())),
    )
        .prop_map(|(worker, session, since, until, kinds, direction, family)| SampleQuery {
            worker: worker.map(name),
            session: session.map(model::SessionId),
            since,
            until,
            kinds,
            direction,
            family,
        })
}

type Key = (WorkerName, i64, Kind, model::Direction, model::Family, model::Tos);

/// The rollups as their documentation says, by counting.
fn counted(commits: &[Commit], period: Period) -> BTreeMap<Key, (Tally, Vec<i64>)> {
    let mut rollups: BTreeMap<Key, (Tally, Vec<i64>)> = BTreeMap::new();
    for group in commits.iter().flat_map(|commit| &commit.samples) {
        for StoredSample { sample, delay } in &group.samples {
            if sample.kind == Kind::Clock {
                continue;
            }
            let ns = period.seconds() * 1_000_000_000;
            let start = time_of(sample).0.div_euclid(ns).saturating_mul(ns);
            let key = (group.worker.clone(), start, sample.kind, sample.direction, sample.family, sample.tos_sent);
            let (tally, delays) = rollups.entry(key).or_default();
            tally.sent += 1;
            let intercepted = sample.flags.has(SampleFlags::INTERCEPTED);
            let rewritten = sample.flags.has(SampleFlags::LOCAL_REWRITE);
            tally.intercepted += u64::from(intercepted);
            tally.rewritten += u64::from(rewritten);
            if sample.received_at.is_some() {
                tally.received += 1;
                if let Some(mark) = sample.tos_received.filter(|_| !intercepted && !rewritten) {
                    *tally.marks.entry(mark).or_default() += 1;
                }
            } else {
                tally.lost += 1;
            }
            tally.duplicated += u64::from(sample.flags.has(SampleFlags::DUPLICATED));
            tally.reordered += u64::from(sample.flags.has(SampleFlags::REORDERED));
            if let Some(delay) = delay {
                tally.min_ns = Some(tally.min_ns.map_or(delay.ns, |min| min.min(delay.ns)));
                tally.max_ns = tally.max_ns.max(Some(delay.ns));
                tally.uncertainty_ns = tally.uncertainty_ns.max(Some(delay.uncertainty_ns));
                delays.push(delay.ns);
            }
        }
    }
    rollups
}

fn rollups(reader: &Reader, query: &RollupQuery) -> Vec<Rollup> {
    let mut found = Vec::new();
    assert_eq!(reader.rollups(query, &mut |rollup| found.push(rollup)).unwrap(), found.len() as u64);
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn what_is_read_is_what_was_committed(
        commits in commits(),
        steps in prop::collection::vec(after(), 8),
        query in queries(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        for (commit, after) in commits.iter().zip(steps) {
            store.commit(commit).unwrap();
            match after {
                After::Nothing => {}
                After::Seal => { store.seal_all(UnixNanos(START)).unwrap(); }
                After::Reopen => {
                    drop(store);
                    store = Store::open(dir.path(), StoreOptions::default()).unwrap();
                }
            }
        }

        let all = of_commits(&commits);
        prop_assert_eq!(read(dir.path(), &SampleQuery::default()), all.clone());
        let wanted = sorted(all.into_iter().filter(|(worker, sample)| query.matches(worker, sample)).collect());
        prop_assert_eq!(read(dir.path(), &query), wanted);

        let reader = Reader::open(dir.path()).unwrap();
        for period in [Period::Minute, Period::Hour] {
            let mut expected = counted(&commits, period);
            for rollup in rollups(&reader, &RollupQuery::all(period)) {
                let key = (rollup.worker, rollup.start.0, rollup.kind, rollup.direction, rollup.family, rollup.tos_sent);
                let (tally, mut delays) = expected.remove(&key).expect("a rollup nobody committed, or twice");
                prop_assert_eq!(rollup.tally.delay.count(), delays.len() as u64);
                delays.sort_unstable();
                for q in [0.0, 0.5, 0.95, 1.0] {
                    let rank = ((q * delays.len() as f64).ceil() as usize).max(1);
                    let (exact, found) = (delays.get(rank - 1).copied(), rollup.tally.delay.quantile(q));
                    prop_assert_eq!(exact.is_some(), found.is_some());
                    if let (Some(exact), Some(found)) = (exact, found) {
                        prop_assert!((found - exact as f64).abs() <= 0.0101 * (exact as f64).abs());
                    }
                }
                prop_assert_eq!(Tally { delay: Default::default(), ..rollup.tally }, tally);
            }
            prop_assert!(expected.is_empty(), "rollups that are not there: {:?}", expected.keys());
        }
    }
}

#[test]
fn rollups_are_filtered_by_the_start_of_their_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    // START is 20 s into a minute; 50 probes a second for five minutes.
    let samples = (0..15_000).map(|sequence| StoredSample { sample: plain(1, sequence), delay: None }).collect();
    store
        .commit(&Commit { samples: vec![WorkerSamples { worker: name("ams1"), samples }], ..Commit::default() })
        .unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let minute = 60_000_000_000;
    let first = START - START % minute;
    let starts = |since: Option<i64>, until: Option<i64>| {
        let (since, until) = (since.map(UnixNanos), until.map(UnixNanos));
        let found = rollups(&reader, &RollupQuery { since, until, ..RollupQuery::all(Period::Minute) });
        let mut starts: Vec<i64> = found.iter().map(|rollup| (rollup.start.0 - first) / minute).collect();
        starts.dedup();
        starts
    };
    assert_eq!(starts(None, None), [0, 1, 2, 3, 4, 5]);
    assert_eq!(starts(Some(START), None), [0, 1, 2, 3, 4, 5], "since is rounded down to a bucket");
    assert_eq!(starts(Some(first + minute), Some(first + 3 * minute)), [1, 2]);
    assert_eq!(starts(Some(first + minute), Some(first + 3 * minute + 1)), [1, 2, 3]);
}

#[test]
fn a_large_backlog_reads_back_across_row_groups() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let mut commits = Vec::new();
    for (worker, session) in [("nyc1", 9), ("ams1", 3)] {
        let delay = Some(CorrectedDelay { ns: 1, uncertainty_ns: 1 });
        let samples = (0..40_000).map(|sequence| StoredSample { sample: plain(session, sequence), delay }).collect();
        commits.push(Commit { samples: vec![WorkerSamples { worker: name(worker), samples }], ..Commit::default() });
    }
    commits.iter().for_each(|commit| store.commit(commit).unwrap());
    let report = store.seal_all(UnixNanos(START)).unwrap();
    assert_eq!((report.segments, report.samples), (1, 80_000));
    assert!(report.bytes < 80_000 * 12, "{} bytes", report.bytes);
    assert_eq!(read(dir.path(), &SampleQuery::default()), of_commits(&commits));
    // In the file's own order: sorted by worker, session, direction, time.
    let mut order = Vec::new();
    Reader::open(dir.path())
        .unwrap()
        .samples(&SampleQuery::default(), &mut |worker, sample| {
            order.push((worker.clone(), sample.session, sample.direction, time_of(sample)));
        })
        .unwrap();
    assert!(order.is_sorted());
    let one = SampleQuery { session: Some(model::SessionId(9)), ..SampleQuery::default() };
    assert_eq!(read(dir.path(), &one).len(), 40_000);
}

#[test]
fn an_experiments_samples_are_kept_and_not_summed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let mut commit = crate::generate::commit_of("nyc1", (0..10).map(|n| crate::generate::plain(1, n)));
    commit.samples.extend(crate::generate::commit_of("nyc1", (0..7).map(|n| crate::generate::plain(2, n))).samples);
    commit.not_summed = vec![model::SessionId(2)];
    store.commit(&commit).unwrap();
    assert_eq!(read(dir.path(), &SampleQuery::default()).len(), 17);
    let reader = Reader::open(dir.path()).unwrap();
    let sent: u64 = rollups(&reader, &RollupQuery::all(Period::Hour)).iter().map(|rollup| rollup.tally.sent).sum();
    assert_eq!(sent, 10);
}

#[test]
fn a_query_by_family_and_class_finds_these_alone_and_counts_come_without_delays() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let of = |class: u8, family: model::Family, session: u32| {
        crate::generate::commit_of(
            "nyc1",
            (1..5).map(|n| model::Sample {
                tos_sent: model::Tos::from_byte(class),
                family,
                ..crate::generate::plain(session, n)
            }),
        )
    };
    for (session, (class, family)) in
        [(0, model::Family::Ipv4), (0xb8, model::Family::Ipv4), (0xb8, model::Family::Ipv6)].into_iter().enumerate()
    {
        store.commit(&of(class, family, session as u32 + 1)).unwrap();
    }
    let reader = Reader::open(dir.path()).unwrap();
    let query = RollupQuery {
        family: Some(model::Family::Ipv4),
        classes: vec![model::Tos::from_byte(0xb8)],
        without_delays: true,
        ..RollupQuery::all(Period::Minute)
    };
    let found = rollups(&reader, &query);
    assert!(!found.is_empty());
    assert!(found.iter().all(|one| one.family == model::Family::Ipv4 && one.tos_sent.byte() == 0xb8));
    assert_eq!(found.iter().map(|one| one.tally.sent).sum::<u64>(), 4);
}
