//! Samples and directories for unit tests.

use std::fs;
use std::path::Path;

use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName};

use crate::{Commit, CorrectedDelay, Reader, SampleQuery, StoredSample, WorkerSamples};

pub(crate) const START: i64 = 1_790_000_000_000_000_000;

pub(crate) fn name(text: &str) -> WorkerName {
    WorkerName::new(text).unwrap()
}

pub(crate) fn sample(session: u32, sequence: u32) -> Sample {
    let sent_at = START + i64::from(sequence) * 20_000_000;
    let lost = sequence % 10 == 9;
    Sample {
        session: SessionId(session),
        sequence,
        kind: Kind::Rtp,
        direction: if sequence.is_multiple_of(2) { Direction::Up } else { Direction::Down },
        family: Family::Ipv4,
        tos_sent: Tos::from_byte(0xb8),
        tos_received: (!lost).then_some(Tos::from_byte(0)),
        sent_at: UnixNanos(sent_at),
        received_at: (!lost).then_some(UnixNanos(sent_at + 25_000_000)),
        ttl: (!lost).then_some(57),
        size: 220,
        flags: SampleFlags(0),
    }
}

/// Samples `from..to` of one session of each worker, with the watermarks that go with them.
pub(crate) fn commit(workers: &[&str], from: u32, to: u32) -> Commit {
    let samples = workers.iter().zip(1..).map(|(worker, session)| WorkerSamples {
        worker: name(worker),
        samples: (from..to)
            .map(|sequence| {
                let sample = sample(session, sequence);
                let delay = sample.received_at.map(|_| CorrectedDelay { ns: 25_000_000, uncertainty_ns: 400_000 });
                StoredSample { sample, delay }
            })
            .collect(),
    });
    let streams = (1..=workers.len() as u32).flat_map(|session| [(session, Direction::Up), (session, Direction::Down)]);
    let resolved = streams.map(|(session, direction)| (SessionId(session), direction, to - 1));
    Commit { samples: samples.collect(), resolved: resolved.collect(), ..Commit::default() }
}

/// `(worker, session, sequence)` of everything in a directory, sorted; twice where something is there twice.
pub(crate) fn stored(dir: &Path) -> Vec<(String, u32, u32)> {
    let mut found = Vec::new();
    let reader = Reader::open(dir).unwrap();
    let count = reader
        .samples(&SampleQuery::default(), &mut |worker, sample| {
            found.push((worker.as_str().to_owned(), sample.session.0, sample.sequence));
        })
        .unwrap();
    assert_eq!(count, found.len() as u64);
    found.sort_unstable();
    found
}

pub(crate) fn expected(commits: &[&Commit]) -> Vec<(String, u32, u32)> {
    let mut all: Vec<_> = commits
        .iter()
        .flat_map(|commit| &commit.samples)
        .flat_map(|group| group.samples.iter().map(move |stored| (group.worker.as_str().to_owned(), stored.sample)))
        .map(|(worker, sample)| (worker, sample.session.0, sample.sequence))
        .collect();
    all.sort_unstable();
    all
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
