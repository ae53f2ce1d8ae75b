//! A mergeable summary of delays: quantiles without the samples.

use sketches_ddsketch::{Config, DDSketch};

/// Delays beyond an hour either way are bad clocks, not networks. Clamping them there keeps every value between 1 ns
/// and an hour in a bin of its own (1,445 of the 2,048 a DDSketch has before it collapses any).
const LIMIT_NS: f64 = 3_600e9;

/// A DDSketch (Masson, Rim and Lee, VLDB 2019) of delays in nanoseconds, negative ones included.
///
/// A quantile is the nearest-rank one with a relative error of at most 1 %, exactly 0 where the delay is 0; delays
/// beyond one hour count as one hour. Merging loses nothing.
#[derive(Clone)]
pub struct DelaySketch(DDSketch);

impl Default for DelaySketch {
    fn default() -> DelaySketch {
        // Not `Config::new`: a decoded sketch has these, and only equal configurations merge.
        DelaySketch(DDSketch::new(Config::defaults()))
    }
}

impl std::fmt::Debug for DelaySketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DelaySketch({} delays, p50 {:?} ns)", self.count(), self.quantile(0.5))
    }
}

/// Sketches are equal if no quantile tells them apart.
impl PartialEq for DelaySketch {
    fn eq(&self, other: &DelaySketch) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl DelaySketch {
    pub fn add(&mut self, delay_ns: i64) {
        self.0.add((delay_ns as f64).clamp(-LIMIT_NS, LIMIT_NS));
    }

    pub fn merge(&mut self, other: &DelaySketch) {
        // Fails on unequal configurations only, and there is one.
        let merged = self.0.merge(&other.0);
        debug_assert!(merged.is_ok());
    }

    pub fn count(&self) -> u64 {
        self.0.count() as u64
    }

    /// The value at rank `ceil(q * count)`, in nanoseconds; `None` if nothing was added. `q` outside 0..=1 is clamped.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let (min, max) = (self.0.min()?, self.0.max()?);
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        if rank == 1 {
            return Some(min);
        }
        if rank == count {
            return Some(max);
        }
        // DDSketch::quantile takes the value at floor(q * (count - 1)), counted from 0; half a rank keeps off the edges.
        let position = (rank as f64 - 0.5) / (count as f64 - 1.0);
        self.0.quantile(position).ok().flatten().map(|value| value.clamp(min, max))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.to_java_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<DelaySketch> {
        DDSketch::from_java_bytes(bytes).ok().map(DelaySketch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RELATIVE_ERROR: f64 = 0.01;

    fn nearest_rank(sorted: &[i64], q: f64) -> f64 {
        let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
        sorted[rank - 1] as f64
    }

    fn delay() -> impl Strategy<Value = i64> {
        prop_oneof![
            4 => -3_000_000i64..400_000_000,
            1 => -3_600_000_000_000i64..3_600_000_000_000,
            1 => Just(0i64),
        ]
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_nearest_rank_one_within_a_hundredth(
            first in prop::collection::vec(delay(), 1..200),
            second in prop::collection::vec(delay(), 0..200),
            q in 0.0f64..=1.0,
        ) {
            let sketch_of = |delays: &[i64]| {
                let mut sketch = DelaySketch::default();
                delays.iter().for_each(|delay| sketch.add(*delay));
                DelaySketch::from_bytes(&sketch.to_bytes()).unwrap()
            };
            let mut merged = sketch_of(&first);
            merged.merge(&sketch_of(&second));
            let mut all = [first, second].concat();
            all.sort_unstable();
            prop_assert_eq!(merged.count(), all.len() as u64);
            let exact = nearest_rank(&all, q);
            let found = merged.quantile(q).unwrap();
            prop_assert!((found - exact).abs() <= exact.abs() * (RELATIVE_ERROR + 1e-9), "{found} for {exact}");
        }
    }

    #[test]
    fn hostile_delays_collapse_nothing() {
        let mut sketch = DelaySketch::default();
        for delay in [i64::MIN, i64::MAX, 1, -1, 0, 20_000_000] {
            sketch.add(delay);
        }
        assert_eq!(sketch.quantile(0.0), Some(-LIMIT_NS));
        assert_eq!(sketch.quantile(1.0), Some(LIMIT_NS));
        assert_eq!(sketch.quantile(0.5), Some(0.0));
        let p80 = sketch.quantile(0.8).unwrap();
        assert!((p80 / 20e6 - 1.0).abs() <= RELATIVE_ERROR, "{p80}");
        assert_eq!(DelaySketch::default().quantile(0.5), None);
    }
}
