//! Wehe's test (Kakhki et al., "Identifying Traffic Differentiation in Mobile Networks", IMC 2015; Li et al., "A large-scale
//! analysis of deployed traffic differentiation practices", SIGCOMM 2019): the original replay and its control, each cut into 100
//! buckets of throughput; a two-sample Kolmogorov-Smirnov test that must hold up in random halves of the samples, and
//! the area between the two distributions.

use measure::shaping::Observed;

use super::kolmogorov_smirnov;
use crate::noise::Noise;

const BUCKETS: usize = 100;
/// Random halves of the samples, and the share of them that must agree.
const HALVES: usize = 100;
const AGREE: f64 = 0.95;

/// When the two replays are called different.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Area between the distributions, of the larger of the two maxima.
    pub area: f64,
    pub p: f64,
}

/// What its client asks for by default, and what its server's analysis does.
pub const CLIENT: Thresholds = Thresholds { area: 0.5, p: 0.01 };
pub const SERVER: Thresholds = Thresholds { area: 0.1, p: 0.05 };

/// `None` without both replays.
pub fn differs(original: &[Observed], control: &[Observed], thresholds: Thresholds, noise: &mut Noise) -> Option<bool> {
    let (a, b) = (throughputs(original)?, throughputs(control)?);
    let area = area(&a, &b);
    let agreeing =
        (0..HALVES).filter(|_| kolmogorov_smirnov(&mut half(&a, noise), &mut half(&b, noise)).1 < thresholds.p).count();
    let p = kolmogorov_smirnov(&mut a.clone(), &mut b.clone()).1;
    let rejects = p < thresholds.p && agreeing as f64 >= AGREE * HALVES as f64;
    Some(rejects && area >= thresholds.area)
}

/// Bytes per bucket of time at the receiver.
fn throughputs(replay: &[Observed]) -> Option<Vec<f64>> {
    let arrivals = || replay.iter().filter_map(|probe| probe.received_ns);
    let (first, last) = (arrivals().min()?, arrivals().max()?);
    let width = ((last - first).max(1) as f64 / BUCKETS as f64).max(1.0);
    let mut buckets = vec![0.0; BUCKETS];
    for probe in replay {
        if let Some(received) = probe.received_ns {
            buckets[(((received - first) as f64 / width) as usize).min(BUCKETS - 1)] +=
                f64::from(probe.size) * 1e9 / width;
        }
    }
    Some(buckets)
}

fn half(values: &[f64], noise: &mut Noise) -> Vec<f64> {
    values.iter().copied().filter(|_| noise.chance(0.5)).collect()
}

/// Between the two cumulative distributions, of the largest value.
fn area(a: &[f64], b: &[f64]) -> f64 {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let largest = a[a.len() - 1].max(b[b.len() - 1]);
    // Of as many values each, the area is the mean distance of their order statistics.
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64 / largest.max(f64::MIN_POSITIVE)
}
