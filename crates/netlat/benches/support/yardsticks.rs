//! The field's yardsticks beside ours: reflectors that answer every packet, each driven at the same pace, and the CPU time of
//! their processes per answered packet. What is not installed is said.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wire::stamp::{ErrorEstimate, Security, SenderPacket, Timestamp, TimestampFormat};

use super::{Running, cpu_ns, median, settle};

/// Below the pace that `netlat reflect` allows one source.
const PER_SECOND: u64 = 8_000;
const SECONDS: u64 = 2;
const ROUNDS: usize = 3;

/// Prints a line each; `bare_ns` is what receiving alone costs a bare loop at full rate.
pub fn run(bare_ns: f64) {
    let suite = std::env::var_os("STAMP_SUITE")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/stamp-suite"), PathBuf::from);
    let suite = suite.join("bin/stamp-suite");
    let ours = reflector("netlat reflect", || {
        Command::new(env!("CARGO_BIN_EXE_netlat")).args(["reflect", "--listen", "127.0.0.1:18731"]).quiet()
    });
    let suites = if suite.exists() {
        reflector("stamp-suite", || Command::new(&suite).args(["-i", "-S", "127.0.0.1", "-o", "18731"]).quiet())
    } else {
        println!("stamp-suite: not in {} (scripts/interop-stamp.sh builds it, or set STAMP_SUITE)", suite.display());
        None
    };
    let irtt = irtt();
    for (name, cost) in [("netlat reflect", ours), ("stamp-suite", suites), ("irtt server", irtt)] {
        if let (Some(cost), Some(ours)) = (cost, ours) {
            println!(
                "{name} at {PER_SECOND}/s: {cost:.0} ns/packet received and answered, {:.2} of netlat reflect, {:.2} of the bare loop",
                cost / ours,
                cost / bare_ns
            );
        }
    }
}

trait Quiet {
    fn quiet(&mut self) -> Option<Child>;
}

impl Quiet for Command {
    fn quiet(&mut self) -> Option<Child> {
        self.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    }
}

/// CPU per answered packet, of a reflector on 127.0.0.1:18731.
fn reflector(name: &str, start: impl Fn() -> Option<Child>) -> Option<f64> {
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let child = Running(start()?);
        std::thread::sleep(Duration::from_millis(500));
        settle(child.id());
        let before = cpu_ns(child.id());
        let answered = drive();
        settle(child.id());
        let all = PER_SECOND * SECONDS;
        if answered * 10 < all * 9 {
            println!("{name}: only {answered} of {all} packets were answered");
            return None;
        }
        costs.push((cpu_ns(child.id()) - before) / answered as f64);
    }
    Some(median(&mut costs))
}

/// Open STAMP packets at the pace, a few at a time; answers with the number of answers.
fn drive() -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect("127.0.0.1:18731").expect("a route");
    socket.set_nonblocking(true).expect("nonblocking");
    let (start, mut sent, mut answered) = (Instant::now(), 0u64, 0u64);
    let (mut packet, mut buffer) = (Vec::new(), [0u8; 512]);
    while start.elapsed() < Duration::from_secs(SECONDS) + Duration::from_millis(200) {
        let due = (start.elapsed().as_micros() as u64 * PER_SECOND / 1_000_000).min(PER_SECOND * SECONDS);
        while sent < due {
            let header = SenderPacket {
                sequence: sent as u32,
                timestamp: Timestamp::default(),
                error: ErrorEstimate::unknown(TimestampFormat::Ntp),
                ssid: 0,
            };
            wire::stamp::build_sender(&mut packet, &header, &[], Security::Open).expect("a packet");
            let _ = socket.send(&packet);
            sent += 1;
        }
        while socket.recv(&mut buffer).is_ok() {
            answered += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    answered
}

/// Driven by its own client, since its packets need a session.
fn irtt() -> Option<f64> {
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let Some(server) = Command::new("irtt").args(["server", "-b", "127.0.0.1:18732", "-i", "0"]).quiet() else {
            println!("irtt: not installed (Debian package irtt)");
            return None;
        };
        let server = Running(server);
        std::thread::sleep(Duration::from_millis(500));
        let before = cpu_ns(server.id());
        let client = Command::new("irtt")
            .args(["client", "-Q", "-l", "160", "-i", &format!("{}us", 1_000_000 / PER_SECOND)])
            .args(["-d", &format!("{SECONDS}s"), "-o", "-", "127.0.0.1:18732"])
            .output()
            .ok()?;
        let spent = cpu_ns(server.id()) - before;
        let told: serde_json::Value = serde_json::from_slice(&client.stdout).ok()?;
        let answered = told["stats"]["packets_received"].as_u64().filter(|count| *count > 0)?;
        costs.push(spent / answered as f64);
    }
    Some(median(&mut costs))
}
