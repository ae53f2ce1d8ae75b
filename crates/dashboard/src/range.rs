//! Which stretch of time a page shows, and in how many buckets.

use model::{UnixNanos, WorkerName};
use serde::{Deserialize, Serialize};
use store::Period;

use crate::answer::Refusal;

const SECOND: i64 = 1_000_000_000;
/// Up to so long minutes are read, beyond it hours: what a page reads stays bounded.
const MINUTES_UP_TO_S: i64 = 2 * 86_400;
/// Of all cities at once, and only their sums: a day of twenty cities has a million minutes of classes.
const SUMS_OF_MINUTES_UP_TO_S: i64 = 6 * 3600;
/// The most buckets of one series.
pub(crate) const BUCKETS: i64 = 360;
const LONGEST_S: i64 = 20 * 366 * 86_400;

/// As it comes: whole seconds since the epoch; the last hour unless told.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    pub since: Option<i64>,
    pub until: Option<i64>,
}

/// As it is answered: rounded out to whole buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Range {
    /// Start of the first bucket.
    pub since: i64,
    /// End of the last bucket.
    pub until: i64,
    /// Length of a bucket.
    pub step_s: i64,
    /// Length of the sums it is made of: 60 or 3600; 0: of the samples themselves.
    pub period_s: i64,
}

/// Ranges up to this long may be drawn from samples, in buckets of seconds.
const FINE_UP_TO_S: i64 = 20 * 60;
const FINE_BUCKETS: i64 = 180;

impl Range {
    pub(crate) fn new(asked: Asked, now: UnixNanos) -> Result<Range, Refusal> {
        Range::with_buckets(asked, now, BUCKETS)
    }

    /// For answers that have sums over the whole range and no buckets.
    pub(crate) fn of_sums(asked: Asked, now: UnixNanos) -> Result<Range, Refusal> {
        Range::made(asked, now, BUCKETS, SUMS_OF_MINUTES_UP_TO_S)
    }

    pub(crate) fn with_buckets(asked: Asked, now: UnixNanos, buckets: i64) -> Result<Range, Refusal> {
        Range::made(asked, now, buckets, MINUTES_UP_TO_S)
    }

    fn made(asked: Asked, now: UnixNanos, buckets: i64, minutes_up_to_s: i64) -> Result<Range, Refusal> {
        let until = asked.until.unwrap_or(now.0.div_euclid(SECOND) + 1);
        let since = asked.since.unwrap_or(until.saturating_sub(3600));
        if !(0..=i64::MAX / SECOND).contains(&since) || since >= until || until - since > LONGEST_S {
            return Err(Refusal::bad(
                "since and until are seconds since 1970, since before until, at most 20 years apart",
            ));
        }
        let period_s = if until - since <= minutes_up_to_s { 60 } else { 3600 };
        let sums = (until - since + period_s - 1) / period_s;
        let step_s = period_s * ((sums + buckets - 1) / buckets).max(1);
        let since = since.div_euclid(step_s) * step_s;
        let until = (until + step_s - 1).div_euclid(step_s) * step_s;
        Ok(Range { since, until, step_s, period_s })
    }

    /// The same stretch in buckets of seconds, where it is short enough to read its samples.
    pub(crate) fn fine(&self) -> Option<Range> {
        let span = self.until - self.since;
        let step_s = ((span + FINE_BUCKETS - 1) / FINE_BUCKETS).max(2);
        let whole = (span + step_s - 1) / step_s * step_s;
        (span <= FINE_UP_TO_S).then_some(Range { until: self.since + whole, step_s, period_s: 0, ..*self })
    }

    pub(crate) fn period(&self) -> Period {
        if self.period_s == Period::Minute.seconds() { Period::Minute } else { Period::Hour }
    }

    pub(crate) fn since_ns(&self) -> UnixNanos {
        UnixNanos(self.since.saturating_mul(SECOND))
    }

    pub(crate) fn until_ns(&self) -> UnixNanos {
        UnixNanos(self.until.saturating_mul(SECOND))
    }

    pub(crate) fn buckets(&self) -> usize {
        ((self.until - self.since) / self.step_s) as usize
    }

    pub(crate) fn bucket(&self, at: UnixNanos) -> Option<usize> {
        let index = (at.0.div_euclid(SECOND) - self.since).div_euclid(self.step_s);
        usize::try_from(index).ok().filter(|index| *index < self.buckets())
    }

    /// Starts of all buckets.
    pub(crate) fn times(&self) -> Vec<i64> {
        (0..self.buckets() as i64).map(|index| self.since + index * self.step_s).collect()
    }
}

/// A worker's name as it comes in a query.
pub(crate) fn worker(name: &str) -> Result<WorkerName, Refusal> {
    WorkerName::new(name).map_err(|error| Refusal::bad(error.to_string()))
}

/// Milliseconds with microseconds: more says nothing and costs bytes.
pub(crate) fn ms(ns: f64) -> f64 {
    (ns / 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(since: i64, until: i64) -> Range {
        Range::new(Asked { since: Some(since), until: Some(until) }, UnixNanos(0)).map_err(|_| ()).unwrap()
    }

    #[test]
    fn buckets_cover_what_was_asked_and_stay_bounded() {
        for (since, until) in [(0, 1), (59, 61), (1_000_003, 1_086_400), (1_000_000, 1_000_000 + 30 * 86_400)] {
            let found = range(since, until);
            assert!(found.since <= since && found.until >= until, "{found:?}");
            assert!(found.buckets() as i64 <= BUCKETS + 1 && found.step_s % found.period_s == 0, "{found:?}");
            assert_eq!(found.bucket(found.since_ns()), Some(0));
            assert_eq!(found.bucket(found.until_ns()), None);
            assert_eq!(found.times().len(), found.buckets());
        }
        assert_eq!(range(0, 3600).period_s, 60);
        assert_eq!(range(0, 8 * 86_400).period_s, 3600);
        let day = Asked { since: Some(0), until: Some(86_400) };
        assert_eq!(range(0, 86_400).period_s, 60);
        assert_eq!(Range::of_sums(day, UnixNanos(0)).map(|range| range.period_s).map_err(|_| ()), Ok(3600));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (since, until) in [(5, 5), (6, 5), (-1, 5), (0, i64::MAX), (i64::MAX, i64::MAX)] {
            assert!(Range::new(Asked { since: Some(since), until: Some(until) }, UnixNanos(0)).is_err());
        }
    }
}
