//! One probe's fate, and the two halves from which it is put together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::Tos;

use crate::ids::{SessionId, UnixNanos};

/// What the probe looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// Like Discord voice: IP discovery first, then RTP with AEAD payload.
    Rtp = 0,
    /// The control: same sizes and times as rtp, random bytes.
    Udp = 1,
    Dns = 2,
    /// A TCP connection and a GET for every probe.
    Http = 3,
    /// A TCP connection and a ClientHello for every probe.
    Tls = 4,
    Stamp = 5,
    /// Echo; round trip only.
    Icmp = 6,
    /// Best-effort exchanges that feed the clock model; on the wire like `udp`, not part of a report's classes.
    Clock = 7,
}

impl Kind {
    pub const ALL: [Kind; 8] =
        [Kind::Rtp, Kind::Udp, Kind::Dns, Kind::Http, Kind::Tls, Kind::Stamp, Kind::Icmp, Kind::Clock];

    pub const fn name(self) -> &'static str {
        match self {
            Kind::Rtp => "rtp",
            Kind::Udp => "udp",
            Kind::Dns => "dns",
            Kind::Http => "http",
            Kind::Tls => "tls",
            Kind::Stamp => "stamp",
            Kind::Icmp => "icmp",
            Kind::Clock => "clock",
        }
    }

    pub fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(code)).copied()
    }

    /// True where the kind runs over TCP, which masks the ECN bits a program asks for.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Kind::Http | Kind::Tls)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{given}': use one of {allowed}")]
pub struct UnknownWord {
    pub what: &'static str,
    pub given: String,
    pub allowed: &'static str,
}

impl FromStr for Kind {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Kind, UnknownWord> {
        Kind::ALL.into_iter().filter(|kind| *kind != Kind::Clock).find(|kind| kind.name() == text).ok_or_else(|| {
            UnknownWord { what: "kind", given: text.to_owned(), allowed: "rtp, udp, http, dns, tls, icmp, stamp" }
        })
    }
}

/// Which way the probe went. `Up` is worker to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Direction {
    Up = 0,
    Down = 1,
    RoundTrip = 2,
}

impl Direction {
    pub const ALL: [Direction; 3] = [Direction::Up, Direction::Down, Direction::RoundTrip];

    pub const fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
            Direction::RoundTrip => "round-trip",
        }
    }

    pub fn from_code(code: u8) -> Option<Direction> {
        Direction::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Family {
    Ipv4 = 4,
    Ipv6 = 6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    pub const fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
    }

    pub fn of(address: std::net::IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is special about one sample; a set of bits, kept as they are on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleFlags(pub u16);

impl SampleFlags {
    /// The send time is a user-space reading, not a kernel transmit stamp: up to milliseconds early.
    pub const TX_USER: SampleFlags = SampleFlags(1);
    /// The receive time is a user-space reading, not a kernel receive stamp: late by the scheduling delay.
    pub const RX_USER: SampleFlags = SampleFlags(1 << 1);
    /// Source mapping, hop count or SYN options differ from the same worker's UDP packets: a middlebox spoke for the worker.
    pub const INTERCEPTED: SampleFlags = SampleFlags(1 << 2);
    /// The sending host put another mark on the wire than it was asked for.
    pub const LOCAL_REWRITE: SampleFlags = SampleFlags(1 << 3);
    /// The mark was read from the connection's SYN, not from the packet with the probe's data.
    pub const SYN_MARK: SampleFlags = SampleFlags(1 << 4);
    /// At least one more copy of this packet arrived.
    pub const DUPLICATED: SampleFlags = SampleFlags(1 << 5);
    /// Arrived after a packet with a higher sequence number (RFC 4737, Type-P-Reordered).
    pub const REORDERED: SampleFlags = SampleFlags(1 << 6);
    /// The received mark was read by passive capture (`--interface`).
    pub const CAPTURED: SampleFlags = SampleFlags(1 << 7);
    /// The connection was refused or reset before the probe's data crossed it.
    pub const REFUSED: SampleFlags = SampleFlags(1 << 8);
    /// The connection that carried it had to send something again: what TCP has instead of loss.
    pub const RETRANSMITTED: SampleFlags = SampleFlags(1 << 9);

    pub const fn with(self, other: SampleFlags) -> SampleFlags {
        SampleFlags(self.0 | other.0)
    }

    pub const fn has(self, other: SampleFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What the sending side knows of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentHalf {
    pub sequence: u32,
    /// On the sender's clock; the kernel's transmit stamp unless [`SampleFlags::TX_USER`].
    pub sent_at: UnixNanos,
    /// The mark that was asked for.
    pub tos: Tos,
    /// Layer-3 length in bytes.
    pub size: u16,
    pub flags: SampleFlags,
}

/// What the receiving side knows of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedHalf {
    pub sequence: u32,
    /// On the receiver's clock; the kernel's receive stamp unless [`SampleFlags::RX_USER`].
    pub received_at: UnixNanos,
    /// `None` where this socket cannot show it.
    pub tos: Option<Tos>,
    /// IPv4 TTL or IPv6 hop limit as it arrived; `None` where this socket cannot show it.
    pub ttl: Option<u8>,
    pub flags: SampleFlags,
}

/// One probe: a row of the store. Who sent it is the session's (worker, for `Down` the server).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub session: SessionId,
    pub sequence: u32,
    pub kind: Kind,
    pub direction: Direction,
    pub family: Family,
    pub tos_sent: Tos,
    /// `None` if the probe was lost or the receiving socket cannot show it.
    pub tos_received: Option<Tos>,
    /// On the sender's clock: the worker's for `Up` and `RoundTrip`, the server's for `Down`.
    pub sent_at: UnixNanos,
    /// On the receiver's clock: the server's for `Up`, the worker's for `Down` and `RoundTrip`. `None`: lost.
    pub received_at: Option<UnixNanos>,
    pub ttl: Option<u8>,
    /// Layer-3 length in bytes.
    pub size: u16,
    pub flags: SampleFlags,
}
