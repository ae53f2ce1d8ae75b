//! Passive capture of one interface (AF_PACKET with a TPACKET_V3 ring): packets in blocks, kernel times, no copy.
//! Needs CAP_NET_RAW when opened, not afterwards.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libc::{c_int, tpacket_block_desc, tpacket_req3, tpacket_stats_v3, tpacket3_hdr};
use model::UnixNanos;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::NetError;
use crate::filter::{Filter, RANGES_MAX};
use crate::interface;
use crate::sys::{self, get_option, set_option};

const OPERATION: &str = "capturing on";
/// The ring's frames have no fixed size in version 3; this only has to divide the block size.
const FRAME_SIZE: usize = 2048;

#[derive(Clone, Debug)]
pub struct CaptureOptions {
    pub filter: Filter,
    /// Bytes kept of each packet, from the IP header on.
    pub snaplen: u32,
    /// Bytes; rounded up to a power of two of at least a page.
    pub block_size: usize,
    /// At least 2: one is read while another fills.
    pub block_count: usize,
    /// A block that is not full is handed over after this time.
    pub retire: Duration,
}

impl Default for CaptureOptions {
    /// All UDP, TCP and ICMP, 256 bytes of each; 2 MiB of ring.
    fn default() -> CaptureOptions {
        CaptureOptions {
            filter: Filter { udp: true, tcp: true, icmp: true, ..Filter::default() },
            snaplen: 256,
            // Of sparse traffic each takes a block of its own per `retire`: a reader may be 0.6 s late before any is lost.
            block_size: 64 << 10,
            block_count: 32,
            retire: Duration::from_millis(20),
        }
    }
}

/// Packets since the capture began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureStatistics {
    /// Passed the filter, dropped ones included.
    pub seen: u64,
    /// Lost because the ring was full.
    pub dropped: u64,
}

/// An open capture.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    ring: Ring,
    /// The block that fills or was filled next.
    next: usize,
    statistics: CaptureStatistics,
    interface: String,
}

impl Capture {
    pub fn open(interface: &str, options: &CaptureOptions) -> Result<Capture, NetError> {
        let failed = |error: io::Error| {
            let hint = match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    Some("it takes CAP_NET_RAW (run as root, or: setcap cap_net_raw+ep on the program)")
                }
                Some(libc::ENOMEM) => Some("there is no memory for the ring; use smaller or fewer blocks"),
                _ => None,
            };
            NetError::new(OPERATION, interface, error).with_hint(hint)
        };
        let index = interface::index_of(interface)?;
        if options.filter.ports.len() > RANGES_MAX {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "more than 300 ranges of ports")));
        }
        // SOCK_DGRAM: packets begin at the IP header on every kind of interface. Protocol 0 receives nothing until the bind
        // below names protocol and interface at once.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None).map_err(failed)?;
        let fd = socket.as_fd();
        set_option(fd, libc::SOL_PACKET, libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V3 as c_int)
            .map_err(failed)?;
        // Stamps are then taken where the packet enters the stack, not where it enters the ring.
        let stamps = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE;
        set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, stamps as c_int).map_err(failed)?;
        attach(&socket, &options.filter.program(options.snaplen.max(1))).map_err(failed)?;
        let ring = Ring::new(fd, options).map_err(failed)?;
        socket.bind(&link_address(index).map_err(failed)?).map_err(failed)?;
        Ok(Capture { socket, ring, next: 0, statistics: CaptureStatistics::default(), interface: interface.to_owned() })
    }

    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The next block of packets; `None` on timeout and on a signal. `timeout` `None` waits for ever.
    /// An error when the interface went down or away.
    pub fn next_block(&mut self, timeout: Option<Duration>) -> Result<Option<Block<'_>>, NetError> {
        let started = Instant::now();
        while !self.ring.is_ready(self.next) {
            let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
            let failed = |error| NetError::new(OPERATION, &self.interface, error);
            let events = sys::poll(self.socket.as_fd(), libc::POLLIN, left).map_err(failed)?;
            if events & libc::POLLERR != 0
                && let Some(error) = self.socket.take_error().map_err(failed)?
            {
                return Err(failed(error).with_hint(Some("the interface went down or away")));
            }
            if events == 0 && !self.ring.is_ready(self.next) {
                return Ok(None);
            }
        }
        Ok(Some(Block { capture: self }))
    }

    /// Asks the kernel, which counts from the last question.
    pub fn statistics(&mut self) -> Result<CaptureStatistics, NetError> {
        let mut since = tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        get_option(self.socket.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut since)
            .map_err(|error| NetError::new("reading the drops of the capture on", &self.interface, error))?;
        self.statistics.seen += u64::from(since.tp_packets);
        self.statistics.dropped += u64::from(since.tp_drops);
        Ok(self.statistics)
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Packets the kernel handed over together. Goes back to the kernel when dropped: read it and let go soon.
#[derive(Debug)]
pub struct Block<'a> {
    capture: &'a mut Capture,
}

