//! What becomes of replies of different reflectors. Loopback changes no mark, so all changes are the reflectors'.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::report::Pathology;
use model::{Direction, Kind, SampleFlags, Tos, WorkerName};
use wire::stamp::{StampKey, TimestampFormat};

use super::reflector::{Temper, going, marks, session};
use crate::stamp::{Amount, ClassOfServiceTlv, StampConfig, StampError, report, run};

const FAMILIES: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

#[test]
fn both_ways_are_seen_with_their_marks_and_kernel_times() {
    for listen in FAMILIES {
        let outcome = session(listen, &Temper { stateful: true, ..Temper::default() }, |config| {
            config.classes = marks(&[0, 46, 63], &[0, 1, 2, 3]);
            config.amount = Amount::Count(48);
            config.class_of_service = ClassOfServiceTlv::Draft;
        });
        assert_eq!((outcome.counters.sent, outcome.counters.answered), (48, 48), "{:?}", outcome.counters);
        assert_eq!(outcome.notes, [] as [String; 0]);
        let (up, down) = (going(&outcome, Direction::Up), going(&outcome, Direction::Down));
        assert_eq!((up.len(), down.len(), going(&outcome, Direction::RoundTrip).len()), (48, 48, 48));
        for sample in up.iter().chain(&down) {
            assert_eq!(sample.tos_received, Some(sample.tos_sent));
            assert_eq!((sample.kind, sample.ttl), (Kind::Stamp, Some(64)));
            let delay_ns = sample.received_at.unwrap().since(sample.sent_at);
            // One clock: never negative; PTP and NTP timestamps are good to a nanosecond.
            assert!((-1..1_000_000_000).contains(&delay_ns), "{delay_ns}");
            let headers = if listen.starts_with('[') { 48 } else { 28 };
            assert_eq!(sample.size, 44 + 8 + 16 + 20 + headers);
        }
        assert!(up.iter().all(|sample| !sample.flags.has(SampleFlags::TX_USER)));
        // Of the last reply nothing later tells when it left.
        let told = down.iter().filter(|sample| !sample.flags.has(SampleFlags::TX_USER)).count();
        assert!(told >= 40 && outcome.reflector.follow_up && outcome.reflector.reply_ecn, "{told}");
        assert!(outcome.reflector.stateful || outcome.counters.answered == outcome.counters.sent);
    }
}

#[test]
fn the_rfcs_request_leaves_the_replys_ecn_to_the_reflector() {
    let outcome = session(FAMILIES[0], &Temper::default(), |config| config.classes = marks(&[46], &[2]));
    let down = going(&outcome, Direction::Down);
    assert!(
        down.iter()
            .all(|sample| sample.tos_sent == Tos::from_byte(184) && sample.tos_received == Some(sample.tos_sent))
    );
    assert_eq!(outcome.reply_ecn_unknown, 0);
    // To the draft's request such a reflector says nothing about ECN: then nothing is claimed.
    let up = going(&outcome, Direction::Up);
    assert!(up.iter().all(|sample| sample.tos_received == Some(Tos::from_byte(186))));
}

#[test]
fn authenticated_mode_takes_the_same_key_and_no_other() {
    let key = |bytes: &[u8]| Some(StampKey::new(bytes));
    for (ours, answered) in [(key(b"sixteen bytes ok"), 40), (key(b"another key here"), 0), (None, 0)] {
        let temper = Temper { key: key(b"sixteen bytes ok"), ..Temper::default() };
        let outcome = session(FAMILIES[1], &temper, |config| config.key = ours.clone());
        assert_eq!(outcome.counters.answered, answered);
        assert_eq!(outcome.notes.iter().any(|note| note.starts_with("no reply")), answered == 0, "{:?}", outcome.notes);
    }
    // Altered on the way: the base packet's HMAC is wrong.
    let temper = Temper { key: key(b"sixteen bytes ok"), corrupts: Some(20), ..Temper::default() };
    let outcome = session(FAMILIES[0], &temper, |config| config.key = key(b"sixteen bytes ok"));
    assert_eq!((outcome.counters.answered, outcome.counters.unauthenticated), (0, 40));
    // Altered in a TLV: the times are good, the marks are not used.
    let temper = Temper { key: key(b"sixteen bytes ok"), corrupts: Some(112 + 4), ..Temper::default() };
    let outcome = session(FAMILIES[0], &temper, |config| config.key = key(b"sixteen bytes ok"));
    assert_eq!((outcome.counters.answered, outcome.counters.integrity_failed), (40, 40));
    assert!(
        going(&outcome, Direction::Up)
            .iter()
            .all(|sample| sample.tos_received.is_none() && sample.received_at.is_some())
    );
}

