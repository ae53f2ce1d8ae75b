//! The scenario file: networks with what is true of them. Unknown fields are refused, so that a misspelt one changes nothing silently.

use model::Dscp;
use model::report::{FlowRule, LimitKind, Trigger, Verdict};
use model::shaping::{Arm, Payload};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub scenario: Vec<Scenario>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    pub summary: String,
    #[serde(default)]
    pub path: PathSpec,
    #[serde(default)]
    pub plan: PlanSpec,
    /// One for each subject of the plan; subjects without one must not be named.
    #[serde(default)]
    pub truth: Vec<Truth>,
    #[serde(default)]
    pub rate_limit: Option<LimitTruth>,
    /// Runs the real program in a city of the lab instead of a simulated path.
    #[serde(default)]
    pub kernel: Option<Kernel>,
}

/// A city of a lab's scenario file, and how the program is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Below `crates/lab/scenarios`.
    pub lab: String,
    pub city: String,
    /// Arguments of `netlat probe` besides `--join`, `--name`, `--family 4`, `--shaping` and `--json`.
    pub arguments: Vec<String>,
    pub direction: String,
}

/// A path in one direction. Stages in this order: loss of whole periods, the queue shared with cross traffic, what is done to
/// classes, one of several paths, jitter and loss.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathSpec {
    pub delay_ms: f64,
    /// Standard deviation per packet.
    pub jitter_ms: f64,
    /// One-sided instead of normal: most packets are hardly late, a few very.
    pub exponential: bool,
    /// A slow wave under all packets alike.
    pub wave: Option<Wave>,
    pub loss: f64,
    pub bursts: Option<Bursts>,
    pub reordered: Option<Reordered>,
    pub blackout: Option<Blackout>,
    pub route_change: Option<RouteChange>,
    pub clock: Clock,
    /// Chosen by the 5-tuple.
    pub paths: Vec<OnePath>,
    pub queue: Option<Queue>,
    pub treat: Vec<Treatment>,
    pub ns_per_byte: f64,
}

impl Default for PathSpec {
    fn default() -> PathSpec {
        PathSpec {
            delay_ms: 20.0,
            jitter_ms: 0.3,
            exponential: false,
            wave: None,
            loss: 0.0,
            bursts: None,
            reordered: None,
            blackout: None,
            route_change: None,
            clock: Clock::default(),
            paths: Vec::new(),
            queue: None,
            treat: Vec::new(),
            ns_per_byte: 0.0,
        }
    }
}

/// An autoregressive process of this standard deviation and correlation time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    pub sd_ms: f64,
    pub seconds: f64,
}

/// Two states (Gilbert 1960, in continuous time): in the bad one this share is lost.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    pub good_s: f64,
    pub bad_s: f64,
    pub loss: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reordered {
    pub share: f64,
    pub ms: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blackout {
    pub every_s: f64,
    pub share: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    pub at_s: f64,
    pub ms: f64,
    /// Nothing passes for so long.
    pub gap_s: f64,
}

/// The receiver's against the sender's.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    pub skew_ppm: f64,
    pub step_ms: f64,
    pub step_at_s: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnePath {
    pub ms: f64,
    pub loss: f64,
}

/// A drop-tail FIFO with other traffic in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub bps: f64,
    pub bytes: f64,
    #[serde(default)]
    pub cross: Vec<Cross>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cross {
    /// While it sends.
    pub bps: f64,
    pub size: f64,
    /// Exponential gaps instead of even ones.
    #[serde(default)]
    pub poisson: bool,
    #[serde(default)]
    pub from_s: f64,
    /// Mean lengths of exponential periods of sending and silence; always sending without.
    #[serde(default)]
    pub on_s: f64,
    #[serde(default)]
    pub off_s: f64,
}

/// What is done to packets of a class; each empty list is any.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Treatment {
    pub dscp: Vec<u8>,
    pub port: Vec<u16>,
    pub payload: Vec<Payload>,
    /// A flow is what its first packet was.
    pub first_packet: bool,
    pub delay_ms: f64,
    pub slow: Option<Reordered>,
    pub loss: f64,
    pub police: Option<Police>,
    pub shape: Option<Shape>,
    /// Every n-th packet is lost.
    pub every: u32,
}

