//! ICMP: echo requests with a ToS and TTL of their own, and the errors that routers send back.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use model::{Family, Tos, UnixNanos};
use socket2::{Domain, Protocol, Socket, Type};
use wire::icmp::{Echo, EchoKind, IcmpMessage, build_echo, parse_icmp};

use crate::batch::ReceiveBatch;
use crate::datagram::{Datagram, Outgoing, Readiness};
use crate::error::NetError;
use crate::error_queue::QueueEvent;
use crate::sys::{self, set_option};

/// linux/icmp.h and linux/icmpv6.h; libc lacks both.
const ICMP_FILTER: libc::c_int = 1;
const ICMPV6_FILTER: libc::c_int = 1;

const RECEIVE_BUFFER: usize = 1 << 20;
/// As `ping` sends.
const ECHO_DATA: usize = 56;

/// Sends echo requests and receives their answers. Unprivileged where net.ipv4.ping_group_range allows it (for IPv6 as
/// well, despite its name), raw with CAP_NET_RAW where not.
#[derive(Debug)]
pub struct EchoSocket {
    inner: Datagram,
    family: Family,
    /// A raw socket's; an unprivileged one has its port, which the kernel writes and tests.
    identifier: u16,
    raw: bool,
}

/// An answer to a request of this socket.
#[derive(Clone, Copy, Debug)]
pub struct EchoReply<'a> {
    pub from: IpAddr,
    pub sequence: u16,
    pub data: &'a [u8],
    /// As received. The far kernel copied it from the request as it arrived there, so it tells of both ways together.
    pub tos: Option<Tos>,
    pub ttl: Option<u8>,
    /// The kernel's, unshifted (see [`crate::Clock::stamp`]).
    pub stamp: Option<UnixNanos>,
}

/// When a request left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoStamp {
    pub sequence: u16,
    pub to: IpAddr,
    /// As sent.
    pub tos: Tos,
    /// The kernel's, unshifted.
    pub stamp: UnixNanos,
}

impl EchoSocket {
    pub fn open(family: Family) -> Result<EchoSocket, NetError> {
        let (domain, protocol) = parts(family);
        let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, false),
            Err(first) => match Socket::new(domain, Type::RAW, Some(protocol)) {
                Ok(socket) => (socket, true),
                Err(_) => {
                    let hint = match first.raw_os_error() {
                        Some(libc::EACCES | libc::EPERM) => Some(
                            "allow it by the sysctl net.ipv4.ping_group_range, e.g. \"0 2147483647\", or give CAP_NET_RAW",
                        ),
                        _ => None,
                    };
                    return Err(NetError::new("opening an ICMP echo socket for", family.name(), first).with_hint(hint));
                }
            },
        };
        let inner = Datagram::new(socket, family == Family::Ipv6, raw && family == Family::Ipv4);
        let prepare = || {
            if raw {
                let reply = if family == Family::Ipv4 { 0 } else { 129 };
                accept_only(&inner, &[reply])?;
            } else {
                // An unprivileged socket gets its identifier when it is bound.
                inner.socket().bind(&SocketAddr::new(unspecified(family), 0).into())?;
            }
            sys::set_receive_buffer(inner.fd(), RECEIVE_BUFFER)?;
            inner.show_marks()?;
            inner.enable_stamps(true)
        };
        prepare().map_err(|error| NetError::new("preparing an ICMP echo socket for", family.name(), error))?;
        Ok(EchoSocket { inner, family, identifier: fresh_identifier(), raw })
    }

    /// Whether it took CAP_NET_RAW.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    pub fn send(&self, to: IpAddr, sequence: u16, data: &[u8], tos: Tos, ttl: Option<u8>) -> Result<(), NetError> {
        let mut message = Vec::with_capacity(data.len() + 8);
        let echo = Echo { kind: EchoKind::Request, identifier: self.identifier, sequence, data };
        build_echo(&mut message, wire_family(self.family), &echo);
        let to = SocketAddr::new(to, 0);
        self.inner.send(&Outgoing { payload: &message, to: Some(to), tos, ttl, source: None })
    }

    /// Waits at most `timeout` (`None`: for ever) for an answer, and calls `f` for each that is there. Returns how many; 0
    /// does not mean that the time is over, since others' answers may have come.
    pub fn receive(
        &self,
        batch: &mut ReceiveBatch,
        timeout: Option<Duration>,
        f: &mut dyn FnMut(EchoReply<'_>),
    ) -> Result<usize, NetError> {
        self.inner.receive(batch, timeout)?;
        let mut replies = 0;
        for packet in batch.packets() {
            let Ok(IcmpMessage::Echo(echo)) = parse_icmp(wire_family(self.family), packet.payload) else { continue };
            if echo.kind != EchoKind::Reply || (self.raw && echo.identifier != self.identifier) {
                continue;
            }
            replies += 1;
            f(EchoReply {
                from: packet.from.ip(),
                sequence: echo.sequence,
                data: echo.data,
                tos: packet.tos,
                ttl: packet.ttl,
                stamp: packet.stamp,
            });
        }
        Ok(replies)
    }

    /// Takes the transmit stamps that are there, without waiting. Returns how many.
    pub fn transmit_stamps(&self, f: &mut dyn FnMut(EchoStamp)) -> Result<usize, NetError> {
        let mut stamps = 0;
        self.inner.error_queue(&mut |event| {
            let QueueEvent::Transmit(event) = event else { return };
            let Ok(packet) = wire::frame::ip_in_frame(event.frame) else { return };
            if let Ok(IcmpMessage::Echo(echo)) = parse_icmp(wire_family(self.family), packet.payload) {
                stamps += 1;
                f(EchoStamp { sequence: echo.sequence, to: packet.destination, tos: packet.tos, stamp: event.stamp });
            }
        })?;
        Ok(stamps)
    }

    pub fn wait(&self, timeout: Option<Duration>) -> Result<Readiness, NetError> {
        self.inner.wait(timeout)
    }

    /// One request and its answer, by the kernel's stamps, or by the clock around the calls where one is missing. Blocks for
    /// at most `patience`; `None` where nothing came or nothing could be sent. For sockets that nothing else uses.
    pub fn round_trip(&self, to: IpAddr, sequence: u16, patience: Duration) -> Option<Duration> {
        let same = |address: IpAddr| address.to_canonical() == to.to_canonical();
        let mut batch = ReceiveBatch::new(8, 1500);
        let began = Instant::now();
        self.send(to, sequence, &[0x4e; ECHO_DATA], Tos::from_byte(0), None).ok()?;
        let mut received: Option<(Duration, Option<UnixNanos>)> = None;
        while received.is_none() {
            let mut take = |reply: EchoReply<'_>| {
                if reply.sequence == sequence && same(reply.from) {
                    received = received.or(Some((began.elapsed(), reply.stamp)));
                }
            };
            self.receive(&mut batch, Some(patience.checked_sub(began.elapsed())?), &mut take).ok()?;
        }
        let (waited, arrived) = received?;
        let mut left = None;
        let _ = self.transmit_stamps(&mut |sent| {
            if sent.sequence == sequence && same(sent.to) {
                left = Some(sent.stamp);
            }
        });
        let kernel = left.zip(arrived).and_then(|(left, arrived)| u64::try_from(arrived.0 - left.0).ok());
        Some(kernel.map_or(waited, Duration::from_nanos))
    }
}

