//! Cuts the exchanges where a clock was stepped. Cutting too often costs accuracy only: bounds of one stretch are never
//! applied to another, so what is stated stays true. Cutting too seldom is found as contradicting bounds.

use super::RATE_LIMIT;
use super::window::{Bounds, span};
use crate::delay::nearest_rank;

/// Bounds contradict each other by more than this before a step is proven: 1 ms. Smaller steps are not looked for.
const PROOF_NS: f64 = 1e6;
/// Exchanges on the far side before a contradiction is a step and not an outlier (two at the end of the data).
const CONFIRMATIONS: usize = 3;
/// Windows on either side that are compared for steps smaller than the round trip.
const GROUP: usize = 5;
/// Windows on either side whose smallest round trip says what the link is like without queues.
const NEIGHBOURHOOD: usize = 30;
/// A suspected step is at least this large: 2 ms.
const SUSPICION_NS: f64 = 2e6;
/// Nothing is carried across a silence longer than this: 300 s.
const SILENCE_NS: f64 = 3e11;

/// How a stretch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the data, after a silence, or where older parts were frozen.
    Seam,
    /// A clock was stepped: the bounds before and after contradict each other.
    Step,
    /// A clock was stepped by less than the round trip: both directions changed by the same amount against each other.
    SmallStep,
    /// Both directions changed against each other, not quite by the same amount: a changed route or a step. Not counted as a
    /// step, but nothing is concluded across it.
    Suspicion,
}

impl Start {
    pub(super) fn is_step(self) -> bool {
        matches!(self, Start::Step | Start::SmallStep)
    }
}

/// Exchanges between which no clock was stepped, in order of server time.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) start: Start,
    pub(super) windows: Vec<Bounds>,
}

/// Cuts exchanges in order of server time. No run is empty.
pub(super) fn cut(windows: &[Bounds]) -> Vec<Run> {
    let mut runs = Vec::new();
    for run in prove(windows) {
        for run in suspect(run) {
            split_at_silences(trim(run), &mut runs);
        }
    }
    runs
}

/// The offsets that are possible now, in ns relative to `reference`.
struct Track {
    reference: i64,
    at: i64,
    low: f64,
    high: f64,
    own: Vec<usize>,
}

impl Track {
    fn new(index: usize, bounds: &Bounds) -> Track {
        let reference = bounds.middle();
        Track {
            reference,
            at: bounds.at,
            low: (bounds.lower - reference) as f64,
            high: (bounds.upper - reference) as f64,
            own: vec![index],
        }
    }

    /// The possible offsets at a later time: they widen at the rate by which clocks may drift apart.
    fn widened(&self, at: i64) -> (f64, f64) {
        let drift = RATE_LIMIT * span(at, self.at).abs();
        (self.low - drift, self.high + drift)
    }

    fn admits(&self, bounds: &Bounds) -> bool {
        let (low, high) = self.widened(bounds.at);
        (bounds.upper - self.reference) as f64 >= low - PROOF_NS
            && (bounds.lower - self.reference) as f64 <= high + PROOF_NS
    }

    fn take(&mut self, index: usize, bounds: &Bounds) {
        let (low, high) = self.widened(bounds.at);
        let low = low.max((bounds.lower - self.reference) as f64);
        let high = high.min((bounds.upper - self.reference) as f64);
        (self.low, self.high) = (low.min(high), low.max(high));
        self.at = bounds.at;
        self.own.push(index);
    }

    fn last_own(&self) -> usize {
        self.own.last().copied().unwrap_or(0)
    }
}

