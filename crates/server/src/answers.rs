//! Answers that were handed to the kernel and whose transmit stamps are awaited.

use std::collections::VecDeque;

use model::{SampleFlags, SentHalf, SessionId, Tos, UnixNanos};

/// An answer without a stamp after this long is recorded with its user-space time.
const PATIENCE_NS: u64 = 200_000_000;
/// Answers awaited at once on one socket; beyond it the oldest is recorded with its user-space time.
const MOST: usize = 8192;

#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub session: SessionId,
    pub sequence: u32,
    pub tos: Tos,
    pub size: u16,
    pub user_time: UnixNanos,
    pub monotonic_ns: u64,
}

impl Pending {
    fn half(&self, sent_at: UnixNanos, flags: SampleFlags) -> (SessionId, SentHalf) {
        (self.session, SentHalf { sequence: self.sequence, sent_at, tos: self.tos, size: self.size, flags })
    }
}

/// Stamps come in the order of sending, so the one looked for is nearly always at the front.
#[derive(Debug, Default)]
pub struct AwaitedStamps(VecDeque<Pending>);

impl AwaitedStamps {
    pub fn push(&mut self, pending: Pending) {
        self.0.push_back(pending);
    }

    /// Forgets the newest: the kernel refused to send it.
    pub fn retract(&mut self, session: SessionId, sequence: u32) {
        if let Some(index) = self.0.iter().rposition(|p| p.session == session && p.sequence == sequence) {
            self.0.remove(index);
        }
    }

    /// `mark` is the ToS of the frame as it left; another than what was asked for means that this host rewrites.
    pub fn stamped(
        &mut self,
        session: u32,
        sequence: u32,
        stamp: UnixNanos,
        mark: Option<Tos>,
    ) -> Option<(SessionId, SentHalf)> {
        let index = self.0.iter().position(|p| p.session.0 == session && p.sequence == sequence)?;
        let pending = self.0.remove(index)?;
        let rewritten = mark.is_some_and(|mark| mark != pending.tos);
        let flags = if rewritten { SampleFlags::LOCAL_REWRITE } else { SampleFlags::default() };
        Some(pending.half(stamp, flags))
    }

    /// The next answer that waited too long for its stamp.
    pub fn expired(&mut self, now_ns: u64) -> Option<(SessionId, SentHalf)> {
        let front = self.0.front()?;
        if self.0.len() <= MOST && now_ns.saturating_sub(front.monotonic_ns) < PATIENCE_NS {
            return None;
        }
        let pending = self.0.pop_front()?;
        Some(pending.half(pending.user_time, SampleFlags::TX_USER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(sequence: u32) -> Pending {
        Pending {
            session: SessionId(7),
            sequence,
            tos: Tos::from_byte(184),
            size: 100,
            user_time: UnixNanos(1),
            monotonic_ns: 0,
        }
    }

    #[test]
    fn a_stamp_finds_its_answer_and_tells_of_a_rewritten_mark() {
        let mut awaited = AwaitedStamps::default();
        (0..3).for_each(|sequence| awaited.push(pending(sequence)));
        let (_, half) = awaited.stamped(7, 1, UnixNanos(50), Some(Tos::from_byte(184))).unwrap();
        assert_eq!((half.sequence, half.sent_at, half.flags), (1, UnixNanos(50), SampleFlags::default()));
        let (_, half) = awaited.stamped(7, 0, UnixNanos(60), Some(Tos::from_byte(0))).unwrap();
        assert!(half.flags.has(SampleFlags::LOCAL_REWRITE));
        assert_eq!(awaited.stamped(7, 1, UnixNanos(50), None), None, "a stamp counts once");
        assert_eq!(awaited.expired(PATIENCE_NS - 1), None);
        let (_, half) = awaited.expired(PATIENCE_NS).unwrap();
        assert!(half.flags.has(SampleFlags::TX_USER));
        assert_eq!(half.sent_at, UnixNanos(1));
    }
}
