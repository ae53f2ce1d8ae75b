//! Reading while a server commits, seals and deletes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use model::UnixNanos;
use store::{ExportFormat, Reader, SampleQuery, Store, StoreOptions};

use crate::generate::{START, commit_of, plain};

const COMMITS: u32 = 150;
const EACH: u32 = 40;

#[test]
fn a_reader_sees_every_sample_once_while_a_server_seals() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let committed = AtomicU32::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let reader = Reader::open(dir.path()).unwrap();
            let mut looks = 0;
            while !done.load(Ordering::SeqCst) || looks == 0 {
                let at_least = committed.load(Ordering::SeqCst) * EACH;
                let mut seen = HashSet::new();
                reader
                    .samples(&SampleQuery::default(), &mut |_, sample| {
                        assert!(seen.insert(sample.sequence), "{} twice", sample.sequence);
                    })
                    .unwrap();
                // Commits are seen whole and in order.
                assert!(seen.len() as u32 >= at_least && (seen.len() as u32).is_multiple_of(EACH), "{}", seen.len());
                assert!((0..seen.len() as u32).all(|sequence| seen.contains(&sequence)));
                looks += 1;
            }
            looks
        });
        for number in 0..COMMITS {
            store.commit(&commit_of("ams1", (number * EACH..(number + 1) * EACH).map(|i| plain(1, i)))).unwrap();
            committed.store(number + 1, Ordering::SeqCst);
            if number % 4 == 3 {
                store.seal_all(UnixNanos(START)).unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
        assert!(looks.join().unwrap() > 0);
    });
}

#[test]
fn samples_sealed_or_deleted_during_a_read_are_neither_doubled_nor_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { raw_days: 1, ..StoreOptions::default() };
    let mut store = Store::open(dir.path(), options).unwrap();
    for part in 0..3 {
        store.commit(&commit_of("ams1", (part * 10..part * 10 + 10).map(|i| plain(1, i)))).unwrap();
        if part < 2 {
            store.seal_all(UnixNanos(START)).unwrap();
        }
    }
    let reader = Reader::open(dir.path()).unwrap();
    let mut seen = Vec::new();
    let mut store = Some(store);
    reader
        .samples(&SampleQuery::default(), &mut |_, sample| {
            if let (5, Some(mut store)) = (seen.len(), (seen.len() == 5).then(|| store.take()).flatten()) {
                // In the middle of the first segment: the rest is sealed a day later, and the first two go.
                store.seal_all(UnixNanos(START + 2 * 86_400_000_000_000)).unwrap();
                assert_eq!(store.retain(UnixNanos(START + 2 * 86_400_000_000_000)).unwrap().segments, 2);
            }
            seen.push(sample.sequence);
        })
        .unwrap();
    seen.sort_unstable();
    let expected: Vec<u32> = (0..10).chain(20..30).collect();
    assert_eq!(seen, expected, "the first segment was open, the second gone, the third sealed meanwhile");
    assert_eq!(reader.export_to(ExportFormat::Csv, &SampleQuery::default(), &mut Vec::new()).unwrap(), 10);
}
