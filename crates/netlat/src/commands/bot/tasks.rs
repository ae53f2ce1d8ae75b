//! Tasks that came by Discord, handed to the worker of this host as a file in its data directory.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use model::control::TaskList;
use model::{Problem, Task, TaskReceiver};

pub struct Handover {
    dir: PathBuf,
}

impl Handover {
    pub fn new(worker_dir: PathBuf) -> Handover {
        Handover { dir: worker_dir }
    }
}

impl TaskReceiver for Handover {
    fn receive(&self, tasks: &[Task]) -> Result<(), Problem> {
        // No worker has run on this host: nobody to hand them to.
        if !self.dir.is_dir() {
            return Ok(());
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
}
