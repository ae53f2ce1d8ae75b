//! The process's realtime clock. Every realtime reading passes through one [`Clock`], kernel stamps included, so that
//! a test can run a process whose clock is wrong by a known amount on a host whose clock is right.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use model::UnixNanos;

use crate::error::NetError;

/// Realtime as this process sees it. All clocks of one process agree; cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// `None`: the host's clock as it is.
    shift: Option<Arc<Shift>>,
    hand: Option<ClockHand>,
}

/// Moves a clock of [`Clock::by_hand`]; for tests of what happens over hours.
#[derive(Clone, Debug, Default)]
pub struct ClockHand(Arc<AtomicI64>);

impl ClockHand {
    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// How far this process's clock is off, as a function of the host's realtime.
#[derive(Clone, Debug, PartialEq)]
struct Shift {
    /// Host time that times are counted from.
    start: UnixNanos,
    steps: Vec<Step>,
    /// Gain, in nanoseconds per second and 1000.
    skew_ppm: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    by_ns: i64,
    /// After the start.
    at_ns: i64,
}

impl Clock {
    /// For tests: `step=+250ms@10s,skew=200ppm` makes the clock jump 250 ms ahead ten seconds after the process's first
    /// reading and gain 200 us a second from the start on. Several steps add up; units are ns, us, ms and s.
    pub const VARIABLE: &'static str = "NETLAT_TEST_CLOCK";

    /// The host's clock.
    pub fn identity() -> Clock {
        Clock::default()
    }

    /// The host's clock, and what moves it ahead.
    pub fn by_hand() -> (Clock, ClockHand) {
        let hand = ClockHand::default();
        (Clock { shift: None, hand: Some(hand.clone()) }, hand)
    }

    /// Shifted as [`Clock::VARIABLE`] says; the host's clock where it is not set.
    pub fn from_env() -> Result<Clock, NetError> {
        match std::env::var(Clock::VARIABLE) {
            Ok(text) => Clock::shifted(&text),
            Err(std::env::VarError::NotPresent) => Ok(Clock::identity()),
            Err(std::env::VarError::NotUnicode(_)) => Err(refused("not text")),
        }
    }

    /// As if [`Clock::VARIABLE`] were `text`.
    pub fn shifted(text: &str) -> Result<Clock, NetError> {
        static START: OnceLock<UnixNanos> = OnceLock::new();
        let start = *START.get_or_init(host_now);
        if text.trim().is_empty() {
            return Ok(Clock::identity());
        }
        Ok(Clock { shift: Some(Arc::new(Shift::parse(text, start)?)), hand: None })
    }

    pub fn now(&self) -> UnixNanos {
        self.stamp(host_now())
    }

    /// The time of a kernel stamp on this clock. To be applied once to every stamp the sockets give.
    pub fn stamp(&self, kernel: UnixNanos) -> UnixNanos {
        let moved = self.hand.as_ref().map_or(0, |hand| hand.0.load(Ordering::Relaxed));
        let shifted = self.shift.as_ref().map_or(0, |shift| shift.at(kernel));
        kernel.plus(moved + shifted)
    }

    /// Nanoseconds of CLOCK_MONOTONIC: never set, never shifted, meaningless on another host.
    pub fn monotonic_ns() -> u64 {
        let now = read(libc::CLOCK_MONOTONIC);
        (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
    }
}

fn host_now() -> UnixNanos {
    let now = read(libc::CLOCK_REALTIME);
    UnixNanos(i64::from(now.tv_sec).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as i64))
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec into a live, exclusively borrowed one. Both clocks used here always exist.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now
}

impl Shift {
    fn parse(text: &str, start: UnixNanos) -> Result<Shift, NetError> {
        let mut shift = Shift { start, steps: Vec::new(), skew_ppm: 0.0 };
        for term in text.split(',') {
            match term.trim().split_once('=') {
                Some(("step", value)) => {
                    let (by, at) = value.split_once('@').ok_or_else(|| refused("a step reads +250ms@10s"))?;
                    let (by_ns, at_ns) = (duration_ns(by)?, duration_ns(at)?);
                    if at_ns < 0 {
                        return Err(refused("a step lies at or after the start"));
                    }
                    shift.steps.push(Step { by_ns, at_ns });
                }
                Some(("skew", value)) => {
                    let number = value.strip_suffix("ppm").and_then(|number| number.parse::<f64>().ok());
                    shift.skew_ppm += number
                        .filter(|ppm| ppm.abs() <= 100_000.0)
                        .ok_or_else(|| refused("a skew reads 200ppm, at most 100000ppm either way"))?;
                }
                _ => return Err(refused("it reads step=+250ms@10s,skew=200ppm")),
            }
        }
        Ok(shift)
    }

