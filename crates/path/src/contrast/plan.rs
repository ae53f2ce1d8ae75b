//! Which probe when: windows of pairs to each hop, under load where the class is limited, and rests in which routers' own limits
//! of ICMP errors recover. Pure: time is an argument.
//!
//! A window begins with load alone, until a bucket is empty; then pairs go to all hops that can still tell something, while the
//! load goes on. Each hop gets as many pairs a window as it answers: the first windows ask what Linux lets through (6
//! errors at once, then one a second), and a hop that answers all of them is asked twice as often the next time.

use std::collections::BTreeMap;

use measure::shaping::hop::{Answer, Effect, Search};

/// From one window's begin to the next one's: Linux lets through one more error a second and destination, up to six at once.
const PERIOD_NS: u64 = 6_500_000_000;
/// Pairs of a hop in the first window, and at most.
const FIRST_PAIRS: u32 = 3;
const MOST_PAIRS: u32 = 64;
/// After a window with unanswered probes a hop is not asked more often for so many, and twice as many after the next such window.
const HOLD: u32 = 3;
/// Windows in a row without an answer to best effort after which a hop is left out.
const SILENT: u32 = 3;
/// Of a window's probes, and of each of them at least: at once rather than spread, so that a router's limit is met by the last probes
/// and not in the midst of pairs, and recovers until the next window.
const SPAN_NS: u64 = 300_000_000;
const SLOT_NS: u64 = 2_000_000;
/// The same where no load has to go on meanwhile.
const QUIET_SLOT_NS: u64 = 5_000_000;
/// Behind the last probe, in which late answers come.
const SETTLE_NS: u64 = 1_500_000_000;
/// The load goes on for so long behind the last probe.
const TAIL_NS: u64 = 20_000_000;

/// What keeps the class in the state in which it is hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Overload {
    pub packets_per_second: f64,
    /// Load before the first probe of a window.
    pub lead_ns: u64,
}

/// Bytes of layer 3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub load: u64,
    /// Of one probe with its answer, at most.
    pub probe: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub id: u32,
    /// Index of the hop.
    pub hop: usize,
    /// Of the class that is hit, else best effort.
    pub is_subject: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Probe(Probe),
    /// A packet of the class that goes all the way.
    Load,
    /// Nothing to do before this time, unless an answer comes.
    Wait(u64),
    Done,
}

/// Why nothing more is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every hop that can tell something has told it, or does not answer.
    Told,
    Time,
    Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Quota {
    pairs: u32,
    /// Windows before it is asked more often, and how many after the next miss.
    hold: u32,
    next_hold: u32,
    silent: u32,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    hop: usize,
    subject: Option<Answer>,
    control: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Load,
    /// Pair of the window, and whether it is the subject's probe.
    Probe(usize, bool),
}

pub(crate) struct Windows {
    search: Search,
    quotas: Vec<Quota>,
    overload: Option<Overload>,
    sizes: Sizes,
    bytes_left: u64,
    bytes: u64,
    deadline_ns: u64,
    random: fastrand::Rng,
    begin_ns: u64,
    /// Of this window, in order of time.
    events: Vec<(u64, Event)>,
    at: usize,
    pairs: Vec<Pair>,
    /// What each probe of this window was sent for.
    sent: BTreeMap<u32, (usize, bool)>,
    next_id: u32,
    windows: u32,
    end: Option<End>,
}

