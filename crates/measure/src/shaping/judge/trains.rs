//! The trains of an experiment, class by class.

use model::shaping::{Arm, TrainDesign};

use crate::shaping::Observed;
use crate::shaping::limit::{self, Limit, TrainFinding};
use crate::shaping::plan::TrainPlan;

/// What the trains of one class showed.
#[derive(Clone, Debug)]
pub struct ArmLimit {
    pub arm: Arm,
    pub trains: Vec<TrainFinding>,
    /// On which the trains agree.
    pub limit: Option<Limit>,
}

/// Judges one direction of a [`TrainDesign`], by arm in the design's order.
pub fn judge_trains(design: &TrainDesign, seed: u64, observed: &[Observed]) -> Vec<ArmLimit> {
    let plan = TrainPlan::new(design.clone(), seed);
    let mut trains: Vec<(u32, u16, Vec<Observed>)> = Vec::new();
    let mut ordered: Vec<&Observed> = observed.iter().collect();
    ordered.sort_by_key(|observed| observed.sequence);
    for probe in ordered {
        let Some(turn) = plan.turn(probe.sequence) else { continue };
        match trains.last_mut() {
            Some((train, _, probes)) if *train == turn.train => probes.push(*probe),
            _ => trains.push((turn.train, turn.arm_index, vec![*probe])),
        }
    }
    let arm_limit = |(index, arm): (usize, &Arm)| {
        let own = trains.iter().filter(|(_, arm, _)| usize::from(*arm) == index);
        ArmLimit { arm: *arm, trains: own.map(|(_, _, probes)| limit::examine(probes)).collect(), limit: None }
    };
    let mut arms: Vec<ArmLimit> = design.arms.iter().enumerate().map(arm_limit).collect();
    let mut in_order: Vec<&mut TrainFinding> = arms.iter_mut().flat_map(|arm| arm.trains.iter_mut()).collect();
    in_order.sort_by_key(|train| train.began_ns);
    limit::settle(&mut in_order);
    let all: Vec<TrainFinding> = arms.iter().flat_map(|arm| arm.trains.iter().cloned()).collect();
    arms.iter_mut().for_each(|arm| arm.limit = limit::pool(&arm.trains, &all));
    arms
}
