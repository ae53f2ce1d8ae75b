//! A whole run within its budget: which comparisons, how many pairs of them, which trains after that. Pure; the worker sends, the
//! server judges, and what it has judged comes back in here.

mod bulk;
#[cfg(test)]
mod tests;
mod trains;

use model::report::Verdict;
use model::shaping::{Arm, DirectionStatus, Hypothesis, PairDesign, Payload, Ports, Purpose};
use model::{DirectionChoice, Dscp};

pub use bulk::{BulkSession, transfer_bound, transfer_cost};
pub use trains::{Memory, Trains};

/// Between the two probes of a pair.
const GAP_US: u32 = 1_500;
/// Ports of [`Ports::Fresh`] stay the same for so long.
const BLOCK_S: f64 = 0.5;
const MOST_ROUNDS_PER_SECOND: f64 = 100.0;
const LEAST_ROUNDS_PER_SECOND: f64 = 0.01;
/// Pairs that load a path by more than this are not a quiet question any more.
const MOST_PAIR_PPS: f64 = 2_000.0;
/// TCP's comparisons: connections cost a host more than datagrams.
const MOST_STREAM_ROUNDS: f64 = 10.0;
/// Shares of the budget: pairs (and of those, where both are asked, connections), the rest for trains.
const PAIRS: f64 = 0.6;
const STREAMS: f64 = 0.2;
/// Of the time.
const PAIR_TIME: f64 = 0.5;

/// What uploads add to each probe, both halves.
const REPORTED_BYTES: f64 = 110.0;
/// A TCP exchange's segments beside its data, one way and the other.
const STREAM_BYTES: f64 = 1_600.0;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Classes to compare with best effort.
    pub dscp: Vec<Dscp>,
    /// Payloads to compare with random bytes.
    pub payloads: Vec<Payload>,
    /// Ports to compare with the server's own.
    pub ports: Vec<u16>,
    /// The bytes that classes and ports are compared with.
    pub base: Payload,
    pub udp_port: u16,
    pub dns_port: u16,
    pub tcp_port: u16,
    pub direction: DirectionChoice,
    /// UDP payload bytes.
    pub size: u16,
    /// Of IP and UDP.
    pub headers: u16,
    /// Both ways, everything that the run causes.
    pub budget_bytes: u64,
    pub seconds: f64,
    /// Whether TCP's throughput may be compared: a run does, an endless watch does not.
    pub transfers: bool,
    /// Of the run, over all comparisons.
    pub alpha: f64,
}

/// Sessions of pairs and how many rounds the budget lets them have.
#[derive(Clone, Debug, PartialEq)]
pub struct PairSession {
    pub design: PairDesign,
    pub rounds: u32,
}

impl Ask {
    fn arm(&self, dscp: Dscp, port: u16, payload: Payload) -> Arm {
        Arm { dscp, port, payload }
    }

    fn best_effort(&self) -> Arm {
        let port = if self.base == Payload::Dns { self.dns_port } else { self.udp_port };
        self.arm(Dscp::default(), port, self.base)
    }

