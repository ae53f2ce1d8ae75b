//! CPU per captured packet: `Capture` against a bare TPACKET_V3 loop with the same ring and filter that reads the same
//! fields. Rounds fill the ring first, so that only the reading is measured. Runs in a network namespace of its own.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use net::capture::{Capture, CaptureOptions};
use net::filter::{Filter, Side};
use support::{full_run, median, thread_cpu_ns};

const PER_ROUND: usize = 10_000;
const BLOCK: usize = 256 << 10;
const BLOCKS: usize = 32;
/// Long, so that a slow sender does not use the ring up with blocks that are hardly filled.
const RETIRE_MS: u32 = 100;

fn main() {
    if !support_inside() {
        return;
    }
    let rounds = if full_run() { 60 } else { 2 };
    let filter = Filter { udp: true, tcp: true, side: Side::Incoming, ports: vec![9000..=9000], ..Filter::default() };
    let options = CaptureOptions {
        filter,
        snaplen: 256,
        block_size: BLOCK,
        block_count: BLOCKS,
        retire: Duration::from_millis(RETIRE_MS.into()),
    };
    let sink = UdpSocket::bind("127.0.0.1:9000").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for which in [round % 2, 1 - round % 2] {
            // Opened anew, so that both meet the ring in the same state.
            let mut capture = Capture::open("lo", &options).unwrap();
            let mut bare = (which == 1).then(|| Bare::new(capture.as_fd()));
            for _ in 0..PER_ROUND {
                sender.send_to(&[0; 160], sink.local_addr().unwrap()).unwrap();
            }
            let before = thread_cpu_ns();
            match &mut bare {
                None => drain(&mut capture),
                Some(bare) => bare.drain(),
            }
            let cost = (thread_cpu_ns() - before) / PER_ROUND as f64;
            if which == 0 { &mut ours } else { &mut theirs }.push(cost);
        }
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!("capture  net {ours:6.1} ns/packet   bare TPACKET_V3 {theirs:6.1} ns/packet   ratio {:.3}", ours / theirs);
}

/// Runs this program again in a namespace; true there.
fn support_inside() -> bool {
    const VARIABLE: &str = "NETLAT_NET_BENCH_INSIDE";
    if std::env::var_os(VARIABLE).is_some() {
        assert!(std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        return true;
    }
    let status = std::process::Command::new("unshare")
        .arg("-Urnm")
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args().skip(1))
        .env(VARIABLE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

fn drain(capture: &mut Capture) {
    let mut seen = 0;
    while seen < PER_ROUND {
        let block = capture.next_block(Some(Duration::from_secs(5))).unwrap().expect("packets were sent");
        for frame in block.frames() {
            black_box((frame.packet[1], frame.packet[8], frame.packet.len(), frame.stamp, frame.outgoing));
            seen += 1;
        }
    }
    assert_eq!(seen, PER_ROUND);
}

/// A second mapping of the same ring, read as one would with libc alone.
struct Bare {
    fd: i32,
    base: *mut u8,
    next: usize,
}

impl Bare {
    fn new(fd: BorrowedFd<'_>) -> Bare {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a ring of this size.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), BLOCK * BLOCKS, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        assert_ne!(base, libc::MAP_FAILED);
        Bare { fd: fd.as_raw_fd(), base: base.cast(), next: 0 }
    }

    fn drain(&mut self) {
        let mut seen = 0;
        while seen < PER_ROUND {
            // SAFETY: offsets are the kernel's own and lie within the mapping; blocks are read only while they are ours.
            unsafe {
                let block = self.base.add(self.next * BLOCK).cast::<libc::tpacket_block_desc>();
                let status = AtomicU32::from_ptr(&raw mut (*block).hdr.bh1.block_status);
                while status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                    let mut poll = libc::pollfd { fd: self.fd, events: libc::POLLIN, revents: 0 };
                    libc::poll(&mut poll, 1, 5000);
                }
                let header = &(*block).hdr.bh1;
                let mut at = block.cast::<u8>().add(header.offset_to_first_pkt as usize);
                for _ in 0..header.num_pkts {
                    let packet = &*at.cast::<libc::tpacket3_hdr>();
                    let link = &*at.add(48).cast::<libc::sockaddr_ll>();
                    let bytes = at.add(usize::from(packet.tp_net));
                    black_box((*bytes.add(1), *bytes.add(8), packet.tp_snaplen, packet.tp_sec, packet.tp_nsec));
                    black_box(link.sll_pkttype == libc::PACKET_OUTGOING);
                    at = at.add(packet.tp_next_offset as usize);
                    seen += 1;
                }
                status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            }
            self.next = (self.next + 1) % BLOCKS;
        }
        assert_eq!(seen, PER_ROUND);
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.base.cast(), BLOCK * BLOCKS) };
    }
}
