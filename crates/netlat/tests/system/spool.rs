//! A worker without its server: it measures on, keeps what it has on disk, and tells it all once.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use model::control::{ReceivedColumns, SentColumns, SessionRequest};
use model::{BootId, DirectionChoice, Family, Kind, SessionId, SessionUpload, Tos, Upload};

use crate::serving::{Control, Reach, Server, assert_nothing_lost, streams, worker};
use crate::support::{Scene, eventually, now_ns};

const SECOND: i64 = 1_000_000_000;

fn spool_files(scene: &Scene) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.path("nyc1/spool")).expect("a spool");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn spool_bytes(scene: &Scene) -> u64 {
    spool_files(scene).iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum()
}

#[test]
fn what_was_measured_without_the_server_is_uploaded_later_and_once() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    // ICMP needs no server, only its host: such samples show whether what was measured meanwhile comes through.
    server.add_task(&scene, &["--kind", "rtp,udp,http,icmp", "--dscp", "0,46", "--rate", "20"]);
    let join = server.join();
    let mut worker = worker(&scene, "nyc1", Some(&join));
    let before = server.samples_until(&scene, "samples of every kind", |rows| {
        ["rtp", "udp", "http"].iter().all(|kind| rows.iter().filter(|row| row.kind == *kind).count() > 60)
    });
    let has_icmp = before.iter().any(|row| row.kind == "icmp");

    server.interrupt();
    let from = now_ns();
    sleep(Duration::from_secs(6));
    let (files, bytes) = (spool_files(&scene), spool_bytes(&scene));
    assert!(!files.is_empty() && bytes > 1000, "{files:?}: {bytes} bytes");
    assert!(worker.is_running());
    assert!(worker.stderr().contains("measuring goes on"), "{}", worker.stderr());
    let back = now_ns();
    server.start_again(&scene);
    let to = now_ns();
    eventually("the spool is empty", || {
        // What was spooled meanwhile is gone; the newest batch comes and goes every second.
        spool_files(&scene).iter().all(|path| !files.contains(path)).then_some(())
    });
    server.samples_until(&scene, "samples of after", |rows| {
        rows.iter().filter(|row| row.kind == "udp" && row.sent_at_ns > to + 2 * SECOND).count() > 40
    });
    // What it told of its spool on the way.
    let told = store::Reader::open(&scene.path("server")).and_then(|reader| reader.workers()).expect("readable");
    assert!(told[0].waiting_bytes.is_some_and(|bytes| bytes < 200_000), "{told:?}");
    worker.interrupt();
    let unobserved = server.counter(&scene, "unobserved");
    server.interrupt();
    assert_eq!(spool_bytes(&scene), 0);

    let rows = server.samples(&scene);
    for (stream, rows) in streams(&rows) {
        let gaps: Vec<_> = rows.windows(2).filter(|pair| pair[1].sequence != pair[0].sequence + 1).collect();
        if stream.1 == "round-trip" {
            assert!(gaps.is_empty(), "the echoes of the outage are all there: {gaps:?}");
            let meanwhile = rows.iter().filter(|row| row.sent_at_ns > from && row.sent_at_ns < to).count();
            assert!(meanwhile > 60, "{meanwhile} echoes in six seconds at 20 a second");
        } else {
            // Probes that nobody could receive are neither lost nor received.
            for pair in gaps {
                let gap = (pair[0].sent_at_ns, pair[1].sent_at_ns);
                assert!(gap.0 > from - 3 * SECOND && gap.1 < to + 3 * SECOND, "{stream:?}: {gap:?}, {from} to {to}");
            }
            assert!(!rows.iter().any(|row| row.sent_at_ns > from + SECOND / 2 && row.sent_at_ns < back));
        }
    }
    assert!(has_icmp || worker_cannot_echo(), "icmp is measured where this host lets it");
    assert_nothing_lost(&server.report(&scene));
    // Up probes of rtp, udp and http for six seconds; UDP sends that the kernel refused after an ICMP error do not count.
    assert!(unobserved > 60, "{unobserved} unobserved");
}

fn worker_cannot_echo() -> bool {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").expect("readable");
    let ids: Vec<u64> = range.split_whitespace().filter_map(|id| id.parse().ok()).collect();
    ids[0] > ids[1]
}

#[test]
fn a_torn_spool_costs_its_tail_only() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    server.add_task(&scene, &["--kind", "udp", "--rate", "50"]);
    let join = server.join();
    let process = worker(&scene, "nyc1", Some(&join));
    server.samples_until(&scene, "samples", |rows| rows.len() > 200);
    server.kill();
    sleep(Duration::from_secs(4));
    process.kill();
    let torn_at = now_ns();
    let mut files = spool_files(&scene);
    files.sort();
    let last = files.last().expect("a spool file").clone();
    let length = fs::metadata(&last).expect("it is there").len();
    assert!(length > 100, "{length} bytes");
    fs::OpenOptions::new().write(true).open(&last).expect("opened").set_len(length - 7).expect("cut");

    server.start_again(&scene);
    let process = worker(&scene, "nyc1", None);
    let rows = server.samples_until(&scene, "samples of the second start", |rows| {
        rows.iter().filter(|row| row.sent_at_ns > torn_at).count() > 200
    });
    streams(&rows);
    assert!(process.stderr().contains("damaged record"), "it says so: {}", process.stderr());
    process.interrupt();
    assert!(spool_files(&scene).is_empty(), "{:?}", spool_files(&scene));
    server.interrupt();
    let rows = server.samples(&scene);
    streams(&rows);
    assert_nothing_lost(&server.report(&scene));
}

#[test]
fn a_first_batch_that_comes_late_does_not_end_the_next_starts_sessions() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "nyc1");
    let open = |boot: u64| -> SessionId {
        let request = SessionRequest {
            boot: BootId(boot),
            kind: Kind::Udp,
            family: Family::Ipv4,
            direction: DirectionChoice::Both,
            classes: vec![Tos::default()],
            rate_pps: 10.0,
            size: 192,
            task: None,
            experiment: None,
            syn: None,
        };
        control.block(control.uplink.open_session(&request)).expect("a session").session
    };
    // What the server says it does not know (any more).
    let unknown = |boot: u64, batch: u64, session: SessionId| -> Vec<SessionId> {
        let told = SessionUpload {
            session,
            sent: SentColumns::default(),
            received: ReceivedColumns::default(),
            settled_through: None,
            closed: false,
            send_failures: 0,
            foreign: 0,
            notes: Vec::new(),
            local_queue: Vec::new(),
            transfers: Vec::new(),
        };
        let upload = Upload::of(BootId(boot), batch, vec![told]);
        let bytes = serde_json::to_vec(&upload).expect("JSON");
        control.block(control.uplink.upload(bytes)).expect("an answer").unknown_sessions
    };
    let (first, second) = (open(1), open(2));
    // The worker was killed before its first batch went through; that comes from the spool of the next start.
    assert_eq!(unknown(1, 1, first), []);
    assert_eq!(unknown(2, 1, second), [], "the second start's session lives");
    // Now nothing more can come of the first. It ends with the commit of that batch.
    eventually("the first start's session ends", || (server.status(&scene).sessions == 1).then_some(()));
    assert_eq!(unknown(2, 2, first), [first]);
    assert_eq!(unknown(2, 3, second), []);
}
