//! What a datagram socket's error queue holds: transmit stamps with the frames that left, and ICMP errors.

use std::net::{IpAddr, SocketAddr};

use libc::c_int;
use model::UnixNanos;

use crate::ancillary::{Messages, software_stamp};

/// When a packet left, and what left.
#[derive(Clone, Copy, Debug)]
pub struct TransmitStamp<'a> {
    /// The kernel's, unshifted (see [`crate::Clock::stamp`]): taken as the driver takes the packet.
    pub stamp: UnixNanos,
    /// The frame as it was handed to the driver: link-layer header (where the interface has one), IP and so on. Shows the
    /// mark that really was sent, after any rewriting by this host. `wire::frame::udp_in_frame` reads it.
    pub frame: &'a [u8],
    /// Counts packets handed to the kernel, from 0. A hint only: packets the kernel then refused were counted as well.
    pub id: u32,
}

/// An ICMP error about a packet of this socket (`UdpOptions::icmp_errors`). It does not show the mark that was quoted:
/// that takes [`crate::icmp::IcmpListener`].
#[derive(Clone, Copy, Debug)]
pub struct IcmpError<'a> {
    /// As much of the packet's payload as was quoted.
    pub payload: &'a [u8],
    /// Where the packet was going.
    pub to: Option<SocketAddr>,
    /// Who answered.
    pub offender: Option<IpAddr>,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub errno: i32,
    /// The MTU, of "too big".
    pub info: u32,
    /// When it came; kernel's, unshifted.
    pub stamp: Option<UnixNanos>,
}

/// An entry of a socket's error queue.
#[derive(Clone, Copy, Debug)]
pub enum QueueEvent<'a> {
    Transmit(TransmitStamp<'a>),
    Icmp(IcmpError<'a>),
}

/// Tells stamps from ICMP errors by the origin the kernel writes.
pub(crate) fn queue_event<'a>(frame: &'a [u8], control: &[u8], name: Option<SocketAddr>) -> Option<QueueEvent<'a>> {
    let mut stamp = None;
    let mut report = None;
    for (level, kind, data) in Messages::new(control) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => stamp = software_stamp(data),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => report = Some(data),
            _ => {}
        }
    }
    // struct sock_extended_err: errno (u32), origin, type, code, pad (u8 each), info, data (u32 each); the offender behind.
    let (head, offender) = report?.split_at_checked(16)?;
    let word = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    match head[4] {
        libc::SO_EE_ORIGIN_TIMESTAMPING => {
            Some(QueueEvent::Transmit(TransmitStamp { stamp: stamp?, frame, id: word(12) }))
        }
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => Some(QueueEvent::Icmp(IcmpError {
            payload: frame,
            to: name,
            offender: address_in(offender),
            icmp_type: head[5],
            icmp_code: head[6],
            errno: word(0) as i32,
            info: word(8),
            stamp,
        })),
        _ => None,
    }
}

/// The address in a sockaddr of either family.
fn address_in(bytes: &[u8]) -> Option<IpAddr> {
    match c_int::from(u16::from_ne_bytes(*bytes.first_chunk()?)) {
        libc::AF_INET => bytes.get(4..8)?.first_chunk::<4>().map(|a| IpAddr::from(*a)),
        libc::AF_INET6 => bytes.get(8..24)?.first_chunk::<16>().map(|a| IpAddr::from(*a)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_timestamping_origin_is_a_stamp() {
        let entry = |origin: u8, with_stamp: bool| {
            let mut control = Vec::new();
            let mut push = |level: c_int, kind: c_int, data: &[u8]| {
                control.extend((16 + data.len()).to_ne_bytes());
                control.extend(level.to_ne_bytes());
                control.extend(kind.to_ne_bytes());
                control.extend(data);
            };
            if with_stamp {
                let mut stamps = [0u8; 48];
                stamps[0] = 9;
                push(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &stamps);
            }
            let mut report = [0u8; 32];
            report[4] = origin;
            report[5] = 11;
            report[12] = 3;
            report[16] = libc::AF_INET as u8;
            report[20..24].copy_from_slice(&[10, 0, 0, 7]);
            push(libc::SOL_IP, libc::IP_RECVERR, &report);
            control
        };
        let control = entry(libc::SO_EE_ORIGIN_TIMESTAMPING, true);
        let Some(QueueEvent::Transmit(stamp)) = queue_event(b"frame", &control, None) else { panic!("no stamp") };
        assert_eq!((stamp.stamp, stamp.id, stamp.frame), (UnixNanos(9_000_000_000), 3, &b"frame"[..]));
        assert!(queue_event(b"", &entry(libc::SO_EE_ORIGIN_TIMESTAMPING, false), None).is_none());
        let control = entry(libc::SO_EE_ORIGIN_ICMP, true);
        let Some(QueueEvent::Icmp(error)) = queue_event(b"quoted", &control, None) else { panic!("no error") };
        assert_eq!((error.icmp_type, error.offender), (11, Some("10.0.0.7".parse().unwrap())));
        assert!(queue_event(b"", &entry(libc::SO_EE_ORIGIN_LOCAL, true), None).is_none());
    }
}
