//! Two classes at once, each nearly as fast as the path: who gets it? Strict priority and weighted sharing differ only while a queue is
//! backlogged, so this is the one question that loads the path on purpose, and is asked only by who wants it.
//!
//! Every slot has a packet of each class in the order of a coin. If the path ignores the class, which of the two is lost is a fair coin
//! whatever the queue does; so the loss e-process names a difference, and the shares that got through say of what kind.

use model::report::{Differentiation, Sharing, Subject, UnderLoad, Verdict};
use model::shaping::{Arm, ContestDesign, Standard};

use super::Observed;
use super::evidence::LossEvidence;
use super::judge::trigger_of;
use crate::random::SplitMix64;

/// Until queues are full the load tells nothing.
const FILLING: f64 = 0.25;
/// A class that loses less than this has all it asked for.
const UNHARMED: f64 = 0.02;
/// Without this share lost by both together the load did not fill the path.
const LEAST_LOST: f64 = 0.05;
/// Each class asks for this much of the path.
pub const ASKED: f64 = 0.9;

/// One packet of a contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContestTurn {
    /// Nanoseconds since the experiment's start.
    pub at_ns: u64,
    pub slot: u32,
    pub is_subject: bool,
    pub arm: Arm,
}

/// What a sequence number is sent for; `None` after the last slot.
pub fn turn(design: &ContestDesign, seed: u64, sequence: u32) -> Option<ContestTurn> {
    let (slot, second) = (sequence / 2, sequence % 2);
    if slot >= design.slots {
        return None;
    }
    let coin = SplitMix64::new(seed ^ u64::from(slot).wrapping_mul(0xd134_2543_de82_ef95)).next() >> 63;
    let is_subject = u32::from(coin == 1) != second;
    let step = 1e9 / design.rate_pps.clamp(0.1, 1e6);
    Some(ContestTurn {
        at_ns: (f64::from(slot) * step + f64::from(second) * step / 2.0) as u64,
        slot,
        is_subject,
        arm: if is_subject { design.subject } else { design.control },
    })
}

/// Judges one direction. `observed` in order of sequence. `None`: too little was seen.
pub fn judge(design: &ContestDesign, seed: u64, observed: &[Observed], standard: &Standard) -> Option<UnderLoad> {
    let mut evidence = LossEvidence::default();
    let (mut sent, mut received) = ([0u64; 2], [0u64; 2]);
    let mut waiting: Option<(u32, bool, bool)> = None;
    let first = (f64::from(design.slots) * FILLING) as u32;
    let (mut begin, mut end) = (i64::MAX, i64::MIN);
    let mut size = 0u64;
    for probe in observed {
        let Some(turn) = turn(design, seed, probe.sequence).filter(|turn| turn.slot >= first) else { continue };
        let lost = probe.received_ns.is_none();
        let index = usize::from(!turn.is_subject);
        sent[index] += 1;
        received[index] += u64::from(!lost);
        (begin, end) = (begin.min(probe.sent_ns), end.max(probe.sent_ns));
        size = u64::from(probe.size);
        match waiting.take() {
            Some((slot, is_subject, other)) if slot == turn.slot && is_subject != turn.is_subject => {
                if turn.is_subject { evidence.push(lost, other) } else { evidence.push(other, lost) }
            }
            _ => waiting = Some((turn.slot, turn.is_subject, lost)),
        }
    }
    let seconds = end.saturating_sub(begin) as f64 / 1e9;
    if sent.contains(&0) || seconds <= 0.5 {
        return None;
    }
    let bps = |packets: u64| (packets * size * 8) as f64 / seconds;
    let lost = [0, 1].map(|index| 1.0 - received[index] as f64 / sent[index] as f64);
    let threshold = (f64::from(standard.hypotheses.max(1)) / standard.alpha.clamp(1e-12, 1.0)).log10();
    let weight = received[0] as f64 / received[1].max(1) as f64;
    let sharing = if lost[0] + lost[1] < 2.0 * LEAST_LOST {
        Sharing::NotLoaded
    } else if evidence.peak_log10_e() < threshold {
        Sharing::Equal
    } else if lost[0] < UNHARMED && lost[1] > lost[0] {
        Sharing::StrictPriority
    } else if lost[1] < UNHARMED && lost[0] > lost[1] {
        Sharing::StrictlyLast
    } else {
        Sharing::Weighted
    };
    Some(UnderLoad {
        sharing,
        weight,
        load_bps: bps(sent[0] + sent[1]),
        subject_bps: bps(received[0]),
        control_bps: bps(received[1]),
        log10_e: evidence.peak_log10_e(),
    })
}

