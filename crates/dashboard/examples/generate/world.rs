//! A made-up world for the pages: cities with delays that follow the day, changed marks, verdicts, bots. Everything goes into the
//! store by the store's own ways, so that pages read it as they read a server's.

use model::report::Differentiation;
use model::{
    BootId, Direction, Family, Instrument, Kind, Measurement, Metric, Record, RecordId, RecordSubmission, Sample,
    SampleFlags, SessionId, Tos, UnixNanos, WorkerName,
};
use serde_json::json;
use store::{
    ClockRow, Commit, CorrectedDelay, Seen, Stated, Store, StoreError, StoreOptions, StoredSample, TraceRow,
    VerdictRow, WorkerRow, WorkerSamples,
};

pub const CITIES: [&str; 20] = [
    "nyc1", "fra1", "lon1", "sfo1", "tor1", "ams3", "sgp1", "blr1", "syd1", "nrt1", "gru1", "jnb1", "waw1", "mad1",
    "dfw1", "sea1", "icn1", "bom1", "arn1", "scl1",
];
/// Best effort, AF41, EF, 54.
pub const CLASSES: [u8; 4] = [0, 0x88, 0xb8, 0xd8];
const KINDS: [Kind; 4] = [Kind::Rtp, Kind::Udp, Kind::Dns, Kind::Http];
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;

#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub cities: usize,
    pub minutes: i64,
    /// Probes of each kind, class and direction.
    pub per_minute: u32,
    /// Minutes of the newest time in which the first city sends all 64 DSCP.
    pub all_classes_minutes: i64,
}

/// SplitMix64: numbers that look random and are the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Within `0..most`.
    fn below(&mut self, most: i64) -> i64 {
        (self.next() % most.max(1) as u64) as i64
    }
}

pub fn name(text: &str) -> WorkerName {
    WorkerName::new(text).expect("a valid name")
}

/// Fills a directory with everything until `end`; answers with the number of samples.
pub fn generate(dir: &std::path::Path, end: UnixNanos, extent: Extent) -> Result<u64, StoreError> {
    let mut store = Store::open(dir, StoreOptions::default())?;
    let start = UnixNanos((end.0 / MINUTE - extent.minutes) * MINUTE);
    let mut noise = Noise(2_026);
    let mut written = 0;
    for (index, city) in CITIES.iter().take(extent.cities).enumerate() {
        store.put_worker(&WorkerRow {
            name: name(city),
            version: "0.1.0".to_owned(),
            ephemeral: false,
            joined_at: start,
            seen_at: Some(end),
            waiting_bytes: Some(0),
        })?;
        for minute in (0..extent.minutes).step_by(10) {
            let minutes = minute..(minute + 10).min(extent.minutes);
            let commit = probes(city, index, start, minutes.clone(), extent, &mut noise);
            written += commit.samples.iter().map(|group| group.samples.len() as u64).sum::<u64>();
            store.commit(&commit)?;
            store.submit(&records(city, index, start, minutes, &mut noise))?;
            store.seal(end)?;
        }
    }
    store.commit(&Commit { verdicts: verdicts(start, end), ..Commit::default() })?;
    store.put_trace(&trace(end))?;
    Ok(written)
}

fn base_delay(index: usize) -> i64 {
    4_000_000 + (index as i64 * 37 % 90) * 1_000_000
}

/// Slower in the evening, by up to a fifth.
fn of_day(at: i64) -> f64 {
    let hour = (at / SECOND % 86_400) as f64 / 3600.0;
    1.0 + 0.1 * (1.0 + ((hour - 20.0) / 24.0 * std::f64::consts::TAU).cos())
}

fn probes(
    city: &str,
    index: usize,
    start: UnixNanos,
    minutes: std::ops::Range<i64>,
    extent: Extent,
    noise: &mut Noise,
) -> Commit {
    let mut samples = Vec::new();
    for minute in minutes.clone() {
        let all = index == 0 && minute >= extent.minutes - extent.all_classes_minutes;
        let classes: Vec<u8> = if all { (0..64).map(|dscp| dscp << 2).collect() } else { CLASSES.to_vec() };
        for (k, kind) in KINDS.into_iter().enumerate() {
            for (c, class) in classes.iter().enumerate() {
                for n in 0..extent.per_minute {
                    let at =
                        start.0 + minute * MINUTE + i64::from(n) * (MINUTE / i64::from(extent.per_minute)) + c as i64;
                    let sequence = ((minute * i64::from(extent.per_minute) + i64::from(n)) as u32) * 64 + c as u32;
                    let session = SessionId((index * 16 + k + 1) as u32);
                    both_ways(city, base_delay(index), (kind, *class, at, sequence, session), noise, &mut samples);
                }
            }
        }
    }
    // Streams come in order of their sequence.
    samples.sort_by_key(|stored| (stored.sample.session, stored.sample.direction, stored.sample.sequence));
    let at = UnixNanos(start.0 + minutes.end * MINUTE);
    let clock = ClockRow {
        worker: name(city),
        at,
        offset_ns: 3_000_000 + index as i64 * 100_000,
        uncertainty_ns: base_delay(index),
        skew_ppm: 4.2,
        steps: 0,
    };
    Commit {
        samples: vec![WorkerSamples { worker: name(city), samples }],
        clocks: vec![clock],
        seen: vec![Seen { worker: name(city), at, waiting_bytes: Some(0) }],
        ..Commit::default()
    }
}

