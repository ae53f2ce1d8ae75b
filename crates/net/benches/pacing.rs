//! How far from its planned time a packet leaves at 1000 packets per second, by the kernel's transmit stamps; none is
//! skipped, late ones are sent at once. Beside it the same with std's sleep and the default timer slack, and irtt, which skips what
//! is late.

#[path = "support/irtt.rs"]
mod irtt;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use net::pacing::{set_timer_slack, sleep_until};
use net::{Clock, UdpOptions, UdpProbeSocket};
use support::{full_run, quantile};
use wire::Tos;

const INTERVAL_NS: u64 = 1_000_000;

fn main() {
    let count = if full_run() { 20_000 } else { 200 };
    let plain = std::thread::spawn(move || {
        run("std::thread::sleep", count / 4, |until| {
            std::thread::sleep(Duration::from_nanos(until.saturating_sub(Clock::monotonic_ns())));
        })
    });
    let theirs = plain.join().unwrap();
    set_timer_slack(1).unwrap();
    let ours = run("net", count, sleep_until);
    println!("pacing  p50 ratio {:.3}", ours.0 / theirs.0);
    if let Some((p50, p99)) = yardstick(count) {
        println!("pacing  irtt's error over net's: p50 {:.2}, p99 {:.2}", p50 / ours.0, p99 / ours.1);
    }
}

/// irtt does not say what it planned: its plan is taken to lie in the middle of what it did, which flatters it. Median and p99
/// in microseconds.
fn yardstick(count: usize) -> Option<(f64, f64)> {
    let run = irtt::run("", "127.0.0.1:18731", count, Duration::from_nanos(INTERVAL_NS))?;
    // It numbers what it sends, so a skipped moment shifts all that follow: each packet belongs to the moment nearest to it.
    let first = run.trips.first()?.sent_ns;
    let offset = |at: i64| {
        let interval = INTERVAL_NS as i64;
        let rest = (at - first).rem_euclid(interval);
        if rest * 2 > interval { rest - interval } else { rest }
    };
    let mut offsets: Vec<f64> = run.trips.iter().map(|trip| offset(trip.sent_ns) as f64).collect();
    let middle = quantile(&mut offsets, 0.5);
    let mut errors: Vec<f64> = offsets.iter().map(|offset| (offset - middle).abs() / 1e3).collect();
    let (p50, p99, max) = (quantile(&mut errors, 0.5), quantile(&mut errors, 0.99), quantile(&mut errors, 1.0));
    let sent = run.trips.len();
    println!(
        "pacing  {:22} {sent} packets   p50 {p50:8.1} us   p99 {p99:8.1} us   max {max:8.1} us   {} skipped",
        "irtt (user-space time)",
        run.planned.saturating_sub(sent)
    );
    Some((p50, p99))
}

/// Returns median and p99, in microseconds.
fn run(name: &str, count: usize, mut sleep: impl FnMut(u64)) -> (f64, f64) {
    let socket = UdpProbeSocket::bind("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let sink = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = sink.local_addr().unwrap();
    let start = Clock::monotonic_ns() + 10 * INTERVAL_NS;
    // Realtime less monotonic, as it was when the packet was sent.
    let mut epochs = Vec::with_capacity(count);
    let mut left = vec![None; count];
    let mut collect = |socket: &UdpProbeSocket| {
        socket
            .transmit_stamps(&mut |stamp| {
                let payload = wire::frame::udp_in_frame(stamp.frame).unwrap().1.payload;
                let number = u32::from_be_bytes(*payload.first_chunk().unwrap()) as usize;
                left[number] = Some(stamp.stamp.0);
            })
            .unwrap();
    };
    let clock = Clock::identity();
    for number in 0..count {
        sleep(start + number as u64 * INTERVAL_NS);
        socket.send_to(&(number as u32).to_be_bytes().repeat(40), Some(to), Tos::from_byte(0xb8), None).unwrap();
        epochs.push((0..3).map(|_| epoch(&clock)).min_by_key(|(width, _)| *width).unwrap().1);
        collect(&socket);
    }
    while socket.wait(Some(Duration::from_millis(100))).unwrap().error_queue {
        collect(&socket);
    }
    let mut errors: Vec<f64> = left
        .iter()
        .zip(&epochs)
        .enumerate()
        .map(|(number, (stamp, epoch))| {
            let planned = (start + number as u64 * INTERVAL_NS) as i64;
            let left = stamp.unwrap_or_else(|| panic!("packet {number} has no stamp"));
            ((left - epoch - planned) as f64 / 1e3).abs()
        })
        .collect();
    let (p50, p99, max) = (quantile(&mut errors, 0.5), quantile(&mut errors, 0.99), quantile(&mut errors, 1.0));
    println!("pacing  {name:22} {count} packets   p50 {p50:8.1} us   p99 {p99:8.1} us   max {max:8.1} us");
    (p50, p99)
}

/// Width of the reading, and realtime less monotonic.
fn epoch(clock: &Clock) -> (u64, i64) {
    let before = Clock::monotonic_ns();
    let now = clock.now().0;
    let after = Clock::monotonic_ns();
    (after - before, now - (before + (after - before) / 2) as i64)
}
