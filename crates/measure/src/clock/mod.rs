//! The worker's clock against the server's: offset, skew and steps from two-way exchanges, and one-way delays with
//! their uncertainty. The server's timeline is the axis everywhere; no clock is read here.
//!
//! 1. Every exchange bounds the offset: `t3 - t4 <= offset <= t2 - t1`, because no delay is negative. Of every window of
//!    about a second the exchange with the smallest round trip is kept (`window`).
//! 2. The sequence is cut where a clock was stepped (`step`).
//! 3. Between steps a line is fitted on the convex hulls of both directions (`hull`), in pieces as the skew changes
//!    (`piece`).
//! 4. At an exchange the line is wrong by at most its distance from the farther bound: half the round trip where the
//!    line is in the middle, whatever the asymmetry of the route. Between exchanges that grows with the distance in time
//!    at the rate by which another line could tilt within the bounds. This is the stated uncertainty.
//!
//! What it cannot cover: a step smaller than the queue of its moment hides in it until the queue empties, and a step in the
//! first or last moments (fewer than two windows on one side) is taken for an outlier.

mod hull;
mod model;
mod piece;
mod step;
mod tracker;
mod window;

use ::model::UnixNanos;

pub(crate) use model::ClockFitter;
pub use model::ClockModel;
pub use tracker::ClockTracker;

/// Clocks drift apart by at most 600 ppm: 500 ppm is what Linux lets `adjtimex` slew, the rest is the crystals'. Whatever
/// is faster is a step.
const RATE_LIMIT: f64 = 6e-4;
/// What a kernel stamp may be wrong by, ns (p99 seen on veth: 2 us).
const STAMP_NOISE_NS: f64 = 2e3;

/// One two-way exchange. `t1` and `t4` are readings of the worker's clock, `t2` and `t3` of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The worker sent the probe.
    pub t1: UnixNanos,
    /// The server received it.
    pub t2: UnixNanos,
    /// The server sent the answer.
    pub t3: UnixNanos,
    /// The worker received it.
    pub t4: UnixNanos,
}

/// A time in which one line describes the clocks. Segments follow one another without gaps; only some begin with a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockSegment {
    /// Server time. The first segment also serves everything before it.
    pub from: UnixNanos,
    /// Server time. The last segment also serves everything after it.
    pub until: UnixNanos,
    /// The server's clock minus the worker's at `reference`, ns.
    pub offset_ns: f64,
    /// Server time of the segment's first exchange.
    pub reference: UnixNanos,
    /// How much the offset grows, in us per second of server time: positive where the server's clock is the faster one.
    pub skew_ppm: f64,
    /// The offset is wrong by at most this anywhere between the segment's first and last exchange, ns.
    pub uncertainty_ns: f64,
    /// Exchanges the line rests on, after thinning.
    pub exchanges: usize,
    /// The segment begins with a step of a clock.
    pub after_step: bool,
}

/// The server's clock minus the worker's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// To the precision of an `f64`: 256 ns where the clocks are 50 years apart.
    pub offset_ns: f64,
    /// The true offset lies within `offset_ns` plus or minus this.
    pub uncertainty_ns: f64,
}

/// A one-way delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    pub ns: f64,
    /// The true delay lies within `ns` plus or minus this.
    pub uncertainty_ns: f64,
    /// The clock was stepped about then and the packet fits both sides; the uncertainty covers both.
    pub ambiguous: bool,
}
