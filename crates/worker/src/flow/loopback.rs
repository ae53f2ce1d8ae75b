//! Flows over the loopback interface against a small reflector built from `wire`: what is sent, stamped, answered and told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::control::{ProbePorts, SessionGrant};
use model::{DirectionChoice, Family, Kind, SampleFlags, SessionId, SessionUpload, Tos};
use net::Clock;
use wire::{DirectionKey, MaskKey, ProbeFlags, ProbeHeader};

use super::plan::{Activity, Timeline};
use super::{Flow, FlowSpec, Surroundings};
use crate::config::EchoSockets;
use crate::duty::Cycle;

pub(super) const SESSION: u32 = 0x1234_5678;
const KEYS: [u8; 3] = [1, 2, 3];

pub(super) fn key(which: usize) -> [u8; 32] {
    [KEYS[which]; 32]
}

pub(super) fn mask() -> MaskKey {
    MaskKey::new(&key(2))
}

pub(super) fn grant(ports: ProbePorts) -> SessionGrant {
    let hex = |which| data_encoding::HEXLOWER.encode(&key(which));
    SessionGrant {
        session: SessionId(SESSION),
        key_up: hex(0),
        key_down: hex(1),
        mask_key: hex(2),
        seed: 7,
        ports,
        addresses: Vec::new(),
    }
}

fn answer_to(header: &ProbeHeader) -> ProbeHeader {
    ProbeHeader {
        flags: ProbeFlags::REPLY,
        tos: header.reply_tos,
        reply_tos: Tos::default(),
        sequence: header.sequence,
        in_reply_to: Some(header.sequence),
        sent_at_ns: 1,
    }
}

/// Builds the answer to a datagram, or `None`.
type Reflect = fn(&mut [u8]) -> Option<Vec<u8>>;

fn rtp(packet: &mut [u8]) -> Option<Vec<u8>> {
    if let Ok(ssrc) = wire::discovery::parse_discovery_request(packet) {
        let address = Ipv4Addr::LOCALHOST.into();
        return Some(wire::discovery::build_discovery_response(ssrc, address, 9).to_vec());
    }
    let header = wire::rtp::open_rtp(packet, &DirectionKey::new(&key(0))).ok()?;
    let mut out = Vec::new();
    let down = DirectionKey::new(&key(1));
    wire::rtp::build_rtp(&mut out, SESSION, &answer_to(&header), packet.len(), &down).ok()?;
    Some(out)
}

fn udp(packet: &mut [u8]) -> Option<Vec<u8>> {
    let peeked = wire::control::peek_control(packet, &mask()).ok()?;
    let header = wire::control::open_control(packet, &peeked, &DirectionKey::new(&key(0))).ok()?;
    let mut out = Vec::new();
    let down = DirectionKey::new(&key(1));
    wire::control::build_control(&mut out, SESSION, &answer_to(&header), packet.len(), &down, &mask()).ok()?;
    Some(out)
}

/// Answers with a key that is not the session's.
fn forged(packet: &mut [u8]) -> Option<Vec<u8>> {
    let peeked = wire::control::peek_control(packet, &mask()).ok()?;
    let header = wire::control::open_control(packet, &peeked, &DirectionKey::new(&key(0))).ok()?;
    let mut out = Vec::new();
    let other = DirectionKey::new(&[9; 32]);
    wire::control::build_control(&mut out, SESSION, &answer_to(&header), packet.len(), &other, &mask()).ok()?;
    Some(out)
}

fn dns_token(packet: &[u8]) -> Option<(wire::dns::ProbeQuery, ProbeHeader)> {
    let query = wire::dns::parse_query(packet).ok()?;
    let peeked = wire::token::peek_token(&query.token, &mask());
    let header = wire::token::open_token(&query.token, &peeked, &DirectionKey::new(&key(0))).ok()?;
    Some((query, header))
}

fn dns(packet: &mut [u8]) -> Option<Vec<u8>> {
    let (query, header) = dns_token(packet)?;
    let token = wire::token::seal_token(SESSION, &answer_to(&header), &DirectionKey::new(&key(1)), &mask());
    let mut out = Vec::new();
    wire::dns::build_answer(&mut out, &query, &token);
    Some(out)
}

/// A resolver in between that answers by itself and knows nothing of tokens.
fn other_resolver(packet: &mut [u8]) -> Option<Vec<u8>> {
    let (query, _) = dns_token(packet)?;
    let mut out = Vec::new();
    wire::dns::build_answer(&mut out, &query, &[0; wire::token::TOKEN_LEN]);
    Some(out)
}

