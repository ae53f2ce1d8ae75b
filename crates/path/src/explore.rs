//! What to send when, and when to stop: each hop at the rate it answers at. Pure: time is an argument.
//!
//! Routers limit their ICMP errors, so silence to a quick probe says little. A hop is asked quickly until it misses an
//! answer, then slowly; only who is silent slowly is silent. Hops have limits of their own and are asked side by side.

use std::collections::VecDeque;
use std::time::Duration;

/// Linux's default limit: one error a second and destination (net.ipv4.icmp_ratelimit), with some room.
const SLOW_NS: u64 = 1_050_000_000;
const QUICK_NS: u64 = 30_000_000;
/// Linux lets so many errors through at once (XRLIM_BURST_FACTOR).
const MOST_OUTSTANDING: u32 = 6;
/// After so many answers in a row a hop is asked twice as often.
const STREAK: u32 = 4;
/// Unanswered slow probes after which a class counts as unanswered at a hop.
const GIVE_UP: u32 = 3;
/// Probes to a hop that has never answered: quickly, then slowly.
const TRIES_QUICK: u32 = 3;
const TRIES_SLOW: u32 = 3;
/// So many silent hops behind the last one that answered end the search.
pub(super) const GAP: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send(Probe),
    /// Nothing to do before this time, unless an answer comes.
    Wait(u64),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub id: u32,
    /// Hop from 1.
    pub ttl: u8,
    /// Index of the class.
    pub class: usize,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    probe: Probe,
    at_ns: u64,
    /// The hop's interval when it was sent.
    interval_ns: u64,
    answered: bool,
}

#[derive(Clone, Debug)]
struct ClassState {
    wanted: u32,
    outstanding: u32,
    slow_failures: u32,
}

impl ClassState {
    fn is_done(&self) -> bool {
        self.wanted == 0 || self.slow_failures >= GIVE_UP
    }
}

#[derive(Clone, Debug)]
struct HopState {
    classes: Vec<ClassState>,
    /// Where the search for the next class goes on.
    turn: usize,
    next_ns: u64,
    interval_ns: u64,
    /// Quicker than this it has not answered.
    floor_ns: u64,
    streak: u32,
    outstanding: u32,
    answered: u32,
    sent: u32,
    failed: u32,
}

pub(super) struct Explorer {
    max_hops: u8,
    wanted: u32,
    classes: usize,
    timeout_ns: u64,
    spacing_ns: u64,
    next_ns: u64,
    hops: Vec<HopState>,
    sent: Vec<Sent>,
    /// Numbers of probes whose time is not over, oldest first.
    running: VecDeque<u32>,
    farthest: u8,
    /// Nothing is asked beyond: the destination, or who refuses.
    end: Option<u8>,
}

impl Explorer {
    pub(super) fn new(classes: usize, wanted: u32, max_hops: u8, timeout: Duration, rate_pps: f64) -> Explorer {
        Explorer {
            max_hops,
            wanted,
            classes,
            timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            spacing_ns: (1e9 / rate_pps) as u64,
            next_ns: 0,
            hops: Vec::new(),
            sent: Vec::new(),
            running: VecDeque::new(),
            farthest: 0,
            end: None,
        }
    }

    pub(super) fn next(&mut self, now_ns: u64) -> Next {
        self.expire(now_ns);
        self.extend();
        let last = usize::from(self.last());
        let mut earliest = self
            .running
            .front()
            .and_then(|id| self.sent.get(*id as usize))
            .map(|oldest| oldest.at_ns + self.timeout_ns);
        let mut done = true;
        for ttl in 1..=last {
            let Some(hop) = self.hops.get(ttl - 1) else { break };
            if hop.is_done() {
                continue;
            }
            done = false;
            let Some(class) = hop.next_class() else { continue };
            let at_ns = hop.next_ns.max(self.next_ns);
            if at_ns <= now_ns {
                return Next::Send(Probe { id: self.sent.len() as u32, ttl: ttl as u8, class });
            }
            earliest = Some(earliest.map_or(at_ns, |earliest| earliest.min(at_ns)));
        }
        match earliest {
            _ if done => Next::Done,
            Some(at_ns) => Next::Wait(at_ns),
            None => Next::Done,
        }
    }

    /// The probe was handed out by [`Explorer::next`] and is on its way.
    pub(super) fn sent(&mut self, probe: Probe, now_ns: u64) {
        let Some(hop) = self.hops.get_mut(usize::from(probe.ttl) - 1) else { return };
        self.sent.push(Sent { probe, at_ns: now_ns, interval_ns: hop.interval_ns, answered: false });
        self.running.push_back(probe.id);
        self.next_ns = now_ns + self.spacing_ns;
        hop.next_ns = now_ns + hop.interval_ns;
        hop.turn = probe.class + 1;
        hop.outstanding += 1;
        hop.sent += 1;
        if let Some(class) = hop.classes.get_mut(probe.class) {
            class.outstanding += 1;
        }
    }

