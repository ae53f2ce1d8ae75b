//! Which trains to send next: faster ones until a limit shows, then some that measure it, and contests under load where asked for.

use model::shaping::{Arm, ContestDesign, DirectionStatus, Payload, Purpose, TrainDesign, TrainStatus};

use super::Ask;
use crate::shaping::contest;

/// Of trains that look for a limit, in bits per second of layer 3, and how much faster each is than the last.
const FIRST_BPS: f64 = 512e3;
const STEP: f64 = 4.0;
const SEARCH_S: f64 = 1.5;
const SEARCH_IDLE_MS: u32 = 300;
/// Of trains that measure a limit which showed.
const MEASURE_S: f64 = 4.0;
/// Two speeds: what only one of them shows (every n-th packet lost, a share of somebody's queue) is no bucket.
const OVERLOADS: [f64; 2] = [2.4, 1.6];
/// Of a contest under load, and of what settles after it.
const CONTEST_S: f64 = 4.0;
const SETTLE_S: f64 = 4.0;
/// A shaper's queue that an earlier train left full drains meanwhile.
const QUEUE_MS: f64 = 700.0;
/// Larger packets from this rate on, for a sender that makes so many packets a second and no more.
const LARGE_FROM_BPS: f64 = 3e6;
const LARGE: u16 = 1_200;
const MOST_PPS: f64 = 6_000.0;
const LEAST_PACKETS: u32 = 200;

/// What a run has learned that the next may begin with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    next_bps: f64,
    limits: Vec<(Arm, (f64, f64))>,
}

/// Decides the trains: faster ones until a limit shows, then some that measure it.
#[derive(Clone, Debug)]
pub struct Trains {
    ask: Ask,
    arms: Vec<Arm>,
    left: f64,
    left_s: f64,
    next_bps: f64,
    measured: usize,
    /// Rate and burst of the slowest limit, by arm.
    limits: Vec<Option<(f64, f64)>>,
    fastest_bps: f64,
}

impl Trains {
    /// `left_bytes`, `left_s`: what is left of the budget and of the time.
    pub fn new(ask: &Ask, left_bytes: u64, left_s: f64) -> Trains {
        let (datagrams, _) = ask.hypotheses();
        let mut arms = vec![ask.best_effort()];
        for hypothesis in datagrams.iter().filter(|hypothesis| hypothesis.purpose == Purpose::Difference) {
            for arm in [hypothesis.control, hypothesis.subject] {
                // A query has the size it has, and trains of it are somebody else's amplifier test.
                if arm.payload != Payload::Dns && !arms.contains(&arm) {
                    arms.push(arm);
                }
            }
        }
        let limits = vec![None; arms.len()];
        let left = left_bytes as f64;
        Trains { ask: ask.clone(), arms, left, left_s, next_bps: FIRST_BPS, measured: 0, limits, fastest_bps: 0.0 }
    }

    /// Goes on where an earlier run of the same question stopped: measures the limits it found, or looks for faster ones.
    pub fn resume(&mut self, earlier: &Memory) {
        self.next_bps = earlier.next_bps.clamp(FIRST_BPS, 1e9);
        for (arm, limit) in &earlier.limits {
            if let Some(index) = self.arms.iter().position(|own| own == arm) {
                self.limits[index] = Some(*limit);
            }
        }
    }

    /// For [`Trains::resume`]. A search that has got as far as its budget lets it begins again, because networks change.
    pub fn memory(&self, sent_any: bool) -> Memory {
        let limits = self.arms.iter().zip(&self.limits).filter_map(|(arm, limit)| Some((*arm, (*limit)?)));
        Memory { next_bps: if sent_any { self.next_bps } else { FIRST_BPS }, limits: limits.collect() }
    }

    /// Whether trains that were to measure a limit have shown one at all; if not, there is none any more.
    pub fn forget_unseen(&mut self, design: &TrainDesign, status: &[DirectionStatus]) {
        let seen = |index: usize| {
            status.iter().flat_map(|d| &d.trains).any(|t| usize::from(t.arm) == index && t.limit.is_some())
        };
        for (index, arm) in design.arms.iter().enumerate() {
            if let Some(own) = self.arms.iter().position(|own| own == arm)
                && self.limits[own].is_some_and(|(rate, _)| design.rate_pps * f64::from(design.size) * 8.0 > rate * 1.3)
                && !seen(index)
            {
                self.limits[own] = None;
            }
        }
    }

    /// No trains of what does not get through at all.
    pub fn leave_out(&mut self, blocked: &[Arm]) {
        let keep: Vec<bool> = self.arms.iter().enumerate().map(|(i, arm)| i == 0 || !blocked.contains(arm)).collect();
        let mut of_arms = keep.iter();
        self.arms.retain(|_| *of_arms.next().unwrap_or(&true));
        self.limits = vec![None; self.arms.len()];
    }

