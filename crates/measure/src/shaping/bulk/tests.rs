//! Transfers over simulated networks: what is named, what is not, and how often a network that treats all alike is accused.

use model::report::{Trigger, Verdict};
use model::shaping::{Arm, BulkDesign, Hypothesis, Payload, Ports, Purpose, Standard, Transfer};
use model::{Direction, DirectionChoice, Dscp, Family};

use super::order::median;
use super::*;
use crate::random::SplitMix64;

const BYTES: u32 = 131_112;

fn arm(payload: Payload) -> Arm {
    Arm { dscp: Dscp::default(), port: 8620, payload }
}

fn design(rounds: u32) -> BulkDesign {
    let hypothesis = Hypothesis {
        subject: arm(Payload::Http),
        control: arm(Payload::RandomStream),
        ports: Ports::Fresh,
        purpose: Purpose::Difference,
    };
    BulkDesign { hypotheses: vec![hypothesis], bytes: BYTES, rounds, most_ms: 5_000 }
}

fn normal(random: &mut SplitMix64) -> f64 {
    let mut uniform = || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    let (a, b) = (uniform().max(1e-300), uniform());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// A transfer at a steady rate of stream bits.
fn steady(bps: f64) -> Transfer {
    let elapsed_ns = (f64::from(BYTES) * 8e9 / bps) as u64;
    Transfer {
        bytes: BYTES.into(),
        elapsed_ns,
        tail_bytes: u64::from(BYTES) / 2,
        tail_ns: elapsed_ns / 2,
        retransmits: Some(0),
        min_rtt_us: Some(20_000),
        rtt_us: Some(21_000),
        ..Transfer::default()
    }
}

/// One run; `network` carries a transfer of the subject (true) or its control.
fn run(rounds: u32, seed: u64, standard: &Standard, mut network: impl FnMut(bool) -> Transfer) -> BulkFinding {
    let design = design(rounds);
    let plan = BulkPlan::new(design.clone(), DirectionChoice::Down, seed);
    let mut judge = BulkJudge::new(&design, DirectionChoice::Down, Family::Ipv4, standard, seed);
    for sequence in 0..plan.len() {
        let turn = plan.turn(sequence).unwrap();
        if !turn.is_second && judge.is_decided(turn.cell) {
            break;
        }
        judge.push(&Transfer { sequence, ..network(turn.is_subject) });
    }
    judge.findings().pop().unwrap()
}

#[test]
fn both_ends_have_one_plan_and_every_round_has_every_pair() {
    let two = BulkDesign { hypotheses: [design(1).hypotheses, design(1).hypotheses].concat(), ..design(50) };
    let plan = BulkPlan::new(two, DirectionChoice::Both, 9);
    assert_eq!((plan.cells(), plan.len()), (4, 400));
    let mut first = 0;
    for round in 0..50 {
        let turns: Vec<BulkTurn> = (0..8).map(|place| plan.turn(round * 8 + place).unwrap()).collect();
        let mut cells: Vec<u16> = turns.iter().step_by(2).map(|turn| turn.cell).collect();
        cells.sort_unstable();
        assert_eq!(cells, [0, 1, 2, 3]);
        for pair in turns.chunks(2) {
            assert!(pair[0].cell == pair[1].cell && pair[0].is_subject != pair[1].is_subject && pair[1].is_second);
            assert_eq!(pair[0].direction, if pair[0].cell % 2 == 0 { Direction::Up } else { Direction::Down });
            first += u32::from(pair[0].is_subject);
        }
    }
    // 200 fair coins: mean 100, standard deviation 7.
    assert!((58..=142).contains(&first), "{first}");
    assert_eq!(plan.turn(400), None);
}

#[test]
fn a_curve_knows_its_second_half_and_leaves_out_what_follows_the_body() {
    let mut curve = Curve::default();
    for (ms, total) in [(0, 100), (10, 600), (20, 1_100), (50, 2_100), (900, 2_164)] {
        curve.push(ms * 1_000_000, total);
    }
    let measured = curve.measure(2_100);
    assert_eq!((measured.bytes, measured.elapsed_ns), (2_000, 50_000_000));
    assert_eq!((measured.tail_bytes, measured.tail_ns), (1_000, 30_000_000));
    assert_eq!(Curve::default().measure(10), Measured::default());
    let mut long = Curve::default();
    (0..100_000).for_each(|n| long.push(n, n));
    let measured = long.measure(99_999);
    assert_eq!((measured.bytes, measured.elapsed_ns), (99_999, 99_999));
    assert!(measured.tail_bytes.abs_diff(50_000) < 100, "{measured:?}");
}

/// If all n signs agree the mixture is worth C(2n, n) / 2^n: the central binomial coefficients are 48,620 and 184,756 for 9 and 10.
#[test]
fn agreeing_signs_are_worth_what_the_binomial_coefficient_says() {
    assert_eq!(least_pairs((48_620f64 / 512.0).log10() - 1e-9), 9);
    assert_eq!(least_pairs((48_620f64 / 512.0).log10() + 1e-9), 10);
    assert_eq!(least_pairs(2.0), 10, "94.96 at nine");
    let values: Vec<f64> = (0..9).map(f64::from).collect();
    assert_eq!(median(&values, 0.01), None, "nine values exclude nothing");
    let values: Vec<f64> = (0..10).map(f64::from).collect();
    assert_eq!(median(&values, 0.01), Some((4.5, 0.0, 9.0)));
}

/// A path whose rate wanders over seconds, with spikes: both arms see the same.
fn wandering(seed: u64) -> impl FnMut(bool) -> Transfer {
    let mut random = SplitMix64::new(seed);
    let mut level = 0.0;
    move |_| {
        level = 0.9 * level + 0.4 * normal(&mut random);
        let spike = if random.below(10) == 0 { -2.0 } else { 0.0 };
        steady(20e6 * (level + 0.3 * normal(&mut random) + spike).exp())
    }
}

#[test]
fn a_network_that_treats_all_alike_is_accused_no_more_often_than_stated() {
    let accused = |alpha: f64, first_seed: u64| {
        let standard = Standard { alpha, ..Standard::default() };
        let seeds = first_seed..first_seed + 2_500;
        seeds.filter(|seed| run(60, *seed, &standard, wandering(seed ^ 0xfeed)).throughput.verdict.is_finding()).count()
    };
    let loose = accused(0.05, 1);
    assert!((1..=125).contains(&loose), "{loose} of 2500 at alpha 0.05, and the test must be able to bite");
    let strict = accused(0.001, 50_000);
    assert!(strict <= 6, "{strict} of 2500 at alpha 0.001");
}

#[test]
fn a_quiet_path_is_called_alike_and_a_noisy_one_is_left_open() {
    let standard = Standard { hypotheses: 8, ..Standard::default() };
    let noisy = |sd: f64, seed| {
        let mut random = SplitMix64::new(seed);
        run(40, seed, &standard, move |_| steady(50e6 * (sd * normal(&mut random)).exp()))
    };
    let alike = (0..200).filter(|seed| noisy(0.03, *seed).throughput.verdict == Verdict::None).count();
    assert!(alike >= 190, "{alike} of 200");
    let found = noisy(0.03, 7);
    let ratio = found.throughput.ratio.unwrap();
    assert!(ratio.low > 0.9 && ratio.low <= ratio.estimate && ratio.estimate <= ratio.high && ratio.high < 1.1);
    assert!(found.note.contains("invisible"), "{}", found.note);
    // Twelve per cent apart is more than ten, and never "alike".
    let apart = |seed: u64| {
        let mut random = SplitMix64::new(seed);
        run(40, seed, &standard, move |subject| {
            let factor = if subject { 1.0 / 1.12 } else { 1.0 };
            steady(50e6 * factor * (0.03 * normal(&mut random)).exp())
        })
    };
    let missed = (0..200).filter(|seed| apart(*seed).throughput.verdict == Verdict::None).count();
    assert!(missed <= 4, "{missed} of 200 at alpha_none 0.01");
    let open = noisy(1.0, 3).throughput;
    assert_eq!(open.verdict, Verdict::Inconclusive, "{open:?}");
}

fn named(rounds: u32, subject: Transfer, control: Transfer) -> BulkFinding {
    let standard = Standard { hypotheses: 8, ..Standard::default() };
    run(rounds, 11, &standard, |is_subject| if is_subject { subject } else { control })
}

#[test]
fn limits_have_their_names_and_their_rate() {
    let stream_bps = 2e6 * 1_448.0 / 1_500.0;
    let queued = Transfer { rtt_us: Some(120_000), ..steady(stream_bps) };
    let shaped = named(40, queued, steady(90e6));
    assert_eq!(shaped.throughput.verdict, Verdict::Shaped);
    assert!((shaped.rate_bps.unwrap().estimate / 2e6 - 1.0).abs() < 0.001, "{:?}", shaped.rate_bps);
    assert!((shaped.rate_l2_bps.unwrap().estimate / (2e6 * 1_514.0 / 1_500.0) - 1.0).abs() < 0.001);
    assert!(shaped.throughput.pairs < 25, "decided early: {}", shaped.throughput.pairs);

    // A full queue loses packets as well; it is a queue all the same.
    let overflowing = named(40, Transfer { retransmits: Some(9), ..queued }, steady(90e6));
    assert_eq!(overflowing.throughput.verdict, Verdict::Shaped);
    let policed = named(40, Transfer { retransmits: Some(9), ..steady(stream_bps) }, steady(90e6));
    assert_eq!(policed.throughput.verdict, Verdict::Policed);
    assert!((policed.rate_bps.unwrap().estimate / 2e6 - 1.0).abs() < 0.001);
    assert!(policed.throughput.subject_retransmits > 100 && policed.throughput.control_retransmits == 0);

    let favoured = named(40, steady(90e6), queued);
    assert_eq!((favoured.throughput.verdict, favoured.rate_bps), (Verdict::Favoured, None));
    assert!((favoured.throughput.ratio.unwrap().estimate - 90e6 / stream_bps).abs() < 0.1);
}

#[test]
fn what_is_merely_slower_is_given_no_rate() {
    // Slow start over a longer way: the second half comes in a tenth of the time of the first.
    let growing = Transfer { tail_ns: 60_000_000, elapsed_ns: 660_000_000, ..steady(90e6) };
    let slower = named(40, growing, steady(90e6));
    assert_eq!((slower.throughput.verdict, slower.rate_bps), (Verdict::Delayed, None));
    let losing = named(40, Transfer { retransmits: Some(4), ..growing }, steady(90e6));
    assert_eq!((losing.throughput.verdict, losing.rate_bps), (Verdict::Lossy, None));
    let nothing = Transfer { elapsed_ns: 1_000_000_000, ..Transfer::default() };
    let blocked = named(40, nothing, steady(90e6));
    assert_eq!(blocked.throughput.verdict, Verdict::Blocked);
    // A path on which nothing works accuses nobody.
    assert_eq!(named(40, nothing, nothing).throughput.verdict, Verdict::Inconclusive);
}

#[test]
fn what_transfers_saw_stands_beside_what_small_connections_saw() {
    let standard = Standard::default();
    let queued = Transfer { rtt_us: Some(120_000), ..steady(2e6) };
    let finding = named(40, queued, steady(90e6));
    let mut entries = Vec::new();
    apply(&mut entries, std::slice::from_ref(&finding), &standard);
    assert_eq!((entries.len(), entries[0].verdict, entries[0].trigger), (1, Verdict::Shaped, Some(Trigger::Payload)));
    assert!(entries[0].rate_bps.is_some() && entries[0].note.contains("TCP throughput"), "{:?}", entries[0]);

    for (before, after) in [
        (Verdict::None, Verdict::Shaped),
        (Verdict::Delayed, Verdict::Shaped),
        (Verdict::Blocked, Verdict::Blocked),
        (Verdict::Void, Verdict::Void),
    ] {
        entries[0].verdict = before;
        apply(&mut entries, std::slice::from_ref(&finding), &standard);
        assert_eq!((entries.len(), entries[0].verdict), (1, after));
    }

    // Pairs that named nothing are not outdone by transfers that did not either.
    let alike = named(40, steady(90e6), steady(90e6 * 1.01));
    assert_eq!(alike.throughput.verdict, Verdict::None);
    entries[0].verdict = Verdict::Inconclusive;
    apply(&mut entries, &[alike], &standard);
    assert_eq!(entries[0].verdict, Verdict::Inconclusive);
    assert_eq!(entries[0].throughput.unwrap().verdict, Verdict::None);
}
