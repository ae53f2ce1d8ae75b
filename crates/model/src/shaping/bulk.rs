//! Pairs of whole TCP transfers, long enough for a limit on TCP to show: their design, and what one transfer measured.

use serde::{Deserialize, Serialize};

use super::Hypothesis;

/// Pairs of one transfer of each arm in random order, one transfer at a time, each on a connection of its own. Every round has one
/// pair of each hypothesis in each direction that the session asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkDesign {
    /// Over TCP, on fresh source ports by nature.
    pub hypotheses: Vec<Hypothesis>,
    /// Stream bytes of one transfer, framing included: 16 kB to 64 MB.
    pub bytes: u32,
    /// 1..=1000.
    pub rounds: u32,
    /// No transfer goes on for longer; what has arrived by then counts. 100..=60,000.
    pub most_ms: u32,
}

impl BulkDesign {
    /// The first thing that is out of range.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let of_streams =
            |hypothesis: &Hypothesis| hypothesis.subject.payload.is_stream() && hypothesis.control.payload.is_stream();
        if self.hypotheses.is_empty() || self.hypotheses.len() > 64 {
            Some("1 to 64 hypotheses are compared by transfers")
        } else if !self.hypotheses.iter().all(of_streams) {
            Some("only what goes over TCP is transferred")
        } else if !(16_384..=64_000_000).contains(&self.bytes) {
            Some("a transfer has 16384 to 64000000 bytes")
        } else if !(1..=1_000).contains(&self.rounds) {
            Some("transfers have 1 to 1000 rounds")
        } else if !(100..=60_000).contains(&self.most_ms) {
            Some("a transfer's time lies between 100 and 60000 milliseconds")
        } else if self.total_bytes() > MOST_BYTES {
            Some("the transfers of one session make at most 4 GB")
        } else {
            None
        }
    }

    /// Stream bytes of all transfers, if both directions are asked for.
    pub fn total_bytes(&self) -> u64 {
        4 * self.hypotheses.len() as u64 * u64::from(self.rounds) * u64::from(self.bytes)
    }
}

const MOST_BYTES: u64 = 4_000_000_000;

/// What one transfer measured. All times are of one clock, the receiver's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub sequence: u32,
    /// Stream bytes between the receiver's first read and its last, and the time between the two.
    pub bytes: u64,
    pub elapsed_ns: u64,
    /// The second half of those bytes by itself: slow start is over, a bucket's first fill is spent.
    pub tail_bytes: u64,
    pub tail_ns: u64,
    /// Of the sender's kernel (`TCP_INFO`); `None` where it could not tell.
    pub retransmits: Option<u32>,
    /// Of the sender's kernel at the end: what the smoothed time has above the least is time in queues.
    pub min_rtt_us: Option<u32>,
    pub rtt_us: Option<u32>,
}

impl Transfer {
    /// Of the whole. A transfer of which nothing arrived has one byte a second, so that its logarithm exists.
    pub fn bits_per_second(&self) -> f64 {
        rate(self.bytes, self.elapsed_ns)
    }

    /// `None` where there was no second half.
    pub fn tail_bits_per_second(&self) -> Option<f64> {
        (self.tail_bytes > 0).then(|| rate(self.tail_bytes, self.tail_ns))
    }

    /// Of the first half.
    pub fn head_bits_per_second(&self) -> Option<f64> {
        let bytes = self.bytes.saturating_sub(self.tail_bytes);
        (bytes > 0).then(|| rate(bytes, self.elapsed_ns.saturating_sub(self.tail_ns)))
    }
}

fn rate(bytes: u64, ns: u64) -> f64 {
    if bytes == 0 { 8.0 } else { bytes as f64 * 8e9 / ns.max(1_000) as f64 }
}