/// Layer 3.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Police {
    pub bps: f64,
    pub burst_bytes: f64,
    /// Remarks what exceeds instead of dropping it.
    #[serde(default)]
    pub excess_dscp: Option<u8>,
    /// The first bytes or seconds pass.
    #[serde(default)]
    pub boost_bytes: f64,
    #[serde(default)]
    pub boost_s: f64,
    /// Again after each silence of 0.4 s.
    #[serde(default)]
    pub boost_again: bool,
}

/// Layer 3.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub bps: f64,
    pub burst_bytes: f64,
    pub queue_bytes: f64,
}

/// What is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanSpec {
    pub subjects: Vec<SubjectSpec>,
    /// Pairs per second of each hypothesis.
    pub rate: f64,
    pub seconds: u32,
    pub trains: Vec<Trains>,
}

impl Default for PlanSpec {
    fn default() -> PlanSpec {
        PlanSpec {
            subjects: vec![SubjectSpec { dscp: Some(46), port: None, payload: None }],
            rate: 50.0,
            seconds: 60,
            trains: vec![
                Trains { pps: 400.0, packets: 2_400, rounds: 2, idle_ms: 1_000 },
                Trains { pps: 600.0, packets: 3_600, rounds: 2, idle_ms: 1_000 },
            ],
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trains {
    pub pps: f64,
    pub packets: u32,
    pub rounds: u32,
    pub idle_ms: u32,
}

/// What differs from best effort with random bytes on the usual port.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectSpec {
    #[serde(default)]
    pub dscp: Option<u8>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub payload: Option<Payload>,
}

pub const CONTROL: Arm = Arm { dscp: Dscp::BEST_EFFORT, port: 8620, payload: Payload::Random };

impl SubjectSpec {
    pub fn arm(&self) -> Arm {
        Arm {
            dscp: self.dscp.and_then(Dscp::new).unwrap_or(CONTROL.dscp),
            port: self.port.unwrap_or(CONTROL.port),
            payload: self.payload.unwrap_or(CONTROL.payload),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    pub subject: SubjectSpec,
    /// Any of these is right.
    pub verdict: Vec<Verdict>,
    #[serde(default)]
    pub trigger: Option<Trigger>,
    #[serde(default)]
    pub flow_rule: Option<FlowRule>,
    #[serde(default)]
    pub shift_ms: Option<f64>,
    /// Layer 3.
    #[serde(default)]
    pub bps: Option<f64>,
    #[serde(default)]
    pub burst_bytes: Option<f64>,
    #[serde(default)]
    pub excess_dscp: Option<u8>,
    /// Of an initial boost.
    #[serde(default)]
    pub after_bytes: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitTruth {
    pub kind: LimitKind,
    #[serde(default)]
    pub bps: Option<f64>,
    #[serde(default)]
    pub burst_bytes: Option<f64>,
}

impl Scenario {
    /// Something is there that ought to be named of a class.
    pub fn differs(&self) -> bool {
        self.truth.iter().any(|truth| truth.verdict.iter().all(|verdict| verdict.is_finding()))
    }
}

/// One line of what is wrong with the file.
pub fn parse(text: &str) -> Result<Vec<Scenario>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names = std::collections::BTreeSet::new();
    for scenario in &file.scenario {
        if !names.insert(scenario.name.as_str()) {
            return Err(format!("two scenarios are called {}", scenario.name));
        }
        let subjects = &scenario.plan.subjects;
        if let Some(truth) = scenario.truth.iter().find(|truth| !subjects.contains(&truth.subject)) {
            return Err(format!("{}: a truth about {:?}, which is not asked for", scenario.name, truth.subject));
        }
    }
    Ok(file.scenario)
}
