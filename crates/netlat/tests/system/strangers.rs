//! Whoever has no token or credential that holds gets nothing, and who has one speaks for itself only.

use model::control::{ReceivedColumns, SentColumns};
use model::{Kind, SampleFlags, SentHalf, SessionUpload, Tos, UnixNanos, Upload, Uploaded};
use worker::WorkerError;

use crate::forged::{BOOT, Opened, socket};
use crate::serving::{Control, Reach, Server, assert_nothing_lost, worker};
use crate::support::{Scene, eventually, now_ns};

/// Another character of base32 in the place of each.
fn other_token(join: &str) -> String {
    let (before, rest) = join.rsplit_once('/').expect("a join string");
    let (token, print) = rest.split_once('#').expect("a fingerprint");
    let other: String = token.chars().map(|c| if c == 'a' { 'b' } else { 'a' }).collect();
    format!("{before}/{other}#{print}")
}

fn other_fingerprint(join: &str) -> String {
    let (before, print) = join.rsplit_once('#').expect("a fingerprint");
    let other: String = print.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    format!("{before}#{other}")
}

#[test]
fn a_join_string_that_does_not_hold_lets_nobody_in() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let join = server.join();
    let first = worker(&scene, "first", Some(&join));
    eventually("the first worker has joined", || scene.path("first/credential.json").exists().then_some(()));

    let token = std::fs::read_to_string(server.data.join("admin.token")).expect("the admin token");
    let admin = Control::new(&join, Some(token.trim()));
    let request = server::api::JoinRequest { many: false, expires_s: Some(0) };
    let expired: server::api::JoinAnswer =
        admin.block(admin.uplink.post("admin/join", &request)).expect("a join string");

    let cases = [
        ("used", join.clone(), "join token"),
        ("unknown", other_token(&join), "join token"),
        ("expired", expired.join, "join token"),
        ("another certificate", other_fingerprint(&join), "certificate"),
    ];
    for (case, join, expected) in &cases {
        let data = scene.path("nobody");
        let arguments = ["worker", "--data-dir", data.to_str().expect("UTF-8"), "--join", join];
        let ended = scene.run(arguments);
        assert_eq!(ended.status, Some(1), "{case}: {ended:?}");
        assert!(ended.one_line().contains(expected), "{case}: {ended:?}");
        assert!(!data.join("credential.json").exists());
        let ended = scene.run(["probe", "--join", join, "--duration", "1"]);
        assert_eq!(ended.status, Some(1), "{case}: {ended:?}");
        assert!(ended.stderr.lines().last().is_some_and(|line| line.contains(expected)), "{case}: {ended:?}");
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(server.samples(&scene).iter().filter(|row| row.worker != "first").count(), 0);
    first.interrupt();
}

#[test]
fn a_revoked_worker_ends_and_the_others_go_on() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    server.add_task(&scene, &["--kind", "udp", "--rate", "50"]);
    let mut bad = worker(&scene, "bad", Some(&server.join()));
    let good = worker(&scene, "good", Some(&server.fresh_join(&scene, false)));
    server.samples_until(&scene, "samples of both", |rows| {
        ["bad", "good"].iter().all(|name| rows.iter().any(|row| row.worker == *name))
    });
    let unknown = server.counter(&scene, "unknown_session");
    assert_eq!(server.ask(&scene, &["server", "revoke", "nobody"]).status, Some(1));
    server.ask(&scene, &["server", "revoke", "bad"]).succeeded();
    let revoked = now_ns();
    assert_eq!(bad.end(), Some(1));
    let last = bad.stderr().lines().last().unwrap_or_default().to_owned();
    assert!(last.contains("join again"), "{last}");
    // No string, no credential that holds.
    let again = scene.path("bad");
    let ended = scene.run(["worker", "--data-dir", again.to_str().expect("UTF-8")]);
    assert_eq!(ended.status, Some(1), "{ended:?}");

    let rows = server.samples_until(&scene, "the good worker's samples go on", |rows| {
        rows.iter().filter(|row| row.worker == "good" && row.sent_at_ns > revoked).count() > 100
    });
    assert_eq!(rows.iter().filter(|row| row.worker == "bad" && row.sent_at_ns > revoked + 1_000_000_000).count(), 0);
    assert!(server.counter(&scene, "unknown_session") > unknown, "what it still sent was dropped and counted");
    let names: Vec<String> = server.status(&scene).workers.into_iter().map(|worker| worker.name).collect();
    assert_eq!(names, ["good"]);
    good.interrupt();
    assert_nothing_lost(&server.report(&scene));
}