#[test]
fn a_reflector_of_rfc_8762_allows_round_trip_statements_only() {
    let outcome = session(FAMILIES[0], &Temper { plain: true, ..Temper::default() }, |_| {});
    assert_eq!(outcome.counters.class_of_service_unsupported, 40);
    for direction in [Direction::Up, Direction::Down] {
        let samples = going(&outcome, direction);
        assert_eq!(samples.len(), 40);
        assert!(samples.iter().all(|sample| sample.tos_received.is_none() && sample.received_at.is_some()));
    }
    assert!(going(&outcome, Direction::RoundTrip).iter().all(|sample| sample.tos_received == Some(sample.tos_sent)));
    assert!(outcome.notes.iter().any(|note| note.contains("does not know the Class of Service TLV")));

    let made = report(&WorkerName::new("here").unwrap(), "2026-01-02T03:04:05Z".to_owned(), &outcome).unwrap();
    for path in &made.paths {
        let round_trip = path.direction == Direction::RoundTrip;
        let remarking = &path.remarking[0];
        assert_eq!(remarking.pathology, Pathology::Inconclusive, "{}", path.direction);
        let (reason, both) = (remarking.reason.as_deref().unwrap(), "both ways together");
        assert!(reason.contains("Class of Service") && reason.contains(both) == round_trip, "{reason}");
        // What came back is shown all the same.
        assert_eq!(remarking.map.iter().map(|count| count.count).sum::<u64>(), if round_trip { 40 } else { 0 });
        assert!(path.classes.iter().all(|class| class.owd_ms.is_some() != round_trip), "{:?}", path.classes);
    }
}

#[test]
fn a_refused_mark_is_not_taken_for_a_rewritten_one() {
    let temper = Temper { allowed_dscp: 1, sets_ecn: false, ..Temper::default() };
    let outcome = session(FAMILIES[1], &temper, |config| {
        config.classes = marks(&[46], &[1]);
        config.class_of_service = ClassOfServiceTlv::Draft;
    });
    assert_eq!((outcome.counters.dscp_refused, outcome.counters.ecn_refused), (40, 40));
    // RFC 8972: it then uses the DSCP it received, which loopback does not change; and Not-ECT (draft).
    let down = going(&outcome, Direction::Down);
    assert!(
        down.iter()
            .all(|sample| sample.tos_sent == Tos::from_byte(184) && sample.tos_received == Some(sample.tos_sent))
    );
}

#[test]
fn where_a_probe_was_lost_is_said_where_the_reflector_counts() {
    let temper = Temper { deaf_to: vec![0, 5, 6], loses: vec![9, 20, 21], ..Temper::default() };
    let outcome = session(FAMILIES[0], &temper, |_| {});
    let lost = |direction| -> Vec<u32> {
        going(&outcome, direction).iter().filter(|s| s.received_at.is_none()).map(|s| s.sequence).collect()
    };
    assert_eq!(lost(Direction::Up), [0, 5, 6]);
    assert_eq!(lost(Direction::Down), [9, 20, 21]);
    assert_eq!(lost(Direction::RoundTrip), [0, 5, 6, 9, 20, 21]);
    assert!(outcome.reflector.loss_by_direction);
    // Its own sequence tells as much as its counters do.
    let temper = Temper { counts: false, stateful: true, ..temper };
    let outcome = session(FAMILIES[0], &temper, |_| {});
    let down = going(&outcome, Direction::Down);
    assert_eq!(down.iter().filter(|s| s.received_at.is_none()).count(), 3);
    // And where it does neither, nobody knows.
    let temper = Temper { counts: false, stateful: false, ..temper };
    let outcome = session(FAMILIES[0], &temper, |_| {});
    let one_way = [going(&outcome, Direction::Up), going(&outcome, Direction::Down)].concat();
    assert!(one_way.iter().all(|sample| sample.received_at.is_some()));
    assert_eq!(one_way.len(), 2 * 34);
    assert!(outcome.notes.iter().any(|note| note.contains("6 where is not known")), "{:?}", outcome.notes);
    let made = report(&WorkerName::new("here").unwrap(), "2026-01-02T03:04:05Z".to_owned(), &outcome).unwrap();
    let up = made.paths.iter().find(|path| path.direction == Direction::Up).unwrap();
    assert!(up.classes[0].reason.as_deref().unwrap().contains("see round-trip"));
    let round_trip = made.paths.iter().find(|path| path.direction == Direction::RoundTrip).unwrap();
    assert_eq!(round_trip.classes.iter().map(|class| class.lost).sum::<u64>(), 6);
}

