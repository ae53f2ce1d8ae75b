//! Sequential Kolmogorov-Smirnov test on one-way delays: tested again and again as packets come in, each time at the full alpha.

use super::kolmogorov_smirnov;

const EVERY: usize = 100;

/// Whether the delays of the two classes are called different at any look.
pub fn differs(pairs: &[[Option<f64>; 2]], alpha: f64) -> bool {
    (1..=pairs.len() / EVERY).any(|look| {
        let seen = &pairs[..look * EVERY];
        let [mut a, mut b] = [0, 1].map(|arm| seen.iter().filter_map(|pair| pair[arm]).collect::<Vec<f64>>());
        a.len() > 20 && b.len() > 20 && kolmogorov_smirnov(&mut a, &mut b).1 < alpha
    })
}
