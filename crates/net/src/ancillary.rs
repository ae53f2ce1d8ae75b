//! Control messages (cmsg(3)) as bytes: what accompanies a packet out of and into a socket.
//! Written and read without pointers, so that malformed lengths can only end the list.
//!
//! ```text
//! | length, header included (usize) | level (int) | type (int) | data | padding to a usize | next ...
//! ```

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::c_int;
use model::{Tos, UnixNanos};

const HEADER: usize = size_of::<libc::cmsghdr>();
const LEVEL: usize = offset_of!(libc::cmsghdr, cmsg_level);
const KIND: usize = offset_of!(libc::cmsghdr, cmsg_type);
/// Of `struct __kernel_old_timespec`: two longs.
const TIMESPEC: usize = 2 * LONG;
const LONG: usize = size_of::<libc::c_long>();

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

/// Room that one message with `data` bytes takes.
pub(crate) const fn space(data: usize) -> usize {
    aligned(HEADER) + aligned(data)
}

/// Enough for ToS, TTL and an IPv6 source address.
const OUTGOING: usize = space(4) + space(4) + space(20);

/// Control messages of one packet to send.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct OutgoingControl {
    bytes: [u8; OUTGOING],
    len: usize,
}

impl OutgoingControl {
    pub(crate) const EMPTY: OutgoingControl = OutgoingControl { bytes: [0; OUTGOING], len: 0 };

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let message = &mut self.bytes[self.len..self.len + space(data.len())];
        message[..size_of::<usize>()].copy_from_slice(&(aligned(HEADER) + data.len()).to_ne_bytes());
        message[LEVEL..LEVEL + 4].copy_from_slice(&level.to_ne_bytes());
        message[KIND..KIND + 4].copy_from_slice(&kind.to_ne_bytes());
        message[aligned(HEADER)..aligned(HEADER) + data.len()].copy_from_slice(data);
        self.len += space(data.len());
    }

    /// What makes this packet differ from the socket's defaults.
    pub(crate) fn fill(&mut self, ipv6: bool, tos: Tos, ttl: Option<u8>, source: Option<IpAddr>) {
        self.len = 0;
        let tos = c_int::from(tos.byte()).to_ne_bytes();
        let ttl = ttl.map(|ttl| c_int::from(ttl).to_ne_bytes());
        let (level, tos_kind, ttl_kind) = match ipv6 {
            false => (libc::SOL_IP, libc::IP_TOS, libc::IP_TTL),
            true => (libc::SOL_IPV6, libc::IPV6_TCLASS, libc::IPV6_HOPLIMIT),
        };
        self.push(level, tos_kind, &tos);
        if let Some(ttl) = ttl {
            self.push(level, ttl_kind, &ttl);
        }
        match source {
            // struct in_pktinfo: interface index, the address to send from, and one the kernel ignores.
            Some(IpAddr::V4(source)) if !ipv6 => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&source.octets());
                self.push(libc::SOL_IP, libc::IP_PKTINFO, &info);
            }
            // struct in6_pktinfo: address, interface index.
            Some(IpAddr::V6(source)) if ipv6 => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&source.octets());
                self.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
    }
}

/// The messages in what the kernel wrote: level, type, data.
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) fn new(control: &'a [u8]) -> Messages<'a> {
        Messages(control)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = (c_int, c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..aligned(HEADER))?;
        let length = usize::from_ne_bytes(*header.first_chunk()?);
        let data = self.0.get(aligned(HEADER)..length)?;
        let level = c_int::from_ne_bytes(*header[LEVEL..].first_chunk()?);
        let kind = c_int::from_ne_bytes(*header[KIND..].first_chunk()?);
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((level, kind, data))
    }
}

/// What the kernel tells about one received packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) to: Option<IpAddr>,
    pub(crate) tos: Option<Tos>,
    pub(crate) ttl: Option<u8>,
    pub(crate) stamp: Option<UnixNanos>,
}