/// Proven steps: offsets before and after that cannot be the same clock's, whatever the routes and queues did and even
/// if the clocks drifted apart as fast as [`RATE_LIMIT`]. A few contradicting exchanges among agreeing ones are outliers.
fn prove(windows: &[Bounds]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let Some(first) = windows.first() else { return runs };
    let mut start = Start::Seam;
    let mut current = Track::new(0, first);
    let mut rival: Option<Track> = None;
    let mut misses = 0;
    // What fits both sides, until it is known whether there are two.
    let mut shared: Vec<usize> = Vec::new();
    for (index, bounds) in windows.iter().enumerate().skip(1) {
        let fits = current.admits(bounds);
        match &mut rival {
            None if fits => current.take(index, bounds),
            None => {
                rival = Some(Track::new(index, bounds));
                misses = 0;
            }
            Some(other) => match (fits, other.admits(bounds)) {
                (true, true) => shared.push(index),
                (true, false) => {
                    current.take(index, bounds);
                    misses += 1;
                    if misses == CONFIRMATIONS {
                        rival = None;
                        current.own.append(&mut shared);
                    }
                }
                (false, true) => {
                    other.take(index, bounds);
                    misses = 0;
                }
                (false, false) => {
                    rival = Some(Track::new(index, bounds));
                    misses = 0;
                }
            },
        }
        let confirmed = rival.as_ref().is_some_and(|other| other.own.len() >= CONFIRMATIONS);
        let at_end = index + 1 == windows.len()
            && rival.as_ref().is_some_and(|other| other.own.len() >= 2 && other.own[0] > current.last_own());
        if (confirmed || at_end)
            && let Some(mut other) = rival.take()
        {
            let boundary = current.last_own();
            other.own.extend(shared.drain(..).filter(|index| *index > boundary));
            // One exchange alone, contradicted by all that follow, is an outlier too.
            if current.own.len() > 1 {
                runs.push(run_of(windows, start, current.own));
                start = Start::Step;
            }
            current = other;
        }
    }
    if rival.is_some() {
        current.own.append(&mut shared);
    }
    runs.push(run_of(windows, start, current.own));
    runs
}

fn run_of(windows: &[Bounds], start: Start, mut indices: Vec<usize>) -> Run {
    indices.sort_unstable();
    Run { start, windows: indices.into_iter().map(|index| windows[index]).collect() }
}

/// Steps smaller than the round trip contradict no bound. They show as both directions changing at once by the same
/// amount against each other, so that the round trip stays what it was; a queue or a changed route does not do that.
fn suspect(run: Run) -> Vec<Run> {
    let Run { start, windows } = run;
    let mut runs = Vec::new();
    let mut begin = 0;
    let mut begin_start = start;
    let mut middle = 0;
    while middle < windows.len() {
        let Some(mut best) = suspicion(&windows, begin, middle) else {
            middle += 1;
            continue;
        };
        for later in middle + 1..(best.resume + GROUP).min(windows.len()) {
            if let Some(other) = suspicion(&windows, begin, later)
                && other.excess > best.excess
            {
                best = other;
            }
        }
        runs.push(Run { start: begin_start, windows: windows[begin..best.end].to_vec() });
        begin = best.resume;
        begin_start = if best.round_trip_kept { Start::SmallStep } else { Start::Suspicion };
        middle = begin;
    }
    runs.push(Run { start: begin_start, windows: windows[begin..].to_vec() });
    runs
}

struct Suspicion {
    /// How far the change goes beyond what queues and drift explain, ns.
    excess: f64,
    round_trip_kept: bool,
    /// The last window before it ends here, the first after it is there; between them are those that straddle it.
    end: usize,
    resume: usize,
}

