//! What others would say of the same packets: published methods, each written from its paper's description.

pub mod bucket;
pub mod ks;
pub mod wehe;

/// Two-sample Kolmogorov-Smirnov: the statistic and its asymptotic p-value (Smirnov 1948, with Stephens' correction). Sorts.
pub fn kolmogorov_smirnov(a: &mut [f64], b: &mut [f64]) -> (f64, f64) {
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (mut i, mut j, mut distance) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        while i < a.len() && a[i] <= at {
            i += 1;
        }
        while j < b.len() && b[j] <= at {
            j += 1;
        }
        distance = distance.max((i as f64 / n - j as f64 / m).abs());
    }
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    let term = |k: i32| (if k % 2 == 1 { 2.0 } else { -2.0 }) * (-2.0 * f64::from(k * k) * lambda * lambda).exp();
    let p = if lambda < 0.3 { 1.0 } else { (1..=50).map(term).sum::<f64>() };
    (distance, p.clamp(0.0, 1.0))
}
