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
    let by_contest = entry.under_load.is_some_and(|load| !matches!(load.sharing, Sharing::Equal | Sharing::NotLoaded));
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

#[cfg(test)]
mod tests {
    use model::report::{ErrorRate, ErrorRateKind, Estimate, LimitAfter, Log10E, Subject};
    use model::shaping::Payload;
    use model::{Dscp, Kind};

    use super::*;

    fn about(estimate: f64) -> Option<Estimate> {
        Some(Estimate { estimate, low: 0.9 * estimate, high: 1.1 * estimate })
    }

    fn entry(verdict: Verdict) -> Differentiation {
        let subject = |dscp| Subject { kind: Kind::Udp, dscp, port: 8620, payload: Payload::Random };
        Differentiation {
            subject: subject(46),
            control: subject(0),
            verdict,
            trigger: Some(Trigger::Dscp),
            flow_rule: Some(FlowRule::PerPacket),
            error_rate: ErrorRate { kind: ErrorRateKind::PerRun, value: 0.001 },
            hypotheses: 2,
            log10_e: Log10E { delay: 0.0, loss: 0.0 },
            delay_shift_ms: None,
            p95_shift_ms: None,
            loss_shift: None,
            rate_bps: None,
            rate_l2_bps: None,
            burst_bytes: None,
            limit_after: None,
            excess_dscp: None,
            flags: Vec::new(),
            location: None,
            where_note: None,
            pairs: 100,
            seconds: 9.0,
            under_load: None,
            throughput: None,
            course: Vec::new(),
            note: String::new(),
        }
    }

    #[test]
    fn findings_become_what_is_looked_for() {
        let after = Some(LimitAfter { bytes: 500_000, seconds: 4.0 });
        let policed = Differentiation {
            rate_bps: about(3e5),
            burst_bytes: about(10_000.0),
            excess_dscp: Some(8),
            ..entry(Verdict::Policed)
        };
        let excess = Dscp::new(8);
        let suffers = Suffers::Policed { rate_bps: 3e5, burst_bytes: 11_000.0, excess };
        assert_eq!(sought(&policed).unwrap().suffers, suffers);
        let boosted = Differentiation { limit_after: after, ..policed };
        let suffers = Suffers::Policed { rate_bps: 3e5, burst_bytes: 500_000.0, excess };
        assert_eq!(sought(&boosted).unwrap().suffers, suffers);
        let lossy = Differentiation { loss_shift: about(0.05), ..entry(Verdict::Lossy) };
        assert_eq!(sought(&lossy).unwrap().suffers, Suffers::Lost { share: 0.05 });
        // Who is favoured has its control hit.
        let favoured = Differentiation { delay_shift_ms: about(-2.0), ..entry(Verdict::Favoured) };
        let found = sought(&favoured).unwrap();
        assert_eq!((found.subject.dscp().get(), found.control.dscp().get()), (0, 46));
        assert_eq!(found.suffers, Suffers::Late { by_ns: 2e6 });
    }

    #[test]
    fn what_cannot_be_looked_for_has_a_reason() {
        let lossy = Differentiation { loss_shift: about(0.05), ..entry(Verdict::Lossy) };
        let by_port = Differentiation { trigger: Some(Trigger::Port), ..lossy.clone() };
        assert!(sought(&by_port).unwrap_err().contains("mark"));
        let by_flow = Differentiation { flow_rule: Some(FlowRule::FirstPacket), ..lossy };
        assert!(sought(&by_flow).unwrap_err().contains("first packet"));
        assert!(sought(&entry(Verdict::Shaped)).unwrap_err().contains("rate"));
        let tail =
            Differentiation { p95_shift_ms: about(30.0), delay_shift_ms: about(0.01), ..entry(Verdict::Delayed) };
        assert!(sought(&tail).unwrap_err().contains("slowest"));
    }
}
