//! One direction and family of a worker: its classes and what happened to the marks of each kind.

use std::collections::{BTreeMap, BTreeSet};

use model::control::SessionInfo;
use model::report::{EcnFinding, Path, Pathology, Remarking};
use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, Tos, WorkerName};

use super::ReportConfig;
use super::class::ClassBuilder;
use crate::clock::ClockModel;
use crate::remarking::{MarkCounts, judge};

#[derive(Debug, Default)]
struct KindBuilder {
    marks: MarkCounts,
    sent: u64,
    received: u64,
    /// Marks that were seen, and those of them that were read from the SYN.
    seen: u64,
    syn: u64,
    intercepted: u64,
    local: u64,
    refused: u64,
}

#[derive(Debug, Default)]
pub(super) struct PathBuilder {
    classes: BTreeMap<(Kind, Tos), ClassBuilder>,
    kinds: BTreeMap<Kind, KindBuilder>,
    sessions: BTreeSet<SessionId>,
}

impl PathBuilder {
    pub(super) fn new() -> PathBuilder {
        PathBuilder::default()
    }

    pub(super) fn add(&mut self, sample: &Sample, clock: Option<&ClockModel>, round_trip: Option<i64>) {
        self.sessions.insert(sample.session);
        let class = self.classes.entry((sample.kind, sample.tos_sent)).or_default();
        class.add(sample, clock, round_trip);
        let kind = self.kinds.entry(sample.kind).or_default();
        kind.sent += 1;
        kind.intercepted += u64::from(sample.flags.has(SampleFlags::INTERCEPTED));
        kind.local += u64::from(sample.flags.has(SampleFlags::LOCAL_REWRITE));
        kind.refused += u64::from(sample.flags.has(SampleFlags::REFUSED));
        if sample.received_at.is_none() {
            kind.marks.lost(sample.tos_sent);
            return;
        }
        kind.received += 1;
        kind.marks.received(sample.tos_sent, sample.tos_received);
        if sample.tos_received.is_some() {
            kind.seen += 1;
            kind.syn += u64::from(sample.flags.has(SampleFlags::SYN_MARK));
        }
    }

    pub(super) fn finish(
        self,
        worker: &WorkerName,
        direction: Direction,
        family: Family,
        clock: Option<&ClockModel>,
        info: &dyn Fn(SessionId) -> Option<SessionInfo>,
        config: &ReportConfig,
    ) -> Path {
        let (from, to) = self.sessions.iter().filter_map(|id| info(*id)).fold((None, None), |ends, info| {
            (info.from.or(ends.0), info.to.or(ends.1))
        });
        let (from, to) = if direction == Direction::Down { (to, from) } else { (from, to) };
        Path {
            worker: worker.clone(),
            direction,
            family,
            from,
            to,
            clock: clock.map(ClockModel::summary),
            classes: self
                .classes
                .into_iter()
                .map(|((kind, tos), class)| class.finish(kind, tos, direction))
                .collect(),
            remarking: self
                .kinds
                .into_iter()
                .map(|(kind, builder)| builder.finish(kind, direction, family, config))
                .collect(),
            differentiation: Vec::new(),
            rate_limit: None,
        }
    }
}

impl KindBuilder {
    fn finish(self, kind: Kind, direction: Direction, family: Family, config: &ReportConfig) -> Remarking {
        let judged = judge(kind, &self.marks, &config.remarking);
        let mut remarking = Remarking {
            kind,
            pathology: judged.pathology,
            map: judged.map,
            ecn: judged.ecn,
            ecn_map: judged.ecn_map,
            flags: Vec::new(),
            location: None,
            reason: judged.reason,
        };
        if kind == Kind::Icmp {
            withhold(&mut remarking, "the far kernel copies the ToS into its reply, so no one-way mark is seen");
            remarking.ecn = EcnFinding::Unsupported;
            return remarking;
        }
        if self.received > 0 && self.seen == 0 && kind.is_tcp() && family == Family::Ipv4 && direction == Direction::Down {
            let why = "an unprivileged IPv4 TCP socket does not show the mark of what it receives: run the worker with --interface";
            withhold(&mut remarking, why);
        }
        if self.seen > 0 && self.syn * 2 > self.seen {
            remarking.flags.push("syn-only".to_owned());
        }
        let touched = self.received.max(self.intercepted);
        if touched > 0 && self.intercepted as f64 >= config.intercepted_share * touched as f64 && self.intercepted > 0 {
            remarking.flags.push("intercepted".to_owned());
            let why = "a middlebox speaks for the worker (other source address, hop count or answers than its UDP): these are its \
                       packets, not the worker's";
            withhold(&mut remarking, why);
        }
        if self.local > 0 {
            remarking.flags.push("local".to_owned());
            let why = format!("the sending host itself put another mark on {} packets, before the path", self.local);
            if self.local * 10 >= self.sent {
                withhold(&mut remarking, &why);
            } else {
                add_reason(&mut remarking, &why);
            }
        }
        if self.refused > 0 {
            add_reason(&mut remarking, &format!("{} connections were refused or reset", self.refused));
        }
        remarking
    }
}

/// No pathology is named, and this is why.
fn withhold(remarking: &mut Remarking, why: &str) {
    remarking.pathology = Pathology::Inconclusive;
    if remarking.ecn != EcnFinding::Unsupported {
        remarking.ecn = EcnFinding::Inconclusive;
    }
    remarking.reason = Some(why.to_owned());
}

fn add_reason(remarking: &mut Remarking, why: &str) {
    remarking.reason = Some(match remarking.reason.take() {
        Some(reason) => format!("{reason}; {why}"),
        None => why.to_owned(),
    });
}
