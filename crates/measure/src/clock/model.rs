//! The fitted clock: offsets at a time, and one-way delays of packets, also around a step.

use model::UnixNanos;
use model::report::Clock;

use super::piece::{ExactOffset, Piece, pieces};
use super::step::{Run, Start, cut};
use super::window::{Bounds, Windows, span};
use super::{ClockSegment, Delay, Exchange, Offset};

/// Windows of 2^27 ns (134 ms) for a short measurement, doubled up to 1.07 s while there are more than this.
const FINE_SHIFT: u32 = 27;
const FINE_WINDOWS: usize = 4096;
/// And doubled further only beyond this: three days of seconds.
const MOST_WINDOWS: usize = 1 << 18;
const SECOND_SHIFT: u32 = 30;
/// Alternatives closer together than this are not worth calling a packet's delay ambiguous: 1 ms.
const SAME_NS: f64 = 1e6;
/// A packet about a step may be in a queue this much longer than twice the longest round trip of any exchange: 50 ms.
const QUEUE_NS: f64 = 5e7;

/// A stretch of time without a step.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) start: Start,
    /// Not empty, in order of time.
    pub(super) pieces: Vec<Piece>,
    /// Smallest one-way delays of its exchanges, as the fit has them, ns.
    shortest_up: f64,
    shortest_down: f64,
    /// Largest of its round trips (of which the smallest of every window is kept), ns.
    longest: f64,
}

impl Stretch {
    pub(super) fn new(start: Start, pieces: Vec<Piece>) -> Option<Stretch> {
        let least = |delay: fn(&Piece) -> f64| pieces.iter().map(delay).reduce(f64::min);
        let shortest_up = least(|piece| piece.shortest_up)?;
        let shortest_down = least(|piece| piece.shortest_down)?;
        let longest = pieces.iter().map(|piece| piece.longest).fold(0.0, f64::max);
        Some(Stretch { start, pieces, shortest_up, shortest_down, longest })
    }

    pub(super) fn first(&self) -> i64 {
        self.pieces[0].first
    }

    pub(super) fn last(&self) -> i64 {
        self.pieces[self.pieces.len() - 1].last
    }

    /// How well an exchange suits this stretch: by how much its better direction exceeds the shortest delay, ns. `None` where
    /// its bounds exclude the stretch.
    fn excess(&self, bounds: &Bounds) -> Option<f64> {
        let offset = self.offset_at(bounds.at);
        let up = (bounds.upper - offset.whole) as f64 - offset.rest;
        let down = offset.rest - (bounds.lower - offset.whole) as f64;
        let allowed = up >= -offset.uncertainty && down >= -offset.uncertainty;
        allowed.then(|| (up - self.shortest_up).abs().min((down - self.shortest_down).abs()))
    }

    /// Whether an exchange suits this stretch better than the one it was first counted to.
    fn suits(&self, bounds: &Bounds, first: &Stretch) -> bool {
        self.excess(bounds).is_some_and(|here| first.excess(bounds).is_none_or(|there| here < there))
    }

    fn offset_at(&self, at: i64) -> ExactOffset {
        let index = self.pieces.partition_point(|piece| piece.first <= at);
        // Between two pieces the nearer one serves.
        let mut piece = &self.pieces[index.saturating_sub(1)];
        if let Some(next) = self.pieces.get(index)
            && span(next.first, at) < span(at, piece.last)
        {
            piece = next;
        }
        piece.offset_at(at)
    }
}

/// Collects exchanges for [`ClockModel::fit`] one by one.
#[derive(Clone, Debug)]
pub(crate) struct ClockFitter(Windows);

impl ClockFitter {
    pub(crate) fn new() -> ClockFitter {
        ClockFitter(Windows::new(FINE_SHIFT))
    }

    pub(crate) fn add(&mut self, exchange: &Exchange) {
        self.0.add(exchange);
        let limit = if self.0.shift() < SECOND_SHIFT { FINE_WINDOWS } else { MOST_WINDOWS };
        if self.0.len() > limit {
            self.0.coarsen();
        }
    }

