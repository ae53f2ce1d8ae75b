//! What one session has sent and received since the last batch, and which of its probes are settled. Filled by the flow's
//! threads, emptied by the uplink; knows no sockets and reads no clock.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::control::{ReceivedColumns, SentColumns};
use model::shaping::Transfer;
use model::{ReceivedHalf, SampleFlags, SentHalf, SessionId, SessionUpload, Tos, UnixNanos};

/// A probe is settled this long after it was sent.
pub(crate) const SETTLE_NS: u64 = 2_000_000_000;
/// A probe whose transmit stamp has not come by then is reported with its user-space time.
const STAMP_PATIENCE_NS: u64 = 200_000_000;
/// An answer may show that a middlebox spoke; a probe of such a kind waits for it this long before it is reported.
const ANSWER_PATIENCE_NS: u64 = 1_000_000_000;
/// The first answer and some copies; more of one answer is an attack on the uplink.
const MAX_COPIES: u8 = 3;
const MAX_NOTES: usize = 32;

#[derive(Debug)]
struct Pending {
    sequence: u32,
    /// When it was sent, or begun where it takes a connection first.
    at_ns: u64,
    /// `None`: still being connected.
    half: Option<SentHalf>,
    stamped: bool,
    reported: bool,
    answers: u8,
}

#[derive(Debug, Default)]
struct Inner {
    pending: VecDeque<Pending>,
    sent: SentColumns,
    received: ReceivedColumns,
    settled: Option<u32>,
    settled_told: Option<u32>,
    send_failures: u64,
    foreign: u64,
    notes: Vec<String>,
    notes_told: usize,
    local_queue: Vec<u16>,
    local_queue_told: bool,
    transfers: Vec<Transfer>,
    totals: Totals,
}

/// Since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub sent: u64,
    pub received: u64,
    pub send_failures: u64,
    pub foreign: u64,
}

/// Which probes are reported, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// Nothing but answers counts (direction `down`): sent halves are not uploaded.
    pub answers_only: bool,
    /// Wait for the answer before the sent half is reported: it may say INTERCEPTED.
    pub await_answer: bool,
}

#[derive(Debug)]
pub(crate) struct SessionLog {
    session: SessionId,
    options: LogOptions,
    inner: Mutex<Inner>,
}

