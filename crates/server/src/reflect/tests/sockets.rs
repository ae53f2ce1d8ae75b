use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::{Outgoing, ReceiveBatch, UdpOptions, UdpProbeSocket};
use wire::Tos;
use wire::stamp::{
    ErrorEstimate, Reflected, Security, SenderPacket, StampKey, Timestamp, TimestampFormat, Tlv, TlvType, build_sender,
    parse_reflector,
};

use crate::reflect::{ReflectConfig, ReflectCounts, Reflector};

fn any_port() -> ReflectConfig {
    ReflectConfig { listen: "[::]:0".parse().unwrap(), ..ReflectConfig::new(net::Clock::identity()) }
}

/// Runs `body` against a reflector, given its port, and returns what it counted.
fn with_reflector(config: ReflectConfig, body: impl FnOnce(u16)) -> ReflectCounts {
    let reflector = Reflector::bind(config).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| reflector.run(&stop));
        let port = reflector.addresses()[0].port();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(port)));
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    reflector.counters().read()
}

struct Sender {
    socket: UdpProbeSocket,
}

struct Answer {
    bytes: Vec<u8>,
    tos: Option<Tos>,
    arrived_ns: i64,
}

impl Sender {
    fn to(address: &str, port: u16) -> Sender {
        let target: SocketAddr = format!("{address}:{port}").parse().unwrap();
        let bind = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpProbeSocket::bind(bind.parse().unwrap(), &UdpOptions::default()).unwrap();
        socket.connect(target).unwrap();
        Sender { socket }
    }

    fn ask(&self, packet: &[u8], tos: u8) -> Option<Answer> {
        self.socket
            .send(&Outgoing { payload: packet, to: None, tos: Tos::from_byte(tos), ttl: Some(77), source: None })
            .unwrap();
        let mut batch = ReceiveBatch::new(1, 2048);
        let count = self.socket.receive(&mut batch, Some(Duration::from_millis(400))).unwrap();
        let now = net::Clock::identity().now().0;
        (count > 0).then(|| {
            let packet = batch.packets().next().unwrap();
            Answer { bytes: packet.payload.to_vec(), tos: packet.tos, arrived_ns: packet.stamp.map_or(now, |at| at.0) }
        })
    }
}

const SENT_NS: i64 = 1_700_000_000_123_456_789;

fn request(sequence: u32, ssid: u16, tlvs: &[Tlv<'_>], security: Security<'_>) -> Vec<u8> {
    let packet = SenderPacket {
        sequence,
        timestamp: Timestamp::from_unix_ns(SENT_NS, TimestampFormat::Ptp),
        error: ErrorEstimate::unknown(TimestampFormat::Ptp),
        ssid,
    };
    let mut out = Vec::new();
    build_sender(&mut out, &packet, tlvs, security).unwrap();
    out
}

fn read(answer: &Answer) -> Reflected<'_> {
    parse_reflector(&answer.bytes, Security::Open).unwrap()
}

#[test]
fn a_stateless_reply_says_what_came_when_and_how() {
    let counts = with_reflector(any_port(), |port| {
        for (address, tlv, tos, answered) in [
            // RFC 8972 with EF and ECT(0); the draft's layout, as stamp-suite was captured sending it.
            ("127.0.0.1", [0x80, 4, 0, 4, 0xb8, 0, 0, 0], 0xba, [0, 4, 0, 4, 0xba, 0xe8, 0, 0]),
            ("[::1]", [0x80, 4, 0, 4, 0xb8, 0, 0, 0], 0xba, [0, 4, 0, 4, 0xba, 0xe8, 0, 0]),
            ("127.0.0.1", [0x80, 4, 0, 4, 0xb8, 0, 0x80, 0], 0xba, [0, 4, 0, 4, 0xba, 0xe8, 0xb0, 0]),
            ("[::1]", [0x80, 4, 0, 4, 0x28, 0, 0x80, 0], 0xb9, [0, 4, 0, 4, 0x2a, 0xe4, 0xb0, 0]),
        ] {
            let mut packet = request(0x0102_0304, 0xbeef, &[], Security::Open);
            packet.extend_from_slice(&tlv);
            let answer = Sender::to(address, port).ask(&packet, tos).expect("a reply");
            assert_eq!(answer.bytes.len(), packet.len());
            assert_eq!(answer.bytes[44..], answered);
            let reply = read(&answer).packet;
            assert_eq!((reply.sequence, reply.sender_sequence, reply.ssid), (0x0102_0304, 0x0102_0304, 0xbeef));
            assert_eq!(reply.sender_timestamp, Timestamp::from_unix_ns(SENT_NS, TimestampFormat::Ptp));
            assert_eq!((reply.sender_ttl, reply.error.synchronized), (77, false));
            let (t2, t3) = (reply.received, reply.timestamp);
            let (t2, t3) = (t2.to_unix_ns(TimestampFormat::Ptp).unwrap(), t3.to_unix_ns(TimestampFormat::Ptp).unwrap());
            assert!(t2 <= t3 && t3 <= answer.arrived_ns, "{t2} {t3} {}", answer.arrived_ns);
            // The DSCP asked for; the ECN where the draft asks for one.
            let asked = (tlv[4] & 0xfc) | (tlv[6] >> 6);
            assert_eq!(answer.tos, Some(Tos::from_byte(asked)), "{address}");
        }
        // Nothing asked: the DSCP that came.
        let answer = Sender::to("[::1]", port).ask(&request(1, 0, &[], Security::Open), 0xb9).unwrap();
        assert_eq!(answer.tos, Some(Tos::from_byte(0xb8)));
    });
    assert_eq!((counts.received, counts.answered), (5, 5));
}

