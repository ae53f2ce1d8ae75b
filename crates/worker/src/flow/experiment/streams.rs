//! Experiments on TCP: a pair is two connections, each with a source port of its own by nature.

use std::sync::Arc;

use model::Tos;
use model::shaping::PairDesign;
use net::Clock;
use wire::Ecn;

use super::{Bench, Undecided};
use crate::capture::Watcher;
use crate::flow::connect::{Slots, launch};
use crate::flow::plan::Due;
use crate::flow::stop::Flag;

const STALL_NS: u64 = 1_000_000_000;

/// Begins a connection whenever one is due, until the plan ends, all is decided, or `stop`.
pub(in crate::flow) fn dispatch(bench: &Bench, design: &PairDesign, watcher: Option<&Watcher>, stop: &Flag) {
    let _ = net::pacing::set_timer_slack(1_000);
    let slots = Arc::new(Slots::default());
    let mut begin_ns = Clock::monotonic_ns() + 20_000_000;
    for (sequence, turn) in Undecided::new(bench, design) {
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
