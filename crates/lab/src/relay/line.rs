//! One direction of a delay line, without clock or socket: time is an argument, randomness comes from the seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Line;

/// Frames that may wait at once; at 20,000 a second, some three seconds' worth. More are dropped and counted.
const MAX_WAITING: usize = 65_536;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
/// Router and neighbour solicitation, advertisement and redirect (RFC 4861, section 4).
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// IP packets that came in, without neighbour discovery.
    pub arrived: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Dropped because too many were waiting.
    pub overflowed: u64,
    /// Refused by the interface they were to leave by.
    pub unsent: u64,
}

/// Frames that wait for their time.
#[derive(Debug)]
pub struct DelayLine<F> {
    settings: Line,
    random: SplitMix64,
    waiting: BinaryHeap<Reverse<Waiting<F>>>,
    arrivals: u64,
    /// When the last packet that keeps its order leaves.
    last_departure: Option<Instant>,
    pub counts: Counts,
}

impl<F: Clone> DelayLine<F> {
    pub fn new(settings: Line, seed: u64) -> DelayLine<F> {
        DelayLine {
            settings,
            random: SplitMix64(seed),
            waiting: BinaryHeap::new(),
            arrivals: 0,
            last_departure: None,
            counts: Counts::default(),
        }
    }

    /// Takes a frame in.
    pub fn take(&mut self, frame: F, treatment: Treatment, arrived: Instant) {
        if treatment == Treatment::PassedAtOnce {
            self.push(arrived, frame);
            return;
        }
        self.counts.arrived += 1;
        // The same number of draws for every packet: one decision does not shift the next ones.
        let [lost, duplicated, held, extra] = [(); 4].map(|()| self.random.next_share());
        if lost < self.settings.loss {
            self.counts.lost += 1;
            return;
        }
        let mut departure = arrived + self.settings.delay + self.settings.ipdv.mul_f64(extra);
        if held < self.settings.reorder {
            departure += self.settings.reorder_by;
            self.counts.reordered += 1;
        } else {
            departure = self.last_departure.map_or(departure, |last| departure.max(last));
            self.last_departure = Some(departure);
        }
        if duplicated < self.settings.duplicate {
            self.counts.duplicated += 1;
            self.push(departure, frame.clone());
        }
        self.push(departure, frame);
    }

    /// When the next frame is due.
    pub fn next_departure(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(first)| first.departure)
    }

    /// The next frame that is due by now, if any; call until `None`.
    pub fn release(&mut self, now: Instant) -> Option<F> {
        if self.next_departure()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(first)| first.frame)
    }

    fn push(&mut self, departure: Instant, frame: F) {
        if self.waiting.len() >= MAX_WAITING {
            self.counts.overflowed += 1;
            return;
        }
        self.arrivals += 1;
        self.waiting.push(Reverse(Waiting { departure, arrival: self.arrivals, frame }));
    }
}

/// Ordered by departure, then by arrival.
#[derive(Debug)]
struct Waiting<F> {
    departure: Instant,
    arrival: u64,
    frame: F,
}

impl<F> Waiting<F> {
    fn key(&self) -> (Instant, u64) {
        (self.departure, self.arrival)
    }
}

impl<F> PartialEq for Waiting<F> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<F> Eq for Waiting<F> {}

impl<F> PartialOrd for Waiting<F> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<F> Ord for Waiting<F> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Whether the line does to a frame what its settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Delayed,
    PassedAtOnce,
}

