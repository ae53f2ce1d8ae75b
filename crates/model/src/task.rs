//! What to measure: one type, wherever it came from (configuration, HTTP API, command line, Discord).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::{Dscp, Ecn, Tos};

use crate::ids::{TaskId, WorkerName};
use crate::sample::{Family, Kind, UnknownWord};

/// Which directions a task measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectionChoice {
    Up,
    Down,
    #[default]
    Both,
}

impl DirectionChoice {
    pub fn up(self) -> bool {
        self != DirectionChoice::Down
    }

    pub fn down(self) -> bool {
        self != DirectionChoice::Up
    }
}

impl fmt::Display for DirectionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DirectionChoice::Up => "up",
            DirectionChoice::Down => "down",
            DirectionChoice::Both => "both",
        })
    }
}

impl FromStr for DirectionChoice {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<DirectionChoice, UnknownWord> {
        match text {
            "up" => Ok(DirectionChoice::Up),
            "down" => Ok(DirectionChoice::Down),
            "both" => Ok(DirectionChoice::Both),
            _ => Err(UnknownWord { what: "direction", given: text.to_owned(), allowed: "up, down, both" }),
        }
    }
}

/// How long a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duration {
    Seconds(u32),
    Forever,
}

/// The measurement itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskSpec {
    pub kinds: Vec<Kind>,
    pub dscp: Vec<Dscp>,
    pub ecn: Vec<Ecn>,
    pub direction: DirectionChoice,
    /// Empty: every family by which the server can be reached.
    pub families: Vec<Family>,
    /// Packets per second of one kind over all its classes, 0.1..=10,000; connections of `http` and `tls` at most 50 a second.
    pub rate_pps: f64,
    /// UDP payload bytes of `rtp` and `udp`, 48..=1400.
    pub size: u16,
    pub duration: Duration,
    /// Upper bound of what the task sends and causes to be sent, in bytes a day; the worker pauses between cycles to keep it.
    pub bytes_per_day: Option<u64>,
    /// Server name in the ClientHello of `tls`.
    pub sni: String,
    /// Also compare the task's classes with best effort, its kinds with random bytes, and ports with the server's own, for ever.
    pub shaping: Option<ShapingSpec>,
}

/// What it may cost to keep verdicts fresh, and what beside the task's classes and kinds is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShapingSpec {
    /// Server ports (`--trigger-port`) to compare with its own.
    pub ports: Vec<u16>,
    /// Upper bound of all that the comparisons cause, both ways, in bytes an hour.
    pub bytes_per_hour: u64,
    /// The least differences that matter.
    pub least_delay_ms: f64,
    /// A share: 0.005 is half a percentage point.
    pub least_loss: f64,
}

impl Default for ShapingSpec {
    fn default() -> ShapingSpec {
        ShapingSpec { ports: Vec::new(), bytes_per_hour: 4_000_000, least_delay_ms: 0.25, least_loss: 0.005 }
    }
}

/// The size of a 20 ms Opus packet at 64 kbit/s with its RTP header, tag and nonce.
pub const DEFAULT_PAYLOAD: u16 = 192;

impl Default for TaskSpec {
    /// Four kinds in four classes, without a bound on the bytes.
    fn default() -> TaskSpec {
        TaskSpec {
            kinds: vec![Kind::Rtp, Kind::Udp, Kind::Http, Kind::Dns],
            // Best effort, EF (what WebRTC asks for audio), AF41, and 54: together they tell all seven pathologies apart.
            dscp: [0, 34, 46, 54].into_iter().filter_map(Dscp::new).collect(),
            ecn: vec![Ecn::NotEct],
            direction: DirectionChoice::Both,
            families: Vec::new(),
            rate_pps: 20.0,
            size: DEFAULT_PAYLOAD,
            duration: Duration::Forever,
            bytes_per_day: None,
            sni: "gateway.discord.gg".to_owned(),
            shaping: None,
        }
    }
}

impl TaskSpec {
    /// What a worker does that was given no task: the default and comparisons of its classes, at most 200 MB a day together.
    pub fn unattended() -> TaskSpec {
        let shaping = ShapingSpec::default();
        let bytes_per_day = Some(200_000_000 - 24 * shaping.bytes_per_hour);
        TaskSpec { bytes_per_day, shaping: Some(shaping), ..TaskSpec::default() }
    }

    /// Every traffic class a kind sends: all pairs of DSCP and ECN; TCP and ICMP take no ECN from a program, so only Not-ECT there.
    pub fn classes(&self, kind: Kind) -> Vec<Tos> {
        let takes_ecn = matches!(kind, Kind::Rtp | Kind::Udp | Kind::Dns | Kind::Stamp);
        let mut classes = Vec::new();
        for dscp in &self.dscp {
            for ecn in if takes_ecn { self.ecn.as_slice() } else { &[Ecn::NotEct] } {
                let class = Tos::new(*dscp, *ecn);
                if !classes.contains(&class) {
                    classes.push(class);
                }
            }
        }
        classes
    }

    /// One line naming the first thing that is out of range.
    pub fn check(&self) -> Result<(), InvalidTask> {
        let problem = if self.kinds.is_empty() {
            "name at least one kind"
        } else if self.dscp.is_empty() || self.ecn.is_empty() {
            "name at least one DSCP and one ECN code point"
        } else if !(0.1..=10_000.0).contains(&self.rate_pps) {
            "the rate lies between 0.1 and 10000 packets per second"
        } else if !(48..=1400).contains(&self.size) {
            "the size lies between 48 and 1400 bytes of UDP payload"
        } else if self.duration == Duration::Seconds(0) {
            "the duration is at least one second"
        } else if self.sni.is_empty() || self.sni.len() > 253 || !self.sni.is_ascii() {
            "the server name has 1 to 253 ASCII characters"
        } else if self.shaping.as_ref().is_some_and(|s| s.bytes_per_hour < 100_000 || s.ports.len() > 64) {
            "comparisons take at least 100000 bytes an hour, and at most 64 ports"
        } else if self
            .shaping
            .as_ref()
            .is_some_and(|s| !(0.0..=1_000.0).contains(&s.least_delay_ms) || !(0.0..=1.0).contains(&s.least_loss))
        {
            "the least difference of delay lies between 0 and 1000 ms, of loss between 0 and 1"
        } else {
            return Ok(());
        };
        Err(InvalidTask(problem))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid task: {0}")]
pub struct InvalidTask(pub &'static str);

/// A task as the server keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    /// `None`: every worker.
    pub worker: Option<WorkerName>,
    pub spec: TaskSpec,
}
