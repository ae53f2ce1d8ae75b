//! What a commit costs beside a bare insert loop in the same run, and what sealing and reading back cost.
//! `cargo bench -p store`

use std::time::{Duration, Instant};

use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName};
use rusqlite::{Connection, params};
use store::{
    Commit, CorrectedDelay, Period, Reader, RollupQuery, SampleQuery, Store, StoreOptions, StoredSample, WorkerSamples,
};

const ROWS: usize = 10_000;
const WORKERS: usize = 20;
const COMMITS: usize = 40;
const CLASSES: [u8; 4] = [0, 0x88, 0xb8, 0xd8];
const KINDS: [Kind; 4] = [Kind::Rtp, Kind::Udp, Kind::Dns, Kind::Http];

fn noise(state: &mut u64) -> i64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 33) as i64
}

/// One second of 20 workers at 500 samples each: 4 kinds, 4 classes, both ways.
fn second(number: usize, state: &mut u64) -> Commit {
    let start = 1_790_000_000_000_000_000 + number as i64 * 1_000_000_000;
    let per_worker = ROWS / WORKERS;
    let samples = (0..WORKERS)
        .map(|w| WorkerSamples {
            worker: WorkerName::new(&format!("city{w}")).expect("a valid name"),
            samples: (0..per_worker)
                .map(|i| {
                    let stream = i % 8;
                    let direction = if stream < 4 { Direction::Up } else { Direction::Down };
                    let kind = KINDS[stream % 4];
                    let step = i / 8;
                    let tos = Tos::from_byte(CLASSES[step % 4]);
                    let sent = start + (step as i64) * 16_000_000 + noise(state) % 40_000;
                    let delay = 20_000_000 + w as i64 * 3_000_000 + noise(state) % 4_000_000;
                    let lost = noise(state) % 100 == 0;
                    let sample = Sample {
                        session: SessionId((w * 4 + stream % 4) as u32 * 7919 + 1),
                        sequence: (number * 63 + step) as u32,
                        kind,
                        direction,
                        family: Family::Ipv4,
                        tos_sent: tos,
                        tos_received: (!lost).then_some(tos),
                        sent_at: UnixNanos(sent),
                        received_at: (!lost).then_some(UnixNanos(sent + delay)),
                        ttl: (!lost).then_some(53),
                        size: 220,
                        flags: SampleFlags(0),
                    };
                    let delay = (!lost).then_some(CorrectedDelay { ns: delay, uncertainty_ns: 300_000 });
                    StoredSample { sample, delay }
                })
                .collect(),
        })
        .collect();
    Commit { samples, ..Commit::default() }
}

fn bare(db: &mut Connection, commit: &Commit) -> Duration {
    let began = Instant::now();
    let transaction = db.transaction().expect("begin");
    {
        let mut insert = transaction
            .prepare_cached("INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .expect("prepare");
        for (worker, group) in commit.samples.iter().enumerate() {
            for StoredSample { sample, .. } in &group.samples {
                insert
                    .execute(params![
                        worker as i64,
                        sample.session.0,
                        sample.sequence,
                        sample.kind as u8,
                        sample.direction as u8,
                        sample.family as u8,
                        sample.tos_sent.byte(),
                        sample.tos_received.map(|tos| tos.byte()),
                        sample.sent_at.0,
                        sample.received_at.map(|at| at.0),
                        sample.ttl,
                        sample.size,
                        sample.flags.0
                    ])
                    .expect("insert");
            }
        }
    }
    transaction.commit().expect("commit");
    began.elapsed()
}

fn describe(what: &str, mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    println!("{what}: median {:.1} ms, worst {:.1} ms for {ROWS} rows", ms(times.len() / 2), ms(times.len() - 1));
    ms(times.len() / 2)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut db = Connection::open(dir.path().join("bare.db")).expect("open");
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;
         CREATE TABLE sample (worker, session, sequence, kind, direction, family, tos_sent, tos_received, sent_at,
         received_at, ttl, size, flags)",
    )
    .expect("create");
    let data = dir.path().join("data");
    let mut store = Store::open(&data, StoreOptions::default()).expect("open");

    let mut state = 88_172_645_463_325_252;
    let (mut bare_times, mut store_times) = (Vec::new(), Vec::new());
    for number in 0..COMMITS {
        let commit = second(number, &mut state);
        bare_times.push(bare(&mut db, &commit));
        let began = Instant::now();
        store.commit(&commit).expect("commit");
        store_times.push(began.elapsed());
    }
    let bare_ms = describe("bare insert loop", bare_times);
    let store_ms = describe("Store::commit   ", store_times);
    println!("ratio: {:.2}", store_ms / bare_ms);

    let rows = (ROWS * COMMITS) as f64;
    let reader = Reader::open(&data).expect("reader");
    let timed = |what: &str| {
        let began = Instant::now();
        let mut sum = 0u64;
        let count =
            reader.samples(&SampleQuery::default(), &mut |_, sample| sum += u64::from(sample.size)).expect("read");
        println!("{what}: {:.2} M samples/s", count as f64 / began.elapsed().as_secs_f64() / 1e6);
    };
    timed("read unsealed");
    let before = resident_kib();
    let began = Instant::now();
    let report = store.seal_all(UnixNanos(0)).expect("seal");
    println!(
        "seal: {:.0} ms, {:.2} M samples/s, {:.2} bytes a sample, peak resident {} -> {} KiB",
        began.elapsed().as_secs_f64() * 1e3,
        rows / began.elapsed().as_secs_f64() / 1e6,
        report.bytes as f64 / rows,
        before,
        resident_kib()
    );
    timed("read sealed");
    let began = Instant::now();
    let count = reader.rollups(&RollupQuery::all(Period::Minute), &mut |_| {}).expect("rollups");
    println!("read {count} minute rollups: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    println!("peak resident at the end: {} KiB; {:?}", resident_kib(), reader.storage().expect("size"));
}