    /// Windows with a usable exchange.
    pub(crate) fn windows(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn fit(&self) -> Option<ClockModel> {
        ClockModel::assemble(stretches(&self.0.bounds()), 0, self.0.discarded)
    }
}

/// The worker's clock against the server's over some time.
#[derive(Clone, Debug)]
pub struct ClockModel {
    /// Not empty, in order of time.
    stretches: Vec<Stretch>,
    segments: Vec<ClockSegment>,
    steps: u32,
    discarded: u64,
}

/// A packet's delay if it belongs to one stretch.
struct Candidate {
    delay: f64,
    uncertainty: f64,
    /// The smallest delay of the stretch in this direction.
    shortest: f64,
    /// Its largest round trip.
    longest: f64,
}

impl ClockModel {
    /// Fits exchanges in any order; `None` if none of them is usable. Takes time linear in their number and memory for one
    /// exchange per window.
    pub fn fit(exchanges: impl IntoIterator<Item = Exchange>) -> Option<ClockModel> {
        let mut fitter = ClockFitter::new();
        for exchange in exchanges {
            fitter.add(&exchange);
        }
        fitter.fit()
    }

    /// `steps` counts those of parts that are not among the stretches any more.
    pub(super) fn assemble(stretches: Vec<Stretch>, steps: u32, discarded: u64) -> Option<ClockModel> {
        if stretches.is_empty() {
            return None;
        }
        let found = stretches.iter().filter(|stretch| stretch.start.is_step()).count();
        let mut model = ClockModel { segments: Vec::new(), steps: steps + found as u32, discarded, stretches };
        model.segments = model.describe();
        Some(model)
    }

    fn describe(&self) -> Vec<ClockSegment> {
        let mut segments: Vec<ClockSegment> = Vec::new();
        for stretch in &self.stretches {
            for (index, piece) in stretch.pieces.iter().enumerate() {
                let middle = |a: i64, b: i64| UnixNanos(((i128::from(a) + i128::from(b)) / 2) as i64);
                let mut from = UnixNanos(piece.first);
                if let Some(last) = segments.last_mut() {
                    from = middle(last.until.0, piece.first);
                    last.until = from;
                }
                let offset = piece.offset_at(piece.first);
                segments.push(ClockSegment {
                    from,
                    until: UnixNanos(piece.last),
                    offset_ns: offset.whole as f64 + offset.rest,
                    reference: UnixNanos(piece.first),
                    skew_ppm: piece.slope * 1e6,
                    uncertainty_ns: piece.largest_uncertainty(),
                    exchanges: piece.exchanges,
                    after_step: index == 0 && stretch.start.is_step(),
                });
            }
        }
        segments
    }

    /// The offset at a server time. Outside the exchanges it is extrapolated and its uncertainty grows; about a step it is
    /// that of the nearer side.
    pub fn offset_at(&self, server_time: UnixNanos) -> Option<Offset> {
        let stretch = self.stretches.get(self.stretch_at(server_time.0))?;
        let offset = stretch.offset_at(server_time.0);
        Some(Offset { offset_ns: offset.whole as f64 + offset.rest, uncertainty_ns: offset.uncertainty })
    }

    /// Steps of either clock: proven by bounds that exclude each other, or both directions changed by the same amount
    /// against each other while the round trip stayed.
    /// By the newest stretch's offset, whatever its uncertainty, one of the exchange's delays would be negative.
    pub(super) fn excludes(&self, exchange: &Exchange) -> bool {
        let newest = self.stretches.last();
        Bounds::of(exchange).zip(newest).is_some_and(|(bounds, newest)| newest.excess(&bounds).is_none())
    }

    pub fn steps(&self) -> u32 {
        self.steps
    }

    pub fn segments(&self) -> &[ClockSegment] {
        &self.segments
    }

    /// Exchanges whose stamps cannot be true (a negative round trip, time running backwards, absurd values).
    pub fn discarded(&self) -> u64 {
        self.discarded
    }

    /// The report's line: the offset and skew at the last exchange, and every step.
    pub fn summary(&self) -> Clock {
        let last = &self.stretches[self.stretches.len() - 1];
        let offset = last.offset_at(last.last());
        let slope = last.pieces[last.pieces.len() - 1].slope;
        Clock {
            offset_ms: (offset.whole as f64 + offset.rest) / 1e6,
            uncertainty_ms: offset.uncertainty / 1e6,
            skew_ppm: slope * 1e6,
            method: "convex hulls of both directions over the exchanges with the smallest round trips".to_owned(),
            steps: self.steps,
        }
    }