#[test]
fn doubled_and_foreign_replies_count_once_and_not_at_all() {
    let outcome = session(FAMILIES[0], &Temper { doubles: true, ..Temper::default() }, |_| {});
    assert_eq!(outcome.counters.answered, 40);
    assert!(outcome.counters.duplicates >= 39, "{:?}", outcome.counters);
    let doubled =
        |direction| going(&outcome, direction).iter().filter(|s| s.flags.has(SampleFlags::DUPLICATED)).count();
    // The same request received once: the reply was doubled, not the request.
    assert!(doubled(Direction::Down) >= 39 && doubled(Direction::Up) == 0);
    // A wrong T1: not an answer to anything that was sent.
    let outcome = session(FAMILIES[0], &Temper { corrupts: Some(30), ..Temper::default() }, |_| {});
    assert_eq!((outcome.counters.answered, outcome.counters.foreign), (0, 40));
    // Another session's identifier.
    let outcome = session(FAMILIES[0], &Temper { corrupts: Some(15), ..Temper::default() }, |_| {});
    assert_eq!((outcome.counters.answered, outcome.counters.foreign), (0, 40));
}

#[test]
fn padding_and_formats_are_as_asked() {
    let outcome = session(FAMILIES[0], &Temper::default(), |config| {
        config.padding = 1000;
        config.timestamps = TimestampFormat::Ptp;
        config.ssid = Some(0);
        config.follow_up = false;
        config.direct_measurement = false;
        config.classes = marks(&[10], &[0]);
    });
    assert_eq!(outcome.counters.answered, 40);
    assert!(outcome.samples.iter().all(|sample| sample.size == 28 + 44 + 8 + 1004));
}

#[test]
fn nobody_there_is_said_in_words() {
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = StampConfig::new(closed, net::Clock::identity());
    config.amount = Amount::Duration(Duration::from_millis(50));
    config.rate_pps = 200.0;
    config.linger = Duration::from_millis(100);
    let mut last = None;
    let outcome = run(&config, &AtomicBool::new(false), &mut |progress| last = Some(progress)).unwrap();
    assert_eq!((outcome.counters.sent, outcome.counters.answered), (10, 0));
    assert!(outcome.counters.unreachable > 0);
    assert!(outcome.notes[0].contains("ICMP errors: no reflector listens there"), "{:?}", outcome.notes);
    assert_eq!(last.map(|progress| (progress.sent, progress.planned)), Some((10, 10)));
    // Stopped before it began.
    let outcome = run(&config, &AtomicBool::new(true), &mut |_| {}).unwrap();
    assert_eq!((outcome.counters.sent, outcome.samples.len()), (0, 0));
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason() {
    let config = || StampConfig::new("127.0.0.1:862".parse().unwrap(), net::Clock::identity());
    let refuses = |config: StampConfig, word: &str| match config.check() {
        Err(StampError::Config(text)) => assert!(text.contains(word), "{text}"),
        other => panic!("{other:?}"),
    };
    assert!(config().check().is_ok());
    refuses(StampConfig { classes: Vec::new(), ..config() }, "class");
    refuses(StampConfig { rate_pps: f64::NAN, ..config() }, "rate");
    refuses(StampConfig { amount: Amount::Count(0), ..config() }, "at least one");
    refuses(StampConfig { amount: Amount::Duration(Duration::from_secs(1_000_000)), ..config() }, "1000000");
    refuses(StampConfig { padding: 1201, ..config() }, "padding");
    refuses(StampConfig { target: "127.0.0.1:0".parse().unwrap(), ..config() }, "port");
}

#[test]
fn the_report_judges_each_direction_by_itself() {
    let outcome = session(FAMILIES[0], &Temper::default(), |config| {
        config.classes = marks(&[0, 1, 46, 54], &[0]);
        config.amount = Amount::Count(80);
    });
    let made = report(&WorkerName::new("here").unwrap(), "2026-01-02T03:04:05Z".to_owned(), &outcome).unwrap();
    assert_eq!(made.schema, "netlat.report/1");
    for direction in [Direction::Up, Direction::Down] {
        let path = made.paths.iter().find(|path| path.direction == direction).unwrap();
        assert_eq!(path.classes.len(), 4);
        assert!(path.classes.iter().all(|class| class.received == 20 && class.owd_ms.is_some()), "{:?}", path.classes);
        assert_eq!((path.remarking[0].kind, path.remarking[0].pathology), (Kind::Stamp, Pathology::None));
        assert!(!path.remarking[0].ecn.is_finding());
    }
    let path = |direction| made.paths.iter().find(|path| path.direction == direction).unwrap();
    let (round_trip, up) = (path(Direction::RoundTrip), path(Direction::Up));
    // Without the reflector's own work.
    let rtt = |path: &model::report::Path| path.classes.iter().map(|class| class.rtt_ms).collect::<Vec<_>>();
    assert_eq!(rtt(round_trip), rtt(up));
    assert!(round_trip.remarking.is_empty() && round_trip.classes.iter().all(|class| class.rtt_ms.is_some()));
}
