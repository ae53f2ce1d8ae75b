//! Numbers that need no clock model: order statistics, round-trip time, packet delay variation.

use model::report::{Ipdv, Quantiles};

use crate::clock::Exchange;

/// The value at `quantile` (0..=1) by nearest rank: the smallest value that at least that share of all values does not
/// exceed. Sorts as much as it needs. `None` of nothing. NaN must not be among the values.
pub fn nearest_rank(values: &mut [f64], quantile: f64) -> Option<f64> {
    let rank = ((values.len() as f64 * quantile).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    if values.is_empty() {
        return None;
    }
    Some(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
}

/// Minimum, quantiles and maximum of values in nanoseconds, in milliseconds. `None` of nothing. Reorders the values.
pub fn quantiles_ms(values_ns: &mut [f64]) -> Option<Quantiles> {
    let at = |values: &mut [f64], quantile| nearest_rank(values, quantile).map(|ns| ns / 1e6);
    Some(Quantiles {
        min: at(values_ns, 0.0)?,
        p50: at(values_ns, 0.5)?,
        p95: at(values_ns, 0.95)?,
        p99: at(values_ns, 0.99)?,
        max: at(values_ns, 1.0)?,
    })
}

/// Quantiles of absolute packet delay variation; values in nanoseconds, signed or not. `None` of nothing.
pub fn ipdv_ms(values_ns: &mut [f64]) -> Option<Ipdv> {
    for value in values_ns.iter_mut() {
        *value = value.abs();
    }
    Some(Ipdv { p50: nearest_rank(values_ns, 0.5)? / 1e6, p95: nearest_rank(values_ns, 0.95)? / 1e6 })
}

/// Time both packets of an exchange spent in the network, in nanoseconds: `(t4-t1) - (t3-t2)`, without the far host's
/// turnaround. Needs no common clock. `None` where it is negative, hence false: a clock stepped in between.
pub fn round_trip_ns(exchange: &Exchange) -> Option<i64> {
    let whole = i128::from(exchange.t4.0) - i128::from(exchange.t1.0);
    let turnaround = i128::from(exchange.t3.0) - i128::from(exchange.t2.0);
    i64::try_from(whole - turnaround).ok().filter(|ns| *ns >= 0 && whole >= 0 && turnaround >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::UnixNanos;

    #[test]
    fn nearest_rank_never_invents_a_value() {
        // The example of RFC 2330, section 11.3, read as nearest rank: 5 values.
        let mut values = [-2.0, 7.0, 7.0, 4.0, 18.0];
        assert_eq!(nearest_rank(&mut values, 0.0), Some(-2.0));
        assert_eq!(nearest_rank(&mut values, 0.2), Some(-2.0));
        assert_eq!(nearest_rank(&mut values, 0.21), Some(4.0));
        assert_eq!(nearest_rank(&mut values, 0.5), Some(7.0));
        assert_eq!(nearest_rank(&mut values, 0.95), Some(18.0));
        assert_eq!(nearest_rank(&mut [], 0.5), None);
    }

    #[test]
    fn quantiles_of_one_to_a_hundred() {
        let mut values: Vec<f64> = (1..=100).rev().map(|ms| f64::from(ms) * 1e6).collect();
        let expected = Quantiles { min: 1.0, p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 };
        assert_eq!(quantiles_ms(&mut values), Some(expected));
        assert_eq!(ipdv_ms(&mut [-4e6, 3e6, 1e6]), Some(Ipdv { p50: 3.0, p95: 4.0 }));
    }

    #[test]
    fn a_round_trip_leaves_the_turnaround_out_and_is_never_negative() {
        let exchange =
            |t1, t2, t3, t4| Exchange { t1: UnixNanos(t1), t2: UnixNanos(t2), t3: UnixNanos(t3), t4: UnixNanos(t4) };
        assert_eq!(round_trip_ns(&exchange(100, 5_000, 5_030, 180)), Some(50));
        assert_eq!(round_trip_ns(&exchange(100, 5_000, 5_100, 180)), None);
        assert_eq!(round_trip_ns(&exchange(i64::MIN, i64::MIN, i64::MAX, i64::MAX)), Some(0));
        assert_eq!(round_trip_ns(&exchange(i64::MIN, 0, 0, i64::MAX)), None);
    }
}
