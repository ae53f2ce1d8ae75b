//! One-way delay on one clock: kernel transmit to kernel receive stamp as the sockets give them, against tcpdump's
//! nanosecond stamps at both ends of a veth pair, joined packet by packet, both ways; and irtt's one-way delays likewise. Runs in
//! namespaces of its own, as root.

#[path = "support/irtt.rs"]
mod irtt;
#[allow(unused)]
#[path = "../tests/support/mod.rs"]
mod namespaces;
#[path = "support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use model::UnixNanos;
use net::pacing::{set_timer_slack, sleep_until};
use net::{Clock, ReceiveBatch, UdpProbeSocket};
use support::{full_run, quantile};
use wire::Tos;

const INTERVAL_NS: u64 = 1_000_000;
const IRTT_PORT: u16 = 2112;
const VARIABLE: &str = "NETLAT_NET_BENCH_INSIDE";

fn main() {
    if std::env::var_os(VARIABLE).is_none() {
        let mut command = Command::new("unshare");
        // Not in a user namespace: there tcpdump insists on setting its groups, which is not allowed.
        command.arg("-nm").arg(std::env::current_exe().unwrap()).args(std::env::args().skip(1)).env(VARIABLE, "1");
        assert!(command.status().unwrap().success(), "run as root");
        return;
    }
    let count = if full_run() { 10_000 } else { 200 };
    let other = namespaces::veth_pair();
    namespaces::run("mkdir -p /run/dumps");
    let mut dumps = [dump("tcpdump -i left", "left"), dump("nsenter --net=/run/netns/right tcpdump -i right", "right")];
    let near = namespaces::udp("10.9.0.1:7001");
    let far = other.open(|| namespaces::udp("10.9.0.2:7002"));
    namespaces::warm_up(&near);
    let mut there = Half::default();
    let mut back = Half::default();
    std::thread::scope(|scope| {
        scope.spawn(|| answer(&far, count, &mut there.received, &mut back.sent));
        ask(&near, &far, count, &mut there.sent, &mut back.received);
    });
    let yardstick =
        irtt::run("nsenter --net=/run/netns/right", "10.9.0.2:2112", count, Duration::from_nanos(INTERVAL_NS));
    // tcpdump hands over what it has once a second.
    std::thread::sleep(Duration::from_millis(1500));
    for dump in &mut dumps {
        // SAFETY: a signal to our own child; it then writes what it has and ends.
        unsafe { libc::kill(dump.id() as i32, libc::SIGINT) };
        dump.wait().unwrap();
    }
    let (left, right) = (read_dump("left"), read_dump("right"));
    for (name, half, port, from, to) in [("there", &there, 7002, &left, &right), ("back", &back, 7001, &right, &left)] {
        let mut errors = Vec::new();
        let mut delays = Vec::new();
        // The socket's stamp less tcpdump's, at either end. tcpdump's tap stands before the driver, and its copying of the
        // packet falls between the two stamps of a departure.
        let (mut departures, mut arrivals) = (Vec::new(), Vec::new());
        for number in 0..count as u32 {
            let ours = half.received[&number].since(half.sent[&number]);
            let (Some(left), Some(arrived)) = (from.get(&(port, number)), to.get(&(port, number))) else { continue };
            errors.push((ours - (arrived - left)).abs() as f64 / 1e3);
            delays.push(ours as f64 / 1e3);
            departures.push((half.sent[&number].0 - left) as f64 / 1e3);
            arrivals.push((half.received[&number].0 - arrived) as f64 / 1e3);
        }
        assert!(errors.len() * 100 >= count * 99, "tcpdump saw {} of {count} packets", errors.len());
        println!(
            "delay {name:5}  {} packets   one-way p50 {:6.2} us   |net - tcpdump| p50 {:6.2} us  p99 {:6.2} us  max {:7.2} us   net later by: tx {:.2} us, rx {:.2} us",
            errors.len(),
            quantile(&mut delays, 0.5),
            quantile(&mut errors, 0.5),
            quantile(&mut errors, 0.99),
            quantile(&mut errors, 1.0),
            quantile(&mut departures, 0.5),
            quantile(&mut arrivals, 0.5),
        );
        if let Some(run) = &yardstick {
            beside(name, run, port, &errors, from, to);
        }
    }
}

/// irtt's error by the same truth.
fn beside(name: &str, run: &irtt::Run, port: u16, ours: &[f64], from: &Dump, to: &Dump) {
    let port = if port == 7002 { IRTT_PORT } else { 0 };
    let error = |trip: &irtt::Trip| {
        let told = if port == IRTT_PORT { trip.delay_there_ns? } else { trip.delay_back_ns? };
        let truth = to.get(&(port, trip.number))? - from.get(&(port, trip.number))?;
        Some((told - truth).abs() as f64 / 1e3)
    };
    let mut errors: Vec<f64> = run.trips.iter().filter_map(error).collect();
    if errors.is_empty() {
        return println!("delay {name:5}  irtt: tcpdump saw none of its packets");
    }
    let mut ours = ours.to_vec();
    let (p50, p99) = (quantile(&mut errors, 0.5), quantile(&mut errors, 0.99));
    println!(
        "delay {name:5}  {} packets   |irtt - tcpdump| p50 {p50:6.2} us  p99 {p99:6.2} us   irtt's error over net's: p50 {:.1}, p99 {:.1}",
        errors.len(),
        p50 / quantile(&mut ours, 0.5),
        p99 / quantile(&mut ours, 0.99),
    );
}

