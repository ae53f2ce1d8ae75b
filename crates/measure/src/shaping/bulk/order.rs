//! Signs and ranks: an e-process on which of two is larger, and the confidence sequence of a median that inverts it.
//!
//! Under "the median is theta" the signs of the deviations are fair coins. With x below and y above, the mixture of all bets by
//! Jeffreys' prior is worth 2^(x+y) B(x+1/2, y+1/2) / B(1/2, 1/2), whatever the sizes; every theta at which it is worth less than
//! 1/alpha stays possible, at all times at once (Ville). No scale is needed, so ten units give an interval at 0.01.

/// Natural logarithms of the e-values of up to so many signs.
struct Worth {
    /// Sums of ln(i + 1/2) and of ln(i + 1) over all i below the index.
    halves: Vec<f64>,
    wholes: Vec<f64>,
}

impl Worth {
    fn up_to(count: usize) -> Worth {
        let sums = |more: f64| {
            let mut sum = 0.0;
            let mut sums = Vec::with_capacity(count + 1);
            for index in 0..=count {
                sums.push(sum);
                sum += (index as f64 + more).ln();
            }
            sums
        };
        Worth { halves: sums(0.5), wholes: sums(1.0) }
    }

    /// Of so many of either kind.
    fn ln_e(&self, below: usize, above: usize) -> f64 {
        let of = |sums: &[f64], index: usize| sums.get(index).copied().unwrap_or(f64::NAN);
        let all = below + above;
        all as f64 * std::f64::consts::LN_2 + of(&self.halves, below) + of(&self.halves, above) - of(&self.wholes, all)
    }
}

/// Units that reach this decimal logarithm of an e-value if all of them agree.
pub fn least_pairs(threshold_log10: f64) -> u32 {
    const MOST: u32 = 1_000;
    let threshold = threshold_log10.clamp(0.0, 250.0) * std::f64::consts::LN_10;
    let worth = Worth::up_to(MOST as usize);
    (1..MOST).find(|count| worth.ln_e(*count as usize, 0) >= threshold).unwrap_or(MOST)
}

/// Median and the confidence sequence's interval of these values; `None` while it has no ends.
pub(super) fn median(values: &[f64], alpha: f64) -> Option<(f64, f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let limit = -alpha.clamp(1e-12, 0.5).ln();
    let worth = Worth::up_to(count);
    let below = (0..=count / 2).find(|below| worth.ln_e(*below, count - below) < limit)?;
    let low = *sorted.get(below.checked_sub(1)?)?;
    let high = *sorted.get(count - below)?;
    Some((middle(&sorted)?, low, high))
}

/// Of values in order.
pub(super) fn middle(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some((lower + upper) / 2.0)
}
