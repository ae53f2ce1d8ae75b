//! What is said about the marks of one kind on one path, and when nothing can be said.

use std::collections::BTreeMap;

use model::report::{EcnFinding, Pathology, Remarking};
use model::{Direction, Family, Kind, Sample, SampleFlags, Tos};

use super::ReportConfig;
use crate::remarking::{MarkCounts, judge};

/// What was counted of one class. `marks` leaves out what was intercepted or rewritten by its own host.
#[derive(Clone, Copy, Debug)]
pub struct MarkSums<'a> {
    pub sent: u64,
    pub received: u64,
    pub intercepted: u64,
    pub rewritten: u64,
    pub marks: &'a BTreeMap<Tos, u64>,
}

/// What is known of a kind's marks: sample by sample, or from sums.
#[derive(Default)]
pub struct KindMarks {
    own: MarkCounts,
    /// From packets for which a middlebox spoke, or that left their host with another mark: no evidence about the path.
    foreign: MarkCounts,
    sent: u64,
    intercepted: u64,
    rewritten: u64,
    from_syn: u64,
}

impl KindMarks {
    pub(super) fn add(&mut self, sample: &Sample) {
        let has = |flag| sample.flags.has(flag);
        let is_foreign = has(SampleFlags::INTERCEPTED) || has(SampleFlags::LOCAL_REWRITE);
        let counts = if is_foreign { &mut self.foreign } else { &mut self.own };
        self.sent += 1;
        // Of a lost probe too: a middlebox that answers by itself lets nothing through.
        self.intercepted += u64::from(has(SampleFlags::INTERCEPTED));
        self.rewritten += u64::from(has(SampleFlags::LOCAL_REWRITE));
        match sample.received_at {
            Some(_) => counts.received(sample.tos_sent, sample.tos_received),
            None => return counts.lost(sample.tos_sent),
        }
        self.from_syn += u64::from(has(SampleFlags::SYN_MARK) && sample.tos_received.is_some());
    }

    /// Sums of one class instead of its samples.
    pub fn add_sums(&mut self, tos_sent: Tos, sums: &MarkSums<'_>) {
        self.sent += sums.sent;
        self.intercepted += sums.intercepted;
        self.rewritten += sums.rewritten;
        let seen: u64 = sums.marks.values().sum();
        self.own.add(tos_sent, sums.marks, sums.received.saturating_sub(seen), sums.sent.saturating_sub(sums.received));
    }

    /// A relevant share of the packets is a middlebox's.
    pub fn intercepted(&self, config: &ReportConfig) -> bool {
        self.is_relevant(self.intercepted, config)
    }

    fn is_relevant(&self, count: u64, config: &ReportConfig) -> bool {
        count > 0 && count as f64 >= config.intercepted_share * self.sent as f64
    }

    /// `intercepted`: of this kind, in this or the other direction.
    pub fn finding(
        &self,
        kind: Kind,
        direction: Direction,
        family: Family,
        intercepted: bool,
        config: &ReportConfig,
    ) -> Remarking {
        let rewritten = self.is_relevant(self.rewritten, config);
        let mut counts = self.own.clone();
        if intercepted || rewritten {
            counts.merge(&self.foreign);
        }
        let judgement = judge(kind, &counts, &config.remarking);
        let mut flags: Vec<String> = Vec::new();
        let mut reasons: Vec<String> = Vec::new();
        // Why no name is given, whatever the marks look like.
        if kind == Kind::Icmp {
            reasons.push("the far kernel copies the ToS into the reply".to_owned());
        } else if direction == Direction::RoundTrip {
            reasons.push("both ways together: what one of them does to the mark is not known".to_owned());
        } else if counts.visible() == 0 && counts.arrived() > 0 {
            reasons.push(unseen(kind, family).to_owned());
        }
        if intercepted {
            flags.push("intercepted".to_owned());
            reasons.push("intercepted: a middlebox speaks for the other end, these marks are its own".to_owned());
        }
        if rewritten {
            flags.push("local".to_owned());
            let count = self.rewritten;
            reasons.push(format!("the sending host itself put another mark on {count} packets, before the path"));
        }
        let withheld = !reasons.is_empty();
        if self.from_syn > 0 && self.from_syn * 2 >= counts.visible() {
            flags.push("syn-only".to_owned());
            reasons.push("the mark is that of the connection's SYN, not of the request".to_owned());
        }
        if !withheld {
            reasons.extend(judgement.reason);
        }
        Remarking {
            kind,
            pathology: if withheld { Pathology::Inconclusive } else { judgement.pathology },
            map: judgement.map,
            ecn: match judgement.ecn {
                ecn if !withheld || ecn == EcnFinding::Unsupported => ecn,
                _ => EcnFinding::Inconclusive,
            },
            ecn_map: judgement.ecn_map,
            flags,
            location: None,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }
}

fn unseen(kind: Kind, family: Family) -> &'static str {
    if kind.is_tcp() && family == Family::Ipv4 {
        "an unprivileged IPv4 TCP socket does not show the mark of what it receives; run with --interface"
    } else {
        "the receiving socket did not show the mark of what it received; run with --interface"
    }
}