/// Receives the errors that reach this host, whoever's packets they are about, with the packets they quote. Raw: needs
/// CAP_NET_RAW when opened.
#[derive(Debug)]
pub struct IcmpListener {
    inner: Datagram,
}

impl IcmpListener {
    /// Only errors are delivered: unreachable, too big, time exceeded, parameter problem.
    pub fn open(family: Family) -> Result<IcmpListener, NetError> {
        let (domain, protocol) = parts(family);
        let open = || {
            let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            let inner = Datagram::new(socket, family == Family::Ipv6, family == Family::Ipv4);
            accept_only(&inner, if family == Family::Ipv4 { &[3, 11, 12] } else { &[1, 2, 3, 4] })?;
            sys::set_receive_buffer(inner.fd(), RECEIVE_BUFFER)?;
            inner.show_marks()?;
            inner.enable_stamps(false)?;
            Ok(IcmpListener { inner })
        };
        open().map_err(|error: io::Error| {
            let hint = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
                .then_some("reading what routers quote takes CAP_NET_RAW");
            NetError::new("listening to ICMP errors of", family.name(), error).with_hint(hint)
        })
    }

    /// As [`crate::UdpProbeSocket::receive`]. Payloads are ICMP messages from their type on (`wire::icmp::parse_icmp`); ToS
    /// and TTL are those of the error's own packet.
    pub fn receive(&self, batch: &mut ReceiveBatch, timeout: Option<Duration>) -> Result<usize, NetError> {
        self.inner.receive(batch, timeout)
    }
}

fn parts(family: Family) -> (Domain, Protocol) {
    match family {
        Family::Ipv4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::Ipv6 => (Domain::IPV6, Protocol::ICMPV6),
    }
}

fn wire_family(family: Family) -> wire::frame::Family {
    match family {
        Family::Ipv4 => wire::frame::Family::Ipv4,
        Family::Ipv6 => wire::frame::Family::Ipv6,
    }
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// Lets a raw socket receive these types only. In the kernel's filters a set bit blocks.
fn accept_only(raw: &Datagram, types: &[u8]) -> io::Result<()> {
    let mut blocked = [u32::MAX; 8];
    for kind in types {
        blocked[usize::from(kind / 32)] &= !(1 << (kind % 32));
    }
    match raw.ipv6() {
        false => set_option(raw.fd(), libc::SOL_RAW, ICMP_FILTER, [blocked[0]]),
        true => set_option(raw.fd(), libc::SOL_ICMPV6, ICMPV6_FILTER, blocked),
    }
}

/// Differs between the sockets of this process and, most likely, from those of others.
fn fresh_identifier() -> u16 {
    static COUNTER: AtomicU16 = AtomicU16::new(0);
    (std::process::id() as u16).wrapping_mul(31).wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed))
}
