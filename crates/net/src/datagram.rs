//! What UDP and ICMP sockets share: per-packet ToS and TTL out, ToS, TTL and kernel time in, and the error queue.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libc::c_int;
use model::Tos;
use socket2::Socket;

use crate::ancillary::OutgoingControl;
use crate::batch::ReceiveBatch;
use crate::error::NetError;
use crate::error_queue::{QueueEvent, queue_event};
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
        Ok(self.readiness(events & libc::POLLIN != 0, events & libc::POLLERR != 0))
    }

    /// As poll(2) reported it.
    pub(crate) fn readiness(&self, readable: bool, error_queue: bool) -> Readiness {
        // A pending ICMP report shows the same way and would show for ever; asking for it takes it away.
        if error_queue && self.socket.take_error().is_ok_and(|error| error.is_some()) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
        Readiness { readable, error_queue }
    }

    pub(crate) fn dropped(&self) -> Result<u32, NetError> {
        // SK_MEMINFO_DROPS is the last of nine counters; a newer kernel may know more.
        let mut counters = [0u32; 16];
        sys::get_option(self.fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, &mut counters)
            .map_err(|error| NetError::new("reading the drops of", Local(&self.socket), error))?;
        Ok(counters[libc::SK_MEMINFO_DROPS as usize])
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