    /// Delay of a packet from the worker to the server.
    ///
    /// About a step the packet may belong to either side: the worker's reading is then read both ways. A side is excluded
    /// where the packet would have been sent in the other one's time, where the delay would fall below the side's smallest
    /// delay by more than half of the step, and where it would exceed twice the side's longest round trip and 50 ms. If
    /// both remain the smaller delay is taken, and the uncertainty grows to cover the other.
    pub fn owd_up(&self, sent_worker: UnixNanos, received_server: UnixNanos) -> Option<Delay> {
        self.delay(received_server.0, sent_worker.0, span, |stretch| stretch.shortest_up)
    }

    /// Delay of a packet from the server to the worker; see [`ClockModel::owd_up`].
    pub fn owd_down(&self, sent_server: UnixNanos, received_worker: UnixNanos) -> Option<Delay> {
        self.delay(
            sent_server.0,
            received_worker.0,
            |sent, received| span(received, sent),
            |stretch| stretch.shortest_down,
        )
    }

    /// `delay_of` takes the server's reading and the worker's reading moved to the server's clock.
    fn delay(
        &self,
        server: i64,
        worker: i64,
        delay_of: fn(i64, i64) -> f64,
        shortest: fn(&Stretch) -> f64,
    ) -> Option<Delay> {
        let home = self.stretch_at(server);
        let read_in = |index: usize| -> Option<(Candidate, bool)> {
            let stretch = self.stretches.get(index)?;
            let offset = stretch.offset_at(stretch.offset_at(server).apply(worker));
            let at = offset.apply(worker);
            // The rounding of `apply` is given back.
            let rounding = offset.rest - offset.rest.trunc();
            let sign = delay_of(0, 1);
            let possible = self.may_hold(index, at, offset.uncertainty);
            let candidate = Candidate {
                delay: delay_of(server, at) + sign * rounding,
                uncertainty: offset.uncertainty,
                shortest: shortest(stretch),
                longest: stretch.longest,
            };
            Some((candidate, possible))
        };
        let at_home = read_in(home);
        let mut candidates: Vec<Candidate> = Vec::new();
        if self.stretches.len() > 1 {
            let neighbours = [home.checked_sub(1), Some(home), home.checked_add(1)];
            let read = neighbours.into_iter().flatten().filter_map(read_in);
            candidates.extend(read.filter(|(_, possible)| *possible).map(|(candidate, _)| candidate));
        }
        if candidates.len() < 2 {
            let only = candidates.pop().or(at_home.map(|(candidate, _)| candidate))?;
            return Some(Delay { ns: only.delay, uncertainty_ns: only.uncertainty, ambiguous: false });
        }
        Some(choose(&candidates))
    }

    /// Whether a reading that falls on server time `at` may have been taken within a stretch: not beyond its neighbours'
    /// nearest exchanges.
    fn may_hold(&self, index: usize, at: i64, uncertainty: f64) -> bool {
        let slack = uncertainty + SAME_NS;
        let after = index.checked_sub(1).is_none_or(|before| span(at, self.stretches[before].last()) >= -slack);
        let before = self.stretches.get(index + 1).is_none_or(|next| span(next.first(), at) >= -slack);
        after && before
    }