    /// The latest probe whose number leaves this remainder, if its answer can still be expected.
    pub(super) fn latest(&self, remainder: u32) -> Option<Probe> {
        let matching = |sent: &&Sent| super::quote::remainder(sent.probe.id) == remainder;
        // Farther back the same length has been used again.
        self.sent.iter().rev().take(256).find(matching).map(|sent| sent.probe)
    }

    pub(super) fn probe(&self, id: u32) -> Option<Probe> {
        self.sent.get(id as usize).map(|sent| sent.probe)
    }

    /// False: unknown, or answered before. `ends_at`: nothing is to be asked beyond that hop.
    pub(super) fn answered(&mut self, id: u32, ends_at: Option<u8>) -> bool {
        let Some(sent) = self.sent.get_mut(id as usize).filter(|sent| !sent.answered) else { return false };
        sent.answered = true;
        let sent = *sent;
        // If not, it has been taken as missed.
        let in_time = self.running.iter().position(|running| *running == id).map(|place| self.running.remove(place));
        if let Some(hop) = self.hops.get_mut(usize::from(sent.probe.ttl) - 1) {
            hop.answer(sent, in_time.is_some());
        }
        if let Some(end) = ends_at {
            self.end = Some(self.end.map_or(end, |before| before.min(end)));
        } else {
            self.farthest = self.farthest.max(sent.probe.ttl);
        }
        true
    }

    /// Probes sent to and answers heard of a hop.
    pub(super) fn counts(&self, ttl: u8) -> (u32, u32) {
        let hop = usize::from(ttl).checked_sub(1).and_then(|index| self.hops.get(index));
        hop.map_or((0, 0), |hop| (hop.sent, hop.answered))
    }

    fn last(&self) -> u8 {
        let horizon = self.farthest.saturating_add(GAP).min(self.max_hops);
        self.end.unwrap_or(horizon).min(self.max_hops)
    }

    fn extend(&mut self) {
        let class = ClassState { wanted: self.wanted, outstanding: 0, slow_failures: 0 };
        let hop = HopState {
            classes: vec![class; self.classes],
            turn: 0,
            next_ns: 0,
            interval_ns: QUICK_NS,
            floor_ns: QUICK_NS,
            streak: 0,
            outstanding: 0,
            answered: 0,
            sent: 0,
            failed: 0,
        };
        let last = usize::from(self.last());
        if self.hops.len() < last {
            self.hops.resize(last, hop);
        }
    }

    fn expire(&mut self, now_ns: u64) {
        while let Some(sent) = self.running.front().and_then(|id| self.sent.get(*id as usize)).copied() {
            if now_ns.saturating_sub(sent.at_ns) < self.timeout_ns {
                return;
            }
            self.running.pop_front();
            if let Some(hop) = self.hops.get_mut(usize::from(sent.probe.ttl) - 1) {
                hop.miss(sent);
            }
        }
    }
}

impl HopState {
    fn is_done(&self) -> bool {
        self.is_silent() || self.classes.iter().all(ClassState::is_done)
    }

    fn is_silent(&self) -> bool {
        self.answered == 0 && self.failed >= TRIES_QUICK + TRIES_SLOW
    }

    fn next_class(&self) -> Option<usize> {
        let most = if self.answered == 0 { TRIES_QUICK } else { MOST_OUTSTANDING };
        if self.outstanding >= most || (self.answered == 0 && self.sent >= TRIES_QUICK + TRIES_SLOW) {
            return None;
        }
        let count = self.classes.len();
        (0..count).map(|step| (self.turn + step) % count).find(|index| {
            self.classes.get(*index).is_some_and(|class| !class.is_done() && class.outstanding < class.wanted)
        })
    }

    fn answer(&mut self, sent: Sent, in_time: bool) {
        self.answered += 1;
        if let Some(class) = self.classes.get_mut(sent.probe.class) {
            class.wanted = class.wanted.saturating_sub(1);
            class.slow_failures = 0;
            class.outstanding -= u32::from(in_time);
        }
        if !in_time {
            return;
        }
        self.outstanding -= 1;
        self.streak += 1;
        if self.streak >= STREAK {
            self.streak = 0;
            self.interval_ns = (self.interval_ns / 2).max(self.floor_ns);
        }
    }

    fn miss(&mut self, sent: Sent) {
        self.outstanding -= 1;
        self.failed += 1;
        self.streak = 0;
        let slow = sent.interval_ns >= SLOW_NS;
        if let Some(class) = self.classes.get_mut(sent.probe.class) {
            class.outstanding -= 1;
            // A quick probe may have fallen to the router's limit.
            class.slow_failures += u32::from(slow && self.answered > 0);
        }
        self.floor_ns = self.floor_ns.max((2 * sent.interval_ns).min(SLOW_NS));
        if self.interval_ns < SLOW_NS {
            self.next_ns = self.next_ns.max(sent.at_ns + SLOW_NS);
        }
        self.interval_ns = SLOW_NS;
    }
}
