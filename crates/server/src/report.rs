//! Builds a report from a data directory: reads through the store, judges through `measure`.

use std::path::Path;

use model::deployment::LONGEST_CSV;
use model::report::{Application, Media, Report, SCHEMA};
use model::{Sample, UnixNanos, WorkerName};
use store::{ExportFormat, Reader, RecordQuery, SampleQuery, SessionQuery};

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

/// Records since a moment as CSV. `None` if that is longer than may be handed out in one piece.
pub fn csv_of(data_dir: &Path, since_us: i64) -> Result<Option<String>, ServerError> {
    let query = RecordQuery { since_us: Some(since_us), ..RecordQuery::default() };
    let mut out = Bounded(Vec::new());
    match Reader::open(data_dir)?.export_records_to(ExportFormat::Csv, &query, &mut out) {
        // Records are printable ASCII.
        Ok(_) => Ok(String::from_utf8(out.0).ok()),
        Err(_) if out.0.len() >= LONGEST_CSV => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses what goes beyond [`LONGEST_CSV`].
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = LONGEST_CSV - self.0.len();
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
