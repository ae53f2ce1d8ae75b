//! The line that keeps the greatest distance from both sets of bounds, by convex hulls.
//!
//! Per direction the delays of a link form a band whose edge is the minimum delay; the edge's slope is the skew. Zhang,
//! Liu and Xia, "Clock Synchronization Algorithms for Network Measurements" (INFOCOM 2002) find it on the convex hull in
//! O(n); Moon, Skelly and Towsley (INFOCOM 1999) as a linear program. Here both directions are one such program: among
//! lines `a + b x`, maximise the room between the highest line of slope `b` below all upper bounds and the lowest line of
//! slope `b` above all lower bounds. Its dual is the smallest vertical distance between the two hulls.

/// A point: time and offset, both in ns and relative to something near.
pub(super) type Point = (f64, f64);

/// A line of slope `slope` in the middle of its room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) intercept: f64,
    pub(super) slope: f64,
    /// Vertical room between the bounds along the line; negative where no line of any allowed slope fits.
    pub(super) room: f64,
}

/// Fits points given in order of time, upper and lower bounds at the same times. `None` of nothing.
pub(super) fn fit(upper: &[Point], lower: &[Point], max_slope: f64) -> Option<Fit> {
    let slope = best_slope(upper, lower).clamp(-max_slope, max_slope);
    let ceiling = upper.iter().map(|(x, y)| y - slope * x).fold(f64::INFINITY, f64::min);
    let floor = lower.iter().map(|(x, y)| y - slope * x).fold(f64::NEG_INFINITY, f64::max);
    (ceiling.is_finite() && floor.is_finite()).then(|| Fit {
        intercept: (ceiling + floor) / 2.0,
        slope,
        room: ceiling - floor,
    })
}

fn best_slope(upper: &[Point], lower: &[Point]) -> f64 {
    let ceiling = hull(upper, 1.0);
    let floor = hull(lower, -1.0);
    if ceiling.len() < 2 || floor.len() < 2 {
        return 0.0;
    }
    // The distance between the hulls is convex in time: its minimum lies at a corner of one of them.
    let corners = ceiling.iter().chain(&floor).map(|(x, _)| *x);
    let closest = corners.min_by(|a, b| {
        let distance = |x: f64| value(&ceiling, x) - value(&floor, x);
        distance(*a).total_cmp(&distance(*b))
    });
    let Some(x) = closest else { return 0.0 };
    // Lines that touch both hulls there: any slope in the range is optimal, the middle is the fairest guess.
    let (before, after) = slopes(&ceiling, x);
    let (floor_before, floor_after) = slopes(&floor, x);
    let lowest = before.unwrap_or(f64::NEG_INFINITY).max(floor_after.unwrap_or(f64::NEG_INFINITY));
    let highest = after.unwrap_or(f64::INFINITY).min(floor_before.unwrap_or(f64::INFINITY));
    match (lowest.is_finite(), highest.is_finite()) {
        (true, true) => (lowest + highest) / 2.0,
        (true, false) => lowest,
        (false, true) => highest,
        (false, false) => 0.0,
    }
}

/// The lower hull for `side` 1, the upper hull for `side` -1 (Andrew's monotone chain). Of equal times the best counts.
fn hull(points: &[Point], side: f64) -> Vec<Point> {
    let mut chain: Vec<Point> = Vec::new();
    for &(x, y) in points {
        if let Some(last) = chain.last()
            && last.0 == x
        {
            if (y - last.1) * side >= 0.0 {
                continue;
            }
            chain.pop();
        }
        while let [.., a, b] = chain[..] {
            let turn = (b.0 - a.0) * (y - a.1) - (b.1 - a.1) * (x - a.0);
            if turn * side > 0.0 {
                break;
            }
            chain.pop();
        }
        chain.push((x, y));
    }
    chain
}

/// The chain's height at `x`, which lies within it.
fn value(chain: &[Point], x: f64) -> f64 {
    let right = chain.partition_point(|point| point.0 < x).clamp(1, chain.len() - 1);
    let (a, b) = (chain[right - 1], chain[right]);
    a.1 + (b.1 - a.1) * ((x - a.0) / (b.0 - a.0))
}

/// The chain's slopes just before and just after `x`; `None` beyond its ends.
fn slopes(chain: &[Point], x: f64) -> (Option<f64>, Option<f64>) {
    let slope = |pair: &[Point]| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0);
    let not_before = chain.partition_point(|point| point.0 < x);
    let after = chain.partition_point(|point| point.0 <= x);
    let left = (not_before > 0).then(|| chain.get(not_before - 1..=not_before)).flatten().map(slope);
    let right = (after > 0).then(|| chain.get(after - 1..=after)).flatten().map(slope);
    (left, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exchange_gives_the_middle_and_no_slope() {
        assert_eq!(fit(&[(0.0, 10.0)], &[(0.0, -2.0)], 1.0), Some(Fit { intercept: 4.0, slope: 0.0, room: 12.0 }));
        assert_eq!(fit(&[], &[], 1.0), None);
    }

    #[test]
    fn delays_above_the_minimum_do_not_move_the_line() {
        let times: Vec<f64> = (0..100).map(f64::from).collect();
        let truth = |x: f64| 5.0 + 0.25 * x;
        let upper: Vec<Point> = times
            .iter()
            .map(|&x| (x, truth(x) + 10.0 + if x % 7.0 == 0.0 { 0.0 } else { 40.0 * (x * 1.7).sin().abs() }))
            .collect();
        let lower: Vec<Point> =
            times.iter().map(|&x| (x, truth(x) - 10.0 - if x % 11.0 == 3.0 { 0.0 } else { x })).collect();
        let line = fit(&upper, &lower, 1.0).unwrap();
        assert!((line.slope - 0.25).abs() < 1e-12, "{line:?}");
        assert!((line.intercept - 5.0).abs() < 1e-9, "{line:?}");
        assert!((line.room - 20.0).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn contradicting_bounds_show_as_negative_room() {
        let upper = [(0.0, 0.0), (1.0, 5.0), (2.0, 0.0)];
        let lower = [(0.0, -1.0), (1.0, 3.0), (2.0, -1.0)];
        assert_eq!(fit(&upper, &lower, 1.0).unwrap().room, -3.0);
    }

    /// The room of the fitted slope is at least that of every other slope: the linear program's optimum, by brute force.
    #[test]
    fn no_other_slope_has_more_room() {
        let mut random = crate::random::SplitMix64::new(11);
        for _ in 0..200 {
            let mut noise = || random.below(1000) as f64 / 100.0;
            let n = 3 + noise() as usize * 3;
            let upper: Vec<Point> = (0..n).map(|i| (i as f64, 3.0 + noise())).collect();
            let lower: Vec<Point> = (0..n).map(|i| (i as f64, -3.0 - noise())).collect();
            let best = fit(&upper, &lower, 100.0).unwrap();
            for step in -200..=200 {
                let slope = best.slope + f64::from(step) * 0.01;
                let ceiling = upper.iter().map(|(x, y)| y - slope * x).fold(f64::INFINITY, f64::min);
                let floor = lower.iter().map(|(x, y)| y - slope * x).fold(f64::NEG_INFINITY, f64::max);
                assert!(ceiling - floor <= best.room + 1e-9, "slope {slope} beats {best:?}");
            }
        }
    }
}