impl SessionLog {
    pub(crate) fn new(session: SessionId, options: LogOptions) -> SessionLog {
        SessionLog { session, options, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// A datagram is about to be handed to the kernel. Sequences must rise. `half` has the user-space time.
    pub(crate) fn sending(&self, now_ns: u64, half: SentHalf) {
        let half = SentHalf { flags: half.flags.with(SampleFlags::TX_USER), ..half };
        let mut inner = self.lock();
        inner.totals.sent += 1;
        inner.pending.push_back(Pending::new(half.sequence, now_ns, Some(half)));
    }

    /// The kernel refused it: it was never on the wire.
    pub(crate) fn retract(&self, sequence: u32) {
        let mut inner = self.lock();
        if let Some(index) = inner.index(sequence) {
            inner.pending.remove(index);
            inner.totals.sent = inner.totals.sent.saturating_sub(1);
            inner.send_failures += 1;
            inner.totals.send_failures += 1;
        }
    }

    /// A probe that takes a connection is begun; [`SessionLog::finish`] or [`SessionLog::retract`] must follow.
    pub(crate) fn begin(&self, now_ns: u64, sequence: u32) {
        let mut inner = self.lock();
        inner.totals.sent += 1;
        inner.pending.push_back(Pending::new(sequence, now_ns, None));
    }

    /// All is known of a probe that was begun. `sent_ns`: when its data was written, on the monotonic clock.
    pub(crate) fn finish(&self, sent_ns: u64, half: SentHalf) {
        if let Some(pending) = self.lock().get(half.sequence) {
            pending.at_ns = sent_ns;
            pending.half = Some(half);
            pending.stamped = true;
            pending.answers = pending.answers.max(1);
        }
    }

    /// The kernel's transmit stamp. `mark`: the ToS in the frame as it left, where the frame came back. Returns how long the packet
    /// waited in this host, in nanoseconds, at its first stamp.
    pub(crate) fn stamped(&self, sequence: u32, stamp: UnixNanos, mark: Option<Tos>) -> Option<i64> {
        let mut inner = self.lock();
        let pending = inner.get(sequence)?;
        let half = pending.half.as_mut().filter(|_| !pending.stamped && !pending.reported)?;
        let waited_ns = stamp.since(half.sent_at);
        half.sent_at = stamp;
        half.flags = SampleFlags(half.flags.0 & !SampleFlags::TX_USER.0);
        if mark.is_some_and(|mark| mark != half.tos) {
            half.flags = half.flags.with(SampleFlags::LOCAL_REWRITE);
        }
        pending.stamped = true;
        Some(waited_ns)
    }

    /// This hypothesis' arms wait differently long in this host.
    pub(crate) fn local_queue(&self, hypothesis: u16) {
        let mut inner = self.lock();
        if !inner.local_queue.contains(&hypothesis) {
            inner.local_queue.push(hypothesis);
            inner.local_queue_told = false;
        }
    }

    pub(crate) fn transferred(&self, transfer: Transfer) {
        self.lock().transfers.push(transfer);
    }

    /// The newest probe not settled whose sequence ends in these 16 bits.
    pub(crate) fn widen(&self, low: u16) -> Option<u32> {
        self.lock().pending.iter().rev().map(|pending| pending.sequence).find(|sequence| *sequence as u16 == low)
    }

    /// The probe that `wanted` picks among those that wait for an answer, newest first.
    pub(crate) fn unanswered(&self, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let inner = self.lock();
        let waiting = inner.pending.iter().rev().filter(|pending| pending.answers == 0);
        waiting.map(|pending| pending.sequence).find(|sequence| wanted(*sequence))
    }

    /// Somebody else than the server answered this probe.
    pub(crate) fn intercepted(&self, sequence: u32) {
        if let Some(pending) = self.lock().get(sequence) {
            pending.answers = pending.answers.max(1);
            if let Some(half) = pending.half.as_mut().filter(|_| !pending.reported) {
                half.flags = half.flags.with(SampleFlags::INTERCEPTED);
            }
        }
    }

    /// When this probe left, as far as it is known yet.
    pub(crate) fn sent_at(&self, sequence: u32) -> Option<UnixNanos> {
        self.lock().get(sequence)?.half.map(|half| half.sent_at)
    }

    /// An authentic answer. False: to nothing that was sent, to a settled probe, or one copy too many.
    pub(crate) fn received(&self, half: &ReceivedHalf) -> bool {
        let mut inner = self.lock();
        let Some(pending) = inner.get(half.sequence).filter(|pending| pending.answers < MAX_COPIES) else {
            return false;
        };
        pending.answers += 1;
        let first = pending.answers == 1;
        inner.received.push(half);
        inner.totals.received += u64::from(first);
        true
    }

    /// The answer to a probe that was begun and is not finished.
    pub(crate) fn answered(&self, half: &ReceivedHalf) {
        let mut inner = self.lock();
        inner.received.push(half);
        inner.totals.received += 1;
    }

    /// A packet that is not authentic, or not an answer to anything.
    pub(crate) fn foreign(&self) {
        let mut inner = self.lock();
        inner.foreign += 1;
        inner.totals.foreign += 1;
    }

    /// Something could not be done or seen. Each line is told once.
    pub(crate) fn note(&self, line: impl Into<String>) {
        let (line, mut inner) = (line.into(), self.lock());
        if inner.notes.len() < MAX_NOTES && !inner.notes.contains(&line) {
            inner.notes.push(line);
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.lock().notes.clone()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Whether something may still come of any probe.
    pub(crate) fn is_settled(&self, now_ns: u64) -> bool {
        let settled = |pending: &Pending| pending.half.is_some() && now_ns.saturating_sub(pending.at_ns) >= SETTLE_NS;
        self.lock().pending.iter().all(settled)
    }

    /// What is new, and `None` if nothing is. With `close`, everything, and the session has ended.
    pub(crate) fn take(&self, now_ns: u64, close: bool) -> Option<SessionUpload> {
        let mut inner = self.lock();
        inner.report(now_ns, close, self.options);
        inner.settle(now_ns, close);
        let news = !inner.sent.is_empty()
            || !inner.received.is_empty()
            || inner.settled != inner.settled_told
            || inner.send_failures + inner.foreign > 0
            || inner.notes.len() > inner.notes_told
            || !inner.transfers.is_empty()
            || (!inner.local_queue.is_empty() && !inner.local_queue_told);
        if !news && !close {
            return None;
        }
        inner.settled_told = inner.settled;
        let notes = inner.notes[inner.notes_told..].to_vec();
        inner.notes_told = inner.notes.len();
        let told = std::mem::replace(&mut inner.local_queue_told, true);
        let local_queue = if told { Vec::new() } else { inner.local_queue.clone() };
        Some(SessionUpload {
            session: self.session,
            sent: std::mem::take(&mut inner.sent),
            received: std::mem::take(&mut inner.received),
            settled_through: inner.settled,
            closed: close,
            send_failures: std::mem::take(&mut inner.send_failures),
            foreign: std::mem::take(&mut inner.foreign),
            notes,
            local_queue,
            transfers: std::mem::take(&mut inner.transfers),
        })
    }
}

impl Pending {
    fn new(sequence: u32, at_ns: u64, half: Option<SentHalf>) -> Pending {
        Pending { sequence, at_ns, half, stamped: false, reported: false, answers: 0 }
    }
}

impl Inner {
    fn index(&self, sequence: u32) -> Option<usize> {
        self.pending.binary_search_by_key(&sequence, |pending| pending.sequence).ok()
    }

    fn get(&mut self, sequence: u32) -> Option<&mut Pending> {
        let index = self.index(sequence)?;
        self.pending.get_mut(index)
    }

    /// Moves the sent halves that are known, or waited long enough, to the columns.
    fn report(&mut self, now_ns: u64, close: bool, options: LogOptions) {
        for pending in self.pending.iter_mut().filter(|pending| !pending.reported) {
            let age = now_ns.saturating_sub(pending.at_ns);
            let stamp_known = pending.stamped || age >= STAMP_PATIENCE_NS;
            let answer_known = !options.await_answer || pending.answers > 0 || age >= ANSWER_PATIENCE_NS;
            let Some(half) = pending.half.filter(|_| close || (stamp_known && answer_known)) else { continue };
            pending.reported = true;
            if !options.answers_only {
                self.sent.push(&half);
            }
        }
    }

    /// Settles in order of sequence, and never past a probe whose half is not in the columns yet.
    fn settle(&mut self, now_ns: u64, close: bool) {
        while let Some(front) = self.pending.front() {
            let old = now_ns.saturating_sub(front.at_ns) >= SETTLE_NS;
            if !(close || (old && front.reported)) {
                break;
            }
            self.settled = Some(front.sequence);
            self.pending.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn half(sequence: u32) -> SentHalf {
        SentHalf {
            sequence,
            sent_at: UnixNanos(1_000 + i64::from(sequence)),
            tos: Tos::from_byte(184),
            size: 220,
            flags: SampleFlags::default(),
        }
    }

    fn answer(sequence: u32) -> ReceivedHalf {
        ReceivedHalf {
            sequence,
            received_at: UnixNanos(5_000),
            tos: Some(Tos::from_byte(0)),
            ttl: Some(64),
            flags: SampleFlags::default(),
        }
    }

    fn log(options: LogOptions) -> SessionLog {
        SessionLog::new(SessionId(9), options)
    }

    #[test]
    fn a_half_goes_up_with_its_stamp_or_after_200_ms_without() {
        let log = log(LogOptions::default());
        log.sending(0, half(0));
        log.sending(0, half(1));
        log.stamped(1, UnixNanos(77), Some(Tos::from_byte(0)));
        let sent = log.take(MS, false).unwrap().sent.halves().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].sequence, sent[0].sent_at, sent[0].flags), (1, UnixNanos(77), SampleFlags::LOCAL_REWRITE));
        assert_eq!(log.take(199 * MS, false), None);
        let sent = log.take(200 * MS, false).unwrap().sent.halves().unwrap();
        assert_eq!((sent[0].sequence, sent[0].sent_at, sent[0].flags), (0, UnixNanos(1_000), SampleFlags::TX_USER));
        log.stamped(0, UnixNanos(78), None);
        assert_eq!(log.take(201 * MS, false), None, "a stamp that comes too late changes nothing");
    }

    #[test]
    fn settled_is_what_was_sent_two_seconds_ago_in_order() {
        let log = log(LogOptions::default());
        for sequence in 0..4 {
            log.sending(u64::from(sequence) * 500 * MS, half(sequence));
        }
        let settled = |ms: u64| log.take(ms * MS, false).map(|upload| upload.settled_through);
        assert_eq!(settled(1_999), Some(None));
        assert_eq!(settled(2_000), Some(Some(0)));
        assert_eq!(settled(2_400), None, "nothing new");
        assert_eq!(settled(3_100), Some(Some(2)));
        assert!(!log.is_settled(3_499 * MS) && log.is_settled(3_500 * MS));
        assert!(!log.received(&answer(2)), "too late: it counts as lost");
        assert!(log.received(&answer(3)));
        assert_eq!(settled(9_000), Some(Some(3)));
    }

    #[test]
    fn a_connection_in_the_making_holds_settling_up_and_a_refused_send_does_not() {
        let log = log(LogOptions::default());
        log.begin(0, 0);
        log.sending(0, half(1));
        log.retract(1);
        log.begin(0, 2);
        log.finish(100 * MS, half(2));
        let upload = log.take(3_000 * MS, false).unwrap();
        assert_eq!((upload.settled_through, upload.send_failures, upload.sent.sequence), (None, 1, vec![2]));
        log.finish(1_900 * MS, half(0));
        assert_eq!(log.take(3_899 * MS, false).unwrap().settled_through, None);
        assert_eq!(log.take(3_900 * MS, false).unwrap().settled_through, Some(2));
    }

    #[test]
    fn closing_tells_everything_at_once() {
        let log = log(LogOptions::default());
        log.sending(0, half(0));
        log.sending(0, half(1));
        assert!(log.received(&answer(1)));
        log.note("one");
        log.note("one");
        let upload = log.take(MS, true).unwrap();
        assert!(upload.closed);
        assert_eq!((upload.sent.len(), upload.received.len(), upload.settled_through), (2, 1, Some(1)));
        assert_eq!(upload.notes, ["one"]);
    }

    #[test]
    fn copies_are_bounded_and_answers_to_nothing_refused() {
        let log = log(LogOptions::default());
        log.sending(0, half(5));
        assert!(!log.received(&answer(4)) && !log.received(&answer(6)));
        assert_eq!((0..10).filter(|_| log.received(&answer(5))).count(), 3);
        assert_eq!(log.totals(), Totals { sent: 1, received: 1, ..Totals::default() });
    }

    #[test]
    fn a_kind_that_can_be_intercepted_waits_for_its_answer() {
        let log = log(LogOptions { await_answer: true, ..LogOptions::default() });
        log.sending(0, half(0));
        log.sending(0, half(1));
        log.stamped(0, UnixNanos(1), None);
        log.stamped(1, UnixNanos(2), None);
        assert_eq!(log.take(500 * MS, false), None);
        assert_eq!(log.unanswered(|sequence| sequence == 1), Some(1));
        log.intercepted(1);
        assert_eq!(log.unanswered(|sequence| sequence == 1), None);
        let sent = log.take(501 * MS, false).unwrap().sent.halves().unwrap();
        assert_eq!((sent[0].sequence, sent[0].flags), (1, SampleFlags::INTERCEPTED));
        assert_eq!(log.take(1_000 * MS, false).unwrap().sent.sequence, [0]);
    }

    #[test]
    fn down_uploads_no_sent_halves_but_settles() {
        let log = log(LogOptions { answers_only: true, ..LogOptions::default() });
        log.sending(0, half(0));
        let upload = log.take(2_000 * MS, false).unwrap();
        assert!(upload.sent.is_empty());
        assert_eq!(upload.settled_through, Some(0));
    }

    #[test]
    fn sixteen_bits_are_widened_to_the_newest_probe_that_has_them() {
        let log = log(LogOptions::default());
        for sequence in [5, 0x1_0005, 0x1_0006] {
            log.sending(0, half(sequence));
        }
        assert_eq!((log.widen(5), log.widen(6), log.widen(7)), (Some(0x1_0005), Some(0x1_0006), None));
    }
}
