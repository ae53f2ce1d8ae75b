//! The report (`netlat.report/1`): the shape that `netlat report --json` and `netlat probe --json` print.
//! Fields and enum values may be added, never renamed. What was not observable is `null` and has a reason.

mod verdict;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::WorkerName;
use crate::record::Metric;
use crate::sample::{Direction, Family, Kind};

pub use verdict::*;

pub const SCHEMA: &str = "netlat.report/1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    /// RFC 3339, UTC.
    pub generated_at: String,
    pub paths: Vec<Path>,
    #[serde(default)]
    pub applications: Vec<Application>,
    #[serde(default)]
    pub media: Vec<Media>,
    /// Kinds, ports or rights that were asked for and could not be used, a line each.
    #[serde(default)]
    pub untested: Vec<String>,
    /// Of running workers' verdicts, oldest first.
    #[serde(default)]
    pub changes: Vec<VerdictChange>,
}

/// Latency of one worker's application, by library and metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Application {
    pub worker: WorkerName,
    pub library: String,
    pub language: String,
    pub metric: Metric,
    /// Nearest rank over the exchanges that were answered; null where none was.
    pub app_ms: Option<AppLatency>,
    /// Of the same connections; null where the kernel was not asked.
    pub network_ms: Option<NetworkLatency>,
    /// Application minus network, exchange by exchange.
    pub overhead_ms: Option<Overhead>,
    /// Exchanges, answered or not.
    pub samples: u64,
    /// Every flag of its records, each once, sorted.
    pub flags: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppLatency {
    pub p50: f64,
    pub p95: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkLatency {
    pub p50: f64,
    pub min: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    pub p50: f64,
}

/// How a media host was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaSource {
    /// A program of the worker's host looked its name up.
    Dns,
    VoiceServerUpdate,
    /// The worker was told to.
    Configured,
}

/// Network latency of one worker to a media (voice) host: medians in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Media {
    pub worker: WorkerName,
    pub host: String,
    /// Null where the name tells none.
    pub city: Option<String>,
    pub source: MediaSource,
    /// Of `dns`: of the lookups that were seen, and where none was answered, of the worker's own.
    pub dns_ms: Option<f64>,
    pub icmp_ms: Option<f64>,
    pub tcp_ms: Option<f64>,
    pub udp_ms: Option<f64>,
    /// Lookups seen and pings, answered or not.
    #[serde(default)]
    pub samples: u64,
    /// Which resolvers were asked, and what they answered: each once, sorted.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Every flag of its records, each once, sorted.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// One worker, direction and address family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    pub worker: WorkerName,
    pub direction: Direction,
    pub family: Family,
    pub from: Option<String>,
    pub to: Option<String>,
    pub clock: Option<Clock>,
    pub classes: Vec<Class>,
    pub remarking: Vec<Remarking>,
    #[serde(default)]
    pub differentiation: Vec<Differentiation>,
    pub rate_limit: Option<RateLimit>,
}

/// The worker's clock against the server's: server time = worker time + offset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    pub offset_ms: f64,
    /// Half the smallest round-trip time plus the fit's residual: the offset is wrong by at most this.
    pub uncertainty_ms: f64,
    pub skew_ppm: f64,
    pub method: String,
    /// Clock steps found in the window.
    pub steps: u32,
}

/// Order statistics by nearest rank, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub min: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ipdv {
    /// Quantiles of |IPDV| between packets of the class with successive sequence numbers (RFC 3393).
    pub p50: f64,
    pub p95: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    pub kind: Kind,
    pub dscp: u8,
    pub ecn: u8,
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub owd_ms: Option<Quantiles>,
    pub owd_uncertainty_ms: Option<f64>,
    pub ipdv_ms: Option<Ipdv>,
    pub rtt_ms: Option<Quantiles>,
    /// Why a value above is null.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Names of RFC 9435, section 4, and NetLat's additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pathology {
    None,
    BleachDscp,
    BleachTosPrecedence,
    BleachSomeTos,
    RemarkTos,
    BleachLow,
    BleachSomeLow,
    RemarkDscp,
    Partial,
    Unstable,
    Inconclusive,
}

impl Pathology {
    pub const fn name(self) -> &'static str {
        match self {
            Pathology::None => "none",
            Pathology::BleachDscp => "bleach-dscp",
            Pathology::BleachTosPrecedence => "bleach-tos-precedence",
            Pathology::BleachSomeTos => "bleach-some-tos",
            Pathology::RemarkTos => "remark-tos",
            Pathology::BleachLow => "bleach-low",
            Pathology::BleachSomeLow => "bleach-some-low",
            Pathology::RemarkDscp => "remark-dscp",
            Pathology::Partial => "partial",
            Pathology::Unstable => "unstable",
            Pathology::Inconclusive => "inconclusive",
        }
    }

    /// Something was done to the mark.
    pub const fn is_finding(self) -> bool {
        !matches!(self, Pathology::None | Pathology::Inconclusive)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EcnFinding {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "bleached")]
    Bleached,
    #[serde(rename = "ect1-to-ect0")]
    Ect1ToEct0,
    #[serde(rename = "ce-forced")]
    CeForced,
    #[serde(rename = "ce-stripped")]
    CeStripped,
    #[serde(rename = "ect-dropped")]
    EctDropped,
    /// Changed in a way that has no name of its own: Not-ECT to ECT, or ECT(0) to ECT(1).
    #[serde(rename = "remarked")]
    Remarked,
    /// The protocol or socket takes no ECN code point from a program.
    #[serde(rename = "unsupported")]
    Unsupported,
    #[serde(rename = "inconclusive")]
    Inconclusive,
}

impl EcnFinding {
    pub const fn name(self) -> &'static str {
        match self {
            EcnFinding::None => "none",
            EcnFinding::Bleached => "bleached",
            EcnFinding::Ect1ToEct0 => "ect1-to-ect0",
            EcnFinding::CeForced => "ce-forced",
            EcnFinding::CeStripped => "ce-stripped",
            EcnFinding::EctDropped => "ect-dropped",
            EcnFinding::Remarked => "remarked",
            EcnFinding::Unsupported => "unsupported",
            EcnFinding::Inconclusive => "inconclusive",
        }
    }

    pub const fn is_finding(self) -> bool {
        !matches!(self, EcnFinding::None | EcnFinding::Unsupported | EcnFinding::Inconclusive)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DscpCount {
    pub dscp_sent: u8,
    pub dscp_received: u8,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcnCount {
    pub ecn_sent: u8,
    pub ecn_received: u8,
    pub count: u64,
}

/// The change happens after one hop and is seen by another; hops count from 1 at the sender's first router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Where {
    pub after_hop: u8,
    pub by_hop: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remarking {
    pub kind: Kind,
    pub pathology: Pathology,
    pub map: Vec<DscpCount>,
    pub ecn: EcnFinding,
    pub ecn_map: Vec<EcnCount>,
    /// `intercepted`, `local`, `syn-only`.
    pub flags: Vec<String>,
    #[serde(rename = "where")]
    pub location: Option<Where>,
    pub reason: Option<String>,
}
