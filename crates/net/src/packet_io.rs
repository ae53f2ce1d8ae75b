//! Whole Ethernet frames in and out of one interface (AF_PACKET), and a wait that wakes on time.
//! For a userspace delay line: what arrives is sent on unchanged, so offloaded checksums and segmentation travel with
//! the frame. Not a capture: nothing is parsed, and frames this host sends are not seen.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, SockAddr, Socket, Type};

/// Bytes of `struct virtio_net_hdr` that precede every frame (PACKET_VNET_HDR, packet(7)): which checksum is still to
/// be computed, and into which segments the frame is to be cut.
pub const OFFLOAD_HEADER: usize = 10;

/// A frame with its offload header: 64 KiB of payload (unsegmented TCP) and room for the link's header.
pub const MAX_FRAME: usize = OFFLOAD_HEADER + 64 * 1024 + 256;

/// Older stamps than this are not believed: the wall clock was stepped between the stamp and its reading.
const OLDEST_BELIEVED: Duration = Duration::from_millis(500);

const RECEIVE_BUFFER_BYTES: libc::c_int = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PacketSocketError {
    #[error("there is no network interface named '{0}' here")]
    NoInterface(String),
    #[error("cannot open a packet socket on '{interface}': {source} (it takes CAP_NET_RAW)")]
    Open { interface: String, source: io::Error },
}

/// A frame as it was read, offload header first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// From the destination address on; empty if the frame is shorter than its offload header.
    pub fn ethernet(&self) -> &[u8] {
        self.bytes.get(OFFLOAD_HEADER..).unwrap_or_default()
    }

    /// A frame that asks for no offload, for instance one that a test made.
    pub fn from_ethernet(ethernet: &[u8]) -> Frame {
        let mut bytes = vec![0; OFFLOAD_HEADER];
        bytes.extend_from_slice(ethernet);
        Frame { bytes }
    }
}

/// A non-blocking packet socket bound to one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// Needs CAP_NET_RAW in the user namespace that owns the network namespace.
    pub fn open(interface: &str) -> Result<PacketSocket, PacketSocketError> {
        let failed = |source| PacketSocketError::Open { interface: interface.to_owned(), source };
        let no_interface = || PacketSocketError::NoInterface(interface.to_owned());
        let name = CString::new(interface).map_err(|_| no_interface())?;
        // SAFETY: `name` is a NUL-terminated string that lives through the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(no_interface());
        }
        // Protocol 0 receives nothing: the bind below names protocol and interface at once, so that no frame of another
        // interface slips in between.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1).map_err(failed)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1).map_err(failed)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).map_err(failed)?;
        if set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES).is_err() {
            set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER_BYTES).map_err(failed)?;
        }
        socket.bind(&link_address(index).map_err(failed)?).map_err(failed)?;
        Ok(PacketSocket { socket })
    }

    /// The next frame and when the kernel took it in; `None` when there is none now. `buffer` must hold [`MAX_FRAME`]
    /// bytes; a longer frame is cut and dropped by the receiver.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(Frame, Instant)>> {
        let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = ControlBuffer([0; 64]);
        // SAFETY: msghdr is plain old data; all-zero is a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        // SAFETY: every pointer in `message` refers to a live buffer of the stated length.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        };
        let arrived = instant_of(stamp_of(&message));
        Ok(buffer.get(..length).map(|bytes| (Frame { bytes: bytes.to_vec() }, arrived)))
    }

    /// Hands the frame to the interface. `WouldBlock` or ENOBUFS: the interface's queue is full, the frame is lost.
    pub fn send(&self, frame: &Frame) -> io::Result<()> {
        self.socket.send(&frame.bytes).map(|_| ())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Lets this thread's timers fire within a microsecond or so instead of the default 50 (prctl(2), PR_SET_TIMERSLACK).
pub fn use_precise_timers() -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory of ours.
    match unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until one of the descriptors can be read (or was closed at its other end) or the time is over, and says which
/// can; `None` waits without end. Nanosecond timeouts (ppoll(2)), unlike poll's milliseconds.
pub fn wait_readable<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: Option<Duration>) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |limit| limit as *const libc::timespec);
    // SAFETY: `polled` is an array of N live entries, `limit` null or a live timespec, and no signal mask is passed.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), N as libc::nfds_t, limit, std::ptr::null()) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok([false; N]) } else { Err(error) };
    }
    Ok(polled.map(|entry| entry.revents != 0))
}

/// Control messages are read as `cmsghdr`, which wants this alignment.
#[repr(C, align(8))]
struct ControlBuffer([u8; 64]);

fn set_option(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and length describe one live c_int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn link_address(index: libc::c_uint) -> io::Result<SockAddr> {
    let index = libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage is large enough and aligned for every sockaddr, starts zeroed, and is filled as sockaddr_ll
    // with exactly that length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as libc::c_ushort;
            (*link).sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            (*link).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// The kernel's receive stamp on the wall clock, where it gave one.
fn stamp_of(message: &libc::msghdr) -> Option<SystemTime> {
    // SAFETY: `message` was filled by recvmsg and its control buffer is alive and aligned; the CMSG functions stay
    // within msg_controllen.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: non-null results of CMSG_FIRSTHDR and CMSG_NXTHDR point at a whole header in that buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: this message's data is one timespec, perhaps unaligned.
            let stamp = unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
            let seconds = u64::try_from(stamp.tv_sec).ok()?;
            let nanoseconds = u32::try_from(stamp.tv_nsec).ok()?;
            return SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// The same moment on the clock that nobody steps.
fn instant_of(stamp: Option<SystemTime>) -> Instant {
    let wall = SystemTime::now();
    // Read last: an interruption between the two clocks makes the moment seem later, never earlier than it was.
    let now = Instant::now();
    let age = stamp.and_then(|stamp| wall.duration_since(stamp).ok());
    match age {
        Some(age) if age <= OLDEST_BELIEVED => now.checked_sub(age).unwrap_or(now),
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_tells_which_descriptor_can_be_read() {
        let (quiet, _other_end) = std::os::unix::net::UnixStream::pair().unwrap();
        let (closed, gone) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(gone);
        assert_eq!(wait_readable([quiet.as_fd(), closed.as_fd()], None).unwrap(), [false, true]);
        assert_eq!(wait_readable([quiet.as_fd()], Some(Duration::from_micros(10))).unwrap(), [false]);
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let error = PacketSocket::open("no-such-if").unwrap_err();
        assert!(error.to_string().contains("no-such-if"), "{error}");
    }

    #[test]
    fn stamps_of_another_epoch_are_not_believed() {
        let before = Instant::now();
        assert!(instant_of(Some(SystemTime::UNIX_EPOCH)) >= before);
        assert!(instant_of(Some(SystemTime::now() - Duration::from_millis(100))) < before);
    }
}
