//! Confidence sequences: intervals that hold at all times at once, so that one may look after every pair and stop whenever
//! one likes. Each is a betting test turned around (Waudby-Smith and Ramdas 2024): it holds every value against which a
//! gambler would not have become rich.
//!
//! Each bound of an interval holds by itself with probability `1 - alpha`: equivalence is two one-sided tests, of which at most one can
//! be wrong (Schuirmann 1987). Read as a two-sided interval its error is at most `2 alpha`.

mod betting;
mod histogram;
mod loss;
mod shift;
mod tail;

pub use loss::LossDifference;
pub use shift::MedianShift;
pub use tail::{TAIL_SHARE, TailShift};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}
