//! TCP transfers as a server gives them: what the session's experiment says and once, nothing to anybody else, and in the form that
//! a classifier would take them for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use model::control::SessionRequest;
use model::shaping::{Arm, BulkDesign, Design, Experiment, Hypothesis, Payload, Ports, Purpose, Standard};
use model::{Direction, DirectionChoice, Dscp, Family, Kind, Tos};
use wire::DirectionKey;
use wire::bulk::{RECORD_LEN, REPORT_LEN, STREAM_OPENING_LEN};

use crate::forged::{BOOT, Opened, random};
use crate::serving::{Control, Reach, Server};
use crate::support::{Scene, eventually};

const BYTES: u32 = 10 * RECORD_LEN as u32;
const SEED: u64 = 77;

fn experiment(port: u16) -> Experiment {
    let arm = |payload| Arm { dscp: Dscp::default(), port, payload };
    let difference = |payload| Hypothesis {
        subject: arm(payload),
        control: arm(Payload::RandomStream),
        ports: Ports::Fresh,
        purpose: Purpose::Difference,
    };
    let hypotheses = vec![difference(Payload::Http), difference(Payload::Tls)];
    let design = BulkDesign { hypotheses, bytes: BYTES, rounds: 20, most_ms: 60_000 };
    Experiment { design: Design::Bulk(design), standard: Standard::default(), seed: SEED }
}

struct Transfers {
    opened: Opened,
    port: u16,
    plan: measure::shaping::bulk::BulkPlan,
    next: u32,
}

impl Transfers {
    fn new(control: &Control, port: u16) -> Transfers {
        let experiment = experiment(port);
        let Design::Bulk(design) = experiment.design.clone() else { panic!("transfers") };
        let opened = Opened::asked(control, Kind::Http, 50.0, Some(experiment));
        let plan = measure::shaping::bulk::BulkPlan::new(design, DirectionChoice::Both, SEED);
        Transfers { opened, port, plan, next: 0 }
    }

    /// The next sequence of this direction.
    fn sequence(&mut self, direction: Direction) -> u32 {
        loop {
            let turn = self.plan.turn(self.next).expect("enough are planned");
            self.next += 1;
            if turn.direction == direction {
                return self.next - 1;
            }
        }
    }

    fn opening(&self, payload: Payload, sequence: u32, key: &DirectionKey, upload: bool) -> Vec<u8> {
        let (token, mut out) = (self.opened.token(sequence, key), Vec::new());
        match payload {
            Payload::Http if upload => wire::http::build_upload(&mut out, "localhost", &token, BYTES.into()),
            Payload::Http => wire::http::build_request(&mut out, "localhost", &token),
            Payload::Tls => {
                let filler = random(wire::tls::CLIENT_FILLER_LEN).try_into().expect("as long as asked");
                wire::tls::build_client_hello(&mut out, "gateway.discord.gg", &token, &filler).expect("a hello");
            }
            _ => wire::stream::build_stream(&mut out, &token, &random(STREAM_OPENING_LEN - token.len())),
        }
        out
    }

    fn connect(&self, opening: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(opening).expect("sent");
        stream
    }

    /// All that the server sends to this opening.
    fn fetched(&self, opening: &[u8]) -> Vec<u8> {
        let (mut stream, mut all) = (self.connect(opening), Vec::new());
        match stream.read_to_end(&mut all) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("held open: {error}"),
        }
        all
    }
}

/// Content types and lengths of a stream of TLS records up to its end (RFC 8446, section 5.1).
fn records(mut stream: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    while let [kind, 3, _, high, low, rest @ ..] = stream {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        found.push((*kind, length));
        stream = &rest[length..];
    }
    assert!(stream.is_empty(), "{} bytes that are no record", stream.len());
    found
}

