//! An experiment on a path: which classes of traffic are compared with which, how, and by what standard they are judged.
//! Worker and server hold the same experiment and seed, so a probe's sequence number says what it was sent for.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::Dscp;

use crate::report::Verdict;
use crate::sample::{Direction, Kind};

mod bulk;

pub use bulk::{BulkDesign, Transfer};

/// What a probe's bytes look like to a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// RTP header in clear after an IP-discovery exchange, as Discord's clients send it.
    Rtp,
    /// Not one recognisable byte.
    Random,
    /// A DNS query.
    Dns,
    /// An HTTP GET on a TCP connection.
    Http,
    /// A ClientHello on a TCP connection.
    Tls,
    /// Random bytes on a TCP connection.
    RandomStream,
}

impl Payload {
    pub const fn name(self) -> &'static str {
        match self {
            Payload::Rtp => "rtp",
            Payload::Random => "random",
            Payload::Dns => "dns",
            Payload::Http => "http",
            Payload::Tls => "tls",
            Payload::RandomStream => "random-stream",
        }
    }

    /// The kind whose probes have these bytes.
    pub const fn kind(self) -> Kind {
        match self {
            Payload::Rtp => Kind::Rtp,
            Payload::Random => Kind::Udp,
            Payload::Dns => Kind::Dns,
            Payload::Http => Kind::Http,
            Payload::Tls | Payload::RandomStream => Kind::Tls,
        }
    }

    pub const fn is_stream(self) -> bool {
        matches!(self, Payload::Http | Payload::Tls | Payload::RandomStream)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One of the two classes of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Arm {
    pub dscp: Dscp,
    /// Of the server, UDP or TCP as the payload has it.
    pub port: u16,
    pub payload: Payload,
}

/// Which 5-tuples the two arms of a comparison use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ports {
    /// Both arms on one 5-tuple: what is treated differently here is classified packet by packet.
    OneFlow,
    /// A new source port for each arm in each block: also sees classifiers that look at a flow's first packet only.
    Fresh,
}

/// What a comparison is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Is the subject treated otherwise than the control?
    Difference,
    /// Both arms are the same class on two source ports that change from block to block: is the path chosen by port?
    PathDiversity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hypothesis {
    pub subject: Arm,
    pub control: Arm,
    pub ports: Ports,
    pub purpose: Purpose,
}

/// Pairs of one probe of each arm in random order. Every round has one pair of each hypothesis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairDesign {
    pub hypotheses: Vec<Hypothesis>,
    /// Rounds a second, and so pairs a second of each hypothesis: 0.1..=200.
    pub rounds_per_second: f64,
    /// Between the two probes of a pair.
    pub gap_us: u32,
    /// Rounds in which the ports of [`Ports::Fresh`] stay the same.
    pub block_rounds: u32,
    /// UDP payload bytes of every probe.
    pub size: u16,
}

/// Constant-rate trains, long and fast enough to empty a token bucket. Each round has one train of each arm in random order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainDesign {
    pub arms: Vec<Arm>,
    /// Packets a second within a train, at most 10,000.
    pub rate_pps: f64,
    /// Packets of one train.
    pub packets: u32,
    pub rounds: u32,
    /// Silence before each train, in which a bucket fills up again.
    pub idle_ms: u32,
    /// UDP payload bytes of every probe.
    pub size: u16,
}

/// Two classes at once, together faster than the path: who gets it?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContestDesign {
    pub subject: Arm,
    pub control: Arm,
    /// Packets a second of each of the two, at most 5,000.
    pub rate_pps: f64,
    /// Packets of each.
    pub slots: u32,
    /// UDP payload bytes of every probe.
    pub size: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Design {
    Pairs(PairDesign),
    Trains(TrainDesign),
    Contest(ContestDesign),
    Bulk(BulkDesign),
}

/// By what standard a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standard {
    /// Rate of naming a difference where there is none, per run over all hypotheses.
    pub alpha: f64,
    /// Rate, per hypothesis, of saying `none` where there is a difference beyond the margins.
    pub alpha_none: f64,
    /// The least difference of delay that matters.
    pub least_delay_ms: f64,
    /// The least difference of loss that matters, as a share (0.005 is half a percentage point).
    pub least_loss: f64,
    /// The least difference of TCP's throughput that matters, as a share of the control's.
    pub least_throughput: f64,
    /// Hypotheses of the whole run, in all of its sessions, directions and families.
    pub hypotheses: u32,
    /// Of an endless watch, which has no alpha: the expected number of false changes a year, over the whole deployment. The server
    /// sets it.
    pub false_changes_per_year: Option<f64>,
}

impl Default for Standard {
    fn default() -> Standard {
        Standard {
            alpha: 0.001,
            alpha_none: 0.01,
            least_delay_ms: 0.25,
            least_loss: 0.005,
            least_throughput: 0.1,
            hypotheses: 1,
            false_changes_per_year: None,
        }
    }
}

/// What a session is sent for, besides its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    pub design: Design,
    pub standard: Standard,
    /// Of the plan's coins. Not a secret: a network that knew it would have to guess the packets' classes all the same.
    pub seed: u64,
}

/// As fast as transfers may follow one another.
const TRANSFERS_PER_SECOND: f64 = 50.0;
const OPENING_SIZE: u16 = 512;

/// Ranges of an experiment, so that no session asks for more than a path and a server can take.
impl Experiment {
    /// Packets a second while it sends.
    pub fn rate_pps(&self) -> f64 {
        match &self.design {
            Design::Pairs(pairs) => 2.0 * pairs.hypotheses.len() as f64 * pairs.rounds_per_second,
            Design::Trains(trains) => trains.rate_pps,
            Design::Contest(contest) => 2.0 * contest.rate_pps,
            Design::Bulk(_) => TRANSFERS_PER_SECOND,
        }
    }

