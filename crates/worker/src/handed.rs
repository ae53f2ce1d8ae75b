//! Tasks that another program of this host left in the data directory, such as a Discord bot that heard them from the task
//! board: they count while the server cannot be asked.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::Task;
use model::control::TaskList;

/// The file's name in the worker's data directory: a [`TaskList`] as JSON, put in place whole.
pub const HANDED_TASKS: &str = "handed-tasks.json";
const LONGEST: u64 = 1 << 20;

pub(crate) struct Handed {
    path: PathBuf,
    /// Of the file that was looked at last.
    seen: Option<SystemTime>,
    taken: Option<SystemTime>,
}

impl Handed {
    /// What is there already was meant for an earlier start.
    pub(crate) fn new(data_dir: &Path) -> Handed {
        let path = data_dir.join(HANDED_TASKS);
        let present = modified(&path);
        Handed { path, seen: present, taken: present }
    }

    /// True once for each new file.
    pub(crate) fn has_changed(&mut self) -> bool {
        let present = modified(&self.path);
        let changed = present.is_some() && present != self.seen;
        self.seen = present;
        changed
    }

    /// The tasks of a file that was not taken before; tasks that make no sense leave everything as it is.
    pub(crate) fn take(&mut self) -> Option<Vec<Task>> {
        let present = modified(&self.path);
        if present.is_none() || present == self.taken {
            return None;
        }
        self.taken = present;
        let mut text = Vec::new();
        fs::File::open(&self.path).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
        match serde_json::from_slice::<TaskList>(&text) {
            Ok(list) if list.tasks.iter().all(|task| task.spec.check().is_ok()) => Some(list.tasks),
            _ => {
                tracing::warn!("{} holds no tasks; it is left out", self.path.display());
                None
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use model::{TaskId, TaskSpec};

    use super::*;

    #[test]
    fn a_new_file_is_taken_once_and_an_old_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HANDED_TASKS);
        let write = |tasks: Vec<Task>, age_s: u64| {
            fs::write(&path, serde_json::to_vec(&TaskList { tasks }).unwrap()).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + age_s);
            fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        let task = || Task { id: TaskId("a".to_owned()), worker: None, spec: TaskSpec::default() };
        write(vec![task()], 0);
        let mut handed = Handed::new(dir.path());
        assert_eq!((handed.has_changed(), handed.take()), (false, None));
        write(vec![task()], 1);
        assert_eq!((handed.has_changed(), handed.has_changed()), (true, false));
        assert_eq!((handed.take(), handed.take()), (Some(vec![task()]), None));
        write(vec![Task { spec: TaskSpec { size: 1, ..TaskSpec::default() }, ..task() }], 2);
        assert_eq!(handed.take(), None);
    }
}
