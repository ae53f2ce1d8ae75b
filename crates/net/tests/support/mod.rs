//! Network namespaces for tests that need interfaces and privileges of their own: made as an ordinary user, in a new user
//! namespace. Where that is impossible the test fails; it is not skipped.
#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use model::UnixNanos;
use net::{ReceiveBatch, UdpOptions, UdpProbeSocket};
use wire::Tos;

/// Far beyond what anything here takes; reached only by what never comes.
pub const LONG: Duration = Duration::from_secs(20);

const VARIABLE: &str = "NETLAT_NET_TEST_INSIDE";

/// Runs the test `name` (this test's own) again in a namespace of its own, where `body` then runs with all capabilities
/// over it and loopback up.
pub fn inside(name: &str, body: impl FnOnce()) {
    if std::env::var(VARIABLE).as_deref() == Ok(name) {
        return body();
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .arg("-Urnm")
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(VARIABLE, name)
        .output()
        .expect("unshare(1) is needed");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "inside the namespace:\n{text}");
    assert!(text.contains("1 passed"), "the test did not run inside the namespace:\n{text}");
    print!("{text}");
}

/// As `inside`, with the machine's own interfaces hidden and loopback up.
pub fn on_loopback(name: &str, body: impl FnOnce()) {
    inside(name, || {
        run("ip link set lo up");
        body();
    });
}

/// Two namespaces joined by a veth pair: interface `left` in this one (10.9.0.1, fd09::1), `right` (10.9.0.2, fd09::2) in the
/// one returned.
pub fn veth_pair() -> Namespace {
    run("mount -t tmpfs none /run");
    run("ip link set lo up");
    let other = Namespace::new("right");
    run("ip link add left type veth peer name right netns right");
    run("ip addr add 10.9.0.1/24 dev left");
    run("ip addr add fd09::1/64 dev left nodad");
    run("ip link set left up");
    other.run("ip addr add 10.9.0.2/24 dev right");
    other.run("ip addr add fd09::2/64 dev right nodad");
    other.run("ip link set right up");
    other
}

pub struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn new(name: &str) -> Namespace {
        run(&format!("ip netns add {name}"));
        let namespace = Namespace { name: name.to_owned() };
        namespace.run("ip link set lo up");
        namespace
    }

    /// A command in this namespace.
    pub fn run(&self, command: &str) {
        run(&format!("nsenter --net=/run/netns/{} {command}", self.name));
    }

    /// Sockets opened by `open` belong to this namespace, whoever uses them.
    pub fn open<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: takes one file descriptor; it moves this thread only, which ends soon.
                    assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0, "setns");
                    open()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

pub fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Takes every capability from this thread.
pub fn without_capabilities() {
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::clear(None, set).unwrap();
    }
    assert!(!net::capability::has_net_raw());
}

pub fn udp(address: &str) -> UdpProbeSocket {
    UdpProbeSocket::bind(address.parse().unwrap(), &UdpOptions { pktinfo: true, ..UdpOptions::default() }).unwrap()
}

/// A received packet that owns its bytes.
#[derive(Clone, Debug)]
pub struct Owned {
    pub payload: Vec<u8>,
    pub from: SocketAddr,
    pub to: Option<std::net::IpAddr>,
    pub tos: Option<Tos>,
    pub ttl: Option<u8>,
    pub stamp: Option<UnixNanos>,
    pub truncated: bool,
}

/// Waits for `count` packets.
pub fn receive(socket: &UdpProbeSocket, count: usize) -> Vec<Owned> {
    let mut batch = ReceiveBatch::default();
    let mut all = Vec::new();
    while all.len() < count {
        assert!(socket.receive(&mut batch, Some(LONG)).unwrap() > 0, "{} of {count} packets came", all.len());
        all.extend(batch.packets().map(|packet| Owned {
            payload: packet.payload.to_vec(),
            from: packet.from,
            to: packet.to,
            tos: packet.tos,
            ttl: packet.ttl,
            stamp: packet.stamp,
            truncated: packet.truncated,
        }));
    }
    all
}

/// Waits for `count` transmit stamps: stamp and frame.
pub fn transmit_stamps(socket: &UdpProbeSocket, count: usize) -> Vec<(UnixNanos, Vec<u8>)> {
    let mut all = Vec::new();
    while all.len() < count {
        assert!(socket.wait(Some(LONG)).unwrap().error_queue, "{} of {count} stamps came", all.len());
        socket.transmit_stamps(&mut |stamp| all.push((stamp.stamp, stamp.frame.to_vec()))).unwrap();
    }
    all
}

/// Sends to itself until packets come with kernel stamps: stamping is turned on lazily, host-wide.
pub fn warm_up(socket: &UdpProbeSocket) {
    let own = socket.local_addr().unwrap();
    for _ in 0..10_000 {
        socket.send_to(b"warm", Some(own), Tos::default(), None).unwrap();
        let stamped = receive(socket, 1)[0].stamp.is_some();
        transmit_stamps(socket, 1);
        if stamped {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the kernel never stamps");
}
