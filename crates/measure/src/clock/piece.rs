//! Lines through stretches without steps. A crystal's skew changes with its temperature (5 to 30 us/s and drifting), so a
//! stretch is cut into pieces until a line fits each.

use super::hull::{self, Point};
use super::window::{Bounds, span};
use super::{RATE_LIMIT, STAMP_NOISE_NS};

/// A line is not drawn further than this: 30 min.
const LONGEST_NS: f64 = 1.8e12;
/// Nor are pieces shorter than this made where the line fits badly: 15 s, 16 windows.
const SHORTEST_NS: f64 = 1.5e10;
const FEWEST: usize = 16;
/// What is left of the uncertainty where pieces are worth it.
const IMPROVEMENT: f64 = 0.95;
/// Rate by which uncertainty grows where there are no exchanges any more, beyond the line's own: 100 ppm.
const EXTRAPOLATION_RATE: f64 = 1e-4;
/// Least rate by which it grows between exchanges: 10 ppm.
const DRIFT_RATE: f64 = 1e-5;

/// An offset kept exact: whole nanoseconds that may span decades, plus a small rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExactOffset {
    pub(super) whole: i64,
    pub(super) rest: f64,
    pub(super) uncertainty: f64,
}

impl ExactOffset {
    /// `reading + offset` on the other clock, rounded to the nanosecond.
    pub(super) fn apply(&self, reading: i64) -> i64 {
        reading.saturating_add(self.whole).saturating_add(self.rest as i64)
    }
}

/// At `at` the line is wrong by at most `bound` ns.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    at: i64,
    bound: f64,
}

/// The line of one piece, and what proves it.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) first: i64,
    pub(super) last: i64,
    base_at: i64,
    base_offset: i64,
    intercept: f64,
    pub(super) slope: f64,
    /// Uncertainty grows at this rate with the distance from an anchor.
    rate: f64,
    anchors: Vec<Anchor>,
    pub(super) exchanges: usize,
    /// Smallest delays against the line, ns.
    pub(super) shortest_up: f64,
    pub(super) shortest_down: f64,
    /// Largest round trip, ns.
    pub(super) longest: f64,
    /// By how much the smallest round trip exceeds the sum of the smallest delays against the line, ns: what the line misses
    /// (and queues that never emptied in both directions at once).
    misfit: f64,
}

impl Piece {
    /// Fits one line; `windows` is not empty.
    fn fit(windows: &[Bounds]) -> Option<Piece> {
        let (first, last) = (windows.first()?, windows.last()?);
        let (base_at, base_offset) = (first.at, first.middle());
        let point = |at: i64, offset: i64| -> Point { (span(at, base_at), (offset - base_offset) as f64) };
        let upper: Vec<Point> = windows.iter().map(|w| point(w.at, w.upper)).collect();
        let lower: Vec<Point> = windows.iter().map(|w| point(w.at, w.lower)).collect();
        let line = hull::fit(&upper, &lower, RATE_LIMIT)?;
        let shortest = windows.iter().map(Bounds::round_trip).fold(f64::INFINITY, f64::min);
        let length = span(last.at, first.at);
        // Within the room another line may tilt by room / length. Where there is little room, no line may be true.
        let limit = RATE_LIMIT + line.slope.abs();
        let is_line = length > 0.0 && line.room > shortest / 2.0;
        let rate = if is_line { (shortest / length + DRIFT_RATE).min(limit) } else { limit };
        let anchors = windows.iter().map(|w| {
            let (x, upper) = point(w.at, w.upper);
            let (_, lower) = point(w.at, w.lower);
            let at_line = line.intercept + line.slope * x;
            // The bounds were read half a round trip away from `at`, and stamps have a grain.
            let slack = (line.slope.abs() + rate) * w.round_trip() + STAMP_NOISE_NS;
            Anchor { at: w.at, bound: (upper - at_line).max(at_line - lower).max(0.0) + slack }
        });
        Some(Piece {
            first: first.at,
            last: last.at,
            base_at,
            base_offset,
            intercept: line.intercept,
            slope: line.slope,
            rate,
            anchors: envelope(anchors.collect(), rate),
            exchanges: windows.len(),
            shortest_up: line.room / 2.0,
            shortest_down: line.room / 2.0,
            longest: windows.iter().map(Bounds::round_trip).fold(0.0, f64::max),
            misfit: shortest - line.room,
        })
    }

