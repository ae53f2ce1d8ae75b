//! Samples of every shape, and reading everything back.

use std::path::Path;

use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName};
use proptest::prelude::*;
use store::{Commit, CorrectedDelay, Reader, SampleQuery, StoredSample, WorkerSamples};

pub const START: i64 = 1_790_000_000_000_000_000;

pub fn name(text: &str) -> WorkerName {
    WorkerName::new(text).unwrap()
}

/// The i-th of a stream without surprises: every tenth lost, both directions in turn.
pub fn plain(session: u32, sequence: u32) -> Sample {
    let sent_at = START + i64::from(sequence) * 20_000_000;
    let received = !sequence.is_multiple_of(10);
    Sample {
        session: SessionId(session),
        sequence,
        kind: Kind::Rtp,
        direction: if sequence.is_multiple_of(2) { Direction::Up } else { Direction::Down },
        family: Family::Ipv4,
        tos_sent: Tos::from_byte(0xb8),
        tos_received: received.then_some(Tos::from_byte(0)),
        sent_at: UnixNanos(sent_at),
        received_at: received.then_some(UnixNanos(sent_at + 25_000_000)),
        ttl: received.then_some(57),
        size: 220,
        flags: SampleFlags(0),
    }
}

pub fn commit_of(worker: &str, samples: impl IntoIterator<Item = Sample>) -> Commit {
    let samples = samples.into_iter().map(|sample| StoredSample { sample, delay: None }).collect();
    Commit { samples: vec![WorkerSamples { worker: name(worker), samples }], ..Commit::default() }
}

pub fn read(dir: &Path, query: &SampleQuery) -> Vec<(WorkerName, Sample)> {
    let mut found = Vec::new();
    let count =
        Reader::open(dir).unwrap().samples(query, &mut |worker, sample| found.push((worker.clone(), *sample))).unwrap();
    assert_eq!(count, found.len() as u64);
    sorted(found)
}

pub fn sorted(mut samples: Vec<(WorkerName, Sample)>) -> Vec<(WorkerName, Sample)> {
    samples.sort_by_cached_key(|(worker, sample)| {
        (worker.clone(), sample.session, sample.direction, sample.sequence, sample.sent_at)
    });
    samples
}

pub fn of_commits<'a>(commits: impl IntoIterator<Item = &'a Commit>) -> Vec<(WorkerName, Sample)> {
    let groups = commits.into_iter().flat_map(|commit| &commit.samples);
    sorted(groups.flat_map(|group| group.samples.iter().map(|stored| (group.worker.clone(), stored.sample))).collect())
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => START..START + 7_200_000_000_000, 1 => any::<i64>(), 1 => prop::sample::select(vec![i64::MIN, 0, i64::MAX])]
}

prop_compose! {
    /// Anything the type allows; only the sequence number is the caller's, since it names the sample.
    fn sample()(
        (session, kind, direction, family) in (
            prop::sample::select(vec![1u32, 2, u32::MAX]),
            prop::sample::select(Kind::ALL.to_vec()),
            prop::sample::select(Direction::ALL.to_vec()),
            prop::sample::select(Family::ALL.to_vec()),
        ),
        (tos_sent, tos_received, ttl) in (any::<u8>(), any::<Option<u8>>(), any::<Option<u8>>()),
        (sent_at, received_at) in (time(), prop::option::weighted(0.8, time())),
        (size, flags) in (any::<u16>(), any::<u16>()),
    ) -> Sample {
        Sample {
            session: SessionId(session),
            sequence: 0,
            kind,
            direction,
            family,
            tos_sent: Tos::from_byte(tos_sent),
            tos_received: tos_received.map(Tos::from_byte),
            sent_at: UnixNanos(sent_at),
            received_at: received_at.map(UnixNanos),
            ttl,
            size,
            flags: SampleFlags(flags),
        }
    }
}

fn delay() -> impl Strategy<Value = Option<CorrectedDelay>> {
    prop::option::of((-5_000_000i64..300_000_000, 0i64..2_000_000))
        .prop_map(|delay| delay.map(|(ns, uncertainty_ns)| CorrectedDelay { ns, uncertainty_ns }))
}

/// Commits of distinct samples: sequence numbers count through all of them.
pub fn commits() -> impl Strategy<Value = Vec<Commit>> {
    let worker = prop::sample::select(vec!["ams1", "nyc1", "nyc1-2", "z"]);
    let group = (worker, prop::collection::vec((sample(), delay()), 0..20));
    prop::collection::vec(prop::collection::vec(group, 0..4), 1..8).prop_map(|commits| {
        let mut sequence = u32::MAX - 50;
        let mut next = || {
            sequence = sequence.wrapping_add(1);
            sequence
        };
        let mut stored = |(sample, delay): (Sample, Option<CorrectedDelay>)| StoredSample {
            sample: Sample { sequence: next(), ..sample },
            delay,
        };
        let mut group = |(worker, samples): (&str, Vec<_>)| WorkerSamples {
            worker: name(worker),
            samples: samples.into_iter().map(&mut stored).collect(),
        };
        let mut commit =
            |groups: Vec<_>| Commit { samples: groups.into_iter().map(&mut group).collect(), ..Commit::default() };
        commits.into_iter().map(&mut commit).collect()
    })
}
