//! A whole run within its budget: which comparisons, how many pairs of them, which trains after that. Pure; the worker sends, the
//! server judges, and what it has judged comes back in here.

use model::report::Verdict;
use model::shaping::{
    Arm, ContestDesign, DirectionStatus, Hypothesis, PairDesign, Payload, Ports, Purpose, TrainDesign, TrainStatus,
};
use model::{DirectionChoice, Dscp};

use super::contest;

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

/// Of trains that look for a limit, in bits per second of layer 3, and how much faster each is than the last.
const FIRST_BPS: f64 = 512e3;
const STEP: f64 = 4.0;
const SEARCH_S: f64 = 1.5;
const SEARCH_IDLE_MS: u32 = 300;
/// Of trains that measure a limit which showed.
const MEASURE_S: f64 = 4.0;
/// Two speeds: what only one of them shows (every n-th packet lost, a share of somebody's queue) is no bucket.
const OVERLOADS: [f64; 2] = [2.4, 1.6];
/// Of a contest under load, and of what settles after it.
const CONTEST_S: f64 = 4.0;
const SETTLE_S: f64 = 4.0;
/// A shaper's queue that an earlier train left full drains meanwhile.
const QUEUE_MS: f64 = 700.0;
/// Larger packets from this rate on, for a sender that makes so many packets a second and no more.
const LARGE_FROM_BPS: f64 = 3e6;
const LARGE: u16 = 1_200;
const MOST_PPS: f64 = 6_000.0;
const LEAST_PACKETS: u32 = 200;

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
        (datagrams.len() + streams.len()) as u32 * directions
    }

    /// Bytes of one datagram and what it causes.
    fn datagram_bytes(&self, size: u16) -> f64 {
        let wire = f64::from(size + self.headers);
        wire * if self.direction.down() { 2.0 } else { 1.0 } + REPORTED_BYTES
    }

    /// The sessions of pairs, first those over UDP.
    pub fn pairs(&self) -> Vec<PairSession> {
        let (datagrams, streams) = self.hypotheses();
        let budget = self.budget_bytes as f64 * PAIRS;
        let seconds = (self.seconds * PAIR_TIME).max(1.0);
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

/// What a run has learned that the next may begin with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    next_bps: f64,
    limits: Vec<(Arm, (f64, f64))>,
}

/// Decides the trains: faster ones until a limit shows, then some that measure it.
#[derive(Clone, Debug)]
pub struct Trains {
    ask: Ask,
    arms: Vec<Arm>,
    left: f64,
    left_s: f64,
    next_bps: f64,
    measured: usize,
    /// Rate and burst of the slowest limit, by arm.
    limits: Vec<Option<(f64, f64)>>,
    fastest_bps: f64,
}

impl Trains {
    /// `left_bytes`, `left_s`: what is left of the budget and of the time.
    pub fn new(ask: &Ask, left_bytes: u64, left_s: f64) -> Trains {
        let (datagrams, _) = ask.hypotheses();
        let mut arms = vec![ask.best_effort()];
        for hypothesis in datagrams.iter().filter(|hypothesis| hypothesis.purpose == Purpose::Difference) {
            for arm in [hypothesis.control, hypothesis.subject] {
                // A query has the size it has, and trains of it are somebody else's amplifier test.
                if arm.payload != Payload::Dns && !arms.contains(&arm) {
                    arms.push(arm);
                }
            }
        }
        let limits = vec![None; arms.len()];
        let left = left_bytes as f64;
        Trains { ask: ask.clone(), arms, left, left_s, next_bps: FIRST_BPS, measured: 0, limits, fastest_bps: 0.0 }
    }

    /// Goes on where an earlier run of the same question stopped: measures the limits it found, or looks for faster ones.
    pub fn resume(&mut self, earlier: &Memory) {
        self.next_bps = earlier.next_bps.clamp(FIRST_BPS, 1e9);
        for (arm, limit) in &earlier.limits {
            if let Some(index) = self.arms.iter().position(|own| own == arm) {
                self.limits[index] = Some(*limit);
            }
        }
    }

    /// For [`Trains::resume`]. A search that has got as far as its budget lets it begins again, because networks change.
    pub fn memory(&self, sent_any: bool) -> Memory {
        let limits = self.arms.iter().zip(&self.limits).filter_map(|(arm, limit)| Some((*arm, (*limit)?)));
        Memory { next_bps: if sent_any { self.next_bps } else { FIRST_BPS }, limits: limits.collect() }
    }

    /// Whether trains that were to measure a limit have shown one at all; if not, there is none any more.
    pub fn forget_unseen(&mut self, design: &TrainDesign, status: &[DirectionStatus]) {
        let seen = |index: usize| {
            status.iter().flat_map(|d| &d.trains).any(|t| usize::from(t.arm) == index && t.limit.is_some())
        };
        for (index, arm) in design.arms.iter().enumerate() {
            if let Some(own) = self.arms.iter().position(|own| own == arm)
                && self.limits[own].is_some_and(|(rate, _)| design.rate_pps * f64::from(design.size) * 8.0 > rate * 1.3)
                && !seen(index)
            {
                self.limits[own] = None;
            }
        }
    }

