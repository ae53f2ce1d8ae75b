//! What one transaction writes: samples together with everything that says where they came from.

use crate::verdicts::VerdictRow;
use model::{BootId, Direction, ReceivedHalf, Record, Sample, SentHalf, SessionId, UnixNanos, WorkerName};

/// Everything in it is written in one transaction, or nothing of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// Those of one stream come in order of sequence, within a commit and from one to the next.
    pub samples: Vec<WorkerSamples>,
    /// Sessions whose samples are kept but not summed up: an experiment's trains are sent to be lost.
    pub not_summed: Vec<SessionId>,
    /// Halves that wait for their other half, so that a restart does not lose them.
    pub pending_add: Vec<PendingHalves>,
    /// Every probe of the stream up to this sequence number is a sample now: pending halves of the stream that
    /// hold nothing newer are deleted. A watermark only rises.
    pub resolved: Vec<(SessionId, Direction, u32)>,
    /// The newest batch taken from this start of this worker. Only rises.
    pub batches: Vec<(WorkerName, BootId, u64)>,
    /// Sessions that ended; their keys are forgotten.
    pub ended: Vec<(SessionId, UnixNanos)>,
    pub notes: Vec<SessionNote>,
    /// Name and what to add to it: drops such as `forged`, `replayed`, `truncated`.
    pub counters: Vec<(String, u64)>,
    pub clocks: Vec<ClockRow>,
    /// When the server last heard of a worker.
    pub seen: Vec<Seen>,
    /// Verdicts of running workers that changed, or whose evidence grew.
    pub verdicts: Vec<VerdictRow>,
    /// What workers measured of media hosts. Must have passed [`model::Record::check`]; those that are there are left alone.
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub worker: WorkerName,
    pub at: UnixNanos,
    /// What it holds on its own disk behind the upload that said so.
    pub waiting_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSamples {
    pub worker: WorkerName,
    pub samples: Vec<StoredSample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSample {
    pub sample: Sample,
    /// Feeds the rollups' sketches and nothing else; `None` for a lost probe or before the clock model has settled.
    pub delay: Option<CorrectedDelay>,
}

/// A one-way delay after clock correction, or a round-trip time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorrectedDelay {
    /// May be negative within the clock's uncertainty.
    pub ns: i64,
    pub uncertainty_ns: i64,
}

/// Halves of one stream that wait for their other halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingHalves {
    pub session: SessionId,
    pub direction: Direction,
    pub halves: Halves,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halves {
    Sent(Vec<SentHalf>),
    Received(Vec<ReceivedHalf>),
}

/// What became known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionNote {
    pub session: SessionId,
    /// `None` leaves what is there.
    pub from: Option<String>,
    /// `None` leaves what is there.
    pub to: Option<String>,
    /// Added unless there already; at most 64 notes of 500 characters are kept of a session.
    pub notes: Vec<String>,
    /// Hypotheses whose arms the worker's own queue tells apart; added to those known.
    pub local_queue: Vec<u16>,
    /// Added to those known, one for each sequence.
    pub transfers: Vec<model::shaping::Transfer>,
}

/// A worker's clock against the server's at one time: server time = worker time + offset.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockRow {
    pub worker: WorkerName,
    /// On the server's clock.
    pub at: UnixNanos,
    pub offset_ns: i64,
    pub uncertainty_ns: i64,
    pub skew_ppm: f64,
    /// Steps found so far.
    pub steps: u32,
}
