//! The whole judge on simulated links: pairs as planned, a network, a verdict.

#[path = "evidence/noise.rs"]
mod noise;

use measure::shaping::Observed;
use measure::shaping::combine::combine;
use measure::shaping::judge::{ArmLimit, PairJudge, judge_trains};
use measure::shaping::limit::{Limit, TrainFinding, pool};
use measure::shaping::plan::{PairPlan, TrainPlan, Turn};
use model::report::{Differentiation, Estimate, FlowRule, LimitAfter, LimitKind, RateLimit, Trigger, Verdict};
use model::shaping::{Arm, Hypothesis, PairDesign, Payload, Ports, Purpose, Standard, TrainDesign};
use model::{Dscp, Ecn, Tos};
use noise::Noise;

const MS: f64 = 1e6;

fn arm(dscp: u8) -> Arm {
    Arm { dscp: Dscp::new(dscp).unwrap(), port: 8620, payload: Payload::Random }
}

/// EF and AF41 against best effort, on one flow and on fresh ports, and the check of the paths.
fn design() -> PairDesign {
    let mut hypotheses = Vec::new();
    for dscp in [46, 34] {
        for ports in [Ports::OneFlow, Ports::Fresh] {
            hypotheses.push(Hypothesis { subject: arm(dscp), control: arm(0), ports, purpose: Purpose::Difference });
        }
    }
    hypotheses.push(Hypothesis {
        subject: arm(0),
        control: arm(0),
        ports: Ports::Fresh,
        purpose: Purpose::PathDiversity,
    });
    PairDesign { hypotheses, rounds_per_second: 50.0, gap_us: 1_500, block_rounds: 25, size: 192 }
}

fn standard() -> Standard {
    Standard { hypotheses: 5, ..Standard::default() }
}

/// What the network adds to a packet, in milliseconds; `None`: lost.
type Network<'a> = &'a mut dyn FnMut(&Turn, &mut Noise) -> Option<f64>;

fn run(seconds: u32, seed: u64, network: Network<'_>) -> Vec<Differentiation> {
    let design = design();
    let mut plan = PairPlan::new(design.clone(), seed);
    let mut judge = PairJudge::new(&design, &standard(), seed);
    let mut noise = Noise::new(seed ^ 77);
    for sequence in 0..plan.round_len() * 50 * seconds {
        let turn = plan.turn(sequence).unwrap();
        // The receiver's clock is off by an hour and 200 ppm fast.
        let sent = turn.at_ns as i64;
        let received = network(&turn, &mut noise).map(|ms| {
            let at = sent as f64 + (10.0 + ms) * MS;
            3_600_000_000_000 + (at * 1.0002) as i64
        });
        let tos = Tos::new(turn.arm.dscp, Ecn::NotEct);
        judge.push(&Observed {
            sequence,
            sent_ns: sent,
            received_ns: received,
            tos_sent: tos,
            tos_received: Some(tos),
            size: 220,
        });
    }
    combine(&judge.findings(), &[], &standard()).differentiation
}

fn of(findings: &[Differentiation], dscp: u8) -> &Differentiation {
    findings.iter().find(|finding| finding.subject.dscp == dscp).unwrap()
}

#[test]
fn a_class_that_is_late_is_delayed_and_its_neighbour_is_not() {
    let findings = run(40, 1, &mut |turn, noise| {
        Some(noise.normal().abs() * 1.4 + if turn.arm.dscp.get() == 46 { 1.0 } else { 0.0 })
    });
    let ef = of(&findings, 46);
    assert_eq!(
        (ef.verdict, ef.trigger, ef.flow_rule),
        (Verdict::Delayed, Some(Trigger::Dscp), Some(FlowRule::PerPacket))
    );
    let shift = ef.delay_shift_ms.unwrap();
    assert!(shift.low <= 1.0 && 1.0 <= shift.high && (shift.estimate - 1.0).abs() < 0.1, "{shift:?}");
    assert!(!of(&findings, 34).verdict.is_finding(), "{:?}", of(&findings, 34));
}

