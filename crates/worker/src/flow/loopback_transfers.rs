//! TCP transfers over the loopback interface against a small server built from `wire`: what is asked for, timed and told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::control::ProbePorts;
use model::shaping::{Arm, BulkDesign, Design, Experiment, Hypothesis, Payload, Ports, Purpose, Standard};
use model::{DirectionChoice, Dscp, Family, SessionUpload};
use net::Clock;
use wire::DirectionKey;
use wire::bulk::{Dress, REPORT_LEN, Report, STREAM_OPENING_LEN};

use super::loopback::{SESSION, grant, key, mask};
use super::plan::{Activity, Timeline};
use super::{Flow, FlowSpec, Surroundings};
use crate::config::EchoSockets;
use crate::duty::Cycle;

const BYTES: u32 = 8 * wire::bulk::RECORD_LEN as u32;
const ROUNDS: u32 = 6;

/// Serves one connection whose opening had this sequence.
type Serve = fn(&mut TcpStream, u32, Dress);

fn report(sequence: u32, report: &Report) -> [u8; REPORT_LEN] {
    wire::bulk::seal_report(SESSION, sequence, report, &DirectionKey::new(&key(1)))
}

/// Sequence and form of an opening, read to its end.
fn opening(stream: &mut TcpStream) -> Option<(u32, Dress)> {
    let mut seen = Vec::new();
    loop {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).ok()?;
        seen.extend(byte);
        let http = wire::http::parse_request(&seen).ok().or_else(|| wire::http::parse_upload(&seen).ok()).flatten();
        let random = (seen.len() == STREAM_OPENING_LEN).then(|| wire::stream::parse_stream(&seen)).flatten();
        if let Some((token, dress)) =
            http.map(|token| (token, Dress::Http)).or(random.map(|token| (token, Dress::Stream)))
        {
            let peeked = wire::token::peek_token(&token, &mask());
            let header = wire::token::open_token(&token, &peeked, &DirectionKey::new(&key(0))).ok()?;
            return Some((header.sequence, dress));
        }
    }
}

fn give(stream: &mut TcpStream, sequence: u32, dress: Dress) {
    let mut out = Vec::new();
    if dress == Dress::Http {
        wire::bulk::build_http_head(&mut out, u64::from(BYTES) + REPORT_LEN as u64);
    }
    out.resize(out.len() + BYTES as usize, 1);
    let told = Report { retransmits: 7, min_rtt_us: 40, rtt_us: 90, is_sender: true, ..Report::default() };
    wire::bulk::build_closing(&mut out, dress, false, &report(sequence, &told));
    let _ = stream.write_all(&out);
}

/// As a proxy that answers by itself would.
fn give_without_report(stream: &mut TcpStream, _: u32, _: Dress) {
    let _ = stream.write_all(&vec![1; BYTES as usize]);
}

fn take(stream: &mut TcpStream, sequence: u32, dress: Dress) {
    let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut body = vec![0; BYTES as usize];
    if stream.read_exact(&mut body).is_ok() {
        let told = Report { bytes: 1_000, elapsed_ns: 50, tail_bytes: 500, tail_ns: 20, ..Report::default() };
        let mut out = Vec::new();
        wire::bulk::build_closing(&mut out, dress, true, &report(sequence, &told));
        let _ = stream.write_all(&out);
    }
}

fn refuse(_: &mut TcpStream, _: u32, _: Dress) {}

/// Carries out the transfers of an experiment and returns what was told of them.
fn carried(direction: DirectionChoice, serve: Serve) -> SessionUpload {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
                if let Some((sequence, dress)) = opening(&mut stream) {
                    serve(&mut stream, sequence, dress);
                }
            });
        }
    });
    let arm = |payload| Arm { dscp: Dscp::default(), port, payload };
    let hypothesis = Hypothesis {
        subject: arm(Payload::Http),
        control: arm(Payload::RandomStream),
        ports: Ports::Fresh,
        purpose: Purpose::Difference,
    };
    let design = BulkDesign { hypotheses: vec![hypothesis], bytes: BYTES, rounds: ROUNDS, most_ms: 60_000 };
    let experiment = Experiment { design: Design::Bulk(design), standard: Standard::default(), seed: 3 };
    let spec = FlowSpec::experiment(experiment, None, Family::Ipv4, direction, "gateway.discord.gg");
    let (clock, activity) = (Clock::identity(), Arc::new(Activity::default()));
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
    let grant = grant(ProbePorts { udp: port, dns: port, tcp: port, trigger: Vec::new() });
    let mut flow = Flow::start(spec, &grant, &around).unwrap();
    let limit = Instant::now() + Duration::from_secs(120);
    while !flow.course.is_finished() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(flow.course.is_finished(), "it ends by itself");
    flow.stop(Clock::monotonic_ns());
    flow.log.take(Clock::monotonic_ns(), true).unwrap()
}

#[test]
fn every_transfer_is_told_once_with_what_its_receiver_and_its_sender_saw() {
    for (direction, serve) in [(DirectionChoice::Down, give as Serve), (DirectionChoice::Up, take as Serve)] {
        let told = carried(direction, serve);
        assert!(told.sent.is_empty() && told.received.is_empty() && told.notes.is_empty(), "{:?}", told.notes);
        let sequences: Vec<u32> = told.transfers.iter().map(|transfer| transfer.sequence).collect();
        assert_eq!(sequences, (0..2 * ROUNDS).collect::<Vec<u32>>(), "{direction:?}");
        for transfer in &told.transfers {
            assert!(transfer.tail_bytes <= transfer.bytes && transfer.tail_ns <= transfer.elapsed_ns, "{transfer:?}");
            if direction == DirectionChoice::Up {
                assert_eq!((transfer.bytes, transfer.elapsed_ns, transfer.tail_bytes), (1_000, 50, 500));
                assert!(transfer.retransmits.is_some() && transfer.rtt_us.is_some());
            } else {
                // All but the first read, which sets the clock.
                assert!(transfer.bytes > 0 && transfer.bytes < u64::from(BYTES), "{transfer:?}");
                assert_eq!((transfer.retransmits, transfer.min_rtt_us, transfer.rtt_us), (Some(7), Some(40), Some(90)));
            }
        }
    }
}

#[test]
fn what_nobody_vouches_for_has_no_sender_and_what_brings_nothing_is_given_up() {
    let told = carried(DirectionChoice::Down, give_without_report);
    assert_eq!(told.transfers.len(), 2 * ROUNDS as usize);
    assert!(told.transfers.iter().all(|transfer| transfer.bytes > 0 && transfer.retransmits.is_none()));
    let told = carried(DirectionChoice::Both, refuse);
    assert!(told.transfers.iter().all(|transfer| transfer.bytes == 0));
    assert!(told.transfers.len() == 12 && told.notes.iter().any(|note| note.contains("given up")), "{:?}", told.notes);
}
