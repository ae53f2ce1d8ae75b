//! Tasks and the number that changes with them.

use model::{Task, TaskId, WorkerName};
use rusqlite::{Connection, params};

use crate::error::{StoreError, bad_column};
use crate::store::Store;

impl Store {
    /// Adds a task, or replaces the one with its id.
    pub fn add_task(&mut self, task: &Task) -> Result<(), StoreError> {
        let spec = serde_json::to_string(&task.spec).map_err(|error| StoreError::Database {
            doing: "write a task down",
            path: self.database.clone(),
            source: Box::new(error),
        })?;
        self.write("save a task", |db| {
            db.execute(
                "INSERT INTO task (id, worker, spec) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (id) DO UPDATE SET worker = ?2, spec = ?3",
                params![task.id.0, task.worker.as_ref().map(WorkerName::as_str), spec],
            )?;
            raise_revision(db)
        })
    }

    /// False if there was none of this id.
    pub fn remove_task(&mut self, id: &TaskId) -> Result<bool, StoreError> {
        self.write("remove a task", |db| {
            if db.execute("DELETE FROM task WHERE id = ?", [&id.0])? == 0 {
                return Ok(false);
            }
            raise_revision(db)?;
            Ok(true)
        })
    }

    /// In the order in which they were first added.
    pub fn tasks(&self) -> Result<Vec<Task>, StoreError> {
        self.read("list the tasks", tasks)
    }

    /// Rises with every change of the tasks, from 1, across restarts.
    pub fn task_revision(&self) -> Result<u64, StoreError> {
        self.read("read the tasks' revision", |db| {
            db.query_row("SELECT value FROM meta WHERE name = 'task_revision'", [], |row| row.get::<_, i64>(0))
                .map(|value| value as u64)
        })
    }
}

fn raise_revision(db: &Connection) -> rusqlite::Result<()> {
    db.execute("UPDATE meta SET value = value + 1 WHERE name = 'task_revision'", []).map(drop)
}

pub(crate) fn tasks(db: &Connection) -> rusqlite::Result<Vec<Task>> {
    db.prepare("SELECT id, worker, spec FROM task ORDER BY rowid")?
        .query_map([], |row| {
            let worker: Option<String> = row.get(1)?;
            Ok(Task {
                id: TaskId(row.get(0)?),
                worker: worker.map(WorkerName::try_from).transpose().map_err(|error| bad_column(1, error))?,
                spec: serde_json::from_str(row.get_ref(2)?.as_str()?).map_err(|error| bad_column(2, error))?,
            })
        })?
        .collect()
}
