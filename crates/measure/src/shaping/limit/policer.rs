//! A policer: what exceeds the bucket is dropped or remarked, and nothing waits (Flach et al., "An Internet-Wide Analysis of
//! Traffic Policing", SIGCOMM 2016; here both bounds of the bucket are held to a packet, which random loss cannot keep).

use model::report::{LimitAfter, LimitKind};

use super::{Limit, limit};
use crate::shaping::Observed;
use crate::shaping::limit::line;

/// Fewer drops prove nothing.
const LEAST_DROPS: usize = 20;
/// A random placement of as many drops would wander this many packets, and a quarter of that from the best line: less, and luck could
/// keep to it (at 6, one pair of trains in thousands under 5 % of loss did).
const LEAST_WANDER: f64 = 9.0;
const EXPLAINED: f64 = 0.9;
/// Sent so much faster than the limit, or a loss rate of a few in a hundred might be one.
const LEAST_OVERLOAD: f64 = 0.05;
/// Slack of the bucket's bounds in packets: send and queueing jitter, and the bucket's own granularity.
const SLACK: f64 = 1.0;

/// `Ok(None)`: nothing exceeds anything. `Err`: something was lost, and why that is no policer.
pub(super) fn find(train: &[Observed]) -> Result<Option<Limit>, &'static str> {
    let Some(first) = train.first() else { return Ok(None) };
    let size = f64::from(first.size);
    let (excess, remarked) = excess(train);
    let drops = excess.iter().filter(|excess| **excess).count();
    if drops == 0 {
        return Ok(None);
    }
    if drops < LEAST_DROPS {
        return Err("too few packets were lost to tell a limit from chance");
    }
    let share = drops as f64 / train.len() as f64;
    let wander = (train.len() as f64 * share * (1.0 - share)).sqrt();
    if wander < LEAST_WANDER {
        return Err("the losses are too few or too many to tell a limit from chance");
    }
    let seconds = |probe: &Observed| (probe.sent_ns - first.sent_ns) as f64 / 1e9;
    // At a drop the bucket holds between nothing and a packet: half a packet on average.
    let mut passed = 0.0;
    let mut points = Vec::with_capacity(drops);
    let mut all = Vec::with_capacity(train.len());
    for (probe, excess) in train.iter().zip(&excess) {
        all.push((seconds(probe), passed, *excess));
        if *excess {
            points.push((seconds(probe), passed + size / 2.0));
        } else {
            passed += f64::from(probe.size);
        }
    }
    let Some(bucket) = line::fit(&points) else { return Err("the losses are too close together to show a rate") };
    // Before the first packet the bucket held what the line says, and nobody fills a bucket by losing.
    if bucket.slope <= 0.0 || bucket.intercept < -2.0 * size {
        return Err("the losses do not follow a token bucket");
    }
    let sent_bytes_per_s = (train.len() - 1) as f64 * size / seconds(&train[train.len() - 1]).max(1e-9);
    if sent_bytes_per_s < bucket.slope * (1.0 + LEAST_OVERLOAD) {
        return Err("the losses are too few to tell a limit from chance");
    }
    let tokens = |at: f64, passed: f64| bucket.at(at) - passed;
    let fits = |&(at, passed, excess): &(f64, f64, bool)| {
        let tokens = tokens(at, passed);
        if excess {
            tokens > -SLACK * size && tokens < (1.0 + SLACK) * size
        } else {
            tokens >= (1.0 - SLACK) * size - SLACK * size
        }
    };
    let explained = all.iter().filter(|one| one.2 && fits(one)).count() as f64 / drops as f64;
    let passes = all.iter().filter(|one| !one.2).count().max(1);
    let allowed = all.iter().filter(|one| !one.2 && fits(one)).count() as f64 / passes as f64;
    if explained < EXPLAINED || allowed < EXPLAINED {
        return Err("the losses do not follow a token bucket");
    }
    if remarked.is_none() && waits(train, &excess) {
        return Err("packets waited before others were lost: a full queue, not a policer");
    }
    let rate = (bucket.slope * 8.0, (3.0 * bucket.slope_error * 8.0).max(0.002 * bucket.slope * 8.0));
    let burst = (bucket.intercept.max(size), 3.0 * bucket.intercept_error + size);
    let onset = all.iter().position(|one| one.2 && fits(one)).map_or(0, |place| place as u64);
    let onset =
        LimitAfter { bytes: onset * first.size as u64, seconds: all.get(onset as usize).map_or(0.0, |one| one.0) };
    let mut found = limit(LimitKind::Policer, size, rate, burst, onset, explained);
    found.excess_dscp = remarked;
    Ok(Some(found))
}

/// Which packets exceeded the limit: those that came with another mark than the first ones, if that is how excess is treated,
/// else those that were lost.
fn excess(train: &[Observed]) -> (Vec<bool>, Option<u8>) {
    let marks = || train.iter().filter_map(|probe| probe.tos_received.map(|tos| tos.dscp().get()));
    let conforming = marks().next();
    let mut others = [0usize; 64];
    for mark in marks().filter(|mark| Some(*mark) != conforming) {
        others[usize::from(mark)] += 1;
    }
    let (mark, count) = others.iter().enumerate().max_by_key(|(_, count)| **count).unwrap_or((0, &0));
    let lost = train.iter().filter(|probe| probe.received_ns.is_none()).count();
    if *count >= LEAST_DROPS && *count > lost {
        let exceeds = |probe: &Observed| probe.tos_received.is_some_and(|tos| usize::from(tos.dscp().get()) == mark);
        return (train.iter().map(exceeds).collect(), Some(mark as u8));
    }
    (train.iter().map(|probe| probe.received_ns.is_none()).collect(), None)
}

/// Whether the packets that passed just before drops were late: by more than the spread of those before the first drop.
fn waits(train: &[Observed], excess: &[bool]) -> bool {
    let delay = |probe: &Observed| probe.received_ns.map(|received| (received - probe.sent_ns) as f64);
    let begin = excess.iter().position(|excess| *excess).unwrap_or(0).max(5);
    let mut before: Vec<f64> = train.iter().take(begin).filter_map(delay).collect();
    let mut late: Vec<f64> = train
        .windows(2)
        .zip(excess.windows(2))
        .filter(|(_, excess)| excess[1] && !excess[0])
        .filter_map(|(pair, _)| delay(&pair[0]))
        .collect();
    if before.len() < 4 || late.len() < 4 {
        return false;
    }
    before.sort_by(f64::total_cmp);
    late.sort_by(f64::total_cmp);
    let at = |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    // At least the time in which a tiny queue of two packets would drain at the train's own rate.
    let spacing = (train[train.len() - 1].sent_ns - train[0].sent_ns) as f64 / (train.len() - 1) as f64;
    let spread = at(&before, 0.9) - at(&before, 0.1);
    at(&late, 0.5) - at(&before, 0.5) > (2.0 * spread).max(2.0 * spacing).max(500_000.0)
}
