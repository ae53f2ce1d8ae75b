//! The part of a report that compares classes: verdicts, limits of rate, and how sure they are.

use serde::{Deserialize, Serialize};

use super::Where;
use crate::ids::WorkerName;
use crate::sample::{Direction, Family, Kind};
use crate::shaping::{Arm, Payload};

/// One of the two classes that were compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    pub kind: Kind,
    pub dscp: u8,
    pub port: u16,
    pub payload: Payload,
}

impl From<Arm> for Subject {
    fn from(arm: Arm) -> Subject {
        Subject { kind: arm.payload.kind(), dscp: arm.dscp.get(), port: arm.port, payload: arm.payload }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Shown to be treated alike within the least differences.
    None,
    Delayed,
    Lossy,
    Policed,
    Shaped,
    Blocked,
    Favoured,
    Inconclusive,
    /// Something at this end, not the path, tells the classes apart.
    Void,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::None => "none",
            Verdict::Delayed => "delayed",
            Verdict::Lossy => "lossy",
            Verdict::Policed => "policed",
            Verdict::Shaped => "shaped",
            Verdict::Blocked => "blocked",
            Verdict::Favoured => "favoured",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Void => "void",
        }
    }

    pub const fn is_finding(self) -> bool {
        !matches!(self, Verdict::None | Verdict::Inconclusive | Verdict::Void)
    }
}

/// Which factor tells subject and control apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    Dscp,
    Port,
    Payload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowRule {
    PerPacket,
    FirstPacket,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorRateKind {
    PerRun,
    PerYear,
}

/// How often a difference is named where there is none: the probability for a run, or the expected number a year.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRate {
    pub kind: ErrorRateKind,
    pub value: f64,
}

/// Decimal logarithms of the largest e-values so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log10E {
    pub delay: f64,
    pub loss: f64,
}

/// An estimate within its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

/// A verdict of an endless watch that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictChange {
    /// RFC 3339.
    pub at: String,
    pub worker: WorkerName,
    pub direction: Direction,
    pub family: Family,
    pub subject: Subject,
    pub control: Subject,
    pub from: Verdict,
    pub to: Verdict,
}

/// A limit that starts after this much traffic (an initial boost).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitAfter {
    pub bytes: u64,
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Differentiation {
    pub subject: Subject,
    pub control: Subject,
    pub verdict: Verdict,
    pub trigger: Option<Trigger>,
    pub flow_rule: Option<FlowRule>,
    pub error_rate: ErrorRate,
    /// Hypotheses among which the error rate is shared.
    pub hypotheses: u32,
    pub log10_e: Log10E,
    /// Subject minus control.
    pub delay_shift_ms: Option<Estimate>,
    pub p95_shift_ms: Option<Estimate>,
    /// Shares, subject minus control.
    pub loss_shift: Option<Estimate>,
    /// Layer 3.
    pub rate_bps: Option<Estimate>,
    /// As Ethernet frames without preamble.
    pub rate_l2_bps: Option<Estimate>,
    pub burst_bytes: Option<Estimate>,
    pub limit_after: Option<LimitAfter>,
    /// Mark of what exceeds the rate, if it is remarked instead of dropped.
    pub excess_dscp: Option<u8>,
    /// `local`, `path-diversity`, `intercepted`, `too-small-to-matter`.
    pub flags: Vec<String>,
    #[serde(rename = "where")]
    pub location: Option<Where>,
    /// Why there is no `where`, or what the hops answered that told it.
    #[serde(default)]
    pub where_note: Option<String>,
    pub pairs: u64,
    /// Seconds between the first and the last probe judged; of transfers alone the time that they took.
    #[serde(default)]
    pub seconds: f64,
    /// How the two share the path while together they ask for more than it has; `None` where nobody asked (`--load`).
    #[serde(default)]
    pub under_load: Option<UnderLoad>,
    /// Whole TCP transfers of both; `None` where nobody asked.
    #[serde(default)]
    pub throughput: Option<Throughput>,
    /// The evidence as it grew, thinned out.
    #[serde(default)]
    pub course: Vec<CoursePoint>,
    /// What could not be seen, and what would change the verdict.
    pub note: String,
}

/// How fast TCP carried the two. Rates are of stream bytes, from the receiver's first to its last; an estimate is the median, `null`
/// as long as there is no interval for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// What the transfers alone say.
    pub verdict: Verdict,
    pub subject_bps: Option<Estimate>,
    pub control_bps: Option<Estimate>,
    /// The subject's rate over the control's, within pairs.
    pub ratio: Option<Estimate>,
    /// Segments sent again, in all transfers of each.
    pub subject_retransmits: u64,
    pub control_retransmits: u64,
    /// Pairs of transfers, and the stream bytes of one.
    pub pairs: u64,
    pub bytes: u32,
    /// Decimal logarithm of the largest e-value against "as fast as the control".
    pub log10_e: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// The two were lost alike.
    Equal,
    /// The subject got all it asked for; a weight of nine or more to one looks the same.
    StrictPriority,
    /// The control did.
    StrictlyLast,
    /// Both lost, one more than the other.
    Weighted,
    /// The load did not fill the path.
    NotLoaded,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderLoad {
    pub sharing: Sharing,
    /// What the subject got for each bit of the control.
    pub weight: f64,
    /// Layer 3: sent by both, and received of each.
    pub load_bps: f64,
    pub subject_bps: f64,
    pub control_bps: f64,
    pub log10_e: f64,
}

/// E-values as they stood after so many pairs (or blocks of pairs, where the ports change).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoursePoint {
    pub pairs: u64,
    pub log10_e: Log10E,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitKind {
    Policer,
    Shaper,
}

/// A limit of rate that all classes share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    pub kind: LimitKind,
    /// Layer 3.
    pub rate_bps: Estimate,
    pub rate_l2_bps: Estimate,
    pub burst_bytes: Estimate,
    #[serde(default)]
    pub limit_after: Option<LimitAfter>,
    #[serde(default)]
    pub excess_dscp: Option<u8>,
}
