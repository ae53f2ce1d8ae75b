//! The joiner under every interleaving, repeated delivery, restart and hostile sequence numbers.

use std::collections::BTreeMap;

use measure::{Joiner, StreamInfo};
use model::{Direction, Family, Kind, ReceivedHalf, Sample, SampleFlags, SentHalf, SessionId, Tos, UnixNanos};
use proptest::prelude::*;

fn info(direction: Direction) -> StreamInfo {
    StreamInfo { session: SessionId(7), kind: Kind::Udp, direction, family: Family::Ipv4 }
}

fn sent(sequence: u32) -> SentHalf {
    SentHalf {
        sequence,
        sent_at: UnixNanos(i64::from(sequence) * 1_000),
        tos: Tos::from_byte(0xb8),
        size: 220,
        flags: SampleFlags::TX_USER,
    }
}

fn received_at(sequence: u32, at: i64) -> ReceivedHalf {
    ReceivedHalf {
        sequence,
        received_at: UnixNanos(at),
        tos: Some(Tos::from_byte(0)),
        ttl: Some(57),
        flags: SampleFlags::RX_USER,
    }
}

fn received(sequence: u32) -> ReceivedHalf {
    received_at(sequence, i64::from(sequence) * 1_000 + 500)
}

fn drain(joiner: &mut Joiner) -> Vec<Sample> {
    let mut out = Vec::new();
    joiner.drain(&mut out);
    out
}

fn outcome(samples: &[Sample]) -> Vec<(u32, bool)> {
    samples.iter().map(|sample| (sample.sequence, sample.received_at.is_some())).collect()
}

#[test]
fn a_sample_has_what_both_halves_know() {
    let mut joiner = Joiner::new(info(Direction::Up));
    joiner.received(&[received(0)]);
    assert_eq!(drain(&mut joiner), []);
    joiner.sent(&[sent(0)]);
    let expected = Sample {
        session: SessionId(7),
        sequence: 0,
        kind: Kind::Udp,
        direction: Direction::Up,
        family: Family::Ipv4,
        tos_sent: Tos::from_byte(0xb8),
        tos_received: Some(Tos::from_byte(0)),
        sent_at: UnixNanos(0),
        received_at: Some(UnixNanos(500)),
        ttl: Some(57),
        size: 220,
        flags: SampleFlags(3),
    };
    assert_eq!(drain(&mut joiner), [expected]);
    assert_eq!(joiner.resolved_through(), Some(0));
}

#[test]
fn nothing_is_resolved_past_what_may_still_come() {
    let mut joiner = Joiner::new(info(Direction::Up));
    assert_eq!(joiner.resolved_through(), None);
    joiner.sent(&[sent(0), sent(1), sent(3)]);
    joiner.received(&[received(0), received(3)]);
    assert_eq!(outcome(&drain(&mut joiner)), [(0, true)]);
    // 1 may still arrive, 2 may still turn out to have been sent.
    joiner.settled_through(1);
    assert_eq!(outcome(&drain(&mut joiner)), [(1, false)]);
    assert_eq!(joiner.resolved_through(), Some(1));
    joiner.settled_through(2);
    // 2 was never on the wire: neither lost nor received.
    assert_eq!(outcome(&drain(&mut joiner)), [(3, true)]);
    assert_eq!(joiner.resolved_through(), Some(3));
}

#[test]
fn copies_late_packets_and_strangers_are_told_apart() {
    let mut joiner = Joiner::new(info(Direction::Up));
    joiner.received(&[received(0), received_at(0, 900), received_at(0, 950)]);
    joiner.sent(&[sent(0), sent(1)]);
    let samples = drain(&mut joiner);
    assert!(samples[0].flags.has(SampleFlags::DUPLICATED));
    assert_eq!(samples[0].received_at, Some(UnixNanos(500)), "the first copy counts");
    joiner.settled_through(1);
    joiner.received(&[received_at(0, 2_000), received(1), received(5)]);
    joiner.close();
    assert_eq!(outcome(&drain(&mut joiner)), [(1, false)]);
    let counters = joiner.counters();
    assert_eq!((counters.duplicates, counters.late, counters.unmatched), (2, 2, 1));
    assert_eq!(joiner.resolved_through(), Some(u32::MAX));
}

