//! Measurement without I/O: when to send which class, joining what both ends saw, the clock model, delay, loss and
//! reordering, what happened to the marks, and the report built from all of it.
//!
//! No clock reads, sockets, files, environment, threads or ambient randomness: time and seed are arguments, so equal
//! input gives equal output, and a test is a simulated link in virtual time.

mod random;
mod waiting;

pub mod alert;
pub mod applications;
pub mod clock;
pub mod delay;
pub mod join;
pub mod remarking;
pub mod report;
pub mod schedule;
pub mod shaping;
pub mod words;

pub use clock::{ClockModel, ClockSegment, ClockTracker, Delay, Exchange, Offset};
pub use join::{JoinCounters, Joiner, StreamInfo};
pub use remarking::{Judgement, MarkCounts, RemarkingConfig, judge};
pub use report::{ReportConfig, SampleSource, SourceError, build_paths};
pub use schedule::{Schedule, Slot};
