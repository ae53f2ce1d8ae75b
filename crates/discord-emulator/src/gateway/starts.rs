//! Session start limits: identifies a day, and how many at a time (`max_concurrency` a window, by shard).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::id::Snowflake;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Allowed,
    /// Op 9: another identify of the same bucket is too recent.
    TooSoon,
    /// The day's identifies are used up: Discord resets the token.
    Exhausted,
}

pub struct StartStatus {
    pub remaining: u32,
    pub reset_after: Duration,
}

/// By application; there are as many as configured.
#[derive(Default)]
pub struct StartLimits {
    day: HashMap<Snowflake, (u32, Instant)>,
    recent: HashMap<(Snowflake, u64), VecDeque<Instant>>,
}

impl StartLimits {
    pub fn start(&mut self, application: Snowflake, shard: u64, limits: &Limits) -> Start {
        let now = Instant::now();
        let day = self.day.entry(application).or_insert((0, now));
        if day.1.elapsed() >= DAY {
            *day = (0, now);
        }
        if day.0 >= limits.identifies_per_day {
            return Start::Exhausted;
        }
        let window = Duration::from_millis(limits.identify_window_ms);
        let bucket = shard % limits.max_concurrency;
        let recent = self.recent.entry((application, bucket)).or_default();
        recent.retain(|at| now.duration_since(*at) < window);
        if !recent.is_empty() {
            return Start::TooSoon;
        }
        recent.push_back(now);
        day.0 += 1;
        Start::Allowed
    }

    pub fn status(&self, application: Snowflake, limits: &Limits) -> StartStatus {
        let (used, since) = self.day.get(&application).copied().unwrap_or((0, Instant::now()));
        let passed = since.elapsed();
        if passed >= DAY {
            return StartStatus { remaining: limits.identifies_per_day, reset_after: Duration::ZERO };
        }
        let reset_after = if used == 0 { Duration::ZERO } else { DAY - passed };
        StartStatus { remaining: limits.identifies_per_day.saturating_sub(used), reset_after }
    }
}