/// Compares the windows before and after one window.
fn suspicion(windows: &[Bounds], begin: usize, middle: usize) -> Option<Suspicion> {
    let at = windows[middle].at;
    let local = &windows[begin.max(middle.saturating_sub(GROUP))..(middle + 1 + GROUP).min(windows.len())];
    let mut round_trips = [0.0; 2 * GROUP + 1];
    for (place, bounds) in round_trips.iter_mut().zip(local) {
        *place = bounds.round_trip();
    }
    // Exchanges that straddle a step lie within one round trip. They belong to neither side, and where the step is
    // backward their round trips look short.
    let reach = nearest_rank(&mut round_trips[..local.len()], 0.5)?;
    let straddles = |bounds: &&Bounds| span(bounds.at, at).abs() < reach;
    let end = middle - windows[begin..middle].iter().rev().take_while(straddles).count();
    let resume = middle + 1 + windows[middle + 1..].iter().take_while(straddles).count();
    let before = windows.get(begin.max(end.saturating_sub(GROUP))..end)?;
    let after = windows.get(resume..(resume + GROUP).min(windows.len()))?;
    if before.len() < 3 || after.len() < 3 {
        return None;
    }
    let cost = |bounds: &Bounds| bounds.round_trip() / 2.0 + RATE_LIMIT * span(bounds.at, at).abs();
    let cheapest = |group: &[Bounds]| group.iter().copied().min_by(|a, b| cost(a).total_cmp(&cost(b)));
    let (b, a) = (cheapest(before)?, cheapest(after)?);
    let change = (a.middle() - b.middle()) as f64;
    let drift = RATE_LIMIT * span(a.at, b.at);
    if change.abs() <= SUSPICION_NS + drift {
        return None;
    }
    let far_before = &windows[begin.max(end.saturating_sub(NEIGHBOURHOOD))..end];
    let far_after = &windows[resume..(resume + NEIGHBOURHOOD).min(windows.len())];
    let mut round_trips: Vec<f64> = far_before.iter().chain(far_after).map(Bounds::round_trip).collect();
    let quiet = nearest_rank(&mut round_trips, 0.0)?;
    let usual = nearest_rank(&mut round_trips, 0.5)?;
    // A queue of q ns moves the middle by q/2 at most; the link without queues may be a little faster than seen.
    let queues = (a.round_trip() + b.round_trip()) / 2.0 - quiet + 0.25 * (usual - quiet);
    let excess = change.abs() - SUSPICION_NS - drift - queues;
    let nearer_a = |w: &&Bounds| (w.middle() - a.middle()).abs() < (w.middle() - b.middle()).abs();
    let agree = before.iter().filter(|w| !nearer_a(w)).count() * 5 >= before.len() * 4
        && after.iter().filter(nearer_a).count() * 5 >= after.len() * 4;
    let round_trip_change = (a.round_trip() - b.round_trip()).abs();
    let round_trip_kept = round_trip_change <= (0.15 * change.abs()).max(5e5);
    (excess > 0.0 && agree).then_some(Suspicion { excess, round_trip_kept, end, resume })
}

/// Drops exchanges at a run's ends that the rest of the run contradicts: those that straddle a step or lie on its other
/// side, but whose queues were too long to prove it.
fn trim(run: Run) -> Run {
    const ENDS: usize = 3;
    let Run { start, mut windows } = run;
    if windows.len() < 4 * ENDS {
        return Run { start, windows };
    }
    let inner = &windows[ENDS..windows.len() - ENDS];
    let Some(best) = inner.iter().copied().min_by(|a, b| a.round_trip().total_cmp(&b.round_trip())) else {
        return Run { start, windows };
    };
    let ends = [inner[0], inner[inner.len() - 1]];
    windows = windows
        .iter()
        .enumerate()
        .filter(|(index, bounds)| {
            if (ENDS..windows.len() - ENDS).contains(index) {
                return true;
            }
            // Against the nearest inner exchange; queues and drift explain what they can.
            let near = if *index < ENDS { ends[0] } else { ends[1] };
            let queues = (bounds.round_trip() + near.round_trip()) / 2.0 - best.round_trip();
            let drift = RATE_LIMIT * span(bounds.at, near.at).abs();
            (bounds.middle() - near.middle()).abs() as f64 <= SUSPICION_NS + queues.max(0.0) + drift
        })
        .map(|(_, bounds)| *bounds)
        .collect();
    Run { start, windows }
}

fn split_at_silences(run: Run, out: &mut Vec<Run>) {
    let mut start = run.start;
    let mut begin = 0;
    for index in 1..=run.windows.len() {
        if index == run.windows.len() || span(run.windows[index].at, run.windows[index - 1].at) > SILENCE_NS {
            out.push(Run { start, windows: run.windows[begin..index].to_vec() });
            begin = index;
            start = Start::Seam;
        }
    }
}
