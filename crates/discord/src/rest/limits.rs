//! Discord's rate limits as the answers' headers tell them (reference, "Rate Limits"): buckets that several routes may
//! share, and one limit over all. No clock and no waiting: the caller says what time it is and sleeps.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// A route without its changing parts, and the one part (channel, guild, webhook) that limits are kept apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// Method and template: `POST /channels/{}/messages`.
    pub route: &'static str,
    pub major: u64,
}

/// What one answer said of limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    pub bucket: Option<String>,
    pub remaining: Option<u32>,
    pub reset_after: Option<Duration>,
    /// Only of a 429.
    pub retry_after: Option<Duration>,
    pub global: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    remaining: u32,
    resets_at: Duration,
}

/// Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Limits {
    /// Which bucket a route turned out to be in.
    buckets: HashMap<RouteKey, String>,
    windows: HashMap<(String, u64), Window>,
    /// Limits of routes whose bucket is not known, which a 429 alone can tell.
    routes: HashMap<RouteKey, Duration>,
    everything_until: Duration,
    /// When the latest requests took their turns.
    latest: VecDeque<Duration>,
}

/// A deployment has some channels for each worker; more than this is forgotten rather than kept for ever.
const MOST: usize = 4096;
/// A 429 without a time, and the least wait after any, so that no answer makes a loop.
const UNTOLD: Duration = Duration::from_secs(5);
const LEAST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Discord allows a bot 50 requests a second in all and announces it in no header; what jitter draws together stays below as well.
const MOST_PER_SECOND: usize = 40;
const SECOND: Duration = Duration::from_secs(1);
/// Headers tell a reset to the millisecond, rounded.
const ROUNDING: Duration = Duration::from_millis(1);
/// Two answers mean the same window if their resets are no further apart.
const SAME: Duration = Duration::from_millis(250);

impl Limits {
    /// Takes one request's turn, or says how long to wait before asking again.
    pub fn take(&mut self, key: RouteKey, now: Duration) -> Result<(), Duration> {
        let route = self.routes.get(&key).copied().unwrap_or_default();
        let until = self.everything_until.max(route);
        if until > now {
            return Err(until - now);
        }
        while self.latest.front().is_some_and(|taken| now.saturating_sub(*taken) >= SECOND) {
            self.latest.pop_front();
        }
        if let Some(oldest) = self.latest.front().filter(|_| self.latest.len() >= MOST_PER_SECOND) {
            return Err(SECOND.saturating_sub(now.saturating_sub(*oldest)));
        }
        let window = self.buckets.get(&key).and_then(|bucket| self.windows.get_mut(&(bucket.clone(), key.major)));
        if let Some(window) = window {
            if window.resets_at <= now {
                // Until the next answer says more, one request tries the new window.
                window.remaining = 1;
                window.resets_at = now + LEAST;
            }
            match window.remaining.checked_sub(1) {
                Some(left) => window.remaining = left,
                None => return Err(window.resets_at - now),
            }
        }
        self.latest.push_back(now);
        Ok(())
    }

    /// Learns from an answer.
    pub fn learn(&mut self, key: RouteKey, headers: &Headers, now: Duration) {
        if self.windows.len() > MOST || self.routes.len() > MOST {
            self.windows.retain(|_, window| window.resets_at > now);
            self.routes.retain(|_, until| *until > now);
        }
        if let (Some(bucket), Some(remaining), Some(reset_after)) =
            (&headers.bucket, headers.remaining, headers.reset_after)
        {
            if self.buckets.len() > MOST {
                self.buckets.clear();
            }
            self.buckets.insert(key, bucket.clone());
            let resets_at = now + reset_after.min(LONGEST) + ROUNDING;
            let place = (bucket.clone(), key.major);
            let known = self.windows.get(&place).filter(|known| known.resets_at.abs_diff(resets_at) < SAME);
            // Requests may be under way of which this answer knows nothing, and an older answer may come late.
            let remaining = known.map_or(remaining, |known| known.remaining.min(remaining));
            self.windows.insert(place, Window { remaining, resets_at });
        }
    }

