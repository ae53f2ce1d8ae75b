//! Wealth of a mixture of constant stakes from counts of outcomes, and where it crosses a threshold.

/// Stakes as shares of the largest that cannot lose everything, and their weights. Most is on the two that prove a loss difference
/// below half a point soonest where one packet in a thousand and one in a hundred is lost; the small ones serve long runs.
pub(super) const MIXTURE: [(f64, f64); 5] = [(0.02, 0.01), (0.06, 0.02), (0.18, 0.4), (0.65, 0.53), (0.95, 0.04)];

/// ln of the weighted mean of `exp(ln_wealth(stake))`.
pub(super) fn ln_mixture(mixture: &[(f64, f64)], ln_wealth: impl Fn(f64) -> f64) -> f64 {
    let mut largest = f64::NEG_INFINITY;
    let mut terms = [f64::NEG_INFINITY; 8];
    for (term, (stake, weight)) in terms.iter_mut().zip(mixture) {
        *term = ln_wealth(*stake) + weight.ln();
        largest = largest.max(*term);
    }
    if !largest.is_finite() {
        return largest;
    }
    largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// Where an increasing function becomes positive within `low..=high`, to a part in 2^20 of the range; the end where it does not.
/// False position with Illinois' halving (Dowell and Jarratt 1971), and a bisection where that is slow.
pub(super) fn root(mut low: f64, mut high: f64, increasing: impl Fn(f64) -> f64) -> f64 {
    let tolerance = (high - low) / f64::from(1 << 20);
    let (mut below, mut above) = (increasing(low), increasing(high));
    if below > 0.0 {
        return low;
    }
    if above <= 0.0 {
        return high;
    }
    for step in 0..60 {
        if high - low <= tolerance {
            break;
        }
        let share = if step % 3 == 2 || !(below.is_finite() && above.is_finite()) {
            0.5
        } else {
            (below / (below - above)).clamp(1e-3, 1.0 - 1e-3)
        };
        let middle = low + share * (high - low);
        let value = increasing(middle);
        if value > 0.0 {
            (high, above) = (middle, value);
            below /= 2.0;
        } else {
            (low, below) = (middle, value);
            above /= 2.0;
        }
    }
    (low + high) / 2.0
}

/// Counts of outcomes +1, 0 and -1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    pub plus: u64,
    pub zero: u64,
    pub minus: u64,
}

impl Signs {
    pub(super) fn count(self) -> u64 {
        self.plus + self.zero + self.minus
    }

    pub(super) fn mean(self) -> f64 {
        (self.plus as f64 - self.minus as f64) / self.count().max(1) as f64
    }

    /// The bound that the mean exceeds with probability at most `alpha`, at any time.
    pub(super) fn upper(self, alpha: f64) -> f64 {
        let limit = -alpha.ln();
        root(-1.0, 1.0 - 1e-9, |mean| self.ln_wealth_below(mean) - limit)
    }

    pub(super) fn lower(self, alpha: f64) -> f64 {
        -self.swapped().upper(alpha)
    }

    /// Both bounds lie within the margin: what `lower` and `upper` would say, without looking for them.
    pub(super) fn are_within(self, margin: f64, alpha: f64) -> bool {
        let limit = -alpha.ln();
        margin >= 1.0 || self.ln_wealth_below(margin) >= limit && self.swapped().ln_wealth_below(margin) >= limit
    }

    fn swapped(self) -> Signs {
        Signs { plus: self.minus, zero: self.zero, minus: self.plus }
    }

    /// ln of the wealth of a gambler who bets that the mean is below `mean`; increases with it.
    fn ln_wealth_below(self, mean: f64) -> f64 {
        let room = 1.0 - mean;
        ln_mixture(&MIXTURE, |stake| {
            let stake = stake / room;
            let term = |count: u64, outcome: f64| {
                if count == 0 { 0.0 } else { count as f64 * (stake * (mean - outcome)).ln_1p() }
            };
            term(self.plus, 1.0) + term(self.zero, 0.0) + term(self.minus, -1.0)
        })
    }
}
