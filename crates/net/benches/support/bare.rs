//! A receive loop as one would write it with libc alone: the baseline of the receiving benches.

use std::hint::black_box;
use std::os::fd::{AsFd, AsRawFd};

use net::UdpProbeSocket;

const CONTROL_WORDS: usize = 32;
const PACKET: usize = 2048;

pub struct Bare {
    _payloads: Vec<u8>,
    _controls: Vec<u64>,
    _names: Vec<libc::sockaddr_in6>,
    _vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Bare {
    pub fn new(batch: usize) -> Bare {
        let mut payloads = vec![0u8; batch * PACKET];
        let mut controls = vec![0u64; batch * CONTROL_WORDS];
        // SAFETY: zero is a value of all of these.
        let (mut names, mut vectors, mut headers) = unsafe {
            (
                vec![std::mem::zeroed::<libc::sockaddr_in6>(); batch],
                vec![std::mem::zeroed::<libc::iovec>(); batch],
                vec![std::mem::zeroed::<libc::mmsghdr>(); batch],
            )
        };
        for i in 0..batch {
            vectors[i] = libc::iovec { iov_base: payloads[i * PACKET..].as_mut_ptr().cast(), iov_len: PACKET };
            headers[i].msg_hdr.msg_name = (&raw mut names[i]).cast();
            headers[i].msg_hdr.msg_iov = &raw mut vectors[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            headers[i].msg_hdr.msg_control = controls[i * CONTROL_WORDS..].as_mut_ptr().cast();
        }
        Bare { _payloads: payloads, _controls: controls, _names: names, _vectors: vectors, headers }
    }

    /// One recvmmsg(2) that waits for a packet; looks at the lengths only. 0: nothing came in the socket's time.
    pub fn receive(&mut self, receiver: &UdpProbeSocket, expected: usize) -> usize {
        let fd = receiver.as_fd().as_raw_fd();
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as _;
            header.msg_hdr.msg_controllen = CONTROL_WORDS * 8;
        }
        let (headers, batch) = (self.headers.as_mut_ptr(), self.headers.len());
        // SAFETY: the headers point into the vectors beside them, of the stated lengths.
        let count = unsafe { libc::recvmmsg(fd, headers, batch as _, libc::MSG_WAITFORONE, std::ptr::null_mut()) };
        let count = usize::try_from(count).unwrap_or(0);
        for header in &self.headers[..count] {
            assert!(black_box(header.msg_len) as usize == expected);
        }
        count
    }
}
