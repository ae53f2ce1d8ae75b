//! Puts the two halves of every probe together, in order of sequence, in bounded memory. Keeps nothing on disk: the
//! caller stores the drained samples and [`Joiner::resolved_through`] in one transaction and restores from that.

use model::{Direction, Family, Kind, ReceivedHalf, Sample, SampleFlags, SentHalf, SessionId, Tos, UnixNanos};

use crate::waiting::Waiting;

/// Sequences a stream holds unresolved at most; beyond that the oldest are given up as unobserved.
pub const MAX_PENDING: usize = 1 << 20;

/// One stream is one session in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    pub session: SessionId,
    pub kind: Kind,
    pub direction: Direction,
    pub family: Family,
}

/// What did not become a sample, and what arrived too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinCounters {
    /// Further copies of a packet, received before its sequence was resolved.
    pub duplicates: u64,
    /// Packets received after their sequence was resolved (as lost, or as received: a late copy).
    pub late: u64,
    /// Packets received of which the sender knows nothing.
    pub unmatched: u64,
    /// Probes whose other half the server could not observe: it was restarted, or [`MAX_PENDING`] was exceeded.
    /// Neither lost nor received.
    pub unobserved: u64,
    /// Halves that were given before (a batch uploaded again); ignored.
    pub replayed: u64,
    /// Sequences given up because of [`MAX_PENDING`]; those without both halves are also in `unobserved`.
    pub overflow: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: UnixNanos,
    tos: Tos,
    size: u16,
    flags: SampleFlags,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    at: UnixNanos,
    tos: Option<Tos>,
    ttl: Option<u8>,
    flags: SampleFlags,
    /// Copies that the socket saw, and that passive capture saw.
    by_socket: u32,
    by_capture: u32,
}

/// What a further received half of the same sequence is.
enum Again {
    /// The same observation given again.
    Replay,
    /// One more packet on the wire.
    Copy,
    /// The same packet seen by socket and by capture.
    OtherReader,
}

impl Received {
    fn first(half: &ReceivedHalf, flags: SampleFlags) -> Received {
        let captured = half.flags.has(SampleFlags::CAPTURED);
        Received {
            at: half.received_at,
            tos: half.tos,
            ttl: half.ttl,
            flags,
            by_socket: u32::from(!captured),
            by_capture: u32::from(captured),
        }
    }

    fn again(&mut self, half: &ReceivedHalf) -> Again {
        let captured = half.flags.has(SampleFlags::CAPTURED);
        let copies = self.by_socket.max(self.by_capture);
        let same_reader = if captured { self.by_capture } else { self.by_socket };
        // A copy that the network made has its own time; the same time again is the same observation again.
        if same_reader > 0 && self.at == half.received_at && self.ttl == half.ttl {
            return Again::Replay;
        }
        if captured {
            self.by_capture += 1;
        } else {
            self.by_socket += 1;
        }
        if self.by_socket.max(self.by_capture) > copies {
            self.flags = self.flags.with(SampleFlags::DUPLICATED);
            return Again::Copy;
        }
        self.complete(half, captured);
        Again::OtherReader
    }

