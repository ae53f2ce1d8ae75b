//! By how much the subject is slower than the control.

use super::Interval;
use super::betting::{ln_mixture, root};
use super::histogram::Histogram;
use crate::shaping::evidence::scale_of;

/// Differences that set the scale, and are not bet on: which values they take decides how much is staked.
const SCALE_PAIRS: usize = 20;
/// Beyond 2.25 times `scale_of`, about three standard deviations, a difference counts as that: less would waste a
/// normal path's information, more would let single spikes speak.
const CLIP: f64 = 2.25;
/// Stakes and weights, most weight where three thousand pairs confine the centre to an eleventh of a standard deviation.
const MIXTURE: [(f64, f64); 4] = [(0.06, 0.05), (0.18, 0.78), (0.35, 0.12), (0.7, 0.05)];

/// Of the centre of the paired differences, in nanoseconds: the value around which their clipped deviations balance (Huber's
/// location; the median for heavy tails, the mean for light ones). Assumes that differences lie symmetrically around it, which the
/// coin sees to where the subject is late by a constant.
#[derive(Clone, Debug)]
pub struct MedianShift {
    alpha: f64,
    first: Vec<f64>,
    clip: Option<f64>,
    differences: Histogram,
}

impl MedianShift {
    pub fn new(alpha: f64) -> MedianShift {
        MedianShift { alpha: alpha.clamp(1e-12, 0.5), first: Vec::new(), clip: None, differences: Histogram::default() }
    }

    pub fn push(&mut self, difference_ns: f64) {
        if difference_ns.is_nan() {
            return;
        }
        if self.clip.is_some() {
            self.differences.push(difference_ns);
            return;
        }
        self.first.push(difference_ns);
        if self.first.len() == SCALE_PAIRS {
            self.clip = Some(CLIP * scale_around_median(&std::mem::take(&mut self.first)));
        }
    }

    /// `None` before the scale is known.
    pub fn estimate(&self) -> Option<f64> {
        let clip = self.clip?;
        let bins = self.bins();
        let (low, high) = (bins.first()?.0 - clip, bins.last()?.0 + clip);
        let score = |centre: f64| {
            bins.iter().map(|(value, count)| count * ((value - centre) / clip).clamp(-1.0, 1.0)).sum::<f64>()
        };
        Some(root(low, high, |centre| -score(centre)))
    }

    /// `None` before the scale is known.
    pub fn interval(&self) -> Option<Interval> {
        let (clip, estimate) = (self.clip?, self.estimate()?);
        let bins = self.bins();
        let limit = -self.alpha.ln();
        let (low, high) = (bins.first()?.0 - clip, bins.last()?.0 + clip);
        Some(Interval {
            estimate,
            low: root(low, estimate, |centre| limit - ln_wealth(&bins, centre, clip, 1.0)),
            high: root(estimate, high, |centre| ln_wealth(&bins, centre, clip, -1.0) - limit),
        })
    }

    /// The centre differs by less than `margin_ns` from zero, at all times: what the interval would say, without looking for its ends.
    pub fn is_within(&self, margin_ns: f64) -> bool {
        let Some(clip) = self.clip else { return false };
        let bins = self.bins();
        let limit = -self.alpha.ln();
        ln_wealth(&bins, -margin_ns, clip, 1.0) >= limit && ln_wealth(&bins, margin_ns, clip, -1.0) >= limit
    }

    fn bins(&self) -> Vec<(f64, f64)> {
        self.differences.bins().map(|(value, count)| (value, count as f64)).collect()
    }
}

/// Of betting that the differences lie above the centre (sign 1) or below it (-1).
fn ln_wealth(bins: &[(f64, f64)], centre: f64, clip: f64, sign: f64) -> f64 {
    ln_mixture(&MIXTURE, |stake| {
        let term =
            |(value, count): &(f64, f64)| count * (sign * stake * ((value - centre) / clip).clamp(-1.0, 1.0)).ln_1p();
        bins.iter().map(term).sum()
    })
}

/// `scale_of` what is left when the median is taken off, so that a large shift is not taken for spread.
fn scale_around_median(differences: &[f64]) -> f64 {
    let mut sorted = differences.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let deviations: Vec<f64> = sorted.iter().map(|difference| difference - median).collect();
    scale_of(&deviations)
}
