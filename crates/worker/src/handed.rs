//! Tasks that another program of this host left in the data directory, such as a Discord bot that heard them from the task
//! board: they count while the server cannot be asked.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::control::TaskList;
use model::{Task, TaskId};

/// The file's name in the worker's data directory: a [`TaskList`] as JSON, put in place whole.
pub const HANDED_TASKS: &str = "handed-tasks.json";
/// What became of them: a line for people, put in place whole, anew for each list of tasks.
pub const HANDED_ANSWER: &str = "handed-answer.txt";
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

    /// Says what became of the tasks that were taken.
    pub(crate) fn answer(&self, line: &str) {
        let path = self.path.with_file_name(HANDED_ANSWER);
        let aside = path.with_extension("new");
        if let Err(error) = fs::write(&aside, line).and_then(|()| fs::rename(&aside, &path)) {
            tracing::warn!("cannot write {}: {error}", path.display());
        }
    }
}

/// Of tasks that came while the server is away: which run, and why the others do not. A task measures the way between this
/// worker and the server; the server makes a session's keys and takes its results, so none begins without it.
pub(crate) fn outcome(tasks: &[Task], running: &HashSet<TaskId>, problem: &str) -> String {
    let list = |runs: bool| {
        let those = tasks.iter().filter(|task| running.contains(&task.id) == runs);
        those.map(|task| format!("`{}`", task.id)).collect::<Vec<_>>().join(", ")
    };
    let (going, waiting) = (list(true), list(false));
    let mut line = String::new();
    if !going.is_empty() {
        line.push_str(&format!("measuring goes on: {going}. "));
    }
    if tasks.is_empty() {
        line.push_str("no task is left");
    }
    if !waiting.is_empty() {
        line.push_str(&format!(
            "Not begun: {waiting}. {problem}; only the server opens sessions and takes their results, so new measurements begin once it answers. "
        ));
    }
    line.trim_end().to_owned()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use model::{TaskId, TaskSpec};

    use super::*;

    #[test]
    fn what_cannot_begin_is_said() {
        let task = |id: &str| Task { id: TaskId(id.to_owned()), worker: None, spec: TaskSpec::default() };
        let running = HashSet::from([TaskId("old".to_owned())]);
        let line = outcome(&[task("old"), task("new")], &running, "cannot reach the server");
        assert!(
            line.starts_with("measuring goes on: `old`. Not begun: `new`. cannot reach the server; only"),
            "{line}"
        );
        assert_eq!(outcome(&[task("old")], &running, "x"), "measuring goes on: `old`.");
        assert_eq!(outcome(&[], &running, "x"), "no task is left");
    }

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
