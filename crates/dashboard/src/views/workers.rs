//! `/workers` and `/tasks`: who measures, how well its clock is known, what it was told to do; and telling it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use model::deployment::Problem;
use model::{DirectionChoice, Family, Kind, Task, TaskId, TaskSpec, WorkerName};
use serde::{Deserialize, Serialize};
use store::{SessionQuery, TimeQuery};

use crate::access::{Admin, Viewer};
use crate::answer::Refusal;
use crate::range::ms;
use crate::{Control, Dashboard};

const DAY_NS: i64 = 86_400_000_000_000;

#[derive(Serialize)]
pub(crate) struct Answer {
    workers: Vec<Worker>,
    tasks: Vec<Task>,
    /// What was dropped since the data directory was made, by reason.
    counters: BTreeMap<String, u64>,
    storage: Storage,
}

#[derive(Serialize)]
struct Worker {
    name: WorkerName,
    version: String,
    /// Joined for one measurement.
    ephemeral: bool,
    joined_at: i64,
    seen_at: Option<i64>,
    silent_s: Option<i64>,
    /// Held on the worker's own disk behind its newest upload; null: not told.
    waiting_bytes: Option<u64>,
    clock: Option<Clock>,
    sessions: Vec<Session>,
}

/// Newest within a day: server time = worker time + offset.
#[derive(Serialize)]
struct Clock {
    at: i64,
    offset_ms: f64,
    uncertainty_ms: f64,
    skew_ppm: f64,
    steps: u32,
}

/// An open one.
#[derive(Serialize)]
struct Session {
    kind: Kind,
    family: Family,
    direction: DirectionChoice,
    started_at: i64,
    from: Option<String>,
    to: Option<String>,
    compares: bool,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Storage {
    database_bytes: u64,
    segments: u64,
    segment_bytes: u64,
    samples: u64,
}

fn seconds(at: model::UnixNanos) -> i64 {
    at.0.div_euclid(1_000_000_000)
}

pub(crate) async fn workers(State(dashboard): State<Dashboard>, _: Viewer) -> Result<Json<Answer>, Refusal> {
    let now = dashboard.0.parts.clock.now();
    let answer = dashboard.read(move |reader| {
        let recent = TimeQuery { since: Some(now.plus(-DAY_NS)), ..TimeQuery::default() };
        let mut clocks: BTreeMap<WorkerName, Clock> = reader
            .clocks(&recent)?
            .into_iter()
            .map(|row| {
                let clock = Clock {
                    at: seconds(row.at),
                    offset_ms: ms(row.offset_ns as f64),
                    uncertainty_ms: ms(row.uncertainty_ns as f64),
                    skew_ppm: (row.skew_ppm * 1e3).round() / 1e3,
                    steps: row.steps,
                };
                (row.worker, clock)
            })
            .collect();
        let sessions = reader.sessions(&SessionQuery { open_only: true, ..SessionQuery::default() })?;
        let worker = |row: store::WorkerRow| Worker {
            clock: clocks.remove(&row.name),
            sessions: sessions
                .iter()
                .filter(|info| info.worker == row.name && info.kind != Kind::Clock)
                .map(|info| Session {
                    kind: info.kind,
                    family: info.family,
                    direction: info.direction,
                    started_at: seconds(info.started_at),
                    from: info.from.clone(),
                    to: info.to.clone(),
                    compares: info.experiment.is_some(),
                    notes: info.notes.clone(),
                })
                .collect(),
            name: row.name,
            version: row.version,
            ephemeral: row.ephemeral,
            joined_at: seconds(row.joined_at),
            seen_at: row.seen_at.map(seconds),
            waiting_bytes: row.waiting_bytes,
            silent_s: row.seen_at.map(|at| now.since(at).max(0) / 1_000_000_000),
        };
        let size = reader.storage()?;
        Ok(Answer {
            workers: reader.workers()?.into_iter().map(worker).collect(),
            tasks: reader.tasks()?,
            counters: reader.counters()?,
            storage: Storage {
                database_bytes: size.database_bytes,
                segments: size.segments,
                segment_bytes: size.segment_bytes,
                samples: size.sealed_samples + size.unsealed_samples,
            },
        })
    });
    Ok(Json(answer.await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutTask {
    id: Option<TaskId>,
    /// Null: every worker.
    worker: Option<WorkerName>,
    #[serde(default)]
    spec: TaskSpec,
}

impl Dashboard {
    fn control(&self) -> Result<&dyn Control, Refusal> {
        let message = "no server runs on this data: there is nothing to start or stop";
        let none = || Refusal::new(StatusCode::CONFLICT, "no_server", message);
        self.0.parts.control.as_deref().ok_or_else(none)
    }
}

fn failed(problem: Problem) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", problem.0)
}

pub(crate) async fn put_task(
    State(dashboard): State<Dashboard>,
    _: Admin,
    Json(task): Json<PutTask>,
) -> Result<(StatusCode, Json<Task>), Refusal> {
    let control = dashboard.control()?;
    task.spec.check().map_err(|error| Refusal::bad(error.to_string()))?;
    let word = |id: &TaskId| {
        (1..=63).contains(&id.0.len()) && id.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !task.id.as_ref().is_none_or(word) {
        return Err(Refusal::bad("a task's id has 1 to 63 letters, digits and '-'"));
    }
    let task = control.put_task(task.id, task.worker, task.spec).await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(task)))
}

pub(crate) async fn remove_task(
    State(dashboard): State<Dashboard>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let removed = dashboard.control()?.remove_task(TaskId(id)).await.map_err(failed)?;
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "unknown_task", "there is no such task");
    removed.then_some(StatusCode::NO_CONTENT).ok_or_else(unknown)
}