impl Windows {
    /// The first window begins at `begin_ns`; none ends after `deadline_ns`. `bytes`: of all windows.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        hops: usize,
        effect: Effect,
        alpha: f64,
        overload: Option<Overload>,
        sizes: Sizes,
        bytes: u64,
        (begin_ns, deadline_ns): (u64, u64),
        seed: u64,
    ) -> Windows {
        Windows {
            search: Search::new(hops, effect, alpha),
            quotas: vec![Quota { pairs: FIRST_PAIRS, hold: 0, next_hold: HOLD, silent: 0 }; hops],
            overload,
            sizes,
            bytes_left: bytes,
            bytes: 0,
            deadline_ns,
            random: fastrand::Rng::with_seed(seed),
            begin_ns,
            events: Vec::new(),
            at: 0,
            pairs: Vec::new(),
            sent: BTreeMap::new(),
            next_id: 0,
            windows: 0,
            end: None,
        }
    }

    pub(crate) fn search(&self) -> &Search {
        &self.search
    }

    /// Sent, and at most caused.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn windows(&self) -> u32 {
        self.windows
    }

    /// `None` before it is over.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    pub(crate) fn next(&mut self, now_ns: u64) -> Next {
        loop {
            if self.end.is_some() {
                return Next::Done;
            }
            if let Some((at_ns, event)) = self.events.get(self.at).copied() {
                if at_ns > now_ns {
                    return Next::Wait(at_ns);
                }
                self.at += 1;
                return match event {
                    Event::Load => Next::Load,
                    Event::Probe(pair, is_subject) => Next::Probe(self.probe(pair, is_subject)),
                };
            }
            if now_ns < self.begin_ns {
                return Next::Wait(self.begin_ns);
            }
            self.settle();
            self.end = self.open_window(now_ns).err();
        }
    }

    fn probe(&mut self, pair: usize, is_subject: bool) -> Probe {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.sent.insert(id, (pair, is_subject));
        Probe { id, hop: self.pairs.get(pair).map_or(0, |pair| pair.hop), is_subject }
    }

    /// Of this window: the latest probe whose number leaves this remainder.
    pub(crate) fn latest(&self, remainder: u32) -> Option<u32> {
        self.sent.keys().rev().copied().find(|id| super::super::quote::remainder(*id) == remainder)
    }

    /// Later than its window it does not count.
    pub(crate) fn answered(&mut self, id: u32, answer: Answer) {
        let Some((pair, is_subject)) = self.sent.get(&id) else { return };
        let Some(pair) = self.pairs.get_mut(*pair) else { return };
        let place = if *is_subject { &mut pair.subject } else { &mut pair.control };
        *place = place.or(Some(answer));
    }

    /// Takes what the last window showed for what it is.
    fn settle(&mut self) {
        let mut of_hops: BTreeMap<usize, (u32, u32)> = BTreeMap::new();
        for pair in std::mem::take(&mut self.pairs) {
            self.search.push(pair.hop, pair.subject, pair.control);
            let (pairs, answers) = of_hops.entry(pair.hop).or_default();
            *pairs += 1;
            *answers += u32::from(pair.control.is_some());
        }
        for (hop, (pairs, answers)) in of_hops {
            if let Some(quota) = self.quotas.get_mut(hop) {
                quota.learn(pairs, answers);
            }
        }
        self.sent.clear();
        self.events.clear();
        self.at = 0;
    }

    fn open_window(&mut self, now_ns: u64) -> Result<(), End> {
        let mut units: Vec<usize> = Vec::new();
        for hop in self.search.open() {
            let asked = self.quotas.get(hop).filter(|quota| quota.silent < SILENT).map_or(0, |quota| quota.pairs);
            units.extend(std::iter::repeat_n(hop, asked as usize));
        }
        if units.is_empty() {
            return Err(End::Told);
        }
        if now_ns.saturating_add(PERIOD_NS) > self.deadline_ns {
            return Err(End::Time);
        }
        let slot_ns = if self.overload.is_some() { SLOT_NS } else { QUIET_SLOT_NS };
        let span_ns = SPAN_NS.max(2 * slot_ns * units.len() as u64);
        let lead_ns = self.overload.map_or(0, |overload| overload.lead_ns);
        let load = self.overload.map_or(0, |overload| {
            (overload.packets_per_second * (lead_ns + span_ns + TAIL_NS) as f64 / 1e9).ceil() as u64
        });
        let bytes = load * self.sizes.load + 2 * units.len() as u64 * self.sizes.probe;
        if bytes > self.bytes_left {
            return Err(End::Bytes);
        }
        self.bytes_left -= bytes;
        self.bytes += bytes;
        self.windows += 1;
        self.random.shuffle(&mut units);
        let slot_ns = span_ns / (2 * units.len() as u64);
        for (index, hop) in units.into_iter().enumerate() {
            let subject_first = self.random.bool();
            self.pairs.push(Pair { hop, subject: None, control: None });
            for second in [false, true] {
                let slot = 2 * index as u64 + u64::from(second);
                // Never in step with a bucket's tokens or the load's packets.
                let at_ns = now_ns + lead_ns + slot * slot_ns + self.random.u64(0..slot_ns.max(1));
                self.events.push((at_ns, Event::Probe(index, subject_first != second)));
            }
        }
        if let Some(overload) = self.overload {
            let step_ns = 1e9 / overload.packets_per_second.max(1.0);
            self.events.extend((0..load).map(|n| (now_ns + (n as f64 * step_ns) as u64, Event::Load)));
        }
        self.events.sort_by_key(|(at_ns, _)| *at_ns);
        self.begin_ns = now_ns + PERIOD_NS.max(lead_ns + span_ns + SETTLE_NS);
        Ok(())
    }
}

impl Quota {
    fn learn(&mut self, pairs: u32, answers: u32) {
        self.silent = if answers == 0 { self.silent + 1 } else { 0 };
        if answers < pairs {
            self.pairs = answers.max(1);
            self.hold = self.next_hold;
            self.next_hold = self.next_hold.saturating_mul(2);
        } else if self.hold > 0 {
            self.hold -= 1;
        } else {
            self.pairs = (2 * pairs).min(MOST_PAIRS);
        }
    }
}

/// Pairs of one hop that windows until then can hold, if it answers all of them.
pub(super) fn most_pairs(limit_ns: u64) -> u32 {
    let mut pairs = FIRST_PAIRS;
    let mut sum = 0u32;
    for _ in 0..limit_ns / PERIOD_NS {
        sum = sum.saturating_add(pairs);
        pairs = (2 * pairs).min(MOST_PAIRS);
    }
    sum
}

/// Bytes of one window with first-window pairs to so many hops.
pub(super) fn window_bytes(overload: Option<Overload>, sizes: Sizes, hops: usize) -> u64 {
    let units = hops as u64 * u64::from(FIRST_PAIRS);
    let load = overload.map_or(0.0, |overload| {
        let span_ns = SPAN_NS.max(2 * SLOT_NS * units);
        overload.packets_per_second * (overload.lead_ns + span_ns + TAIL_NS) as f64 / 1e9
    });
    load.ceil() as u64 * sizes.load + 2 * units * sizes.probe
}

/// Windows that such a number of pairs takes at Linux's rate of answers.
pub(super) fn windows_for(pairs: f64) -> u64 {
    (pairs / f64::from(FIRST_PAIRS)).ceil() as u64
}

pub(super) const REST_NS: u64 = PERIOD_NS;
