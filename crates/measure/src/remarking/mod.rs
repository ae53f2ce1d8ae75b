//! What happened to the marks: names for what the network did to DSCP and ECN, from counts alone. Neither time nor place
//! is considered here; and, as RFC 9435 warns, the outcome does not prove the mechanism.

mod counts;
mod dscp;
mod ecn;

use model::Kind;
use model::report::{DscpCount, EcnCount, EcnFinding, Pathology};

pub use counts::MarkCounts;

/// How much evidence is enough.
#[derive(Clone, Debug, PartialEq)]
pub struct RemarkingConfig {
    /// A code point with fewer received marks is no evidence.
    pub min_per_class: u64,
    /// A received value counts if at least this many packets of one code point have it; fewer are odd packets.
    pub min_packets: u64,
    /// And if it makes up at least this share of the code point's packets, 0..=1.
    pub min_share: f64,
    /// From this share on a change is on (nearly) all packets, 0..=1.
    pub nearly_all: f64,
    /// Not-ECT packets lost up to this share are few, 0..=1: then lost ECT packets stand out.
    pub few_lost: f64,
}

impl Default for RemarkingConfig {
    fn default() -> RemarkingConfig {
        RemarkingConfig { min_per_class: 5, min_packets: 2, min_share: 0.05, nearly_all: 0.9, few_lost: 0.2 }
    }
}

/// What was done to the marks of one kind on one path.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub pathology: Pathology,
    /// Every pair of sent and received DSCP, in order.
    pub map: Vec<DscpCount>,
    pub ecn: EcnFinding,
    /// Every pair of sent and received ECN code points, in order.
    pub ecn_map: Vec<EcnCount>,
    /// Exceptions, other names that fit as well, code points without evidence. A sentence or several.
    pub reason: Option<String>,
}

/// Names what was done. `kind` decides only whether ECN can be judged at all: TCP masks the bits a program asks for, and an
/// echo reply carries what the far kernel chose.
pub fn judge(kind: Kind, counts: &MarkCounts, config: &RemarkingConfig) -> Judgement {
    let dscp = dscp::judge(counts, config);
    let ecn = if kind.is_tcp() || kind == Kind::Icmp {
        ecn::Finding { ecn: EcnFinding::Unsupported, notes: Vec::new() }
    } else {
        ecn::judge(counts, config)
    };
    let notes: Vec<String> = dscp.notes.into_iter().chain(ecn.notes).collect();
    Judgement {
        pathology: dscp.pathology,
        map: counts.dscp_map(),
        ecn: ecn.ecn,
        ecn_map: counts.ecn_map(),
        reason: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}