struct Reflector {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Reflector {
    fn start(reflect: Reflect) -> Reflector {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let own = stop.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !own.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(answer) = reflect(&mut buffer[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Reflector { address, stop }
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn spec(kind: Kind, direction: DirectionChoice) -> FlowSpec {
    FlowSpec {
        kind,
        family: Family::Ipv4,
        direction,
        classes: vec![Tos::from_byte(0), Tos::from_byte(184)],
        rate_pps: 200.0,
        size: 100,
        sni: "gateway.discord.gg".to_owned(),
        experiment: None,
        rounds: None,
    }
}

/// Runs a flow against a port until its log holds so many probes, and returns all it told at its end.
///
/// Settling alone takes two seconds, so the tests of this file are slow; they run side by side.
fn measure(spec: FlowSpec, port: u16, probes: u64) -> SessionUpload {
    let grant = grant(ProbePorts { udp: port, dns: port, tcp: port, trigger: Vec::new() });
    let clock = Clock::identity();
    let activity = Arc::new(Activity::default());
    let around = Surroundings {
        clock: &clock,
        server: Ipv4Addr::LOCALHOST.into(),
        host: "127.0.0.1",
        timeline: Timeline { begin_ns: Clock::monotonic_ns(), cycle: Cycle::CONTINUOUS },
        activity: &activity,
        nearest: &Arc::default(),
        watcher: None,
        echoes: &EchoSockets::default(),
    };
    let mut flow = Flow::start(spec, &grant, &around).unwrap();
    // A limit against hanging, not a measurement.
    let limit = Instant::now() + Duration::from_secs(60);
    while flow.log.totals().sent < probes && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    flow.stop(Clock::monotonic_ns());
    while !flow.is_settled(Clock::monotonic_ns()) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Taken in one piece: a thread that is kept waiting on a busy machine must not turn stamps into user-space times.
    flow.log.take(Clock::monotonic_ns(), true).unwrap()
}

/// Every probe went out with its class and was answered, and the kernel said when.
fn complete(upload: &SessionUpload, probes: usize) {
    let (sent, received) = (upload.sent.halves().unwrap(), upload.received.halves().unwrap());
    assert!(sent.len() >= probes, "{} sent", sent.len());
    assert_eq!((upload.foreign, upload.send_failures), (0, 0), "{:?}", upload.notes);
    let mut sequences: Vec<u32> = sent.iter().map(|half| half.sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (0..sent.len() as u32).collect::<Vec<_>>());
    assert_eq!(upload.settled_through, sequences.last().copied());
    let mut answered: Vec<u32> = received.iter().map(|half| half.sequence).collect();
    answered.sort_unstable();
    assert_eq!(answered, sequences);
    let marked = sent.iter().filter(|half| half.tos == Tos::from_byte(184)).count();
    assert!(marked.abs_diff(sent.len() - marked) <= 1, "each cycle holds each class once");
    assert!(sent.iter().all(|half| half.flags == SampleFlags::default()), "kernel stamps, unchanged marks: {sent:?}");
    for half in received {
        let of = sent.iter().find(|sent| sent.sequence == half.sequence).unwrap();
        assert!(half.received_at > of.sent_at);
    }
}

#[test]
fn rtp_opens_with_discovery_and_every_probe_is_stamped_and_answered() {
    let reflector = Reflector::start(rtp);
    let upload = measure(spec(Kind::Rtp, DirectionChoice::Both), reflector.address.port(), 40);
    complete(&upload, 40);
    assert_eq!(upload.notes, Vec::<String>::new());
    assert!(upload.sent.size.iter().all(|size| *size == 128));
}

#[test]
fn udp_and_dns_probes_are_stamped_and_answered() {
    for (kind, reflect) in [(Kind::Udp, udp as Reflect), (Kind::Dns, dns)] {
        let reflector = Reflector::start(reflect);
        complete(&measure(spec(kind, DirectionChoice::Both), reflector.address.port(), 20), 20);
    }
}

#[test]
fn rtp_goes_on_without_discovery_and_says_so() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upload = measure(spec(Kind::Rtp, DirectionChoice::Both), silent.local_addr().unwrap().port(), 4);
    assert!(upload.sent.len() >= 4 && upload.received.is_empty());
    assert_eq!(upload.notes, ["rtp over ipv4: IP discovery was not answered"]);
}

#[test]
fn what_does_not_authenticate_is_counted_and_not_believed() {
    let reflector = Reflector::start(forged);
    let upload = measure(spec(Kind::Udp, DirectionChoice::Both), reflector.address.port(), 10);
    assert!(upload.received.is_empty());
    assert_eq!(upload.foreign, upload.sent.len() as u64);
}

#[test]
fn an_answer_of_another_resolver_marks_the_probe_intercepted() {
    let reflector = Reflector::start(other_resolver);
    let upload = measure(spec(Kind::Dns, DirectionChoice::Both), reflector.address.port(), 10);
    assert!(upload.received.is_empty() && upload.sent.len() >= 10);
    let flags = upload.sent.halves().unwrap();
    assert!(flags.iter().all(|half| half.flags == SampleFlags::INTERCEPTED), "{flags:?}");
}

#[test]
fn up_wants_no_answer_and_down_marks_only_the_answer() {
    let reflector = Reflector::start(|packet| {
        let peeked = wire::control::peek_control(packet, &mask()).ok()?;
        let header = wire::control::open_control(packet, &peeked, &DirectionKey::new(&key(0))).ok()?;
        assert!(!header.flags.contains(ProbeFlags::REPLY_WANTED) && header.reply_tos == Tos::default());
        None
    });
    let up = measure(spec(Kind::Udp, DirectionChoice::Up), reflector.address.port(), 10);
    assert!(up.sent.tos.contains(&184) && up.received.is_empty());

    let reflector = Reflector::start(|packet| {
        let copy = udp(packet)?;
        let mut again = copy.clone();
        let peeked = wire::control::peek_control(&again, &mask()).ok()?;
        let answer = wire::control::open_control(&mut again, &peeked, &DirectionKey::new(&key(1))).ok()?;
        // Answers only to the marked class.
        (answer.tos == Tos::from_byte(184)).then_some(copy)
    });
    let down = measure(spec(Kind::Udp, DirectionChoice::Down), reflector.address.port(), 10);
    assert!(down.sent.is_empty() && !down.received.is_empty());
    assert!(down.settled_through.is_some());
}

/// Answers one connection after the other with what `answer` makes of the request.
fn serve_http(answer: fn(&[u8]) -> Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            let mut filled = 0;
            while !buffer[..filled].windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer[filled..]) {
                    Ok(length) if length > 0 => filled += length,
                    _ => break,
                }
            }
            let _ = stream.write_all(&answer(&buffer[..filled]));
        }
    });
    port
}