#[test]
fn the_same_halves_again_change_nothing() {
    let mut joiner = Joiner::new(info(Direction::Down));
    for _ in 0..3 {
        joiner.sent(&[sent(0), sent(1)]);
        joiner.received(&[received(1), received(0)]);
    }
    let samples = drain(&mut joiner);
    assert_eq!(outcome(&samples), [(0, true), (1, true)]);
    assert!(!samples[0].flags.has(SampleFlags::DUPLICATED));
    assert_eq!(joiner.counters().duplicates, 0);
    assert_eq!(joiner.counters().replayed, 8);
}

/// RFC 4737, section 3.3: in the arrival order 1, 2, 4, 3, 5 the packet 3 is reordered, and no other.
#[test]
fn reordering_is_that_of_rfc_4737() {
    let mut joiner = Joiner::new(info(Direction::Up));
    let order = [1, 2, 7, 4, 5, 6, 8, 9];
    let halves: Vec<_> = order.iter().enumerate().map(|(i, s)| received_at(*s, i as i64)).collect();
    joiner.received(&halves);
    joiner.sent(&order.map(sent));
    joiner.close();
    let reordered: Vec<u32> = drain(&mut joiner)
        .iter()
        .filter(|sample| sample.flags.has(SampleFlags::REORDERED))
        .map(|sample| sample.sequence)
        .collect();
    assert_eq!(reordered, [4, 5, 6]);
}

#[test]
fn a_restarted_server_does_not_call_lost_what_it_forgot() {
    // Sequences up to 9 are stored; 10..=14 arrived before the restart, 15..=19 during it, 20.. after it.
    let mut joiner = Joiner::restore(info(Direction::Up), Some(9));
    joiner.sent(&(5..15).map(sent).collect::<Vec<_>>());
    joiner.settled_through(12);
    assert_eq!(outcome(&drain(&mut joiner)), []);
    // 16 overtook the first one seen again, and was forgotten with the rest; so is 30 given up, which may have been.
    joiner.received(&[received(20), received(22), received(100), received(102)]);
    joiner.sent(&[15, 16, 20, 22, 30, 100, 101, 102, 103].map(sent));
    joiner.settled_through(103);
    let expected = [(20, true), (22, true), (100, true), (101, false), (102, true), (103, false)];
    assert_eq!(outcome(&drain(&mut joiner)), expected);
    assert_eq!(joiner.counters().unobserved, 8);
    assert_eq!(joiner.counters().replayed, 5);

    let mut joiner = Joiner::restore(info(Direction::Down), Some(9));
    joiner.received(&(8..16).map(received).collect::<Vec<_>>());
    joiner.sent(&[sent(14), sent(15), sent(16)]);
    joiner.received(&[received(100)]);
    joiner.settled_through(100);
    assert_eq!(outcome(&drain(&mut joiner)), [(14, true), (15, true), (16, false)]);
    let counters = joiner.counters();
    assert_eq!((counters.unobserved, counters.unmatched, counters.late, counters.replayed), (4, 1, 0, 2));
}

#[test]
fn absurd_sequences_cost_bounded_memory_and_no_honest_sample() {
    let mut joiner = Joiner::new(info(Direction::Up));
    joiner.sent(&[sent(u32::MAX), sent(u32::MAX - 1), sent(3_000_000_000)]);
    joiner.received(&[received(u32::MAX)]);
    joiner.sent(&[sent(0)]);
    joiner.received(&[received(0)]);
    assert_eq!(outcome(&drain(&mut joiner)), [(0, true)]);
    let limit = measure::join::MAX_PENDING as u32;
    for chunk in 0..24 {
        let halves: Vec<_> = (0..limit / 16).map(|i| sent(10 + (chunk * limit / 16 + i) * 3)).collect();
        joiner.sent(&halves);
        assert!(joiner.pending() <= limit as usize);
    }
    let counters = joiner.counters();
    assert_eq!(counters.overflow, 3 + u64::from(24 * (limit / 16)) - u64::from(limit));
    assert_eq!(counters.unobserved, counters.overflow);
    joiner.close();
    let rest = drain(&mut joiner);
    assert_eq!(rest.len(), limit as usize);
    assert_eq!(rest.iter().filter(|sample| sample.received_at.is_some()).count(), 1);
}

