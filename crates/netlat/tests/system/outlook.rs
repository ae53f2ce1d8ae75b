//! Where a running worker's marks are changed: what the server says it finds, what it takes as a trace, and the report's `where`.
//! Real routers are in `scripts/check-lab.sh`.

use model::control::{ChangedMarks, SessionUpload, Upload};
use model::report::Where;
use model::{Direction, Dscp, Ecn, Family, Kind, SampleFlags, SentHalf, Tos, UnixNanos};
use serde_json::json;

use crate::forged::{BOOT, Opened, socket};
use crate::serving::{Control, Reach, Server};
use crate::support::{Scene, eventually, now_ns};

const PROBES: u32 = 40;

/// A worker of which EF never arrives: it says that it marks its probes so, and does not.
fn bleached(scene: &Scene, server: &Server, name: &str) -> Control {
    let control = Control::enrolled(&server.fresh_join(scene, false), name);
    let session = Opened::new(&control, Kind::Udp, 1000.0);
    let voice = socket(server.ports.probe);
    let mut told = SessionUpload {
        session: session.grant.session,
        sent: Default::default(),
        received: Default::default(),
        settled_through: None,
        closed: false,
        send_failures: 0,
        foreign: 0,
        notes: Vec::new(),
        local_queue: Vec::new(),
        transfers: Vec::new(),
    };
    for sequence in 0..PROBES {
        voice.send(&session.control_packet(sequence, &session.up)).expect("sent");
        let tos = Tos::new(Dscp::EF, Ecn::NotEct);
        told.sent.push(&SentHalf {
            sequence,
            sent_at: UnixNanos(now_ns()),
            tos,
            size: 220,
            flags: SampleFlags::default(),
        });
    }
    let upload = Upload::of(BOOT, 1, vec![told]);
    control.block(control.uplink.upload(serde_json::to_vec(&upload).expect("JSON"))).expect("taken");
    control
}

/// EF as far as the second hop, best effort from the third on.
fn trace(hops: u8) -> serde_json::Value {
    let mark = |hop: u8| {
        let quoted = if hop <= 2 { 46 } else { 0 };
        let address = format!("192.0.2.{hop}");
        json!({ "dscp_sent": 46, "ecn_sent": 0, "dscp_quoted": quoted, "ecn_quoted": 0, "address": address, "count": 3 })
    };
    let hop = |hop: u8| {
        json!({ "hop": hop, "addresses": [format!("192.0.2.{hop}")], "rtt_ms": { "min": 1.0, "p50": 1.5 }, "marks": [mark(hop)],
                "sent": 3, "answered": 3, "silent": false, "destination": false, "refuses": false, "translated": false })
    };
    json!({ "target": "127.0.0.1", "family": "ipv4", "port": 8620, "from": "127.0.0.1:40000", "left_with": [],
            "hops": (1..=hops).map(hop).collect::<Vec<_>>(), "reached": false, "destination_hop": null, "sent": 12, "answered": 12,
            "foreign": 0, "complete": true, "notes": [] })
}

fn told(trace: Option<serde_json::Value>, problem: Option<&str>) -> serde_json::Value {
    json!({ "family": "ipv4", "trace": trace, "problem": problem })
}

#[test]
fn a_finding_gets_its_place_from_its_own_workers_trace_and_from_nobody_elses() {
    let scene = Scene::new();
    let server = Server::start(&scene, Reach::V4);
    let (ours, other) = (bleached(&scene, &server, "nyc1"), bleached(&scene, &server, "ams1"));
    let changed: Vec<ChangedMarks> = eventually("the change shows in the rollups", || {
        let changed: Vec<ChangedMarks> = ours.block(ours.uplink.get("changed-marks")).expect("an answer");
        (!changed.is_empty()).then_some(changed)
    });
    let ef = Tos::new(Dscp::EF, Ecn::NotEct);
    assert_eq!(changed, [ChangedMarks { family: Family::Ipv4, marks: vec![(ef, Tos::default())] }]);

    let place = |worker: &str| {
        // Both workers' probes come into the store when they come: all of them make the finding.
        let whole = |path: &&model::report::Path| {
            path.worker.as_str() == worker
                && path.direction == Direction::Up
                && path.classes.iter().map(|class| class.received).sum::<u64>() == u64::from(PROBES)
        };
        let (report, path) = eventually("all probes of a path up", || {
            let report = server.report(&scene);
            let path = report.paths.iter().find(whole).cloned()?;
            Some((report, path))
        });
        let line = report.untested.iter().find(|line| line.starts_with(&format!("where, {worker} up"))).cloned();
        (path.remarking[0].location, line)
    };
    let (location, line) = place("nyc1");
    assert_eq!(location, None);
    assert!(line.expect("a line").contains("not traced yet"));

    let post = |control: &Control, body: serde_json::Value| control.block(control.uplink.post::<()>("trace", &body));
    // More than any trace holds, neither trace nor reason, and both; a family that is not the trace's.
    for bad in [
        told(Some(trace(70)), None),
        told(None, None),
        told(Some(trace(3)), Some("no")),
        json!({ "family": "ipv6", "trace": trace(3), "problem": null }),
        told(None, Some("a\u{1b}[31m line")),
    ] {
        post(&ours, bad).expect_err("refused");
    }
    assert_eq!(place("nyc1").0, None);
    post(&ours, told(None, Some("the worker has no CAP_NET_RAW"))).expect("taken");
    assert!(place("nyc1").1.expect("a line").ends_with("the worker has no CAP_NET_RAW"));
    post(&ours, told(Some(trace(3)), None)).expect("taken");
    assert_eq!(place("nyc1"), (Some(Where { after_hop: 2, by_hop: 3 }), None));
    assert_eq!(place("ams1").0, None, "another worker's path is another path");
    // Only two hops are known of this one: the rest is one interval that ends at the server.
    post(&other, told(Some(trace(2)), None)).expect("taken");
    assert_eq!(place("ams1").0, Some(Where { after_hop: 2, by_hop: 3 }));
}
