//! The side that is connected to: what a connection's SYN looked like when it arrived.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use libc::c_int;
use model::Tos;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{RECEIVE_STAMPS, TcpOptions, TcpProbe, address, set_tos, show_marks};
use crate::error::{NetError, bind_hint};
use crate::sys::{self, get_option, set_option};

const BACKLOG: c_int = 1024;

/// Accepts connections and keeps their SYNs (TCP_SAVE_SYN).
#[derive(Debug)]
pub struct TcpProbeListener {
    socket: Socket,
    ipv6: bool,
}

impl TcpProbeListener {
    /// Port 0: the kernel's choice. An IPv6 listener does not take IPv4.
    pub fn bind(address: SocketAddr) -> Result<TcpProbeListener, NetError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            // A restarted server takes its port back though old connections still linger.
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(address))?;
            let listener = TcpProbeListener::prepare(socket, address.is_ipv6())?;
            listener.socket.listen(BACKLOG)?;
            Ok(listener)
        };
        bind().map_err(|error: io::Error| {
            let hint = bind_hint(&error, address.port());
            NetError::new("listening for TCP on", address, error).with_hint(hint)
        })
    }

    /// Takes over a listening socket (LISTEN_FDS).
    pub fn from_fd(fd: OwnedFd) -> Result<TcpProbeListener, NetError> {
        let socket = Socket::from(fd);
        let take = || {
            if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a listening TCP socket"));
            }
            let address = socket.local_addr()?.as_socket();
            let address =
                address.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is not a TCP socket"))?;
            TcpProbeListener::prepare(socket, address.is_ipv6())
        };
        take().map_err(|error| NetError::new("taking over a TCP listener from", "a file descriptor", error))
    }

    /// What connections inherit.
    fn prepare(socket: Socket, ipv6: bool) -> io::Result<TcpProbeListener> {
        socket.set_nonblocking(true)?;
        set_option(socket.as_fd(), libc::SOL_TCP, libc::TCP_SAVE_SYN, 1)?;
        set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, RECEIVE_STAMPS as c_int)?;
        show_marks(&socket, ipv6)?;
        Ok(TcpProbeListener { socket, ipv6 })
    }

    pub fn local_addr(&self) -> Result<SocketAddr, NetError> {
        address(self.socket.local_addr(), "asking for the address of")
    }

    /// The SYN-ACK is sent with the listener's ToS, before a program can say otherwise; 0 unless set here.
    pub fn set_tos(&self, tos: Tos) -> Result<(), NetError> {
        set_tos(&self.socket, self.ipv6, tos)
            .map_err(|error| NetError::new("setting the ToS of", "a TCP listener", error))
    }

    /// The next connection; `None` on timeout, on a signal, and when the peer gave up meanwhile.
    pub fn accept(&self, timeout: Option<Duration>) -> Result<Option<TcpProbe>, NetError> {
        let failed = |error: io::Error| {
            let hint = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
                .then_some("too many open files; raise the limit (ulimit -n)");
            match self.local_addr() {
                Ok(address) => NetError::new("accepting a connection on", address, error),
                Err(_) => NetError::new("accepting a connection on", "a TCP listener", error),
            }
            .with_hint(hint)
        };
        if timeout != Some(Duration::ZERO) {
            sys::poll(self.socket.as_fd(), libc::POLLIN, timeout).map_err(failed)?;
        }
        let accept = || {
            let (socket, _) = self.socket.accept()?;
            let saved_syn = saved_syn(socket.as_fd());
            TcpProbe::established(socket, self.ipv6, None, saved_syn)
        };
        match accept() {
            Ok(probe) => Ok(Some(probe)),
            Err(error) if is_about_one_connection(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

impl AsFd for TcpProbeListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// IP and TCP header of a SYN that this host sends to itself: its options are those of every connection it opens, save for the
/// segment size. `None` where there is no loopback interface.
pub fn own_syn() -> Option<Vec<u8>> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let listener = TcpProbeListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).ok()?;
    let address = listener.local_addr().ok()?;
    let _connected = TcpProbe::connect(address, Tos::default(), PATIENCE, &TcpOptions::default()).ok()?;
    let accepted = listener.accept(Some(PATIENCE)).ok()??;
    Some(accepted.saved_syn().to_vec()).filter(|syn| !syn.is_empty())
}

/// Errors of accept(2) after which the next call may succeed at once (its manual page names them).
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EAGAIN
                | libc::EINTR
                | libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::ENOTCONN
                // SO_TIMESTAMPING with OPT_ID on a connection that was reset before it was accepted.
                | libc::EINVAL
                | libc::EPERM
        )
    )
}

/// The kernel gives it once.
fn saved_syn(fd: BorrowedFd<'_>) -> Vec<u8> {
    let mut headers = [0u8; 512];
    match get_option(fd, libc::SOL_TCP, libc::TCP_SAVED_SYN, &mut headers) {
        Ok(length) => headers[..length].to_vec(),
        Err(_) => Vec::new(),
    }
}
