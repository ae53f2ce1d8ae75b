//! Memory for the packets of one recvmmsg call, used again and again: no allocation per packet.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

use libc::c_int;
use model::{Tos, UnixNanos};

use crate::ancillary::{Incoming, space};
use crate::sys::{RAW_ADDRESS_LEN, RawAddress};

/// Timestamps (three timespecs), ToS, TTL, destination, and room for what a newer kernel may add.
const CONTROL: usize = space(48) + space(4) + space(4) + space(20) + 64;

/// Enough for any probe; a longer packet arrives cut, and says so.
pub(crate) const PACKET_LEN: usize = 2048;
/// Packets in one call; the kernel would take 1024.
pub(crate) const CAPACITY: usize = 64;

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Packets received by one call.
pub struct ReceiveBatch {
    // The kernel writes into these through the pointers in `headers`, which are made once and stay valid because a Vec's
    // memory does not move while it neither grows nor shrinks. UnsafeCell: the memory is written through those pointers
    // while the Vecs exist.
    payloads: Vec<UnsafeCell<u8>>,
    controls: Vec<UnsafeCell<Control>>,
    names: Vec<UnsafeCell<RawAddress>>,
    _vectors: Vec<UnsafeCell<libc::iovec>>,
    headers: Vec<libc::mmsghdr>,
    packet_len: usize,
    /// How many of `headers` the last call filled, and so have to be reset.
    filled: usize,
    /// Raw IPv4 sockets deliver the IP header as well.
    pub(crate) strip_ipv4_header: bool,
}

// SAFETY: the raw pointers in `headers` point into the Vecs of the same value, which owns them alone.
unsafe impl Send for ReceiveBatch {}

impl Default for ReceiveBatch {
    fn default() -> ReceiveBatch {
        ReceiveBatch::new(CAPACITY, PACKET_LEN)
    }
}

impl ReceiveBatch {
    /// Memory for `capacity` packets of at most `packet_len` bytes each (both at least 1).
    pub fn new(capacity: usize, packet_len: usize) -> ReceiveBatch {
        let (capacity, packet_len) = (capacity.clamp(1, 1024), packet_len.max(1));
        fn cells<T>(n: usize, value: impl Fn() -> T) -> Vec<UnsafeCell<T>> {
            std::iter::repeat_with(|| UnsafeCell::new(value())).take(n).collect()
        }
        let payloads = cells(capacity * packet_len, || 0u8);
        let controls = cells(capacity, || Control([0; CONTROL]));
        let names = cells(capacity, || RawAddress::ZERO);
        let vectors: Vec<UnsafeCell<libc::iovec>> = (0..capacity)
            .map(|i| {
                let base = payloads[i * packet_len..].as_ptr().cast_mut().cast();
                UnsafeCell::new(libc::iovec { iov_base: base, iov_len: packet_len })
            })
            .collect();
        let headers = (0..capacity)
            .map(|i| {
                // SAFETY: mmsghdr holds integers and pointers, for which zero is a value.
                let mut header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
                header.msg_hdr.msg_name = names[i].get().cast();
                header.msg_hdr.msg_iov = vectors[i].get();
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = controls[i].get().cast();
                reset(&mut header);
                header
            })
            .collect();
        ReceiveBatch {
            payloads,
            controls,
            names,
            _vectors: vectors,
            headers,
            packet_len,
            filled: 0,
            strip_ipv4_header: false,
        }
    }

    /// Number of packets of the last receive.
    pub fn len(&self) -> usize {
        self.filled
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// recvmmsg into this batch.
    pub(crate) fn receive(&mut self, fd: c_int, flags: c_int) -> std::io::Result<usize> {
        self.headers[..std::mem::take(&mut self.filled)].iter_mut().for_each(reset);
        // SAFETY: every header points at memory of this batch of the stated length, which nothing else borrows while the
        // batch is borrowed exclusively; the time limit is null.
        let received = unsafe {
            libc::recvmmsg(fd, self.headers.as_mut_ptr(), self.headers.len() as _, flags as _, std::ptr::null_mut())
        };
        match usize::try_from(received) {
            Ok(received) => self.filled = received.min(self.headers.len()),
            Err(_) => return Err(std::io::Error::last_os_error()),
        }
        Ok(self.filled)
    }

    /// The packets of the last receive, in the order of their arrival at the socket.
    pub fn packets(&mut self) -> impl ExactSizeIterator<Item = Received<'_>> {
        let (names, controls) = (&self.names, &self.controls);
        let (payloads, packet_len, strip) = (&self.payloads, self.packet_len, self.strip_ipv4_header);
        self.headers[..self.filled].iter().enumerate().map(move |(i, header)| {
            // SAFETY: the batch is borrowed exclusively for as long as the packets live, so the kernel does not write; each
            // index is below the capacity, is visited once, and its bytes overlap no other's, so the exclusive slice is the only reference to them.
            let payload: &mut [u8] = unsafe {
                let base = UnsafeCell::raw_get(payloads.as_ptr().add(i * packet_len));
                std::slice::from_raw_parts_mut(base, (header.msg_len as usize).min(packet_len))
            };
            // SAFETY: as above; both are only read, and initialised (zeroed at first, then written by the kernel).
            let (name, control) = unsafe { (*names[i].get(), &(*controls[i].get()).0) };
            let seen = Incoming::parse(&control[..(header.msg_hdr.msg_controllen as usize).min(CONTROL)]);
            let skip = match (strip, payload.first()) {
                (true, Some(first)) => (usize::from(first & 0x0f) * 4).min(payload.len()),
                _ => 0,
            };
            Received {
                payload: &mut payload[skip..],
                // The kernel names the sender of every packet of these sockets; were it not to, nobody is the sender.
                from: name.to_address(header.msg_hdr.msg_namelen).unwrap_or(NOBODY),
                to: seen.to,
                tos: seen.tos,
                ttl: seen.ttl,
                stamp: seen.stamp,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            }
        })
    }
}

/// Before the kernel overwrites them with what it filled.
fn reset(header: &mut libc::mmsghdr) {
    header.msg_hdr.msg_namelen = RAW_ADDRESS_LEN;
    header.msg_hdr.msg_controllen = CONTROL as _;
    header.msg_hdr.msg_flags = 0;
    header.msg_len = 0;
}

const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// One packet as it came.
#[derive(Debug)]
pub struct Received<'a> {
    /// Mutable, because authenticated encryption opens in place.
    pub payload: &'a mut [u8],
    pub from: SocketAddr,
    /// The destination in its header; asked for by `UdpOptions::pktinfo`.
    pub to: Option<IpAddr>,
    /// As received. `None` where the kernel did not tell.
    pub tos: Option<Tos>,
    /// TTL or hop limit, as received.
    pub ttl: Option<u8>,
    /// The kernel's, unshifted (see [`crate::Clock::stamp`]). May be missing, see the crate's introduction.
    pub stamp: Option<UnixNanos>,
    /// The packet was longer than the batch's `packet_len`, and `payload` is its beginning.
    pub truncated: bool,
}