#[test]
fn a_worker_speaks_for_itself_only() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let join = server.join();
    let honest = Control::enrolled(&join, "honest");
    let thief = Control::enrolled(&server.fresh_join(&scene, false), "thief");
    let session = Opened::new(&honest, Kind::Udp, 10.0);
    // The server saw one packet, so that an upload of its other half would make a sample.
    socket(server.ports.probe).send(&session.control_packet(0, &session.up)).expect("sent");

    let upload = |control: &Control, batch: u64| -> Uploaded {
        let mut sent = SentColumns::default();
        let (sent_at, tos) = (UnixNanos(now_ns()), Tos::default());
        sent.push(&SentHalf { sequence: 0, sent_at, tos, size: 220, flags: SampleFlags::default() });
        let told = SessionUpload {
            session: session.grant.session,
            sent,
            received: ReceivedColumns::default(),
            settled_through: Some(0),
            closed: true,
            send_failures: 0,
            foreign: 0,
            notes: vec!["not yours".to_owned()],
            local_queue: Vec::new(),
            transfers: Vec::new(),
        };
        let upload = Upload::of(BOOT, batch, vec![told]);
        let bytes = serde_json::to_vec(&upload).expect("JSON");
        control.block(control.uplink.upload(bytes)).expect("an answer")
    };
    assert_eq!(upload(&thief, 1).unknown_sessions, [session.grant.session]);
    assert!(server.samples(&scene).is_empty(), "nothing was told of the session by its owner");
    assert_eq!(upload(&honest, 1).unknown_sessions, []);
    server.samples_until(&scene, "the owner's sample", |rows| !rows.is_empty() && rows[0].worker == "honest");
    let report = thief.block(thief.uplink.report(0)).expect("a report");
    assert!(report.paths.is_empty(), "{report:?}");

    let denied = |result: Result<(), WorkerError>| match result {
        // What this client makes of 401.
        Err(WorkerError::Revoked { .. }) => {}
        other => panic!("{other:?}"),
    };
    let strangers = [
        thief,
        Control::new(&join, Some("")),
        Control::new(&join, Some(&"a".repeat(26))),
        Control::new(&join, Some(&"x".repeat(4000))),
    ];
    for stranger in &strangers {
        let get = |path: &'static str| stranger.block(stranger.uplink.get::<serde_json::Value>(path)).map(drop);
        denied(get("admin/status"));
        denied(get("admin/tasks"));
        let request = server::api::JoinRequest::default();
        denied(stranger.block(stranger.uplink.post::<serde_json::Value>("admin/join", &request)).map(drop));
        denied(stranger.block(stranger.uplink.delete("admin/workers/honest")));
        denied(stranger.block(stranger.uplink.delete("admin/tasks/x")));
    }
    for stranger in &strangers[1..] {
        let get = |path: &'static str| stranger.block(stranger.uplink.get::<serde_json::Value>(path));
        for path in ["tasks", "report"] {
            // Too many wrong ones are answered 429, from whomever on this host.
            match get(path) {
                Err(WorkerError::Revoked { .. }) => {}
                Err(WorkerError::Refused { status: 429, .. }) => {}
                other => panic!("{path}: {other:?}"),
            }
        }
    }
    // Whoever has a credential is not kept out by the strangers of the same address.
    honest.block(honest.uplink.tasks()).expect("tasks");
}
