//! Messages of the control plane (HTTPS + JSON under `/api/v1`). Times are integers in nanoseconds; columns of one
//! object have equal lengths, and a receiver refuses the whole message where they do not.

use serde::{Deserialize, Serialize};
use wire::Tos;

use crate::ids::{BootId, SessionId, TaskId, UnixNanos, WorkerName};
use crate::record::Record;
use crate::sample::{Direction, Family, Kind, ReceivedHalf, SampleFlags, SentHalf};
use crate::shaping::{Experiment, Transfer};
use crate::task::{DirectionChoice, Task};

/// Version of these messages; server and worker of neighbouring versions talk to each other.
pub const PROTOCOL: u32 = 1;

/// `POST /api/v1/enroll`, authorised by a join token as bearer: asks for a credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enroll {
    pub protocol: u32,
    /// The program's version, for people.
    pub version: String,
    /// Wanted name; the server appends a number where it is taken.
    pub name: WorkerName,
    /// One measurement by `netlat probe`: the credential ends with it.
    pub ephemeral: bool,
}

/// Answer to [`Enroll`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    pub name: WorkerName,
    /// Bearer token of every later request. A secret.
    pub credential: String,
}

/// `POST /api/v1/sessions`: asks for a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRequest {
    pub boot: BootId,
    pub kind: Kind,
    pub family: Family,
    pub direction: DirectionChoice,
    pub classes: Vec<Tos>,
    pub rate_pps: f64,
    pub size: u16,
    pub task: Option<TaskId>,
    /// What the session's sequence numbers stand for, if it compares classes.
    #[serde(default)]
    pub experiment: Option<Experiment>,
    /// Of an http or tls session.
    #[serde(default)]
    pub syn: Option<SynFingerprint>,
}

/// How a host's kernel opens TCP connections, as a SYN on its own loopback shows. A proxy's own SYN rarely looks the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynFingerprint {
    /// Kinds of the TCP options in their order.
    pub options: Vec<u8>,
    pub window_scale: Option<u8>,
}

/// Answer to [`SessionRequest`]. The keys are secrets: 64 hexadecimal digits each.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionGrant {
    pub session: SessionId,
    pub key_up: String,
    pub key_down: String,
    pub mask_key: String,
    pub seed: u64,
    pub ports: ProbePorts,
    /// Addresses of the server's probe sockets besides the one the control plane was reached at (`--advertise`).
    #[serde(default)]
    pub addresses: Vec<std::net::IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePorts {
    /// UDP, for rtp, udp and clock.
    pub udp: u16,
    /// UDP, for dns.
    pub dns: u16,
    /// TCP, for http and tls.
    pub tcp: u16,
    /// Further ports, UDP and TCP, on which probes of any kind are taken (`--trigger-port`).
    #[serde(default)]
    pub trigger: Vec<u16>,
}

/// `GET /api/v1/tasks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskList {
    /// Empty: the worker runs its default.
    pub tasks: Vec<Task>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentColumns {
    pub sequence: Vec<u32>,
    pub sent_at_ns: Vec<i64>,
    pub tos: Vec<u8>,
    pub size: Vec<u16>,
    pub flags: Vec<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedColumns {
    pub sequence: Vec<u32>,
    pub received_at_ns: Vec<i64>,
    /// -1: not observable.
    pub tos: Vec<i16>,
    /// -1: not observable.
    pub ttl: Vec<i16>,
    pub flags: Vec<u16>,
}

/// Columns of one object had different lengths, or a value was out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("columns of one message differ in length or hold a value out of range")]
pub struct BadColumns;

impl SentColumns {
    pub fn push(&mut self, half: &SentHalf) {
        self.sequence.push(half.sequence);
        self.sent_at_ns.push(half.sent_at.0);
        self.tos.push(half.tos.byte());
        self.size.push(half.size);
        self.flags.push(half.flags.0);
    }

    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    pub fn halves(&self) -> Result<Vec<SentHalf>, BadColumns> {
        let n = self.sequence.len();
        if [self.sent_at_ns.len(), self.tos.len(), self.size.len(), self.flags.len()] != [n; 4] {
            return Err(BadColumns);
        }
        Ok((0..n)
            .map(|i| SentHalf {
                sequence: self.sequence[i],
                sent_at: UnixNanos(self.sent_at_ns[i]),
                tos: Tos::from_byte(self.tos[i]),
                size: self.size[i],
                flags: SampleFlags(self.flags[i]),
            })
            .collect())
    }
}

impl ReceivedColumns {
    pub fn push(&mut self, half: &ReceivedHalf) {
        self.sequence.push(half.sequence);
        self.received_at_ns.push(half.received_at.0);
        self.tos.push(half.tos.map_or(-1, |tos| i16::from(tos.byte())));
        self.ttl.push(half.ttl.map_or(-1, i16::from));
        self.flags.push(half.flags.0);
    }

    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    pub fn halves(&self) -> Result<Vec<ReceivedHalf>, BadColumns> {
        let n = self.sequence.len();
        if [self.received_at_ns.len(), self.tos.len(), self.ttl.len(), self.flags.len()] != [n; 4] {
            return Err(BadColumns);
        }
        let byte = |value: i16| match value {
            -1 => Ok(None),
            value => u8::try_from(value).map(Some).map_err(|_| BadColumns),
        };
        (0..n)
            .map(|i| {
                Ok(ReceivedHalf {
                    sequence: self.sequence[i],
                    received_at: UnixNanos(self.received_at_ns[i]),
                    tos: byte(self.tos[i])?.map(Tos::from_byte),
                    ttl: byte(self.ttl[i])?,
                    flags: SampleFlags(self.flags[i]),
                })
            })
            .collect()
    }
}

/// `POST /api/v1/upload`: what a worker saw. Answered only once it is on the server's disk; sending a batch again is harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub boot: BootId,
    /// Counts up within a boot, from 1.
    pub batch: u64,
    pub sessions: Vec<SessionUpload>,
    /// What the worker saw and measured of media hosts: `media_dns` and `media_ping` of its own name, nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Record>,
    #[serde(default, skip_serializing_if = "WatchCounts::is_empty")]
    pub watched: WatchCounts,
}

