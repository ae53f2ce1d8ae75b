//! Differences by size, in bins of one per cent: bounded memory for endless runs, and every quantile at any time.

/// Below this a bin is this wide: what stamps resolve.
const UNIT_NS: f64 = 1_000.0;
/// Relative width of a bin.
const WIDTH: f64 = 0.01;
/// Reaches 100 s on either side.
const SIDE: f64 = 1842.0;

/// Only bins that are not empty take room: a server keeps two of these for every comparison of every worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// Bin and count, in increasing order; negative bins hold negative differences.
    bins: Vec<(i16, u32)>,
    total: u64,
}

impl Histogram {
    pub(super) fn push(&mut self, difference_ns: f64) {
        let size = ((difference_ns.abs() / UNIT_NS).ln_1p() / WIDTH).round().min(SIDE) as i16;
        let bin = if difference_ns < 0.0 { -size } else { size };
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(index) => self.bins[index].1 = self.bins[index].1.saturating_add(1),
            Err(index) => self.bins.insert(index, (bin, 1)),
        }
        self.total += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Value and count of each bin that is not empty, in increasing order.
    pub(super) fn bins(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> + Clone + '_ {
        self.bins.iter().map(|(bin, count)| (value(*bin), u64::from(*count)))
    }

    /// The value of the given rank, from 1; the largest beyond the last.
    pub(super) fn at_rank(&self, rank: u64) -> Option<f64> {
        let mut below = 0;
        let mut last = None;
        for (value, count) in self.bins() {
            below += count;
            last = Some(value);
            if below >= rank {
                break;
            }
        }
        last
    }
}

fn value(bin: i16) -> f64 {
    let size = (f64::from(bin.unsigned_abs()) * WIDTH).exp_m1() * UNIT_NS;
    if bin < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_within_a_bin_and_in_order() {
        let mut histogram = Histogram::default();
        for ns in [-30e6, -1e6, -400.0, 0.0, 250e3, 2e6, 5e9] {
            histogram.push(ns);
            let nearest = histogram.bins().map(|(value, _)| (value - ns).abs()).fold(f64::INFINITY, f64::min);
            assert!(nearest <= 0.51 * WIDTH * (ns.abs() + UNIT_NS), "{ns}: off by {nearest}");
        }
        assert!(histogram.bins().map(|(value, _)| value).is_sorted());
        assert_eq!(histogram.at_rank(4), Some(0.0));
        assert!(histogram.at_rank(1).unwrap() < -29e6);
        assert_eq!(histogram.at_rank(100), histogram.at_rank(7));
    }
}