    /// Capture sees the very packet: its mark, TTL and stamp stand before what a socket knows.
    fn complete(&mut self, half: &ReceivedHalf, captured: bool) {
        let reader = SampleFlags::SYN_MARK.with(SampleFlags::RX_USER);
        let lasting = |flags: SampleFlags| SampleFlags(flags.0 & !reader.0);
        if captured {
            self.at = half.received_at;
            self.tos = half.tos.or(self.tos);
            self.ttl = half.ttl.or(self.ttl);
            let syn = if half.tos.is_some() { 0 } else { self.flags.0 & SampleFlags::SYN_MARK.0 };
            self.flags = lasting(self.flags).with(half.flags).with(SampleFlags(syn));
        } else {
            self.tos = self.tos.or(half.tos);
            self.ttl = self.ttl.or(half.ttl);
            self.flags = self.flags.with(lasting(half.flags));
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    sent: Option<Sent>,
    received: Option<Received>,
}

/// How far packets overtake one another: a restarted server may have observed, and forgotten, sequences this much larger
/// than the first one that it observes again.
pub const REORDERING_MARGIN: u32 = 64;

/// What a restarted server has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blind {
    /// Nothing observed yet since the restart.
    Everything,
    Below(u32),
}

/// Joins one stream. Received halves are given in order of arrival; sent halves in any order; both may be given again.
#[derive(Clone, Debug)]
pub struct Joiner {
    info: StreamInfo,
    pending: Waiting<Pending>,
    /// Every sequence below is resolved and drained. One more than a `u32` holds at the end.
    next: u64,
    /// Every sequence below is settled, drained or not.
    settled: u64,
    /// Every sequence below was resolved before a restart.
    restored: u64,
    blind: Blind,
    /// The largest sequence received and when (RFC 4737, NextExp - 1).
    newest: Option<(u32, UnixNanos)>,
    ready: Vec<Sample>,
    counters: JoinCounters,
    max_pending: usize,
}

impl Joiner {
    /// A stream from its start.
    pub fn new(info: StreamInfo) -> Joiner {
        Joiner {
            info,
            pending: Waiting::default(),
            next: 0,
            settled: 0,
            restored: 0,
            blind: Blind::Below(0),
            newest: None,
            ready: Vec::new(),
            counters: JoinCounters::default(),
            max_pending: MAX_PENDING,
        }
    }

    /// A stream that a restarted server goes on with. Sequences up to `resolved_through` are done: their halves are
    /// ignored. Later ones were possibly observed by the server's former self, which forgot them; so until the first
    /// sequence that the server observes itself (it receives in `Up`, it sends in `Down`; in `RoundTrip` the worker
    /// reports both, and its first sent half counts) and [`REORDERING_MARGIN`] beyond it, what lacks the server's half is
    /// `unobserved`: never lost, never unmatched.
    pub fn restore(info: StreamInfo, resolved_through: Option<u32>) -> Joiner {
        let done = resolved_through.map_or(0, |sequence| u64::from(sequence) + 1);
        Joiner { next: done, settled: done, restored: done, blind: Blind::Everything, ..Joiner::new(info) }
    }

    /// After [`Joiner::restore`] and the halves that the former self had stored: what is given from here on is observed now.
    pub fn end_of_replay(&mut self) {
        self.blind = Blind::Everything;
    }

    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    pub fn sent(&mut self, halves: &[SentHalf]) {
        for half in halves {
            if u64::from(half.sequence) < self.settled {
                self.counters.replayed += 1;
                continue;
            }
            if self.info.direction != Direction::Up {
                self.observed(half.sequence);
            }
            let pending = self.pending.get_or_default(half.sequence);
            if pending.sent.is_some() {
                self.counters.replayed += 1;
                continue;
            }
            pending.sent = Some(Sent { at: half.sent_at, tos: half.tos, size: half.size, flags: half.flags });
            self.bound();
        }
    }

    /// Halves in order of arrival.
    pub fn received(&mut self, halves: &[ReceivedHalf]) {
        for half in halves {
            self.receive(half);
        }
    }

    fn receive(&mut self, half: &ReceivedHalf) {
        let sequence = u64::from(half.sequence);
        if sequence < self.restored {
            self.counters.replayed += 1;
            return;
        }
        if sequence < self.settled {
            self.counters.late += 1;
            return;
        }
        if self.info.direction == Direction::Up {
            self.observed(half.sequence);
        }
        let pending = self.pending.get_or_default(half.sequence);
        if let Some(first) = &mut pending.received {
            match first.again(half) {
                Again::Replay => self.counters.replayed += 1,
                Again::Copy => self.counters.duplicates += 1,
                Again::OtherReader => {}
            }
            return;
        }
        let mut flags = half.flags;
        match self.newest {
            // The time guards against halves handed over in another order than they arrived in.
            Some((newest, at)) if half.sequence < newest => {
                if half.received_at >= at {
                    flags = flags.with(SampleFlags::REORDERED);
                }
            }
            _ => self.newest = Some((half.sequence, half.received_at)),
        }
        pending.received = Some(Received::first(half, flags));
        self.bound();
    }

