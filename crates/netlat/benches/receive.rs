//! CPU per received packet of the whole server (authentication, join, store: user and system time of its process) against a
//! bare recvmmsg(64) loop with the same control messages, both fed by the same sending thread at its highest rate, in turns.
//!
//! Build the baseline first: `cargo build --release -p net --example bare-receiver`. Needs nothing but loopback. Then irtt's server
//! and stamp-suite's reflector beside `netlat reflect`.

#[path = "support/yardsticks.rs"]
mod yardsticks;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use measure::join::{Joiner, StreamInfo};
use model::control::{SessionRequest, SessionUpload, Upload};
use model::{BootId, DirectionChoice, Family, Kind, ReceivedHalf, SampleFlags, SentHalf, Tos};
use net::{Outgoing, UdpOptions, UdpProbeSocket};
use wire::{DirectionKey, ProbeFlags, ProbeHeader};
use worker::{JoinString, Uplink};

const LENGTH: usize = 192;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// Sessions may be granted 10,000 packets a second and send twice that.
const SESSIONS: usize = 40;
const BATCH: usize = 64;

struct Flow {
    session: model::SessionId,
    key: DirectionKey,
    sequence: u32,
    uploaded: u32,
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let server = start_server(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (uplink, mut flows) = runtime.block_on(open_sessions(&dir.path().join("join")));
    let boot = BootId(1);
    let mut batch = 0;
    let (mut ours, mut receivers, mut uploads, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut sent_in_all, mut rates) = (0u64, Vec::new());
    for _ in 0..ROUNDS {
        let (before, receiving) = (cpu_ns(server.id()), cpu_of(server.id(), "probe-udp"));
        let uploading = cpu_of(server.id(), "tokio");
        let sent = flood("127.0.0.1:18720".parse().expect("an address"), &mut flows);
        settle(server.id());
        // The other half of every probe, so that the server joins and stores it. What is called settled has been received.
        runtime.block_on(async {
            for sessions in flows.chunks_mut(1) {
                upload(&uplink, boot, &mut batch, sessions).await;
            }
        });
        settle(server.id());
        ours.push((cpu_ns(server.id()) - before) / sent as f64);
        receivers.push((cpu_of(server.id(), "probe-udp") - receiving) / sent as f64);
        uploads.push((cpu_of(server.id(), "tokio") - uploading) / sent as f64);
        sent_in_all += sent;
        rates.push(sent as f64 / ROUND.as_secs_f64());

        let mut bare = start_bare();
        let mut lines = BufReader::new(bare.stdout.take().expect("its output"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("its address");
        let before = cpu_ns(bare.id());
        let sent = flood(line.trim().parse().expect("an address"), &mut flows);
        settle(bare.id());
        let spent = cpu_ns(bare.id()) - before;
        drop(bare.stdin.take());
        line.clear();
        lines.read_line(&mut line).expect("its count");
        theirs.push(spent / sent as f64);
        println!("bare: {sent} sent, received {}", line.trim());
        bare.wait().expect("it ends");
        // What went to the bare loop never reached the server: those numbers are left out of its uploads.
        flows.iter_mut().for_each(|flow| flow.uploaded = flow.sequence);
    }
    let status = Command::new(env!("CARGO_BIN_EXE_netlat"))
        .args(["server", "status", "--json", "--data-dir"])
        .arg(dir.path().join("server"))
        .output()
        .expect("status");
    println!("server: {sent_in_all} sent; {}", String::from_utf8_lossy(&status.stdout).replace('\n', " "));
    let (ours, receivers, theirs) = (median(&mut ours), median(&mut receivers), median(&mut theirs));
    println!("bare recvmmsg loop: {theirs:.0} ns/packet, at {:.0} packets/s", median(&mut rates));
    println!(
        "receiving thread (stamp, ToS, TTL, authentication): {receivers:.0} ns/packet, ratio {:.2}",
        receivers / theirs
    );
    let (uploads, joining) = (median(&mut uploads), joining_ns());
    let joined = receivers + uploads + joining;
    println!(
        "with the worker's uploads ({uploads:.0} ns) and the join (measured here, {joining:.0} ns): {joined:.0} ns/packet, ratio {:.2}",
        joined / theirs
    );
    println!(
        "whole server (with the worker's uploads parsed, joined and stored in SQLite): {ours:.0} ns/packet, ratio {:.2}",
        ours / theirs
    );
    yardsticks::run(theirs);
}

/// CPU time of joining one probe's two halves, as the server's storing thread does it: the received ones first.
fn joining_ns() -> f64 {
    const PROBES: u32 = 1_000_000;
    let info = StreamInfo {
        session: model::SessionId(1),
        kind: Kind::Rtp,
        direction: model::Direction::Up,
        family: Family::Ipv4,
    };
    let (mut joiner, mut samples) = (Joiner::new(info), Vec::new());
    let (tos, flags, at) = (Tos::from_byte(0), SampleFlags::default(), net::Clock::identity().now());
    let before = cpu_ns(std::process::id());
    for first in (0..PROBES).step_by(10_000) {
        for sequence in first..first + 10_000 {
            joiner.received(&[ReceivedHalf { sequence, received_at: at, tos: Some(tos), ttl: Some(64), flags }]);
        }
        let sent: Vec<SentHalf> = (first..first + 10_000)
            .map(|sequence| SentHalf { sequence, sent_at: at, tos, size: (LENGTH + 28) as u16, flags })
            .collect();
        joiner.sent(&sent);
        samples.clear();
        joiner.drain(&mut samples);
        assert_eq!(samples.len(), 10_000);
    }
    (cpu_ns(std::process::id()) - before) / f64::from(PROBES)
}

/// Killed also when the bench panics.
struct Running(Child);

impl Running {
    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_server(dir: &Path) -> Running {
    let child = Running(
        Command::new(env!("CARGO_BIN_EXE_netlat"))
            .args(["server", "--listen", "127.0.0.1:18743", "--probe-port", "18720", "--data-dir"])
            .arg(dir.join("server"))
            .arg("--join-file")
            .arg(dir.join("join"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts"),
    );
    let up = dir.join("server").join(server::Announcement::FILE);
    let started = Instant::now();
    while !up.exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "the server does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

fn start_bare() -> Child {
    let program: PathBuf = Path::new(env!("CARGO_BIN_EXE_netlat")).with_file_name("examples").join("bare-receiver");
    assert!(program.exists(), "build the baseline first: cargo build --release -p net --example bare-receiver");
    Command::new(program)
        .arg(LENGTH.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bare receiver starts")
}

async fn open_sessions(join: &Path) -> (Uplink, Vec<Flow>) {
    let text = std::fs::read_to_string(join).expect("the join file");
    let join: JoinString = text.trim().parse().expect("a join string");
    let enrolling = Uplink::new(join.server.clone(), join.fingerprint, join.token.clone()).expect("a client");
    let enrolled = enrolling.enroll(model::WorkerName::from_host_name("bench"), false).await.expect("enrolment");
    let uplink = enrolling.with_bearer(worker::Secret::new(enrolled.credential));
    let mut flows = Vec::new();
    for _ in 0..SESSIONS {
        let request = SessionRequest {
            boot: BootId(1),
            kind: Kind::Rtp,
            family: Family::Ipv4,
            direction: DirectionChoice::Up,
            classes: vec![Tos::from_byte(0)],
            rate_pps: 10_000.0,
            size: LENGTH as u16,
            task: None,
            experiment: None,
            syn: None,
        };
        let grant = uplink.open_session(&request).await.expect("a session");
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(grant.key_up.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("hex");
        }
        flows.push(Flow { session: grant.session, key: DirectionKey::new(&key), sequence: 0, uploaded: 0 });
    }
    (uplink, flows)
}

/// As fast as one thread seals and sends.
fn flood(to: SocketAddr, flows: &mut [Flow]) -> u64 {
    let local = "127.0.0.1:0".parse().expect("an address");
    let socket =
        UdpProbeSocket::bind(local, &UdpOptions { timestamps: false, ..UdpOptions::default() }).expect("a socket");
    let mut buffers = vec![Vec::new(); BATCH];
    let (started, mut sent) = (Instant::now(), 0u64);
    while started.elapsed() < ROUND {
        for (index, buffer) in buffers.iter_mut().enumerate() {
            let count = flows.len();
            let flow = &mut flows[(sent as usize + index) % count];
            let header = ProbeHeader {
                flags: ProbeFlags::NONE,
                tos: Tos::from_byte(0),
                reply_tos: Tos::from_byte(0),
                sequence: flow.sequence,
                in_reply_to: None,
                sent_at_ns: 0,
            };
            flow.sequence += 1;
            wire::rtp::build_rtp(buffer, flow.session.0, &header, LENGTH, &flow.key).expect("a probe");
        }
        let packets: Vec<Outgoing<'_>> =
            buffers.iter().map(|payload| Outgoing { payload, to: Some(to), ..Outgoing::default() }).collect();
        sent += socket.send_batch(&packets, &mut |_, error| panic!("{error}")) as u64;
    }
    sent
}

async fn upload(uplink: &Uplink, boot: BootId, batch: &mut u64, flows: &mut [Flow]) {
    let now = net::Clock::identity().now();
    let mut sessions = Vec::new();
    for flow in flows.iter_mut() {
        let mut upload = SessionUpload {
            session: flow.session,
            sent: Default::default(),
            received: Default::default(),
            settled_through: flow.sequence.checked_sub(1),
            closed: false,
            send_failures: 0,
            foreign: 0,
            notes: Vec::new(),
            local_queue: Vec::new(),
            transfers: Vec::new(),
        };
        for sequence in flow.uploaded..flow.sequence {
            let (tos, size, flags) = (Tos::from_byte(0), (LENGTH + 28) as u16, SampleFlags::default());
            upload.sent.push(&SentHalf { sequence, sent_at: now, tos, size, flags });
        }
        flow.uploaded = flow.sequence;
        sessions.push(upload);
    }
    *batch += 1;
    let body = serde_json::to_vec(&Upload::of(boot, *batch, sessions)).expect("JSON");
    uplink.upload(body).await.expect("the upload");
}

/// On-CPU time of all threads of a process, from the scheduler (`/proc/PID/task/*/schedstat`).
fn cpu_ns(pid: u32) -> f64 {
    cpu_of(pid, "")
}

/// The same of the threads whose name begins so.
fn cpu_of(pid: u32, name: &str) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let of_name = |task: &PathBuf| {
        name.is_empty() || std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with(name))
    };
    tasks
        .filter_map(|task| Some(task.ok()?.path()))
        .filter(of_name)
        .filter_map(|task| std::fs::read_to_string(task.join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Waits until the process has worked off what it got.
fn settle(pid: u32) {
    loop {
        let before = cpu_ns(pid);
        std::thread::sleep(Duration::from_millis(500));
        if cpu_ns(pid) - before < 20e6 {
            return;
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