#[test]
fn a_classifier_of_first_packets_is_told_from_one_of_every_packet() {
    let mut first = std::collections::BTreeMap::new();
    let findings = run(120, 2, &mut |turn, noise| {
        let class = *first.entry(turn.socket).or_insert(turn.arm.dscp.get());
        Some(noise.normal().abs() * 0.4 + if class == 46 { 3.0 } else { 0.0 })
    });
    let ef = of(&findings, 46);
    assert_eq!((ef.verdict, ef.flow_rule), (Verdict::Delayed, Some(FlowRule::FirstPacket)), "{ef:?}");
}

#[test]
fn loss_blocking_and_favour_have_their_names() {
    let loses = |subject: f64, control: f64| {
        run(60, 3, &mut |turn, noise| {
            let chance = if turn.arm.dscp.get() == 46 { subject } else { control };
            (!noise.chance(chance)).then_some(0.0)
        })
    };
    assert_eq!(of(&loses(0.03, 0.0), 46).verdict, Verdict::Lossy);
    assert_eq!(of(&loses(1.0, 0.0), 46).verdict, Verdict::Blocked);
    assert_eq!(of(&loses(0.0, 0.05), 46).verdict, Verdict::Favoured);
    assert_eq!(of(&loses(0.02, 0.02), 34).verdict, Verdict::Inconclusive);
}

#[test]
fn a_clean_path_is_none_and_too_little_is_inconclusive() {
    let mut clean = |_: &Turn, noise: &mut Noise| Some(noise.normal().abs());
    assert_eq!(of(&run(70, 4, &mut clean), 34).verdict, Verdict::None);
    let short = run(2, 4, &mut clean);
    assert_eq!(of(&short, 34).verdict, Verdict::Inconclusive);
    assert!(of(&short, 34).note.contains("more pairs decide"), "{}", of(&short, 34).note);
}

#[test]
fn paths_chosen_by_port_are_diversity_and_no_class_is_named() {
    let findings = run(60, 5, &mut |turn, noise| {
        let port =
            u64::from(turn.socket.block) * 131 + u64::from(turn.socket.hypothesis) * 31 + u64::from(turn.socket.second);
        let slow = (port.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63) == 1;
        (!(slow && noise.chance(0.02))).then(|| noise.normal().abs() * 0.5 + if slow { 2.0 } else { 0.0 })
    });
    for finding in &findings {
        assert!(!finding.verdict.is_finding(), "{finding:?}");
        assert!(finding.flags.iter().any(|flag| flag == "path-diversity"), "{finding:?}");
    }
}

#[test]
fn a_difference_too_small_to_matter_is_none() {
    let findings = run(90, 6, &mut |turn, noise| {
        Some(noise.normal().abs() * 0.2 + if turn.arm.dscp.get() == 46 { 0.05 } else { 0.0 })
    });
    let ef = of(&findings, 46);
    assert_eq!(ef.verdict, Verdict::None, "{ef:?}");
    assert!(ef.flags.iter().any(|flag| flag == "too-small-to-matter"), "{ef:?}");
}