    /// The server itself observed this sequence: it sees again what comes after.
    fn observed(&mut self, sequence: u32) {
        if self.blind == Blind::Everything {
            self.blind = Blind::Below(sequence.saturating_add(REORDERING_MARGIN));
        }
    }

    /// Every sequence up to this one was sent so long ago that nothing more is expected of it: what was sent and not
    /// received is lost now, what was received and never sent is unmatched. Give the halves known so far first.
    pub fn settled_through(&mut self, sequence: u32) {
        self.settled = self.settled.max(u64::from(sequence) + 1);
    }

    /// Nothing more will come: everything left is settled.
    pub fn close(&mut self) {
        self.settled_through(u32::MAX);
    }

    /// Appends the finished samples in order of sequence, each sequence once. Stops at the first sequence of which
    /// something may still come: one half is missing, or nothing of it was seen yet.
    pub fn drain(&mut self, out: &mut Vec<Sample>) {
        out.append(&mut self.ready);
        while let Some((sequence, _)) = self.pending.first()
            && u64::from(sequence) < self.settled
            && let Some((sequence, pending)) = self.pending.pop_first()
        {
            out.extend(self.resolve(sequence, pending));
        }
        self.next = self.next.max(self.settled);
        while let Some((sequence, pending)) = self.pending.first() {
            let complete = pending.sent.is_some() && pending.received.is_some();
            if u64::from(sequence) != self.next || !complete {
                break;
            }
            let Some((sequence, pending)) = self.pending.pop_first() else { break };
            self.next += 1;
            out.extend(self.resolve(sequence, pending));
        }
        self.settled = self.next;
        self.pending.shrink();
    }

    /// Up to this sequence everything is resolved and drained; store it together with the drained samples.
    pub fn resolved_through(&self) -> Option<u32> {
        self.next.checked_sub(1).map(|sequence| sequence as u32)
    }

    pub fn counters(&self) -> JoinCounters {
        self.counters
    }

    /// Sequences that wait for their other half.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn resolve(&mut self, sequence: u32, pending: Pending) -> Option<Sample> {
        let blind = match self.blind {
            Blind::Everything => true,
            Blind::Below(first) => sequence < first,
        };
        let up = self.info.direction == Direction::Up;
        match (pending.sent, pending.received) {
            (Some(_), None) if blind && up => self.counters.unobserved += 1,
            (None, Some(_)) if blind && !up => self.counters.unobserved += 1,
            (None, Some(_)) => self.counters.unmatched += 1,
            (Some(sent), received) => return Some(self.sample(sequence, sent, received)),
            (None, None) => {}
        }
        None
    }

    fn sample(&self, sequence: u32, sent: Sent, received: Option<Received>) -> Sample {
        Sample {
            session: self.info.session,
            sequence,
            kind: self.info.kind,
            direction: self.info.direction,
            family: self.info.family,
            tos_sent: sent.tos,
            tos_received: received.and_then(|half| half.tos),
            sent_at: sent.at,
            received_at: received.map(|half| half.at),
            ttl: received.and_then(|half| half.ttl),
            size: sent.size,
            flags: received.map_or(sent.flags, |half| sent.flags.with(half.flags)),
        }
    }

    /// Gives the oldest sequence up where there are too many.
    fn bound(&mut self) {
        if self.pending.len() <= self.max_pending {
            return;
        }
        let Some((sequence, pending)) = self.pending.pop_first() else { return };
        self.counters.overflow += 1;
        let was_settled = u64::from(sequence) < self.settled;
        self.settled = self.settled.max(u64::from(sequence) + 1);
        if was_settled || (pending.sent.is_some() && pending.received.is_some()) {
            let sample = self.resolve(sequence, pending);
            self.ready.extend(sample);
        } else {
            self.counters.unobserved += 1;
        }
    }
}