#[test]
fn a_session_gets_what_its_experiment_says_once_and_in_its_form() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "carrier");
    let mut transfers = Transfers::new(&control, server.ports.probe);
    let up = transfers.opened.up.clone();

    let sequence = transfers.sequence(Direction::Down);
    let request = transfers.opening(Payload::Http, sequence, &up, false);
    let answer = transfers.fetched(&request);
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let text = std::str::from_utf8(&answer[..head]).expect("text");
    let length = BYTES as usize + REPORT_LEN;
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains(&format!("Content-Length: {length}\r\n")),
        "{text}"
    );
    assert_eq!(answer.len() - head, length);
    let report = transfers.opened.report(sequence, &answer).expect("an authentic report");
    assert!(report.is_sender && report.bytes == u64::from(BYTES), "{report:?}");
    // The very same opening again, and one whose transfer is not in the plan.
    assert_eq!(transfers.fetched(&request).len(), 0);
    let beyond = transfers.opening(Payload::Http, transfers.plan.len(), &up, false);
    assert_eq!(transfers.fetched(&beyond).len(), 0);

    let sequence = transfers.sequence(Direction::Down);
    let answer = transfers.fetched(&transfers.opening(Payload::Tls, sequence, &up, false));
    let kinds = records(&answer);
    assert_eq!((kinds[0].0, kinds[1]), (22, (20, 1)), "ServerHello and ChangeCipherSpec");
    assert_eq!(kinds[2..], [[(23, RECORD_LEN - 5); 10].as_slice(), &[(23, REPORT_LEN)]].concat());
    assert!(transfers.opened.report(sequence, &answer).is_some());

    let sequence = transfers.sequence(Direction::Down);
    let answer = transfers.fetched(&transfers.opening(Payload::RandomStream, sequence, &up, false));
    assert!(answer.len() > length && answer.len() < length + 1_000);
    assert!(
        transfers.opened.report(sequence, &answer).is_some()
            && transfers.opened.report(sequence + 1, &answer).is_none()
    );

    for (payload, bytes) in [(Payload::Http, BYTES), (Payload::Tls, BYTES), (Payload::RandomStream, BYTES / 3)] {
        let sequence = transfers.sequence(Direction::Up);
        let mut stream = transfers.connect(&transfers.opening(payload, sequence, &up, true));
        let mut greeting = [0; 512];
        let length = stream.read(&mut greeting).expect("a greeting");
        if payload == Payload::Http {
            assert_eq!(&greeting[..length], b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        stream.write_all(&random(bytes as usize)).expect("sent");
        if bytes < BYTES {
            stream.shutdown(Shutdown::Write).expect("half closed");
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let report = transfers.opened.report(sequence, &answer).expect("an authentic report");
        assert!(!report.is_sender && report.bytes > 0 && report.bytes < u64::from(bytes), "{report:?}");
        assert!(report.tail_bytes <= report.bytes && report.tail_ns <= report.elapsed_ns, "{report:?}");
    }
    eventually("they are counted", || (server.counter(&scene, "transfers") == 6).then_some(()));
}

#[test]
fn strangers_and_other_sessions_get_nothing() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "carrier");
    let mut transfers = Transfers::new(&control, server.ports.probe);
    let stranger = DirectionKey::new(&[9; 32]);
    for payload in [Payload::Http, Payload::Tls, Payload::RandomStream] {
        for upload in [false, true] {
            let sequence = transfers.sequence(if upload { Direction::Up } else { Direction::Down });
            let opening = transfers.opening(payload, sequence, &stranger, upload);
            assert_eq!(transfers.fetched(&opening).len(), 0, "{payload} with a stranger's key");
        }
    }
    // A session that asked for no transfers has none.
    let plain = Opened::new(&control, Kind::Http, 50.0);
    let mut post = Vec::new();
    wire::http::build_upload(&mut post, "localhost", &plain.token(1, &plain.up), BYTES.into());
    assert_eq!(transfers.fetched(&post).len(), 0);
    assert_eq!(server.counter(&scene, "transfers_broken") + server.counter(&scene, "transfers"), 0);
}

/// What no server should be asked for is refused before a session exists.
#[test]
fn transfers_beyond_reason_are_refused() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let control = Control::enrolled(&server.join(), "carrier");
    let refused = |change: &dyn Fn(&mut BulkDesign)| {
        let mut experiment = experiment(server.ports.probe);
        if let Design::Bulk(design) = &mut experiment.design {
            change(design);
        }
        let request = SessionRequest {
            boot: BOOT,
            kind: Kind::Http,
            family: Family::Ipv4,
            direction: DirectionChoice::Both,
            classes: vec![Tos::default()],
            rate_pps: 50.0,
            size: 512,
            task: None,
            experiment: Some(experiment),
            syn: None,
        };
        control.block(control.uplink.open_session(&request)).err().map(|error| error.to_string())
    };
    assert_eq!(refused(&|_| ()), None);
    let lines = [
        refused(&|design| design.bytes = 100_000_000),
        refused(&|design| design.rounds = 0),
        refused(&|design| (design.bytes, design.rounds) = (64_000_000, 1_000)),
        refused(&|design| design.most_ms = 90_000),
        refused(&|design| design.hypotheses.clear()),
        refused(&|design| design.hypotheses[0].subject.payload = Payload::Rtp),
    ];
    for line in &lines {
        assert!(line.as_ref().is_some_and(|line| line.contains("invalid experiment")), "{lines:?}");
    }
}
