//! CPU per received packet: `UdpProbeSocket::receive` with ToS, TTL, stamp and destination of each packet, against a bare
//! recvmmsg(64) loop on a socket of the same options that looks at lengths only.
//!
//! Rounds fill the socket's buffer first, so that only the taking out is measured, and alternate between the two.

#[path = "support/bare.rs"]
mod bare;
#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use bare::Bare;
use net::{Outgoing, ReceiveBatch, UdpOptions, UdpProbeSocket};
use support::{full_run, median, thread_cpu_ns};
use wire::Tos;

const PER_ROUND: usize = 1024;
const BATCH: usize = 64;
/// Payload of Discord's voice packets, more or less.
const PAYLOAD: usize = 160;

fn main() {
    let rounds = if full_run() { 400 } else { 5 };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let options = UdpOptions { pktinfo: true, ..UdpOptions::default() };
        let receiver = UdpProbeSocket::bind(address, &options).unwrap();
        let sender = UdpProbeSocket::bind(address, &UdpOptions { timestamps: false, ..UdpOptions::default() }).unwrap();
        let to = receiver.local_addr().unwrap();
        let mut batch = ReceiveBatch::new(BATCH, 2048);
        let mut bare = Bare::new(BATCH);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for which in [round % 2, 1 - round % 2] {
                fill(&sender, to);
                let before = thread_cpu_ns();
                let received = match which {
                    0 => drain(&receiver, &mut batch),
                    _ => drain_bare(&receiver, &mut bare),
                };
                let cost = (thread_cpu_ns() - before) / received as f64;
                assert_eq!(received, PER_ROUND, "the socket's buffer is too small (net.core.rmem_max)");
                if which == 0 { &mut ours } else { &mut theirs }.push(cost);
            }
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        println!(
            "receive {:4}  net {ours:7.1} ns/packet   bare recvmmsg {theirs:7.1} ns/packet   ratio {:.3}",
            if address.is_ipv4() { "ipv4" } else { "ipv6" },
            ours / theirs
        );
    }
}

fn fill(sender: &UdpProbeSocket, to: SocketAddr) {
    let payload = [0u8; PAYLOAD];
    let packet = Outgoing { payload: &payload, to: Some(to), tos: Tos::from_byte(0xb8), ..Outgoing::default() };
    let packets = vec![packet; PER_ROUND];
    assert_eq!(sender.send_batch(&packets, &mut |_, error| panic!("{error}")), PER_ROUND);
}

fn drain(receiver: &UdpProbeSocket, batch: &mut ReceiveBatch) -> usize {
    let mut received = 0;
    while received < PER_ROUND {
        let count = receiver.receive(batch, Some(Duration::from_secs(1))).unwrap();
        if count == 0 {
            break;
        }
        received += count;
        for packet in batch.packets() {
            assert!(packet.payload.len() == PAYLOAD && !packet.truncated);
            black_box((packet.from, packet.to, packet.tos, packet.ttl, packet.stamp));
        }
    }
    received
}

fn drain_bare(receiver: &UdpProbeSocket, bare: &mut Bare) -> usize {
    let mut received = 0;
    while received < PER_ROUND {
        match bare.receive(receiver, PAYLOAD) {
            0 => break,
            count => received += count,
        }
    }
    received
}
