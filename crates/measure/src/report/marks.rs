//! What is said about the marks of one kind on one path, and when nothing can be said.

use model::report::{EcnFinding, Pathology, Remarking};
use model::{Direction, Family, Kind, Sample, SampleFlags};

use super::ReportConfig;
use crate::remarking::{MarkCounts, judge};

/// What the second pass keeps of a kind's marks.
#[derive(Default)]
pub(super) struct KindMarks {
    own: MarkCounts,
    /// From packets for which a middlebox spoke.
    foreign: MarkCounts,
    received: u64,
    intercepted: u64,
    rewritten: u64,
    from_syn: u64,
}

impl KindMarks {
    pub(super) fn add(&mut self, sample: &Sample) {
        let has = |flag| sample.flags.has(flag);
        let counts = if has(SampleFlags::INTERCEPTED) { &mut self.foreign } else { &mut self.own };
        match sample.received_at {
            Some(_) => counts.received(sample.tos_sent, sample.tos_received),
            None => return counts.lost(sample.tos_sent),
        }
        self.received += 1;
        self.intercepted += u64::from(has(SampleFlags::INTERCEPTED));
        self.rewritten += u64::from(has(SampleFlags::LOCAL_REWRITE));
        self.from_syn += u64::from(has(SampleFlags::SYN_MARK) && sample.tos_received.is_some());
    }

    /// A relevant share of the packets is a middlebox's.
    pub(super) fn intercepted(&self, config: &ReportConfig) -> bool {
        self.is_relevant(self.intercepted, config)
    }

    fn is_relevant(&self, count: u64, config: &ReportConfig) -> bool {
        count > 0 && count as f64 >= config.flagged_share * self.received as f64
    }

    /// `intercepted`: of this kind, in this or the other direction.
    pub(super) fn finding(
        &self,
        kind: Kind,
        direction: Direction,
        family: Family,
        intercepted: bool,
        config: &ReportConfig,
    ) -> Remarking {
        let mut counts = self.own.clone();
        if intercepted {
            counts.merge(&self.foreign);
        }
        let judgement = judge(kind, &counts, &config.remarking);
        let (mut pathology, mut ecn) = (judgement.pathology, judgement.ecn);
        let mut reasons: Vec<String> = Vec::new();
        let mut flags: Vec<String> = Vec::new();
        let nameless = |reason: &str, pathology: &mut Pathology, ecn: &mut EcnFinding, reasons: &mut Vec<String>| {
            *pathology = Pathology::Inconclusive;
            if *ecn != EcnFinding::Unsupported {
                *ecn = EcnFinding::Inconclusive;
            }
            reasons.push(reason.to_owned());
        };
        let mut judged = true;
        if kind == Kind::Icmp || direction == Direction::RoundTrip {
            let reason = "the far kernel copies the ToS into the reply";
            nameless(reason, &mut pathology, &mut ecn, &mut reasons);
            judged = false;
        } else if intercepted {
            flags.push("intercepted".to_owned());
            let reason = "intercepted: a middlebox answers these packets itself, so nothing is concluded from their marks";
            nameless(reason, &mut pathology, &mut ecn, &mut reasons);
            judged = false;
        } else if counts.visible() == 0 && counts.arrived() > 0 {
            let reason = match (kind.is_tcp(), family) {
                (true, Family::Ipv4) => {
                    "an unprivileged IPv4 TCP socket does not show the mark of what it receives; run with --interface"
                }
                _ => "the receiving socket did not show the mark of what it received; run with --interface",
            };
            nameless(reason, &mut pathology, &mut ecn, &mut reasons);
            judged = false;
        }
        if self.from_syn > 0 && self.from_syn * 2 >= counts.visible() {
            flags.push("syn-only".to_owned());
            reasons.push("the mark is that of the connection's SYN, not of the request".to_owned());
        }
        if self.is_relevant(self.rewritten, config) {
            flags.push("local".to_owned());
            reasons.push("the sending host itself puts another mark on the wire than it was asked for".to_owned());
        }
        if judged {
            reasons.extend(judgement.reason);
        }
        Remarking {
            kind,
            pathology,
            map: judgement.map,
            ecn,
            ecn_map: judgement.ecn_map,
            flags,
            location: None,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }
}