type Probe = (Kind, u8, i64, u32, SessionId);

fn both_ways(city: &str, base: i64, probe: Probe, noise: &mut Noise, out: &mut Vec<StoredSample>) {
    let (kind, class, at, sequence, session) = probe;
    let mut sent_at = at;
    for direction in [Direction::Up, Direction::Down] {
        // London polices EF upward: what passes is slower, much does not pass.
        let policed = city == "lon1" && class == 0xb8 && direction == Direction::Up;
        let queue = noise.below(2_000_000) + if noise.below(50) == 0 { 15_000_000 } else { 0 };
        let delay = (base as f64 * of_day(at)) as i64 + queue + if policed { 6_000_000 } else { 0 };
        let lost = noise.below(1000) < if policed { 180 } else { 3 };
        let received = match (city, direction) {
            ("nyc1", Direction::Up) if class == 0xb8 => 0,
            ("ams3", _) => class & 0x1f,
            _ => class,
        };
        let sample = Sample {
            session,
            sequence,
            kind,
            direction,
            family: Family::Ipv4,
            tos_sent: Tos::from_byte(class),
            tos_received: (!lost).then_some(Tos::from_byte(received)),
            sent_at: UnixNanos(sent_at),
            received_at: (!lost).then_some(UnixNanos(sent_at + delay)),
            ttl: (!lost).then_some(57),
            size: 220,
            flags: SampleFlags(0),
        };
        let delay_ns = (!lost).then_some(CorrectedDelay { ns: delay, uncertainty_ns: base });
        out.push(StoredSample { sample, delay: delay_ns });
        sent_at += delay + 40_000;
    }
}

const LIBRARIES: [(&str, &str); 3] =
    [("twilight 0.18", "rust"), ("discord.py 2.7.1", "python"), ("discord.js 14.25", "javascript")];

fn records(
    city: &str,
    index: usize,
    start: UnixNanos,
    minutes: std::ops::Range<i64>,
    noise: &mut Noise,
) -> RecordSubmission {
    let mut records = Vec::new();
    for minute in minutes {
        for (l, (library, language)) in LIBRARIES.into_iter().enumerate() {
            for (m, metric) in [Metric::Rest, Metric::GatewayHeartbeat, Metric::MessageEcho, Metric::VoiceHeartbeat]
                .into_iter()
                .enumerate()
            {
                let at = start.0 + minute * MINUTE + (l * 4 + m) as i64 * SECOND;
                let network_us = (base_delay(index) / 2_000 + noise.below(300)) as u64;
                let own = [90_000, 30_000, 120_000, 8_000][m] + l as i64 * 12_000;
                let app_us = network_us + ((own + noise.below(own / 3)) as f64 * of_day(at)) as u64;
                let mut measured = Measurement::new(metric, UnixNanos(at));
                if noise.below(200) == 0 {
                    measured.flag("timeout");
                } else {
                    measured.app_us = Some(app_us);
                }
                measured.network_us = Some(network_us);
                if metric == Metric::VoiceHeartbeat {
                    // Every six hours another host.
                    let host = if minute / 360 % 2 == 0 { "c-fra04-1a2b3c4d" } else { "c-ams08-44aff7ca" };
                    measured.target = format!("{host}.discord.media:8443");
                    measured.connect_us = Some(network_us + 80);
                    measured.udp_us = Some(network_us + 150);
                }
                let counter = ((minute * 3 + l as i64) * 4 + m as i64 + 1) as u64;
                let id = RecordId { worker: name(city), boot: BootId(7), counter };
                let instrument =
                    Instrument { library: library.into(), language: language.into(), version: "0.1.0".into() };
                records.push(Record { id, instrument, measured });
            }
        }
        if minute % 10 == 0 {
            records.extend(media(city, index, UnixNanos(start.0 + minute * MINUTE), minute as u64, noise));
        }
    }
    RecordSubmission { records, ..RecordSubmission::default() }
}

