//! How a transfer's bytes arrived, as the receiver read them. Times are the receiver's own, whatever its epoch.

use model::shaping::Transfer;

/// Points kept of one transfer; more are thinned out.
const MOST_POINTS: usize = 4_096;

/// Bytes read so far, over time.
#[derive(Clone, Debug)]
pub struct Curve {
    points: Vec<(u64, u64)>,
    latest: Option<(u64, u64)>,
    /// One of so many reads is kept.
    stride: usize,
    reads: usize,
}

impl Default for Curve {
    fn default() -> Curve {
        Curve { points: Vec::new(), latest: None, stride: 1, reads: 0 }
    }
}

/// What the curve comes to, up to some byte of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    pub bytes: u64,
    pub elapsed_ns: u64,
    pub tail_bytes: u64,
    pub tail_ns: u64,
}

impl Curve {
    /// `total`: bytes read since the beginning, after this read.
    pub fn push(&mut self, now_ns: u64, total: u64) {
        self.latest = Some((now_ns, total));
        if self.reads.is_multiple_of(self.stride) {
            self.points.push((now_ns, total));
        }
        self.reads += 1;
        if self.points.len() == MOST_POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
    }

    /// Of the bytes up to `end`: what follows is not of the transfer's body.
    pub fn measure(&self, end: u64) -> Measured {
        let (Some((first_ns, first)), Some(latest)) = (self.points.first().copied(), self.latest) else {
            return Measured::default();
        };
        let at = |wanted: u64| self.points.iter().copied().chain([latest]).find(|(_, total)| *total >= wanted);
        let (last_ns, last) = at(end).unwrap_or(latest);
        let last = last.min(end);
        let bytes = last.saturating_sub(first);
        let (middle_ns, middle) = at(first + bytes / 2).unwrap_or((last_ns, last));
        Measured {
            bytes,
            elapsed_ns: last_ns.saturating_sub(first_ns),
            tail_bytes: last.saturating_sub(middle),
            tail_ns: last_ns.saturating_sub(middle_ns),
        }
    }
}

impl Measured {
    /// As a transfer of which the sender has said nothing.
    pub fn of(self, sequence: u32) -> Transfer {
        let Measured { bytes, elapsed_ns, tail_bytes, tail_ns } = self;
        Transfer { sequence, bytes, elapsed_ns, tail_bytes, tail_ns, ..Transfer::default() }
    }
}
