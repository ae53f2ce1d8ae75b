//! The report built from simulated sessions of one worker.

mod simulated;

use std::cell::Cell;

use measure::{ReportConfig, SampleSource, SourceError, build_paths};
use model::control::SessionInfo;
use model::report::{Class, EcnFinding, Path, Pathology, Remarking};
use model::{
    BootId, Direction, DirectionChoice, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos, WorkerName,
};
use simulated::*;

const BEST_EFFORT: Tos = Tos::from_byte(0);
const EF: Tos = Tos::from_byte(0xb8);

fn worker() -> WorkerName {
    WorkerName::new("nyc1").unwrap()
}

fn info(session: SessionId) -> Option<SessionInfo> {
    Some(SessionInfo {
        session,
        worker: worker(),
        boot: BootId(1),
        kind: Kind::Udp,
        family: Family::Ipv4,
        direction: DirectionChoice::Both,
        started_at: UnixNanos(EPOCH),
        ended_at: None,
        from: Some("192.0.2.1".to_owned()),
        to: Some("198.51.100.7".to_owned()),
        notes: Vec::new(),
        experiment: None,
        local_queue: Vec::new(),
        transfers: Vec::new(),
    })
}

/// Both samples of an exchange; `change` is what the network does to the mark up.
fn samples(session: u32, sequence: u32, kind: Kind, tos: Tos, event: &Event, change: fn(Tos) -> Tos) -> [Sample; 2] {
    let up = Sample {
        session: SessionId(session),
        sequence,
        kind,
        direction: Direction::Up,
        family: Family::Ipv4,
        tos_sent: tos,
        tos_received: Some(change(tos)),
        sent_at: event.exchange.t1,
        received_at: Some(event.exchange.t2),
        ttl: Some(57),
        size: 220,
        flags: SampleFlags::default(),
    };
    let down = Sample {
        direction: Direction::Down,
        tos_received: Some(tos),
        sent_at: event.exchange.t3,
        received_at: Some(event.exchange.t4),
        ..up
    };
    [up, down]
}

/// One session of alternating classes, 20 packets per second.
fn session(session: u32, kind: Kind, link: &Link, seconds: f64, change: fn(Tos) -> Tos) -> Vec<Sample> {
    let events = link.run(seconds, 20.0, u64::from(session));
    let tos = |i: usize| if i.is_multiple_of(2) { BEST_EFFORT } else { EF };
    events.iter().enumerate().flat_map(|(i, event)| samples(session, i as u32, kind, tos(i), event, change)).collect()
}

fn build(samples: Vec<Sample>) -> Vec<Path> {
    build_paths(&worker(), &samples, &info, &ReportConfig::default()).unwrap()
}

fn path(paths: &[Path], direction: Direction) -> &Path {
    paths.iter().find(|path| path.direction == direction).unwrap()
}

fn class(path: &Path, tos: Tos) -> &Class {
    path.classes.iter().find(|class| class.dscp == tos.dscp().get()).unwrap()
}

fn only(path: &Path) -> &Remarking {
    assert_eq!(path.remarking.len(), 1);
    &path.remarking[0]
}

fn reason(reason: &Option<String>) -> &str {
    reason.as_deref().unwrap_or_default()
}

#[test]
fn delays_marks_and_clock_of_a_session() {
    let mut link = Link { base_up: 30.0 * MS, base_down: 10.0 * MS, ..Link::symmetric(0.0, 0.2 * MS) };
    link.worker.skew_ppm = 100.0;
    link.worker.offset_ns = 5.0 * SECOND;
    let paths = build(session(1, Kind::Udp, &link, 60.0, |_| BEST_EFFORT));
    assert_eq!(paths.iter().map(|path| path.direction).collect::<Vec<_>>(), [Direction::Up, Direction::Down]);

    let up = path(&paths, Direction::Up);
    assert_eq!((up.from.as_deref(), up.to.as_deref()), (Some("192.0.2.1"), Some("198.51.100.7")));
    let clock = up.clock.as_ref().unwrap();
    assert!((clock.skew_ppm + 100.0).abs() < 1.0, "{clock:?}");
    let ef = class(up, EF);
    assert_eq!((ef.kind, ef.ecn, ef.sent, ef.received, ef.lost), (Kind::Udp, 0, 600, 600, 0));
    let delay = ef.owd_ms.unwrap();
    let uncertainty = ef.owd_uncertainty_ms.unwrap();
    assert!((delay.min - 30.0).abs() <= uncertainty, "{delay:?} +-{uncertainty}");
    assert!((20.0..21.0).contains(&uncertainty), "{uncertainty}");
    // Round trips need no clock: exact but for the worker's skew.
    let round_trip = ef.rtt_ms.unwrap();
    assert!((40.0..40.1).contains(&round_trip.min), "{round_trip:?}");
    // The difference of two exponential delays of mean 0.2 ms is Laplace: median 0.139 ms, 95 % 0.599 ms.
    let variation = ef.ipdv_ms.unwrap();
    assert!((variation.p50 - 0.139).abs() < 0.03 && (variation.p95 - 0.599).abs() < 0.12, "{variation:?}");
    assert_eq!(ef.reason, None);
    assert_eq!(only(up).pathology, Pathology::BleachDscp);

    let down = path(&paths, Direction::Down);
    assert_eq!((down.from.as_deref(), down.to.as_deref()), (Some("198.51.100.7"), Some("192.0.2.1")));
    assert_eq!(only(down).pathology, Pathology::None);
    let sum = delay.min + class(down, EF).owd_ms.unwrap().min;
    assert!((sum - 40.0).abs() < 0.2, "the two delays share the round trip: {sum}");
}