    /// UDP payload bytes of every probe.
    pub fn size(&self) -> u16 {
        match &self.design {
            Design::Pairs(pairs) => pairs.size,
            Design::Trains(trains) => trains.size,
            Design::Contest(contest) => contest.size,
            // Its stream has no datagrams; this is what opens a transfer.
            Design::Bulk(_) => OPENING_SIZE,
        }
    }

    /// Marks of all arms, each once.
    pub fn classes(&self) -> Vec<wire::Tos> {
        let mut classes: Vec<wire::Tos> = self.arms().map(|arm| wire::Tos::new(arm.dscp, wire::Ecn::NotEct)).collect();
        classes.sort();
        classes.dedup();
        classes
    }

    /// Every arm, as often as it is used.
    pub fn arms(&self) -> impl Iterator<Item = Arm> + '_ {
        let (pairs, trains, contest) = match &self.design {
            Design::Pairs(pairs) => (pairs.hypotheses.as_slice(), [].as_slice(), None),
            Design::Bulk(bulk) => (bulk.hypotheses.as_slice(), [].as_slice(), None),
            Design::Trains(trains) => ([].as_slice(), trains.arms.as_slice(), None),
            Design::Contest(contest) => ([].as_slice(), [].as_slice(), Some([contest.subject, contest.control])),
        };
        let of_pairs = pairs.iter().flat_map(|hypothesis| [hypothesis.subject, hypothesis.control]);
        of_pairs.chain(trains.iter().copied()).chain(contest.into_iter().flatten())
    }

    /// One line naming the first thing that is out of range.
    pub fn check(&self) -> Result<(), InvalidExperiment> {
        let standard = &self.standard;
        let share = |value: f64| value > 0.0 && value < 1.0;
        let standard_is_sane = share(standard.alpha)
            && share(standard.alpha_none)
            && (0.0..=10_000.0).contains(&standard.least_delay_ms)
            && (0.0..=1.0).contains(&standard.least_loss)
            && (0.0..=10.0).contains(&standard.least_throughput)
            && (1..=1_000_000).contains(&standard.hypotheses)
            && standard.false_changes_per_year.is_none_or(|rate| (1e-6..=1e6).contains(&rate));
        let design_problem = match &self.design {
            Design::Pairs(pairs) if pairs.hypotheses.is_empty() || pairs.hypotheses.len() > 256 => {
                Some("1 to 256 hypotheses are compared at a time")
            }
            Design::Pairs(pairs) if !(0.01..=200.0).contains(&pairs.rounds_per_second) => {
                Some("rounds per second lie between 0.01 and 200")
            }
            Design::Pairs(_) if self.rate_pps() > 4_000.0 => Some("pairs make at most 4000 packets per second"),
            Design::Pairs(pairs) if !(100..=100_000).contains(&pairs.gap_us) => {
                Some("the gap within a pair lies between 100 and 100000 microseconds")
            }
            Design::Pairs(pairs) if pairs.block_rounds == 0 => Some("a block has at least one round"),
            Design::Trains(trains) if trains.arms.is_empty() || trains.arms.len() > 64 => {
                Some("trains have 1 to 64 arms")
            }
            Design::Trains(trains) if !(1.0..=10_000.0).contains(&trains.rate_pps) => {
                Some("a train has 1 to 10000 packets per second")
            }
            Design::Trains(trains)
                if !(1..=200_000).contains(&trains.packets) || !(1..=100).contains(&trains.rounds) =>
            {
                Some("a train has 1 to 200000 packets, in 1 to 100 rounds")
            }
            Design::Contest(contest)
                if !(1.0..=5_000.0).contains(&contest.rate_pps) || !(1..=100_000).contains(&contest.slots) =>
            {
                Some("a contest has 1 to 5000 packets per second and 1 to 100000 packets of each class")
            }
            Design::Bulk(bulk) => bulk.problem(),
            Design::Trains(trains) if trains.idle_ms > 60_000 => Some("a train's silence is at most 60 seconds"),
            _ => None,
        };
        match design_problem {
            Some(problem) => Err(InvalidExperiment(problem)),
            None if !(48..=1400).contains(&self.size()) => {
                Err(InvalidExperiment("the size lies between 48 and 1400 bytes of UDP payload"))
            }
            None if !standard_is_sane => {
                Err(InvalidExperiment("alpha, margins or the number of hypotheses make no sense"))
            }
            None => Ok(()),
        }
    }
}

/// `GET /api/v1/sessions/{id}/experiment`: what the server has seen of a session's experiment so far, for whoever adapts it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExperimentStatus {
    pub directions: Vec<DirectionStatus>,
    /// The session has ended and nothing more is judged.
    pub closed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectionStatus {
    pub direction: Direction,
    /// Settled probes.
    pub probes: u64,
    /// By index of hypothesis: named or `none`.
    pub decided: Vec<bool>,
    /// By index of hypothesis: the verdict so far.
    pub verdicts: Vec<Verdict>,
    pub trains: Vec<TrainStatus>,
}

/// What one train showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainStatus {
    /// Index of the design's arm.
    pub arm: u16,
    /// Layer 3.
    pub sent_bps: f64,
    pub sent: u64,
    pub lost: u64,
    /// Rate of the limit in bits per second and the largest burst it may have in bytes, both layer 3.
    pub limit: Option<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid experiment: {0}")]
pub struct InvalidExperiment(pub &'static str);
