//! Prints what joining and reporting cost on this machine: `cargo run --release -p measure --example throughput`.

use std::time::Instant;

use measure::{ClockTracker, Exchange, Joiner, ReportConfig, StreamInfo, build_paths};
use model::{
    Direction, Family, Kind, ReceivedHalf, Sample, SampleFlags, SentHalf, SessionId, Tos, UnixNanos, WorkerName,
};

const PACKETS: u32 = 500_000;

fn main() {
    let mut samples: Vec<Sample> = Vec::new();
    for direction in [Direction::Up, Direction::Down] {
        let info = StreamInfo { session: SessionId(1), kind: Kind::Udp, direction, family: Family::Ipv4 };
        let mut joiner = Joiner::new(info);
        let start = Instant::now();
        for batch in 0..PACKETS / 1000 {
            let sequences = batch * 1000..(batch + 1) * 1000;
            let sent: Vec<SentHalf> = sequences.clone().map(|sequence| sent(sequence, direction)).collect();
            let received: Vec<ReceivedHalf> = sequences.map(|sequence| received(sequence, direction)).collect();
            joiner.received(&received);
            joiner.sent(&sent);
            joiner.settled_through((batch + 1) * 1000 - 1);
            joiner.drain(&mut samples);
        }
        let per_half = start.elapsed().as_nanos() / u128::from(2 * PACKETS);
        println!("join {}: {per_half} ns per half", direction.name());
    }
    let start = Instant::now();
    let Ok(worker) = WorkerName::new("bench") else { return };
    let paths = build_paths(&worker, &samples, &|_| None, &ReportConfig::default());
    println!(
        "report: {} samples in {:?}, {} paths",
        samples.len(),
        start.elapsed(),
        paths.map_or(0, |paths| paths.len())
    );

    let mut tracker = ClockTracker::new();
    let start = Instant::now();
    for sequence in (0..PACKETS).step_by(20) {
        let (up, down) = (sent(sequence, Direction::Up), received(sequence, Direction::Up));
        let (answer, back) = (sent(sequence, Direction::Down), received(sequence, Direction::Down));
        tracker.add(Exchange { t1: up.sent_at, t2: down.received_at, t3: answer.sent_at, t4: back.received_at });
    }
    let exchanges = u128::from(PACKETS / 20);
    println!("tracker: {} us per exchange of one a second", start.elapsed().as_micros() / exchanges);
}

/// Milliseconds of queueing, the same every time.
fn queue(sequence: u32, salt: u64) -> i64 {
    let mixed = (u64::from(sequence) ^ salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 44) as i64
}

fn sent(sequence: u32, direction: Direction) -> SentHalf {
    let at = i64::from(sequence) * 50_000_000;
    let at = if direction == Direction::Up { at } else { at + 20_000_000 + queue(sequence, 1) + 30_000 };
    let tos = Tos::from_byte([0, 0x88, 0xb8, 0xd8][sequence as usize % 4]);
    SentHalf { sequence, sent_at: UnixNanos(at), tos, size: 220, flags: SampleFlags::default() }
}

fn received(sequence: u32, direction: Direction) -> ReceivedHalf {
    let at = sent(sequence, direction).sent_at.0
        + 20_000_000
        + queue(sequence, if direction == Direction::Up { 1 } else { 2 });
    ReceivedHalf { sequence, received_at: UnixNanos(at), tos: None, ttl: Some(60), flags: SampleFlags::default() }
}
