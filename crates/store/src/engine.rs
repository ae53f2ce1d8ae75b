//! What the rest of NetLat asks of whatever keeps the samples, so that an engine for many machines can stand in.
//!
//! Only the samples and their sums are meant: the catalogue (credentials, tasks, sessions) is small and stays in SQLite.
//! Such an engine has no transaction over both. What it must keep to is written at each method, and is what an engine
//! that inserts first, drops repeated inserts by (session, direction, sequence), and then commits the catalogue can keep.

use model::{BootId, Sample, UnixNanos, WorkerName};

use crate::commit::Commit;
use crate::error::StoreError;
use crate::query::{RollupQuery, SampleQuery};
use crate::reader::Reader;
use crate::retain::RetentionReport;
use crate::rollup::Rollup;
use crate::seal::SealReport;
use crate::store::Store;

/// Takes samples in. One writer.
pub trait SampleStore: Send {
    /// After `Ok` all of it is found by every [`SampleSource`] and survives this process. After an error none of it is,
    /// or committing the same again completes it: nothing is ever there twice.
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// The newest batch whose commit was answered `Ok`.
    fn last_batch(&self, worker: &WorkerName, boot: BootId) -> Result<Option<u64>, StoreError>;

    /// Whatever the engine has to do now and then; to be called about once a minute.
    fn maintain(&mut self, now: UnixNanos) -> Result<(SealReport, RetentionReport), StoreError>;
}

/// Gives samples back.
pub trait SampleSource {
    /// Every sample of the query once, in no promised order between sessions. Answers with their number.
    fn samples(&self, query: &SampleQuery, f: &mut dyn FnMut(&WorkerName, &Sample)) -> Result<u64, StoreError>;

    /// Every rollup of the query once, by worker's name and then by time. Answers with their number.
    fn rollups(&self, query: &RollupQuery, f: &mut dyn FnMut(Rollup)) -> Result<u64, StoreError>;
}

impl SampleStore for Store {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        Store::commit(self, commit)
    }

    fn last_batch(&self, worker: &WorkerName, boot: BootId) -> Result<Option<u64>, StoreError> {
        Store::last_batch(self, worker, boot)
    }

    fn maintain(&mut self, now: UnixNanos) -> Result<(SealReport, RetentionReport), StoreError> {
        Ok((self.seal(now)?, self.retain(now)?))
    }
}

impl SampleSource for Reader {
    fn samples(&self, query: &SampleQuery, f: &mut dyn FnMut(&WorkerName, &Sample)) -> Result<u64, StoreError> {
        Reader::samples(self, query, f)
    }

    fn rollups(&self, query: &RollupQuery, f: &mut dyn FnMut(Rollup)) -> Result<u64, StoreError> {
        Reader::rollups(self, query, f)
    }
}
