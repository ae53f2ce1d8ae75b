//! Builds a report from a data directory: reads through the store, judges through `measure`.

use model::deployment::LONGEST_CSV;
use model::report::{Application, Media, Path, Report, SCHEMA, VerdictChange};
use model::{Sample, UnixNanos, WorkerName};
use store::{ExportFormat, Reader, RecordQuery, SampleQuery, SessionQuery, Stated, TimeQuery, VerdictRow};

use crate::{ServerError, changed};

/// The paths of one worker, or of all of them, since a moment.
pub fn build(
    data_dir: &std::path::Path,
    worker: Option<&WorkerName>,
    since: Option<UnixNanos>,
    now: UnixNanos,
) -> Result<Report, ServerError> {
    let reader = Reader::open(data_dir)?;
    let (mut paths, mut untested) = (Vec::new(), Vec::new());
    for row in reader.workers()? {
        if worker.is_some_and(|worker| *worker != row.name) {
            continue;
        }
        let sessions =
            reader.sessions(&SessionQuery { worker: Some(row.name.clone()), since, ..SessionQuery::default() })?;
        let source = WorkerSamples { reader: &reader, worker: &row.name, since };
        let info = |id| sessions.iter().find(|info| info.session == id).cloned();
        let config = measure::ReportConfig::default();
        let mut built = measure::build_paths(&row.name, &source, &info, &config).map_err(ServerError::Samples)?;
        measure::report::add_transfers(&row.name, &mut built, &sessions);
        add_watched(&mut built, reader.verdicts(Some(&row.name))?);
        untested.extend(changed::place_findings(&reader, &row, &mut built, now)?);
        paths.extend(built);
    }
    let query = TimeQuery { worker: worker.cloned(), since, until: None };
    let changes = reader.verdict_changes(&query)?.iter().filter_map(change).collect();
    let (applications, media) = applications(&reader, worker, since)?;
    Ok(Report { schema: SCHEMA.to_owned(), generated_at: rfc3339(now), paths, applications, media, untested, changes })
}

/// Verdicts of an endless watch are not the window's: they are in force.
fn add_watched(paths: &mut [Path], rows: Vec<VerdictRow>) {
    for row in rows {
        let same = |path: &&mut Path| path.direction == row.direction && path.family == row.family;
        let Some(path) = paths.iter_mut().find(same) else { continue };
        match row.stated {
            Stated::Entry(entry) => path.differentiation.push(*entry),
            Stated::RateLimit(limit) => path.rate_limit = path.rate_limit.take().or(limit),
        }
    }
}

fn change(row: &VerdictRow) -> Option<VerdictChange> {
    let Stated::Entry(entry) = &row.stated else { return None };
    Some(VerdictChange {
        at: rfc3339(row.at),
        worker: row.worker.clone(),
        direction: row.direction,
        family: row.family,
        subject: entry.subject.clone(),
        control: entry.control.clone(),
        from: row.changed_from?,
        to: entry.verdict,
    })
}

/// The applications' part alone, which needs no samples.
pub fn applications_of(
    data_dir: &std::path::Path,
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
pub fn csv_of(data_dir: &std::path::Path, since_us: i64) -> Result<Option<String>, ServerError> {
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
