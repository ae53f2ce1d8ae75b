//! IPv4 and IPv6 headers as far as a measurement looks at them: marks, TTL, addresses, and where the payload begins.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Version|  IHL  |   DSCP    |ECN|         total length          |  RFC 791
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        identification         |R|D|M|    fragment offset      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |      TTL      |   protocol    |        header checksum        |  source (4), destination (4), options
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//!
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Version|   DSCP    |ECN|             flow label                |  RFC 8200
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        payload length         |  next header  |   hop limit   |  source (16), destination (16), extension headers
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Header checksums are not looked at: the kernel drops what is wrong, and what it sends itself has none yet.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::Reader;
use crate::error::WireError;
use crate::tos::Tos;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })
    }
}

/// IANA protocol numbers that this crate tells apart.
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
/// RFC 8200 knows six kinds, destination options twice; more are an attack on whoever walks them.
const EXTENSIONS_MAX: usize = 8;

const IPV6_HEADER_LEN: usize = 40;

/// A packet's header, and its payload as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<'a> {
    pub family: Family,
    /// Type of Service or Traffic Class.
    pub tos: Tos,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Of the payload, behind all extension headers that were recognised.
    pub protocol: u8,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Of the whole packet in bytes, as its header says; what was captured where the header says 0 (segmentation
    /// offload).
    pub total_len: usize,
    /// IPv4's identification, or that of an IPv6 fragment.
    pub identification: Option<u32>,
    /// Of this fragment, in bytes; 0 for the first one and for whole packets.
    pub fragment_offset: u16,
    pub more_fragments: bool,
    /// May end early, where the capture does.
    pub payload: &'a [u8],
}

impl<'a> IpPacket<'a> {
    /// Reads a packet that begins with its IP header, of either family.
    ///
    /// Bytes behind the packet's end (Ethernet padding) are left out, missing ones at its end are accepted.
    pub fn parse(bytes: &'a [u8]) -> Result<IpPacket<'a>, WireError> {
        match bytes.first().ok_or(WireError::Truncated)? >> 4 {
            4 => parse_ipv4(bytes, TotalLen::Exact),
            6 => parse_ipv6(bytes),
            _ => Err(WireError::Malformed),
        }
    }

    /// Reads a packet that an ICMP error quotes. Routers have been seen to quote a total length they had worked on.
    pub(crate) fn parse_quoted(bytes: &'a [u8]) -> Result<IpPacket<'a>, WireError> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => parse_ipv4(bytes, TotalLen::Doubtful),
            _ => IpPacket::parse(bytes),
        }
    }

    /// Whether the payload begins with the transport's header.
    pub const fn is_first_fragment(&self) -> bool {
        self.fragment_offset == 0
    }

    /// Whether this is a piece of a packet.
    pub const fn is_fragment(&self) -> bool {
        self.fragment_offset != 0 || self.more_fragments
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TotalLen {
    Exact,
    Doubtful,
}

fn parse_ipv4(bytes: &[u8], trust: TotalLen) -> Result<IpPacket<'_>, WireError> {
    let mut reader = Reader::new(bytes);
    let header_len = usize::from(reader.u8()? & 0x0f) * 4;
    let tos = Tos::from_byte(reader.u8()?);
    let total_len = match reader.u16()? {
        0 => bytes.len(),
        len if trust == TotalLen::Doubtful && usize::from(len) < header_len => bytes.len(),
        len => usize::from(len),
    };
    let identification = Some(u32::from(reader.u16()?));
    let fragment = reader.u16()?;
    let (ttl, protocol) = (reader.u8()?, reader.u8()?);
    let _checksum = reader.u16()?;
    let source = IpAddr::V4(Ipv4Addr::from(reader.u32()?));
    let destination = IpAddr::V4(Ipv4Addr::from(reader.u32()?));
    if header_len < 20 || total_len < header_len {
        return Err(WireError::Malformed);
    }
    let packet = bytes.get(..total_len).unwrap_or(bytes);
    Ok(IpPacket {
        family: Family::Ipv4,
        tos,
        ttl,
        protocol,
        source,
        destination,
        total_len,
        identification,
        fragment_offset: (fragment & 0x1fff) << 3,
        more_fragments: fragment & 0x2000 != 0,
        payload: packet.get(header_len..).ok_or(WireError::Truncated)?,
    })
}

fn parse_ipv6(bytes: &[u8]) -> Result<IpPacket<'_>, WireError> {
    let mut reader = Reader::new(bytes);
    let tos = Tos::from_byte((reader.u32()? >> 20) as u8);
    let total_len = match reader.u16()? {
        0 => bytes.len(),
        len => IPV6_HEADER_LEN + usize::from(len),
    };
    let (protocol, ttl) = (reader.u8()?, reader.u8()?);
    let source = IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?));
    let destination = IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?));
    let packet = bytes.get(..total_len).unwrap_or(bytes);
    let mut parsed = IpPacket {
        family: Family::Ipv6,
        tos,
        ttl,
        protocol,
        source,
        destination,
        total_len,
        identification: None,
        fragment_offset: 0,
        more_fragments: false,
        payload: packet.get(IPV6_HEADER_LEN..).ok_or(WireError::Truncated)?,
    };
    skip_extensions(&mut parsed)?;
    Ok(parsed)
}

/// Moves protocol and payload behind the extension headers; behind a later fragment's header there are none.
fn skip_extensions(packet: &mut IpPacket<'_>) -> Result<(), WireError> {
    for _ in 0..=EXTENSIONS_MAX {
        let mut reader = Reader::new(packet.payload);
        match packet.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY => {
                let (next, len) = (reader.u8()?, reader.u8()?);
                reader.take(6 + 8 * usize::from(len))?;
                packet.protocol = next;
            }
            AUTHENTICATION => {
                // Its length counts words of four bytes, less two (RFC 4302).
                let (next, len) = (reader.u8()?, reader.u8()?);
                reader.take(6 + 4 * usize::from(len))?;
                packet.protocol = next;
            }
            FRAGMENT => {
                let (next, _reserved) = (reader.u8()?, reader.u8()?);
                let offset = reader.u16()?;
                packet.identification = Some(reader.u32()?);
                packet.fragment_offset = offset & 0xfff8;
                packet.more_fragments = offset & 1 != 0;
                packet.protocol = next;
                if packet.fragment_offset != 0 {
                    packet.payload = reader.rest();
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
        packet.payload = reader.rest();
    }
    Err(WireError::Malformed)
}

/// The Internet checksum (RFC 1071) over all parts as if they were one; every part but the last has an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        let (words, odd) = part.as_chunks::<2>();
        // 65,535 bytes sum up to less than 2^32; longer input cannot come out of an IP packet, and wraps in peace.
        for &word in words {
            sum = sum.wrapping_add(u16::from_be_bytes(word).into());
        }
        if let [last] = odd {
            sum = sum.wrapping_add(u32::from(*last) << 8);
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
