//! The vocabulary of policies: what a hop does, and to which packets. Data and matching only; rules are in `rules`, the
//! file's spelling in `policy_text`.
//!
//! A hop looks at the mark as the packet arrived, in this order whatever the order in the file: first it drops, polices
//! and shapes; then at most one policy rewrites the DSCP, and at most one the ECN bits (of several, the first in the
//! file that changes this packet).

use model::{Direction, Family};
use wire::{Dscp, Ecn};

use crate::truth::Traffic;

/// A set of code points.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DscpSet(u64);

impl DscpSet {
    pub const ALL: DscpSet = DscpSet(u64::MAX);
    pub const EMPTY: DscpSet = DscpSet(0);

    pub fn contains(self, dscp: Dscp) -> bool {
        self.0 >> dscp.get() & 1 == 1
    }

    pub fn iter(self) -> impl Iterator<Item = Dscp> {
        Dscp::all().filter(move |dscp| self.contains(*dscp))
    }
}

impl FromIterator<Dscp> for DscpSet {
    fn from_iter<I: IntoIterator<Item = Dscp>>(points: I) -> DscpSet {
        DscpSet(points.into_iter().fold(0, |set, dscp| set | 1 << dscp.get()))
    }
}

impl std::fmt::Debug for DscpSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Dscp::get)).finish()
    }
}

/// What is inside the IP packet; ICMP means ICMPv6 on IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Udp,
    Tcp,
    Icmp,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Udp, Protocol::Tcp, Protocol::Icmp];

    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Icmp => "icmp",
        }
    }
}

/// Which packets a policy looks at. `None` and empty mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Never [`Direction::RoundTrip`].
    pub direction: Option<Direction>,
    pub family: Option<Family>,
    pub protocol: Option<Protocol>,
    /// First and last port of each range, at the server's end of the flow; given ports leave ICMP alone.
    pub ports: Vec<(u16, u16)>,
}

impl Scope {
    pub fn covers_direction(&self, direction: Direction) -> bool {
        self.direction.is_none_or(|only| only == direction)
    }

    pub fn covers_family(&self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }

    /// Traffic on an unnamed port is not covered where the policy names ports.
    pub fn covers(&self, traffic: &Traffic) -> bool {
        let on_port = |port: u16| self.ports.iter().any(|(first, last)| (*first..=*last).contains(&port));
        self.covers_direction(traffic.direction)
            && self.covers_family(traffic.family)
            && self.protocol.is_none_or(|only| only == traffic.protocol)
            && (self.ports.is_empty() || traffic.protocol != Protocol::Icmp && traffic.server_port.is_some_and(on_port))
    }
}

/// A token bucket's filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Layer 3. nftables' bucket holds one second of the rate plus the burst.
    Bytes {
        per_second: u64,
        burst: u64,
    },
    Packets {
        per_second: u64,
        burst: u64,
    },
}

/// What is done to a packet that the scope covers.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Bleach {
        dscp: DscpSet,
    },
    ClearPrecedence,
    ClearSomePrecedence,
    /// `precedence` is 1..=7.
    RemarkPrecedence {
        precedence: u8,
    },
    BleachLow,
    BleachSomeLow,
    Remark {
        dscp: DscpSet,
        to: Dscp,
    },
    /// Each packet becomes the first mark with probability `share`, else the second, by the kernel's random numbers:
    /// strict alternation would beat against the prober's own pattern.
    Unstable {
        dscp: DscpSet,
        to: [Dscp; 2],
        share: f64,
    },
    EcnBleach,
    EcnEct1ToEct0,
    /// Every packet, also one that was not ECN-capable.
    EcnCe,
    EcnCeStrip,
    /// ECT(0) and ECT(1); Not-ECT and CE pass.
    EcnDropEct,
    Drop {
        dscp: DscpSet,
        share: f64,
    },
    Police {
        dscp: DscpSet,
        rate: Rate,
    },
    /// Layer 2 rate, as tc counts; packets beyond `queue_bytes` are dropped.
    Shape {
        dscp: DscpSet,
        bits_per_second: u64,
        burst_bytes: u64,
        queue_bytes: u64,
    },
    /// A bottleneck for all that the scope covers, with a queue for these marks and one for the rest. Layer 2 rate.
    Share {
        dscp: DscpSet,
        bits_per_second: u64,
        /// Of each of the two queues.
        queue_bytes: u64,
        /// What the marks get for each bit of the rest while both ask for more than there is; `None`: all they ask for.
        weight: Option<u32>,
    },
    /// Masquerades IPv4 towards the server.
    Nat,
    /// The hop sends no ICMP time-exceeded for packets of the scope's direction.
    Silent,
    /// ICMP does not pass through the hop.
    NoIcmpPass,
}

