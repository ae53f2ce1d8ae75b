//! Records of applications: once each, with their cursors, and exported to the same bytes whatever the order.

use model::{BootId, Cursor, Instrument, Measurement, Metric, Record, RecordId, RecordSubmission, UnixNanos};
use store::{ExportFormat, Reader, RecordQuery, Store, StoreOptions};

use crate::generate::name;

const START: i64 = 1_790_000_000_000_000_000;

fn record(worker: &str, boot: u64, counter: u64) -> Record {
    let mut measured =
        Measurement::new(Metric::ALL[counter as usize % 5], UnixNanos(START + counter as i64 * 1_000_000));
    match counter % 7 {
        0 => measured.flag("timeout"),
        other => {
            measured.app_us = Some(1000 * other);
            measured.network_us = (other % 2 == 0).then_some(other);
            (measured.sent_us, measured.received_us) = (Some(measured.at_us), Some(measured.at_us + 5));
        }
    }
    measured.target = "GET /a,\"b\"".to_owned();
    measured.wait_us = counter % 3;
    Record {
        id: RecordId { worker: name(worker), boot: BootId(boot), counter },
        instrument: Instrument { library: "x 1".into(), language: "rust".into(), version: "0".into() },
        measured,
    }
}

fn submission(records: Vec<Record>) -> RecordSubmission {
    RecordSubmission { records, ..RecordSubmission::default() }
}

fn read(dir: &std::path::Path, query: &RecordQuery) -> Vec<Record> {
    let mut records = Vec::new();
    Reader::open(dir)
        .unwrap()
        .records(query, &mut |record| {
            records.push(record);
            true
        })
        .unwrap();
    records
}

#[test]
fn a_record_is_kept_once_and_the_first_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let all = vec![record("nyc1", u64::MAX, 1), record("nyc1", u64::MAX, 2), record("ams1", 3, 1)];
    let accepted = store.submit(&submission(all.clone())).unwrap();
    assert_eq!((accepted.new, accepted.known, accepted.conflicting), (3, 0, 0));
    let mut forged = all[0].clone();
    forged.measured.app_us = Some(1);
    let accepted = store.submit(&submission(vec![forged, all[1].clone()])).unwrap();
    assert_eq!((accepted.new, accepted.known, accepted.conflicting), (0, 1, 1));
    let counters = Reader::open(dir.path()).unwrap().counters().unwrap();
    assert_eq!(counters.get("record_conflicting"), Some(&1));
    let mut expected = all;
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    let mut kept = read(dir.path(), &RecordQuery::default());
    kept.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(kept, expected);
    let of = RecordQuery { worker: Some(name("ams1")), ..RecordQuery::default() };
    assert_eq!(read(dir.path(), &of), [record("ams1", 3, 1)]);
    let later = RecordQuery { since_us: Some(START / 1000 + 2000), ..RecordQuery::default() };
    assert_eq!(read(dir.path(), &later).len(), 1);
}

#[test]
fn cursors_and_counts_go_with_the_records_and_never_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let at = |position| RecordSubmission {
        records: Vec::new(),
        cursors: vec![Cursor { source: "discord/1".to_owned(), position }],
        counted: vec![("record_forged".to_owned(), 2)],
    };
    store.submit(&at(7)).unwrap();
    store.submit(&at(5)).unwrap();
    assert_eq!(store.cursors().unwrap(), [Cursor { source: "discord/1".to_owned(), position: 7 }]);
    assert_eq!(Reader::open(dir.path()).unwrap().counters().unwrap().get("record_forged"), Some(&4));
}

#[test]
fn the_same_hundred_thousand_records_give_the_same_bytes() {
    let all: Vec<Record> = (1..=50_000).flat_map(|n| [record("nyc1", n % 3, n), record("ams1", 9, n)]).collect();
    let export = |records: &[Record], chunk: usize| {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        for part in records.chunks(chunk) {
            store.submit(&submission(part.to_vec())).unwrap();
        }
        // And everything once more, as scraping again does.
        for part in records.chunks(1999) {
            assert_eq!(store.submit(&submission(part.to_vec())).unwrap().known, part.len() as u64);
        }
        let reader = Reader::open(dir.path()).unwrap();
        ExportFormat::ALL.map(|format| {
            let out = dir.path().join(format.name());
            assert_eq!(reader.export_records(format, &RecordQuery::default(), &out).unwrap(), 100_000);
            std::fs::read(out).unwrap()
        })
    };
    let forwards = export(&all, 2000);
    let backwards: Vec<Record> = all.iter().rev().cloned().collect();
    assert!(forwards == export(&backwards, 777), "the order of coming shows in the export");
    let csv = String::from_utf8(forwards[1].clone()).unwrap();
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("worker,boot,counter,library,"));
    assert!(lines.next().unwrap().starts_with("ams1,0000000000000009,1,x 1,rust,0,rest,"));
    assert!(csv.contains(",\"GET /a,\"\"b\"\"\","));
}

#[test]
fn old_records_go_with_the_minute_rollups() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions { minute_days: 10, ..StoreOptions::default() }).unwrap();
    let mut old = record("nyc1", 1, 1);
    old.measured.at_us -= 11 * 86_400_000_000;
    store.submit(&submission(vec![old, record("nyc1", 1, 2)])).unwrap();
    assert_eq!(store.retain(UnixNanos(START)).unwrap().records, 1);
    assert_eq!(read(dir.path(), &RecordQuery::default()).len(), 1);
}

#[test]
fn sums_are_those_of_the_records_each_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let all: Vec<Record> = (1..=140).map(|counter| record("nyc1", 5, counter)).collect();
    // In two parts, and the second part again.
    for part in [&all[..60], &all[60..], &all[60..]] {
        store.submit(&submission(part.to_vec())).unwrap();
    }
    let reader = Reader::open(dir.path()).unwrap();
    let far = 10_000_000_000_000;
    for period in [store::Period::Minute, store::Period::Hour] {
        let mut sums = std::collections::BTreeMap::<Metric, store::RecordTally>::new();
        let query = store::RecordRollupQuery {
            period,
            worker: Some(name("nyc1")),
            since: UnixNanos(START - far),
            until: UnixNanos(START + far),
            metric: None,
        };
        reader
            .record_rollups(&query, &mut |rollup| {
                assert_eq!(rollup.start.0 % (period.seconds() * 1_000_000_000), 0);
                sums.entry(rollup.metric).or_default().merge(&rollup.tally);
            })
            .unwrap();
        assert_eq!(sums.len(), 5);
        for (metric, tally) in sums {
            let own: Vec<&Record> = all.iter().filter(|record| record.measured.metric == metric).collect();
            assert_eq!(tally.samples, own.len() as u64);
            let mut app: Vec<u64> = own.iter().filter_map(|record| record.measured.app_us).collect();
            app.sort_unstable();
            assert_eq!(tally.app.count(), app.len() as u64);
            assert_eq!(tally.app.quantile(1.0), app.last().map(|us| *us as f64 * 1000.0));
            let measured = own.iter().filter(|one| one.measured.network_us.is_some()).count() as u64;
            assert_eq!(tally.network.count(), measured);
        }
    }
    assert_eq!(reader.record_workers().unwrap(), [name("nyc1")]);
}
