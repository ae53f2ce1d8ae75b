//! The streams of one session (up, down or round trip): halves in, samples and clock exchanges out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use measure::clock::{ClockTracker, Exchange};
use measure::join::{JoinCounters, Joiner, StreamInfo};
use model::control::{SessionInfo, SessionUpload};
use model::{Direction, Kind, ReceivedHalf, Sample, SampleFlags, SentHalf, SessionId, UnixNanos};
use store::{CorrectedDelay, Halves, PendingHalves, StoredSample};

/// Up probes whose answer may still come, for the clock.
const RECENT: usize = 4096;
/// A session gives the clock so many nanoseconds apart: a clock session's pace. More would cost much and tell nothing.
const CLOCK_EVERY_NS: i64 = 200_000_000;
/// A worker's clock may be wrong, but every minute it claims becomes a rollup: ten years either way.
const PLAUSIBLE_NS: u64 = 10 * 366 * 86_400 * 1_000_000_000;

pub(crate) struct SessionStreams {
    pub(crate) info: SessionInfo,
    joiners: Vec<Joiner>,
    /// Halves that no commit holds yet.
    fresh_sent: Vec<(Direction, SentHalf)>,
    fresh_received: Vec<(Direction, ReceivedHalf)>,
    recent_up: VecDeque<(u32, UnixNanos, UnixNanos)>,
    /// Server time of the last exchange that the clock was given.
    clocked: UnixNanos,
    dirty: bool,
    closed: bool,
    /// The worker has gone without closing the session.
    forsaken: bool,
    /// What the worker itself called settled.
    told_settled: Option<u32>,
    /// Probes given up because the worker has gone: nobody knows whether they arrived.
    given_up: u64,
    heard: Instant,
    counted: JoinCounters,
    drained: Vec<Sample>,
}

impl SessionStreams {
    pub(crate) fn new(info: SessionInfo) -> SessionStreams {
        let joiners = directions(&info).into_iter().map(|direction| Joiner::new(stream(&info, direction))).collect();
        SessionStreams::with(info, joiners)
    }

    /// `resolved`: the watermarks of all sessions, as the earlier run committed them.
    pub(crate) fn restore(info: SessionInfo, resolved: &[(SessionId, Direction, u32)]) -> SessionStreams {
        let joiners = directions(&info)
            .into_iter()
            .map(|direction| {
                let own = |(of, way, _): &&(SessionId, Direction, u32)| *of == info.session && *way == direction;
                let through = resolved.iter().find(own).map(|(_, _, through)| *through);
                Joiner::restore(stream(&info, direction), through)
            })
            .collect();
        SessionStreams::with(info, joiners)
    }

    fn with(info: SessionInfo, joiners: Vec<Joiner>) -> SessionStreams {
        SessionStreams {
            info,
            joiners,
            fresh_sent: Vec::new(),
            fresh_received: Vec::new(),
            recent_up: VecDeque::new(),
            clocked: UnixNanos(i64::MIN),
            dirty: false,
            closed: false,
            forsaken: false,
            told_settled: None,
            given_up: 0,
            heard: Instant::now(),
            counted: JoinCounters::default(),
            drained: Vec::new(),
        }
    }

    fn joiner(&mut self, direction: Direction) -> Option<&mut Joiner> {
        self.joiners.iter_mut().find(|joiner| joiner.info().direction == direction)
    }

    /// The server saw a probe of the worker's.
    pub(crate) fn observed_received(&mut self, half: ReceivedHalf) {
        if let Some(joiner) = self.joiner(Direction::Up) {
            joiner.received(&[half]);
            self.fresh_received.push((Direction::Up, half));
            self.dirty = true;
        }
    }

    /// The server sent an answer.
    pub(crate) fn observed_sent(&mut self, half: SentHalf) {
        if let Some(joiner) = self.joiner(Direction::Down) {
            joiner.sent(&[half]);
            self.fresh_sent.push((Direction::Down, half));
            self.dirty = true;
        }
    }