/// Trains of best effort and EF through token buckets of (rate in bit/s, depth in bytes) by class.
fn trains(bucket: &dyn Fn(u8) -> Option<(f64, f64)>) -> (Vec<Differentiation>, Option<RateLimit>) {
    let design = TrainDesign {
        arms: vec![arm(0), arm(46)],
        rate_pps: 600.0,
        packets: 3_000,
        rounds: 2,
        idle_ms: 500,
        size: 192,
    };
    let plan = TrainPlan::new(design.clone(), 9);
    let mut noise = Noise::new(9);
    let mut buckets: std::collections::BTreeMap<u8, (f64, i64)> = std::collections::BTreeMap::new();
    let mut observed = Vec::new();
    for sequence in 0.. {
        let Some(turn) = plan.turn(sequence) else { break };
        let dscp = turn.arm.dscp.get();
        let sent = turn.at_ns as i64 + (noise.uniform() * 5e4) as i64;
        let passes = bucket(dscp).is_none_or(|(rate, depth)| {
            let (tokens, at) = buckets.entry(dscp).or_insert((depth, 0));
            *tokens = (*tokens + (sent - *at) as f64 * rate / 8e9).min(depth);
            *at = sent;
            let enough = *tokens >= 220.0;
            if enough {
                *tokens -= 220.0;
            }
            enough
        });
        let received_ns = passes.then_some(sent + 10_000_000 + (noise.uniform() * 3e5) as i64);
        let tos = Tos::new(turn.arm.dscp, Ecn::NotEct);
        observed.push(Observed {
            sequence,
            sent_ns: sent,
            received_ns,
            tos_sent: tos,
            tos_received: Some(tos),
            size: 220,
        });
    }
    let verdicts = combine(&[], &judge_trains(&design, 9, &observed), &standard());
    (verdicts.differentiation, verdicts.rate_limit)
}

#[test]
fn a_policer_of_one_class_is_differentiation_and_of_all_is_a_rate_limit() {
    let (findings, limit) = trains(&|dscp| (dscp == 46).then_some((300e3, 10_000.0)));
    let ef = of(&findings, 46);
    assert_eq!((ef.verdict, ef.trigger), (Verdict::Policed, Some(Trigger::Dscp)), "{ef:?}");
    assert!((ef.rate_bps.unwrap().estimate / 300e3 - 1.0).abs() < 0.01, "{ef:?}");
    assert!((ef.burst_bytes.unwrap().estimate - 10_000.0).abs() < 500.0, "{ef:?}");
    assert_eq!(limit, None);

    let (findings, limit) = trains(&|_| Some((500e3, 20_000.0)));
    assert!(!of(&findings, 46).verdict.is_finding(), "{:?}", of(&findings, 46));
    let limit = limit.unwrap();
    assert_eq!(limit.kind, LimitKind::Policer);
    assert!((limit.rate_bps.estimate / 500e3 - 1.0).abs() < 0.01, "{limit:?}");

    let (findings, limit) = trains(&|_| None);
    assert!(!of(&findings, 46).verdict.is_finding() && limit.is_none());
    assert!(of(&findings, 46).note.contains("kbit/s"), "{}", of(&findings, 46).note);
}

/// What a train of EF showed: rate 300 kbit/s, this burst, begun and ended at these seconds, sent at this speed.
fn train(burst: f64, began: f64, ended: f64, sent_bps: f64) -> TrainFinding {
    let around = |value: f64, error: f64| Estimate { estimate: value, low: value - error, high: value + error };
    TrainFinding {
        began_ns: (began * 1e9) as i64,
        last_sent_ns: (ended * 1e9) as i64,
        ended_ns: (ended * 1e9) as i64,
        sent_bps,
        sent_bytes: (sent_bps * (ended - began) / 8.0) as u64,
        duration_s: ended - began,
        sent: (sent_bps * (ended - began) / 8.0 / 220.0) as u64,
        limit: Some(Limit {
            kind: LimitKind::Policer,
            rate_bps: around(300e3, 600.0),
            rate_l2_bps: around(319e3, 600.0),
            burst_bytes: around(burst, 220.0),
            burst_was_seen: true,
            excess_dscp: None,
            onset: LimitAfter { bytes: (burst * 2.0) as u64, seconds: 1.0 },
            after: None,
            explained: 1.0,
        }),
        ..TrainFinding::default()
    }
}

