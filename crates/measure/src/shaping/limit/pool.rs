//! The limit on which several trains of one class agree, and whether its burst is a bucket's depth or an initial boost.
//!
//! A bucket of depth sigma that was emptied holds `min(sigma, rho g)` after a silence of `g` (RFC 2697): the trains' own gaps are a
//! refill sweep, which proves that the deepest burst was a full bucket. A burst that does not come back although it
//! could, or comes back sooner than it could, is none: the path lets a flow's first bytes or seconds pass.

use model::report::Estimate;

use super::{Limit, TrainFinding};

/// Trains of one class agree on a rate within this share, and on a burst within [`SAME_BURST`] or [`SAME_PACKETS`].
const SAME_RATE: f64 = 0.03;
const SAME_BURST: f64 = 0.15;
const SAME_PACKETS: f64 = 3.0;
/// What a bucket could hold exceeds what came by this factor, or falls short of it: then it was no bucket.
const NO_BUCKET: f64 = 2.0;
/// Trains' speeds that differ by less are one speed.
const SAME_SPEED: f64 = 0.05;
/// Trains that exceed a limit by less need not show it.
const OVERLOAD: f64 = 0.1;
/// No flow's own bucket holds so many seconds of its rate; what passes beyond is a boost.
const DEEP_S: f64 = 1.5;
/// Packets that even a line without a bucket seems to let pass at once.
const NO_BURST: f64 = 2.5;

/// Two thirds of the trains that were fast and long enough, and at least two (or the only one), show it alike. `all`: trains of every
/// class on the path, which may share the bucket.
pub fn pool(findings: &[TrainFinding], all: &[TrainFinding]) -> Option<Limit> {
    let limits: Vec<(&TrainFinding, Limit)> =
        findings.iter().filter_map(|finding| Some((finding, finding.limit?))).collect();
    // The longest overload knows best.
    let weight =
        |(finding, limit): &(&TrainFinding, Limit)| (finding.sent_bps - limit.rate_bps.estimate) * finding.duration_s;
    let best = limits.iter().max_by(|a, b| weight(a).total_cmp(&weight(b)))?.1;
    let mut alike: Vec<(&TrainFinding, Limit)> =
        limits.iter().copied().filter(|(_, other)| other.kind == best.kind && same_rate(other, &best)).collect();
    let could_show = |train: &&TrainFinding| {
        let rate = best.rate_bps.estimate;
        let overload = train.sent_bps - rate;
        overload > OVERLOAD * rate && train.duration_s > 2.0 * burst(&best) * 8.0 / overload
    };
    let eligible = findings.iter().filter(could_show).count().max(alike.len());
    if alike.len() < 2.min(findings.len()) || 3 * alike.len() < 2 * eligible || is_a_share(&mut alike) {
        return None;
    }
    alike.sort_by_key(|(finding, _)| finding.began_ns);
    if alike.iter().all(|(train, _)| train.in_queue) {
        return Some(Limit { burst_was_seen: false, ..best });
    }
    alike.retain(|(train, _)| !train.in_queue);
    let deepest = alike.iter().max_by(|a, b| burst(&a.1).total_cmp(&burst(&b.1)))?;
    let depth = burst(&deepest.1);
    let bytes_per_s = best.rate_bps.estimate / 8.0;
    // What a bucket of that depth held before each train: own, or shared with the other classes.
    let held = |index: usize, trains: &[TrainFinding]| {
        let began = alike[index].0.began_ns;
        let emptied = trains.iter().filter(|train| train.limit.is_some() && train.began_ns < began);
        let since = emptied.map(|train| train.ended_ns).max();
        since.map(|since| (began.saturating_sub(since) as f64 / 1e9 * bytes_per_s).clamp(0.0, depth))
    };
    let is_full =
        |index: usize| held(index, findings).is_none_or(|held| held >= 0.9 * depth) && agrees(&alike[index], depth);
    let as_a_bucket = |index: usize| {
        let holds = |expected: Option<f64>| match expected {
            Some(expected) => agrees(&alike[index], expected),
            // Nothing is known of what came before the first.
            None => burst(&alike[index].1) <= depth * (1.0 + SAME_BURST),
        };
        holds(held(index, findings)) || holds(held(index, all))
    };
    let explained = (0..alike.len()).filter(|index| as_a_bucket(*index)).count();
    if explained == alike.len() || alike.len() > 2 && 3 * explained >= 2 * alike.len() {
        let full = (0..alike.len()).filter(|index| is_full(*index)).map(|index| &alike[index]);
        let measured = full.max_by(|a, b| weight(a).total_cmp(&weight(b))).unwrap_or(deepest);
        return Some(Limit { burst_bytes: measured.1.burst_bytes, ..best });
    }
    let first = &alike[0];
    let later = &alike[1..];
    let largest = later.iter().map(|(_, limit)| burst(limit)).fold(0.0, f64::max);
    let could_hold = (1..alike.len()).filter_map(|index| held(index, all)).fold(f64::INFINITY, f64::min);
    let slack = SAME_PACKETS * packet(first.0);
    let never_again = burst(&first.1) > NO_BUCKET * largest + slack && could_hold > NO_BUCKET * largest + slack;
    if never_again {
        let bucket = later.iter().max_by(|a, b| burst(&a.1).total_cmp(&burst(&b.1)))?.1.burst_bytes;
        return Some(Limit { burst_bytes: bucket, after: Some(first.1.onset), ..best });
    }
    if !later.iter().all(|other| agrees(other, burst(&first.1))) {
        // The rate is beyond doubt, the depth is not.
        let lowest = alike.iter().map(|(_, limit)| limit.burst_bytes.low).fold(f64::INFINITY, f64::min);
        let highest = alike.iter().map(|(_, limit)| limit.burst_bytes.high).fold(0.0, f64::max);
        return Some(Limit { burst_bytes: Estimate { low: lowest, high: highest, ..best.burst_bytes }, ..best });
    }
    // Every train is a new flow, which may have a bucket of its own: one that holds a second or so is that.
    let could_own = (1..alike.len()).filter_map(|index| held(index, findings)).fold(0.0, f64::max);
    if burst(&first.1) <= DEEP_S * bytes_per_s || burst(&first.1) <= NO_BUCKET * could_own + slack {
        return Some(Limit { burst_bytes: first.1.burst_bytes, ..best });
    }
    // How deep the bucket is behind a boost that is always there cannot be seen: a packet at least.
    let hidden = Estimate { estimate: packet(first.0), low: packet(first.0), high: burst(&first.1) };
    Some(Limit { burst_bytes: hidden, after: Some(first.1.onset), ..best })
}

