//! Tasks that came by Discord, handed to the worker of this host as a file in its data directory.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use model::control::TaskList;
use model::{Problem, Task, TaskReceiver};

pub struct Handover {
    dir: PathBuf,
    /// Of the answer that was told last.
    told: Mutex<Option<SystemTime>>,
}

/// An answer is a line of a channel.
const LONGEST_ANSWER: u64 = 1_500;

impl Handover {
    pub fn new(worker_dir: PathBuf) -> Handover {
        let handover = Handover { dir: worker_dir, told: Mutex::default() };
        // What is there already was told by an earlier start.
        *handover.told.lock().unwrap_or_else(PoisonError::into_inner) = handover.answered_at();
        handover
    }
}

impl Handover {
    fn answered_at(&self) -> Option<SystemTime> {
        fs::metadata(self.dir.join(worker::HANDED_ANSWER)).and_then(|meta| meta.modified()).ok()
    }
}

impl TaskReceiver for Handover {
    fn receive(&self, tasks: &[Task]) -> Result<(), Problem> {
        if !self.dir.is_dir() {
            let problem = format!(
                "no worker has run here (there is no {}), so nobody takes the {} task(s); a worker elsewhere gets them from the server",
                self.dir.display(),
                tasks.len()
            );
            return if tasks.is_empty() { Ok(()) } else { Err(Problem(problem)) };
        }
        let path = self.dir.join(worker::HANDED_TASKS);
        let write = || -> std::io::Result<()> {
            let text = serde_json::to_vec_pretty(&TaskList { tasks: tasks.to_vec() })?;
            let aside = path.with_extension("new");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&aside, &path)
        };
        write().map_err(|error| Problem(format!("cannot write {}: {error}", path.display())))
    }

    fn answer(&self) -> Option<String> {
        let present = self.answered_at()?;
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).replace(present) == Some(present) {
            return None;
        }
        let mut text = String::new();
        let file = fs::File::open(self.dir.join(worker::HANDED_ANSWER)).ok()?;
        file.take(LONGEST_ANSWER).read_to_string(&mut text).ok()?;
        Some(text.chars().filter(|c| !c.is_control()).collect())
    }
}