    /// No trains of what does not get through at all.
    pub fn leave_out(&mut self, blocked: &[Arm]) {
        let keep: Vec<bool> = self.arms.iter().enumerate().map(|(i, arm)| i == 0 || !blocked.contains(arm)).collect();
        let mut of_arms = keep.iter();
        self.arms.retain(|_| *of_arms.next().unwrap_or(&true));
        self.limits = vec![None; self.arms.len()];
    }

    /// `None` when enough is known, or neither bytes nor time are left.
    pub fn next_design(&mut self) -> Option<TrainDesign> {
        let slowest = self.limits.iter().flatten().copied().reduce(|a, b| if a.0 <= b.0 { a } else { b });
        let (arms, bps, seconds, idle_ms) = match slowest {
            Some((rate, burst)) => {
                let overload = *OVERLOADS.get(self.measured)?;
                // What is limited, and best effort beside it; a faster limit than the slowest waits for another run.
                let limited =
                    |limit: &Option<(f64, f64)>| limit.is_some_and(|(other, _)| other < rate * overload * 0.9);
                let keep = |index: usize| index == 0 || self.limits.get(index).is_some_and(limited);
                let arms: Vec<Arm> =
                    self.arms.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, arm)| *arm).collect();
                // Time for a queue to drain and the bucket to fill, and for a train to empty it and show the rate after that.
                let fill_s = burst * 8.0 / rate.max(1.0);
                let idle_ms = (fill_s * 1_100.0 + QUEUE_MS).clamp(500.0, 8_000.0) as u32;
                (arms, rate * overload, MEASURE_S + fill_s.min(8.0), idle_ms)
            }
            None => (self.arms.clone(), self.next_bps, SEARCH_S, SEARCH_IDLE_MS),
        };
        let design = self.within_budget(arms, bps, seconds, idle_ms)?;
        match slowest {
            Some(_) => self.measured += 1,
            None => self.next_bps *= STEP,
        }
        Some(design)
    }

    fn within_budget(&mut self, arms: Vec<Arm>, bps: f64, seconds: f64, idle_ms: u32) -> Option<TrainDesign> {
        let size = if bps >= LARGE_FROM_BPS { self.ask.size.max(LARGE) } else { self.ask.size };
        let wire = f64::from(size + self.ask.headers) * 8.0;
        let pps = bps / wire;
        if pps > MOST_PPS {
            return None;
        }
        let each = self.ask.datagram_bytes(size) * arms.len() as f64;
        let affordable = (self.left / each) as u32;
        let packets = ((pps * seconds) as u32).max(LEAST_PACKETS).min(affordable);
        let duration = arms.len() as f64 * (f64::from(packets) / pps + f64::from(idle_ms) / 1e3);
        // Half a train shows half of nothing.
        if packets < LEAST_PACKETS || f64::from(packets) < 0.6 * pps * seconds || duration > self.left_s {
            return None;
        }
        self.left -= each * f64::from(packets);
        self.left_s -= duration;
        self.fastest_bps = self.fastest_bps.max(bps);
        Some(TrainDesign { arms, rate_pps: pps, packets, rounds: 1, idle_ms, size })
    }

    /// What the last design's trains showed.
    pub fn learn(&mut self, design: &TrainDesign, status: &[DirectionStatus]) {
        for TrainStatus { arm, limit, .. } in status.iter().flat_map(|direction| &direction.trains) {
            let Some((rate, burst)) = *limit else { continue };
            let Some(arm) = design.arms.get(usize::from(*arm)) else { continue };
            let Some(index) = self.arms.iter().position(|own| own == arm) else { continue };
            if let Some(known) = self.limits.get_mut(index) {
                let slower = known.is_none_or(|(known, _)| rate < known);
                if slower {
                    *known = Some((rate, burst));
                }
            }
        }
    }

    /// Limit of best effort that all classes may share, in bits per second of layer 3, if one was met.
    pub fn shared_limit_bps(&self) -> Option<f64> {
        self.limits.first().copied().flatten().map(|(rate, _)| rate)
    }

    /// Contests of the classes with best effort on a path of this rate, as many as the rest of budget and time allow.
    pub fn contests(&mut self, path_bps: f64) -> Vec<ContestDesign> {
        let control = self.ask.best_effort();
        let subjects: Vec<Arm> = self.ask.classes().filter(|arm| self.arms.contains(arm)).collect();
        let size = if path_bps >= LARGE_FROM_BPS { self.ask.size.max(LARGE) } else { self.ask.size };
        let rate_pps = contest::ASKED * path_bps / (f64::from(size + self.ask.headers) * 8.0);
        let slots = (rate_pps * CONTEST_S) as u32;
        let bytes = self.ask.datagram_bytes(size) * 2.0 * f64::from(slots);
        let mut designs = Vec::new();
        for subject in subjects {
            if rate_pps > MOST_PPS / 2.0 || bytes > self.left || CONTEST_S + SETTLE_S > self.left_s {
                break;
            }
            self.left -= bytes;
            self.left_s -= CONTEST_S + SETTLE_S;
            designs.push(ContestDesign { subject, control, rate_pps, slots, size });
        }
        designs
    }

    /// Waiting for the server's word took so long.
    pub fn spend_time(&mut self, seconds: f64) {
        self.left_s -= seconds;
    }

    /// The fastest train so far, in bits per second of layer 3.
    pub fn fastest_bps(&self) -> f64 {
        self.fastest_bps
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask {
            dscp: [0, 34, 46].into_iter().filter_map(Dscp::new).collect(),
            payloads: vec![Payload::Rtp, Payload::Http],
            ports: vec![443],
            base: Payload::Random,
            udp_port: 8620,
            dns_port: 8621,
            tcp_port: 8620,
            direction: DirectionChoice::Both,
            size: 192,
            headers: 28,
            budget_bytes: 20_000_000,
            seconds: 60.0,
        }
    }

    #[test]
    fn every_subject_has_its_control_and_the_paths_are_checked() {
        let (datagrams, streams) = ask().hypotheses();
        // Two classes on one flow and on fresh ports, a port, a payload, and the check of the paths.
        assert_eq!((datagrams.len(), streams.len()), (2 * 2 + 1 + 1 + 1, 1));
        for hypothesis in datagrams.iter().chain(&streams) {
            let (a, b) = (hypothesis.subject, hypothesis.control);
            let factors = [a.dscp != b.dscp, a.port != b.port, a.payload != b.payload];
            let differing = factors.iter().filter(|differs| **differs).count();
            assert_eq!(differing, usize::from(hypothesis.purpose == Purpose::Difference), "{hypothesis:?}");
        }
        assert_eq!(ask().hypothesis_count(), 16);
    }

    #[test]
    fn pairs_and_trains_stay_within_budget_and_time() {
        for budget in [500_000, 2_000_000, 20_000_000, 200_000_000] {
            let ask = Ask { budget_bytes: budget, ..ask() };
            let pairs = ask.pairs();
            let spent: u64 = pairs.iter().map(|session| ask.pair_bytes(session)).sum();
            assert!(spent <= budget * 6 / 10 + 20_000, "{budget}: {spent}");
            let mut trains = Trains::new(&ask, budget - spent, 30.0);
            let (mut bytes, mut seconds) = (0.0, 0.0);
            while let Some(design) = trains.next_design() {
                let packets = f64::from(design.packets) * design.arms.len() as f64;
                bytes += packets * (2.0 * f64::from(design.size + 28) + REPORTED_BYTES);
                seconds += packets / design.rate_pps + design.arms.len() as f64 * f64::from(design.idle_ms) / 1e3;
            }
            assert!(bytes <= (budget - spent) as f64 && seconds <= 30.0, "{budget}: {bytes} bytes, {seconds} s");
        }
    }

    #[test]
    fn a_limit_that_shows_is_measured_twice_and_only_with_best_effort() {
        let ask = ask();
        let mut trains = Trains::new(&ask, 20_000_000, 120.0);
        let search = trains.next_design().unwrap();
        let ef = search.arms.iter().position(|arm| arm.dscp.get() == 46).unwrap();
        let train = |arm, limit| TrainStatus { arm, sent_bps: 512e3, sent: 400, lost: 0, limit };
        let status = DirectionStatus {
            direction: model::Direction::Up,
            probes: 800,
            decided: Vec::new(),
            verdicts: Vec::new(),
            trains: vec![train(0, None), train(ef as u16, Some((300e3, 10_000.0)))],
        };
        trains.learn(&search, &[status]);
        for rate in [720e3, 480e3] {
            let measure = trains.next_design().unwrap();
            assert_eq!(measure.arms.iter().map(|arm| arm.dscp.get()).collect::<Vec<_>>(), [0, 46]);
            let bps = measure.rate_pps * 220.0 * 8.0;
            assert!((bps / rate - 1.0).abs() < 0.01, "{bps}");
        }
        assert_eq!(trains.next_design(), None);
    }

    #[test]
    fn nothing_is_decided_before_all_directions_are() {
        let status = |direction, decided: [bool; 2]| DirectionStatus {
            direction,
            probes: 1,
            decided: decided.to_vec(),
            verdicts: Vec::new(),
            trains: Vec::new(),
        };
        let up = status(model::Direction::Up, [true, true]);
        let down = status(model::Direction::Down, [true, false]);
        assert_eq!(decided(DirectionChoice::Both, std::slice::from_ref(&up)), None);
        assert_eq!(decided(DirectionChoice::Both, &[up, down]), Some(vec![true, false]));
    }
}