/// Puts what was seen into the entry that compares the two. Under load alone a class may be favoured.
pub fn apply(entries: &mut [Differentiation], subject: Arm, control: Arm, seen: &UnderLoad) {
    let (one, other) = (Subject::from(subject), Subject::from(control));
    let found = entries.iter_mut().find(|entry| entry.subject == one && entry.control == other);
    let Some(entry) = found else { return };
    entry.under_load = Some(*seen);
    let undecided = matches!(entry.verdict, Verdict::None | Verdict::Inconclusive);
    let verdict = match seen.sharing {
        Sharing::StrictPriority => Verdict::Favoured,
        Sharing::Weighted if seen.weight > 1.0 => Verdict::Favoured,
        Sharing::StrictlyLast | Sharing::Weighted => Verdict::Lossy,
        Sharing::Equal | Sharing::NotLoaded => return,
    };
    if undecided {
        entry.verdict = verdict;
        entry.trigger = trigger_of(entry);
        entry.note =
            format!("only under load; without it: {}", if entry.note.is_empty() { "none" } else { &entry.note });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::shaping::Payload;
    use model::{Dscp, Ecn, Tos};
    use std::collections::VecDeque;

    fn design() -> ContestDesign {
        let arm = |dscp| Arm { dscp: Dscp::new(dscp).unwrap(), port: 8620, payload: Payload::Random };
        ContestDesign { subject: arm(46), control: arm(0), rate_pps: 900.0, slots: 3_600, size: 192 }
    }

    /// A link of 1,000 packets a second with a queue of 50 for each class (or one of 100 for both); `next` says which class is served.
    fn run(shared: bool, mut next: impl FnMut(usize, usize, u64) -> usize) -> UnderLoad {
        let design = design();
        let mut queues: [VecDeque<usize>; 2] = Default::default();
        let mut observed: Vec<Observed> = Vec::new();
        let mut served_ns = 0u64;
        let mut count = 0;
        for sequence in 0..design.slots * 2 {
            let turn = turn(&design, 7, sequence).unwrap();
            while served_ns + 1_000_000 <= turn.at_ns {
                served_ns += 1_000_000;
                if queues.iter().all(VecDeque::is_empty) {
                    continue;
                }
                count += 1;
                let class = next(queues[0].len(), queues[1].len(), count);
                let class = if queues[class].is_empty() { 1 - class } else { class };
                if let Some(index) = queues[class].pop_front() {
                    observed[index].received_ns = Some(served_ns as i64);
                }
            }
            let tos = Tos::new(turn.arm.dscp, Ecn::NotEct);
            let class = if shared { 0 } else { usize::from(!turn.is_subject) };
            if queues[class].len() < if shared { 100 } else { 50 } {
                queues[class].push_back(observed.len());
            }
            observed.push(Observed {
                sequence,
                sent_ns: turn.at_ns as i64,
                received_ns: None,
                tos_sent: tos,
                tos_received: Some(tos),
                size: 220,
            });
        }
        // What still waits at the end would have arrived.
        for index in queues.into_iter().flatten() {
            observed[index].received_ns = Some(served_ns as i64);
        }
        judge(&design, 7, &observed, &Standard::default()).unwrap()
    }

    #[test]
    fn priority_weights_and_fifos_are_told_apart() {
        assert_eq!(run(true, |_, _, _| 0).sharing, Sharing::Equal);
        assert_eq!(run(false, |_, _, _| 0).sharing, Sharing::StrictPriority);
        assert_eq!(run(false, |_, _, _| 1).sharing, Sharing::StrictlyLast);
        let three_to_one = run(false, |_, _, count| usize::from(count % 4 == 3));
        assert_eq!(three_to_one.sharing, Sharing::Weighted);
        assert!((three_to_one.weight - 3.0).abs() < 0.2, "{three_to_one:?}");
        assert_eq!(run(false, |_, _, count| usize::from(count % 2 == 0)).sharing, Sharing::Equal);
    }
}
