//! What each sequence number of an experiment is sent for: hypothesis, arm, order, time and source port. Random access, so that a
//! sender may leave out what is decided already and a judge needs nothing but samples.

use model::shaping::{Arm, PairDesign, Ports, Purpose, TrainDesign};

use crate::random::SplitMix64;

/// A source port as the plan names it: equal values share a socket, which is opened when first used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    pub hypothesis: u16,
    /// 0 for a flow that lasts for the whole experiment.
    pub block: u32,
    /// The second of two ports of a block.
    pub second: bool,
}

/// One probe of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Nanoseconds since the experiment's start.
    pub at_ns: u64,
    pub hypothesis: u16,
    /// Counts this hypothesis' pairs; equal to the round.
    pub pair: u32,
    /// Which block of ports the pair is in.
    pub block: u32,
    pub is_subject: bool,
    pub arm: Arm,
    pub socket: SocketId,
}

/// The plan of a [`PairDesign`].
#[derive(Clone, Debug)]
pub struct PairPlan {
    design: PairDesign,
    seed: u64,
    round_ns: f64,
    cached: Option<(u32, Vec<u16>, Vec<Coins>)>,
}

/// The random choices of one pair.
#[derive(Clone, Copy, Debug)]
struct Coins {
    subject_first: bool,
    /// Of the room that the pair has within its round.
    jitter: f64,
}

impl PairPlan {
    pub fn new(design: PairDesign, seed: u64) -> PairPlan {
        let round_ns = 1e9 / design.rounds_per_second.clamp(0.01, 1_000.0);
        PairPlan { design, seed, round_ns, cached: None }
    }

    /// Probes of one round.
    pub fn round_len(&self) -> u32 {
        2 * self.design.hypotheses.len() as u32
    }

    pub fn design(&self) -> &PairDesign {
        &self.design
    }

    /// `None` only where there are no hypotheses.
    pub fn turn(&mut self, sequence: u32) -> Option<Turn> {
        let len = self.round_len();
        let round = sequence.checked_div(len)?;
        let place = (sequence % len) / 2;
        let is_second = sequence % 2 == 1;
        self.toss(round);
        let (_, order, coins) = self.cached.as_ref()?;
        let index = *order.get(place as usize)?;
        let coins = coins.get(usize::from(index))?;
        let hypothesis = self.design.hypotheses.get(usize::from(index))?;
        let room = self.round_ns / f64::from(len / 2);
        // So that sequence numbers are sent in order.
        let gap = (f64::from(self.design.gap_us) * 1e3).min(room / 2.0);
        // The second half of the room stays free for the pair's second probe and the next pair.
        let begin =
            f64::from(round) * self.round_ns + f64::from(place) * room + coins.jitter * (room - 2.0 * gap).max(0.0);
        let is_subject = coins.subject_first != is_second;
        let block = round / self.design.block_rounds.max(1);
        let own_port = hypothesis.ports == Ports::Fresh || hypothesis.purpose == Purpose::PathDiversity;
        // Which of a block's two ports an arm gets is another coin: the lower port must not always be the subject's.
        let swap =
            own_port && SplitMix64::new(self.seed ^ mix(u64::from(block), u64::from(index), 0xb10c)).next() & 1 == 1;
        let socket = SocketId {
            hypothesis: index,
            block: if own_port { block + 1 } else { 0 },
            second: own_port && is_subject != swap,
        };
        Some(Turn {
            at_ns: (begin + if is_second { gap } else { 0.0 }) as u64,
            hypothesis: index,
            pair: round,
            block,
            is_subject,
            arm: if is_subject { hypothesis.subject } else { hypothesis.control },
            socket,
        })
    }

    fn toss(&mut self, round: u32) {
        if self.cached.as_ref().is_some_and(|(cached, ..)| *cached == round) {
            return;
        }
        let mut random = SplitMix64::new(self.seed ^ mix(u64::from(round), 0, 0x9a12));
        let mut order: Vec<u16> = (0..self.design.hypotheses.len() as u16).collect();
        random.shuffle(&mut order);
        let coins = order
            .iter()
            .map(|_| Coins {
                subject_first: random.next() >> 63 == 1,
                jitter: (random.next() >> 11) as f64 / (1u64 << 53) as f64,
            })
            .collect();
        self.cached = Some((round, order, coins));
    }
}

/// One packet of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainTurn {
    /// Nanoseconds since the experiment's start.
    pub at_ns: u64,
    /// Counts trains, in the order they are sent.
    pub train: u32,
    /// Index into the design's arms.
    pub arm_index: u16,
    pub arm: Arm,
    /// Counts the packets of the train.
    pub place: u32,
}

/// The plan of a [`TrainDesign`].
#[derive(Clone, Debug)]
pub struct TrainPlan {
    design: TrainDesign,
    /// Arm of each train.
    order: Vec<u16>,
}

impl TrainPlan {
    pub fn new(design: TrainDesign, seed: u64) -> TrainPlan {
        let mut random = SplitMix64::new(seed);
        let mut order = Vec::new();
        for _ in 0..design.rounds.min(10_000) {
            let mut round: Vec<u16> = (0..design.arms.len() as u16).collect();
            random.shuffle(&mut round);
            order.extend(round);
        }
        TrainPlan { design, order }
    }

    pub fn design(&self) -> &TrainDesign {
        &self.design
    }

    /// `None` after the last train.
    pub fn turn(&self, sequence: u32) -> Option<TrainTurn> {
        let train = sequence.checked_div(self.design.packets)?;
        let place = sequence % self.design.packets;
        let arm_index = *self.order.get(train as usize)?;
        let arm = *self.design.arms.get(usize::from(arm_index))?;
        let step = 1e9 / self.design.rate_pps.clamp(0.1, 1e6);
        let idle = u64::from(self.design.idle_ms) * 1_000_000;
        let whole = (f64::from(self.design.packets) * step) as u64 + idle;
        let at_ns = u64::from(train) * whole + idle + (f64::from(place) * step) as u64;
        Some(TrainTurn { at_ns, train, arm_index, arm, place })
    }

    /// How long the whole of it takes.
    pub fn duration_ns(&self) -> u64 {
        let step = 1e9 / self.design.rate_pps.clamp(0.1, 1e6);
        let whole = (f64::from(self.design.packets) * step) as u64 + u64::from(self.design.idle_ms) * 1_000_000;
        self.order.len() as u64 * whole
    }
}

fn mix(a: u64, b: u64, salt: u64) -> u64 {
    SplitMix64::new(a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.rotate_left(32) ^ salt).next()
}
