//! One run of the product's own plan and judge over a simulated path.

use measure::shaping::Observed;
use measure::shaping::combine::{Verdicts, combine};
use measure::shaping::judge::{ArmLimit, PairJudge, judge_trains};
use measure::shaping::plan::{PairPlan, SocketId, TrainPlan};
use model::shaping::{Arm, Hypothesis, PairDesign, Ports, Purpose, Standard, TrainDesign};
use model::{Ecn, Tos};

use crate::path::{Packet, Path};
use crate::scenario::{CONTROL, Clock, PlanSpec};

/// UDP payload, and what IPv4 and UDP add.
pub const SIZE: u16 = 192;
pub const SIZE_L3: u16 = SIZE + 28;
const GAP_US: u32 = 1_500;
/// Seconds of a block of fresh ports.
const BLOCK_S: f64 = 0.5;

/// What one run found, and what it cost.
pub struct Outcome {
    pub verdicts: Verdicts,
    pub packets: u64,
    /// Until every comparison was decided, or the end; of pairs and trains together.
    pub seconds: f64,
    pub record: Record,
}

/// What the rivals are given: the same packets.
#[derive(Default)]
pub struct Record {
    /// Delays of both arms of the first subject on one flow, in seconds and in pairs; `None`: lost.
    pub pairs: Vec<[Option<f64>; 2]>,
    /// Trains of the first subject and of the control.
    pub trains: [Vec<Vec<Observed>>; 2],
}

/// Each subject against best effort on one flow and on fresh ports, and whether ports choose paths.
pub fn design(subjects: &[Arm], rate: f64) -> PairDesign {
    let compare = |subject: Arm, ports| Hypothesis { subject, control: CONTROL, ports, purpose: Purpose::Difference };
    let mut hypotheses: Vec<Hypothesis> = Vec::new();
    for subject in subjects {
        if subject.port == CONTROL.port && subject.payload == CONTROL.payload {
            hypotheses.push(compare(*subject, Ports::OneFlow));
        }
        hypotheses.push(compare(*subject, Ports::Fresh));
    }
    let purpose = Purpose::PathDiversity;
    hypotheses.push(Hypothesis { subject: CONTROL, control: CONTROL, ports: Ports::Fresh, purpose });
    let block_rounds = (rate * BLOCK_S).max(1.0) as u32;
    PairDesign { hypotheses, rounds_per_second: rate, gap_us: GAP_US, block_rounds, size: SIZE }
}

/// The receiver's reading in nanoseconds.
fn reading(clock: &Clock, at: f64) -> i64 {
    let step = if clock.step_ms != 0.0 && at >= clock.step_at_s { clock.step_ms * 1e-3 } else { 0.0 };
    ((at * (1.0 + clock.skew_ppm * 1e-6) + step + 3_600.0) * 1e9) as i64
}

fn flow(socket: SocketId, arm: &Arm) -> u64 {
    u64::from(socket.hypothesis) << 48
        | u64::from(socket.block) << 20
        | u64::from(socket.second) << 17
        | u64::from(arm.port)
}

fn observe(path: &mut Path<'_>, clock: &Clock, packet: &Packet, sequence: u32) -> Observed {
    let arrival = path.send(packet);
    let tos = Tos::new(packet.arm.dscp, Ecn::NotEct);
    Observed {
        sequence,
        sent_ns: (packet.at * 1e9) as i64,
        received_ns: arrival.map(|arrival| reading(clock, arrival.at)),
        tos_sent: tos,
        tos_received: arrival
            .and_then(|arrival| model::Dscp::new(arrival.dscp))
            .map(|dscp| Tos::new(dscp, Ecn::NotEct)),
        size: SIZE_L3,
    }
}

