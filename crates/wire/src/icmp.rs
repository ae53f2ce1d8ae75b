//! ICMP and ICMPv6: echoes, and the packets that errors quote, which show how far a mark has come (RFC 792, RFC 4443).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     type      |     code      |           checksum            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          identifier           |           sequence            |  echo: data
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |      0        |  length (v4)  |             MTU (v4)          |  error: IP header and beginning of the packet
//! |  length (v6)  |         or pointer, or MTU (v6)               |  quoted, and perhaps an extension (RFC 4884)
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::net::Ipv6Addr;

use alloc::vec::Vec;

use crate::bytes::{Reader, put};
use crate::error::WireError;
use crate::ip::{Family, IpPacket, checksum, protocol};

/// Type to code, of an echo.
pub const ECHO_HEADER_LEN: usize = 8;

const CHECKSUM_AT: usize = 2;

/// Whether an echo asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EchoKind {
    Request,
    Reply,
}

/// An echo of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    pub kind: EchoKind,
    /// An unprivileged socket's is overwritten by the kernel.
    pub identifier: u16,
    pub sequence: u16,
    pub data: &'a [u8],
}

/// An ICMP message, as far as a measurement tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpMessage<'a> {
    Echo(Echo<'a>),
    /// The TTL ran out on the way (code 0), or fragments did not arrive (code 1).
    TimeExceeded {
        code: u8,
        quote: Quote<'a>,
    },
    /// Not delivered; the code says why, and differs between the families.
    Unreachable {
        code: u8,
        quote: Quote<'a>,
    },
    /// Too big for a link: ICMPv6 type 2, and code 4 of ICMP's unreachable.
    TooBig {
        mtu: u32,
        quote: Quote<'a>,
    },
    Other {
        kind: u8,
        code: u8,
    },
}

/// The packet an error is about, as its sender saw it arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    /// Header and payload; the payload is what was quoted of it, without the padding and extension of RFC 4884.
    pub packet: IpPacket<'a>,
    /// Of UDP and TCP, where at least four bytes were quoted.
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    /// Identifier and sequence, where the quoted packet is an echo request.
    pub echo: Option<(u16, u16)>,
    /// What was quoted behind the UDP header; empty for other protocols, and for routers that quote 8 bytes only.
    pub udp_payload: &'a [u8],
    /// The extension structure of RFC 4884 (MPLS labels and the like), where there is one; not looked into.
    pub extension: &'a [u8],
}

/// Builds an echo into `out`, which is cleared first.
///
/// ICMPv6's checksum is left zero, because the kernel fills it in; where it does not, use [`fill_icmpv6_checksum`].
pub fn build_echo(out: &mut Vec<u8>, family: Family, echo: &Echo<'_>) {
    out.clear();
    let kind = match (family, echo.kind) {
        (Family::Ipv4, EchoKind::Request) => 8,
        (Family::Ipv4, EchoKind::Reply) => 0,
        (Family::Ipv6, EchoKind::Request) => 128,
        (Family::Ipv6, EchoKind::Reply) => 129,
    };
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&echo.identifier.to_be_bytes());
    out.extend_from_slice(&echo.sequence.to_be_bytes());
    out.extend_from_slice(echo.data);
    if family == Family::Ipv4 {
        let sum = checksum(&[out]);
        put(out, CHECKSUM_AT, &sum.to_be_bytes());
    }
}

/// Fills in the checksum over message and pseudo-header (RFC 8200, section 8.1).
pub fn fill_icmpv6_checksum(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    put(message, CHECKSUM_AT, &[0, 0]);
    let len = (message.len() as u32).to_be_bytes();
    let sum = checksum(&[&source.octets(), &destination.octets(), &len, &[0, 0, 0, protocol::ICMPV6], message]);
    put(message, CHECKSUM_AT, &sum.to_be_bytes());
}

/// Reads a message that begins with its type.
///
/// IPv4: the checksum must be right, for a raw socket is handed messages before the kernel looks. IPv6: the kernel has
/// looked.
pub fn parse_icmp(family: Family, message: &[u8]) -> Result<IcmpMessage<'_>, WireError> {
    let mut reader = Reader::new(message);
    let (kind, code) = (reader.u8()?, reader.u8()?);
    let _checksum = reader.u16()?;
    let second: [u8; 4] = reader.array()?;
    if family == Family::Ipv4 && checksum(&[message]) != 0 {
        return Err(WireError::Malformed);
    }
    let body = reader.rest();
    let [a, b, c, d] = second;
    let echo = |kind| {
        let (identifier, sequence) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Ok(IcmpMessage::Echo(Echo { kind, identifier, sequence, data: body }))
    };
    // RFC 4884, section 4: the length of what is quoted, in words of 32 bits for ICMP and of 64 bits for ICMPv6.
    let words4 = 4 * usize::from(b);
    let words8 = 8 * usize::from(a);
    match (family, kind, code) {
        (Family::Ipv4, 8, _) | (Family::Ipv6, 128, _) => echo(EchoKind::Request),
        (Family::Ipv4, 0, _) | (Family::Ipv6, 129, _) => echo(EchoKind::Reply),
        (Family::Ipv4, 3, 4) => {
            let mtu = u16::from_be_bytes([c, d]).into();
            Ok(IcmpMessage::TooBig { mtu, quote: Quote::parse(body, words4)? })
        }
        (Family::Ipv6, 2, _) => {
            Ok(IcmpMessage::TooBig { mtu: u32::from_be_bytes(second), quote: Quote::parse(body, 0)? })
        }
        (Family::Ipv4, 3, _) => Ok(IcmpMessage::Unreachable { code, quote: Quote::parse(body, words4)? }),
        (Family::Ipv6, 1, _) => Ok(IcmpMessage::Unreachable { code, quote: Quote::parse(body, words8)? }),
        (Family::Ipv4, 11, _) => Ok(IcmpMessage::TimeExceeded { code, quote: Quote::parse(body, words4)? }),
        (Family::Ipv6, 3, _) => Ok(IcmpMessage::TimeExceeded { code, quote: Quote::parse(body, words8)? }),
        _ => Ok(IcmpMessage::Other { kind, code }),
    }
}

impl<'a> Quote<'a> {
    /// `quoted_len` 0: the message does not say, so that all of it is quoted (as before RFC 4884).
    fn parse(body: &'a [u8], quoted_len: usize) -> Result<Quote<'a>, WireError> {
        let (quoted, extension) = match quoted_len {
            0 => (body, [].as_slice()),
            // A length beyond the end is a router's mistake, and no reason to lose the quote.
            len => body.split_at_checked(len).unwrap_or((body, &[])),
        };
        let packet = IpPacket::parse_quoted(quoted)?;
        let mut quote =
            Quote { packet, source_port: None, destination_port: None, echo: None, udp_payload: &[], extension };
        if !packet.is_first_fragment() {
            return Ok(quote);
        }
        match packet.protocol {
            protocol::UDP | protocol::TCP => {
                let mut transport = Reader::new(packet.payload);
                quote.source_port = transport.u16().ok();
                quote.destination_port = transport.u16().ok();
                if packet.protocol == protocol::UDP {
                    quote.udp_payload = packet.payload.get(8..).unwrap_or(&[]);
                }
            }
            protocol::ICMP | protocol::ICMPV6 => {
                if let Some(&[8 | 128, _, _, _, a, b, c, d]) = packet.payload.first_chunk() {
                    quote.echo = Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
                }
            }
            _ => {}
        }
        Ok(quote)
    }
}
