//! Whoever has no token, no credential or no key gets nothing: neither service nor data nor an answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::control::{ReceivedColumns, SentColumns, SessionRequest};
use model::{
    BootId, DirectionChoice, Family, Kind, SampleFlags, SentHalf, SessionGrant, SessionUpload, Tos, UnixNanos, Upload,
    Uploaded,
};
use ring::rand::{SecureRandom, SystemRandom};
use wire::discovery::{DISCOVERY_LEN, build_discovery_request, parse_discovery_response};
use wire::{DirectionKey, MaskKey, ProbeFlags, ProbeHeader};
use worker::WorkerError;

use crate::proxy::Proxy;
use crate::support::{
    Control, Reach, Scene, Server, assert_nothing_lost, ended, eventually, now_ns, streams, tool, worker,
};

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SystemRandom::new().fill(&mut bytes).expect("random bytes");
    bytes
}

fn key(hex: &str) -> [u8; 32] {
    let digit = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).expect("hexadecimal");
    std::array::from_fn(digit)
}

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

/// A session as a worker opens it, and the keys to forge its packets.
struct Opened {
    grant: SessionGrant,
    up: DirectionKey,
    down: DirectionKey,
    mask: MaskKey,
}

const BOOT: BootId = BootId(7);

impl Opened {
    fn new(control: &Control, kind: Kind, rate_pps: f64) -> Opened {
        let request = SessionRequest {
            boot: BOOT,
            kind,
            family: Family::Ipv4,
            direction: DirectionChoice::Both,
            classes: vec![Tos::default()],
            rate_pps,
            size: 192,
            task: None,
        };
        let grant = control.block(control.uplink.open_session(&request)).expect("a session");
        let (up, down) = (DirectionKey::new(&key(&grant.key_up)), DirectionKey::new(&key(&grant.key_down)));
        let mask = MaskKey::new(&key(&grant.mask_key));
        Opened { grant, up, down, mask }
    }

    fn session(&self) -> u32 {
        self.grant.session.0
    }

    fn header(sequence: u32) -> ProbeHeader {
        ProbeHeader {
            flags: ProbeFlags::REPLY_WANTED,
            tos: Tos::default(),
            reply_tos: Tos::default(),
            sequence,
            in_reply_to: None,
            sent_at_ns: now_ns(),
        }
    }

    fn control_packet(&self, sequence: u32, key: &DirectionKey) -> Vec<u8> {
        let mut packet = Vec::new();
        wire::control::build_control(&mut packet, self.session(), &Opened::header(sequence), 192, key, &self.mask)
            .expect("a packet");
        packet
    }

    fn rtp_packet(&self, sequence: u32, key: &DirectionKey) -> Vec<u8> {
        let mut packet = Vec::new();
        wire::rtp::build_rtp(&mut packet, self.session(), &Opened::header(sequence), 192, key).expect("a packet");
        packet
    }

    /// The sequence that a control packet of the server's answers to.
    fn answered(&self, mut packet: Vec<u8>) -> Option<u32> {
        let peeked = wire::control::peek_control(&packet, &self.mask).ok()?;
        wire::control::open_control(&mut packet, &peeked, &self.down).ok()?.in_reply_to
    }
}

fn socket(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect((Ipv4Addr::LOCALHOST, port)).expect("a route");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).expect("an answer");
    buffer.truncate(length);
    buffer
}

#[test]
fn packets_that_do_not_authenticate_are_counted_and_never_answered() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "forger");
    let (udp, rtp) = (Opened::new(&control, Kind::Udp, 100.0), Opened::new(&control, Kind::Rtp, 100.0));
    let voice = socket(server.ports.probe);
    let stranger = DirectionKey::new(&[9; 32]);

    let (mut short, mut unknown, mut long) = (0, 0, 0);
    for length in
        [0, 1, 11, 12, 20, 47, 48, 73, 74, 75, 191, 192, 193, 1199, 1472, 1500, 1536, 1537, 2000, 9000, 65_507]
    {
        for packet in [random(length), vec![0; length]] {
            voice.send(&packet).expect("sent");
            match length {
                0..48 => short += 1,
                48..=1536 => unknown += 1,
                _ => long += 1,
            }
        }
    }
    let mut forged = 0;
    for sequence in 0..20 {
        voice.send(&udp.control_packet(sequence, &stranger)).expect("sent");
        voice.send(&rtp.rtp_packet(sequence, &stranger)).expect("sent");
        forged += 2;
    }
    // Each bit of a packet's middle and tag matters; those of the first 40 bytes also say whose packet it is.
    let genuine = udp.control_packet(1000, &udp.up);
    for index in 40..genuine.len() {
        let mut packet = genuine.clone();
        packet[index] ^= 1;
        voice.send(&packet).expect("sent");
        forged += 1;
    }
    // The first datagram that comes back is the answer to the only packet that deserves one.
    let sentinel = udp.control_packet(0, &udp.up);
    voice.send(&sentinel).expect("sent");
    let answer = receive(&voice);
    assert!(answer.len() <= sentinel.len());
    assert_eq!(udp.answered(answer), Some(0));

    let dns = socket(server.ports.probe + 1);
    for length in [0, 1, 11, 12, 40, 74, 512, 1500] {
        dns.send(&random(length)).expect("sent");
        short += 1;
    }
    dns.send(&random(4000)).expect("sent");
    long += 1;

    eventually("everything is counted", || {
        let counted = |name| server.counter(&scene, name);
        (counted("truncated") == short
            && counted("unknown_session") == unknown
            && counted("oversized") == long
            && counted("forged") == forged)
            .then_some(())
    });
    dns.set_nonblocking(true).expect("nonblocking");
    assert!(dns.recv(&mut [0; 16]).is_err(), "no answer to rubbish on the DNS port");
    assert!(server.samples(&scene).is_empty());
}

