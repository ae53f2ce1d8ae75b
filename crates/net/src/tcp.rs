//! TCP connections as probes: the ToS they are sent with, kernel times of what goes out and comes in, the marks a socket
//! shows, and the kernel's own round-trip times. For plain threads; every wait has a limit.
//!
//! TCP keeps the two ECN bits to itself: of a ToS only the DSCP is sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use libc::c_int;
use model::{Tos, UnixNanos};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::ancillary::{Incoming, Messages, software_stamp};
use crate::error::NetError;
use crate::sys::{self, SocketTimeout, get_option, set_option};
use crate::tcp_info::{self, TcpInfo};

mod listener;
pub use listener::{TcpProbeListener, own_syn};

const RECEIVE_STAMPS: u32 = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE;
/// Only on established connections: the kernel counts bytes from the moment OPT_ID is set.
const ALL_STAMPS: u32 = RECEIVE_STAMPS
    | libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_ID
    | libc::SOF_TIMESTAMPING_OPT_TSONLY;

#[derive(Clone, Debug, Default)]
pub struct TcpOptions {
    /// Connect from this address of the host.
    pub source: Option<IpAddr>,
}

/// An established connection.
#[derive(Debug)]
pub struct TcpProbe {
    socket: Socket,
    ipv6: bool,
    accepted: bool,
    receive_timeout: SocketTimeout,
    send_timeout: SocketTimeout,
    connect_time: Option<Duration>,
    saved_syn: Vec<u8>,
}

/// What one read brought.
#[derive(Clone, Copy, Debug)]
pub struct TcpReceived {
    /// 0: the peer closed.
    pub length: usize,
    /// When the segment with the last of these bytes arrived; the kernel's, unshifted.
    pub stamp: Option<UnixNanos>,
}

/// When bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTransmitStamp {
    /// Position of the last byte of one `send`, counted from 0 over all that was sent. A retransmission gives another stamp
    /// for the same byte: the first counts.
    pub last_byte: u32,
    /// The kernel's, unshifted.
    pub stamp: UnixNanos,
}

/// Which packet of the peer a mark was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkOf {
    /// The ACK that ended the handshake.
    HandshakeAck,
    /// The latest that was received in order.
    LatestPacket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedMark {
    pub tos: Tos,
    pub ttl: Option<u8>,
    pub of: MarkOf,
}

