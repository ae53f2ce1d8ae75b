//! The UDP socket of every probe: a ToS (and TTL) per packet going out, the received ToS, TTL and kernel time of what
//! comes in, and the transmit stamps from the error queue. Unprivileged.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use model::Tos;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub use crate::batch::{ReceiveBatch, Received};
use crate::datagram::{Datagram, Local};
pub use crate::datagram::{Outgoing, Readiness};
use crate::error::{NetError, bind_hint};
pub use crate::error_queue::{IcmpError, QueueEvent, TransmitStamp};
use crate::sys;

#[derive(Clone, Debug)]
pub struct UdpOptions {
    /// Kernel times of both directions. The transmit stamps take room of the receive buffer until they are read: a sender
    /// that never calls `transmit_stamps` ends up with a full buffer.
    pub timestamps: bool,
    /// In bytes. Without CAP_NET_ADMIN the kernel gives at most net.core.rmem_max.
    pub receive_buffer: usize,
    /// Tell each packet's destination address, to answer from it.
    pub pktinfo: bool,
    /// Several sockets share the port.
    pub reuse_port: bool,
    /// Put ICMP errors on the error queue (IP_RECVERR).
    pub icmp_errors: bool,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions { timestamps: true, receive_buffer: 4 << 20, pktinfo: false, reuse_port: false, icmp_errors: false }
    }
}

/// A blocking UDP socket of one family. May be shared by threads: one that sends, one that receives.
#[derive(Debug)]
pub struct UdpProbeSocket {
    inner: Datagram,
}

