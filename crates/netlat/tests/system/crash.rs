//! kill -9 of either end at any moment: nothing twice, nothing called lost, at most about the last second missing.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::proxy::Proxy;
use crate::serving::{Reach, Row, Server, assert_nothing_lost, streams, worker};
use crate::support::{Scene, now_ns};

const SECOND: i64 = 1_000_000_000;
/// "The last second": a batch is collected every second and committed within a quarter of one.
const LAST: i64 = SECOND + SECOND / 2;

const KINDS: &[&str] = &["--kind", "rtp,udp,dns,http,tls", "--dscp", "0,46", "--rate", "40"];

/// From the kill until the server answered again.
#[derive(Debug)]
struct Outage {
    from: i64,
    to: i64,
}

fn sent_after(at: i64, seconds: i64) -> impl Fn(&[Row]) -> bool {
    move |rows| {
        let kinds: BTreeSet<&str> =
            rows.iter().filter(|row| row.sent_at_ns > at + seconds * SECOND).map(|row| row.kind.as_str()).collect();
        kinds.len() == 6
    }
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    server.add_task(&scene, KINDS);
    let join = server.join();
    let mut worker = worker(&scene, "nyc1", Some(&join));
    let credential = scene.path("nyc1/credential.json");
    server.samples_until(&scene, "five seconds of samples", sent_after(now_ns(), 4));
    let joined = fs::read(&credential).expect("a credential");

    let mut outages = Vec::new();
    for pause_ms in [0, 1_700] {
        let from = now_ns();
        server.kill();
        sleep(Duration::from_millis(pause_ms));
        server.start_again(&scene);
        let to = now_ns();
        outages.push(Outage { from, to });
        server.samples_until(&scene, "samples of after the restart", sent_after(to, 3));
    }
    assert!(worker.is_running(), "{}", worker.stderr());
    assert_eq!(fs::read(&credential).expect("a credential"), joined, "the worker did not join again");
    worker.interrupt();
    let unobserved = server.counter(&scene, "unobserved");
    let log = server.process().stderr();
    server.interrupt();
    assert_eq!(log.matches("joined").count(), 1, "{log}");

    let rows = server.samples(&scene);
    let streams = streams(&rows);
    // rtp, udp, dns, http, tls and clock, each up and down: no session was opened anew.
    assert_eq!(streams.len(), 12, "{:?}", streams.keys());
    for (stream, rows) in &streams {
        assert_eq!(rows[0].sequence, 0, "{stream:?}");
        for pair in rows.windows(2).filter(|pair| pair[1].sequence != pair[0].sequence + 1) {
            let (before, after) = (pair[0].sent_at_ns, pair[1].sent_at_ns);
            let explained = |outage: &Outage| before > outage.from - LAST && after < outage.to + LAST;
            let missing = pair[1].sequence - pair[0].sequence - 1;
            assert!(
                outages.iter().any(explained),
                "{} {stream:?}: {missing} missing from {before} to {after}, outages {outages:?}",
                pair[0].kind
            );
        }
    }
    assert_nothing_lost(&server.report(&scene));
    assert!(unobserved > 0, "what was sent meanwhile is counted");
}

#[test]
fn a_killed_worker_goes_on_without_a_join_string() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    server.add_task(&scene, KINDS);
    let join = server.join();
    let mut process = worker(&scene, "nyc1", Some(&join));
    let mut kills = Vec::new();
    for _ in 0..2 {
        server.samples_until(&scene, "some seconds of samples", sent_after(now_ns(), 3));
        kills.push(now_ns());
        process.kill();
        process = worker(&scene, "nyc1", None);
    }
    server.samples_until(&scene, "samples of the third start", sent_after(now_ns(), 3));
    process.interrupt();
    server.interrupt();

    let rows = server.samples(&scene);
    let streams = streams(&rows);
    assert_eq!(streams.len(), 36, "six sessions of three starts, up and down: {:?}", streams.keys());
    for (stream, rows) in &streams {
        // Connections end in any order, so there may be holes in the last second, and nowhere else.
        let mut expected = 0;
        for row in rows {
            let near = |kill: &i64| row.sent_at_ns > kill - LAST && row.sent_at_ns < *kill;
            let whole = row.sequence == expected || kills.iter().any(near);
            assert!(whole, "{expected} to {} are missing in {stream:?}: {row:?}", row.sequence - 1);
            expected = row.sequence + 1;
        }
        // To the end of its start; the last one was not killed.
        let last = rows.last().expect("not empty");
        if let Some(kill) = kills.iter().find(|kill| **kill > last.sent_at_ns) {
            assert!(kill - last.sent_at_ns < LAST, "{stream:?} ends {} ns before the kill", kill - last.sent_at_ns);
        }
    }
    assert!(rows.iter().all(|row| row.worker == "nyc1"), "it is the same worker");
    assert_nothing_lost(&server.report(&scene));
}

#[test]
fn ctrl_c_of_the_worker_loses_nothing_at_all() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let proxy = Proxy::start(server.ports);
    server.add_task(&scene, &["--kind", "rtp,udp", "--dscp", "0,46", "--rate", "100"]);
    let worker = worker(&scene, "nyc1", Some(&proxy.join(&server.join())));
    server.samples_until(&scene, "some samples", |rows| rows.len() > 500);
    worker.interrupt();
    server.interrupt();
    let rows = server.samples(&scene);
    streams(&rows);
    let up = rows.iter().filter(|row| row.direction == "up").count();
    assert_eq!(up, proxy.probes(), "every packet that crossed the wire is a sample");
    // The proxy is a program, and on a busy host late beyond the two seconds after which a packet counts as lost: so nothing
    // is said of loss here.
    let left: Vec<_> = fs::read_dir(scene.path("nyc1/spool")).expect("a spool").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn ctrl_c_of_the_server_keeps_what_it_has_and_calls_nothing_lost() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    server.add_task(&scene, &["--kind", "rtp,udp,http", "--dscp", "0,46", "--rate", "100"]);
    let join = server.join();
    let worker = worker(&scene, "nyc1", Some(&join));
    server.samples_until(&scene, "some samples", |rows| rows.len() > 500);
    let from = now_ns();
    server.interrupt();
    let before = server.samples(&scene);
    server.start_again(&scene);
    let to = now_ns();
    server.samples_until(&scene, "samples of after the restart", |rows| {
        rows.iter().filter(|row| row.sent_at_ns > to).count() > 500
    });
    worker.interrupt();
    server.interrupt();
    let after = server.samples(&scene);
    let kept = |row: &Row| after.contains(row);
    assert!(before.iter().all(kept), "the restart takes nothing back");
    for (stream, rows) in streams(&after) {
        for pair in rows.windows(2).filter(|pair| pair[1].sequence != pair[0].sequence + 1) {
            let gap = (pair[0].sent_at_ns, pair[1].sent_at_ns);
            assert!(gap.0 > from - LAST && gap.1 < to + LAST, "{stream:?}: {gap:?} outside of {from} to {to}");
        }
    }
    assert_nothing_lost(&server.report(&scene));
}
