//! When a flow's next probe is due: the schedule laid out over a task's cycles, or the clock's own rhythm. Times are on the
//! monotonic clock; nothing here reads it.

use std::sync::{Arc, Mutex, PoisonError};

use measure::Schedule;
use model::Tos;

use crate::duty::{CLOCK_PAUSE_PPS, CLOCK_PPS, Cycle};

/// The clock begins fast, so that delays can be told soon.
const CLOCK_START_PPS: u64 = 20;
const SECOND: u64 = 1_000_000_000;

/// A task's cycles, all of its flows alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    pub begin_ns: u64,
    pub cycle: Cycle,
}

impl Timeline {
    pub(crate) fn is_working(self, now_ns: u64) -> bool {
        self.cycle.is_working(now_ns.saturating_sub(self.begin_ns))
    }

    pub(crate) fn next_work_ns(self, now_ns: u64) -> u64 {
        self.begin_ns.saturating_add(self.cycle.next_work_ns(now_ns.saturating_sub(self.begin_ns)))
    }

    fn worked_ns(self, now_ns: u64) -> u64 {
        self.cycle.worked_ns(now_ns.saturating_sub(self.begin_ns))
    }

    fn wall_ns(self, worked_ns: u64) -> u64 {
        self.begin_ns.saturating_add(self.cycle.wall_ns(worked_ns))
    }
}

/// The timelines of all tasks, for the clock: it is quick while any of them works.
#[derive(Debug, Default)]
pub(crate) struct Activity(Mutex<Vec<Timeline>>);

impl Activity {
    pub(crate) fn replace(&self, timelines: Vec<Timeline>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = timelines;
    }

    pub(crate) fn is_working(&self, now_ns: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|timeline| timeline.is_working(now_ns))
    }

    fn next_work_ns(&self, now_ns: u64) -> Option<u64> {
        let timelines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        timelines.iter().map(|timeline| timeline.next_work_ns(now_ns)).min()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub sequence: u32,
    pub tos: Tos,
    pub at_ns: u64,
}

#[derive(Debug)]
pub(crate) enum Plan {
    /// `offset_ns`: working time at which the schedule's zero lies.
    Task {
        schedule: Schedule,
        timeline: Timeline,
        offset_ns: u64,
    },
    Clock {
        sequence: u32,
        at_ns: u64,
        activity: Arc<Activity>,
    },
}

impl Plan {
    /// From `now_ns` on, which may lie in a pause.
    pub(crate) fn task(schedule: Schedule, timeline: Timeline, now_ns: u64) -> Plan {
        Plan::Task { schedule, timeline, offset_ns: timeline.worked_ns(now_ns) }
    }

    pub(crate) fn clock(activity: Arc<Activity>, now_ns: u64) -> Plan {
        Plan::Clock { sequence: 0, at_ns: now_ns, activity }
    }

    /// `None`: the session's sequence numbers are used up.
    pub(crate) fn next(&mut self) -> Option<Due> {
        match self {
            Plan::Task { schedule, timeline, offset_ns } => {
                let slot = schedule.next()?;
                let at_ns = timeline.wall_ns(offset_ns.saturating_add(slot.at_ns));
                Some(Due { sequence: slot.sequence, tos: slot.tos, at_ns })
            }
            Plan::Clock { sequence, at_ns, activity } => {
                let due = Due { sequence: *sequence, tos: Tos::default(), at_ns: *at_ns };
                let quick = *at_ns + (SECOND as f64 / CLOCK_PPS) as u64;
                *at_ns = if u64::from(*sequence) < CLOCK_START_PPS {
                    *at_ns + SECOND / CLOCK_START_PPS
                } else if activity.is_working(quick) {
                    quick
                } else {
                    let slow = *at_ns + (SECOND as f64 / CLOCK_PAUSE_PPS) as u64;
                    activity.next_work_ns(quick).map_or(slow, |work| work.min(slow))
                };
                *sequence = sequence.checked_add(1).filter(|next| *next <= wire::SEQUENCE_MAX)?;
                Some(due)
            }
        }
    }

    /// The host stood still for so long: what is left is moved on instead of being sent all at once.
    pub(crate) fn postpone(&mut self, late_ns: u64) {
        match self {
            Plan::Task { offset_ns, .. } => *offset_ns = offset_ns.saturating_add(late_ns),
            Plan::Clock { at_ns, .. } => *at_ns = at_ns.saturating_add(late_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_schedule_pauses_between_cycles_and_skips_nothing() {
        let cycle = Cycle { work_ns: SECOND, period_ns: 10 * SECOND };
        let timeline = Timeline { begin_ns: 5 * SECOND, cycle };
        let schedule = Schedule::new(vec![Tos::default()], 4.0, 1);
        let mut plan = Plan::task(schedule, timeline, 5 * SECOND);
        let due: Vec<(u32, u64)> =
            std::iter::from_fn(|| plan.next()).take(6).map(|due| (due.sequence, due.at_ns / MS)).collect();
        assert_eq!(due, [(0, 5_000), (1, 5_250), (2, 5_500), (3, 5_750), (4, 15_000), (5, 15_250)]);
        plan.postpone(500 * MS);
        assert_eq!(plan.next().unwrap().at_ns, 25_000 * MS);
    }

    #[test]
    fn a_flow_that_starts_in_a_pause_waits_for_the_next_cycle() {
        let cycle = Cycle { work_ns: SECOND, period_ns: 10 * SECOND };
        let timeline = Timeline { begin_ns: 0, cycle };
        let mut plan = Plan::task(Schedule::new(vec![Tos::default()], 4.0, 1), timeline, 3 * SECOND);
        assert_eq!(plan.next().unwrap().at_ns, 10 * SECOND);
    }

    #[test]
    fn the_clock_starts_fast_and_idles_in_pauses() {
        let activity = Arc::new(Activity::default());
        let cycle = Cycle { work_ns: 3 * SECOND, period_ns: 12 * SECOND };
        activity.replace(vec![Timeline { begin_ns: 0, cycle }]);
        let mut plan = Plan::clock(activity, 0);
        let due: Vec<u64> = std::iter::from_fn(|| plan.next()).take(36).map(|due| due.at_ns / MS).collect();
        assert_eq!(due[..3], [0, 50, 100]);
        assert_eq!(due[20..24], [1_000, 1_250, 1_500, 1_750]);
        // The pause from 3 s on: one every 5 s, and back in time for the next stretch of work.
        assert_eq!(due[27..32], [2_750, 7_750, 12_000, 12_250, 12_500]);
    }
}
