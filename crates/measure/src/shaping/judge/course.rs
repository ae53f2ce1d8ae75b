//! How evidence grew, for people who ask why.

use model::report::{CoursePoint, Log10E};

/// At most 32 points of the e-values' course, evenly spaced: when there are more, every other one goes.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) points: Vec<CoursePoint>,
    every: u64,
    units: u64,
}

impl Default for Course {
    fn default() -> Course {
        Course { points: Vec::new(), every: 1, units: 0 }
    }
}

impl Course {
    const MOST: usize = 32;

    pub(super) fn push(&mut self, pairs: u64, log10_e: impl FnOnce() -> Log10E) {
        self.units += 1;
        if !self.units.is_multiple_of(self.every) {
            return;
        }
        self.points.push(CoursePoint { pairs, log10_e: log10_e() });
        if self.points.len() == Course::MOST {
            self.every *= 2;
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
    }
}
