//! Which hop changes a mark: probes whose TTL runs out on the way, and what each router quotes of them in its ICMP error.
//!
//! A quote shows the packet as the router saw it when the TTL ran out. On Linux that is after PREROUTING and before FORWARD:
//! a change made in PREROUTING shows in that hop's own quote, one made in FORWARD in the next hop's. So a change is placed
//! between two hops: after the last that quotes the old mark, by the first that quotes the new one.
//!
//! What a class suffers without being rewritten (loss, limits of rate, delay) is placed by [`contrast`]: who answers how often.
//!
//! All probes are of one 5-tuple, so that equal-cost paths and flow-based boxes treat them as one flow. [`explore`] decides
//! what to send when and [`locate`] what the answers mean, both without sockets; [`Tracer`] moves the packets.

mod assemble;
mod contrast;
mod explore;
mod finding;
mod locate;
mod quote;
mod render;
#[cfg(test)]
pub(crate) mod tests;
mod tracer;
mod vanish;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::report::Where;
use model::{Dscp, Ecn, Family, Tos};
use net::NetError;
use serde::{Deserialize, Serialize};

pub use contrast::{Contrast, ContrastProgress, Sighting, Sought, Suffers, sought};
pub use finding::{CLASSES, TraceReport, changes, classes, place};
pub use locate::{Located, common_location, locate, locate_all};
pub use tracer::Tracer;
pub use vanish::vanishes;

pub const SCHEMA: &str = "netlat.path/1";
/// Where traceroute's probes go by tradition: rarely anything listens there.
pub const DEFAULT_PORT: u16 = 33434;

#[derive(Clone, Debug)]
pub struct TraceConfig {
    pub target: IpAddr,
    /// UDP destination port.
    pub port: u16,
    /// 0: the kernel's choice.
    pub source_port: u16,
    /// Not empty.
    pub classes: Vec<Tos>,
    /// 1..=64.
    pub max_hops: u8,
    /// Quotes wanted per hop and class, 3 or more: fewer are no evidence.
    pub probes: u32,
    /// A probe without an answer for this long is taken as unanswered; a later answer still counts.
    pub timeout: Duration,
    /// Probes a second over all hops. Each hop's own rate adapts below it: a Linux router answers one destination with 6
    /// errors at once and then one a second (net.ipv4.icmp_ratelimit).
    pub rate_pps: f64,
    /// The trace ends by then with what it has.
    pub limit: Duration,
    pub clock: net::Clock,
}

impl TraceConfig {
    pub fn new(target: IpAddr, clock: net::Clock) -> TraceConfig {
        TraceConfig {
            target,
            port: DEFAULT_PORT,
            source_port: 0,
            classes: vec![Tos::default(), Tos::new(Dscp::EF, Ecn::NotEct)],
            max_hops: 30,
            probes: 3,
            timeout: Duration::from_secs(1),
            rate_pps: 50.0,
            limit: Duration::from_secs(300),
            clock,
        }
    }

    /// Names the first thing that is out of range.
    pub fn check(&self) -> Result<(), PathError> {
        let problem = if self.classes.is_empty() {
            "name at least one traffic class"
        } else if self.classes.len() > 256 {
            "there are 256 traffic classes at most"
        } else if !(1..=64).contains(&self.max_hops) {
            "the hops lie between 1 and 64"
        } else if !(3..=100).contains(&self.probes) {
            "the probes per hop and class lie between 3 and 100"
        } else if !(0.1..=1000.0).contains(&self.rate_pps) {
            "the rate lies between 0.1 and 1000 packets per second"
        } else if self.timeout < Duration::from_millis(50) || self.timeout > Duration::from_secs(30) {
            "the timeout lies between 50 ms and 30 s"
        } else if self.port == 0 {
            "the destination port is not 0"
        } else if self.target.is_unspecified() || self.target.is_multicast() {
            "the target is the address of one host"
        } else {
            return Ok(());
        };
        Err(PathError::Config(problem))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error(
        "netlat path needs CAP_NET_RAW to read quoted marks: run it with sudo or `setcap cap_net_raw+ep` the program"
    )]
    NotPermitted(#[source] NetError),
    #[error("{0}")]
    Config(&'static str),
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("cannot reach {target}: {source}")]
    Unreachable { target: IpAddr, source: std::io::Error },
    #[error("this tracer was opened without {0}")]
    FamilyNotOpen(Family),
    #[error("the system gives no random bytes")]
    Random,
}

/// For a progress display; a few times a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceProgress {
    pub sent: u64,
    pub answered: u64,
    /// The farthest hop that has answered.
    pub farthest_hop: u8,
    pub reached: bool,
}

/// How often a hop quoted which mark for a probe that was sent with which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "MarkJson", into = "MarkJson")]
pub struct Mark {
    pub sent: Tos,
    pub quoted: Tos,
    /// Who quoted.
    pub address: IpAddr,
    pub count: u32,
}

#[derive(Serialize, Deserialize)]
struct MarkJson {
    dscp_sent: Dscp,
    ecn_sent: Ecn,
    dscp_quoted: Dscp,
    ecn_quoted: Ecn,
    address: IpAddr,
    count: u32,
}