impl Upload {
    /// Of sessions alone.
    pub fn of(boot: BootId, batch: u64, sessions: Vec<SessionUpload>) -> Upload {
        Upload { boot, batch, sessions, records: Vec::new(), watched: WatchCounts::default() }
    }
}

/// What the watch of DNS could not read, since the upload before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchCounts {
    /// No DNS, or not all of it.
    pub malformed: u64,
    /// Queries and connections let go because there were too many, or too much of one.
    pub given_up: u64,
    /// Packets that the kernel dropped, and findings that nobody took in time.
    pub missed: u64,
}

impl WatchCounts {
    pub fn is_empty(&self) -> bool {
        *self == WatchCounts::default()
    }

    pub fn add(&mut self, other: &WatchCounts) {
        self.malformed = self.malformed.saturating_add(other.malformed);
        self.given_up = self.given_up.saturating_add(other.given_up);
        self.missed = self.missed.saturating_add(other.missed);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionUpload {
    pub session: SessionId,
    #[serde(default)]
    pub sent: SentColumns,
    #[serde(default)]
    pub received: ReceivedColumns,
    /// Every sequence number up to this one is settled: it was sent so long ago that nothing more is expected of it.
    pub settled_through: Option<u32>,
    /// Nothing more will come of this session.
    pub closed: bool,
    /// Probes the worker's kernel refused to send (never on the wire, so neither sent nor lost).
    #[serde(default)]
    pub send_failures: u64,
    /// Packets on the session's socket that were not authentic.
    #[serde(default)]
    pub foreign: u64,
    /// What could not be done or seen, for people and for the report's reasons.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Hypotheses (by index) whose arms waited differently long between the program and the kernel's transmit stamp: what differs
    /// there is this host's queue and not the path.
    #[serde(default)]
    pub local_queue: Vec<u16>,
    /// TCP transfers that ended since the last upload.
    #[serde(default)]
    pub transfers: Vec<Transfer>,
}

/// Answer to [`Upload`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uploaded {
    pub batch: u64,
    /// Sessions the server does not know (any more): open new ones.
    pub unknown_sessions: Vec<SessionId>,
    /// Changes when the worker's tasks change.
    pub task_revision: u64,
}

/// `GET /api/v1/changed-marks`: marks of the caller's probes that lately arrived here mostly as others, one entry per family
/// that has any. What a worker that can trace looks for on its way up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedMarks {
    pub family: Family,
    /// Sent and received.
    pub marks: Vec<(Tos, Tos)>,
}

/// A finished session, as the catalogue keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    pub session: SessionId,
    pub worker: WorkerName,
    pub boot: BootId,
    pub kind: Kind,
    pub family: Family,
    pub direction: DirectionChoice,
    pub started_at: UnixNanos,
    pub ended_at: Option<UnixNanos>,
    /// The worker's address as the server saw it, and the server's own.
    pub from: Option<String>,
    pub to: Option<String>,
    pub notes: Vec<String>,
    #[serde(default)]
    pub experiment: Option<Experiment>,
    /// Hypotheses (by index) whose arms waited differently long on their way out of the worker itself.
    #[serde(default)]
    pub local_queue: Vec<u16>,
    /// In order of sequence.
    #[serde(default)]
    pub transfers: Vec<Transfer>,
}

/// Which halves a stream of one session and direction is made of.
pub fn sender_is_worker(direction: Direction) -> bool {
    direction != Direction::Down
}

/// Body of every error answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word such as `bad_credential`.
    pub error: String,
    /// One line for people: what failed and what to do.
    pub message: String,
}