#[derive(Default)]
struct Half {
    sent: HashMap<u32, UnixNanos>,
    received: HashMap<u32, UnixNanos>,
}

fn number_of(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.first_chunk().unwrap())
}

fn collect(socket: &UdpProbeSocket, sent: &mut HashMap<u32, UnixNanos>) {
    socket
        .transmit_stamps(&mut |stamp| {
            let payload = wire::frame::udp_in_frame(stamp.frame).unwrap().1.payload;
            sent.insert(number_of(payload), stamp.stamp);
        })
        .unwrap();
}

fn ask(
    near: &UdpProbeSocket,
    far: &UdpProbeSocket,
    count: usize,
    sent: &mut HashMap<u32, UnixNanos>,
    received: &mut HashMap<u32, UnixNanos>,
) {
    set_timer_slack(1).unwrap();
    // What warmed up is not of the series.
    near.transmit_stamps(&mut |_| ()).unwrap();
    let to = far.local_addr().unwrap();
    let start = Clock::monotonic_ns() + 10 * INTERVAL_NS;
    let mut batch = ReceiveBatch::default();
    let take = |batch: &mut ReceiveBatch, received: &mut HashMap<u32, UnixNanos>, timeout| {
        near.receive(batch, Some(timeout)).unwrap();
        received.extend(batch.packets().map(|packet| (number_of(packet.payload), packet.stamp.unwrap())));
    };
    for number in 0..count {
        sleep_until(start + number as u64 * INTERVAL_NS);
        near.send_to(&(number as u32).to_be_bytes().repeat(40), Some(to), Tos::from_byte(0xb8), None).unwrap();
        collect(near, sent);
        take(&mut batch, received, Duration::ZERO);
    }
    while received.len() < count || sent.len() < count {
        take(&mut batch, received, Duration::from_millis(50));
        collect(near, sent);
    }
}

fn answer(
    far: &UdpProbeSocket,
    count: usize,
    received: &mut HashMap<u32, UnixNanos>,
    sent: &mut HashMap<u32, UnixNanos>,
) {
    let mut batch = ReceiveBatch::default();
    while received.len() < count || sent.len() < count {
        far.receive(&mut batch, Some(Duration::from_millis(50))).unwrap();
        for packet in batch.packets() {
            received.insert(number_of(packet.payload), packet.stamp.unwrap());
            far.send_to(packet.payload, Some(packet.from), Tos::from_byte(0xb8), packet.to).unwrap();
        }
        collect(far, sent);
    }
}

/// Started, and listening. Not in immediate mode, which wakes tcpdump for each packet: that takes its time between
/// tcpdump's stamp and the driver.
fn dump(command: &str, name: &str) -> Child {
    let mut words = command.split_whitespace();
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .args(["-Z", "root", "-n", "--time-stamp-precision=nano", "-s", "96", "-B", "8192"])
        .args(["-w", &format!("/run/dumps/{name}"), "udp port 7002 and udp port 7001 or udp port 2112"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump is needed");
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(child.stderr.take().unwrap());
    while !line.contains("listening on") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut reader, &mut line).unwrap() > 0, "tcpdump ended early");
    }
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    child
}

/// (Destination port, number) to nanoseconds. Of irtt's answers the port is 0: its client's is the kernel's choice.
type Dump = HashMap<(u16, u32), i64>;

/// irtt's header (its protocol version 1): 3 magic bytes, flags, a token of 8 bytes, then the number.
fn irtt_number(payload: &[u8]) -> Option<u32> {
    payload.get(12..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Out of a pcap file with nanosecond stamps.
fn read_dump(name: &str) -> Dump {
    let bytes = std::fs::read(format!("/run/dumps/{name}")).unwrap();
    let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    assert_eq!(word(0), 0xa1b2_3c4d, "a pcap file with nanoseconds");
    let mut seen = HashMap::new();
    let mut at = 24;
    while at + 16 <= bytes.len() {
        let (seconds, nanoseconds, length) = (word(at), word(at + 4), word(at + 8) as usize);
        let Some(frame) = bytes.get(at + 16..at + 16 + length) else { break };
        let udp = wire::frame::udp_in_frame(frame).unwrap().1;
        let time = i64::from(seconds) * 1_000_000_000 + i64::from(nanoseconds);
        if udp.source_port == IRTT_PORT || udp.destination_port == IRTT_PORT {
            let port = if udp.destination_port == IRTT_PORT { IRTT_PORT } else { 0 };
            // Its handshake comes before number 0 and has the same bytes there: the latest counts.
            seen.extend(irtt_number(udp.payload).map(|number| ((port, number), time)));
        } else {
            seen.insert((udp.destination_port, number_of(udp.payload)), time);
        }
        at += 16 + length;
    }
    seen
}