    /// What the worker tells, `now` being the server's time, with the halves of its columns. Returns how many of them were
    /// dropped for a time that cannot be.
    pub(crate) fn uploaded(
        &mut self,
        upload: &SessionUpload,
        mut sent: Vec<SentHalf>,
        mut received: Vec<ReceivedHalf>,
        now: UnixNanos,
    ) -> u64 {
        self.heard = Instant::now();
        self.dirty = true;
        let told = sent.len() + received.len();
        let plausible = |at: UnixNanos| at.since(now).unsigned_abs() <= PLAUSIBLE_NS;
        sent.retain(|half| plausible(half.sent_at));
        received.retain(|half| plausible(half.received_at));
        let implausible = (told - sent.len() - received.len()) as u64;
        let (sent_as, received_as) = match self.info.kind {
            Kind::Icmp => (Direction::RoundTrip, Direction::RoundTrip),
            _ => (Direction::Up, Direction::Down),
        };
        if let Some(joiner) = self.joiner(sent_as) {
            joiner.sent(&sent);
            self.fresh_sent.extend(sent.iter().map(|half| (sent_as, *half)));
        }
        if let Some(joiner) = self.joiner(received_as) {
            joiner.received(&received);
            self.fresh_received.extend(received.iter().map(|half| (received_as, *half)));
        }
        if let Some(settled) = upload.settled_through {
            self.told_settled = self.told_settled.max(Some(settled));
            self.joiners.iter_mut().for_each(|joiner| joiner.settled_through(settled));
        }
        if upload.closed {
            self.close();
        }
        implausible
    }

    /// Nothing more comes.
    pub(crate) fn close(&mut self) {
        if !self.closed {
            self.joiners.iter_mut().for_each(Joiner::close);
            self.closed = true;
            self.dirty = true;
        }
    }