#[test]
fn a_bucket_fills_up_at_its_rate_and_a_boost_does_not() {
    // 37,500 bytes a second. After one second of silence a bucket of 100 kB holds 37.5 kB, after ten it is full.
    let sweep = [train(100e3, 0.0, 6.0, 600e3), train(37.5e3, 7.0, 13.0, 700e3), train(100e3, 23.0, 29.0, 600e3)];
    let limit = pool(&sweep, &sweep).unwrap();
    assert_eq!((limit.burst_bytes.estimate, limit.after), (100e3, None));

    // It could have filled up and has not: the first bytes of a flow passed, and never again.
    let once = [train(100e3, 0.0, 6.0, 600e3), train(4e3, 16.0, 22.0, 700e3), train(4e3, 32.0, 38.0, 600e3)];
    let limit = pool(&once, &once).unwrap();
    assert_eq!((limit.burst_bytes.estimate, limit.after.unwrap().bytes), (4e3, 200_000));

    // It could not have filled up and is there again.
    let again = [train(100e3, 0.0, 6.0, 600e3), train(100e3, 6.5, 12.5, 700e3), train(100e3, 13.0, 19.0, 600e3)];
    let limit = pool(&again, &again).unwrap();
    assert_eq!(limit.after.unwrap().bytes, 200_000);
    assert!(limit.burst_bytes.low < 1e3 && limit.burst_bytes.high > 90e3, "{limit:?}");
}

#[test]
fn every_tenth_packet_and_a_share_of_a_queue_are_no_limit() {
    // Trains of one speed whose limit has no bucket: at two speeds the rates would differ.
    let share = [train(220.0, 0.0, 6.0, 333e3), train(220.0, 7.0, 13.0, 333e3)];
    assert_eq!(pool(&share, &share), None);
    let two_speeds = [train(220.0, 0.0, 6.0, 333e3), train(220.0, 7.0, 13.0, 600e3)];
    assert!(pool(&two_speeds, &two_speeds).is_some());
    // Other traffic that begins during the first train gives it a burst and the later ones none.
    let begins = [train(90e3, 0.0, 6.0, 400e3), train(220.0, 16.0, 22.0, 400e3), train(220.0, 32.0, 38.0, 400e3)];
    assert_eq!(pool(&begins, &begins), None);
}

#[test]
fn a_limit_that_best_effort_met_too_is_no_class_s_own() {
    let limited = |arm, trains: &[TrainFinding]| ArmLimit { arm, trains: trains.to_vec(), limit: None };
    let free = |began: f64| TrainFinding { limit: None, ..train(0.0, began, began + 6.0, 600e3) };
    let of_ef = [train(10e3, 14.0, 20.0, 600e3), train(10e3, 21.0, 27.0, 700e3)];
    let verdict = |control: &[TrainFinding]| {
        let found = combine(&[], &[limited(arm(0), control), limited(arm(46), &of_ef)], &standard());
        (of(&found.differentiation, 46).verdict, found.rate_limit.is_some())
    };
    assert_eq!(verdict(&[free(0.0), free(28.0)]), (Verdict::Policed, false));
    // From the second train on everything was limited: it began then, for all.
    assert_eq!(verdict(&[free(0.0), train(10e3, 28.0, 34.0, 600e3)]), (Verdict::Inconclusive, false));
}

#[test]
fn paths_that_differ_in_loss_only_are_diversity_too() {
    let findings = run(120, 8, &mut |turn, noise| {
        let port =
            u64::from(turn.socket.block) * 131 + u64::from(turn.socket.hypothesis) * 31 + u64::from(turn.socket.second);
        let lossy = (port.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63) == 1;
        (!(lossy && noise.chance(0.2))).then(|| noise.normal().abs() * 0.5)
    });
    for finding in &findings {
        assert!(!finding.verdict.is_finding(), "{finding:?}");
        assert!(finding.flags.iter().any(|flag| flag == "path-diversity"), "{finding:?}");
    }
}

#[test]
fn nothing_passes_most_of_the_time_and_no_class_is_named() {
    let mut sent = 0.0;
    let findings = run(90, 9, &mut |turn, noise| {
        sent = turn.at_ns as f64 / 3e9;
        (sent.fract() >= 0.6).then(|| noise.normal().abs() * 0.5)
    });
    assert!(findings.iter().all(|finding| !finding.verdict.is_finding()), "{findings:?}");
    assert_eq!(of(&findings, 46).verdict, Verdict::None);
}
