//! A flag that wakes whoever waits for it, and waiting for an instant unless the flag comes first.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use net::Clock;

/// The last stretch before an instant is slept by the precise clock; before that the flag must be able to wake us.
const PRECISE_NS: u64 = 3_000_000;

#[derive(Debug, Default)]
pub(crate) struct Flag {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Flag {
    pub(crate) fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the flag was set within that time.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let guard = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, timeout, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sleeps until the instant on the monotonic clock. False: the flag was set first.
    pub(crate) fn sleep_until(&self, due_ns: u64) -> bool {
        loop {
            let left = due_ns.saturating_sub(Clock::monotonic_ns());
            if left > PRECISE_NS {
                if self.wait(Duration::from_nanos(left - PRECISE_NS)) {
                    return false;
                }
            } else {
                net::pacing::sleep_until(due_ns);
                return !self.is_set();
            }
        }
    }
}
