//! From exchanges to bounds on the offset, thinned to the best one of every window of time.

use std::collections::VecDeque;

use super::Exchange;

/// A round trip above this is no measurement: 60 s.
const MAX_ROUND_TRIP_NS: i128 = 60_000_000_000;
/// Offsets beyond 36 years are no clocks. Keeps differences of offsets within an `i64`.
const MAX_OFFSET_NS: i128 = 1 << 60;

/// What one exchange proves: at server time `at`, `lower <= offset <= upper`, because no delay is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Server time, ns: the middle of the server's turnaround.
    pub(super) at: i64,
    /// `t2 - t1`: the offset plus the delay up.
    pub(super) upper: i64,
    /// `t3 - t4`: the offset minus the delay down.
    pub(super) lower: i64,
}

impl Bounds {
    /// `None` where the stamps cannot be true: time ran backwards, a negative or absurd round trip, an absurd offset.
    pub(super) fn of(exchange: &Exchange) -> Option<Bounds> {
        let [t1, t2, t3, t4] = [exchange.t1, exchange.t2, exchange.t3, exchange.t4].map(|t| i128::from(t.0));
        let round_trip = (t4 - t1) - (t3 - t2);
        let (upper, lower) = (t2 - t1, t3 - t4);
        let possible = t4 >= t1
            && t3 >= t2
            && (0..=MAX_ROUND_TRIP_NS).contains(&round_trip)
            && upper.abs() <= MAX_OFFSET_NS
            && lower.abs() <= MAX_OFFSET_NS;
        possible.then(|| Bounds { at: ((t2 + t3) >> 1) as i64, upper: upper as i64, lower: lower as i64 })
    }

    /// Round-trip time, ns.
    pub(super) fn round_trip(&self) -> f64 {
        (self.upper - self.lower) as f64
    }

    /// The offset if both directions took equally long, ns.
    pub(super) fn middle(&self) -> i64 {
        self.lower + (self.upper - self.lower) / 2
    }
}

/// `a - b` for times far apart, ns.
pub(super) fn span(a: i64, b: i64) -> f64 {
    (i128::from(a) - i128::from(b)) as f64
}

/// The exchange with the smallest round trip of every window of 2^shift ns, in order of server time. 24 bytes a window: a server
/// keeps half an hour of them for each worker.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    best: VecDeque<Bounds>,
    shift: u32,
    pub(super) discarded: u64,
}

impl Windows {
    /// Windows of 2^`shift` ns; 30 makes 1.07 s.
    pub(super) fn new(shift: u32) -> Windows {
        Windows { best: VecDeque::new(), shift, discarded: 0 }
    }

    /// Returns whether a window was opened.
    pub(super) fn add(&mut self, exchange: &Exchange) -> bool {
        let Some(bounds) = Bounds::of(exchange) else {
            self.discarded += 1;
            return false;
        };
        self.put(bounds)
    }

    fn put(&mut self, bounds: Bounds) -> bool {
        let (shift, window) = (self.shift, bounds.at >> self.shift);
        // Nearly always the newest.
        let index = match self.best.back() {
            Some(newest) if newest.at >> shift >= window => {
                self.best.partition_point(|known| known.at >> shift < window)
            }
            _ => self.best.len(),
        };
        match self.best.get_mut(index) {
            Some(best) if best.at >> shift == window => {
                if bounds.round_trip() < best.round_trip() {
                    *best = bounds;
                }
                false
            }
            _ => {
                self.best.insert(index, bounds);
                true
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.best.len()
    }

    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// Joins neighbouring windows to windows of twice the length.
    pub(super) fn coarsen(&mut self) {
        self.shift += 1;
        for bounds in std::mem::take(&mut self.best) {
            self.put(bounds);
        }
    }

    /// Forgets every window whose exchange lies before `time`.
    pub(super) fn forget_before(&mut self, time: i64) {
        self.best.drain(..self.best.partition_point(|bounds| bounds.at < time));
        self.best.shrink_to_fit();
    }

    pub(super) fn bounds(&self) -> Vec<Bounds> {
        self.best.iter().copied().collect()
    }
}
