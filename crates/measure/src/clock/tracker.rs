//! The clock model of a running worker: takes exchanges one by one, in bounded memory, for as long as it runs.

use super::Exchange;
use super::model::{ClockModel, Stretch, stretches};
use super::step::Start;
use super::window::Windows;

/// Windows of 2^30 ns, 1.07 s.
const WINDOW_SHIFT: u32 = 30;
/// Windows that are refitted; older ones are frozen as lines: about 37 minutes of a running worker, a little more than the longest line.
const LIVE_WINDOWS: usize = 2048;
/// Pieces kept frozen at most, half an hour each where the clock is steady; the oldest go first.
const FROZEN_PIECES: usize = 2048;
/// New windows between two refits at most.
const PATIENCE: usize = 16;

/// Tracks one boot of one worker. A refit costs a few milliseconds at most and happens every sixteenth window, more often
/// at the start.
#[derive(Clone, Debug)]
pub struct ClockTracker {
    live: Windows,
    /// Finished parts, older than everything in `live`.
    frozen: Vec<Stretch>,
    frozen_until: Option<i64>,
    /// Steps of parts no longer kept.
    forgotten_steps: u32,
    /// How what is live begins.
    resume: Start,
    late: u64,
    model: Option<ClockModel>,
    new_windows: usize,
    latest: Option<Exchange>,
    /// The latest exchange cannot be true by the model: a clock was stepped since the last refit, or one stamp is wrong.
    in_doubt: bool,
}

impl Default for ClockTracker {
    fn default() -> ClockTracker {
        ClockTracker::new()
    }
}

impl ClockTracker {
    pub fn new() -> ClockTracker {
        ClockTracker {
            live: Windows::new(WINDOW_SHIFT),
            frozen: Vec::new(),
            frozen_until: None,
            forgotten_steps: 0,
            resume: Start::Seam,
            late: 0,
            model: None,
            new_windows: 0,
            latest: None,
            in_doubt: false,
        }
    }

    /// Takes one exchange and refits from time to time. Exchanges come in about the order of server time; one that is older
    /// than what is frozen by now is ignored.
    pub fn add(&mut self, exchange: Exchange) {
        if self.frozen_until.is_some_and(|until| exchange.t2.0 <= until) {
            self.late += 1;
            return;
        }
        let opened = self.live.add(&exchange);
        self.new_windows += usize::from(opened);
        self.latest = Some(exchange);
        self.in_doubt |= self.model.as_ref().is_some_and(|model| model.excludes(&exchange));
        let patience = if self.in_doubt { 1 } else { PATIENCE };
        if self.new_windows >= (self.live.len() / 8).clamp(1, patience) {
            self.refit();
        }
    }

    /// Refits now, so that [`ClockTracker::model`] knows all that was added.
    pub fn refit(&mut self) {
        self.new_windows = 0;
        let live = stretches(&self.live.bounds());
        if self.live.len() > LIVE_WINDOWS {
            self.freeze(live);
        } else {
            self.publish(live);
        }
        self.in_doubt = match (&self.model, &self.latest) {
            (Some(model), Some(latest)) => model.excludes(latest),
            _ => false,
        };
    }

    /// The model where it can be believed of the present: not between a clock's step and the refit that has found it.
    pub fn settled_model(&self) -> Option<&ClockModel> {
        self.model.as_ref().filter(|_| !self.in_doubt)
    }

    /// `None` until the first usable exchange.
    pub fn model(&self) -> Option<&ClockModel> {
        self.model.as_ref()
    }

    /// Exchanges that came too late to be used.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn publish(&mut self, mut live: Vec<Stretch>) {
        if let Some(first) = live.first_mut() {
            first.start = self.resume;
        }
        let all = self.frozen.iter().cloned().chain(live).collect();
        self.model = ClockModel::assemble(all, self.forgotten_steps, self.live.discarded);
    }

    /// Moves the older half of the pieces out of the refitted part, at least one, never the last one.
    fn freeze(&mut self, mut live: Vec<Stretch>) {
        if let Some(first) = live.first_mut() {
            first.start = self.resume;
        }
        let pieces: usize = live.iter().map(|stretch| stretch.pieces.len()).sum();
        let mut wanted = pieces.div_ceil(2).min(pieces.saturating_sub(1));
        for stretch in live {
            // What stays begins with a step only where it begins with a whole stretch.
            self.resume = if wanted == 0 { stretch.start } else { Start::Seam };
            let taken: Vec<_> = stretch.pieces.iter().take(wanted).cloned().collect();
            let whole = taken.len() == stretch.pieces.len();
            wanted -= taken.len();
            self.frozen.extend(Stretch::new(stretch.start, taken));
            if !whole {
                break;
            }
        }
        if let Some(until) = self.frozen.last().map(Stretch::last) {
            self.frozen_until = Some(until);
            self.live.forget_before(until.saturating_add(1));
        }
        while self.frozen.iter().map(|stretch| stretch.pieces.len()).sum::<usize>() > FROZEN_PIECES {
            let oldest = self.frozen.remove(0);
            self.forgotten_steps += u32::from(oldest.start.is_step());
        }
        self.publish(stretches(&self.live.bounds()));
    }
}