    fn classes(&self) -> impl Iterator<Item = Arm> + '_ {
        let marked = |dscp: &&Dscp| dscp.get() != 0;
        self.dscp.iter().filter(marked).map(|dscp| Arm { dscp: *dscp, ..self.best_effort() })
    }

    /// All comparisons over UDP, and all over TCP.
    pub fn hypotheses(&self) -> (Vec<Hypothesis>, Vec<Hypothesis>) {
        let difference = |subject, control, ports| Hypothesis { subject, control, ports, purpose: Purpose::Difference };
        let control = self.best_effort();
        let mut datagrams = Vec::new();
        for subject in self.classes() {
            datagrams.extend([Ports::OneFlow, Ports::Fresh].map(|ports| difference(subject, control, ports)));
        }
        for port in self.ports.iter().filter(|port| **port != control.port) {
            datagrams.push(difference(Arm { port: *port, ..control }, control, Ports::Fresh));
        }
        let mut streams = Vec::new();
        for payload in &self.payloads {
            let (port, random) = match payload {
                Payload::Random | Payload::RandomStream => continue,
                Payload::Rtp => (self.udp_port, Payload::Random),
                Payload::Dns => (self.dns_port, Payload::Random),
                Payload::Http | Payload::Tls => (self.tcp_port, Payload::RandomStream),
            };
            let arm = |payload| self.arm(Dscp::default(), port, payload);
            let list = if payload.is_stream() { &mut streams } else { &mut datagrams };
            list.push(difference(arm(*payload), arm(random), Ports::Fresh));
        }
        if datagrams.iter().any(|hypothesis| hypothesis.ports == Ports::Fresh) {
            let purpose = Purpose::PathDiversity;
            datagrams.push(Hypothesis { subject: control, control, ports: Ports::Fresh, purpose });
        }
        (datagrams, streams)
    }

    /// What shares the error rate: every comparison in every direction.
    pub fn hypothesis_count(&self) -> u32 {
        let (datagrams, streams) = self.hypotheses();
        let directions = u32::from(self.direction.up()) + u32::from(self.direction.down());
        (datagrams.len() + streams.len()) as u32 * directions + self.bulk_count()
    }

    /// Bytes of one datagram and what it causes.
    fn datagram_bytes(&self, size: u16) -> f64 {
        let wire = f64::from(size + self.headers);
        wire * if self.direction.down() { 2.0 } else { 1.0 } + REPORTED_BYTES
    }

    /// The sessions of pairs, first those over UDP.
    pub fn pairs(&self) -> Vec<PairSession> {
        let (datagrams, streams) = self.hypotheses();
        let (transfers, _) = self.transfers();
        let aside = transfers.as_ref().map_or(0, |session| session.bytes);
        let budget = self.budget_bytes.saturating_sub(aside) as f64 * PAIRS;
        let aside_s = transfers.map_or(0.0, |session| session.seconds);
        let seconds = ((self.seconds - aside_s) * PAIR_TIME).max(1.0);
        let shares = match (datagrams.is_empty(), streams.is_empty()) {
            (false, false) => [budget * (1.0 - STREAMS), budget * STREAMS],
            _ => [budget, budget],
        };
        let session = |hypotheses: Vec<Hypothesis>, each: f64, budget: f64, most: f64, fresh: bool| {
            let probes = 2.0 * hypotheses.len() as f64;
            let rounds = (budget / (each * probes)).floor();
            let rate = (rounds / seconds).min(most).min(MOST_PAIR_PPS / probes).max(LEAST_ROUNDS_PER_SECOND);
            let design = PairDesign {
                hypotheses,
                rounds_per_second: rate,
                gap_us: GAP_US,
                // A pair of connections has ports of its own, so the pair is the unit.
                block_rounds: if fresh { ((rate * BLOCK_S).round() as u32).max(1) } else { 1 },
                size: self.size,
            };
            PairSession { rounds: rounds.min((rate * seconds).ceil()).max(1.0) as u32, design }
        };
        let mut sessions = Vec::new();
        if !datagrams.is_empty() {
            let each = self.datagram_bytes(self.size);
            sessions.push(session(datagrams, each, shares[0], MOST_ROUNDS_PER_SECOND, true));
        }
        if !streams.is_empty() {
            sessions.push(session(streams, STREAM_BYTES + REPORTED_BYTES, shares[1], MOST_STREAM_ROUNDS, false));
        }
        sessions
    }

    /// An upper bound of what a session of pairs causes in bytes.
    pub fn pair_bytes(&self, session: &PairSession) -> u64 {
        let is_stream = session.design.hypotheses.iter().any(|hypothesis| hypothesis.subject.payload.is_stream());
        let each = if is_stream { STREAM_BYTES + REPORTED_BYTES } else { self.datagram_bytes(self.size) };
        (2.0 * session.design.hypotheses.len() as f64 * f64::from(session.rounds) * each) as u64
    }
}

/// The subjects that a session of pairs shows to be blocked, in any direction.
pub fn blocked(design: &PairDesign, status: &[DirectionStatus]) -> Vec<Arm> {
    let of = |direction: &DirectionStatus| {
        let found = direction.verdicts.iter().zip(&design.hypotheses);
        let found = found.filter(|(verdict, _)| **verdict == Verdict::Blocked);
        found.map(|(_, hypothesis)| hypothesis.subject).collect::<Vec<Arm>>()
    };
    status.iter().flat_map(of).collect()
}

/// Which hypotheses need no more pairs: decided in every direction that is asked.
pub fn decided(direction: DirectionChoice, status: &[DirectionStatus]) -> Option<Vec<bool>> {
    let wanted = usize::from(direction.up()) + usize::from(direction.down());
    if status.len() < wanted {
        return None;
    }
    let mut directions = status.iter().map(|direction| direction.decided.clone());
    let first = directions.next()?;
    Some(directions.fold(first, |all, one| all.into_iter().zip(one).map(|(a, b)| a && b).collect()))
}
