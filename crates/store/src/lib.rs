//! Samples on disk: an SQLite catalogue with the newest rows and the rollups, Parquet segments for the rest, export.
//! The only crate with SQL; it measures nothing and judges nothing.
//!
//! One [`Store`] writes a data directory at a time, any number of [`Reader`]s look at it meanwhile, from any process.
//!
//! ```text
//! netlat.db        SQLite (WAL): workers, credentials, tasks, sessions, pending halves, unsealed samples, rollups, manifest
//! segments/*.parquet   sealed samples; each named in the manifest, none ever changed
//! netlat.lock      held by the one writer
//! ```
//!
//! What holds after a crash: whatever [`Store::commit`] answered `Ok` for survives a killed process. After a power loss
//! the directory is consistent (a commit is there whole or not at all, nothing is there twice), but the last commits
//! before it, up to the last checkpoint, may be gone: SQLite runs with `synchronous = NORMAL`. Sealing and
//! retention wait for the disk, so no row is ever only in a file that the disk does not have.

mod alerts;
mod apply;
mod catalogue;
mod commit;
#[cfg(test)]
mod crash_tests;
mod credentials;
mod directory;
mod engine;
mod error;
mod export;
mod manifest;
mod options;
mod pack;
mod pending;
mod query;
mod reader;
mod record_export;
mod record_rollup;
mod records;
mod retain;
mod rollup;
mod rows;
mod schema;
mod seal;
mod segment;
mod segment_read;
mod sessions;
mod sketch;
mod store;
mod tasks;
#[cfg(test)]
mod testing;
mod traces;
mod verdicts;

pub use alerts::{AlertCommit, AlertNote, AlertState};
pub use commit::{
    ClockRow, Commit, CorrectedDelay, Halves, PendingHalves, Seen, SessionNote, StoredSample, WorkerSamples,
};
pub use credentials::{CredentialRow, WorkerRow};
pub use engine::{SampleSource, SampleStore};
pub use error::StoreError;
pub use export::ExportFormat;
pub use options::StoreOptions;
pub use query::{Period, RollupQuery, SampleQuery, SessionQuery, TimeQuery};
pub use reader::{Reader, StorageSize};
pub use record_rollup::{RecordRollup, RecordRollupQuery, RecordTally};
pub use records::RecordQuery;
pub use retain::RetentionReport;
pub use rollup::{Rollup, Tally};
pub use rows::time_of;
pub use seal::SealReport;
pub use sessions::{OpenSession, SessionKeys, SessionPlan};
pub use sketch::DelaySketch;
pub use store::Store;
pub use traces::TraceRow;
pub use verdicts::{Stated, VerdictRow};
