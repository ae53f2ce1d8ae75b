//! Networks that treat all classes alike, drawn at random: the runs among which nothing may be named.

use measure::shaping::combine::combine;
use measure::shaping::judge::PairJudge;
use model::shaping::{Arm, Standard, TrainDesign};

use crate::noise::Noise;
use crate::path::Path;
use crate::run::{self, Record, SIZE};
use crate::scenario::{
    Blackout, Bursts, CONTROL, Clock, Cross, OnePath, PathSpec, Queue, Reordered, RouteChange, SubjectSpec, Wave,
};

pub const KINDS: [&str; 13] = [
    "random loss",
    "bursty loss",
    "bursty cross traffic",
    "tiny queue",
    "a flow that starts",
    "a route change",
    "a clock step",
    "200 ppm of skew",
    "paths by port",
    "reordering",
    "a 60 % blackout",
    "delay by size",
    "a slow wave",
];

const CLASSES: [u8; 6] = [46, 34, 26, 18, 10, 8];
const RATE: f64 = 50.0;
const SECONDS: u32 = 12;
pub const ALPHAS: [f64; 2] = [0.001, 0.05];

/// The kind by index, its numbers by chance.
pub fn network(kind: usize, noise: &mut Noise) -> PathSpec {
    let mut between = |low: f64, high: f64| low + (high - low) * noise.uniform();
    let mut path = PathSpec { jitter_ms: between(0.05, 3.0), loss: between(0.0, 0.01), ..PathSpec::default() };
    match kind {
        0 => path.loss = between(0.001, 0.1),
        1 => {
            path.bursts =
                Some(Bursts { good_s: between(0.2, 5.0), bad_s: between(0.005, 0.3), loss: between(0.3, 1.0) })
        }
        2 => {
            let bps = between(3e6, 1e7);
            let cross =
                Cross { bps: bps * between(0.8, 1.5), size: 1500.0, poisson: true, from_s: 0.0, on_s: 0.3, off_s: 0.5 };
            path.queue = Some(Queue { bps, bytes: between(1e4, 1e5), cross: vec![cross] });
        }
        3 => {
            let bps = between(4e6, 2e7);
            let cross =
                Cross { bps: bps * between(0.3, 0.9), size: 1500.0, poisson: true, from_s: 0.0, on_s: 0.0, off_s: 0.0 };
            path.queue = Some(Queue { bps, bytes: between(1_700.0, 6_000.0), cross: vec![cross] });
            path.jitter_ms = 0.05;
        }
        4 => {
            let bps = between(3e6, 6e6);
            let poisson = between(0.0, 1.0) < 0.5;
            let from_s = between(2.0, 20.0);
            let cross = Cross { bps: bps * between(0.6, 1.1), size: 1500.0, poisson, from_s, on_s: 0.0, off_s: 0.0 };
            path.queue = Some(Queue { bps, bytes: between(1e4, 1e5), cross: vec![cross] });
        }
        5 => {
            path.route_change =
                Some(RouteChange { at_s: between(2.0, 18.0), ms: between(-10.0, 40.0), gap_s: between(0.0, 2.0) })
        }
        6 => path.clock = Clock { skew_ppm: 0.0, step_ms: between(-500.0, 500.0), step_at_s: between(2.0, 18.0) },
        7 => path.clock.skew_ppm = 200.0,
        8 => {
            let paths = 2 + (between(0.0, 3.0) as usize);
            path.paths = (0..paths).map(|_| OnePath { ms: between(0.0, 4.0), loss: between(0.0, 0.03) }).collect();
        }
        9 => path.reordered = Some(Reordered { share: between(0.02, 0.4), ms: between(1.0, 20.0) }),
        10 => path.blackout = Some(Blackout { every_s: between(0.5, 10.0), share: 0.6 }),
        11 => path.ns_per_byte = between(1_000.0, 20_000.0),
        _ => path.wave = Some(Wave { sd_ms: between(1.0, 10.0), seconds: between(0.2, 3.0) }),
    }
    path
}

/// False verdicts of one run: by each of [`ALPHAS`], and what was said at the first.
#[derive(Clone, Debug, Default)]
pub struct NullRun {
    pub false_at: [bool; 2],
    pub said: String,
    pub packets: u64,
}

/// Six classes on one flow and on fresh ports, twelve hypotheses beside that of the paths, then two trains of each of two classes.
pub fn run(kind: usize, seed: u64) -> NullRun {
    let spec = network(kind, &mut Noise::new(seed));
    let subjects: Vec<Arm> =
        CLASSES.map(|dscp| SubjectSpec { dscp: Some(dscp), port: None, payload: None }.arm()).to_vec();
    let design = run::design(&subjects, RATE);
    let standards =
        ALPHAS.map(|alpha| Standard { alpha, hypotheses: design.hypotheses.len() as u32, ..Standard::default() });
    let mut judges = standards.map(|standard| PairJudge::new(&design, &standard, seed));
    let mut path = Path::new(&spec, seed ^ 0x9a7);
    let (packets, end) = run::pairs(&mut path, &spec.clock, &design, SECONDS, seed, &mut judges, |_, _| false, None);
    let trains = TrainDesign {
        arms: vec![CONTROL, subjects[0]],
        rate_pps: 600.0,
        packets: 900,
        rounds: 2,
        idle_ms: 500,
        size: SIZE,
    };
    let (limits, more, _) = run::trains(&mut path, &spec.clock, &trains, end, seed, &mut Record::default());
    let mut result = NullRun { packets: packets + more, ..NullRun::default() };
    for (index, (judge, standard)) in judges.iter().zip(&standards).enumerate() {
        let verdicts = combine(&judge.findings(), &limits, standard);
        let named: Vec<String> = verdicts
            .differentiation
            .iter()
            .filter(|entry| entry.verdict.is_finding())
            .map(|entry| {
                format!(
                    "dscp {} {} e {:?} {:?}",
                    entry.subject.dscp,
                    entry.verdict.name(),
                    entry.log10_e,
                    entry.rate_bps
                )
            })
            .chain(verdicts.rate_limit.as_ref().map(|limit| format!("limit {:?} {:?}", limit.kind, limit.rate_bps)))
            .collect();
        result.false_at[index] = !named.is_empty();
        if index == 0 {
            result.said = named.join(", ");
        }
    }
    result
}