/// A rewritten DSCP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rewrite {
    To(Dscp),
    /// The first with the probability `share`, else the second.
    Either {
        marks: [Dscp; 2],
        share: f64,
    },
}

impl Action {
    /// The name used in scenario files.
    pub const fn name(&self) -> &'static str {
        match self {
            Action::Bleach { .. } => "bleach",
            Action::ClearPrecedence => "clear-precedence",
            Action::ClearSomePrecedence => "clear-some-precedence",
            Action::RemarkPrecedence { .. } => "remark-precedence",
            Action::BleachLow => "bleach-low",
            Action::BleachSomeLow => "bleach-some-low",
            Action::Remark { .. } => "remark",
            Action::Unstable { .. } => "unstable",
            Action::EcnBleach => "ecn-bleach",
            Action::EcnEct1ToEct0 => "ecn-ect1-to-ect0",
            Action::EcnCe => "ecn-ce",
            Action::EcnCeStrip => "ecn-ce-strip",
            Action::EcnDropEct => "ecn-drop-ect",
            Action::Drop { .. } => "drop",
            Action::Police { .. } => "police",
            Action::Shape { .. } => "shape",
            Action::Share { weight: None, .. } => "prioritise",
            Action::Share { weight: Some(_), .. } => "weigh",
            Action::Nat => "nat",
            Action::Silent => "silent",
            Action::NoIcmpPass => "no-icmp-pass",
        }
    }

    /// What becomes of this DSCP, `None` where the action leaves it alone.
    pub fn rewrite_dscp(&self, sent: Dscp) -> Option<Rewrite> {
        const LOW_BITS: u8 = 0b000_111;
        const PRECEDENCE_BITS: u8 = 0b111_000;
        let bits = sent.get();
        let spared = bits >> 4 == 0b11;
        let received = match *self {
            Action::Bleach { dscp } if dscp.contains(sent) => 0,
            Action::ClearPrecedence => bits & LOW_BITS,
            Action::ClearSomePrecedence if !spared => bits & LOW_BITS,
            Action::RemarkPrecedence { precedence } => precedence << 3 | bits & LOW_BITS,
            Action::BleachLow => bits & PRECEDENCE_BITS,
            Action::BleachSomeLow if !spared => bits & PRECEDENCE_BITS,
            Action::Remark { dscp, to } if dscp.contains(sent) => to.get(),
            Action::Unstable { dscp, to, share } if dscp.contains(sent) => {
                return Some(Rewrite::Either { marks: to, share });
            }
            _ => return None,
        };
        Dscp::new(received).filter(|received| *received != sent).map(Rewrite::To)
    }

    /// What becomes of this code point, `None` where the action leaves it alone.
    pub fn rewrite_ecn(&self, sent: Ecn) -> Option<Ecn> {
        let received = match (self, sent) {
            (Action::EcnBleach, _) => Ecn::NotEct,
            (Action::EcnEct1ToEct0, Ecn::Ect1) | (Action::EcnCeStrip, Ecn::Ce) => Ecn::Ect0,
            (Action::EcnCe, _) => Ecn::Ce,
            _ => return None,
        };
        (received != sent).then_some(received)
    }

    /// The share of packets with this mark that the action drops by itself, 0 to 1; what a policer or shaper drops
    /// depends on the traffic and is not counted.
    pub fn drop_share(&self, dscp: Dscp, ecn: Ecn, protocol: Protocol) -> f64 {
        match *self {
            Action::Drop { dscp: set, share } if set.contains(dscp) => share,
            Action::EcnDropEct if matches!(ecn, Ecn::Ect0 | Ecn::Ect1) => 1.0,
            Action::NoIcmpPass if protocol == Protocol::Icmp => 1.0,
            _ => 0.0,
        }
    }
}

/// One thing a hop does.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub action: Action,
    pub scope: Scope,
}