#[test]
fn what_it_does_not_know_it_says_it_does_not() {
    with_reflector(any_port(), |port| {
        let mut packet = request(9, 0, &[Tlv::request(TlvType::Location, &[0; 4])], Security::Open);
        // Type 240 and, in a stateless reflector, direct measurement and follow-up telemetry.
        packet.extend_from_slice(&[0x80, 240, 0, 2, 5, 6]);
        packet.extend_from_slice(&[0x80, 5, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&[&[0x80, 7, 0, 16][..], &[0; 16]].concat());
        // Longer than there are bytes: malformed.
        packet.extend_from_slice(&[0x80, 1, 0xff, 0xff, 1]);
        let answer = Sender::to("127.0.0.1", port).ask(&packet, 0).unwrap();
        let expected = [
            &[0x80, 2, 0, 4, 0, 0, 0, 0][..],
            &[0x80, 240, 0, 2, 5, 6],
            &[0x80, 5, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 7, 0, 16],
            &[0; 16],
            &[0x40, 1, 0xff, 0xff, 1],
        ]
        .concat();
        assert_eq!(answer.bytes[44..], expected);
    });
}

#[test]
fn a_stateful_one_counts_each_session_and_tells_when_replies_left() {
    let counts = with_reflector(ReflectConfig { stateful: true, ..any_port() }, |port| {
        for address in ["127.0.0.1", "[::1]"] {
            let sender = Sender::to(address, port);
            let tlvs = [
                Tlv::request(TlvType::FollowUpTelemetry, &[0; 16]),
                Tlv::request(TlvType::DirectMeasurement, &[0; 12]),
            ];
            let mut before: Option<(u32, i64, i64)> = None;
            // Every second sequence is missing, and another session's packets come between.
            for n in 0..5u32 {
                let answer = sender.ask(&request(2 * n, 1, &tlvs, Security::Open), 0).unwrap();
                let _ = sender.ask(&request(n, 2, &[], Security::Open), 0).unwrap();
                let reply = read(&answer);
                assert_eq!((reply.packet.sequence, reply.packet.sender_sequence), (n, 2 * n));
                let told: Vec<Vec<u8>> = reply.tlvs().map(|tlv| tlv.value.to_vec()).collect();
                let [follow_up, counters] = told.as_slice() else { panic!("{told:?}") };
                assert_eq!(counters[4..12], [(n + 1).to_be_bytes(), (n + 1).to_be_bytes()].concat());
                if let Some((sequence, t3, arrived_ns)) = before {
                    assert_eq!(follow_up[..4], sequence.to_be_bytes());
                    let left = u64::from_be_bytes(*follow_up[4..].first_chunk().unwrap());
                    let left = Timestamp(left).to_unix_ns(TimestampFormat::Ptp).unwrap();
                    // The kernel's transmit stamp: after T3 was read, before the reply arrived. By local software: 2.
                    assert!((t3..=arrived_ns).contains(&left), "{t3} {left} {arrived_ns}");
                    assert_eq!(follow_up[12..], [2, 0, 0, 0]);
                } else {
                    assert_eq!(follow_up[..], [0; 16]);
                }
                let t3 = reply.packet.timestamp.to_unix_ns(TimestampFormat::Ptp).unwrap();
                before = Some((n, t3, answer.arrived_ns));
            }
        }
    });
    assert_eq!((counts.answered, counts.sessions_full), (20, 0));
}

#[test]
fn sessions_beyond_the_bound_are_answered_without_state() {
    let config = ReflectConfig { stateful: true, most_sessions: 2, ..any_port() };
    let counts = with_reflector(config, |port| {
        let sender = Sender::to("127.0.0.1", port);
        for (ssid, replied) in [(1, 0), (2, 0), (3, 50), (1, 1)] {
            let answer = sender.ask(&request(50, ssid, &[], Security::Open), 0).unwrap();
            assert_eq!(read(&answer).packet.sequence, replied);
        }
    });
    assert_eq!(counts.sessions_full, 1);
}

#[test]
fn with_a_key_only_its_holders_are_answered() {
    let (key, wrong) = (StampKey::new(b"0123456789abcdef"), StampKey::new(b"fedcba9876543210"));
    let config = ReflectConfig { key: Some(key.clone()), stateful: true, ..any_port() };
    let counts = with_reflector(config, |port| {
        let sender = Sender::to("[::1]", port);
        let tlv = [Tlv::request(TlvType::ClassOfService, &[0xb8, 0, 0, 0])];
        let good = request(3, 5, &tlv, Security::Authenticated(&key));
        let answer = sender.ask(&good, 0x28).unwrap();
        let reply = parse_reflector(&answer.bytes, Security::Authenticated(&key)).unwrap();
        assert!(reply.integrity);
        assert_eq!(reply.class_of_service().map(|class| class.received_dscp.get()), Some(10));
        assert!(parse_reflector(&answer.bytes, Security::Authenticated(&wrong)).is_err());
        assert!(sender.ask(&request(4, 5, &tlv, Security::Authenticated(&wrong)), 0).is_none());
        assert!(sender.ask(&request(4, 5, &[], Security::Open), 0).is_none());
        // A right base packet whose TLVs were altered is answered, and told (I flag); the mark asked for is not used.
        let mut altered = good.clone();
        altered[112 + 4] = 0x28;
        let answer = sender.ask(&altered, 0x30).unwrap();
        assert!(answer.bytes[112] & 0x20 != 0 && answer.tos == Some(Tos::from_byte(0x30)));
        // Its replies are counted by its own key's place of the SSID: the kernel's stamp found the session.
        let follow_up = [Tlv::request(TlvType::FollowUpTelemetry, &[0; 16])];
        let answer = sender.ask(&request(6, 5, &follow_up, Security::Authenticated(&key)), 0).unwrap();
        let reply = parse_reflector(&answer.bytes, Security::Authenticated(&key)).unwrap();
        assert_eq!(reply.packet.sequence, 2);
        assert_eq!(reply.tlvs().next().map(|tlv| tlv.value[..4].to_vec()), Some(vec![0, 0, 0, 1]));
    });
    assert_eq!((counts.received, counts.answered), (5, 3));
    // The open one is also too short for this mode.
    assert_eq!((counts.unauthenticated, counts.too_short, counts.tlvs_not_authentic), (1, 1, 1));
}

#[test]
fn it_answers_nothing_that_could_be_turned_against_others() {
    let config = ReflectConfig { burst_per_source: 3.0, rate_per_source: 0.001, ..any_port() };
    let counts = with_reflector(config, |port| {
        let sender = Sender::to("127.0.0.1", port);
        // An answer would be longer than the question.
        for len in [0, 1, 43] {
            assert!(sender.ask(&request(0, 0, &[], Security::Open)[..len], 0).is_none());
        }
        // Those were this source's three.
        assert!(sender.ask(&request(0, 0, &[], Security::Open), 0).is_none());
        let long = request(0, 0, &[Tlv::request(TlvType::ExtraPadding, &[0; 1457])], Security::Open);
        assert!(Sender::to("127.0.0.1", port).ask(&long, 0).is_none());
    });
    assert_eq!((counts.answered, counts.too_short, counts.rate_limited, counts.too_long), (0, 3, 1, 1));
}

#[test]
fn packets_of_answering_ports_are_dropped() {
    // A reflector of one family, so that its port is free on another address of loopback.
    let config = ReflectConfig { listen: "127.0.0.1:0".parse().unwrap(), ..any_port() };
    let counts = with_reflector(config, |port| {
        let twin = UdpSocket::bind(("127.0.0.3", port)).unwrap();
        twin.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        twin.send_to(&request(0, 0, &[], Security::Open), ("127.0.0.1", port)).unwrap();
        assert!(twin.recv(&mut [0; 100]).is_err());
    });
    assert_eq!((counts.from_answering_port, counts.answered), (1, 0));
}

#[test]
fn the_reply_comes_from_the_address_that_was_asked() {
    let config = ReflectConfig { clock_error: Some(Duration::from_millis(1)), ..any_port() };
    with_reflector(config, |port| {
        // A connected socket hears nobody else.
        let answer = Sender::to("127.8.9.10", port).ask(&request(0, 0, &[], Security::Open), 0).expect("a reply");
        let error = read(&answer).packet.error;
        // Said to be synchronised by whoever configured it.
        assert!(error.synchronized && error.ns() >= 1_000_000 && error.ns() < 1_010_000, "{}", error.ns());
    });
}

#[test]
fn a_mark_that_is_not_allowed_is_refused_in_words() {
    let config = ReflectConfig { allowed_dscp: 1, sets_ecn: false, ..any_port() };
    let counts = with_reflector(config, |port| {
        let tlv = [Tlv::request(TlvType::ClassOfService, &[0xb8, 0, 0x40, 0])];
        let answer = Sender::to("127.0.0.1", port).ask(&request(0, 0, &tlv, Security::Open), 0x28).unwrap();
        let class = read(&answer).class_of_service().unwrap();
        assert!(class.refused() && class.reverse_path_ecn == wire::stamp::ReversePathEcn::Refused);
        assert_eq!(answer.tos, Some(Tos::from_byte(0x28)));
    });
    assert_eq!(counts.dscp_refused, 1);
}

#[test]
fn a_taken_port_is_an_error_with_its_address() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Reflector::bind(ReflectConfig { listen, ..any_port() }).err().expect("taken").to_string();
    assert!(error.contains(&listen.to_string()) && error.contains("taken"), "{error}");
}