fn http_answer(request: &[u8]) -> Vec<u8> {
    let token = wire::http::parse_request(request).unwrap().unwrap();
    let peeked = wire::token::peek_token(&token, &mask());
    let header = wire::token::open_token(&token, &peeked, &DirectionKey::new(&key(0))).unwrap();
    let reply = wire::token::seal_token(SESSION, &answer_to(&header), &DirectionKey::new(&key(1)), &mask());
    let mut out = Vec::new();
    wire::http::build_response(&mut out, &reply);
    out
}

#[test]
fn http_probes_are_stamped_and_answered() {
    let port = serve_http(http_answer);
    complete(&measure(FlowSpec { rate_pps: 50.0, ..spec(Kind::Http, DirectionChoice::Both) }, port, 20), 20);
}

#[test]
fn a_proxys_own_answer_marks_the_probe_intercepted() {
    let port = serve_http(|_| b"HTTP/1.1 200 OK\r\nVia: 1.1 box\r\nContent-Length: 2\r\n\r\nhi".to_vec());
    let upload = measure(FlowSpec { rate_pps: 50.0, ..spec(Kind::Http, DirectionChoice::Both) }, port, 6);
    assert!(upload.received.is_empty() && upload.sent.len() >= 6);
    let sent = upload.sent.halves().unwrap();
    assert!(sent.iter().all(|half| half.flags.has(SampleFlags::INTERCEPTED)), "{sent:?}");
}

#[test]
fn a_refused_connection_is_a_lost_probe_that_says_so() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for kind in [Kind::Http, Kind::Tls] {
        let upload = measure(FlowSpec { rate_pps: 50.0, ..spec(kind, DirectionChoice::Both) }, port, 5);
        let sent = upload.sent.halves().unwrap();
        assert!(sent.len() >= 5 && upload.received.is_empty());
        assert!(sent.iter().all(|half| half.flags.has(SampleFlags::REFUSED)), "{sent:?}");
    }
}