/// Sends `seconds` of a design and pushes what comes of it to every judge; calls `each_second` with the seconds so far, which ends the
/// run by `true`. Returns packets and seconds.
#[allow(clippy::too_many_arguments)]
pub fn pairs(
    path: &mut Path<'_>,
    clock: &Clock,
    design: &PairDesign,
    seconds: u32,
    seed: u64,
    judges: &mut [PairJudge],
    mut each_second: impl FnMut(&[PairJudge], u32) -> bool,
    mut record: Option<&mut Record>,
) -> (u64, f64) {
    let mut plan = PairPlan::new(design.clone(), seed);
    let mut packets = 0;
    let mut second = 1;
    let mut half: Option<(u32, usize, Option<f64>)> = None;
    for sequence in 0.. {
        let Some(turn) = plan.turn(sequence) else { break };
        let at = turn.at_ns as f64 / 1e9;
        if at >= f64::from(second) {
            if second >= seconds || each_second(judges, second) {
                break;
            }
            second += 1;
        }
        let packet = Packet { at, size: f64::from(SIZE_L3), arm: turn.arm, flow: flow(turn.socket, &turn.arm) };
        let observed = observe(path, clock, &packet, sequence);
        for judge in judges.iter_mut() {
            judge.push(&observed);
        }
        packets += 1;
        if let Some(record) = record.as_deref_mut().filter(|_| turn.hypothesis == 0) {
            let delay = observed.received_ns.map(|received| (received - observed.sent_ns) as f64 / 1e9);
            let own = usize::from(!turn.is_subject);
            match half.take() {
                Some((pair, other, first)) if pair == turn.pair && other != own => {
                    record.pairs.push(if own == 0 { [delay, first] } else { [first, delay] });
                }
                _ => half = Some((turn.pair, own, delay)),
            }
        }
    }
    (packets, f64::from(second))
}

/// Sends the trains of one design, beginning at `from` seconds. Returns packets and when the last train ended.
pub fn trains(
    path: &mut Path<'_>,
    clock: &Clock,
    design: &TrainDesign,
    from: f64,
    seed: u64,
    record: &mut Record,
) -> (Vec<ArmLimit>, u64, f64) {
    let plan = TrainPlan::new(design.clone(), seed);
    let mut observed = Vec::new();
    let mut trains: Vec<(u32, usize, Vec<Observed>)> = Vec::new();
    for sequence in 0.. {
        let Some(turn) = plan.turn(sequence) else { break };
        let packet = Packet {
            at: from + turn.at_ns as f64 / 1e9,
            size: f64::from(SIZE_L3),
            arm: turn.arm,
            flow: 1 << 60 | u64::from(turn.arm_index),
        };
        let one = observe(path, clock, &packet, sequence);
        match trains.last_mut() {
            Some((train, _, probes)) if *train == turn.train => probes.push(one),
            _ => trains.push((turn.train, usize::from(turn.arm_index), vec![one])),
        }
        observed.push(one);
    }
    for (_, arm, probes) in trains.into_iter().filter(|(_, arm, _)| *arm < 2) {
        // The design's first arm is the control.
        record.trains[1 - arm].push(probes);
    }
    (judge_trains(design, seed, &observed), observed.len() as u64, from + plan.duration_ns() as f64 / 1e9)
}

/// The whole of a scenario's plan.
pub fn scenario(spec: &crate::scenario::PathSpec, plan: &PlanSpec, alpha: f64, seed: u64) -> Outcome {
    let subjects: Vec<Arm> = plan.subjects.iter().map(|subject| subject.arm()).collect();
    let design = design(&subjects, plan.rate);
    let standard = Standard { alpha, hypotheses: design.hypotheses.len() as u32, ..Standard::default() };
    let mut path = Path::new(spec, seed ^ 0x5eed);
    let mut judges = [PairJudge::new(&design, &standard, seed)];
    let mut record = Record::default();
    let compared = design.hypotheses.len() as u16 - 1;
    let is_over = |judges: &[PairJudge], _| (0..compared).all(|hypothesis| judges[0].is_decided(hypothesis));
    let (mut packets, seconds) =
        pairs(&mut path, &spec.clock, &design, plan.seconds, seed, &mut judges, is_over, Some(&mut record));
    let mut limits = Vec::new();
    let mut end = seconds;
    // Trains ask of marks only.
    let mut arms = vec![CONTROL];
    arms.extend(subjects.iter().filter(|arm| arm.port == CONTROL.port && arm.payload == CONTROL.payload));
    for (index, one) in plan.trains.iter().enumerate() {
        let design = TrainDesign {
            arms: arms.clone(),
            rate_pps: one.pps,
            packets: one.packets,
            rounds: one.rounds,
            idle_ms: one.idle_ms,
            size: SIZE,
        };
        let (found, sent, until) =
            trains(&mut path, &spec.clock, &design, end, seed.wrapping_add(index as u64 + 1), &mut record);
        limits.extend(found);
        packets += sent;
        end = until;
    }
    let verdicts = combine(&judges[0].findings(), &limits, &standard);
    Outcome { verdicts, packets, seconds: end, record }
}
