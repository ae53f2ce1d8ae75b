//! `--interface`: capture shows the marks that no socket shows, agrees with the sockets elsewhere, and keeps no privilege.

use std::collections::BTreeSet;
use std::fs;

use model::report::{Pathology, Report};
use model::{Direction, Family, Kind, SampleFlags};

use crate::serving::{Reach, Row, Server, assert_nothing_lost, streams};
use crate::support::Scene;

/// Of every thread: all four sets that a program acts by are empty, and it cannot get any back.
fn assert_powerless(pid: u32) {
    let tasks: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").collect();
    assert!(tasks.len() > 2, "its threads are running: {tasks:?}");
    for task in tasks {
        let path = task.expect("a thread").path().join("status");
        // Threads of single connections come and go.
        let Ok(status) = fs::read_to_string(path) else { continue };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            let line = status.lines().find(|line| line.starts_with(set)).expect("a set");
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
        assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
    }
}

fn assert_marks(report: &Report, captured: bool) {
    let mut seen = BTreeSet::new();
    for path in &report.paths {
        for remarking in &path.remarking {
            let hidden = !captured
                && remarking.kind.is_tcp()
                && (path.direction, path.family) == (Direction::Down, Family::Ipv4);
            if hidden {
                assert_eq!(remarking.pathology, Pathology::Inconclusive, "{remarking:?}");
                continue;
            }
            seen.insert((path.direction, path.family, remarking.kind));
            assert_eq!(remarking.pathology, Pathology::None, "{} {}: {remarking:?}", path.direction, path.family);
            let map: Vec<(u8, u8)> = remarking.map.iter().map(|entry| (entry.dscp_sent, entry.dscp_received)).collect();
            assert_eq!(map, [(0, 0), (46, 46)], "{remarking:?}");
            let from_syn = remarking.flags.iter().any(|flag| flag == "syn-only");
            let shows_syn = !captured && remarking.kind.is_tcp() && path.family == Family::Ipv4;
            assert_eq!(from_syn, shows_syn, "{} {}: {remarking:?}", path.direction, path.family);
        }
    }
    let hidden = if captured { 0 } else { 2 };
    assert_eq!(seen.len(), 2 * 2 * 5 - hidden, "{seen:?}");
}

const KINDS: &str = "rtp,udp,dns,http,tls";

#[test]
fn capture_shows_what_sockets_hide_and_gives_its_privilege_up() {
    let scene = Scene::with_network();
    let mut server = Server::with(&scene, Reach::Both, &[], &[]);
    // First without, for comparison.
    let join = server.fresh_join(&scene, true);
    let probe = ["probe", "--join", &join, "--kind", KINDS, "--dscp", "0,46", "--duration", "3", "--json"];
    let plain: Report = serde_json::from_str(&scene.run(probe).succeeded().stdout).expect("a report");
    assert_nothing_lost(&plain);
    assert_marks(&plain, false);
    server.interrupt();

    let mut server = Server::capturing(&scene, Reach::Both, "lo");
    assert_powerless(server.process().id());
    server.add_task(&scene, &["--kind", KINDS, "--dscp", "0,46", "--rate", "20"]);
    let (join, data) = (server.fresh_join(&scene, true), scene.path("nyc1"));
    let arguments = ["worker", "--name", "nyc1", "--data-dir", data.to_str().expect("UTF-8"), "--interface", "lo"];
    let worker = scene.start("worker", arguments.iter().chain(&["--join", &join]));
    server.samples_until(&scene, "answers over http and tls", |rows| {
        let down = |kind: &str, family: &str| {
            let wanted = |row: &&Row| {
                row.worker == "nyc1" && row.kind == kind && row.family == family && row.direction == "down"
            };
            rows.iter().filter(wanted).count() > 60
        };
        ["http", "tls", "rtp"].iter().all(|kind| down(kind, "ipv4") && down(kind, "ipv6"))
    });
    assert_powerless(server.process().id());
    assert_powerless(worker.id());
    worker.interrupt();
    let mut rows = server.samples(&scene);
    streams(&rows);
    rows.retain(|row| row.worker == "nyc1");
    let mut report = server.report(&scene);
    report.paths.retain(|path| path.worker.as_str() == "nyc1");
    server.interrupt();

    assert_nothing_lost(&report);
    assert_marks(&report, true);
    let has = |row: &Row, flag: SampleFlags| SampleFlags(row.flags).has(flag);
    let tcp = |row: &Row| [Kind::Http, Kind::Tls].iter().any(|kind| kind.name() == row.kind);
    let should: Vec<&Row> = rows.iter().filter(|row| row.direction == "up" || tcp(row)).collect();
    // A busy host may hand a frame over too late for its sample.
    let captured = should.iter().filter(|row| has(row, SampleFlags::CAPTURED)).count();
    assert!(captured * 10 > should.len() * 9, "{captured} of {} are captured", should.len());
    for row in &rows {
        assert!(!has(row, SampleFlags::DUPLICATED), "socket and capture see one packet: {row:?}");
        assert!(row.tos_received.is_none_or(|received| received == row.tos_sent), "{row:?}");
        assert!(row.tos_received.is_some() || !has(row, SampleFlags::CAPTURED), "{row:?}");
    }
    assert!(rows.len() > 1000);
}

#[test]
fn a_probe_captures_too() {
    let scene = Scene::with_network();
    let server = Server::start(&scene, Reach::V4);
    let join = server.fresh_join(&scene, false);
    let probe = [
        "probe",
        "--join",
        &join,
        "--kind",
        "http",
        "--dscp",
        "0,46",
        "--duration",
        "3",
        "--interface",
        "lo",
        "--json",
    ];
    let report: Report = serde_json::from_str(&scene.run(probe).succeeded().stdout).expect("a report");
    assert_nothing_lost(&report);
    let down = report.paths.iter().find(|path| path.direction == Direction::Down).expect("a path down");
    let http = &down.remarking[0];
    assert_eq!((http.kind, http.pathology), (Kind::Http, Pathology::None), "{http:?}");
    let map: Vec<(u8, u8)> = http.map.iter().map(|entry| (entry.dscp_sent, entry.dscp_received)).collect();
    assert_eq!(map, [(0, 0), (46, 46)]);
}
