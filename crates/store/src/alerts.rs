//! Alerts as they stand, and the notes of them that nobody has taken yet. A change and its note are one transaction, so that a
//! killed server neither forgets to tell nor tells of what it does not remember.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use crate::error::StoreError;
use crate::store::Store;

/// One thing that a rule watches and that is raised or about to turn. What is quiet has no row.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertState {
    pub rule: String,
    /// What of: worker and class, or worker, library and metric.
    pub subject: String,
    pub raised: bool,
    /// Since when it is beyond the bound that would turn it; seconds since the epoch.
    pub turning_since_s: Option<i64>,
    /// When it was last looked at.
    pub seen_s: i64,
    /// The bound at which it was raised, in the rule's unit: what is relative stays relative to what was usual then.
    pub level: f64,
    /// A verdict's name; empty for what is a number.
    pub word: String,
}

/// A change that a webhook is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertNote {
    pub id: i64,
    pub rule: String,
    pub at_s: i64,
    /// JSON of the change.
    pub body: String,
    pub attempts: u32,
}

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertCommit {
    pub put: Vec<AlertState>,
    /// Rule and subject of what is quiet again.
    pub forget: Vec<(String, String)>,
    /// Rule, when, and body of what is to be told.
    pub notes: Vec<(String, i64, String)>,
    /// Notes that were taken, or given up.
    pub done: Vec<i64>,
    /// Note, attempts so far, and when the next is due.
    pub later: Vec<(i64, u32, i64)>,
    /// Added to the counters of what was dropped.
    pub counters: Vec<(&'static str, u64)>,
}

/// More notes than this are not kept: the oldest go first and are counted.
const MOST_NOTES: i64 = 1_000;
/// Notes handed out at once.
const MOST_DUE: i64 = 50;

impl Store {
    /// Keeps a change of alerts. What of it cannot stand beside the bounds is counted as `alerts_dropped`.
    pub fn put_alerts(&mut self, commit: &AlertCommit) -> Result<(), StoreError> {
        self.write("save alerts", |db| apply(db, commit))
    }
}

fn apply(db: &Transaction<'_>, commit: &AlertCommit) -> rusqlite::Result<()> {
    for state in &commit.put {
        db.prepare_cached(
            "INSERT INTO alert (rule, subject, raised, turning_since_s, seen_s, level, word) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (rule, subject) DO UPDATE SET raised = ?3, turning_since_s = ?4, seen_s = ?5, level = ?6, word = ?7",
        )?
        .execute(params![
            state.rule,
            state.subject,
            state.raised,
            state.turning_since_s,
            state.seen_s,
            state.level,
            state.word
        ])?;
    }
    for (rule, subject) in &commit.forget {
        db.prepare_cached("DELETE FROM alert WHERE rule = ? AND subject = ?")?.execute([rule, subject])?;
    }
    for (rule, at_s, body) in &commit.notes {
        db.prepare_cached("INSERT INTO alert_note (rule, at_s, body, next_s) VALUES (?1, ?2, ?3, ?2)")?
            .execute(params![rule, at_s, body])?;
    }
    for id in &commit.done {
        db.prepare_cached("DELETE FROM alert_note WHERE id = ?")?.execute([id])?;
    }
    for (id, attempts, next_s) in &commit.later {
        db.prepare_cached("UPDATE alert_note SET attempts = ?2, next_s = ?3 WHERE id = ?1")?
            .execute(params![id, attempts, next_s])?;
    }
    let beyond = db
        .prepare_cached(
            "DELETE FROM alert_note WHERE id IN (SELECT id FROM alert_note ORDER BY id DESC LIMIT -1 OFFSET ?)",
        )?
        .execute([MOST_NOTES])?;
    let dropped = [("alerts_dropped", beyond as u64)];
    for (name, count) in commit.counters.iter().chain(&dropped).filter(|(_, count)| *count > 0) {
        db.prepare_cached(
            "INSERT INTO counter (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        )?
        .execute(params![name, *count as i64])?;
    }
    Ok(())
}

pub(crate) fn states(db: &Connection) -> rusqlite::Result<Vec<AlertState>> {
    db.prepare("SELECT rule, subject, raised, turning_since_s, seen_s, level, word FROM alert ORDER BY rule, subject")?
        .query_map([], |row| {
            Ok(AlertState {
                rule: row.get(0)?,
                subject: row.get(1)?,
                raised: row.get(2)?,
                turning_since_s: row.get(3)?,
                seen_s: row.get(4)?,
                level: row.get(5)?,
                word: row.get(6)?,
            })
        })?
        .collect()
}

pub(crate) fn due(db: &Connection, now_s: i64) -> rusqlite::Result<Vec<AlertNote>> {
    // In order: behind a note that waits for another attempt, those of the same rule wait too.
    let waiting =
        "SELECT 1 FROM alert_note early WHERE early.rule = note.rule AND early.id < note.id AND early.next_s > ?1";
    db.prepare(&format!(
        "SELECT id, rule, at_s, body, attempts FROM alert_note note \
         WHERE next_s <= ?1 AND NOT EXISTS ({waiting}) ORDER BY id LIMIT ?2"
    ))?
    .query_map([now_s, MOST_DUE], |row| {
        Ok(AlertNote {
            id: row.get(0)?,
            rule: row.get(1)?,
            at_s: row.get(2)?,
            body: row.get(3)?,
            attempts: row.get(4)?,
        })
    })?
    .collect()
}

pub(crate) fn backlog(db: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    db.prepare("SELECT rule, count(*) FROM alert_note GROUP BY rule")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reader, StoreOptions};

    fn state(subject: &str, raised: bool) -> AlertState {
        AlertState {
            rule: "slow".to_owned(),
            subject: subject.to_owned(),
            raised,
            turning_since_s: Some(60),
            seen_s: 120,
            level: 300.5,
            word: String::new(),
        }
    }

    #[test]
    fn a_change_and_its_note_survive_together_and_are_told_until_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let note = |at_s: i64| ("slow".to_owned(), at_s, format!("{{\"at\":{at_s}}}"));
        let put = vec![state("nyc1", true), state("ams3", false)];
        store.put_alerts(&AlertCommit { put, notes: vec![note(120), note(180)], ..AlertCommit::default() }).unwrap();
        drop(store);
        let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        assert_eq!(reader.alerts().unwrap(), [state("ams3", false), state("nyc1", true)]);
        let due = reader.alert_notes(200).unwrap();
        let behind = AlertCommit { later: vec![(due[0].id, 1, 300)], ..AlertCommit::default() };
        store.put_alerts(&behind).unwrap();
        assert_eq!(reader.alert_notes(299).unwrap(), []);
        assert_eq!(due.iter().map(|note| note.at_s).collect::<Vec<_>>(), [120, 180]);
        let commit = AlertCommit {
            put: vec![state("nyc1", false)],
            forget: vec![("slow".to_owned(), "ams3".to_owned())],
            done: vec![due[0].id],
            later: vec![(due[1].id, 1, 500)],
            counters: vec![("alerts_failed", 2)],
            ..AlertCommit::default()
        };
        store.put_alerts(&commit).unwrap();
        assert_eq!(reader.alerts().unwrap(), [state("nyc1", false)]);
        assert_eq!(reader.alert_notes(499).unwrap(), []);
        assert_eq!(reader.alert_notes(500).unwrap()[0].attempts, 1);
        assert_eq!(reader.alert_backlog().unwrap(), BTreeMap::from([("slow".to_owned(), 1)]));
        assert_eq!(reader.counters().unwrap()["alerts_failed"], 2);
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let notes = (0..MOST_NOTES + 7).map(|at_s| ("slow".to_owned(), at_s, "{}".to_owned())).collect();
        store.put_alerts(&AlertCommit { notes, ..AlertCommit::default() }).unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        assert_eq!(reader.alert_backlog().unwrap()["slow"], MOST_NOTES as u64);
        assert_eq!(reader.alert_notes(i64::MAX).unwrap()[0].at_s, 7);
        assert_eq!(reader.counters().unwrap()["alerts_dropped"], 7);
    }
}
