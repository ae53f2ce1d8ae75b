//! Budgets are kept, and questions are asked once.

use model::shaping::TrainStatus;

use super::*;

fn ask() -> Ask {
    Ask {
        dscp: [0, 34, 46].into_iter().filter_map(Dscp::new).collect(),
        payloads: vec![Payload::Rtp, Payload::Http],
        ports: vec![443],
        base: Payload::Random,
        udp_port: 8620,
        dns_port: 8621,
        tcp_port: 8620,
        direction: DirectionChoice::Both,
        size: 192,
        headers: 28,
        budget_bytes: 20_000_000,
        seconds: 60.0,
        transfers: true,
        alpha: 0.001,
    }
}

#[test]
fn every_subject_has_its_control_and_the_paths_are_checked() {
    let (datagrams, streams) = ask().hypotheses();
    // Two classes on one flow and on fresh ports, a port, a payload, and the check of the paths.
    assert_eq!((datagrams.len(), streams.len()), (2 * 2 + 1 + 1 + 1, 1));
    for hypothesis in datagrams.iter().chain(&streams) {
        let (a, b) = (hypothesis.subject, hypothesis.control);
        let factors = [a.dscp != b.dscp, a.port != b.port, a.payload != b.payload];
        let differing = factors.iter().filter(|differs| **differs).count();
        assert_eq!(differing, usize::from(hypothesis.purpose == Purpose::Difference), "{hypothesis:?}");
    }
    // In both directions, and http once more by whole transfers.
    assert_eq!(ask().hypothesis_count(), 2 * (7 + 1 + 1));
}

#[test]
fn pairs_and_trains_stay_within_budget_and_time() {
    for budget in [500_000, 2_000_000, 20_000_000, 200_000_000] {
        let ask = Ask { budget_bytes: budget, ..ask() };
        let pairs = ask.pairs();
        let spent: u64 = pairs.iter().map(|session| ask.pair_bytes(session)).sum();
        assert!(spent <= budget * 6 / 10 + 20_000, "{budget}: {spent}");
        let mut trains = Trains::new(&ask, budget - spent, 30.0);
        let (mut bytes, mut seconds) = (0.0, 0.0);
        while let Some(design) = trains.next_design() {
            let packets = f64::from(design.packets) * design.arms.len() as f64;
            bytes += packets * (2.0 * f64::from(design.size + 28) + REPORTED_BYTES);
            seconds += packets / design.rate_pps + design.arms.len() as f64 * f64::from(design.idle_ms) / 1e3;
        }
        assert!(bytes <= (budget - spent) as f64 && seconds <= 30.0, "{budget}: {bytes} bytes, {seconds} s");
    }
}

#[test]
fn a_limit_that_shows_is_measured_twice_and_only_with_best_effort() {
    let ask = ask();
    let mut trains = Trains::new(&ask, 20_000_000, 120.0);
    let search = trains.next_design().unwrap();
    let ef = search.arms.iter().position(|arm| arm.dscp.get() == 46).unwrap();
    let train = |arm, limit| TrainStatus { arm, sent_bps: 512e3, sent: 400, lost: 0, limit };
    let status = DirectionStatus {
        direction: model::Direction::Up,
        probes: 800,
        decided: Vec::new(),
        verdicts: Vec::new(),
        trains: vec![train(0, None), train(ef as u16, Some((300e3, 10_000.0)))],
    };
    trains.learn(&search, &[status]);
    for rate in [720e3, 480e3] {
        let measure = trains.next_design().unwrap();
        assert_eq!(measure.arms.iter().map(|arm| arm.dscp.get()).collect::<Vec<_>>(), [0, 46]);
        let bps = measure.rate_pps * 220.0 * 8.0;
        assert!((bps / rate - 1.0).abs() < 0.01, "{bps}");
    }
    assert_eq!(trains.next_design(), None);
}

#[test]
fn nothing_is_decided_before_all_directions_are() {
    let status = |direction, decided: [bool; 2]| DirectionStatus {
        direction,
        probes: 1,
        decided: decided.to_vec(),
        verdicts: Vec::new(),
        trains: Vec::new(),
    };
    let up = status(model::Direction::Up, [true, true]);
    let down = status(model::Direction::Down, [true, false]);
    assert_eq!(decided(DirectionChoice::Both, std::slice::from_ref(&up)), None);
    assert_eq!(decided(DirectionChoice::Both, &[up, down]), Some(vec![true, false]));
}

#[test]
fn transfers_are_as_large_as_budget_and_time_allow_or_it_is_said() {
    let web = |budget_bytes, seconds| Ask {
        dscp: vec![Dscp::default()],
        payloads: vec![Payload::Http],
        ports: Vec::new(),
        budget_bytes,
        seconds,
        ..ask()
    };
    let mut last = 0;
    for (budget, seconds) in [(20_000_000, 60.0), (60_000_000, 120.0), (1_000_000_000, 600.0)] {
        let ask = web(budget, seconds);
        let (session, left_out) = ask.transfers();
        let (session, pairs) = (session.unwrap(), ask.pairs());
        let spent: u64 = session.bytes + pairs.iter().map(|pairs| ask.pair_bytes(pairs)).sum::<u64>();
        assert!(spent <= budget && left_out.is_none(), "{budget}: {spent}, {left_out:?}");
        let transfers = 4 * session.design.rounds;
        assert!(u64::from(transfers) * transfer_bound(&session.design) <= session.bytes + u64::from(transfers));
        assert!(f64::from(session.design.most_ms) / 1e3 * 2.0 * 10.0 < session.seconds, "ten pairs each way fit");
        assert!(session.design.bytes >= last && session.design.bytes % 16_389 == 0);
        last = session.design.bytes;
        model::shaping::Experiment {
            design: model::shaping::Design::Bulk(session.design),
            standard: model::shaping::Standard::default(),
            seed: 1,
        }
        .check()
        .unwrap();
    }
    for (budget, seconds) in [(2_000_000, 60.0), (20_000_000, 20.0)] {
        let ask = web(budget, seconds);
        let (session, left_out) = ask.transfers();
        assert!(session.is_none() && left_out.unwrap().contains("TCP throughput of http"));
        assert_eq!(ask.hypothesis_count(), 2, "what is not asked takes no share of the error rate");
    }
    // Of much that is asked the kinds come first, and the rest is named.
    let (session, left_out) = ask().transfers();
    assert_eq!(session.unwrap().design.hypotheses[0].subject.payload, Payload::Http);
    assert!(left_out.unwrap().contains("port 443"));
    let asked = Ask { payloads: vec![Payload::Rtp], ..ask() };
    assert_eq!(asked.transfers(), (None, None), "nobody asked for TCP");
}
