//! Builds a report from a data directory: reads through the store, judges through `measure`.

use std::path::Path;

use model::report::{Application, Media, Report, SCHEMA};
use model::{Sample, UnixNanos, WorkerName};
use store::{Reader, RecordQuery, SampleQuery, SessionQuery};

use crate::ServerError;

/// The paths of one worker, or of all of them, since a moment.
pub fn build(
    data_dir: &Path,
    worker: Option<&WorkerName>,
    since: Option<UnixNanos>,
    now: UnixNanos,
) -> Result<Report, ServerError> {
    let reader = Reader::open(data_dir)?;
    let mut paths = Vec::new();
    for row in reader.workers()? {
        if worker.is_some_and(|worker| *worker != row.name) {
            continue;
        }
        let sessions =
            reader.sessions(&SessionQuery { worker: Some(row.name.clone()), since, ..SessionQuery::default() })?;
        let source = WorkerSamples { reader: &reader, worker: &row.name, since };
        let info = |id| sessions.iter().find(|info| info.session == id).cloned();
        let config = measure::ReportConfig::default();
        let built = measure::build_paths(&row.name, &source, &info, &config).map_err(ServerError::Samples)?;
        paths.extend(built);
    }
    let (applications, media) = applications(&reader, worker, since)?;
    Ok(Report {
        schema: SCHEMA.to_owned(),
        generated_at: rfc3339(now),
        paths,
        applications,
        media,
        untested: Vec::new(),
    })
}

/// The applications' part alone, which needs no samples.
pub fn applications_of(
    data_dir: &Path,
    worker: Option<&WorkerName>,
    since: Option<UnixNanos>,
) -> Result<Vec<Application>, ServerError> {
    Ok(applications(&Reader::open(data_dir)?, worker, since)?.0)
}

fn applications(
    reader: &Reader,
    worker: Option<&WorkerName>,
    since: Option<UnixNanos>,
) -> Result<(Vec<Application>, Vec<Media>), ServerError> {
    let query =
        RecordQuery { worker: worker.cloned(), since_us: since.map(model::record::micros), ..RecordQuery::default() };
    let mut all = measure::applications::Applications::default();
    reader.records(&query, &mut |record| {
        all.add(&record);
        true
    })?;
    // Names of media hosts are the matter of whoever knows Discord: the caller names their cities.
    Ok(all.finish(&|_| None))
}

struct WorkerSamples<'a> {
    reader: &'a Reader,
    worker: &'a WorkerName,
    since: Option<UnixNanos>,
}

impl measure::report::SampleSource for WorkerSamples<'_> {
    fn visit(&self, visitor: &mut dyn FnMut(&Sample)) -> Result<(), measure::SourceError> {
        let query = SampleQuery { worker: Some(self.worker.clone()), since: self.since, ..SampleQuery::default() };
        self.reader.samples(&query, &mut |_, sample| visitor(sample))?;
        Ok(())
    }
}

/// UTC with seconds, as RFC 3339 wants it.
pub fn rfc3339(at: UnixNanos) -> String {
    time::OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1_000_000_000))
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_default()
}
