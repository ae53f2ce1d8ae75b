//! Whether this process itself was late: a bot whose event loop stands still measures itself and calls it Discord.
//!
//! A timer on the same loop says when it woke; what it woke late by is a stall, and every exchange that overlaps one is
//! flagged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often the timer is due, and by how much it may be late: a loaded host schedules a process some milliseconds late
/// without any fault of the program's.
const PERIOD: Duration = Duration::from_millis(20);
pub const TOLERANCE: Duration = Duration::from_millis(20);
/// Stalls are remembered longer than any exchange lasts.
const MEMORY: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    from: Instant,
    until: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    stalls: VecDeque<Stall>,
    count: u64,
    longest: Duration,
}

/// Cheap to clone; all clones know the same stalls.
#[derive(Clone, Debug, Default)]
pub struct Stalls(Arc<Mutex<Seen>>);

impl Stalls {
    /// Watches for ever; to be run on the loop that is watched.
    pub async fn watch(&self) {
        loop {
            let due = Instant::now() + PERIOD;
            tokio::time::sleep_until(due).await;
            self.woke(due, Instant::now());
        }
    }

    fn woke(&self, due: Instant, now: Instant) {
        let late = now.saturating_duration_since(due);
        if late <= TOLERANCE {
            return;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        seen.longest = seen.longest.max(late);
        while seen.stalls.front().is_some_and(|stall| now.saturating_duration_since(stall.until) > MEMORY) {
            seen.stalls.pop_front();
        }
        seen.stalls.push_back(Stall { from: due, until: now });
    }

    /// Whether the loop stood still at any time between the two.
    pub fn overlap(&self, from: Instant, until: Instant) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.stalls.iter().any(|stall| stall.from < until && from < stall.until)
    }

    /// How many there were, and the longest.
    pub fn total(&self) -> (u64, Duration) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.count, seen.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_during_a_stall_is_told_from_one_after_it() {
        let stalls = Stalls::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        stalls.woke(at(0), at(20));
        assert_eq!(stalls.total().0, 0);
        stalls.woke(at(100), at(400));
        assert_eq!(stalls.total(), (1, Duration::from_millis(300)));
        assert!(
            stalls.overlap(at(50), at(120)) && stalls.overlap(at(200), at(210)) && stalls.overlap(at(390), at(500))
        );
        assert!(!stalls.overlap(at(0), at(100)) && !stalls.overlap(at(400), at(500)));
    }

    #[tokio::test]
    async fn a_blocked_loop_is_seen_from_within() {
        let stalls = Stalls::default();
        let (watched, from) = (stalls.clone(), Instant::now());
        let watch = tokio::spawn(async move { watched.watch().await });
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(100));
        let until = Instant::now();
        while stalls.total().0 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(stalls.overlap(from, until));
        watch.abort();
    }
}
