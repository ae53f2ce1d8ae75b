//! How much more often the subject is lost than the control.

use super::Interval;
use super::betting::Signs;

/// Of p(subject lost) - p(control lost), a share.
#[derive(Clone, Debug)]
pub struct LossDifference {
    alpha: f64,
    signs: Signs,
}

impl LossDifference {
    pub fn new(alpha: f64) -> LossDifference {
        LossDifference { alpha: alpha.clamp(1e-12, 0.5), signs: Signs::default() }
    }

    pub fn push(&mut self, subject_lost: bool, control_lost: bool) {
        match (subject_lost, control_lost) {
            (true, false) => self.signs.plus += 1,
            (false, true) => self.signs.minus += 1,
            _ => self.signs.zero += 1,
        }
    }

    /// Differs by less than `margin`, at all times.
    pub fn is_within(&self, margin: f64) -> bool {
        self.signs.are_within(margin, self.alpha)
    }

    /// -1 to 1 before the first pair.
    pub fn interval(&self) -> Interval {
        if self.signs.count() == 0 {
            return Interval { estimate: 0.0, low: -1.0, high: 1.0 };
        }
        Interval { estimate: self.signs.mean(), low: self.signs.lower(self.alpha), high: self.signs.upper(self.alpha) }
    }
}
