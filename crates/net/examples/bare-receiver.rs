//! Receives datagrams of one length on loopback by a bare recvmmsg(64) loop with every control message switched on, until its
//! standard input ends: the yardstick of `cargo bench -p netlat --bench receive`. Prints its address, then packets received.

#[path = "../benches/support/bare.rs"]
mod bare;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bare::Bare;
use net::{ReceiveBatch, UdpOptions, UdpProbeSocket};

fn main() {
    let length: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("payload length");
    let options = UdpOptions { pktinfo: true, ..UdpOptions::default() };
    let address = "127.0.0.1:0".parse().expect("an address");
    let socket = UdpProbeSocket::bind(address, &options).expect("a socket");
    println!("{}", socket.local_addr().expect("its address"));
    // Sets the socket's receive timeout, so that the bare loop comes back to look whether it is over.
    let _ = socket.receive(&mut ReceiveBatch::new(1, 64), Some(Duration::from_millis(50)));
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        seen.store(true, Ordering::Relaxed);
    });
    let (mut bare, mut packets) = (Bare::new(64), 0);
    loop {
        match bare.receive(&socket, length) {
            0 if over.load(Ordering::Relaxed) => break,
            count => packets += count,
        }
    }
    println!("{packets} dropped {}", socket.dropped().expect("drops"));
}
