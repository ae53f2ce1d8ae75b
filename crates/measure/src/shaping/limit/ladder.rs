//! Which train to send next: faster ones until a limit shows, then some that measure it, never more than the budget.

use super::TrainFinding;

/// Where to begin, in bits per second of layer 3.
const FIRST_BPS: f64 = 256e3;
const STEP: f64 = 4.0;
/// Of a rung that looks for a limit, and of one that measures it.
const SEARCH_S: f64 = 2.0;
const MEASURE_S: f64 = 8.0;
/// Two speeds, because a share of the packets is no limit of rate.
const MEASURE_OVERLOADS: [f64; 2] = [1.6, 2.4];
const LEAST_PACKETS: u32 = 300;

/// A train to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextTrain {
    pub rate_pps: f64,
    pub packets: u32,
    pub idle_ms: u32,
}

/// Plans the trains of one class within a number of bytes.
#[derive(Clone, Debug)]
pub struct Ladder {
    left: u64,
    size: u16,
    max_pps: f64,
    next_bps: f64,
    measured: usize,
}

impl Ladder {
    /// `size_l3`: bytes of a probe at layer 3.
    pub fn new(budget_bytes: u64, size_l3: u16, max_pps: f64) -> Ladder {
        Ladder { left: budget_bytes, size: size_l3.max(1), max_pps, next_bps: FIRST_BPS, measured: 0 }
    }

    /// `None` when enough is known or nothing is left.
    pub fn next(&mut self, so_far: &[TrainFinding]) -> Option<NextTrain> {
        let limit = so_far.iter().rev().find_map(|finding| finding.limit);
        let bits = f64::from(self.size) * 8.0;
        let (pps, seconds, idle_ms) = match limit {
            Some(limit) => {
                let overload = MEASURE_OVERLOADS.get(self.measured)?;
                self.measured += 1;
                let rate = limit.rate_bps.estimate * overload;
                // Time for the bucket to fill, and for the train to empty it and show the rate after that.
                let fill_s = limit.burst_bytes.high * 8.0 / limit.rate_bps.low.max(1.0);
                let empty_s = limit.burst_bytes.high * 8.0 / limit.rate_bps.estimate.max(1.0);
                (rate / bits, MEASURE_S + empty_s, (fill_s * 1_100.0).clamp(500.0, 16_000.0) as u32)
            }
            None => {
                let pps = self.next_bps / bits;
                if pps > self.max_pps * STEP.sqrt() {
                    return None;
                }
                self.next_bps *= STEP;
                (pps, SEARCH_S, 500)
            }
        };
        let pps = pps.min(self.max_pps);
        let packets = ((pps * seconds) as u32).max(LEAST_PACKETS).min((self.left / u64::from(self.size)) as u32);
        if packets < LEAST_PACKETS {
            return None;
        }
        self.left -= u64::from(packets) * u64::from(self.size);
        Some(NextTrain { rate_pps: pps, packets, idle_ms })
    }
}
