//! When a number that comes and goes is worth a message: above one bound for some time, and over only once it was below a lower
//! bound for some time (hysteresis, as a Schmitt trigger has it). Pure: the time is an argument.

/// Bounds of a number, in any unit, and how long it must be beyond them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Raised at or above this.
    pub raise: f64,
    /// Cleared below this; not above `raise`.
    pub clear: f64,
    /// Seconds.
    pub raise_after_s: i64,
    pub clear_after_s: i64,
}

/// Looks further apart than this say nothing of the time in between: what was about to turn begins anew.
pub const LONGEST_GAP_S: i64 = 180;

/// Where one number stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    pub raised: bool,
    /// Since when it has been beyond the bound that would turn it, in seconds since the epoch.
    pub turning_since_s: Option<i64>,
    /// The last look, in seconds since the epoch.
    pub seen_s: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Raised,
    Cleared,
}

impl Course {
    /// A look at the number now. Without a number there is no look: nothing is known, so nothing turns.
    pub fn see(&mut self, value: f64, now_s: i64, band: &Band) -> Option<Turn> {
        let gap = now_s - self.seen_s > LONGEST_GAP_S;
        self.seen_s = now_s;
        let (beyond, after_s) = match self.raised {
            false => (value >= band.raise, band.raise_after_s),
            true => (value < band.clear, band.clear_after_s),
        };
        if !beyond {
            self.turning_since_s = None;
            return None;
        }
        let since = self.turning_since_s.filter(|_| !gap).unwrap_or(now_s);
        self.turning_since_s = Some(since);
        if now_s - since < after_s {
            return None;
        }
        self.raised = !self.raised;
        self.turning_since_s = None;
        Some(if self.raised { Turn::Raised } else { Turn::Cleared })
    }

    /// Neither raised nor about to be: nothing of it needs remembering.
    pub fn is_quiet(&self) -> bool {
        !self.raised && self.turning_since_s.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAND: Band = Band { raise: 300.0, clear: 240.0, raise_after_s: 300, clear_after_s: 600 };

    /// A value each minute; the turns with their minutes.
    fn turns(values: impl IntoIterator<Item = f64>) -> Vec<(i64, Turn)> {
        let mut course = Course::default();
        let look = |(minute, value)| {
            let minute = minute as i64;
            course.see(value, 1_000_000 + 60 * minute, &BAND).map(|turn| (minute, turn))
        };
        values.into_iter().enumerate().filter_map(look).collect()
    }

    #[test]
    fn it_takes_the_whole_time_to_raise_and_to_clear() {
        let values = [100.0; 3].into_iter().chain([300.0; 20]).chain([239.0; 20]);
        assert_eq!(turns(values), [(3 + 5, Turn::Raised), (23 + 10, Turn::Cleared)]);
    }

    #[test]
    fn what_comes_back_in_between_begins_anew() {
        assert_eq!(turns([300.0, 300.0, 300.0, 299.9].into_iter().cycle().take(100)), []);
        // Once raised, what lies between the bounds keeps it raised.
        let values = [400.0; 6].into_iter().chain([250.0, 239.0, 299.0].into_iter().cycle().take(90));
        assert_eq!(turns(values), [(5, Turn::Raised)]);
    }

    #[test]
    fn a_value_that_swings_about_the_bound_is_told_once() {
        let swings = (0..500).map(|minute| if minute % 7 < 4 { 305.0 } else { 295.0 });
        assert_eq!(turns([310.0; 10].into_iter().chain(swings)), [(5, Turn::Raised)]);
    }

    #[test]
    fn nothing_turns_over_a_time_in_which_nobody_looked() {
        let mut course = Course::default();
        assert_eq!(course.see(400.0, 1_000, &BAND), None);
        assert_eq!(course.see(400.0, 1_060, &BAND), None);
        // The server was away for an hour.
        assert_eq!(course.see(400.0, 4_660, &BAND), None);
        assert_eq!(course.see(400.0, 4_720, &BAND), None);
        let turned: Vec<_> =
            (2..10).filter_map(|minute| course.see(400.0, 4_660 + 60 * minute, &BAND).map(|_| minute)).collect();
        assert_eq!(turned, [5]);
    }

    #[test]
    fn without_waiting_times_each_crossing_turns() {
        let band = Band { raise: 0.5, clear: 0.5, raise_after_s: 0, clear_after_s: 0 };
        let mut course = Course::default();
        let turns: Vec<_> = [0.0, 1.0, 1.0, 0.0].into_iter().map(|value| course.see(value, 10, &band)).collect();
        assert_eq!(turns, [None, Some(Turn::Raised), None, Some(Turn::Cleared)]);
        assert!(course.is_quiet());
    }
}
