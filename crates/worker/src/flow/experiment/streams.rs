//! Experiments on TCP: a pair is two connections, each with a source port of its own by nature.

use std::sync::Arc;

use measure::shaping::plan::PairPlan;
use model::Tos;
use model::shaping::PairDesign;
use net::Clock;
use wire::Ecn;

use super::Bench;
use crate::capture::Watcher;
use crate::flow::connect::{Slots, launch};
use crate::flow::plan::Due;
use crate::flow::stop::Flag;

const STALL_NS: u64 = 1_000_000_000;

/// Begins a connection whenever one is due, until the plan ends, all is decided, or `stop`.
pub(in crate::flow) fn dispatch(bench: &Bench, design: &PairDesign, watcher: Option<&Watcher>, stop: &Flag) {
    let _ = net::pacing::set_timer_slack(1_000);
    let mut plan = PairPlan::new(design.clone(), bench.experiment.seed);
    let slots = Arc::new(Slots::default());
    let mut begin_ns = Clock::monotonic_ns() + 20_000_000;
    let mut round_has_work = false;
    for sequence in 0..bench.course.end(plan.round_len()) {
        let Some(turn) = plan.turn(sequence) else { break };
        if sequence % plan.round_len() == 0 {
            if sequence > 0 && !round_has_work {
                break;
            }
            round_has_work = false;
        }
        if bench.course.is_decided(turn.hypothesis) {
            continue;
        }
        round_has_work = true;
        let Some(link) = bench.link(turn.arm) else { continue };
        let at_ns = begin_ns.saturating_add(turn.at_ns);
        if !stop.sleep_until(at_ns) || !slots.take(stop) {
            return;
        }
        let now_ns = Clock::monotonic_ns();
        let late_ns = now_ns.saturating_sub(at_ns);
        if late_ns > STALL_NS {
            begin_ns = begin_ns.saturating_add(late_ns);
        }
        let due = Due { sequence, tos: Tos::new(turn.arm.dscp, Ecn::NotEct), at_ns };
        launch(link, due, now_ns, watcher, &slots);
    }
    bench.course.finish();
}
