//! When to send which traffic class. Pacing itself (sleeping until a slot's time) is the sender's.

use wire::{SEQUENCE_MAX, Tos};

use crate::random::SplitMix64;

/// One probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub sequence: u32,
    /// Nanoseconds since the schedule's start: `sequence / rate`, rounded down to the nanosecond. Errors do not add up.
    pub at_ns: u64,
    pub tos: Tos,
}

/// Equally spaced slots in cycles. Every cycle holds each class once, in a fresh uniformly random order, so that no
/// class always follows another and a periodic queue treats them alike. The same seed gives the same orders.
///
/// Ends after [`SEQUENCE_MAX`], the last usable nonce of a session: 4.9 days at 10,000 packets per second.
/// Without classes it is empty.
#[derive(Clone, Debug)]
pub struct Schedule {
    cycle: Vec<Tos>,
    random: SplitMix64,
    sequence: Option<u32>,
    rate: Rate,
}

impl Schedule {
    /// `rate_pps`: packets per second over all classes, held within 0.001..=1,000,000 (NaN counts as the lowest).
    pub fn new(classes: Vec<Tos>, rate_pps: f64, seed: u64) -> Schedule {
        let sequence = (!classes.is_empty()).then_some(0);
        Schedule { cycle: classes, random: SplitMix64::new(seed), sequence, rate: Rate::new(rate_pps) }
    }
}

impl Iterator for Schedule {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let sequence = self.sequence?;
        self.sequence = (sequence < SEQUENCE_MAX).then(|| sequence + 1);
        let place = sequence as usize % self.cycle.len();
        if place == 0 {
            self.random.shuffle(&mut self.cycle);
        }
        Some(Slot { sequence, at_ns: self.rate.at_ns(sequence), tos: self.cycle[place] })
    }
}

/// A rate as the exact fraction `mantissa * 2^-shift` that its `f64` is, so that slot times are exact at any sequence.
#[derive(Clone, Copy, Debug)]
struct Rate {
    mantissa: u64,
    shift: u32,
}

impl Rate {
    fn new(rate_pps: f64) -> Rate {
        // Unlike `clamp`, `max` turns NaN into the lower bound.
        #[expect(clippy::manual_clamp)]
        let bits = rate_pps.max(1e-3).min(1e6).to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        // Within the bounds the number is normal and its last bit is worth 2^-62 ..= 2^-33.
        Rate { mantissa: bits & ((1 << 52) - 1) | 1 << 52, shift: (1075 - exponent) as u32 }
    }

    fn at_ns(self, sequence: u32) -> u64 {
        // 32 + 30 + 62 bits at most.
        let scaled = (u128::from(sequence) * 1_000_000_000) << self.shift;
        (scaled / u128::from(self.mantissa)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(n: u8) -> Vec<Tos> {
        (0..n).map(|i| Tos::from_byte(i * 4)).collect()
    }

    #[test]
    fn every_cycle_holds_each_class_once_and_orders_differ() {
        let slots: Vec<Slot> = Schedule::new(classes(8), 50.0, 7).take(8 * 500).collect();
        let mut orders = std::collections::BTreeSet::new();
        for cycle in slots.chunks(8) {
            let order: Vec<Tos> = cycle.iter().map(|slot| slot.tos).collect();
            let mut sorted = order.clone();
            sorted.sort();
            assert_eq!(sorted, classes(8));
            orders.insert(order);
        }
        assert!(orders.len() > 450, "{} different orders", orders.len());
    }

    #[test]
    fn times_are_exact_however_long_it_runs() {
        let at = |rate: f64, sequence: u32| Rate::new(rate).at_ns(sequence);
        assert_eq!(at(50.0, 3), 60_000_000);
        assert_eq!(at(3.0, 1), 333_333_333);
        assert_eq!(at(3.0, 4_000_000_000), 1_333_333_333_333_333_333);
        assert_eq!(at(10_000.0, SEQUENCE_MAX), u64::from(SEQUENCE_MAX) * 100_000);
        assert_eq!(at(0.5, 10), 20_000_000_000);
        assert_eq!(at(f64::NAN, 1), at(1e-3, 1));
        assert_eq!(at(f64::INFINITY, 1), 1_000);
        // The lowest rate at the last sequence neither overflows nor loses its magnitude.
        assert!((at(1e-3, SEQUENCE_MAX) as f64 / 4.294_967_294e21 - 1.0).abs() > 0.0);
    }

    #[test]
    fn same_seed_same_schedule_other_seed_other_schedule() {
        let take = |seed| Schedule::new(classes(4), 20.0, seed).take(100).collect::<Vec<_>>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn it_ends_with_the_last_nonce_and_never_starts_without_classes() {
        assert_eq!(Schedule::new(Vec::new(), 20.0, 0).next(), None);
        let mut schedule = Schedule::new(classes(3), 20.0, 0);
        schedule.sequence = Some(SEQUENCE_MAX);
        assert_eq!(schedule.next().map(|slot| slot.sequence), Some(SEQUENCE_MAX));
        assert_eq!(schedule.next(), None);
    }
}