#[test]
fn a_replayed_packet_is_not_answered_again() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "replayer");
    let udp = Opened::new(&control, Kind::Udp, 100.0);
    let voice = socket(server.ports.probe);
    let exchange = |sequence: u32| {
        let packet = udp.control_packet(sequence, &udp.up);
        voice.send(&packet).expect("sent");
        let answer = receive(&voice);
        assert_eq!(udp.answered(answer.clone()), Some(sequence));
        (packet, answer)
    };
    let (first, _) = exchange(0);
    let (second, _) = exchange(1);
    for _ in 0..5 {
        voice.send(&first).expect("sent");
        voice.send(&second).expect("sent");
    }
    // Far ahead, so that the first are older than what the server remembers.
    exchange(10_000);
    for _ in 0..7 {
        voice.send(&first).expect("sent");
    }
    let (last, answered) = exchange(10_001);
    eventually("the replays are counted", || {
        (server.counter(&scene, "duplicated") == 10 && server.counter(&scene, "replayed") == 7).then_some(())
    });

    // A new process has forgotten what it answered. It must not seal anything else under the same nonce.
    server.kill();
    server.start_again(&scene);
    voice.send(&last).expect("sent");
    voice.send(&udp.control_packet(10_002, &udp.up)).expect("sent");
    let answer = receive(&voice);
    if udp.answered(answer.clone()) == Some(10_001) {
        assert!(answer == answered, "one nonce, two different packets");
        assert_eq!(udp.answered(receive(&voice)), Some(10_002));
    } else {
        assert_eq!(udp.answered(answer), Some(10_002));
    }
}

#[test]
fn packets_caught_on_the_way_are_worth_nothing() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let proxy = Proxy::start(server.ports);
    server.add_task(&scene, &["--kind", "rtp,udp", "--rate", "50"]);
    let worker = worker(&scene, "nyc1", Some(&proxy.join(&server.join())));
    server.samples_until(&scene, "some samples", |rows| rows.len() > 200);
    let caught: Vec<Vec<u8>> = proxy.voice().into_iter().filter(|packet| packet.len() != DISCOVERY_LEN).collect();
    let thief = socket(server.ports.probe);
    for packet in &caught {
        thief.send(packet).expect("sent");
    }
    eventually("the replays are counted", || {
        let counted = server.counter(&scene, "duplicated") + server.counter(&scene, "replayed");
        (counted >= caught.len() as u64).then_some(())
    });
    thief.set_nonblocking(true).expect("nonblocking");
    assert!(thief.recv(&mut [0; 2000]).is_err(), "none was answered");
    worker.interrupt();
    let rows = server.samples(&scene);
    streams(&rows);
    assert_eq!(rows.iter().filter(|row| row.direction == "up").count(), proxy.probes());
    let report = server.report(&scene);
    assert_nothing_lost(&report);
    for path in &report.paths {
        assert_eq!((path.from.as_deref(), path.to.as_deref()), (Some("127.0.0.1"), Some("127.0.0.1")));
    }
}

#[test]
fn ip_discovery_answers_live_sessions_with_as_many_bytes_and_not_too_often() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "asker");
    let rtp = Opened::new(&control, Kind::Rtp, 100.0);
    let udp = Opened::new(&control, Kind::Udp, 100.0);
    let voice = socket(server.ports.probe);
    let own = voice.local_addr().expect("an address");

    // Not of a live session, not of its kind, not of its length: the first answer is to what comes after.
    voice.send(&build_discovery_request(rtp.session() ^ 1)).expect("sent");
    voice.send(&build_discovery_request(udp.session())).expect("sent");
    let request = build_discovery_request(rtp.session());
    voice.send(&request[..DISCOVERY_LEN - 1]).expect("sent");
    voice.send(&[&request[..], &[0]].concat()).expect("sent");
    voice.send(&request).expect("sent");
    let answer = receive(&voice);
    assert_eq!(answer.len(), DISCOVERY_LEN);
    assert_eq!(parse_discovery_response(&answer), Ok((rtp.session(), own.ip(), own.port())));

    let begin = Instant::now();
    for _ in 0..500 {
        voice.send(&request).expect("sent");
    }
    voice.send(&rtp.rtp_packet(0, &rtp.up)).expect("sent");
    let mut answers = 0u32;
    while receive(&voice).len() == DISCOVERY_LEN {
        answers += 1;
    }
    // 50 at once and 5 a second.
    let allowed = 50.0 + 5.0 * begin.elapsed().as_secs_f64();
    assert!(answers > 0 && f64::from(answers) <= allowed, "{answers} answers, {allowed} allowed");
}

