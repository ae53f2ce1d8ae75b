//! Limits of rate, from constant-rate trains: a policer drops (or remarks) what exceeds its token bucket, a shaper makes it wait.
//!
//! Both let pass `sigma + rho t` bytes in `t` seconds of overload (RFC 2697's bucket of depth sigma filled at rho). Random loss, a
//! full queue elsewhere or a competing flow do not, to within a packet: that is what tells a limit from bad luck.

mod line;
mod policer;
mod pool;
mod shaper;

use model::report::{Estimate, LimitAfter, LimitKind};

use super::Observed;

pub use pool::pool;

/// Ethernet's header, which layer-2 rates count.
const FRAME_HEADER: f64 = 14.0;
/// A limit of rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub kind: LimitKind,
    /// Layer 3.
    pub rate_bps: Estimate,
    /// The same counted with Ethernet headers.
    pub rate_l2_bps: Estimate,
    /// Layer 3: what passes at once after a long silence.
    pub burst_bytes: Estimate,
    /// Not where every train began in a queue that another one had left: then nothing is known of the burst.
    pub burst_was_seen: bool,
    /// Mark of what exceeds the rate, where it is remarked instead of dropped.
    pub excess_dscp: Option<u8>,
    /// What one train sent before the limit showed.
    pub onset: LimitAfter,
    /// The limit starts after this much, and that is not its bucket's depth: several trains show that it does not fill up again,
    /// or faster than a bucket could.
    pub after: Option<LimitAfter>,
    /// Share of drops (or of waiting packets) that the bucket explains.
    pub explained: f64,
}

/// What one train of one class showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainFinding {
    /// On the sender's clock: the first packet, the last, and when that one had left any queue.
    pub began_ns: i64,
    pub last_sent_ns: i64,
    pub ended_ns: i64,
    /// Across both clocks: of the fastest packet and of the last.
    pub least_delay_ns: i64,
    pub last_delay_ns: i64,
    /// It began in the queue that an earlier train had left, so its burst says nothing.
    pub in_queue: bool,
    /// Layer 3.
    pub sent_bps: f64,
    pub sent_bytes: u64,
    pub duration_s: f64,
    pub sent: u64,
    pub lost: u64,
    pub limit: Option<Limit>,
    /// Why losses or delays that were there are not called a limit.
    pub reason: Option<String>,
}

/// Examines one train. `train`: settled probes of one class in order of sequence, one direction, of one size.
pub fn examine(train: &[Observed]) -> TrainFinding {
    let (Some(first), Some(last)) = (train.first(), train.last()) else { return TrainFinding::default() };
    let sent = train.len() as u64;
    let size = f64::from(first.size);
    let span = (last.sent_ns - first.sent_ns) as f64 / 1e9;
    let sent_bytes: u64 = train.iter().map(|probe| u64::from(probe.size)).sum();
    let sent_bps = if span > 0.0 { (sent_bytes as f64 - size) * 8.0 / span } else { 0.0 };
    let lost = train.iter().filter(|probe| probe.received_ns.is_none()).count() as u64;
    let delays =
        || train.iter().filter_map(|probe| probe.received_ns.map(|received| received.saturating_sub(probe.sent_ns)));
    let (least_delay_ns, last_delay_ns) = (delays().min().unwrap_or(0), delays().next_back().unwrap_or(0));
    let mut finding = TrainFinding {
        began_ns: first.sent_ns,
        last_sent_ns: last.sent_ns,
        ended_ns: last.sent_ns.saturating_add(last_delay_ns.saturating_sub(least_delay_ns)),
        least_delay_ns,
        last_delay_ns,
        in_queue: false,
        sent_bps,
        sent_bytes,
        duration_s: span,
        sent,
        lost,
        limit: None,
        reason: None,
    };
    if sent_bps <= 0.0 {
        return finding;
    }
    match shaper::find(train, sent_bps) {
        Ok(Some(limit)) => finding.limit = Some(limit),
        Ok(None) => match policer::find(train) {
            Ok(limit) => finding.limit = limit,
            Err(reason) => finding.reason = Some(reason.to_owned()),
        },
        Err(reason) => finding.reason = Some(reason.to_owned()),
    }
    finding
}

/// Marks trains that began before the queue of an earlier one was empty. `trains`: of one path, in the order they were sent.
pub fn settle(trains: &mut [&mut TrainFinding]) {
    let mut before: Option<(i64, i64)> = None;
    for train in trains {
        // Two milliseconds are nobody's queue.
        let (ended_ns, least_ns) = before.unwrap_or((i64::MIN, i64::MAX));
        train.in_queue = train.began_ns < ended_ns.saturating_sub(2_000_000);
        let least_ns = if train.in_queue { least_ns.min(train.least_delay_ns) } else { train.least_delay_ns };
        train.ended_ns = train.last_sent_ns.saturating_add(train.last_delay_ns.saturating_sub(least_ns));
        before = Some((train.ended_ns.max(ended_ns), least_ns));
    }
}

/// The limits that this train could not have shown, in words.
pub fn blind_spot(finding: &TrainFinding) -> String {
    let kbps = finding.sent_bps / 1e3;
    // A shaper of half the rate shows once its bucket is empty and its queue is plain to see.
    let bytes = finding.sent_bps / 2.0 * finding.duration_s / 8.0;
    format!(
        "no limit up to {kbps:.0} kbit/s for {:.1} s; a limit above that rate, or of half of it with a burst above {:.0} kB, is invisible",
        finding.duration_s,
        bytes / 1e3
    )
}

/// Puts the parts together; rates and bytes in layer 3.
fn limit(kind: LimitKind, size: f64, rate: (f64, f64), burst: (f64, f64), onset: LimitAfter, explained: f64) -> Limit {
    let around =
        |(value, error): (f64, f64)| Estimate { estimate: value, low: (value - error).max(0.0), high: value + error };
    let frames = (size + FRAME_HEADER) / size;
    Limit {
        kind,
        rate_bps: around(rate),
        rate_l2_bps: around((rate.0 * frames, rate.1 * frames)),
        burst_bytes: around(burst),
        burst_was_seen: true,
        excess_dscp: None,
        onset,
        after: None,
        explained,
    }
}
