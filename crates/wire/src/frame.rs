//! From a captured frame to UDP and TCP: what a capture, a transmit stamp's copy or a saved SYN shows.
//!
//! ```text
//! Ethernet II    destination (6)  source (6)  EtherType (2)            payload
//! 802.1Q         destination (6)  source (6)  0x8100 (2)  tag (2)  EtherType (2)  payload, also doubled (802.1ad)
//!
//! UDP (RFC 768)  source port (2)  destination port (2)  length (2)  checksum (2)
//!
//! TCP (RFC 9293)
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          source port          |       destination port        |
//! |                        sequence number                        |
//! |                     acknowledgement number                    |
//! | offset|rsrvd|A|C|E|U|A|P|R|S|F|            window             |
//! |           checksum            |        urgent pointer         |  options
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::bytes::Reader;
use crate::error::WireError;
pub use crate::ip::{Family, IpPacket, protocol};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const TAGS_MAX: usize = 2;

const UDP_HEADER_LEN: usize = 8;
const TCP_HEADER_LEN: usize = 20;

/// What precedes the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// Ethernet II, with up to two VLAN tags.
    Ethernet,
    /// Nothing: tunnels, and `SOCK_DGRAM` packet sockets.
    None,
}

/// The IP packet in a frame of a known link layer. [`WireError::Unsupported`] for another protocol than IP.
pub fn ip_in_link(link: LinkLayer, frame: &[u8]) -> Result<IpPacket<'_>, WireError> {
    let LinkLayer::Ethernet = link else { return IpPacket::parse(frame) };
    let mut reader = Reader::new(frame);
    reader.take(12)?;
    let mut ether_type = reader.u16()?;
    for _ in 0..TAGS_MAX {
        if ether_type != VLAN && ether_type != SERVICE_VLAN {
            break;
        }
        let _tag = reader.u16()?;
        ether_type = reader.u16()?;
    }
    let packet = match ether_type {
        IPV4 | IPV6 => IpPacket::parse(reader.rest())?,
        _ => return Err(WireError::Unsupported),
    };
    match (ether_type, packet.family) {
        (IPV4, Family::Ipv4) | (IPV6, Family::Ipv6) => Ok(packet),
        _ => Err(WireError::Malformed),
    }
}

/// The IP packet in a frame of an unknown link layer, as a socket's error queue returns it.
///
/// Ethernet if that makes a complete packet of it, else bare IP if that does; a packet cut short is taken for Ethernet
/// first.
pub fn ip_in_frame(frame: &[u8]) -> Result<IpPacket<'_>, WireError> {
    let is_complete = |packet: &IpPacket<'_>| packet.total_len <= frame.len();
    let as_ethernet = ip_in_link(LinkLayer::Ethernet, frame);
    if as_ethernet.is_ok_and(|packet| is_complete(&packet)) {
        return as_ethernet;
    }
    match (IpPacket::parse(frame), as_ethernet) {
        (Ok(bare), _) if is_complete(&bare) => Ok(bare),
        (_, Ok(ethernet)) => Ok(ethernet),
        // It does not even begin like a packet.
        (Err(WireError::Malformed), error) => error,
        (as_bare, _) => as_bare,
    }
}

/// The IP packet and UDP datagram in a frame of an unknown link layer.
pub fn udp_in_frame(frame: &[u8]) -> Result<(IpPacket<'_>, UdpView<'_>), WireError> {
    let packet = ip_in_frame(frame)?;
    Ok((packet, packet.udp()?))
}

/// The IP packet and TCP segment in a frame of an unknown link layer, or in what `TCP_SAVED_SYN` gives.
pub fn tcp_in_frame(frame: &[u8]) -> Result<(IpPacket<'_>, TcpView<'_>), WireError> {
    let packet = ip_in_frame(frame)?;
    Ok((packet, packet.tcp()?))
}

impl<'a> IpPacket<'a> {
    /// The datagram in the packet. [`WireError::Unsupported`] for another protocol, or a fragment that is not the
    /// first.
    pub fn udp(&self) -> Result<UdpView<'a>, WireError> {
        if self.protocol != protocol::UDP || !self.is_first_fragment() {
            return Err(WireError::Unsupported);
        }
        UdpView::parse(self.payload)
    }

    /// The segment in the packet. [`WireError::Unsupported`] for another protocol, or a fragment that is not the first.
    pub fn tcp(&self) -> Result<TcpView<'a>, WireError> {
        if self.protocol != protocol::TCP || !self.is_first_fragment() {
            return Err(WireError::Unsupported);
        }
        TcpView::parse(self.payload)
    }
}

/// A UDP datagram, as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpView<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    /// Header and payload in bytes, as the header says; of the whole datagram, if this is its first fragment.
    pub length: u16,
    /// May end early, where the capture or the fragment does.
    pub payload: &'a [u8],
}

impl<'a> UdpView<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<UdpView<'a>, WireError> {
        let mut reader = Reader::new(bytes);
        let (source_port, destination_port, length) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let _checksum = reader.u16()?;
        let payload_len = usize::from(length).checked_sub(UDP_HEADER_LEN).ok_or(WireError::Malformed)?;
        let payload = reader.rest();
        let payload = payload.get(..payload_len).unwrap_or(payload);
        Ok(UdpView { source_port, destination_port, length, payload })
    }
}