impl TcpProbe {
    /// The SYN and all that follows carry the ToS's DSCP.
    pub fn connect(to: SocketAddr, tos: Tos, timeout: Duration, options: &TcpOptions) -> Result<TcpProbe, NetError> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            set_tos(&socket, to.is_ipv6(), tos)?;
            show_marks(&socket, to.is_ipv6())?;
            set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, RECEIVE_STAMPS as c_int)?;
            if let Some(source) = options.source {
                socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
            }
            let started = Instant::now();
            socket.connect_timeout(&SockAddr::from(to), timeout.max(Duration::from_millis(1)))?;
            let taken = started.elapsed();
            TcpProbe::established(socket, to.is_ipv6(), Some(taken), Vec::new())
        };
        connect().map_err(|error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::ConnectionRefused => Some("nothing listens there, or a firewall refuses"),
                _ => None,
            };
            NetError::new("connecting to", to, error).with_hint(hint)
        })
    }

    fn established(
        socket: Socket,
        ipv6: bool,
        connect_time: Option<Duration>,
        saved_syn: Vec<u8>,
    ) -> io::Result<TcpProbe> {
        socket.set_nonblocking(false)?;
        socket.set_tcp_nodelay(true)?;
        set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, ALL_STAMPS as c_int)?;
        Ok(TcpProbe {
            socket,
            ipv6,
            accepted: connect_time.is_none(),
            receive_timeout: SocketTimeout::receive(),
            send_timeout: SocketTimeout::send(),
            connect_time,
            saved_syn,
        })
    }

    pub fn local_addr(&self) -> Result<SocketAddr, NetError> {
        address(self.socket.local_addr(), "asking for the local address of")
    }

    pub fn peer_addr(&self) -> Result<SocketAddr, NetError> {
        address(self.socket.peer_addr(), "asking for the peer of")
    }

    /// From the call to its return, in user space; [`TcpInfo::min_rtt`] is the kernel's. `None` on an accepted connection.
    pub fn connect_time(&self) -> Option<Duration> {
        self.connect_time
    }

    /// Of everything sent from now on.
    pub fn set_tos(&self, tos: Tos) -> Result<(), NetError> {
        set_tos(&self.socket, self.ipv6, tos).map_err(|error| self.failed("setting the ToS of", error))
    }

    /// Sends all of it, in one segment where it fits one.
    pub fn send(&self, bytes: &[u8], timeout: Duration) -> Result<(), NetError> {
        let failed = |error| self.failed("sending to", error);
        let started = Instant::now();
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            self.send_timeout.set(self.socket.as_fd(), Some(left)).map_err(failed)?;
            match self.socket.send_with_flags(rest, libc::MSG_NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Waits at most `timeout` for bytes. When the time is over: an error with [`NetError::is_timeout`].
    pub fn receive(&self, buffer: &mut [u8], timeout: Duration) -> Result<TcpReceived, NetError> {
        let failed = |error| self.failed("receiving from", error);
        let started = Instant::now();
        let mut control = [0u8; 256];
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let flags = if left.is_zero() { libc::MSG_DONTWAIT } else { 0 };
            if !left.is_zero() {
                self.receive_timeout.set(self.socket.as_fd(), Some(left)).map_err(failed)?;
            }
            match sys::receive_message(self.socket.as_fd(), buffer, &mut control, flags) {
                Ok(message) => {
                    let stamp = Incoming::parse(&control[..message.control_len]).stamp;
                    return Ok(TcpReceived { length: message.len, stamp });
                }
                Err(error) if left.is_zero() && error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(failed(io::ErrorKind::TimedOut.into()));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Takes the transmit stamps that are there, without waiting. Returns how many.
    pub fn transmit_stamps(&self, f: &mut dyn FnMut(TcpTransmitStamp)) -> Result<usize, NetError> {
        let mut control = [0u8; 256];
        let mut stamps = 0;
        loop {
            let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
            let message = match sys::receive_message(self.socket.as_fd(), &mut [], &mut control, flags) {
                Ok(message) => message,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(stamps),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed("reading the error queue of the connection with", error)),
            };
            if let Some(stamp) = transmit_stamp(&control[..message.control_len]) {
                stamps += 1;
                f(stamp);
            }
        }
    }

    /// Waits until a transmit stamp is there. `false`: the time is over, or both sides have closed. An error if the
    /// connection broke. Received bytes do not end the wait.
    pub fn wait_transmit_stamp(&self, timeout: Duration) -> Result<bool, NetError> {
        let failed = |error| self.failed("waiting on the connection with", error);
        let events = sys::poll(self.socket.as_fd(), 0, Some(timeout)).map_err(failed)?;
        if events & libc::POLLERR == 0 {
            return Ok(false);
        }
        match self.socket.take_error().map_err(failed)? {
            Some(error) => Err(failed(error)),
            None => Ok(true),
        }
    }

    /// The mark of the peer's packets, as far as a socket shows it. IPv6: of the latest packet. IPv4: of the ACK that ended
    /// the handshake, and only where the connection was accepted; `None` otherwise.
    pub fn received_mark(&self) -> Result<Option<ReceivedMark>, NetError> {
        if !self.ipv6 && !self.accepted {
            return Ok(None);
        }
        let (level, option) = match self.ipv6 {
            false => (libc::SOL_IP, libc::IP_PKTOPTIONS),
            true => (libc::SOL_IPV6, libc::IPV6_2292PKTOPTIONS),
        };
        let mut control = [0u8; 256];
        let length = get_option(self.socket.as_fd(), level, option, &mut control)
            .map_err(|error| self.failed("reading the received mark of the connection with", error))?;
        let seen = Incoming::parse(&control[..length]);
        let of = if self.ipv6 { MarkOf::LatestPacket } else { MarkOf::HandshakeAck };
        Ok(seen.tos.map(|tos| ReceivedMark { tos, ttl: seen.ttl, of }))
    }

    pub fn info(&self) -> Result<TcpInfo, NetError> {
        tcp_info::read(self.socket.as_fd())
    }

    /// IP and TCP header of the SYN that opened an accepted connection (`wire::frame::tcp_in_frame`). Empty where the kernel
    /// kept none: it answered with a SYN cookie, or this side connected.
    pub fn saved_syn(&self) -> &[u8] {
        &self.saved_syn
    }

    /// ToS and TTL the SYN arrived with. Its ECN bits say whether the peer set them, not what became of TCP's own.
    pub fn syn_mark(&self) -> Option<(Tos, u8)> {
        let packet = wire::frame::IpPacket::parse(&self.saved_syn).ok()?;
        Some((packet.tos, packet.ttl))
    }

    /// For a stream of many bytes: no stamps, which the kernel would queue for every write, and no more than this many bytes that wait
    /// in the socket beside those on their way.
    pub fn prepare_bulk(&self, unsent: u32) -> Result<(), NetError> {
        let unsent = c_int::try_from(unsent).unwrap_or(c_int::MAX);
        set_option(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, 0)
            .and_then(|()| set_option(self.socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, unsent))
            .map_err(|error| self.failed("setting up the stream to", error))
    }

    /// Sends what there is room for, at least one byte, unless the time is over: an error with [`NetError::is_timeout`].
    pub fn send_some(&self, bytes: &[u8], timeout: Duration) -> Result<usize, NetError> {
        let failed = |error| self.failed("sending to", error);
        if timeout.is_zero() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        self.send_timeout.set(self.socket.as_fd(), Some(timeout)).map_err(failed)?;
        match self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(failed(io::ErrorKind::TimedOut.into())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }

    pub fn shutdown_write(&self) -> Result<(), NetError> {
        self.socket
            .shutdown(std::net::Shutdown::Write)
            .map_err(|error| self.failed("closing the connection with", error))
    }

    #[cold]
    fn failed(&self, operation: &'static str, error: io::Error) -> NetError {
        let peer = self.socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        NetError::new(operation, peer.map_or_else(|| "a closed connection".to_owned(), |peer| peer.to_string()), error)
    }
}

impl AsFd for TcpProbe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn transmit_stamp(control: &[u8]) -> Option<TcpTransmitStamp> {
    let mut stamp = None;
    let mut last_byte = None;
    for (level, kind, data) in Messages::new(control) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => stamp = software_stamp(data),
            // struct sock_extended_err: the origin at 4, the byte's position at 12.
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
                if data.get(4) == Some(&libc::SO_EE_ORIGIN_TIMESTAMPING) =>
            {
                last_byte = data.get(12..).and_then(|data| data.first_chunk()).map(|id| u32::from_ne_bytes(*id));
            }
            _ => {}
        }
    }
    Some(TcpTransmitStamp { last_byte: last_byte?, stamp: stamp? })
}

fn set_tos(socket: &Socket, ipv6: bool, tos: Tos) -> io::Result<()> {
    let (level, option) = match ipv6 {
        false => (libc::SOL_IP, libc::IP_TOS),
        true => (libc::SOL_IPV6, libc::IPV6_TCLASS),
    };
    set_option(socket.as_fd(), level, option, c_int::from(tos.byte()))
}

fn show_marks(socket: &Socket, ipv6: bool) -> io::Result<()> {
    let (level, options) = match ipv6 {
        false => (libc::SOL_IP, [libc::IP_RECVTOS, libc::IP_RECVTTL]),
        true => (libc::SOL_IPV6, [libc::IPV6_RECVTCLASS, libc::IPV6_RECVHOPLIMIT]),
    };
    options.into_iter().try_for_each(|option| set_option(socket.as_fd(), level, option, 1))
}

fn address(found: io::Result<SockAddr>, operation: &'static str) -> Result<SocketAddr, NetError> {
    found
        .and_then(|address| address.as_socket().ok_or(io::ErrorKind::InvalidData.into()))
        .map_err(|error| NetError::new(operation, "a TCP socket", error))
}
