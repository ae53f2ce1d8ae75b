//! The transaction behind [`Store::commit`].

use std::collections::BTreeMap;

use model::{Direction, SessionId};
use rusqlite::{OptionalExtension, Transaction, params};

use crate::commit::{Commit, Seen};
use crate::credentials::worker_id;
use crate::error::StoreError;
use crate::pending;
use crate::record_rollup::RecordIncrements;
use crate::records;
use crate::rollup::Increments;
use crate::rows::{Block, time_of};
use crate::sessions;
use crate::store::Store;
use crate::verdicts;

impl Store {
    /// Writes all of it in one transaction. On an error nothing of it was written, and it may be tried again.
    /// A sample at or below its stream's watermark of an earlier commit is there already: neither added nor counted again.
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

    for pending in &commit.pending_add {
        pending::add(db, pending)?;
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
    for Seen { worker, at, waiting_bytes } in &commit.seen {
        let worker = worker_id(db, worker, *at)?;
        let waiting = waiting_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        db.prepare_cached("UPDATE worker SET seen_at = ?, waiting_bytes = ? WHERE id = ?")?
            .execute(params![at.0, waiting, worker])?;
    }
    for verdict in &commit.verdicts {
        verdicts::put(db, verdict)?;
    }
    let mut sums = RecordIncrements::default();
    for record in &commit.records {
        if records::insert(db, record)? {
            sums.add(record);
        }
    }
    sums.write(db)?;
    Ok(written)
}

fn add_samples(db: &Transaction<'_>, commit: &Commit) -> rusqlite::Result<u64> {
    let mut increments = Increments::default();
    let mut blocks: BTreeMap<i64, Block> = BTreeMap::new();
    for group in &commit.samples {
        let Some(first) = group.samples.first() else { continue };
        let worker = worker_id(db, &group.worker, time_of(&first.sample))?;
        let block = blocks.entry(worker).or_default();
        let mut stream = None;
        for stored in &group.samples {
            let (session, direction) = (stored.sample.session, stored.sample.direction);
            let known = match stream {
                Some((of, way, known)) if (of, way) == (session, direction) => known,
                _ => resolved_through(db, session, direction)?,
            };
            stream = Some((session, direction, known));
            if known.is_none_or(|through| stored.sample.sequence > through) {
                block.push(&stored.sample);
                if !commit.not_summed.contains(&session) {
                    increments.add(worker, stored);
                }
            }
        }
    }
    let mut written = 0;
    for (worker, block) in blocks {
        written += block.write(db, worker)?;
    }
    increments.write(db)?;
    Ok(written)
}

fn resolved_through(db: &Transaction<'_>, session: SessionId, direction: Direction) -> rusqlite::Result<Option<u32>> {
    db.prepare_cached("SELECT sequence FROM resolved WHERE session = ? AND direction = ?")?
        .query_row(params![session.0, direction as u8], |row| row.get(0))
        .optional()
}
