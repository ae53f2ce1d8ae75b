//! Probe payloads, and which probe an ICMP error quotes. Pure.
//!
//! Classic routers quote 8 bytes behind the IP header (RFC 792): ports, length and checksum of UDP. So a probe's number is
//! in its UDP length, as far as 256 lengths go, and wholly in its payload, which every newer router quotes (RFC 1812).

use std::net::{IpAddr, SocketAddr};

use model::Tos;
use wire::icmp::{IcmpMessage, Quote, parse_icmp};

/// Random per trace: nobody who has not seen a probe can make up a quote of it.
pub(super) const NONCE_LEN: usize = 8;
const ID_AT: usize = NONCE_LEN;
/// A trace's shortest payload.
pub(super) const SHORTEST: usize = 24;
const LENGTHS: u32 = 256;
const UDP_HEADER_LEN: usize = 8;

/// What all probes of a trace have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub from: SocketAddr,
    pub target: IpAddr,
    pub port: u16,
    pub nonce: [u8; NONCE_LEN],
    /// Payload bytes of the shortest probe, at least 12; the longest has 255 more.
    pub shortest: usize,
}

/// Who answered what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The TTL ran out at this hop.
    Expired,
    /// The target got it.
    Arrived,
    /// A filter or a router without a route refused it.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub probe: ProbeName,
    pub verdict: Verdict,
    pub address: IpAddr,
    pub quoted: Tos,
    /// The quoted packet's TTL: as it arrived there.
    pub ttl: u8,
    /// Quoted addresses or ports are not those sent.
    pub translated: bool,
}

/// How a quote names its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeName {
    Id(u32),
    /// The UDP length fits those probes whose number has this remainder; the latest is meant.
    Remainder(u32),
}

pub(super) fn payload(out: &mut Vec<u8>, flow: &Flow, id: u32) {
    out.clear();
    out.extend_from_slice(&flow.nonce);
    out.extend_from_slice(&id.to_be_bytes());
    out.resize(flow.shortest + remainder(id) as usize, 0);
}

pub(super) fn remainder(id: u32) -> u32 {
    id % LENGTHS
}

/// The number in a probe's own payload, as a transmit stamp's frame shows it.
pub(super) fn id_in(payload: &[u8], nonce: &[u8; NONCE_LEN]) -> Option<u32> {
    let rest = payload.strip_prefix(nonce)?;
    rest.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// `None`: not about a probe of this flow.
pub(super) fn answer(flow: &Flow, family: wire::Family, from: IpAddr, message: &[u8]) -> Option<Answer> {
    let (quote, verdict) = match parse_icmp(family, message).ok()? {
        IcmpMessage::TimeExceeded { code: 0, quote } => (quote, Verdict::Expired),
        IcmpMessage::Unreachable { quote, .. } if from == flow.target => (quote, Verdict::Arrived),
        IcmpMessage::Unreachable { code, quote } => {
            // Only a host answers for a port; one with another address than the target's is the target behind a NAT.
            let port_unreachable = match family {
                wire::Family::Ipv4 => 3,
                wire::Family::Ipv6 => 4,
            };
            (quote, if code == port_unreachable { Verdict::Arrived } else { Verdict::Refused })
        }
        _ => return None,
    };
    let probe = probe_of(flow, &quote)?;
    let (quoted, ttl) = (quote.packet.tos, quote.packet.ttl);
    Some(Answer { probe, verdict, address: from, quoted, ttl, translated: !same_flow(flow, &quote) })
}

fn probe_of(flow: &Flow, quote: &Quote<'_>) -> Option<ProbeName> {
    if quote.packet.protocol != wire::ip::protocol::UDP || !quote.packet.is_first_fragment() {
        return None;
    }
    let quoted = quote.udp_payload;
    if quoted.len() >= ID_AT + 4 {
        // Enough to prove it, whatever a NAT has done to the addresses.
        return id_in(quoted, &flow.nonce).map(ProbeName::Id);
    }
    // What little there is of the payload must fit.
    if !flow.nonce.starts_with(quoted.get(..quoted.len().min(NONCE_LEN))?) || !same_flow(flow, quote) {
        return None;
    }
    let length = u16::from_be_bytes(*quote.packet.payload.get(4..6)?.first_chunk()?);
    let number = usize::from(length).checked_sub(UDP_HEADER_LEN + flow.shortest)?;
    u32::try_from(number).ok().filter(|number| *number < LENGTHS).map(ProbeName::Remainder)
}

fn same_flow(flow: &Flow, quote: &Quote<'_>) -> bool {
    quote.packet.source == flow.from.ip()
        && quote.packet.destination == flow.target
        && quote.source_port == Some(flow.from.port())
        && quote.destination_port == Some(flow.port)
}
