//! A link in virtual time between a server with a true clock and a worker whose clock is skewed and stepped. Everything
//! random comes from the seed.
#![allow(dead_code, unreachable_pub)]

use measure::Exchange;
use model::UnixNanos;

pub const MS: f64 = 1e6;
pub const SECOND: f64 = 1e9;
/// Some day in 2026.
pub const EPOCH: i64 = 1_790_000_000_000_000_000;

/// xorshift64*, independent of the generator under test.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0..1
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

/// A clock against true time: `true time + error(true time)`.
#[derive(Clone, Default)]
pub struct Oscillator {
    pub offset_ns: f64,
    pub skew_ppm: f64,
    /// Rate of change of the skew, ppm per second.
    pub drift_ppm_per_s: f64,
    /// (true time since the start, change) in ns.
    pub steps: Vec<(f64, f64)>,
    /// (from, until, extra ppm): what a time daemon slews.
    pub slews: Vec<(f64, f64, f64)>,
}

impl Oscillator {
    /// Reading at `at` ns after the start, relative to [`EPOCH`].
    pub fn read(&self, at: f64) -> f64 {
        let seconds = at / SECOND;
        let skewed = self.skew_ppm * seconds * 1e3 + self.drift_ppm_per_s * seconds * seconds / 2.0 * 1e3;
        let stepped: f64 = self.steps.iter().filter(|(when, _)| at >= *when).map(|(_, by)| by).sum();
        let slewed: f64 =
            self.slews.iter().map(|(from, until, ppm)| (at.clamp(*from, *until) - from) * ppm / 1e6).sum();
        at + self.offset_ns + skewed + stepped + slewed
    }
}

type Delay = Box<dyn Fn(f64) -> f64>;

/// Extra delay by true time, ns.
pub fn nothing() -> Delay {
    Box::new(|_| 0.0)
}

/// A queue that fills from `from` to `top` until the middle and empties again until `until`.
pub fn ramp(from: f64, until: f64, top: f64) -> Delay {
    Box::new(move |at| {
        let middle = (from + until) / 2.0;
        let height = 1.0 - (at - middle).abs() / (middle - from);
        top * height.max(0.0)
    })
}

/// Another route from `from` on.
pub fn route_change(from: f64, by: f64) -> Delay {
    Box::new(move |at| if at >= from { by } else { 0.0 })
}

pub struct Link {
    pub server: Oscillator,
    pub worker: Oscillator,
    pub base_up: f64,
    pub base_down: f64,
    /// Mean of the exponential queueing delay.
    pub jitter_up: f64,
    pub jitter_down: f64,
    pub extra_up: Delay,
    pub extra_down: Delay,
}

impl Link {
    pub fn symmetric(base: f64, jitter: f64) -> Link {
        Link {
            server: Oscillator::default(),
            worker: Oscillator::default(),
            base_up: base,
            base_down: base,
            jitter_up: jitter,
            jitter_down: jitter,
            extra_up: nothing(),
            extra_down: nothing(),
        }
    }
}

/// One probe and its answer, with the truth.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub exchange: Exchange,
    pub delay_up: f64,
    pub delay_down: f64,
    /// True time of sending, ns since the start.
    pub at: f64,
}

impl Link {
    /// A probe and its answer that start at true time `at`.
    pub fn exchange(&self, at: f64, random: &mut Random) -> Event {
        let stamp = |clock: &Oscillator, at: f64| UnixNanos(EPOCH + clock.read(at) as i64);
        let delay_up = self.base_up + (self.extra_up)(at) + random.exponential(self.jitter_up);
        let received = at + delay_up;
        let answered = received + 20_000.0;
        let delay_down = self.base_down + (self.extra_down)(answered) + random.exponential(self.jitter_down);
        let exchange = Exchange {
            t1: stamp(&self.worker, at),
            t2: stamp(&self.server, received),
            t3: stamp(&self.server, answered),
            t4: stamp(&self.worker, answered + delay_down),
        };
        Event { exchange, delay_up, delay_down, at }
    }

    /// Exchanges at a constant rate.
    pub fn run(&self, seconds: f64, per_second: f64, seed: u64) -> Vec<Event> {
        let mut random = Random::new(seed);
        let count = (seconds * per_second) as usize;
        (0..count).map(|i| self.exchange(i as f64 / per_second * SECOND, &mut random)).collect()
    }
}
