//! How soon what is there is named, and how soon what is not there is excluded: one hypothesis of twelve, by the product's judge.

use measure::shaping::judge::PairJudge;
use model::report::Verdict;
use model::shaping::{Hypothesis, PairDesign, Ports, Purpose, Standard};

use crate::path::Path;
use crate::run::{self, SIZE};
use crate::scenario::{CONTROL, PathSpec, SubjectSpec, Treatment};

const HYPOTHESES: u32 = 12;
/// Jitter per packet at which two packets differ by 2 ms.
const IPDV: f64 = std::f64::consts::SQRT_2;
/// One constant bet whose stake is the best for the loss rate, which no one knows before. A test at one time fixed in advance would
/// reach 95 % of both, and could not be looked at before or after.
const KNOWN: [&str; 3] = [
    "93 %: the one bet that suits this loss rate",
    "87 %: the one bet that suits this loss rate",
    "96 %: the one bet that suits this jitter",
];

/// A goal: at least `least` of the runs end with `verdict` within `seconds` at `rate` pairs a second.
pub struct Goal {
    pub name: &'static str,
    pub path: PathSpec,
    pub verdict: Verdict,
    pub rate: f64,
    pub seconds: u32,
    pub least: f64,
    /// What any method can reach at best, where that is below the goal.
    pub bound: Option<&'static str>,
}

pub fn goals() -> Vec<Goal> {
    let ef = |treatment: Treatment| vec![Treatment { dscp: vec![46], ..treatment }];
    let jitter = PathSpec { jitter_ms: 2.0, ..PathSpec::default() };
    let late = |ms| PathSpec { treat: ef(Treatment { delay_ms: ms, ..Treatment::default() }), ..jitter.clone() };
    let lossy = |loss: f64, more: f64| PathSpec {
        loss,
        treat: ef(Treatment { loss: more / (1.0 - loss), ..Treatment::default() }),
        jitter_ms: 0.3,
        ..PathSpec::default()
    };
    let none = |name, jitter_ms: f64, loss, pairs: u32, bound| Goal {
        name,
        path: PathSpec { jitter_ms, loss, ..PathSpec::default() },
        verdict: Verdict::None,
        rate: 200.0,
        seconds: pairs / 200,
        least: 0.95,
        bound,
    };
    vec![
        Goal {
            name: "delayed: 1 ms under 2 ms jitter, 12 s at 50/s",
            path: late(1.0),
            verdict: Verdict::Delayed,
            rate: 50.0,
            seconds: 12,
            least: 0.99,
            bound: None,
        },
        Goal {
            name: "lossy: 0 -> 1 %, 20 s at 200/s",
            path: lossy(0.0, 0.01),
            verdict: Verdict::Lossy,
            rate: 200.0,
            seconds: 20,
            least: 0.99,
            bound: None,
        },
        Goal {
            name: "lossy: 1 -> 2 %, 120 s at 200/s",
            path: lossy(0.01, 0.01),
            verdict: Verdict::Lossy,
            rate: 200.0,
            seconds: 120,
            least: 0.99,
            bound: None,
        },
        none("none: no loss, jitter 1.4 ms (IPDV 2 ms), 3,000 pairs", IPDV, 0.0, 3_000, None),
        none("none: 0.05 % loss, the same", IPDV, 0.0005, 3_000, None),
        none("none: 0.1 % loss, the same", IPDV, 0.001, 3_000, Some(KNOWN[0])),
        none("none: 0.1 % loss, 4,000 pairs", IPDV, 0.001, 4_000, None),
        none("none: no loss, jitter 2 ms, 3,000 pairs", 2.0, 0.0, 3_000, Some(KNOWN[2])),
        none("none: no loss, jitter 2 ms, 4,000 pairs", 2.0, 0.0, 4_000, None),
        none("none: 0.1 % loss, jitter 2 ms, 5,000 pairs", 2.0, 0.001, 5_000, None),
        none("none: 1 % loss, 15,000 pairs", 2.0, 0.01, 15_000, Some(KNOWN[1])),
        none("none: 1 % loss, 22,000 pairs", 2.0, 0.01, 22_000, None),
    ]
}

/// Pairs until it is called so; `None`: not in time, or something else.
pub fn run(goal: &Goal, seed: u64) -> Option<u64> {
    let subject = SubjectSpec { dscp: Some(46), port: None, payload: None }.arm();
    let hypothesis = Hypothesis { subject, control: CONTROL, ports: Ports::OneFlow, purpose: Purpose::Difference };
    let design = PairDesign {
        hypotheses: vec![hypothesis],
        rounds_per_second: goal.rate,
        gap_us: 1_500,
        block_rounds: 100,
        size: SIZE,
    };
    let standard = Standard { hypotheses: HYPOTHESES, ..Standard::default() };
    let mut judges = [PairJudge::new(&design, &standard, seed)];
    let mut path = Path::new(&goal.path, seed ^ 0x77);
    let mut decided = |judges: &[PairJudge], _| judges[0].is_decided(0);
    let (packets, _) =
        run::pairs(&mut path, &goal.path.clock, &design, goal.seconds, seed, &mut judges, &mut decided, None);
    let verdict = judges[0].findings()[0].finding.verdict;
    (verdict == goal.verdict).then_some(packets / 2)
}
