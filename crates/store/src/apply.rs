//! The transaction behind [`Store::commit`].

use rusqlite::{Transaction, params};

use crate::commit::Commit;
use crate::credentials::worker_id;
use crate::error::StoreError;
use crate::rollup::Increments;
use crate::rows::{self, time_of};
use crate::sessions;
use crate::store::Store;
use crate::verdicts;

impl Store {
    /// Writes all of it in one transaction. On an error nothing of it was written, and it may be tried again.
    /// A sample whose session, direction, sequence and time are there already, unsealed, is neither added nor counted again.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let written = self.write("save samples", |db| apply(db, commit))?;
        self.unsealed.rows += written;
        let offered: usize = commit.samples.iter().map(|worker| worker.samples.len()).sum();
        if (written as usize) < offered {
            tracing::warn!(samples = offered - written as usize, "left samples out that were stored already");
        }
        Ok(())
    }
}

/// How many samples were new.
fn apply(db: &Transaction<'_>, commit: &Commit) -> rusqlite::Result<u64> {
    let written = add_samples(db, commit)?;

    for blob in &commit.pending_add {
        db.prepare_cached(
            "INSERT INTO pending (session, direction, side, max_sequence, bytes) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            blob.session.0,
            blob.direction as u8,
            blob.side as u8,
            blob.max_sequence,
            blob.bytes
        ])?;
    }
    for (session, direction, sequence) in &commit.resolved {
        db.prepare_cached(
            "INSERT INTO resolved (session, direction, sequence) VALUES (?, ?, ?) ON CONFLICT (session, direction) \
             DO UPDATE SET sequence = max(sequence, excluded.sequence)",
        )?
        .execute(params![session.0, *direction as u8, sequence])?;
        db.prepare_cached("DELETE FROM pending WHERE session = ? AND direction = ? AND max_sequence <= ?")?
            .execute(params![session.0, *direction as u8, sequence])?;
    }
    for (worker, boot, batch) in &commit.batches {
        let worker = worker_id(db, worker, model::UnixNanos(0))?;
        db.prepare_cached(
            "INSERT INTO batch (worker, boot, last) VALUES (?, ?, ?) ON CONFLICT (worker, boot) \
             DO UPDATE SET last = max(last, excluded.last)",
        )?
        .execute(params![worker, boot.0 as i64, *batch as i64])?;
    }
    for (session, at) in &commit.ended {
        sessions::end(db, *session, *at)?;
    }
    for note in &commit.notes {
        sessions::add_note(db, note)?;
    }
    for (name, delta) in &commit.counters {
        db.prepare_cached(
            "INSERT INTO counter (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        )?
        .execute(params![name, *delta as i64])?;
    }
    for clock in &commit.clocks {
        let worker = worker_id(db, &clock.worker, clock.at)?;
        // SQLite has no NaN: it would become a NULL and refuse the whole commit.
        let skew_ppm = if clock.skew_ppm.is_finite() { clock.skew_ppm } else { 0.0 };
        db.prepare_cached(
            "INSERT OR REPLACE INTO clock (worker, at, offset_ns, uncertainty_ns, skew_ppm, steps) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![worker, clock.at.0, clock.offset_ns, clock.uncertainty_ns, skew_ppm, clock.steps])?;
    }
    for (worker, at) in &commit.seen {
        let worker = worker_id(db, worker, *at)?;
        db.prepare_cached("UPDATE worker SET seen_at = ? WHERE id = ?")?.execute(params![at.0, worker])?;
    }
    for verdict in &commit.verdicts {
        verdicts::put(db, verdict)?;
    }
    Ok(written)
}

fn add_samples(db: &Transaction<'_>, commit: &Commit) -> rusqlite::Result<u64> {
    let mut increments = Increments::default();
    let mut written = 0;
    let mut insert = rows::insert(db)?;
    for group in &commit.samples {
        let Some(first) = group.samples.first() else { continue };
        let worker = worker_id(db, &group.worker, time_of(&first.sample))?;
        for stored in &group.samples {
            if rows::add(&mut insert, worker, &stored.sample)? {
                increments.add(worker, stored);
                written += 1;
            }
        }
    }
    increments.write(db)?;
    Ok(written)
}