impl Block<'_> {
    /// In the order of their arrival at the ring.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let block = self.capture.ring.block(self.capture.next);
        let (mut left, mut at) = block.first();
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let (frame, next) = block.frame(at)?;
            left -= 1;
            at += next;
            Some(frame)
        })
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.capture.ring.block(self.capture.next).first().0 as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.capture.ring.release(self.capture.next);
        self.capture.next = (self.capture.next + 1) % self.capture.ring.block_count;
    }
}

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the IP header on, on every kind of interface; at most `snaplen` bytes.
    pub packet: &'a [u8],
    /// Length of the whole packet from the IP header on. More than the MTU where segmentation is left to the device.
    pub original_len: u32,
    /// The kernel's, unshifted (see [`crate::Clock::stamp`]).
    pub stamp: UnixNanos,
    /// Sent by this host.
    pub outgoing: bool,
    /// VLAN tag (priority and id) that the kernel took off.
    pub vlan_tci: Option<u16>,
}

/// Memory shared with the kernel: blocks that belong in turn to it and to us.
#[derive(Debug)]
struct Ring {
    base: NonNull<u8>,
    block_size: usize,
    block_count: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for Ring {}

impl Ring {
    fn new(fd: BorrowedFd<'_>, options: &CaptureOptions) -> io::Result<Ring> {
        // SAFETY: sysconf has no preconditions.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let block_size = options.block_size.clamp(page, 1 << 26).next_power_of_two();
        let block_count = options.block_count.clamp(2, 1 << 16);
        let (size, count, frame) = (block_size as u32, block_count as u32, FRAME_SIZE as u32);
        let request = tpacket_req3 {
            tp_block_size: size,
            tp_block_nr: count,
            tp_frame_size: frame,
            tp_frame_nr: count * (size / frame),
            tp_retire_blk_tov: u32::try_from(options.retire.as_millis()).unwrap_or(u32::MAX).max(1),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_option(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        // SAFETY: a new mapping at an address of the kernel's choice, of the length that was just asked for.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                block_size * block_count,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(start) if base != libc::MAP_FAILED => Ok(Ring { base: start, block_size, block_count }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn descriptor(&self, index: usize) -> *mut tpacket_block_desc {
        assert!(index < self.block_count);
        // SAFETY: within the mapping; blocks are page-aligned and begin with their descriptor.
        unsafe { self.base.as_ptr().add(index * self.block_size).cast() }
    }

    /// The word by which kernel and program hand the block to one another.
    fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: an aligned u32 within the mapping, which lives as long as `self`; both sides access it as one word.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.descriptor(index)).hdr.bh1.block_status) }
    }

    fn is_ready(&self, index: usize) -> bool {
        self.status(index).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// The bytes of a block that is ours (`is_ready`), for as long as it is not released.
    fn block(&self, index: usize) -> BlockBytes<'_> {
        assert!(self.is_ready(index), "the block belongs to the kernel");
        // SAFETY: within the mapping, and the kernel does not write a block while the program has it. `release` comes only
        // from `Block::drop`, whose exclusive borrow ends every borrow of these bytes first.
        BlockBytes(unsafe { std::slice::from_raw_parts(self.descriptor(index).cast::<u8>(), self.block_size) })
    }

    fn release(&self, index: usize) {
        self.status(index).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, once; every borrow of it borrows from `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.block_size * self.block_count) };
    }
}

#[derive(Clone, Copy)]
struct BlockBytes<'a>(&'a [u8]);

impl<'a> BlockBytes<'a> {
    /// A kernel structure at `at`, if it lies within the block.
    fn read<T: Copy>(&self, at: usize) -> Option<T> {
        let bytes = self.0.get(at..at.checked_add(size_of::<T>())?)?;
        // SAFETY: `T` is one of the kernel's structures of unsigned integers, of which every bit pattern is a value; as many
        // bytes are there, and alignment is not assumed.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    /// How many packets there are, and where the first begins.
    fn first(&self) -> (u32, usize) {
        let Some(descriptor) = self.read::<tpacket_block_desc>(0) else { return (0, 0) };
        // SAFETY: version 3 has no other variant.
        let header = unsafe { descriptor.hdr.bh1 };
        (header.num_pkts, header.offset_to_first_pkt as usize)
    }

    /// The packet at `at`, and the distance to the next.
    fn frame(&self, at: usize) -> Option<(Frame<'a>, usize)> {
        let header: tpacket3_hdr = self.read(at)?;
        // struct sockaddr_ll follows the header: its packet type is the byte at 10.
        let link = at + size_of::<tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
        let packet_type = *self.0.get(link + std::mem::offset_of!(libc::sockaddr_ll, sll_pkttype))?;
        let start = at + usize::from(header.tp_net);
        let packet = self.0.get(start..start + header.tp_snaplen as usize)?;
        let stamp = i64::from(header.tp_sec) * 1_000_000_000 + i64::from(header.tp_nsec);
        let frame = Frame {
            packet,
            original_len: header.tp_len,
            stamp: UnixNanos(stamp),
            outgoing: packet_type == libc::PACKET_OUTGOING,
            vlan_tci: (header.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(header.hv1.tp_vlan_tci as u16),
        };
        Some((frame, header.tp_next_offset as usize))
    }
}

fn attach(socket: &Socket, program: &[libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads one live sock_fprog and, through it, `len` live instructions.
    sys::check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })
    .map(|_| ())
}

/// Every protocol on one interface.
pub(crate) fn link_address(index: u32) -> io::Result<SockAddr> {
    let index = c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage is large enough and aligned for every sockaddr, starts zeroed, and is filled as sockaddr_ll with
    // exactly that length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as _;
            (*link).sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            (*link).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}