fn burst(limit: &Limit) -> f64 {
    limit.burst_bytes.estimate
}

fn packet(train: &TrainFinding) -> f64 {
    train.sent_bytes as f64 / train.sent.max(1) as f64
}

/// In layer 3, or in layer 2: to which of them a limit holds shows where trains are of different packets.
fn same_rate(one: &Limit, other: &Limit) -> bool {
    let same = |one: Estimate, other: Estimate| (one.estimate / other.estimate - 1.0).abs() <= SAME_RATE;
    same(one.rate_bps, other.rate_bps) || same(one.rate_l2_bps, other.rate_l2_bps)
}

fn agrees((train, limit): &(&TrainFinding, Limit), expected: f64) -> bool {
    let measured = limit.burst_bytes;
    let slack = (SAME_BURST * expected).max(SAME_PACKETS * packet(train)).max(measured.high - measured.estimate);
    (measured.estimate - expected).abs() <= slack
}

/// To trains of one speed two things look like a limit without a bucket that are none: every n-th packet is lost, and other
/// traffic takes its share of a common queue. Both let pass more of a faster train. Other traffic that begins during a
/// train gives that one a burst, and no later one.
fn is_a_share(alike: &mut [(&TrainFinding, Limit)]) -> bool {
    alike.sort_by_key(|(train, _)| train.began_ns);
    let speeds = || alike.iter().map(|(train, _)| train.sent_bps);
    let (slowest, fastest) = (speeds().fold(f64::INFINITY, f64::min), speeds().fold(0.0, f64::max));
    let has_no_burst =
        |(train, limit): &(&TrainFinding, Limit)| train.in_queue || burst(limit) < NO_BURST * packet(train);
    let later = if alike.len() > 1 { &alike[1..] } else { &alike[..] };
    fastest < slowest * (1.0 + SAME_SPEED) && later.iter().all(has_no_burst)
}
