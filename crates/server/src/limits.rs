//! Bounds against strangers and runaway senders: token buckets, a per-source limiter, the anti-replay window.

use std::collections::HashMap;
use std::net::IpAddr;

/// A token bucket over a caller-supplied monotonic clock.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate_per_second: f64,
    burst: f64,
    tokens: f64,
    updated_ns: u64,
}

impl Bucket {
    /// Starts full.
    pub fn new(rate_per_second: f64, burst: f64, now_ns: u64) -> Bucket {
        Bucket { rate_per_second, burst, tokens: burst, updated_ns: now_ns }
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let elapsed = now_ns.saturating_sub(self.updated_ns) as f64 / 1e9;
        self.updated_ns = self.updated_ns.max(now_ns);
        self.tokens = (self.tokens + elapsed * self.rate_per_second).min(self.burst);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            true
        } else {
            false
        }
    }
}

/// One bucket for each source (an IPv4 address or an IPv6 /64), bounded in number: when full, strangers share one bucket.
#[derive(Debug)]
pub struct SourceLimiter {
    rate_per_second: f64,
    burst: f64,
    sources: HashMap<IpAddr, Bucket>,
    overflow: Bucket,
}

const MAX_SOURCES: usize = 4096;

impl SourceLimiter {
    pub fn new(rate_per_second: f64, burst: f64, now_ns: u64) -> SourceLimiter {
        let overflow = Bucket::new(rate_per_second * 10.0, burst * 10.0, now_ns);
        SourceLimiter { rate_per_second, burst, sources: HashMap::new(), overflow }
    }

    pub fn allow(&mut self, source: IpAddr, now_ns: u64) -> bool {
        let source = network_of(source);
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            // A full bucket is one that was left alone for a while: forgetting it changes nothing.
            let (rate, burst) = (self.rate_per_second, self.burst);
            self.sources.retain(|_, bucket| {
                bucket.tokens + now_ns.saturating_sub(bucket.updated_ns) as f64 / 1e9 * rate < burst
            });
            if self.sources.len() >= MAX_SOURCES {
                return self.overflow.take(now_ns);
            }
        }
        let (rate, burst) = (self.rate_per_second, self.burst);
        self.sources.entry(source).or_insert_with(|| Bucket::new(rate, burst, now_ns)).take(now_ns)
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    }
}

/// What the anti-replay window (RFC 6479 in spirit) says of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    New,
    /// Seen before, within the window: a network duplicate or a replay; either way not to be answered.
    Duplicate,
    /// Before the window.
    TooOld,
}

const WINDOW: u32 = 4096;

/// Remembers the last 4096 sequence numbers of one session.
#[derive(Debug)]
pub struct ReplayWindow {
    highest: Option<u32>,
    bits: Box<[u64; (WINDOW / 64) as usize]>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        ReplayWindow { highest: None, bits: Box::new([0; (WINDOW / 64) as usize]) }
    }
}

impl ReplayWindow {
    /// Call only for authenticated sequence numbers, or a stranger moves the window.
    pub fn check(&mut self, sequence: u32) -> Freshness {
        let slot = |sequence: u32| (((sequence % WINDOW) / 64) as usize, 1u64 << (sequence % 64));
        match self.highest {
            Some(highest) if sequence <= highest => {
                if highest - sequence >= WINDOW {
                    return Freshness::TooOld;
                }
                let (word, bit) = slot(sequence);
                if self.bits[word] & bit != 0 {
                    return Freshness::Duplicate;
                }
                self.bits[word] |= bit;
            }
            highest => {
                let first = highest.map_or(0, |h| h + 1);
                if sequence - first >= WINDOW {
                    self.bits.fill(0);
                } else {
                    for skipped in first..=sequence {
                        let (word, bit) = slot(skipped);
                        self.bits[word] &= !bit;
                    }
                }
                let (word, bit) = slot(sequence);
                self.bits[word] |= bit;
                self.highest = Some(sequence);
            }
        }
        Freshness::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_knows_new_duplicate_and_old() {
        let mut window = ReplayWindow::default();
        for sequence in [0, 1, 5, 3, 4000, 2] {
            assert_eq!(window.check(sequence), Freshness::New, "{sequence}");
            assert_eq!(window.check(sequence), Freshness::Duplicate, "{sequence}");
        }
        assert_eq!(window.check(4095 + 5), Freshness::New);
        // 4100 - 4095 = 5 is the oldest number still inside.
        assert_eq!(window.check(5), Freshness::Duplicate);
        assert_eq!(window.check(4), Freshness::TooOld);
        assert_eq!(window.check(u32::MAX - 1), Freshness::New);
        assert_eq!(window.check(4100), Freshness::TooOld);
    }

    #[test]
    fn each_number_of_a_shuffled_window_is_new_once() {
        let mut window = ReplayWindow::default();
        // 2741 is coprime to 4096, so this visits every number below 4096 once.
        let order: Vec<u32> = (0..4096u32).map(|i| i * 2741 % 4096).collect();
        assert!(order.iter().all(|s| window.check(*s) == Freshness::New));
        assert!(order.iter().all(|s| window.check(*s) == Freshness::Duplicate));
    }

    #[test]
    fn a_source_is_held_to_its_rate_and_others_are_not() {
        let mut limiter = SourceLimiter::new(10.0, 5.0, 0);
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert_eq!((0..100).filter(|_| limiter.allow(a, 0)).count(), 5);
        assert!(limiter.allow(b, 0));
        assert_eq!((0..100).filter(|_| limiter.allow(a, 200_000_000)).count(), 2);
        let (c, d): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!((0..100).filter(|i| limiter.allow(if i % 2 == 0 { c } else { d }, 0)).count(), 5);
    }

    #[test]
    fn ten_thousand_sources_do_not_grow_the_table_without_bound() {
        let mut limiter = SourceLimiter::new(1.0, 2.0, 0);
        for i in 0..10_000u32 {
            limiter.allow(IpAddr::from(i.to_be_bytes()), 0);
        }
        assert!(limiter.sources.len() <= MAX_SOURCES);
    }
}
