//! Records that wait to be posted, in memory and on the disk: a bot that is killed, or that cannot reach Discord for an
//! hour, loses none and posts none twice.
//!
//! A file of lines: a record each, and after a post the ids of what was posted. A last line cut short by a crash is a
//! record that was never promised.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use model::{Record, RecordId};
use serde::{Deserialize, Serialize};

/// More than a day of one worker; then the oldest go. About 400 bytes each in memory.
pub const MOST: usize = 10_000;
/// The file is written anew once it has this many lines more than records.
const SLACK: usize = 4_000;
const LONGEST_LINE: u64 = 4_096;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Record(Box<Record>),
    Posted(RecordId),
}

pub struct Journal {
    path: PathBuf,
    file: File,
    waiting: VecDeque<Record>,
    surplus: usize,
    dropped: u64,
}

impl Journal {
    /// Reads what an earlier process left.
    pub fn open(path: &Path) -> io::Result<Journal> {
        let mut waiting = VecDeque::new();
        match File::open(path) {
            Ok(file) => read(file, &mut waiting)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = rewrite(path, &waiting)?;
        Ok(Journal { path: path.to_owned(), file, waiting, surplus: 0, dropped: 0 })
    }

    pub fn push(&mut self, record: Record) -> io::Result<()> {
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
            self.dropped += 1;
            self.surplus += 2;
        }
        let written = self.append(&Line::Record(Box::new(record.clone())));
        // Kept in memory also where the disk is full: it may be posted before this process ends.
        self.waiting.push_back(record);
        written
    }

    /// The oldest ones, at most `limit`.
    pub fn oldest(&self, limit: usize) -> Vec<Record> {
        self.waiting.iter().take(limit).cloned().collect()
    }

    /// Forgets what was posted.
    pub fn posted(&mut self, ids: &HashSet<RecordId>) -> io::Result<()> {
        let before = self.waiting.len();
        self.waiting.retain(|record| !ids.contains(&record.id));
        if self.waiting.len() == before {
            return Ok(());
        }
        self.surplus += 2 * (before - self.waiting.len());
        if self.surplus > SLACK {
            self.file = rewrite(&self.path, &self.waiting)?;
            self.surplus = 0;
            return Ok(());
        }
        for id in ids {
            self.append(&Line::Posted(id.clone()))?;
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Records given up because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

fn read(file: File, waiting: &mut VecDeque<Record>) -> io::Result<()> {
    let mut posted = HashSet::new();
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    loop {
        text.clear();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        match serde_json::from_slice(&text) {
            Ok(Line::Record(record)) => {
                if record.check().is_ok() {
                    waiting.push_back(*record);
                }
                if waiting.len() > MOST {
                    waiting.pop_front();
                }
            }
            Ok(Line::Posted(id)) => {
                posted.insert(id);
            }
            Err(_) => tracing::debug!("left a line of the journal out that was cut short"),
        }
    }
    waiting.retain(|record| !posted.contains(&record.id));
    Ok(())
}

/// Written aside and put in place whole; answers with the file, open for more.
fn rewrite(path: &Path, waiting: &VecDeque<Record>) -> io::Result<File> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    let mut text = Vec::new();
    for record in waiting {
        serde_json::to_writer(&mut text, &Line::Record(Box::new(record.clone())))?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use model::{BootId, Instrument, Measurement, Metric, UnixNanos, WorkerName};

    use super::*;

    fn record(counter: u64) -> Record {
        let mut measured = Measurement::new(Metric::Rest, UnixNanos(1_790_000_000_000_000_000));
        measured.app_us = Some(counter);
        Record {
            id: RecordId { worker: WorkerName::new("nyc1").unwrap(), boot: BootId(9), counter },
            instrument: Instrument { library: "x".into(), language: "rust".into(), version: "0".into() },
            measured,
        }
    }

    fn counters(journal: &Journal) -> Vec<u64> {
        journal.oldest(usize::MAX).iter().map(|record| record.id.counter).collect()
    }

    #[test]
    fn a_killed_process_leaves_what_was_not_posted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        for counter in 1..=5 {
            journal.push(record(counter)).unwrap();
        }
        journal.posted(&[record(1).id, record(2).id].into()).unwrap();
        // Killed while it wrote a line.
        journal.file.write_all(b"{\"record\":{\"worker\":\"ny").unwrap();
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(counters(&journal), [3, 4, 5]);
        journal.push(record(6)).unwrap();
        drop(journal);
        assert_eq!(counters(&Journal::open(&path).unwrap()), [3, 4, 5, 6]);
    }

    #[test]
    fn it_is_bounded_and_its_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        for counter in 1..=MOST as u64 + 3 {
            journal.push(record(counter)).unwrap();
        }
        assert_eq!((journal.len(), journal.dropped(), counters(&journal)[0]), (MOST, 3, 4));
        let all: HashSet<RecordId> = journal.oldest(usize::MAX).into_iter().map(|record| record.id).collect();
        journal.posted(&all).unwrap();
        assert!(journal.is_empty());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
