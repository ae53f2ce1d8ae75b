//! Sealing: unsealed rows become Parquet segments, without a moment in which a row is in neither place or in both.

use std::fs;
use std::path::PathBuf;

use model::{Sample, UnixNanos, WorkerName};
use parquet::errors::ParquetError;

use crate::directory::{Aside, Directory};
use crate::error::StoreError;
use crate::query::SampleQuery;
use crate::rows;
use crate::segment::SegmentWriter;
use crate::store::{Store, Unsealed};
use crate::{manifest, store};

/// What was sealed; all 0 if it was not time yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealReport {
    pub segments: u64,
    pub samples: u64,
    pub bytes: u64,
}

/// A backlog is cut into files of this many rows, about 10 MB.
const SEGMENT_ROWS: u64 = 1_000_000;

/// Moments of [`Store::seal_all`] at which a test looks at what a crash would leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The file lies aside, whole.
    Written,
    /// The file has its name; the manifest does not know it yet.
    Placed,
    /// Manifest and rows are changed, but not committed.
    Recorded,
    Committed,
}

impl Store {
    /// Seals once enough rows wait or the oldest have waited long enough (see [`crate::StoreOptions`]); else does nothing.
    pub fn seal(&mut self, now: UnixNanos) -> Result<SealReport, StoreError> {
        if self.unsealed.rows == 0 {
            return Ok(SealReport::default());
        }
        let since = *self.unsealed.since.get_or_insert(now);
        let age_ns = i64::try_from(self.options.seal_age.as_nanos()).unwrap_or(i64::MAX);
        if self.unsealed.rows >= self.options.seal_rows as u64 || now.since(since) >= age_ns {
            self.seal_all(now)
        } else {
            Ok(SealReport::default())
        }
    }

    /// Seals every row there is, at once.
    pub fn seal_all(&mut self, now: UnixNanos) -> Result<SealReport, StoreError> {
        self.seal_observed(now, &mut |_| {})
    }

    pub(crate) fn seal_observed(
        &mut self,
        now: UnixNanos,
        observe: &mut dyn FnMut(Step),
    ) -> Result<SealReport, StoreError> {
        if self.unsealed.rows == 0 {
            return Ok(SealReport::default());
        }
        let mut files =
            Files { directory: self.directory.clone(), placed: Vec::new(), open: None, observe, done: false };
        // A file's error leaves the closure by its own way: the transaction's errors are SQLite's.
        let mut failure = None;
        let result = self.write_durably("seal samples", |db| {
            let mut next = manifest::last_id(db)?;
            let mut write = |files: &mut Files<'_>, worker: &WorkerName, sample: &Sample| -> Result<(), StoreError> {
                if files.open.is_none() {
                    next += 1;
                }
                files.push(next, worker, sample)
            };
            // Worker by worker, by name, the order that the files have; rows come sorted within each.
            for worker in rows::workers(db)? {
                let query = SampleQuery { worker: Some(worker), ..SampleQuery::default() };
                rows::visit(db, &query, &mut |worker, sample| match write(&mut files, worker, sample) {
                    Ok(()) => true,
                    Err(error) => {
                        failure = Some(error);
                        false
                    }
                })?;
                if failure.is_some() {
                    return Err(store::aborted());
                }
            }
            if let Err(error) = files.close() {
                failure = Some(error);
                return Err(store::aborted());
            }
            let mut report = SealReport::default();
            for (id, extent, bytes) in &files.placed {
                manifest::add(db, *id, *extent, *bytes, now.0)?;
                report.segments += 1;
                report.samples += extent.rows;
                report.bytes += bytes;
            }
            let deleted = rows::count(db)?;
            // Without a WHERE, SQLite drops whole pages; nothing else can have written blocks meanwhile.
            db.execute("DELETE FROM block", [])?;
            if deleted != report.samples {
                let what = format!("{deleted} unsealed samples, {} of them of known workers", report.samples);
                failure = Some(StoreError::Damaged { path: files.directory.database(), what });
                return Err(store::aborted());
            }
            (files.observe)(Step::Recorded);
            Ok(report)
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let report = result?;
        files.done = true;
        (files.observe)(Step::Committed);
        drop(files);
        self.unsealed = Unsealed::default();
        tracing::debug!(segments = report.segments, samples = report.samples, bytes = report.bytes, "sealed samples");
        Ok(report)
    }
}

/// The files of one sealing. Taken back unless the transaction that names them was committed.
struct Files<'a> {
    directory: Directory,
    placed: Vec<(i64, manifest::Extent, u64)>,
    open: Option<(i64, Aside, SegmentWriter<fs::File>)>,
    observe: &'a mut dyn FnMut(Step),
    done: bool,
}

impl Files<'_> {
    fn path(&self, id: i64) -> PathBuf {
        self.directory.segment(&manifest::file_name(id))
    }

    fn push(&mut self, id: i64, worker: &WorkerName, sample: &Sample) -> Result<(), StoreError> {
        let directory = &self.directory;
        let path = || directory.segment(&manifest::file_name(id));
        let failed = |error: ParquetError| StoreError::parquet("write the segment", &path())(error);
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let path = path();
                let aside = Aside::create(&path, 0o600)?;
                let file = aside.file().try_clone().map_err(StoreError::io("open", &path))?;
                let writer = SegmentWriter::new(file).map_err(failed)?;
                self.open.insert((id, aside, writer))
            }
        };
        open.2.push(worker, sample).map_err(failed)?;
        if open.2.rows() == SEGMENT_ROWS { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some((id, aside, writer)) = self.open.take() else { return Ok(()) };
        let failed = |error: ParquetError| StoreError::parquet("write the segment", &self.path(id))(error);
        let extent = writer.finish().map_err(failed)?;
        (self.observe)(Step::Written);
        let bytes = aside.place()?;
        self.placed.push((id, extent, bytes));
        (self.observe)(Step::Placed);
        Ok(())
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        if !self.done {
            for (id, _, _) in &self.placed {
                // What stays is removed at the next start.
                let _ = fs::remove_file(self.path(*id));
            }
        }
    }
}