/// The flags of a TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    pub const FIN: TcpFlags = TcpFlags(0x001);
    pub const SYN: TcpFlags = TcpFlags(0x002);
    pub const RST: TcpFlags = TcpFlags(0x004);
    pub const PSH: TcpFlags = TcpFlags(0x008);
    pub const ACK: TcpFlags = TcpFlags(0x010);
    pub const URG: TcpFlags = TcpFlags(0x020);
    /// ECN echo (RFC 3168).
    pub const ECE: TcpFlags = TcpFlags(0x040);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: TcpFlags = TcpFlags(0x080);
    /// Accurate ECN, formerly NS (RFC 9768).
    pub const AE: TcpFlags = TcpFlags(0x100);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: TcpFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A TCP segment, as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpView<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: TcpFlags,
    /// Unscaled.
    pub window: u16,
    /// The options' bytes with their padding.
    pub option_bytes: &'a [u8],
    /// May end early, where the capture does.
    pub payload: &'a [u8],
}

impl<'a> TcpView<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<TcpView<'a>, WireError> {
        let mut reader = Reader::new(bytes);
        let (source_port, destination_port) = (reader.u16()?, reader.u16()?);
        let (sequence, acknowledgement) = (reader.u32()?, reader.u32()?);
        let offset_and_flags = reader.u16()?;
        let window = reader.u16()?;
        let _checksum_and_urgent_pointer = reader.u32()?;
        let header_len = usize::from(offset_and_flags >> 12) * 4;
        let options_len = header_len.checked_sub(TCP_HEADER_LEN).ok_or(WireError::Malformed)?;
        let option_bytes = reader.take(options_len)?;
        Ok(TcpView {
            source_port,
            destination_port,
            sequence,
            acknowledgement,
            flags: TcpFlags(offset_and_flags & 0x01ff),
            window,
            option_bytes,
            payload: reader.rest(),
        })
    }

    /// The options in their order, up to the end of the list or the first that is malformed.
    pub fn options(&self) -> TcpOptions<'a> {
        TcpOptions(Reader::new(self.option_bytes))
    }

    /// Maximum segment size, of a SYN.
    pub fn mss(&self) -> Option<u16> {
        self.options().find_map(|option| match option {
            TcpOption::Mss(mss) => Some(mss),
            _ => None,
        })
    }

    /// Bits to shift the window by, of a SYN.
    pub fn window_scale(&self) -> Option<u8> {
        self.options().find_map(|option| match option {
            TcpOption::WindowScale(scale) => Some(scale),
            _ => None,
        })
    }

    /// Selective acknowledgement is permitted, of a SYN.
    pub fn sack_permitted(&self) -> bool {
        self.options().any(|option| option == TcpOption::SackPermitted)
    }

    /// Value and echo (RFC 7323).
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        self.options().find_map(|option| match option {
            TcpOption::Timestamps { value, echo } => Some((value, echo)),
            _ => None,
        })
    }

    /// The kinds of the options in their order: a SYN's fingerprint, which a proxy's own SYN rarely has.
    pub fn option_kinds(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.options().map(|option| option.kind())
    }
}

/// One TCP option. A kind whose length is wrong is [`TcpOption::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    NoOperation,
    Mss(u16),
    WindowScale(u8),
    SackPermitted,
    Timestamps { value: u32, echo: u32 },
    Other { kind: u8, data: &'a [u8] },
}

impl TcpOption<'_> {
    pub const fn kind(&self) -> u8 {
        match self {
            TcpOption::NoOperation => 1,
            TcpOption::Mss(_) => 2,
            TcpOption::WindowScale(_) => 3,
            TcpOption::SackPermitted => 4,
            TcpOption::Timestamps { .. } => 8,
            TcpOption::Other { kind, .. } => *kind,
        }
    }
}

/// See [`TcpView::options`].
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions<'a>(Reader<'a>);

impl<'a> Iterator for TcpOptions<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        let mut ahead = self.0;
        let option = match ahead.u8().ok()? {
            0 => None,
            1 => Some(TcpOption::NoOperation),
            kind => {
                // The length counts kind and length as well.
                let len = ahead.u8().ok().and_then(|len| len.checked_sub(2));
                len.and_then(|len| ahead.take(len.into()).ok()).map(|data| match (kind, data) {
                    (2, &[a, b]) => TcpOption::Mss(u16::from_be_bytes([a, b])),
                    (3, &[scale]) => TcpOption::WindowScale(scale),
                    (4, &[]) => TcpOption::SackPermitted,
                    (8, &[a, b, c, d, e, f, g, h]) => TcpOption::Timestamps {
                        value: u32::from_be_bytes([a, b, c, d]),
                        echo: u32::from_be_bytes([e, f, g, h]),
                    },
                    _ => TcpOption::Other { kind, data },
                })
            }
        };
        self.0 = if option.is_some() { ahead } else { Reader::new(&[]) };
        option
    }
}