#[test]
fn loss_copies_and_reordering_are_counted_per_class() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Udp, &link, 10.0, |tos| tos);
    for sample in &mut all {
        match (sample.direction, sample.sequence) {
            // Class EF, every tenth of its packets.
            (Direction::Up, sequence) if sequence % 20 == 5 => sample.received_at = None,
            (Direction::Up, 7 | 9) => sample.flags = SampleFlags::DUPLICATED,
            // EF 31 arrives after EF 33; best effort 40 only after EF 41.
            (Direction::Up, 31) => {
                sample.received_at = sample.received_at.map(|at| at.plus(150_000_000));
                sample.flags = SampleFlags::REORDERED;
            }
            (Direction::Up, 40) => {
                sample.received_at = sample.received_at.map(|at| at.plus(60_000_000));
                sample.flags = SampleFlags::REORDERED;
            }
            _ => {}
        }
    }
    let paths = build(all);
    let up = path(&paths, Direction::Up);
    let ef = class(up, EF);
    assert_eq!((ef.sent, ef.received, ef.lost), (100, 90, 10));
    assert_eq!((ef.duplicated, ef.reordered), (2, 1));
    let best_effort = class(up, BEST_EFFORT);
    assert_eq!((best_effort.sent, best_effort.lost, best_effort.reordered), (100, 0, 0));
    assert_eq!(class(path(&paths, Direction::Down), EF).lost, 0);
}

#[test]
fn sessions_of_one_worker_are_one_path_and_share_the_clock() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Udp, &link, 20.0, |tos| tos);
    all.extend(session(2, Kind::Udp, &link, 20.0, |tos| tos));
    all.extend(session(3, Kind::Clock, &link, 20.0, |tos| tos));
    let paths = build(all.clone());
    assert_eq!(paths.len(), 2);
    assert_eq!(paths[0].classes.len(), 2, "clock probes are no class");
    assert_eq!(class(&paths[0], EF).sent, 400);
    // Any order of samples is the same report.
    let mut random = Random::new(4);
    for last in (1..all.len()).rev() {
        all.swap(last, random.bits() as usize % (last + 1));
    }
    assert_eq!(build(all), paths);
}

#[test]
fn without_exchanges_there_is_no_delay_but_variation() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Udp, &link, 20.0, |tos| tos);
    all.retain(|sample| sample.direction == Direction::Up);
    let paths = build(all);
    let up = path(&paths, Direction::Up);
    assert_eq!(up.clock, None);
    let ef = class(up, EF);
    assert_eq!((ef.owd_ms, ef.owd_uncertainty_ms, ef.rtt_ms), (None, None, None));
    assert!(reason(&ef.reason).contains("no two-way exchanges"), "{ef:?}");
    assert!(reason(&ef.reason).contains("not measured in both directions"), "{ef:?}");
    assert!(ef.ipdv_ms.unwrap().p95 < 1.0);
}

#[test]
fn a_step_leaves_no_absurd_delay() {
    let mut link = Link::symmetric(15.0 * MS, 0.3 * MS);
    link.worker.steps = vec![(30.0 * SECOND, -250.0 * MS)];
    let paths = build(session(1, Kind::Udp, &link, 60.0, |tos| tos));
    for path in &paths {
        assert_eq!(path.clock.as_ref().unwrap().steps, 1);
        for class in &path.classes {
            let delay = class.owd_ms.unwrap();
            assert!(delay.min > 14.0 && delay.max < 20.0, "{class:?}");
            assert!(class.owd_uncertainty_ms.unwrap() < 17.0, "{class:?}");
            assert!(class.ipdv_ms.unwrap().p95 < 2.0, "{class:?}");
        }
    }
}

#[test]
fn what_tcp_sockets_do_not_show_is_null_and_said() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Http, &link, 10.0, |_| BEST_EFFORT);
    for sample in &mut all {
        match sample.direction {
            Direction::Up => sample.flags = SampleFlags::SYN_MARK,
            _ => sample.tos_received = None,
        }
    }
    let paths = build(all);
    let up = only(path(&paths, Direction::Up));
    assert_eq!((up.pathology, up.ecn), (Pathology::BleachDscp, EcnFinding::Unsupported));
    assert_eq!(up.flags, ["syn-only"]);
    let down = only(path(&paths, Direction::Down));
    assert_eq!((down.pathology, down.ecn), (Pathology::Inconclusive, EcnFinding::Unsupported));
    assert!(reason(&down.reason).contains("run with --interface"), "{down:?}");
    assert!(down.map.is_empty());
}

