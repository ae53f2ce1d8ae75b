//! What UDP and ICMP sockets share: per-packet ToS and TTL out, ToS, TTL and kernel time in, and the error queue.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libc::c_int;
use model::{Tos, UnixNanos};
use socket2::Socket;

use crate::ancillary::{Messages, OutgoingControl, software_stamp};
use crate::batch::ReceiveBatch;
use crate::error::NetError;
use crate::sys::{self, RawAddress, SocketTimeout, check, set_option};

/// Packets handed to one sendmmsg.
const SEND_BATCH: usize = 32;
/// Longest frame read from the error queue; probes are at most 1400 bytes and their headers.
const FRAME_LEN: usize = 2048;
/// Entries of the error queue read by one call, so that a fast sender cannot keep it busy for ever.
const QUEUE_READS: usize = 1024;

/// A packet to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    pub payload: &'a [u8],
    /// `None` on a connected socket.
    pub to: Option<SocketAddr>,
    /// All eight bits go out as they are.
    pub tos: Tos,
    /// 1 to 255; `None`: the system's default.
    pub ttl: Option<u8>,
    /// Send from this address of the host (for answers: the one the packet came to); `None`: the route's choice.
    pub source: Option<IpAddr>,
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    /// Transmit stamps (or ICMP errors, where asked for) are waiting. Once in a while true though there are none.
    pub error_queue: bool,
}

/// A datagram socket of one family.
#[derive(Debug)]
pub(crate) struct Datagram {
    socket: Socket,
    ipv6: bool,
    timeout: SocketTimeout,
    refusals: AtomicU64,
    /// Raw IPv4 sockets deliver the IP header as well.
    strip_ipv4_header: bool,
}

