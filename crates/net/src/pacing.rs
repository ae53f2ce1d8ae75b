//! Waiting for a planned instant on a plain thread. An async runtime's timer misses by milliseconds.

use crate::clock::Clock;
use crate::error::NetError;

/// Returns once CLOCK_MONOTONIC has reached `monotonic_ns` ([`Clock::monotonic_ns`]); at once if it already has. Signals
/// do not end the wait.
pub fn sleep_until(monotonic_ns: u64) {
    let until = libc::timespec {
        tv_sec: libc::time_t::try_from(monotonic_ns / 1_000_000_000).unwrap_or(libc::time_t::MAX),
        tv_nsec: (monotonic_ns % 1_000_000_000) as _,
    };
    while Clock::monotonic_ns() < monotonic_ns {
        // SAFETY: reads one live timespec; with TIMER_ABSTIME the remaining time is not written.
        let result =
            unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &until, std::ptr::null_mut()) };
        if result != 0 && result != libc::EINTR {
            // Only a malformed time gets here, and none is made above; do not spin on it.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// How late the kernel may wake this thread (and threads it starts later), to save power; 50 us unless set. 1 for pacing.
pub fn set_timer_slack(nanoseconds: u64) -> Result<(), NetError> {
    let value = libc::c_ulong::try_from(nanoseconds).unwrap_or(libc::c_ulong::MAX);
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory of ours.
    match unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, value) } {
        0 => Ok(()),
        _ => Err(NetError::last("setting the timer slack of", "this thread")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_returns_early_and_not_late_for_the_past() {
        for _ in 0..20 {
            let until = Clock::monotonic_ns() + 300_000;
            sleep_until(until);
            assert!(Clock::monotonic_ns() >= until);
        }
        sleep_until(0);
        sleep_until(Clock::monotonic_ns());
    }

    #[test]
    fn a_signal_does_not_end_the_wait() {
        extern "C" fn ignore(_: libc::c_int) {}
        // SAFETY: installs a handler that does nothing; no other test of this process uses SIGUSR2.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
        }
        // SAFETY: pthread_self has no preconditions.
        let sleeper = unsafe { libc::pthread_self() } as usize;
        let started = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let until = Clock::monotonic_ns() + 20_000_000;
            scope.spawn(|| {
                started.wait();
                for _ in 0..10 {
                    sleep_until(Clock::monotonic_ns() + 1_000_000);
                    // SAFETY: the scope keeps the sleeping thread alive until this one has ended.
                    unsafe { libc::pthread_kill(sleeper as libc::pthread_t, libc::SIGUSR2) };
                }
            });
            started.wait();
            sleep_until(until);
            assert!(Clock::monotonic_ns() >= until);
        });
    }

    #[test]
    fn timer_slack_is_set() {
        set_timer_slack(1).unwrap();
        // SAFETY: PR_GET_TIMERSLACK takes nothing and returns the slack.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }, 1);
    }
}
