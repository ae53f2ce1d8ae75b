//! Packets of whoever has no key, or has somebody else's: dropped, counted, never answered.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use model::control::SessionRequest;
use model::shaping::Experiment;
use model::{BootId, DirectionChoice, Family, Kind, SessionGrant, Tos};
use ring::rand::{SecureRandom, SystemRandom};
use wire::discovery::{DISCOVERY_LEN, build_discovery_request, parse_discovery_response};
use wire::{DirectionKey, MaskKey, ProbeFlags, ProbeHeader};

use crate::proxy::Proxy;
use crate::serving::{Control, Reach, Server, streams, worker};
use crate::support::{Scene, eventually, now_ns};

pub fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SystemRandom::new().fill(&mut bytes).expect("random bytes");
    bytes
}

fn key(hex: &str) -> [u8; 32] {
    let digit = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).expect("hexadecimal");
    std::array::from_fn(digit)
}

/// A session as a worker opens it, and the keys to forge its packets.
pub struct Opened {
    pub grant: SessionGrant,
    pub up: DirectionKey,
    down: DirectionKey,
    mask: MaskKey,
}

pub const BOOT: BootId = BootId(7);

impl Opened {
    pub fn new(control: &Control, kind: Kind, rate_pps: f64) -> Opened {
        Opened::asked(control, kind, rate_pps, None)
    }

    pub fn asked(control: &Control, kind: Kind, rate_pps: f64, experiment: Option<Experiment>) -> Opened {
        let request = SessionRequest {
            boot: BOOT,
            kind,
            family: Family::Ipv4,
            direction: DirectionChoice::Both,
            classes: vec![Tos::default()],
            rate_pps,
            size: 192,
            task: None,
            experiment,
            syn: None,
        };
        let grant = control.block(control.uplink.open_session(&request)).expect("a session");
        let (up, down) = (DirectionKey::new(&key(&grant.key_up)), DirectionKey::new(&key(&grant.key_down)));
        let mask = MaskKey::new(&key(&grant.mask_key));
        Opened { grant, up, down, mask }
    }

    /// What opens a connection.
    pub fn token(&self, sequence: u32, key: &DirectionKey) -> [u8; wire::token::TOKEN_LEN] {
        wire::token::seal_token(self.session(), &Opened::header(sequence), key, &self.mask)
    }

    /// The report that ends a transfer.
    pub fn report(&self, sequence: u32, stream: &[u8]) -> Option<wire::bulk::Report> {
        wire::bulk::open_report(self.session(), sequence, stream.last_chunk()?, &self.down).ok()
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

    pub fn control_packet(&self, sequence: u32, key: &DirectionKey) -> Vec<u8> {
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

pub fn socket(port: u16) -> UdpSocket {
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
        // Experiments send random bytes to this port as well, which may be anything from a probe's length on.
        if length < 48 { short += 1 } else { unknown += 1 }
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
