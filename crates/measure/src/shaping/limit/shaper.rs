//! A shaper: what exceeds the bucket waits, so that packets leave at its rate, until its queue is full as well.

use model::report::{LimitAfter, LimitKind};

use super::{Limit, limit, line};
use crate::shaping::Observed;

/// A queue that nobody could mistake for the path's own unrest.
const LEAST_WAIT_NS: f64 = 2e6;
/// Sent so much faster than the packets leave. Less may be other traffic that takes a little more than its share of a queue; a clock
/// that runs away by 200 ppm looks like 0.02 %.
const LEAST_OVERLOAD: f64 = 0.1;
const LEAST_PACKETS: usize = 40;
/// Share of the waiting packets that leave on the line, to within [`SLACK`] packets.
const EXPLAINED: f64 = 0.9;
const SLACK: f64 = 2.5;

/// `Ok(None)`: nothing waits. `Err`: packets waited, and why that is no shaper.
pub(super) fn find(train: &[Observed], sent_bps: f64) -> Result<Option<Limit>, &'static str> {
    let Some(first) = train.first() else { return Ok(None) };
    let size = f64::from(first.size);
    let mut arrived: Vec<(i64, i64)> =
        train.iter().filter_map(|probe| probe.received_ns.map(|received| (received, probe.sent_ns))).collect();
    if arrived.len() < LEAST_PACKETS {
        return Ok(None);
    }
    arrived.sort_unstable();
    let mut delays: Vec<f64> = arrived.iter().map(|(received, sent)| (received - sent) as f64).collect();
    let in_order = delays.clone();
    // Of the first packets, which found the bucket full; their least is the path without a queue.
    let head = (delays.len() / 20).clamp(5, 50);
    let base = in_order[..head].iter().copied().fold(f64::INFINITY, f64::min);
    delays.sort_by(f64::total_cmp);
    let spread = {
        let mut head: Vec<f64> = in_order[..head].to_vec();
        head.sort_by(f64::total_cmp);
        head[head.len() * 9 / 10] - head[0]
    };
    let wait = LEAST_WAIT_NS.max(3.0 * spread);
    // The queue is there from some packet on and stays; the last tenth of the train must be in it.
    let tail = &in_order[in_order.len() - in_order.len() / 10..];
    if tail.iter().filter(|delay| **delay - base > wait).count() * 10 < tail.len() * 9 {
        return Ok(None);
    }
    let begin = in_order.iter().rposition(|delay| delay - base <= wait).map_or(0, |last| last + 1);
    let waiting = &arrived[begin..];
    if waiting.len() < LEAST_PACKETS {
        return Ok(None);
    }
    // Bytes that have left by the time a packet arrives. What was lost never left.
    let origin = first.sent_ns as f64 + base;
    let points: Vec<(f64, f64)> = waiting
        .iter()
        .enumerate()
        .map(|(index, (received, _))| ((*received as f64 - origin) / 1e9, (begin + index + 1) as f64 * size))
        .collect();
    let Some(served) = line::fit(&points) else { return Err("packets waited too briefly to show a rate") };
    let rate = served.slope * 8.0;
    if rate <= 0.0 || sent_bps < rate * (1.0 + LEAST_OVERLOAD) {
        // They left as fast as they came: the path has become longer, or a clock was set.
        return Ok(None);
    }
    let explained = points.iter().filter(|(at, bytes)| (served.at(*at) - bytes).abs() <= SLACK * size).count() as f64
        / points.len() as f64;
    if explained < EXPLAINED || served.intercept < -3.0 * size {
        return Err("packets waited, but did not leave at a steady rate: other traffic shares the queue");
    }
    // A burst of sigma passes at the rate it came: what left beyond rho t since the first packet.
    let error = 3.0 * served.intercept_error + size;
    let rate = (rate, (3.0 * served.slope_error * 8.0).max(0.002 * rate));
    // The line is what has left; it meets what was sent where the queue began.
    let seconds = served.intercept.max(size) * 8.0 / (sent_bps - rate.0);
    let onset = LimitAfter { bytes: (seconds * sent_bps / 8.0) as u64, seconds };
    Ok(Some(limit(LimitKind::Shaper, size, rate, (served.intercept.max(size), error), onset, explained)))
}
