//! The two deployments a server bot may have: a running server's API, or a data directory of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::control::TaskList;
use model::deployment::{ApplicationList, CsvExport, CursorList};
use model::report::Application;
use model::{
    Answer, Cursor, Deployment, Problem, RecordSubmission, RecordsAccepted, Task, TaskId, TaskSpec, UnixNanos,
    WorkerName, WorkerState,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Store, StoreOptions};
use worker::{Uplink, WorkerError};

/// The server that runs on a data directory of this host, asked with that directory's own admin token.
pub struct Remote {
    dir: PathBuf,
    /// Kept while it works: a server that was started anew may have another port or certificate.
    uplink: Mutex<Option<Uplink>>,
}

fn problem(error: impl std::fmt::Display) -> Problem {
    Problem(error.to_string())
}

impl Remote {
    pub fn new(dir: PathBuf) -> Remote {
        Remote { dir, uplink: Mutex::default() }
    }

    fn uplink(&self) -> Result<Uplink, Problem> {
        let kept = self.uplink.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept {
            Some(uplink) => Ok(uplink),
            None => crate::commands::server::uplink(&self.dir).map_err(|error| Problem(crate::usage::one_line(&error))),
        }
    }

    /// Keeps an uplink that worked.
    fn settle<T>(&self, uplink: Uplink, answer: Result<T, WorkerError>) -> Result<T, Problem> {
        if answer.is_ok() {
            *self.uplink.lock().unwrap_or_else(PoisonError::into_inner) = Some(uplink);
        }
        answer.map_err(problem)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        let uplink = self.uplink()?;
        let answer = uplink.get(path).await;
        self.settle(uplink, answer)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, Problem> {
        let uplink = self.uplink()?;
        let answer = uplink.post(path, body).await;
        self.settle(uplink, answer)
    }
}

fn query(worker: Option<&WorkerName>, since_us: i64) -> String {
    let worker = worker.map(|worker| format!("worker={worker}&")).unwrap_or_default();
    format!("{worker}since_us={since_us}")
}

impl Deployment for Remote {
    fn name(&self) -> String {
        format!("the server on {}", self.dir.display())
    }

    fn submit(&self, submission: RecordSubmission) -> Answer<'_, RecordsAccepted> {
        Box::pin(async move { self.post("admin/records", &submission).await })
    }

    fn cursors(&self) -> Answer<'_, Vec<Cursor>> {
        Box::pin(async { Ok(self.get::<CursorList>("admin/cursors").await?.cursors) })
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerState>> {
        Box::pin(async {
            let status = self.get::<server::api::Status>("admin/status").await?;
            let state = |worker: server::api::WorkerStatus| WorkerState {
                name: worker.name,
                sessions: worker.sessions,
                silent_s: worker.silent_s,
            };
            Ok(status.workers.into_iter().map(state).collect())
        })
    }

    fn tasks(&self) -> Answer<'_, Vec<Task>> {
        Box::pin(async { Ok(self.get::<TaskList>("admin/tasks").await?.tasks) })
    }

    fn put_task(&self, id: Option<TaskId>, worker: Option<WorkerName>, spec: TaskSpec) -> Answer<'_, Task> {
        let add = server::api::AddTask { id: id.map(|id| id.0), worker, spec };
        Box::pin(async move { self.post("admin/tasks", &add).await })
    }

    fn remove_task(&self, id: TaskId) -> Answer<'_, bool> {
        Box::pin(async move {
            let known = self.tasks().await?.iter().any(|task| task.id == id);
            if known {
                let path = format!("admin/tasks/{id}");
                let uplink = self.uplink()?;
                let answer = uplink.delete(&path).await;
                self.settle(uplink, answer)?;
            }
            Ok(known)
        })
    }

    fn applications(&self, worker: Option<WorkerName>, since_us: i64) -> Answer<'_, Vec<Application>> {
        Box::pin(async move {
            let path = format!("admin/applications?{}", query(worker.as_ref(), since_us));
            let list = self.get::<ApplicationList>(&path).await?;
            Ok(list.applications)
        })
    }

    fn csv(&self, since_us: i64) -> Answer<'_, String> {
        Box::pin(async move {
            let path = format!("admin/records.csv?{}", query(None, since_us));
            Ok(self.get::<CsvExport>(&path).await?.csv)
        })
    }
}

/// A data directory that this process alone writes. Tasks are kept for the bots: there is no server that gives them out.
pub struct Own {
    dir: PathBuf,
    store: Arc<Mutex<Store>>,
    /// When what is too old was last deleted.
    retained: Mutex<Option<Instant>>,
}

const RETAIN_EVERY: Duration = Duration::from_secs(3600);

impl Own {
    pub fn open(dir: &Path) -> anyhow::Result<Own> {
        let store = Store::open(dir, StoreOptions::default())?;
        Ok(Own { dir: dir.to_owned(), store: Arc::new(Mutex::new(store)), retained: Mutex::default() })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, store::StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.map_err(problem)?.map_err(problem)
    }

    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, server::ServerError> + Send + 'static,
    ) -> Result<T, Problem> {
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || work(&dir)).await.map_err(problem)?.map_err(problem)
    }
}

impl Deployment for Own {
    fn name(&self) -> String {
        format!("the data directory {}", self.dir.display())
    }

    fn submit(&self, submission: RecordSubmission) -> Answer<'_, RecordsAccepted> {
        let is_due = {
            let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = retained.is_none_or(|last| last.elapsed() >= RETAIN_EVERY);
            if is_due {
                *retained = Some(Instant::now());
            }
            is_due
        };
        Box::pin(self.with(move |store| {
            if is_due {
                store.retain(net::Clock::identity().now())?;
            }
            store.submit(&submission)
        }))
    }

    fn cursors(&self) -> Answer<'_, Vec<Cursor>> {
        Box::pin(self.with(|store| store.cursors()))
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerState>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn tasks(&self) -> Answer<'_, Vec<Task>> {
        Box::pin(self.with(|store| store.tasks()))
    }

    fn put_task(&self, id: Option<TaskId>, worker: Option<WorkerName>, spec: TaskSpec) -> Answer<'_, Task> {
        Box::pin(async move {
            let id = match id {
                Some(id) => id,
                None => {
                    let random = server::secrets::random::<4>().map_err(problem)?;
                    TaskId(format!("task-{}", server::secrets::hex(&random)))
                }
            };
            let task = Task { id, worker, spec };
            let stored = task.clone();
            self.with(move |store| store.add_task(&stored)).await?;
            Ok(task)
        })
    }

    fn remove_task(&self, id: TaskId) -> Answer<'_, bool> {
        Box::pin(self.with(move |store| store.remove_task(&id)))
    }

    fn applications(&self, worker: Option<WorkerName>, since_us: i64) -> Answer<'_, Vec<Application>> {
        let since = UnixNanos(since_us.saturating_mul(1000));
        Box::pin(self.reading(move |dir| server::report::applications_of(dir, worker.as_ref(), Some(since))))
    }

    fn csv(&self, since_us: i64) -> Answer<'_, String> {
        Box::pin(async move {
            let csv = self.reading(move |dir| server::report::csv_of(dir, since_us)).await?;
            csv.ok_or_else(|| Problem(model::deployment::too_long()))
        })
    }
}