impl Datagram {
    pub(crate) fn new(socket: Socket, ipv6: bool, strip_ipv4_header: bool) -> Datagram {
        Datagram { socket, ipv6, timeout: SocketTimeout::receive(), refusals: AtomicU64::new(0), strip_ipv4_header }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn ipv6(&self) -> bool {
        self.ipv6
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Asks for ToS and TTL of what arrives.
    pub(crate) fn show_marks(&self) -> io::Result<()> {
        let (level, options) = match self.ipv6 {
            false => (libc::SOL_IP, [libc::IP_RECVTOS, libc::IP_RECVTTL]),
            true => (libc::SOL_IPV6, [libc::IPV6_RECVTCLASS, libc::IPV6_RECVHOPLIMIT]),
        };
        options.into_iter().try_for_each(|option| set_option(self.fd(), level, option, 1))
    }

    pub(crate) fn show_destination(&self) -> io::Result<()> {
        match self.ipv6 {
            false => set_option(self.fd(), libc::SOL_IP, libc::IP_PKTINFO, 1),
            true => set_option(self.fd(), libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, 1),
        }
    }

    pub(crate) fn queue_icmp_errors(&self) -> io::Result<()> {
        match self.ipv6 {
            false => set_option(self.fd(), libc::SOL_IP, libc::IP_RECVERR, 1),
            true => set_option(self.fd(), libc::SOL_IPV6, libc::IPV6_RECVERR, 1),
        }
    }

    /// Software stamps of both directions. Without `OPT_TSONLY`: the error queue returns the frame, which tells which
    /// packet is meant even when others failed, and which mark it carried. Where net.core.tstamp_allow_data is 0 that
    /// takes CAP_NET_RAW, and no transmit stamp comes without.
    pub(crate) fn enable_stamps(&self, transmit: bool) -> io::Result<()> {
        let mut flags = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE;
        if transmit {
            flags |= libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_OPT_ID;
        }
        set_option(self.fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags as c_int)
    }

    pub(crate) fn send(&self, packet: &Outgoing<'_>) -> Result<(), NetError> {
        let mut slot = SendSlot::new(packet, self.ipv6);
        let header = slot.header();
        let send = || {
            // SAFETY: `header` points at the payload, which outlives the call, and into `slot`, which stays where it is.
            unsafe { libc::sendmsg(self.socket.as_raw_fd(), &header, libc::MSG_NOSIGNAL) }
        };
        self.with_second_try(|| if send() < 0 { Err(io::Error::last_os_error()) } else { Ok(1) })
            .map(|_| ())
            .map_err(|error| self.send_failure(packet, error))
    }

    /// Sends all, calls `failed` for each that the kernel refused, and returns how many went out.
    pub(crate) fn send_batch(&self, packets: &[Outgoing<'_>], failed: &mut dyn FnMut(usize, NetError)) -> usize {
        let mut sent = 0;
        for (chunk, packets) in packets.chunks(SEND_BATCH).enumerate() {
            let mut slots: [SendSlot; SEND_BATCH] = std::array::from_fn(|_| SendSlot::EMPTY);
            // SAFETY: mmsghdr holds integers and pointers, for which zero is a value.
            let mut headers: [libc::mmsghdr; SEND_BATCH] = unsafe { std::mem::zeroed() };
            for ((slot, header), packet) in slots.iter_mut().zip(&mut headers).zip(packets) {
                *slot = SendSlot::new(packet, self.ipv6);
                header.msg_hdr = slot.header();
            }
            let mut next = 0;
            while next < packets.len() {
                let rest = &mut headers[next..packets.len()];
                let outcome = self.with_second_try(|| {
                    // SAFETY: each header points at a payload that outlives the call and into its slot, which stays where it
                    // is; their number is the length of `rest`.
                    check(unsafe {
                        libc::sendmmsg(
                            self.socket.as_raw_fd(),
                            rest.as_mut_ptr(),
                            rest.len() as _,
                            libc::MSG_NOSIGNAL as _,
                        )
                    })
                });
                match outcome {
                    // An error behind the first packet is not told; the next call meets it as its first.
                    Ok(count) => {
                        sent += count.max(1) as usize;
                        next += count.max(1) as usize;
                    }
                    Err(error) => {
                        failed(chunk * SEND_BATCH + next, self.send_failure(&packets[next], error));
                        next += 1;
                    }
                }
            }
        }
        sent
    }

    /// An ICMP error about an earlier packet makes the next call fail without sending; that packet deserves its own try.
    /// An error that stays is this packet's own (no route, say).
    fn with_second_try(&self, mut send: impl FnMut() -> io::Result<c_int>) -> io::Result<c_int> {
        let mut reports = 0;
        loop {
            match send() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if reports < 2 && is_icmp_report(&error) => reports += 1,
                Ok(count) => {
                    self.refusals.fetch_add(reports, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }

    #[cold]
    fn send_failure(&self, packet: &Outgoing<'_>, error: io::Error) -> NetError {
        let target = packet.to.or_else(|| self.socket.peer_addr().ok()?.as_socket());
        let target = target.map_or_else(|| "the connected peer".to_owned(), |to| to.to_string());
        let hint = match error.raw_os_error() {
            Some(libc::EPERM) => Some("a packet filter of this host refused it"),
            Some(libc::EMSGSIZE) => Some("the packet is longer than the path's MTU allows"),
            Some(libc::EAFNOSUPPORT) => Some("the address is of another family than the socket"),
            _ => None,
        };
        NetError::new("sending to", target, error).with_hint(hint)
    }

    /// Waits at most `timeout` for the first packet and takes what is there. 0 on timeout, on a signal, and when the call
    /// only brought an ICMP error (counted by `refusals`).
    pub(crate) fn receive(&self, batch: &mut ReceiveBatch, timeout: Option<Duration>) -> Result<usize, NetError> {
        let failed = |error| NetError::new("receiving on", Local(&self.socket), error);
        let flags = match timeout {
            Some(Duration::ZERO) => libc::MSG_DONTWAIT,
            _ => {
                self.timeout.set(self.fd(), timeout).map_err(failed)?;
                libc::MSG_WAITFORONE
            }
        };
        batch.strip_ipv4_header = self.strip_ipv4_header;
        match batch.receive(self.socket.as_raw_fd(), flags) {
            Ok(count) => Ok(count),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            Err(error) if is_icmp_report(&error) => {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                Ok(0)
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Reads the error queue without waiting; returns how many entries `f` got.
    pub(crate) fn error_queue(&self, f: &mut dyn FnMut(QueueEvent<'_>)) -> Result<usize, NetError> {
        let mut frame = [0u8; FRAME_LEN];
        let mut control = [0u8; 512];
        let mut events = 0;
        for _ in 0..QUEUE_READS {
            let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
            let message = match sys::receive_message(self.fd(), &mut frame, &mut control, flags) {
                Ok(message) => message,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NetError::new("reading the error queue of", Local(&self.socket), error)),
            };
            let event = queue_event(&frame[..message.len], &control[..message.control_len], message.from);
            if let Some(event) = event {
                f(event);
                events += 1;
            }
        }
        Ok(events)
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Readiness, NetError> {
        let events = sys::poll(self.fd(), libc::POLLIN, timeout)
            .map_err(|error| NetError::new("waiting on", Local(&self.socket), error))?;
        let error_queue = events & libc::POLLERR != 0;
        // A pending ICMP report shows the same way and would show for ever; asking for it takes it away.
        if error_queue && self.socket.take_error().is_ok_and(|error| error.is_some()) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Readiness { readable: events & libc::POLLIN != 0, error_queue })
    }

    pub(crate) fn dropped(&self) -> Result<u32, NetError> {
        // SK_MEMINFO_DROPS is the last of nine counters; a newer kernel may know more.
        let mut counters = [0u32; 16];
        sys::get_option(self.fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, &mut counters)
            .map_err(|error| NetError::new("reading the drops of", Local(&self.socket), error))?;
        Ok(counters[libc::SK_MEMINFO_DROPS as usize])
    }
}

/// Tells stamps from ICMP errors by the origin the kernel writes.
fn queue_event<'a>(frame: &'a [u8], control: &[u8], name: Option<SocketAddr>) -> Option<QueueEvent<'a>> {
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

/// Errors that ICMP causes on a connected socket (or on any with `IP_RECVERR`): about a packet sent before, not this call.
fn is_icmp_report(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EPROTO
        )
    )
}

/// Names a socket in an error by its address.
pub(crate) struct Local<'a>(pub(crate) &'a Socket);

impl fmt::Display for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.local_addr().ok().and_then(|address| address.as_socket()) {
            Some(address) => address.fmt(f),
            None => f.write_str("a socket"),
        }
    }
}

/// What one message header points at.
#[derive(Clone, Copy)]
struct SendSlot {
    name: RawAddress,
    name_len: libc::socklen_t,
    control: OutgoingControl,
    vector: libc::iovec,
}

impl SendSlot {
    const EMPTY: SendSlot = SendSlot {
        name: RawAddress::ZERO,
        name_len: 0,
        control: OutgoingControl::EMPTY,
        vector: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
    };

    fn new(packet: &Outgoing<'_>, ipv6: bool) -> SendSlot {
        let mut slot = SendSlot::EMPTY;
        if let Some(to) = packet.to {
            (slot.name, slot.name_len) = RawAddress::from_address(to);
        }
        slot.control.fill(ipv6, packet.tos, packet.ttl, packet.source);
        // sendmsg only reads the payload, though the type of the pointer is that of recvmsg as well.
        slot.vector =
            libc::iovec { iov_base: packet.payload.as_ptr().cast_mut().cast(), iov_len: packet.payload.len() };
        slot
    }

    /// Points into this slot and at the packet's payload: valid while neither moves.
    fn header(&mut self) -> libc::msghdr {
        // SAFETY: msghdr holds integers and pointers, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        if self.name_len > 0 {
            header.msg_name = (&raw mut self.name).cast();
            header.msg_namelen = self.name_len;
        }
        header.msg_iov = &raw mut self.vector;
        header.msg_iovlen = 1;
        header.msg_control = self.control.as_mut_ptr();
        header.msg_controllen = self.control.len() as _;
        header
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