impl From<Mark> for MarkJson {
    fn from(mark: Mark) -> MarkJson {
        MarkJson {
            dscp_sent: mark.sent.dscp(),
            ecn_sent: mark.sent.ecn(),
            dscp_quoted: mark.quoted.dscp(),
            ecn_quoted: mark.quoted.ecn(),
            address: mark.address,
            count: mark.count,
        }
    }
}

impl From<MarkJson> for Mark {
    fn from(json: MarkJson) -> Mark {
        Mark {
            sent: Tos::new(json.dscp_sent, json.ecn_sent),
            quoted: Tos::new(json.dscp_quoted, json.ecn_quoted),
            address: json.address,
            count: json.count,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    pub min: f64,
    pub p50: f64,
}

/// Everything that answered at one distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// From 1, the sender's first router.
    pub hop: u8,
    /// More than one: equal-cost paths, or a route that changed meanwhile.
    pub addresses: Vec<IpAddr>,
    /// To this hop and back, with the router's own delay in making the error. `null`: silent.
    pub rtt_ms: Option<RoundTrip>,
    pub marks: Vec<Mark>,
    pub sent: u32,
    pub answered: u32,
    /// Nothing came, asked quickly and then slowly.
    pub silent: bool,
    /// It is the target.
    pub destination: bool,
    /// It refuses to pass the probes on, and says so (a filter's ICMP error): nothing beyond is seen.
    pub refuses: bool,
    /// It quotes other addresses or ports than were sent: a NAT lies between.
    pub translated: bool,
}

/// What was heard of a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    pub target: IpAddr,
    pub family: Family,
    pub port: u16,
    pub from: SocketAddr,
    /// The marks with which frames left this host, as its kernel returned them; empty where it does not.
    pub left_with: Vec<Mark>,
    /// From 1 without gaps, to the destination or the last hop that answered.
    pub hops: Vec<Hop>,
    /// The destination answered.
    pub reached: bool,
    pub destination_hop: Option<u8>,
    pub sent: u64,
    pub answered: u64,
    /// ICMP errors that quote something else than this trace's probes.
    pub foreign: u64,
    /// Neither stopped nor out of time.
    pub complete: bool,
    pub notes: Vec<String>,
}

/// A mark that is changed between two places of the path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "ChangeJson", into = "ChangeJson")]
pub struct Change {
    pub sent: Tos,
    pub from_mark: Tos,
    pub to_mark: Tos,
    /// 0 and 0: on this host.
    pub location: Where,
    /// Hops inside the interval of which nothing is known: silent, or of divided opinion.
    pub unseen: Vec<u8>,
    /// The far end of the interval is the destination.
    pub at_destination: bool,
    /// Quotes (or arrivals) with the new mark at the far end.
    pub count: u32,
    pub note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ChangeJson {
    dscp_sent: Dscp,
    ecn_sent: Ecn,
    dscp_before: Dscp,
    ecn_before: Ecn,
    dscp_after: Dscp,
    ecn_after: Ecn,
    #[serde(rename = "where")]
    location: Where,
    unseen_hops: Vec<u8>,
    at_destination: bool,
    count: u32,
    note: Option<String>,
}

impl From<Change> for ChangeJson {
    fn from(change: Change) -> ChangeJson {
        ChangeJson {
            dscp_sent: change.sent.dscp(),
            ecn_sent: change.sent.ecn(),
            dscp_before: change.from_mark.dscp(),
            ecn_before: change.from_mark.ecn(),
            dscp_after: change.to_mark.dscp(),
            ecn_after: change.to_mark.ecn(),
            location: change.location,
            unseen_hops: change.unseen,
            at_destination: change.at_destination,
            count: change.count,
            note: change.note,
        }
    }
}

impl From<ChangeJson> for Change {
    fn from(json: ChangeJson) -> Change {
        Change {
            sent: Tos::new(json.dscp_sent, json.ecn_sent),
            from_mark: Tos::new(json.dscp_before, json.ecn_before),
            to_mark: Tos::new(json.dscp_after, json.ecn_after),
            location: json.location,
            unseen: json.unseen_hops,
            at_destination: json.at_destination,
            count: json.count,
            note: json.note,
        }
    }
}

/// A hop that quotes marks that the packets cannot have had, since later hops quote the former ones again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Misquote {
    pub hop: u8,
    /// It quotes one mark for probes that are told apart before and behind it: a packet's mark cannot come back so.
    /// Otherwise a box behind it may as well have restored the mark.
    pub proven: bool,
}

/// What `netlat path --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathReport {
    pub schema: String,
    /// RFC 3339, UTC.
    pub generated_at: String,
    #[serde(flatten)]
    pub trace: Trace,
    pub changes: Vec<Change>,
    pub misquotes: Vec<Misquote>,
}

impl PathReport {
    pub fn new(generated_at: String, trace: Trace) -> PathReport {
        let Located { changes, misquotes } = locate_all(&trace, None);
        PathReport { schema: SCHEMA.to_owned(), generated_at, trace, changes, misquotes }
    }

    /// A table for people, line by line, without control characters.
    pub fn lines(&self) -> Vec<String> {
        render::lines(self)
    }
}