    /// The stretch whose exchanges are nearest to a server time.
    fn stretch_at(&self, at: i64) -> usize {
        let index = self.stretches.partition_point(|stretch| stretch.first() <= at);
        let Some(before) = index.checked_sub(1) else { return 0 };
        match self.stretches.get(index) {
            Some(next) if span(next.first(), at) < span(at, self.stretches[before].last()) => index,
            _ => before,
        }
    }
}

fn choose(candidates: &[Candidate]) -> Delay {
    let delays = || candidates.iter().map(|candidate| candidate.delay);
    let spread = delays().fold(f64::NEG_INFINITY, f64::max) - delays().fold(f64::INFINITY, f64::min);
    // A packet of another class or family may be a little faster than every exchange.
    let not_too_short = |candidate: &&Candidate| {
        let slack = (spread / 2.0).max(0.25 * candidate.shortest + SAME_NS) + candidate.uncertainty.min(spread / 2.0);
        candidate.delay >= candidate.shortest - slack
    };
    let not_too_long = |candidate: &&Candidate| candidate.delay <= 2.0 * candidate.longest + QUEUE_NS;
    let mut plausible: Vec<&Candidate> = candidates.iter().filter(not_too_short).filter(not_too_long).collect();
    if plausible.is_empty() {
        plausible = candidates.iter().filter(not_too_short).collect();
    }
    if plausible.is_empty() {
        plausible = candidates.iter().collect();
    }
    let Some(chosen) = plausible.iter().min_by(|a, b| a.delay.total_cmp(&b.delay)) else {
        return Delay { ns: 0.0, uncertainty_ns: f64::INFINITY, ambiguous: true };
    };
    let difference = plausible.iter().map(|candidate| candidate.delay - chosen.delay).fold(0.0, f64::max);
    let reach = |candidate: &&Candidate| (candidate.delay - chosen.delay).abs() + candidate.uncertainty;
    let uncertainty = plausible.iter().map(reach).fold(chosen.uncertainty, f64::max);
    Delay { ns: chosen.delay, uncertainty_ns: uncertainty, ambiguous: difference > SAME_NS }
}

/// Steps and lines of windows in order of server time.
pub(super) fn stretches(windows: &[Bounds]) -> Vec<Stretch> {
    let mut runs = cut(windows);
    let fit = |run: &Run| Stretch::new(run.start, pieces(&run.windows));
    let mut fitted: Vec<Option<Stretch>> = runs.iter().map(fit).collect();
    unite(&mut runs, &mut fitted);
    for index in 1..runs.len() {
        if runs[index].start != Start::Step {
            continue;
        }
        // In a queue, exchanges next to a step may have been counted to its other side. They are left out, so that the step
        // lies between the nearest exchanges on either side.
        let (Some(before), Some(after)) = (&fitted[index - 1], &fitted[index]) else { continue };
        let tail = runs[index - 1].windows.iter().rev().take_while(|window| after.suits(window, before)).count();
        let head = runs[index].windows.iter().take_while(|window| before.suits(window, after)).count();
        for (index, at_end, count) in [(index - 1, true, tail), (index, false, head)] {
            let windows = &mut runs[index].windows;
            if count > 0 && count < windows.len() {
                if at_end {
                    windows.truncate(windows.len() - count);
                } else {
                    windows.drain(..count);
                }
                fitted[index] = fit(&runs[index]);
            }
        }
    }
    fitted.into_iter().flatten().collect()
}

/// In a queue a step may be proven later than it is suspected (or earlier): then what lies between the two cuts is no
/// stretch of its own. It goes to the far side of the proof, if that side's line allows every exchange in it.
fn unite(runs: &mut Vec<Run>, fitted: &mut Vec<Option<Stretch>>) {
    let suspected = |start: Start| matches!(start, Start::SmallStep | Start::Suspicion);
    let allows = |stretch: &Option<Stretch>, run: &Run| {
        stretch.as_ref().is_some_and(|stretch| run.windows.iter().all(|window| stretch.excess(window).is_some()))
    };
    let mut index = 1;
    while index < runs.len() {
        let proven = runs[index].start == Start::Step;
        if proven && suspected(runs[index - 1].start) && allows(&fitted[index], &runs[index - 1]) {
            let early = runs.remove(index - 1);
            fitted.remove(index - 1);
            index -= 1;
            runs[index].windows.splice(..0, early.windows);
        } else if proven
            && runs.get(index + 1).is_some_and(|next| suspected(next.start))
            && allows(&fitted[index - 1], &runs[index])
        {
            let late = runs.remove(index);
            fitted.remove(index);
            runs[index].start = Start::Step;
            index -= 1;
            runs[index].windows.extend(late.windows);
        } else {
            index += 1;
            continue;
        }
        fitted[index] = Stretch::new(runs[index].start, pieces(&runs[index].windows));
        if let (Some(Some(next)), Some(run)) = (fitted.get_mut(index + 1), runs.get(index + 1)) {
            next.start = run.start;
        }
        index += 1;
    }
}