    /// The worker has gone and will say nothing more: only what it settled itself can be lost.
    pub(crate) fn forsake(&mut self) {
        self.forsaken |= !self.closed;
        self.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Time since the worker last told of this session.
    pub(crate) fn idle(&self) -> Duration {
        self.heard.elapsed()
    }

    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Finished samples with their delay by the worker's clock as known now; feeds that clock.
    pub(crate) fn drain(&mut self, tracker: &mut ClockTracker) -> Vec<StoredSample> {
        let mut samples = std::mem::take(&mut self.drained);
        samples.clear();
        for joiner in &mut self.joiners {
            joiner.drain(&mut samples);
        }
        if self.forsaken {
            let drained = samples.len();
            let known = |sample: &Sample| sample.received_at.is_some() || self.told_settled >= Some(sample.sequence);
            samples.retain(known);
            self.given_up += (drained - samples.len()) as u64;
        }
        for sample in &samples {
            self.exchange(sample, tracker);
        }
        let model = tracker.settled_model();
        let stored = samples
            .iter()
            .map(|sample| {
                let delay = model.as_ref().and_then(|model| match (sample.direction, sample.received_at) {
                    (Direction::Up, Some(received)) => model.owd_up(sample.sent_at, received),
                    (Direction::Down, Some(received)) => model.owd_down(sample.sent_at, received),
                    _ => None,
                });
                let delay = delay
                    .map(|d| CorrectedDelay { ns: d.ns as i64, uncertainty_ns: d.uncertainty_ns as i64 })
                    .or_else(|| round_trip(sample));
                StoredSample { sample: *sample, delay }
            })
            .collect();
        self.drained = samples;
        stored
    }

    fn exchange(&mut self, sample: &Sample, tracker: &mut ClockTracker) {
        let Some(received) = sample.received_at else { return };
        if sample.flags.has(SampleFlags::TX_USER) || sample.flags.has(SampleFlags::RX_USER) {
            return;
        }
        match sample.direction {
            Direction::Up => {
                if self.recent_up.len() == RECENT {
                    self.recent_up.pop_front();
                }
                self.recent_up.push_back((sample.sequence, sample.sent_at, received));
            }
            Direction::Down => {
                let found = self.recent_up.iter().position(|(sequence, ..)| *sequence == sample.sequence);
                if let Some((_, t1, t2)) = found.and_then(|index| self.recent_up.remove(index))
                    && t2.since(self.clocked) >= CLOCK_EVERY_NS
                {
                    self.clocked = t2;
                    tracker.add(Exchange { t1, t2, t3: sample.sent_at, t4: received });
                }
            }
            Direction::RoundTrip => {}
        }
    }

    pub(crate) fn watermarks(&self) -> Vec<(SessionId, Direction, u32)> {
        let session = self.info.session;
        let mark = |joiner: &Joiner| Some((session, joiner.info().direction, joiner.resolved_through()?));
        self.joiners.iter().filter_map(mark).collect()
    }

    /// Halves that must survive a kill: those that are new and not resolved yet.
    pub(crate) fn take_pending(&mut self) -> Vec<PendingHalves> {
        let session = self.info.session;
        let mut pending = Vec::new();
        for joiner in &self.joiners {
            let direction = joiner.info().direction;
            let open = |sequence: u32| joiner.resolved_through().is_none_or(|through| sequence > through);
            let of_stream = |(of, half): &&(Direction, SentHalf)| *of == direction && open(half.sequence);
            let sent: Vec<SentHalf> = self.fresh_sent.iter().filter(of_stream).map(|(_, half)| *half).collect();
            let of_stream = |(of, half): &&(Direction, ReceivedHalf)| *of == direction && open(half.sequence);
            let received: Vec<ReceivedHalf> =
                self.fresh_received.iter().filter(of_stream).map(|(_, half)| *half).collect();
            if !sent.is_empty() {
                pending.push(PendingHalves { session, direction, halves: Halves::Sent(sent) });
            }
            if !received.is_empty() {
                pending.push(PendingHalves { session, direction, halves: Halves::Received(received) });
            }
        }
        // Of many streams each would keep what its busiest tick needed.
        self.fresh_sent = Vec::new();
        self.fresh_received = Vec::new();
        pending
    }

    /// Halves that a commit of the earlier run held.
    pub(crate) fn replay(&mut self, pending: &PendingHalves) {
        let Some(joiner) = self.joiner(pending.direction) else { return };
        match &pending.halves {
            Halves::Sent(halves) => joiner.sent(halves),
            Halves::Received(halves) => joiner.received(halves),
        }
    }

    pub(crate) fn end_of_replay(&mut self) {
        self.joiners.iter_mut().for_each(Joiner::end_of_replay);
        self.dirty = true;
    }

    /// What was counted since the last call.
    pub(crate) fn take_counters(&mut self) -> JoinCounters {
        let mut total = JoinCounters { unobserved: self.given_up, ..JoinCounters::default() };
        for joiner in &self.joiners {
            let counters = joiner.counters();
            total.unmatched += counters.unmatched;
            total.unobserved += counters.unobserved;
            total.late += counters.late;
        }
        let new = JoinCounters {
            unmatched: total.unmatched - self.counted.unmatched,
            unobserved: total.unobserved - self.counted.unobserved,
            late: total.late - self.counted.late,
            ..JoinCounters::default()
        };
        self.counted = total;
        new
    }
}

fn directions(info: &SessionInfo) -> Vec<Direction> {
    if info.kind == Kind::Icmp {
        return vec![Direction::RoundTrip];
    }
    let mut directions = Vec::new();
    if info.direction.up() {
        directions.push(Direction::Up);
    }
    if info.direction.down() {
        directions.push(Direction::Down);
    }
    directions
}

fn stream(info: &SessionInfo, direction: Direction) -> StreamInfo {
    StreamInfo { session: info.session, kind: info.kind, direction, family: info.family }
}

fn round_trip(sample: &Sample) -> Option<CorrectedDelay> {
    let received = sample.received_at.filter(|_| sample.direction == Direction::RoundTrip)?;
    Some(CorrectedDelay { ns: received.since(sample.sent_at), uncertainty_ns: 0 })
}
