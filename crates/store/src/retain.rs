//! Deleting what is too old or too much, oldest first, and saying so.

use std::fs;

use model::UnixNanos;
use rusqlite::{Transaction, params};

use crate::directory::sync_directory;
use crate::error::StoreError;
use crate::manifest;
use crate::query::{Period, SampleQuery};
use crate::store::Store;
use crate::{record_rollup, rows};

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    pub segments: u64,
    pub samples: u64,
    /// Of these segments.
    pub bytes: u64,
    pub minute_rollups: u64,
    pub clocks: u64,
    pub sessions: u64,
    pub join_tokens: u64,
    pub records: u64,
}

const DAY_NS: i64 = 86_400_000_000_000;

fn days_before(now: UnixNanos, days: u32) -> UnixNanos {
    now.plus(-(i64::from(days).saturating_mul(DAY_NS)))
}

impl Store {
    /// Raw samples go `raw_days` after they were sealed (not by their own times, which a worker's clock may have got
    /// wrong), minute rollups, clocks and records after `minute_days`, and beyond `max_bytes` the oldest segments. Ended
    /// sessions go with their samples. Files are deleted only once the manifest without them is on the disk.
    pub fn retain(&mut self, now: UnixNanos) -> Result<RetentionReport, StoreError> {
        let raw_before = days_before(now, self.options.raw_days);
        let minutes_before = days_before(now, self.options.minute_days);
        let max_bytes = self.options.max_bytes;
        let (report, files, kept_bytes) = self.write_durably("delete what is too old", |db| {
            let mut report = RetentionReport::default();
            let database_bytes = database_bytes(db)?;
            let (files, kept_bytes) = drop_segments(db, raw_before, max_bytes, database_bytes, &mut report)?;
            drop_rows(db, now, raw_before, minutes_before, &mut report)?;
            Ok((report, files, kept_bytes.saturating_add(database_bytes)))
        })?;

        for file in &files {
            let path = self.directory.segment(file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    // No longer named, so the next start removes it.
                    tracing::warn!(file = %path.display(), %error, "could not delete a segment");
                }
                _ => {}
            }
        }
        if !files.is_empty() {
            sync_directory(&self.directory.segments())?;
        }
        if report != RetentionReport::default() {
            tracing::info!(
                segments = report.segments,
                samples = report.samples,
                bytes = report.bytes,
                minute_rollups = report.minute_rollups,
                clocks = report.clocks,
                sessions = report.sessions,
                join_tokens = report.join_tokens,
                records = report.records,
                "deleted what was too old or too much"
            );
        }
        if kept_bytes > max_bytes {
            tracing::warn!(
                bytes = kept_bytes,
                limit = max_bytes,
                "the catalogue and rollups alone are above the size limit"
            );
        }
        Ok(report)
    }
}

/// Pages in use; the log comes on top, at most 16 MiB at rest.
pub(crate) fn database_bytes(db: &rusqlite::Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()", [], |row| {
        row.get::<_, i64>(0)
    })
    .map(|bytes| bytes as u64)
}

/// Names of the files to delete, and the bytes of those that stay.
fn drop_segments(
    db: &Transaction<'_>,
    raw_before: UnixNanos,
    max_bytes: u64,
    database_bytes: u64,
    report: &mut RetentionReport,
) -> rusqlite::Result<(Vec<String>, u64)> {
    let too_old: i64 =
        db.query_row("SELECT coalesce(max(id), 0) FROM segment WHERE sealed_at < ?", [raw_before.0], |row| row.get(0))?;
    let segments = manifest::list(db, 0, &SampleQuery::default())?;
    let mut kept_bytes: u64 = segments.iter().map(|segment| segment.bytes as u64).sum();
    let mut files = Vec::new();
    for segment in segments {
        if segment.id > too_old && kept_bytes.saturating_add(database_bytes) <= max_bytes {
            break;
        }
        db.prepare_cached("DELETE FROM segment WHERE id = ?")?.execute([segment.id])?;
        kept_bytes -= segment.bytes as u64;
        report.segments += 1;
        report.samples += segment.rows as u64;
        report.bytes += segment.bytes as u64;
        files.push(segment.file);
    }
    Ok((files, kept_bytes))
}

fn drop_rows(
    db: &Transaction<'_>,
    now: UnixNanos,
    raw_before: UnixNanos,
    minutes_before: UnixNanos,
    report: &mut RetentionReport,
) -> rusqlite::Result<()> {
    // The last bucket that had ended by then.
    let last_start = minutes_before.0.div_euclid(1_000_000_000) - Period::Minute.seconds();
    // Worker by worker: the key's order, so that nothing is read but what goes.
    for worker in rows::worker_names(db)?.into_keys() {
        report.minute_rollups += db
            .prepare_cached("DELETE FROM rollup WHERE period = ? AND worker = ? AND start_s <= ?")?
            .execute(params![Period::Minute as u8, worker, last_start])? as u64;
        report.clocks += db
            .prepare_cached("DELETE FROM clock WHERE worker = ? AND at < ?")?
            .execute(params![worker, minutes_before.0])? as u64;
    }
    for worker in record_rollup::names(db)? {
        db.prepare_cached("DELETE FROM record_rollup WHERE period = ? AND worker = ? AND start_s <= ?")?
            .execute(params![Period::Minute as u8, worker.as_str(), last_start])?;
    }
    report.records = db.execute("DELETE FROM record WHERE at_us < ?", [minutes_before.0.div_euclid(1000)])? as u64;
    report.sessions = db.execute("DELETE FROM session WHERE ended_at < ?", [raw_before.0])? as u64;
    if report.sessions > 0 {
        db.execute("DELETE FROM pending WHERE session NOT IN (SELECT id FROM session)", [])?;
        db.execute("DELETE FROM resolved WHERE session NOT IN (SELECT id FROM session)", [])?;
    }
    report.join_tokens = db.execute("DELETE FROM join_token WHERE expires_at <= ?1 OR uses_left = 0", [now.0])? as u64;
    Ok(())
}