/// A program of the host looks a media host up, and the worker pings it, and one that it was told to.
fn media(city: &str, index: usize, at: UnixNanos, minute: u64, noise: &mut Noise) -> [Record; 3] {
    let network_us = (base_delay(index) / 2_000 + noise.below(300)) as u64;
    let mut looked_up = Measurement::new(Metric::MediaDns, at);
    looked_up.target = "c-fra04-1a2b3c4d.discord.media".to_owned();
    looked_up.dns_us = Some(4_000 + noise.below(3_000) as u64);
    looked_up.resolver = Some([192, 0, 2, 53].into());
    looked_up.addresses = vec![[192, 0, 2, 80].into()];
    looked_up.flag("a");
    let ping = |target: &str, further_us: u64| {
        let mut measured = Measurement::new(Metric::MediaPing, at);
        measured.target = format!("{target}.discord.media");
        measured.dns_us = Some(900 + further_us / 50);
        measured.icmp_us = Some(network_us + further_us);
        measured.connect_us = Some(network_us + further_us + 60);
        measured
    };
    let mut told = ping("rotterdam1234", 7_000);
    told.target.push_str(":443");
    told.flag("configured");
    let instrument = Instrument { library: "netlat 0.1.0".into(), language: "rust".into(), version: "0.1.0".into() };
    let mut counter = minute * 3;
    [looked_up, ping("c-fra04-1a2b3c4d", 0), told].map(|measured| {
        counter += 1;
        let id = RecordId { worker: name(city), boot: BootId(8), counter };
        Record { id, instrument: instrument.clone(), measured }
    })
}

/// London's EF is policed, and has been since the middle; its AF41 is not.
fn verdicts(start: UnixNanos, end: UnixNanos) -> Vec<VerdictRow> {
    let middle = UnixNanos(start.0 + (end.0 - start.0) / 2);
    let row = |at, changed_from, entry| VerdictRow {
        worker: name("lon1"),
        direction: Direction::Up,
        family: Family::Ipv4,
        at,
        changed_from,
        stated: Stated::Entry(Box::new(entry)),
    };
    vec![
        row(start, None, entry(34, "none", 0.0)),
        row(start, None, entry(46, "none", 0.0)),
        row(middle, Some(model::report::Verdict::None), entry(46, "policed", 1.0)),
    ]
}

fn entry(dscp: u8, verdict: &str, found: f64) -> Differentiation {
    let estimate = |middle: f64, half: f64| json!({"estimate": middle, "low": middle - half, "high": middle + half});
    let rate = |value: f64| if found > 0.0 { estimate(value, value * 0.01) } else { serde_json::Value::Null };
    let course: Vec<serde_json::Value> = (1..=20)
        .map(|step| {
            let share = f64::from(step) / 20.0;
            json!({"pairs": step * 100, "log10_e": {"delay": found * 6.0 * share - 0.4, "loss": found * 22.0 * share - 0.6}})
        })
        .collect();
    let value = json!({
        "subject": {"kind": "rtp", "dscp": dscp, "port": 8620, "payload": "rtp"},
        "control": {"kind": "rtp", "dscp": 0, "port": 8620, "payload": "rtp"},
        "verdict": verdict, "trigger": if found > 0.0 { json!("dscp") } else { json!(null) },
        "flow_rule": if found > 0.0 { json!("per-packet") } else { json!(null) },
        "error_rate": {"kind": "per_year", "value": 0.1}, "hypotheses": 12,
        "log10_e": {"delay": found * 5.6 - 0.4, "loss": found * 21.4 - 0.6},
        "delay_shift_ms": estimate(found * 6.0, 0.12), "p95_shift_ms": estimate(found * 6.2, 0.3),
        "loss_shift": estimate(found * 0.177, 0.004), "rate_bps": rate(313_000.0), "rate_l2_bps": rate(333_000.0),
        "burst_bytes": rate(10_000.0), "limit_after": null, "excess_dscp": null, "flags": [], "where": null,
        "pairs": 2000, "seconds": 1800.0, "under_load": null, "course": course,
        "note": "a limit above 2 Mbit/s would not have been seen"
    });
    serde_json::from_value(value).expect("the report's shape")
}

fn trace(end: UnixNanos) -> TraceRow {
    let mark = |sent: u8, quoted: u8, address: &str| json!({"dscp_sent": sent, "ecn_sent": 0, "dscp_quoted": quoted, "ecn_quoted": 0, "address": address, "count": 3});
    let hop = |number: u8, address: &str, ef: u8, destination: bool| {
        json!({"hop": number, "addresses": [address], "rtt_ms": {"min": f64::from(number) * 1.7, "p50": f64::from(number) * 1.9},
               "marks": [mark(0, 0, address), mark(46, ef, address)], "sent": 6, "answered": 6, "silent": false,
               "destination": destination, "refuses": false, "translated": false})
    };
    let hops = json!([
        hop(1, "192.0.2.1", 46, false),
        hop(2, "198.51.100.7", 46, false),
        hop(3, "198.51.100.23", 0, false),
        hop(4, "203.0.113.9", 0, true)
    ]);
    let body = json!({"family": "ipv4", "problem": null, "trace": {
        "target": "203.0.113.9", "family": "ipv4", "port": 8620, "from": "192.0.2.40:40000", "left_with": [], "hops": hops,
        "reached": true, "destination_hop": 4, "sent": 24, "answered": 24, "foreign": 0, "complete": true, "notes": []
    }});
    TraceRow {
        worker: name("nyc1"),
        direction: Direction::Up,
        family: Family::Ipv4,
        at: UnixNanos(end.0 - 10 * MINUTE),
        body: body.to_string(),
    }
}