    pub(super) fn offset_at(&self, at: i64) -> ExactOffset {
        ExactOffset {
            whole: self.base_offset,
            rest: self.intercept + self.slope * span(at, self.base_at),
            uncertainty: self.uncertainty_at(at),
        }
    }

    fn uncertainty_at(&self, at: i64) -> f64 {
        // No anchor is within reach of another one, so the nearest on either side decides.
        let right = self.anchors.partition_point(|anchor| anchor.at < at);
        let near = self.anchors[right.saturating_sub(1)..(right + 1).min(self.anchors.len())].iter();
        let inside =
            near.map(|anchor| anchor.bound + self.rate * span(at, anchor.at).abs()).fold(f64::INFINITY, f64::min);
        let outside = span(self.first, at).max(span(at, self.last)).max(0.0);
        inside + EXTRAPOLATION_RATE * outside
    }

    /// The largest uncertainty between the first and the last exchange, ns.
    pub(super) fn largest_uncertainty(&self) -> f64 {
        let between = self
            .anchors
            .windows(2)
            .map(|pair| (pair[0].bound + pair[1].bound + self.rate * span(pair[1].at, pair[0].at)) / 2.0);
        between.fold(self.uncertainty_at(self.first).max(self.uncertainty_at(self.last)), f64::max)
    }
}

/// Leaves the anchors that matter: those that no other one makes (nearly) needless. Leaving one out only widens the
/// uncertainty, by at most the tolerance per pass.
fn envelope(mut anchors: Vec<Anchor>, rate: f64) -> Vec<Anchor> {
    let smallest = anchors.iter().map(|anchor| anchor.bound).fold(f64::INFINITY, f64::min);
    let tolerance = 0.02 * smallest;
    for _ in 0..2 {
        let mut kept: Option<Anchor> = None;
        anchors.retain(|anchor| {
            let needless =
                kept.is_some_and(|k| k.bound + rate * span(anchor.at, k.at).abs() <= anchor.bound + tolerance);
            if !needless {
                kept = Some(*anchor);
            }
            !needless
        });
        anchors.reverse();
    }
    anchors
}

/// Fits a run of exchanges without steps, which is not empty: one line, or halves of halves where these are less
/// uncertain. Then the misfit was the clock's; where it was the queues', shorter pieces are no better.
pub(super) fn pieces(windows: &[Bounds]) -> Vec<Piece> {
    let Some(whole) = Piece::fit(windows) else { return Vec::new() };
    let length = span(whole.last, whole.first);
    let tolerance = (0.02 * (whole.shortest_up + whole.shortest_down)).max(1e5);
    if windows.len() < 2 * FEWEST || length < 2.0 * SHORTEST_NS || (whole.misfit <= tolerance && length <= LONGEST_NS) {
        return vec![whole];
    }
    let middle = windows.partition_point(|w| span(w.at, whole.first) < length / 2.0);
    let (left, right) = windows.split_at(middle);
    let mut halves = pieces(left);
    let parts = halves.len();
    halves.extend(pieces(right));
    let sum = |pieces: &[Piece], windows: &[Bounds]| -> f64 {
        let mut pieces = pieces.iter().peekable();
        let uncertainty = |w: &Bounds| {
            while pieces.peek().is_some_and(|piece| piece.last < w.at) {
                pieces.next();
            }
            pieces.peek().map_or(0.0, |piece| piece.uncertainty_at(w.at))
        };
        windows.iter().map(uncertainty).sum()
    };
    let in_halves = sum(&halves[..parts], left) + sum(&halves[parts..], right);
    let better = in_halves < IMPROVEMENT * sum(std::slice::from_ref(&whole), windows);
    if length > LONGEST_NS || better { halves } else { vec![whole] }
}