    /// Learns from a 429; answers with how long it forbids.
    pub fn refused(&mut self, key: RouteKey, headers: &Headers, now: Duration) -> Duration {
        self.learn(key, headers, now);
        let wait = headers.retry_after.unwrap_or(UNTOLD).clamp(LEAST, LONGEST);
        if headers.global {
            self.everything_until = self.everything_until.max(now + wait);
        } else {
            self.routes.insert(key, now + wait);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: RouteKey = RouteKey { route: "POST /channels/{}/messages", major: 1 };
    const GET: RouteKey = RouteKey { route: "GET /channels/{}/messages", major: 1 };
    const ELSEWHERE: RouteKey = RouteKey { route: "POST /channels/{}/messages", major: 2 };

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn told(remaining: u32, reset_after: u64) -> Headers {
        Headers {
            bucket: Some("b".to_owned()),
            remaining: Some(remaining),
            reset_after: Some(seconds(reset_after)),
            ..Headers::default()
        }
    }

    #[test]
    fn an_empty_bucket_waits_for_its_reset_and_others_do_not() {
        let mut limits = Limits::default();
        assert_eq!(limits.take(POST, seconds(0)), Ok(()));
        limits.learn(POST, &told(1, 5), seconds(0));
        assert_eq!(limits.take(POST, seconds(1)), Ok(()));
        assert_eq!(limits.take(POST, seconds(1)), Err(seconds(4) + ROUNDING));
        assert_eq!(limits.take(ELSEWHERE, seconds(1)), Ok(()));
        // The next window admits one until its answer came.
        assert!(limits.take(POST, seconds(5)).is_err());
        assert_eq!(limits.take(POST, seconds(5) + ROUNDING), Ok(()));
        assert!(limits.take(POST, seconds(5) + ROUNDING).is_err());
    }

    #[test]
    fn routes_that_share_a_bucket_share_its_limit() {
        let mut limits = Limits::default();
        limits.learn(POST, &told(1, 5), seconds(0));
        limits.learn(GET, &told(0, 5), seconds(0));
        assert_eq!(limits.take(POST, seconds(1)), Err(seconds(4) + ROUNDING));
    }

    #[test]
    fn an_older_answer_gives_nothing_back() {
        let mut limits = Limits::default();
        limits.learn(POST, &told(1, 5), seconds(0));
        assert_eq!(limits.take(POST, seconds(1)), Ok(()));
        limits.learn(POST, &told(2, 4), seconds(1));
        assert!(limits.take(POST, seconds(1)).is_err());
        limits.learn(POST, &told(2, 5), seconds(6));
        assert_eq!(limits.take(POST, seconds(6)), Ok(()));
    }

    #[test]
    fn all_requests_together_stay_below_what_discord_allows_a_bot() {
        let mut limits = Limits::default();
        let at = |request: u64| Duration::from_millis(request * 5);
        let key = |major| RouteKey { major, ..GET };
        (0..MOST_PER_SECOND as u64).for_each(|request| assert_eq!(limits.take(key(request), at(request)), Ok(())));
        assert_eq!(limits.take(key(99), at(40)), Err(SECOND - at(40)));
        assert_eq!(limits.take(key(99), SECOND), Ok(()));
        assert_eq!(limits.take(key(98), SECOND), Err(at(1)));
    }

    #[test]
    fn a_global_refusal_holds_everything_and_a_routes_own_only_it() {
        let mut limits = Limits::default();
        let refused = |global| Headers { retry_after: Some(Duration::from_millis(1500)), global, ..Headers::default() };
        assert_eq!(limits.refused(POST, &refused(false), seconds(0)), Duration::from_millis(1500));
        assert_eq!((limits.take(POST, seconds(1)), limits.take(GET, seconds(1))), (Err(seconds(1) / 2), Ok(())));
        limits.refused(GET, &refused(true), seconds(10));
        assert_eq!(limits.take(ELSEWHERE, seconds(10)), Err(Duration::from_millis(1500)));
    }

    #[test]
    fn a_refusal_without_a_time_is_no_reason_to_come_back_at_once() {
        let mut limits = Limits::default();
        assert_eq!(limits.refused(POST, &Headers::default(), seconds(0)), UNTOLD);
        let now = Headers { retry_after: Some(Duration::ZERO), ..Headers::default() };
        assert_eq!(limits.refused(GET, &now, seconds(0)), LEAST);
        assert!(limits.take(GET, seconds(0)).is_err());
    }
}
