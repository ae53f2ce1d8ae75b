//! From a report's finding to what can be looked for along the path. Pure.

use model::report::{Differentiation, FlowRule, Sharing, Trigger, Verdict};
use model::{Dscp, Ecn, Tos};

/// A class that is hit, its control, and how it is hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sought {
    pub subject: Tos,
    pub control: Tos,
    pub suffers: Suffers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Suffers {
    /// What exceeds a token bucket is dropped, or gets another mark.
    Policed { rate_bps: f64, burst_bytes: f64, excess: Option<Dscp> },
    /// It waits.
    Shaped { rate_bps: f64, burst_bytes: f64 },
    /// This share more is lost than of the control.
    Lost { share: f64 },
    /// It is this much later.
    Late { by_ns: f64 },
}

/// Below this a router's own unsteadiness hides it.
const LEAST_LATE_MS: f64 = 0.25;

/// What to look for, or in words why a finding's hop cannot be found so.
pub fn sought(entry: &Differentiation) -> Result<Sought, &'static str> {
    if entry.subject.payload.is_stream() || entry.trigger != Some(Trigger::Dscp) {
        return Err("only what a datagram's mark triggers is looked for hop by hop");
    }
    if entry.flow_rule == Some(FlowRule::FirstPacket) {
        return Err("a flow's first packet decides, and the probes of both classes share a flow");
    }
    let mark = |dscp: u8| Tos::new(Dscp::new(dscp).unwrap_or_default(), Ecn::NotEct);
    let (subject, control) = (mark(entry.subject.dscp), mark(entry.control.dscp));
    let rate_bps = entry.rate_bps.map(|rate| rate.estimate).filter(|rate| *rate > 0.0);
    // The bucket may be as deep as its interval says; what an initial boost lets pass has to pass first.
    let burst = entry.burst_bytes.map_or(0.0, |burst| burst.high.max(burst.estimate));
    let burst_bytes = burst.max(entry.limit_after.map_or(0.0, |after| after.bytes as f64));
    let loss = entry.loss_shift.map_or(0.0, |loss| loss.estimate);
    let late_ms = entry.delay_shift_ms.map_or(0.0, |delay| delay.estimate);
    let by_contest =
        entry.under_load.is_some_and(|load| !matches!(load.sharing, Sharing::Equal | Sharing::NotLoaded));
    let (loss, late_ms, subject, control) = match entry.verdict {
        // Seen from the other side best effort is hit.
        Verdict::Favoured => (-loss, -late_ms, control, subject),
        _ => (loss, late_ms, subject, control),
    };
    let suffers = match (entry.verdict, rate_bps) {
        (Verdict::Policed, Some(rate_bps)) => {
            Suffers::Policed { rate_bps, burst_bytes, excess: entry.excess_dscp.and_then(Dscp::new) }
        }
        (Verdict::Shaped, Some(rate_bps)) => Suffers::Shaped { rate_bps, burst_bytes },
        (Verdict::Policed | Verdict::Shaped, None) => return Err("its rate is not known"),
        (Verdict::Favoured, Some(_)) => return Err("a limit of all other traffic is not looked for"),
        (Verdict::Lossy | Verdict::Favoured, None) if by_contest => return Err("it shows under load only"),
        (Verdict::Lossy, _) if loss > 0.0 => Suffers::Lost { share: loss },
        (Verdict::Favoured, _) if late_ms < LEAST_LATE_MS && loss > 0.0 => Suffers::Lost { share: loss },
        (Verdict::Delayed | Verdict::Favoured, _) if late_ms >= LEAST_LATE_MS => Suffers::Late { by_ns: late_ms * 1e6 },
        (Verdict::Delayed, _) => return Err("only its slowest packets are late, and they are too few to be placed"),
        _ => return Err("it is not of a kind that is looked for"),
    };
    Ok(Sought { subject, control, suffers })
}