impl UdpProbeSocket {
    /// Port 0: the kernel's choice. An IPv6 socket never takes IPv4: IPV6_TCLASS is ignored for mapped addresses.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> Result<UdpProbeSocket, NetError> {
        let failed = |error| {
            let hint = bind_hint(&error, address.port());
            NetError::new("binding the UDP socket to", address, error).with_hint(hint)
        };
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).map_err(failed)?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(failed)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true).map_err(failed)?;
        }
        let ready = UdpProbeSocket::prepare(socket, address.is_ipv6(), options).map_err(failed)?;
        // Bound last: the first packet already comes with everything that was asked for.
        ready.inner.socket().bind(&SockAddr::from(address)).map_err(failed)?;
        Ok(ready)
    }

    /// Takes over a bound UDP socket (LISTEN_FDS).
    pub fn from_fd(fd: OwnedFd, options: &UdpOptions) -> Result<UdpProbeSocket, NetError> {
        let socket = Socket::from(fd);
        let refused = |text| Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        let take = || {
            let address = socket.local_addr()?.as_socket();
            let Some(address) = address.filter(|_| matches!(socket.r#type(), Ok(Type::DGRAM))) else {
                return refused("it is not a UDP socket");
            };
            if address.is_ipv6() && !socket.only_v6()? {
                return refused("it takes IPv4 as well; set IPV6_V6ONLY (systemd: BindIPv6Only=ipv6-only)");
            }
            socket.set_nonblocking(false)?;
            Ok(address)
        };
        match take() {
            Ok(address) => UdpProbeSocket::prepare(socket, address.is_ipv6(), options)
                .map_err(|error| NetError::new("taking over the UDP socket of", address, error)),
            Err(error) => Err(NetError::new("taking over a UDP socket from", "a file descriptor", error)),
        }
    }

    fn prepare(socket: Socket, ipv6: bool, options: &UdpOptions) -> std::io::Result<UdpProbeSocket> {
        let inner = Datagram::new(socket, ipv6, false);
        sys::set_receive_buffer(inner.fd(), options.receive_buffer)?;
        inner.show_marks()?;
        if options.pktinfo {
            inner.show_destination()?;
        }
        if options.icmp_errors {
            inner.queue_icmp_errors()?;
        }
        if options.timestamps {
            inner.enable_stamps(true)?;
        }
        Ok(UdpProbeSocket { inner })
    }

    /// From then on only the peer's packets are received, and `to` may be left out.
    pub fn connect(&self, peer: SocketAddr) -> Result<(), NetError> {
        self.inner
            .socket()
            .connect(&SockAddr::from(peer))
            .map_err(|error| NetError::new("connecting the UDP socket to", peer, error))
    }

    pub fn local_addr(&self) -> Result<SocketAddr, NetError> {
        let address = self.inner.socket().local_addr();
        address
            .and_then(|address| address.as_socket().ok_or(std::io::ErrorKind::InvalidData.into()))
            .map_err(|error| NetError::new("asking for the address of", "a UDP socket", error))
    }

    pub fn is_ipv6(&self) -> bool {
        self.inner.ipv6()
    }

    pub fn send_to(
        &self,
        payload: &[u8],
        to: Option<SocketAddr>,
        tos: Tos,
        source: Option<IpAddr>,
    ) -> Result<(), NetError> {
        self.send(&Outgoing { payload, to, tos, ttl: None, source })
    }

    pub fn send(&self, packet: &Outgoing<'_>) -> Result<(), NetError> {
        self.inner.send(packet)
    }

    /// Sends all; `failed` gets the index and error of each packet the kernel refused. Returns how many went out.
    pub fn send_batch(&self, packets: &[Outgoing<'_>], failed: &mut dyn FnMut(usize, NetError)) -> usize {
        self.inner.send_batch(packets, failed)
    }

    /// Waits at most `timeout` (`None`: for ever) for a packet, then takes as many as are there and fit the batch. Returns
    /// how many: 0 on timeout, on a signal, and when all that came was an ICMP error (see [`Self::refusals`]).
    /// Not woken by transmit stamps. One thread at a time.
    pub fn receive(&self, batch: &mut ReceiveBatch, timeout: Option<Duration>) -> Result<usize, NetError> {
        self.inner.receive(batch, timeout)
    }

    /// Takes the transmit stamps that are there, without waiting; they come some microseconds to milliseconds after the
    /// send. Returns how many. ICMP errors on the same queue are passed over, see [`Self::error_queue`].
    pub fn transmit_stamps(&self, f: &mut dyn FnMut(TransmitStamp<'_>)) -> Result<usize, NetError> {
        let mut stamps = 0;
        self.error_queue(&mut |event| {
            if let QueueEvent::Transmit(stamp) = event {
                stamps += 1;
                f(stamp);
            }
        })?;
        Ok(stamps)
    }

    /// Takes what is on the error queue, without waiting: transmit stamps and, where asked for, ICMP errors.
    pub fn error_queue(&self, f: &mut dyn FnMut(QueueEvent<'_>)) -> Result<usize, NetError> {
        self.inner.error_queue(f)
    }

    /// Waits until there is something to receive or on the error queue.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Readiness, NetError> {
        self.inner.wait(timeout)
    }

    /// Packets dropped because this socket's buffer was full, since it was opened: loss that is not the network's.
    /// Counts modulo 2^32.
    pub fn dropped(&self) -> Result<u32, NetError> {
        self.inner.dropped()
    }

    /// Times the peer, or a router, said by ICMP that it does not take the packets (connected sockets only).
    pub fn refusals(&self) -> u64 {
        self.inner.refusals()
    }

    /// For messages to people.
    pub fn describe(&self) -> String {
        Local(self.inner.socket()).to_string()
    }
}

/// Waits until there is something to receive or on the error queue of any of these sockets. What each has, in their order.
pub fn wait_any(sockets: &[impl AsRef<UdpProbeSocket>], timeout: Duration) -> Result<Vec<Readiness>, NetError> {
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.as_ref().inner.fd()).collect();
    let ready = sys::poll_all(&fds, timeout).map_err(|error| NetError::new("waiting on", "UDP sockets", error))?;
    let of = |(socket, (readable, error)): (&_, (bool, bool))| {
        AsRef::<UdpProbeSocket>::as_ref(socket).inner.readiness(readable, error)
    };
    Ok(sockets.iter().zip(ready).map(of).collect())
}

impl AsFd for UdpProbeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }
}
