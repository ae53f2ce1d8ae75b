//! The first pass: pairs of a probe and its answer, which give round-trip times and the clock.

use std::collections::{BTreeMap, HashMap};

use model::report::Clock;
use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, Tos, UnixNanos};

use crate::clock::{ClockFitter, ClockModel, Delay, Exchange};
use crate::delay::round_trip_ns;

/// Round-trip times, ns, by the class of either direction.
pub(super) type RoundTrips = BTreeMap<(Direction, Family, Kind, Tos), Vec<f64>>;

/// One half of a pair, waiting for the other.
struct Waiting {
    direction: Direction,
    sent: UnixNanos,
    received: UnixNanos,
    tos: Tos,
}

pub(super) struct Pairs {
    waiting: HashMap<(SessionId, u32), Waiting>,
    round_trips: RoundTrips,
    /// Per family: from `clock` sessions, and from probes.
    fitters: BTreeMap<(Family, bool), ClockFitter>,
}

impl Pairs {
    pub(super) fn new() -> Pairs {
        Pairs { waiting: HashMap::new(), round_trips: RoundTrips::new(), fitters: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        let Some(received) = sample.received_at else { return };
        if sample.direction == Direction::RoundTrip {
            return;
        }
        let key = (sample.session, sample.sequence);
        let this = Waiting { direction: sample.direction, sent: sample.sent_at, received, tos: sample.tos_sent };
        let Some(other) = self.waiting.remove(&key) else {
            self.waiting.insert(key, this);
            return;
        };
        let (up, down) = if this.direction == Direction::Up { (&this, &other) } else { (&other, &this) };
        if up.direction == down.direction {
            // The same sample twice; not this pass's to judge.
            self.waiting.insert(key, other);
            return;
        }
        let exchange = Exchange { t1: up.sent, t2: up.received, t3: down.sent, t4: down.received };
        let (family, kind) = (sample.family, sample.kind);
        if kind != Kind::Clock
            && let Some(ns) = round_trip_ns(&exchange)
        {
            for (direction, tos) in [(Direction::Up, up.tos), (Direction::Down, down.tos)] {
                self.round_trips.entry((direction, family, kind, tos)).or_default().push(ns as f64);
            }
        }
        // A middlebox that answers itself has its own idea of who sent what; a TCP stamp is that of a connection.
        if !sample.flags.has(SampleFlags::INTERCEPTED) && !kind.is_tcp() {
            let fitter = self.fitters.entry((family, kind == Kind::Clock)).or_insert_with(ClockFitter::new);
            fitter.add(&exchange);
        }
    }

    pub(super) fn finish(self) -> (Clocks, RoundTrips) {
        let mut models = Vec::new();
        for family in Family::ALL {
            // Sessions of other kinds have their own ports, hence possibly their own routes: one kind alone is steadier.
            let dedicated = self.fitters.get(&(family, true)).filter(|fitter| fitter.windows() >= ENOUGH_WINDOWS);
            let chosen = dedicated.or(self.fitters.get(&(family, false))).or(self.fitters.get(&(family, true)));
            models.extend(chosen.and_then(ClockFitter::fit));
        }
        models.sort_by(|a, b| typical_uncertainty(a).total_cmp(&typical_uncertainty(b)));
        (Clocks { models }, self.round_trips)
    }
}

/// Windows with a `clock` exchange that make other kinds needless.
const ENOUGH_WINDOWS: usize = 3;
/// The better clock is left where the other one's uncertainty is smaller by this factor: where the better one has a gap.
const CLEARLY_WORSE: f64 = 2.0;

fn typical_uncertainty(model: &ClockModel) -> f64 {
    let mut all: Vec<f64> = model.segments().iter().map(|segment| segment.uncertainty_ns).collect();
    crate::delay::nearest_rank(&mut all, 0.5).unwrap_or(f64::INFINITY)
}

/// The worker's one clock, as seen over each family, the less uncertain one first.
pub(super) struct Clocks {
    models: Vec<ClockModel>,
}

impl Clocks {
    pub(super) fn summary(&self) -> Option<Clock> {
        self.models.first().map(ClockModel::summary)
    }

    /// One-way delay of a sample; `None` if it was lost, is a round trip, or there is no clock.
    pub(super) fn delay(&self, direction: Direction, sent: UnixNanos, received: UnixNanos) -> Option<Delay> {
        let delay = |model: &ClockModel| match direction {
            Direction::Up => model.owd_up(sent, received),
            Direction::Down => model.owd_down(sent, received),
            Direction::RoundTrip => None,
        };
        let mut delays = self.models.iter().filter_map(delay);
        let first = delays.next()?;
        let better = |other: &Delay| other.uncertainty_ns * CLEARLY_WORSE < first.uncertainty_ns;
        Some(delays.find(better).unwrap_or(first))
    }
}