    fn at(&self, host: UnixNanos) -> i64 {
        let elapsed = host.since(self.start);
        let stepped: i64 = self.steps.iter().filter(|step| elapsed >= step.at_ns).map(|step| step.by_ns).sum();
        stepped + (elapsed as f64 * self.skew_ppm / 1e6).round() as i64
    }
}

fn duration_ns(text: &str) -> Result<i64, NetError> {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.parse::<f64>().ok()?, scale)))
        .map(|(number, scale)| number * scale)
        // A year; also refuses infinities and NaN.
        .filter(|ns| ns.abs() <= 3.2e16)
        .map(|ns| ns.round() as i64)
        .ok_or_else(|| refused("a time reads 250ms; units are ns, us, ms and s"))
}

fn refused(why: &'static str) -> NetError {
    NetError::new("reading", Clock::VARIABLE, io::Error::new(io::ErrorKind::InvalidInput, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

    fn at(text: &str, after_ns: i64) -> i64 {
        Shift::parse(text, START).unwrap().at(START.plus(after_ns))
    }

    #[test]
    fn steps_and_skew_add_up() {
        const S: i64 = 1_000_000_000;
        assert_eq!(at("step=+250ms@10s", 10 * S - 1), 0);
        assert_eq!(at("step=+250ms@10s", 10 * S), 250_000_000);
        assert_eq!(at("step=250ms@10s,step=-1s@20s", 30 * S), -750_000_000);
        assert_eq!(at("skew=200ppm", 10 * S), 2_000_000);
        assert_eq!(at("skew=-0.5ppm", 1000 * S), -500_000);
        assert_eq!(at("step=+1.5us@0s, skew=200ppm", S), 201_500);
        assert_eq!(at("step=3ns@0ns", -1), 0);
    }

    #[test]
    fn what_does_not_read_as_a_clock_is_refused() {
        for text in [
            "250ms",
            "step=250ms",
            "step=250@10s",
            "step=1m@10s",
            "step=1s@-1s",
            "skew=200",
            "skew=xppm",
            "skew=2e9ppm",
            "drift=1ppm",
            "step=1s@1s,",
            "step=infs@1s",
            "step=NaNs@1s",
        ] {
            let error = Shift::parse(text, START).expect_err(text).to_string();
            assert!(error.starts_with("reading NETLAT_TEST_CLOCK: "), "{error}");
        }
    }

    #[test]
    fn now_and_stamps_are_shifted_alike() {
        let (shifted, host) = (Clock::shifted("step=+1000s@0s").unwrap(), Clock::identity());
        let (before, now, after) = (host.now(), shifted.now(), host.now());
        let ahead = 1_000_000_000_000;
        assert!(before.plus(ahead) <= now && now <= after.plus(ahead));
        assert_eq!(shifted.stamp(before), before.plus(ahead));
        assert_eq!(host.stamp(before), before);
    }

    #[test]
    fn a_clock_by_hand_goes_ahead_of_the_hosts() {
        let ((clock, hand), host) = (Clock::by_hand(), Clock::identity().now());
        assert_eq!(clock.stamp(host), host);
        hand.advance(std::time::Duration::from_secs(3600));
        assert_eq!(clock.clone().stamp(host), host.plus(3_600_000_000_000));
    }

    #[test]
    fn monotonic_time_does_not_go_back() {
        let before = Clock::monotonic_ns();
        assert!(Clock::monotonic_ns() >= before);
    }
}