#[test]
fn a_session_is_answered_at_its_rate_and_no_faster() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "rusher");
    let begin = Instant::now();
    let udp = Opened::new(&control, Kind::Udp, 10.0);
    let voice = socket(server.ports.probe);
    let sent = 2000;
    for sequence in 0..sent {
        voice.send(&udp.control_packet(sequence, &udp.up)).expect("sent");
        if sequence % 100 == 99 {
            // Not to overrun the sockets' buffers.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    eventually("the rest is counted", || (server.counter(&scene, "rate_limited") > 0).then_some(()));
    voice.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let mut answers = 0u32;
    while voice.recv(&mut [0; 2000]).is_ok() {
        answers += 1;
    }
    let allowed = 210.0 + 20.0 * begin.elapsed().as_secs_f64();
    assert!(answers >= 200 && f64::from(answers) <= allowed, "{answers} answers, {allowed} allowed");
    let limited = server.counter(&scene, "rate_limited");
    assert_eq!(limited + u64::from(answers), u64::from(sent), "each is answered or counted");
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
        };
        let upload = Upload { boot: BOOT, batch, sessions: vec![told] };
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

fn connect(port: u16) -> TcpStream {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(30))
        .expect("connected")
}

#[test]
fn idle_slow_and_senseless_connections_do_not_stop_service() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let join = server.fresh_join(&scene, true);
    let (control, probe) = (server.ports.control, server.ports.probe);
    let slow = b"GET /probe/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: x\r\n";
    let mut held: Vec<TcpStream> = Vec::new();
    for index in 0..60 {
        // Nothing, half of something, and rubbish, on both ports.
        for port in [control, probe] {
            let mut stream = connect(port);
            let sent = match index % 3 {
                0 => Ok(()),
                1 => stream.write_all(&slow[..40]),
                _ => stream.write_all(&random(300)),
            };
            drop(sent);
            held.push(stream);
        }
    }
    let measured = scene.run(["probe", "--join", &join, "--kind", "http,tls,udp,dns", "--duration", "3", "--json"]);
    let report: model::Report = serde_json::from_str(&measured.succeeded().stdout).expect("a report");
    assert_nothing_lost(&report);
    // One byte at a time, the first connections are ended by the server after its deadline, and not before it said so.
    let mut closed = 0;
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut answer = [0; 512];
        loop {
            match stream.read(&mut answer) {
                Ok(0) => break closed += 1,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break closed += 1,
                Err(error) => panic!("held open: {error}"),
            }
        }
    }
    assert_eq!(closed, held.len());
    eventually("they are counted", || (server.counter(&scene, "connections_foreign") >= 60).then_some(()));
    assert!(server.process().is_running());
}

#[test]
fn more_idle_connections_than_are_served_only_delay_service() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let join = server.fresh_join(&scene, true);
    // 512 control connections and 256 probe connections are served at once.
    let held: Vec<TcpStream> = (0..520).map(|_| connect(server.ports.control)).collect();
    let arguments = ["probe", "--join", &join, "--kind", "udp", "--duration", "1", "--json"];
    eventually("a measurement gets through", || (scene.run(arguments).status == Some(0)).then_some(()));
    drop(held);
    let held: Vec<TcpStream> = (0..300).map(|_| connect(server.ports.probe)).collect();
    eventually("the surplus is refused", || (server.counter(&scene, "connections_refused") > 0).then_some(()));
    drop(held);
    let arguments = ["probe", "--join", &join, "--kind", "http,tls", "--duration", "2", "--json"];
    let report: model::Report = serde_json::from_str(&scene.run(arguments).succeeded().stdout).expect("a report");
    assert_nothing_lost(&report);
    assert!(server.process().is_running());
}

#[test]
fn an_enrolment_that_does_not_come_or_does_not_end_is_cut_off() {
    let curl = tool("curl", "curl");
    let scene = Scene::new();
    let server = Server::start(&scene, Reach::V4);
    let url = format!("https://127.0.0.1:{}/api/v1/enroll", server.ports.control);
    let request = |body: &str| {
        let mut command = Command::new(&curl);
        command.args(["--insecure", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "-X", "POST"]);
        command.args(["-H", "Expect:", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer x"]);
        command.args(["--upload-file", body, &url]);
        command
    };
    let big = scene.path("big.json");
    std::fs::write(&big, vec![b' '; 3 << 20]).expect("written");
    let answer = ended(request(big.to_str().expect("UTF-8")));
    assert!(answer.stdout == "413" || answer.stdout == "000", "{answer:?}");
    assert_ne!(answer.stdout, "401", "nobody's three megabytes were read");

    // Its standard input stays open and empty.
    let mut command = request(".");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("curl starts");
    let held = child.stdin.take();
    eventually("the server gives it up", || child.try_wait().expect("a child"));
    drop(held);
    let mut status = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut status).expect("text");
    assert!(status == "408" || status == "000", "{status}");
}