impl Incoming {
    pub(crate) fn parse(control: &[u8]) -> Incoming {
        let mut seen = Incoming::default();
        for (level, kind, data) in Messages::new(control) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => seen.stamp = software_stamp(data),
                // The kernel writes IPv4's ToS as one byte and IPv6's as an int.
                (libc::SOL_IP, libc::IP_TOS) => seen.tos = data.first().copied().map(Tos::from_byte),
                (libc::SOL_IPV6, libc::IPV6_TCLASS) => seen.tos = small(data).map(Tos::from_byte),
                (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => seen.ttl = small(data),
                // ipi_addr, the address in the packet's header, stands last.
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    seen.to = data.get(8..12).and_then(|a| a.first_chunk::<4>()).map(|a| Ipv4Addr::from(*a).into());
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                    seen.to = data.first_chunk::<16>().map(|a| Ipv6Addr::from(*a).into());
                }
                _ => {}
            }
        }
        seen
    }
}

/// An int that holds a byte.
fn small(data: &[u8]) -> Option<u8> {
    u8::try_from(c_int::from_ne_bytes(*data.first_chunk()?)).ok()
}

/// The first of `struct scm_timestamping`'s three; the kernel writes zero where it has none.
pub(crate) fn software_stamp(data: &[u8]) -> Option<UnixNanos> {
    let spec = data.get(..TIMESPEC)?;
    let seconds = i64::from(libc::c_long::from_ne_bytes(*spec.first_chunk::<LONG>()?));
    let nanoseconds = i64::from(libc::c_long::from_ne_bytes(*spec[LONG..].first_chunk::<LONG>()?));
    let total = seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?;
    (total != 0).then_some(UnixNanos(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_libcs_macros_read() {
        let mut control = OutgoingControl::EMPTY;
        control.fill(true, Tos::from_byte(0xb9), Some(7), Some("2001:db8::5".parse().unwrap()));
        // SAFETY: zero is a value of msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_control = control.as_mut_ptr();
        header.msg_controllen = control.len() as _;
        let mut seen = Vec::new();
        // SAFETY: the control buffer is alive, aligned, and as long as the header says.
        unsafe {
            let mut at = libc::CMSG_FIRSTHDR(&header);
            while !at.is_null() {
                let length = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = std::slice::from_raw_parts(libc::CMSG_DATA(at), length).to_vec();
                seen.push(((*at).cmsg_level, (*at).cmsg_type, data));
                at = libc::CMSG_NXTHDR(&header, at);
            }
        }
        let mut info = "2001:db8::5".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        info.extend([0; 4]);
        let expected = vec![
            (libc::SOL_IPV6, libc::IPV6_TCLASS, 0xb9i32.to_ne_bytes().to_vec()),
            (libc::SOL_IPV6, libc::IPV6_HOPLIMIT, 7i32.to_ne_bytes().to_vec()),
            (libc::SOL_IPV6, libc::IPV6_PKTINFO, info),
        ];
        assert_eq!(seen, expected);
        let own: Vec<_> = Messages::new(&control.bytes[..control.len])
            .map(|(level, kind, data)| (level, kind, data.to_vec()))
            .collect();
        assert_eq!(own, expected);
    }

    #[test]
    fn broken_lengths_end_the_list() {
        for length in [0usize, 3, 15, 1000, usize::MAX] {
            let mut control = [0u8; 40];
            control[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
            assert!(Messages::new(&control).count() <= 1);
            assert_eq!(Incoming::parse(&control), Incoming::default());
        }
    }

    #[test]
    fn a_zero_stamp_is_none() {
        assert_eq!(software_stamp(&[0; 48]), None);
        assert_eq!(software_stamp(&[1; 7]), None);
        let mut data = [0; 48];
        data[..LONG].copy_from_slice(&(5 as libc::c_long).to_ne_bytes());
        data[LONG..2 * LONG].copy_from_slice(&(7 as libc::c_long).to_ne_bytes());
        assert_eq!(software_stamp(&data), Some(UnixNanos(5_000_000_007)));
    }
}