impl Treatment {
    /// By the frame's bytes, from the destination address on: IP is delayed, but for neighbour discovery.
    pub fn of(ethernet: &[u8]) -> Treatment {
        let ethertype = ethernet.get(12..14).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let is_icmpv6 = ethernet.get(14 + 6) == Some(&ICMPV6);
        let is_discovery = is_icmpv6 && ethernet.get(14 + 40).is_some_and(|kind| NEIGHBOUR_DISCOVERY.contains(kind));
        match ethertype {
            Some(ETHERTYPE_IPV4) => Treatment::Delayed,
            Some(ETHERTYPE_IPV6) if !is_discovery => Treatment::Delayed,
            _ => Treatment::PassedAtOnce,
        }
    }
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014).
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    fn next_share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UDP_V4: [u8; 34] = {
        let mut frame = [0; 34];
        frame[12] = 0x08;
        frame[23] = 17;
        frame
    };

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Departures (as offsets) and numbers of 1,000 packets, one each millisecond.
    fn through(settings: Line, seed: u64) -> (Vec<(Duration, u32)>, Counts) {
        let start = Instant::now();
        let mut line = DelayLine::new(settings, seed);
        for number in 0..1000u32 {
            line.take(number, Treatment::of(&UDP_V4), start + milliseconds(number.into()));
        }
        let mut departures = Vec::new();
        while let Some(due) = line.next_departure() {
            assert_eq!(line.release(due - Duration::from_nanos(1)), None);
            departures.push((due - start, line.release(due).unwrap()));
        }
        (departures, line.counts)
    }

    #[test]
    fn a_fixed_delay_is_exact_for_every_packet() {
        let (departures, counts) = through(Line { delay: milliseconds(20), ..Line::default() }, 1);
        assert_eq!(counts, Counts { arrived: 1000, ..Counts::default() });
        assert!(departures.iter().all(|(when, number)| *when == milliseconds(20 + u64::from(*number))));
        assert_eq!(departures.len(), 1000);
    }

    #[test]
    fn ipdv_stays_within_its_bounds_and_keeps_the_order() {
        let settings = Line { delay: milliseconds(20), ipdv: milliseconds(5), ..Line::default() };
        let (departures, _) = through(settings, 2);
        assert!(departures.is_sorted_by_key(|(_, number)| *number));
        for (when, number) in &departures {
            let wait = *when - milliseconds(u64::from(*number));
            assert!((milliseconds(20)..milliseconds(25)).contains(&wait), "{number}: {wait:?}");
        }
        let waits: Vec<_> = departures.iter().map(|(when, number)| *when - milliseconds(u64::from(*number))).collect();
        assert!(waits.iter().max() > waits.iter().min(), "no variation");
    }

    #[test]
    fn losses_duplicates_and_reordering_are_what_the_counts_say() {
        let settings =
            Line { loss: 0.1, duplicate: 0.05, reorder: 0.1, reorder_by: milliseconds(7), ..Line::default() };
        let (departures, counts) = through(settings.clone(), 3);
        assert!((60..140).contains(&counts.lost), "{counts:?}");
        assert!((20..80).contains(&counts.duplicated), "{counts:?}");
        assert_eq!(departures.len() as u64, 1000 - counts.lost + counts.duplicated);
        let overtaken = departures.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
        assert!(overtaken > 20 && counts.reordered >= overtaken as u64, "{overtaken} {counts:?}");
        assert_eq!(through(settings.clone(), 3), (departures, counts));
        assert_ne!(through(settings, 4).1, counts);
    }

    #[test]
    fn arp_and_neighbour_discovery_pass_at_once_and_whole() {
        let mut arp = UDP_V4;
        arp[13] = 0x06;
        let mut neighbour_solicitation = [0; 80];
        neighbour_solicitation[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
        neighbour_solicitation[20] = ICMPV6;
        neighbour_solicitation[54] = 135;
        let mut echo = neighbour_solicitation;
        echo[54] = 128;
        let now = Instant::now();
        let mut line = DelayLine::new(Line { delay: milliseconds(20), loss: 1.0, ..Line::default() }, 5);
        line.take("arp", Treatment::of(&arp), now);
        line.take("neighbour solicitation", Treatment::of(&neighbour_solicitation), now);
        line.take("echo", Treatment::of(&echo), now);
        assert_eq!(line.release(now), Some("arp"));
        assert_eq!(line.release(now), Some("neighbour solicitation"));
        assert_eq!((line.next_departure(), line.counts.lost), (None, 1));
    }
}
