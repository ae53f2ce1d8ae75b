//! What NetLat's crates tell each other: ids, tasks, samples, reports and control-plane messages.
//! Data and its JSON form only: no I/O, no clock, no arithmetic on measurements.

pub mod control;
pub mod deployment;
pub mod ids;
pub mod record;
pub mod report;
pub mod sample;
pub mod shaping;
pub mod task;

pub use control::{Enroll, Enrolled, SessionGrant, SessionRequest, SessionUpload, Upload, Uploaded};
pub use deployment::{
    Answer, Cursor, Deployment, Problem, RecordSubmission, RecordsAccepted, SERVER_BOT, TaskReceiver, WorkerState,
};
pub use ids::{BootId, InvalidName, SessionId, TaskId, UnixNanos, WorkerName};
pub use record::{Instrument, Measurement, Metric, Record, RecordId};
pub use report::Report;
pub use sample::{Direction, Family, Kind, ReceivedHalf, Sample, SampleFlags, SentHalf};
pub use task::{DirectionChoice, Duration, Task, TaskSpec};
pub use wire::{Dscp, Ecn, Tos};
