//! The system calls the rest of the crate shares, as safe functions: socket options, addresses, polling.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libc::{c_int, socklen_t};

/// Types any bit pattern of which is a value, and which have no padding: what the kernel may read and write as bytes.
///
/// # Safety
/// The implementor is `repr(C)` or primitive, holds no pointer or reference, and is valid for every bit pattern.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers and arrays of integers are valid for every bit pattern.
unsafe impl Plain for c_int {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u32; N] {}
// SAFETY: repr(C), integers only. Its padding is written by nobody but the kernel, and never read.
unsafe impl Plain for libc::tcp_info {}
// SAFETY: repr(C), unsigned integers only.
unsafe impl Plain for libc::tpacket_req3 {}
// SAFETY: repr(C), unsigned integers only.
unsafe impl Plain for libc::tpacket_stats_v3 {}

pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(crate) fn set_option<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live value of plain data; none of the options used with this
    // function takes a pointer inside its value.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<T>() as socklen_t)
    })
    .map(|_| ())
}

/// Reads into `value` and returns how many bytes the kernel wrote; the rest keeps what it was.
pub(crate) fn get_option<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &mut T) -> io::Result<usize> {
    let mut length = size_of::<T>() as socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into a live, exclusively borrowed value that every bit pattern suits.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (value as *mut T).cast(), &mut length) })?;
    Ok((length as usize).min(size_of::<T>()))
}

/// Events that came about, or 0 on timeout and on a signal. `None` waits without end.
pub(crate) fn poll(fd: BorrowedFd<'_>, events: i16, timeout: Option<Duration>) -> io::Result<i16> {
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |limit| &raw const *limit);
    // SAFETY: one live pollfd, a null or live timespec, and no signal mask.
    match check(unsafe { libc::ppoll(&mut polled, 1, limit, std::ptr::null()) }) {
        Ok(_) => Ok(polled.revents),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Waits until any of these has something to read or on its error queue. Which ones, in the order given; none on timeout or a
/// signal.
pub(crate) fn poll_all(fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<Vec<(bool, bool)>> {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    };
    let count = polled.len() as libc::nfds_t;
    // SAFETY: as many live pollfds as are counted, a live timespec, and no signal mask.
    match check(unsafe { libc::ppoll(polled.as_mut_ptr(), count, &raw const limit, std::ptr::null()) }) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => polled.iter_mut().for_each(|one| one.revents = 0),
        Err(error) => return Err(error),
    }
    Ok(polled.iter().map(|one| (one.revents & libc::POLLIN != 0, one.revents & libc::POLLERR != 0)).collect())
}

/// `SO_RCVTIMEO` or `SO_SNDTIMEO`, set only when it changes.
///
/// Waiting inside the receive call and not in poll(2): poll reports the error queue whether asked or not, so a reader
/// would spin for as long as another thread has not drained the transmit stamps.
#[derive(Debug)]
pub(crate) struct SocketTimeout {
    option: c_int,
    microseconds: AtomicU64,
}

impl SocketTimeout {
    pub(crate) const fn receive() -> SocketTimeout {
        SocketTimeout { option: libc::SO_RCVTIMEO, microseconds: AtomicU64::new(0) }
    }

    pub(crate) const fn send() -> SocketTimeout {
        SocketTimeout { option: libc::SO_SNDTIMEO, microseconds: AtomicU64::new(0) }
    }

    /// `None`: no limit. Less than a microsecond counts as one, since 0 would mean no limit.
    pub(crate) fn set(&self, fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<()> {
        // A year is as good as any longer time and fits every time_t.
        let wanted = timeout.map_or(0, |timeout| timeout.as_micros().clamp(1, 31_536_000_000_000) as u64);
        if self.microseconds.load(Ordering::Relaxed) == wanted {
            return Ok(());
        }
        let value = libc::timeval { tv_sec: (wanted / 1_000_000) as _, tv_usec: (wanted % 1_000_000) as _ };
        // SAFETY: the kernel reads one live timeval.
        check(unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                self.option,
                (&raw const value).cast(),
                size_of::<libc::timeval>() as socklen_t,
            )
        })?;
        self.microseconds.store(wanted, Ordering::Relaxed);
        Ok(())
    }
}

/// A receive buffer of about `bytes`: beyond net.core.rmem_max where CAP_NET_ADMIN allows it, else as near as it gets.
pub(crate) fn set_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// Room for an address of either family, as the kernel lays it out.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

pub(crate) const RAW_ADDRESS_LEN: socklen_t = size_of::<RawAddress>() as socklen_t;

impl RawAddress {
    // SAFETY: both variants are plain integers, for which zero is a value; this also leaves no byte uninitialised.
    pub(crate) const ZERO: RawAddress = unsafe { std::mem::zeroed() };

    /// The address and how many of its bytes count.
    pub(crate) fn from_address(address: SocketAddr) -> (RawAddress, socklen_t) {
        let mut raw = RawAddress::ZERO;
        match address {
            SocketAddr::V4(v4) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as socklen_t)
            }
            SocketAddr::V6(v6) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (raw, size_of::<libc::sockaddr_in6>() as socklen_t)
            }
        }
    }

    /// `None` unless the kernel wrote an address of one of the two families.
    pub(crate) fn to_address(self, length: socklen_t) -> Option<SocketAddr> {
        // SAFETY: all bytes of the union are initialised (see `ZERO`) and every bit pattern is a value of each variant;
        // the family stands at the same place in both.
        let (v4, v6) = unsafe { (self.v4, self.v6) };
        match c_int::from(v4.sin_family) {
            libc::AF_INET if length as usize >= size_of::<libc::sockaddr_in>() => {
                let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 if length as usize >= size_of::<libc::sockaddr_in6>() => {
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddr::V6(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
            }
            _ => None,
        }
    }
}

/// One call of recvmsg into `buffer` with its control messages into `control`.
pub(crate) struct Message {
    pub(crate) len: usize,
    pub(crate) control_len: usize,
    pub(crate) from: Option<SocketAddr>,
}

pub(crate) fn receive_message(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut [u8],
    flags: c_int,
) -> io::Result<Message> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut name = RawAddress::ZERO;
    // SAFETY: msghdr holds integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = RAW_ADDRESS_LEN;
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: every pointer in `header` refers to live, exclusively borrowed memory of the stated length.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) };
    match usize::try_from(len) {
        Ok(len) => Ok(Message {
            len: len.min(buffer.len()),
            control_len: (header.msg_controllen as usize).min(control.len()),
            from: name.to_address(header.msg_namelen),
        }),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_layout() {
        for text in ["127.0.0.1:8620", "255.1.2.3:65535", "[2001:db8::1]:53", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let (raw, length) = RawAddress::from_address(address);
            assert_eq!(raw.to_address(length), Some(address));
            assert_eq!(raw.to_address(4), None);
        }
        assert_eq!(RawAddress::ZERO.to_address(RAW_ADDRESS_LEN), None);
    }
}