#[test]
fn nothing_is_named_from_a_middleboxs_packets() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Dns, &link, 10.0, |_| BEST_EFFORT);
    for sample in all.iter_mut().filter(|sample| sample.direction == Direction::Up) {
        sample.flags = SampleFlags::INTERCEPTED;
    }
    let paths = build(all.clone());
    for path in &paths {
        let finding = only(path);
        assert_eq!((finding.pathology, finding.ecn), (Pathology::Inconclusive, EcnFinding::Inconclusive));
        assert_eq!(finding.flags, ["intercepted"]);
        assert!(reason(&finding.reason).contains("middlebox"), "{finding:?}");
    }
    // One packet in a hundred is no interception, nor evidence.
    for (index, sample) in all.iter_mut().enumerate() {
        sample.flags = SampleFlags::default();
        if index.is_multiple_of(200) {
            sample.flags = SampleFlags::INTERCEPTED;
            sample.tos_received = Some(Tos::from_byte(0x20));
        }
    }
    let finding = only(path(&build(all), Direction::Up)).clone();
    assert_eq!((finding.pathology, finding.flags.len()), (Pathology::BleachDscp, 0), "{:?}", finding.reason);
}

#[test]
fn a_host_that_rewrites_its_own_packets_is_not_the_path() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Udp, &link, 10.0, |_| BEST_EFFORT);
    for sample in all.iter_mut().filter(|sample| sample.direction == Direction::Up) {
        sample.flags = SampleFlags::LOCAL_REWRITE;
    }
    let finding = only(path(&build(all), Direction::Up)).clone();
    assert_eq!(finding.pathology, Pathology::Inconclusive);
    assert_eq!(finding.flags, ["local"]);
    assert!(reason(&finding.reason).contains("sending host itself"), "{finding:?}");
}

#[test]
fn echoes_are_round_trips() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let echo = |(i, event): (usize, &Event)| Sample {
        direction: Direction::RoundTrip,
        received_at: Some(event.exchange.t4),
        ..samples(1, i as u32, Kind::Icmp, EF, event, |tos| tos)[0]
    };
    let all: Vec<Sample> = link.run(10.0, 20.0, 1).iter().enumerate().map(echo).collect();
    let paths = build(all);
    assert_eq!(paths.len(), 1);
    assert_eq!((paths[0].direction, &paths[0].clock), (Direction::RoundTrip, &None));
    let class = &paths[0].classes[0];
    assert!((20.0..20.1).contains(&class.rtt_ms.unwrap().min), "{class:?}");
    assert_eq!((class.owd_ms, class.ipdv_ms), (None, None));
    assert!(reason(&class.reason).contains("round trip only"));
    let finding = only(&paths[0]);
    assert_eq!((finding.pathology, finding.ecn), (Pathology::Inconclusive, EcnFinding::Unsupported));
    assert!(reason(&finding.reason).contains("copies the ToS"));
}

#[test]
fn user_space_times_and_silence_are_said() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Udp, &link, 10.0, |tos| tos);
    for sample in &mut all {
        if sample.direction == Direction::Up {
            sample.flags = SampleFlags::TX_USER;
        } else {
            sample.received_at = None;
        }
    }
    let paths = build(all);
    assert!(reason(&class(path(&paths, Direction::Up), EF).reason).contains("user-space time on 100 of 100"));
    let down = path(&paths, Direction::Down);
    assert_eq!(class(down, EF).lost, 100);
    assert!(reason(&class(down, EF).reason).contains("nothing arrived"));
    assert_eq!(only(down).pathology, Pathology::Inconclusive);
}

#[test]
fn nothing_measured_is_no_path_and_a_broken_source_is_an_error() {
    assert_eq!(build(Vec::new()), []);
    struct Broken(Cell<u32>);
    impl SampleSource for Broken {
        fn visit(&self, _: &mut dyn FnMut(&Sample)) -> Result<(), SourceError> {
            self.0.set(self.0.get() + 1);
            if self.0.get() == 2 { Err("disk gone".into()) } else { Ok(()) }
        }
    }
    let outcome = build_paths(&worker(), &Broken(Cell::new(0)), &info, &ReportConfig::default());
    assert_eq!(outcome.unwrap_err().to_string(), "disk gone");
}

#[test]
fn hostile_times_do_not_panic() {
    let link = Link::symmetric(10.0 * MS, 0.1 * MS);
    let mut all = session(1, Kind::Udp, &link, 20.0, |tos| tos);
    let mut random = Random::new(9);
    for sample in all.iter_mut().step_by(3) {
        let extremes = [i64::MIN, -1, 0, i64::MAX];
        sample.sent_at = UnixNanos(extremes[random.bits() as usize % 4]);
        sample.received_at = Some(UnixNanos(extremes[random.bits() as usize % 4]));
    }
    for path in build(all) {
        for class in path.classes {
            assert_eq!(class.sent, class.received + class.lost);
        }
    }
}
