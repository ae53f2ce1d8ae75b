//! Whether the subject's slowest packets are slower than the control's.
//!
//! A few packets in a hundred that are late by tens of milliseconds hardly move a median. The 95th percentile's own uncertainty is
//! about the path's spread over the square root of a few hundred, so at two milliseconds of spread no run of some thousand pairs could
//! confine it to a quarter of a millisecond. What can be confined is the *share* of packets that are late beyond the
//! spread: equivalence asks that it differs by less than [`TAIL_SHARE`], well below the five in a hundred that make a
//! 95th percentile.

use super::Interval;
use super::betting::{MIXTURE, Signs, ln_mixture, root};
use super::histogram::Histogram;
use crate::shaping::evidence::scale_of;

/// The least difference that matters of the share of packets that are late beyond the spread.
pub const TAIL_SHARE: f64 = 0.01;

/// Differences that set the scale: many, for a scale that is too small by a third would make every fiftieth packet late.
const SCALE_PAIRS: usize = 100;
/// Times `scale_of`: about four and a half standard deviations of a normal path, so that its own spread is hardly ever late.
const BEYOND: f64 = 3.3;
const TAIL: f64 = 0.95;
/// Of which a twentieth is one packet.
const LEAST_PAIRS: u64 = 20;

#[derive(Clone, Debug)]
pub struct TailShift {
    alpha: f64,
    first: Vec<f64>,
    /// What counts as late.
    late: Option<f64>,
    signs: Signs,
    differences: Histogram,
}

impl TailShift {
    pub fn new(alpha: f64) -> TailShift {
        TailShift {
            alpha: alpha.clamp(1e-12, 0.5),
            first: Vec::new(),
            late: None,
            signs: Signs::default(),
            differences: Histogram::default(),
        }
    }

    pub fn push(&mut self, difference_ns: f64) {
        if difference_ns.is_nan() {
            return;
        }
        self.differences.push(difference_ns);
        match self.late {
            Some(late) => self.count(difference_ns, late),
            None => {
                self.first.push(difference_ns);
                if self.first.len() == SCALE_PAIRS {
                    let late = BEYOND * scale_of(&self.first);
                    self.late = Some(late);
                    // Signs are fair given sizes, so the pairs that set the scale count too.
                    for difference in std::mem::take(&mut self.first) {
                        self.count(difference, late);
                    }
                }
            }
        }
    }

    fn count(&mut self, difference: f64, late: f64) {
        if difference > late {
            self.signs.plus += 1;
        } else if difference < -late {
            self.signs.minus += 1;
        } else {
            self.signs.zero += 1;
        }
    }

    /// The 95th percentile of subject minus control, less that of control minus subject, in nanoseconds: zero where the two
    /// are treated alike. `None` below twenty pairs.
    pub fn interval(&self) -> Option<Interval> {
        let total = self.differences.total();
        (total >= LEAST_PAIRS).then_some(())?;
        let at = |share: f64| self.differences.at_rank((share * total as f64).ceil().max(1.0) as u64);
        let bound =
            |share: f64| self.differences.at_rank((share * total as f64).round().clamp(1.0, total as f64) as u64);
        let (low, high) = rank_bounds(TAIL, total, self.alpha / 2.0);
        Some(Interval {
            estimate: at(TAIL)? + at(1.0 - TAIL)?,
            low: bound(low)? + bound(1.0 - high)?,
            high: bound(high)? + bound(1.0 - low)?,
        })
    }

    /// The share of late packets differs by less than [`TAIL_SHARE`], where late is beyond the spread and beyond `least_ns`.
    pub fn is_within(&self, least_ns: f64) -> bool {
        // On a very steady path everything beyond the spread may still be too little to matter: the centre judges that.
        let Some(late) = self.late else { return false };
        let wide_enough = self.differences.bins().filter(|(value, _)| value.abs() > late.max(least_ns));
        let signs = if late >= least_ns {
            self.signs
        } else {
            let mut signs = Signs { zero: self.differences.total(), ..Signs::default() };
            for (value, count) in wide_enough {
                signs.zero -= count;
                *if value > 0.0 { &mut signs.plus } else { &mut signs.minus } += count;
            }
            signs
        };
        signs.are_within(TAIL_SHARE, self.alpha)
    }

    /// The tails differ by at least `least_ns`, and beyond doubt in this direction.
    pub fn is_beyond(&self, least_ns: f64) -> bool {
        self.interval().is_some_and(|interval| {
            interval.estimate.abs() >= least_ns && (interval.low > 0.0 || interval.high < 0.0)
                || interval.estimate.abs() >= least_ns
                    && (self.signs.lower(self.alpha) > 0.0 || self.signs.upper(self.alpha) < 0.0)
        })
    }
}

/// Between which shares of `total` values the quantile `p` lies at all times, each bound with error `alpha`.
fn rank_bounds(p: f64, total: u64, alpha: f64) -> (f64, f64) {
    let total = total as f64;
    let limit = -alpha.ln();
    // `share` of the values are at or below the candidate; each is a coin of chance p if it is the quantile.
    let too_few = |share: f64| {
        ln_mixture(&MIXTURE, |stake| {
            let stake = stake / (1.0 - p);
            total * (share * (-stake * (1.0 - p)).ln_1p() + (1.0 - share) * (stake * p).ln_1p())
        })
    };
    let too_many = |share: f64| {
        ln_mixture(&MIXTURE, |stake| {
            let stake = stake / p;
            total * (share * (stake * (1.0 - p)).ln_1p() + (1.0 - share) * (-stake * p).ln_1p())
        })
    };
    (root(0.0, p, |share| limit - too_few(share)), root(p, 1.0, |share| too_many(share) - limit))
}