/// What happens to one sequence number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    NotSent,
    Lost,
    Arrives { after: u8, copies: u8 },
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::NotSent),
        2 => Just(Fate::Lost),
        9 => (0u8..20, 1u8..3).prop_map(|(after, copies)| Fate::Arrives { after, copies }),
    ]
}

/// Both ends' halves in the order in which each end makes them.
fn halves(fates: &[Fate]) -> (Vec<SentHalf>, Vec<ReceivedHalf>) {
    let mut arrivals = Vec::new();
    let mut departures = Vec::new();
    for (sequence, fate) in (0u32..).zip(fates) {
        if *fate != Fate::NotSent {
            departures.push(sent(sequence));
        }
        if let Fate::Arrives { after, copies } = fate {
            for copy in 0..*copies {
                let at = i64::from(sequence) * 1_000 + i64::from(*after) * 333 + i64::from(copy) * 2_500;
                arrivals.push(received_at(sequence, at));
            }
        }
    }
    arrivals.sort_by_key(|half| half.received_at);
    (departures, arrivals)
}

proptest! {
    /// However uploads and arrivals interleave, and however often they are repeated: every probe that was sent is one
    /// sample, in order, lost exactly if no copy arrived.
    #[test]
    fn every_probe_is_one_sample(
        fates in prop::collection::vec(fate(), 1..80),
        turns in prop::collection::vec((any::<bool>(), 1usize..12, any::<bool>()), 1..80),
        up in any::<bool>(),
    ) {
        let direction = if up { Direction::Up } else { Direction::Down };
        let mut joiner = Joiner::new(info(direction));
        let (departures, arrivals) = halves(&fates);
        let (mut given_sent, mut given_received) = (0, 0);
        let mut samples = Vec::new();
        for (is_sent, count, again) in turns {
            if is_sent {
                let end = (given_sent + count).min(departures.len());
                joiner.sent(&departures[if again { 0 } else { given_sent }..end]);
                given_sent = end;
            } else {
                let end = (given_received + count).min(arrivals.len());
                joiner.received(&arrivals[given_received..end]);
                if again {
                    joiner.received(&arrivals[end.saturating_sub(1).max(given_received)..end]);
                }
                given_received = end;
            }
            // An honest worker settles only what nothing more comes of.
            let open_sent = departures.get(given_sent).map_or(fates.len() as u32, |half| half.sequence);
            let open_received = arrivals[given_received..].iter().map(|half| half.sequence).min();
            if let Some(settled) = open_received.unwrap_or(fates.len() as u32).min(open_sent).checked_sub(1) {
                joiner.settled_through(settled);
            }
            joiner.drain(&mut samples);
        }
        joiner.sent(&departures[given_sent..]);
        joiner.received(&arrivals[given_received..]);
        joiner.close();
        joiner.drain(&mut samples);
        let expected: Vec<(u32, bool)> = (0u32..)
            .zip(&fates)
            .filter(|(_, fate)| **fate != Fate::NotSent)
            .map(|(sequence, fate)| (sequence, *fate != Fate::Lost))
            .collect();
        prop_assert_eq!(outcome(&samples), expected);
        prop_assert_eq!(joiner.counters().unobserved, 0);
        prop_assert_eq!(joiner.counters().unmatched, 0);
    }

    /// Across restarts that forget everything but the drained samples, no probe is two samples, none is called lost that
    /// arrived, and samples plus unobserved probes never exceed what was sent.
    #[test]
    fn restarts_invent_nothing(
        fates in prop::collection::vec(fate(), 1..300),
        turns in prop::collection::vec((0u8..41, 1usize..20), 1..120),
        up in any::<bool>(),
        uploads_again in any::<bool>(),
    ) {
        let direction = if up { Direction::Up } else { Direction::Down };
        let mut joiner = Joiner::new(info(direction));
        let (departures, arrivals) = halves(&fates);
        let (mut given_sent, mut given_received) = (0, 0);
        let mut samples: Vec<Sample> = Vec::new();
        let mut unobserved = 0;
        for (what, count) in turns {
            match what {
                // The sender's half exists before the receiver's.
                0..20 => {
                    let end = (given_sent + count).min(departures.len());
                    joiner.sent(&departures[given_sent..end]);
                    given_sent = end;
                }
                20..40 => {
                    // What the server sends it knows before a worker can tell of it.
                    let known = |half: &&ReceivedHalf| up || departures[..given_sent].iter().any(|s| s.sequence == half.sequence);
                    let count = arrivals[given_received..].iter().take(count).take_while(known).count();
                    let end = given_received + count;
                    joiner.received(&arrivals[given_received..end]);
                    given_received = end;
                }
                _ => {
                    unobserved += joiner.counters().unobserved;
                    joiner = Joiner::restore(info(direction), joiner.resolved_through());
                    // The worker's half may be uploaded again; the server's own is gone.
                    if uploads_again && up {
                        given_sent = 0;
                    } else if uploads_again {
                        given_received = 0;
                    }
                }
            }
            let open_sent = departures.get(given_sent).map_or(fates.len() as u32, |half| half.sequence);
            let open_received = arrivals[given_received..].iter().map(|half| half.sequence).min();
            if let Some(settled) = open_received.unwrap_or(fates.len() as u32).min(open_sent).checked_sub(1) {
                joiner.settled_through(settled);
            }
            joiner.drain(&mut samples);
        }
        joiner.sent(&departures[given_sent..]);
        joiner.received(&arrivals[given_received..]);
        joiner.close();
        joiner.drain(&mut samples);
        unobserved += joiner.counters().unobserved;
        let order: Vec<u32> = samples.iter().map(|sample| sample.sequence).collect();
        prop_assert!(order.is_sorted_by(|a, b| a < b), "{:?}", order);
        let truth: BTreeMap<u32, Fate> = (0u32..).zip(fates.iter().copied()).collect();
        for sample in &samples {
            let fate = truth[&sample.sequence];
            prop_assert!(fate != Fate::NotSent);
            if sample.received_at.is_some() {
                prop_assert!(fate != Fate::Lost);
            } else {
                prop_assert_eq!(fate, Fate::Lost);
            }
        }
        prop_assert!(samples.len() as u64 + unobserved <= departures.len() as u64);
    }

    /// No input panics, and memory and samples stay within what was given.
    #[test]
    fn arbitrary_input_is_survived(
        steps in prop::collection::vec((0u8..5, any::<u32>(), any::<i64>()), 0..200),
        direction in prop::sample::select(Direction::ALL.to_vec()),
        resolved in prop::option::of(any::<u32>()),
    ) {
        let mut joiner = Joiner::restore(info(direction), resolved);
        let mut samples = Vec::new();
        let mut last = resolved;
        for (what, sequence, at) in steps {
            match what {
                0 => joiner.sent(&[sent(sequence)]),
                1 => joiner.received(&[received_at(sequence, at)]),
                2 => joiner.settled_through(sequence),
                3 => joiner.drain(&mut samples),
                _ => joiner.received(&[received_at(sequence % 16, at)]),
            }
            prop_assert!(joiner.resolved_through() >= last);
            last = joiner.resolved_through();
        }
        joiner.close();
        joiner.drain(&mut samples);
        prop_assert_eq!(joiner.pending(), 0);
        prop_assert!(samples.is_sorted_by(|a, b| a.sequence < b.sequence));
    }
}