    /// `None` when enough is known, or neither bytes nor time are left.
    pub fn next_design(&mut self) -> Option<TrainDesign> {
        let slowest = self.limits.iter().flatten().copied().reduce(|a, b| if a.0 <= b.0 { a } else { b });
        let (arms, bps, seconds, idle_ms) = match slowest {
            Some((rate, burst)) => {
                let overload = *OVERLOADS.get(self.measured)?;
                // What is limited, and best effort beside it; a faster limit than the slowest waits for another run.
                let limited =
                    |limit: &Option<(f64, f64)>| limit.is_some_and(|(other, _)| other < rate * overload * 0.9);
                let keep = |index: usize| index == 0 || self.limits.get(index).is_some_and(limited);
                let arms: Vec<Arm> =
                    self.arms.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, arm)| *arm).collect();
                // Time for a queue to drain and the bucket to fill, and for a train to empty it and show the rate after that.
                let fill_s = burst * 8.0 / rate.max(1.0);
                let idle_ms = (fill_s * 1_100.0 + QUEUE_MS).clamp(500.0, 8_000.0) as u32;
                (arms, rate * overload, MEASURE_S + fill_s.min(8.0), idle_ms)
            }
            None => (self.arms.clone(), self.next_bps, SEARCH_S, SEARCH_IDLE_MS),
        };
        let design = self.within_budget(arms, bps, seconds, idle_ms)?;
        match slowest {
            Some(_) => self.measured += 1,
            None => self.next_bps *= STEP,
        }
        Some(design)
    }

    fn within_budget(&mut self, arms: Vec<Arm>, bps: f64, seconds: f64, idle_ms: u32) -> Option<TrainDesign> {
        let size = if bps >= LARGE_FROM_BPS { self.ask.size.max(LARGE) } else { self.ask.size };
        let wire = f64::from(size + self.ask.headers) * 8.0;
        let pps = bps / wire;
        if pps > MOST_PPS {
            return None;
        }
        let each = self.ask.datagram_bytes(size) * arms.len() as f64;
        let affordable = (self.left / each) as u32;
        let packets = ((pps * seconds) as u32).max(LEAST_PACKETS).min(affordable);
        let duration = arms.len() as f64 * (f64::from(packets) / pps + f64::from(idle_ms) / 1e3);
        // Half a train shows half of nothing.
        if packets < LEAST_PACKETS || f64::from(packets) < 0.6 * pps * seconds || duration > self.left_s {
            return None;
        }
        self.left -= each * f64::from(packets);
        self.left_s -= duration;
        self.fastest_bps = self.fastest_bps.max(bps);
        Some(TrainDesign { arms, rate_pps: pps, packets, rounds: 1, idle_ms, size })
    }

    /// What the last design's trains showed.
    pub fn learn(&mut self, design: &TrainDesign, status: &[DirectionStatus]) {
        for TrainStatus { arm, limit, .. } in status.iter().flat_map(|direction| &direction.trains) {
            let Some((rate, burst)) = *limit else { continue };
            let Some(arm) = design.arms.get(usize::from(*arm)) else { continue };
            let Some(index) = self.arms.iter().position(|own| own == arm) else { continue };
            if let Some(known) = self.limits.get_mut(index) {
                let slower = known.is_none_or(|(known, _)| rate < known);
                if slower {
                    *known = Some((rate, burst));
                }
            }
        }
    }

    /// Limit of best effort that all classes may share, in bits per second of layer 3, if one was met.
    pub fn shared_limit_bps(&self) -> Option<f64> {
        self.limits.first().copied().flatten().map(|(rate, _)| rate)
    }

    /// What contests of all classes would take.
    pub fn contest_seconds(ask: &Ask) -> f64 {
        ask.classes().count() as f64 * (CONTEST_S + SETTLE_S)
    }

    /// Contests of the classes with best effort on a path of this rate, as many as the rest of budget and time allow.
    pub fn contests(&mut self, path_bps: f64) -> Vec<ContestDesign> {
        let control = self.ask.best_effort();
        let subjects: Vec<Arm> = self.ask.classes().filter(|arm| self.arms.contains(arm)).collect();
        let size = if path_bps >= LARGE_FROM_BPS { self.ask.size.max(LARGE) } else { self.ask.size };
        let rate_pps = contest::ASKED * path_bps / (f64::from(size + self.ask.headers) * 8.0);
        let slots = (rate_pps * CONTEST_S) as u32;
        let bytes = self.ask.datagram_bytes(size) * 2.0 * f64::from(slots);
        let mut designs = Vec::new();
        for subject in subjects {
            if rate_pps > MOST_PPS / 2.0 || bytes > self.left || CONTEST_S + SETTLE_S > self.left_s {
                break;
            }
            self.left -= bytes;
            self.left_s -= CONTEST_S + SETTLE_S;
            designs.push(ContestDesign { subject, control, rate_pps, slots, size });
        }
        designs
    }

    /// Waiting for the server's word took so long; negative where time was set aside.
    pub fn spend_time(&mut self, seconds: f64) {
        self.left_s -= seconds;
    }

    /// The fastest train so far, in bits per second of layer 3.
    pub fn fastest_bps(&self) -> f64 {
        self.fastest_bps
    }
}
