//! Just enough parsing to tell the probes in captured frames apart.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::Family;

/// Ports of the UDP probes, and of the TCP listeners: one for each DSCP.
pub(crate) const UDP_PORT: u16 = 8620;
pub(crate) const TCP_PORT_BASE: u16 = 20_000;

/// First byte of a UDP probe's payload; the second is the ToS byte it was sent with (or is to be answered with).
pub(crate) const UP: u8 = 0;
pub(crate) const DOWN: u8 = 1;
pub(crate) const SYNC: u8 = 2;

/// An IP packet as far as the probes go.
pub(crate) struct Packet<'a> {
    pub(crate) family: Family,
    pub(crate) tos: u8,
    pub(crate) source: IpAddr,
    pub(crate) protocol: u8,
    /// From the transport header on.
    pub(crate) transport: &'a [u8],
}

pub(crate) fn parse(ethernet: &[u8]) -> Option<Packet<'_>> {
    parse_ip(ethernet.get(14..)?)
}

pub(crate) fn parse_ip(ip: &[u8]) -> Option<Packet<'_>> {
    match ip.first()? >> 4 {
        4 => Some(Packet {
            family: Family::Ipv4,
            tos: *ip.get(1)?,
            source: <[u8; 4]>::try_from(ip.get(12..16)?).ok()?.into(),
            protocol: *ip.get(9)?,
            transport: ip.get(20..)?,
        }),
        6 => Some(Packet {
            family: Family::Ipv6,
            tos: ip.first()? << 4 | ip.get(1)? >> 4,
            source: <[u8; 16]>::try_from(ip.get(8..24)?).ok()?.into(),
            protocol: *ip.get(6)?,
            transport: ip.get(40..)?,
        }),
        _ => None,
    }
}

impl Packet<'_> {
    fn word(&self, offset: usize) -> Option<u16> {
        Some(u16::from_be_bytes(self.transport.get(offset..offset + 2)?.try_into().ok()?))
    }

    /// `(protocol, ToS byte sent)` of a probe that travels in the direction of `kind` ([`UP`] or [`DOWN`]).
    pub(crate) fn probe(&self, kind: u8) -> Option<(&'static str, u8)> {
        // Which of the two port fields is the server's.
        let server_port = self.word(if kind == UP { 2 } else { 0 });
        match self.protocol {
            17 if server_port? == UDP_PORT && *self.transport.get(8)? == kind => Some(("udp", *self.transport.get(9)?)),
            6 => {
                let dscp = u8::try_from(server_port?.checked_sub(TCP_PORT_BASE)?).ok().filter(|dscp| *dscp < 64)?;
                // SYN up, SYN and ACK down.
                let opening = if kind == UP { 0x02 } else { 0x12 };
                (self.transport.get(13)? & 0x3f == opening).then_some(("tcp", dscp << 2))
            }
            1 | 58 => {
                let echo = if kind == UP { [8, 128] } else { [0, 129] };
                echo.contains(self.transport.first()?).then_some(("icmp", u8::try_from(self.word(6)?).ok()?))
            }
            _ => None,
        }
    }

    /// The packet quoted by an ICMP time-exceeded.
    pub(crate) fn quoted(&self) -> Option<Packet<'_>> {
        match (self.protocol, self.transport.first()?) {
            (1, 11) | (58, 3) => parse_ip(self.transport.get(8..)?),
            _ => None,
        }
    }
}

/// How many probes of each kind arrived with which mark; printed as `direction protocol family sent received count`.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<(&'static str, &'static str, u8, u8), u64>);

impl Tally {
    pub(crate) fn add(&mut self, ethernet: &[u8], kind: u8) {
        let Some(packet) = parse(ethernet) else { return };
        if let Some((protocol, sent)) = packet.probe(kind) {
            *self.0.entry((protocol, packet.family.name(), sent, packet.tos)).or_default() += 1;
        }
    }

    pub(crate) fn print(&self, direction: &str) {
        for ((protocol, family, sent, received), count) in &self.0 {
            println!("{direction} {protocol} {family} {sent} {received} {count}");
        }
    }
}
