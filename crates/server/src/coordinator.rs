//! What the HTTP surface asks for, done: enrolment, sessions, uploads, tasks, reports. Async in front of the ingest thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use model::control::{
    ChangedMarks, Enroll, Enrolled, ProbePorts, SessionGrant, SessionInfo, SessionRequest, Upload, Uploaded,
};
use model::report::Application;
use model::shaping::ExperimentStatus;
use model::{
    Cursor, Direction, RecordSubmission, RecordsAccepted, Report, SessionId, Task, TaskId, UnixNanos, WorkerName,
};
use serde::{Deserialize, Serialize};
use store::{SessionKeys, SessionPlan};
use tokio::sync::{Semaphore, oneshot};

use crate::ServerError;
use crate::api::{AddTask, Refusal};
use crate::ingest::{Ingest, Message, UploadRefused};
use crate::secrets;
use crate::stream::SessionStreams;
use alerts::Alerts;
use axum::http::StatusCode;
use dashboard::{Gate, Role};

/// Sessions one worker may have open.
const MAX_SESSIONS: usize = 64;
const JOIN_EXPIRES_S: u32 = 24 * 3600;

pub struct Coordinator {
    parts: Parts,
    /// Reports read many rows; one at a time keeps the memory bounded.
    reports: Arc<Semaphore>,
}

/// What [`Coordinator::new`] is made of.
pub(crate) struct Parts {
    pub ingest: SyncSender<Message>,
    pub data_dir: PathBuf,
    pub admin_hash: [u8; 32],
    pub mask_key: [u8; 32],
    pub ports: ProbePorts,
    pub advertised: Vec<IpAddr>,
    /// `HOST:PORT` of join strings.
    pub authority: String,
    pub fingerprint: String,
    pub clock: net::Clock,
    pub false_changes_per_year: f64,
    /// `None`: there is no dashboard.
    pub gate: Option<Arc<Gate>>,
    pub alerts: Arc<Alerts>,
}

/// Writes for the alerts, on the store's thread.
pub(crate) struct Keeper(SyncSender<Message>);

impl alerts::Keep for Keeper {
    fn keep(&self, commit: store::AlertCommit) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        let (answer, result) = oneshot::channel();
        let call = Message::Call(Box::new(move |ingest: &mut Ingest| {
            let _ = answer.send(ingest.store.put_alerts(&commit).map_err(|error| error.to_string()));
        }));
        let sent = self.0.try_send(call).map_err(|_| "the server is busy or shutting down".to_owned());
        Box::pin(async move {
            sent?;
            result.await.map_err(|_| "the server is shutting down".to_owned())?
        })
    }
}

/// `GET /api/v1/admin/status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub sessions: usize,
    pub workers: Vec<WorkerStatus>,
    /// What was dropped since the data directory was made, by reason (`forged`, `replayed`, ...); what is 0 is left out.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub name: WorkerName,
    pub sessions: usize,
    /// Seconds since the last upload of any of its sessions.
    pub silent_s: u64,
}

impl Coordinator {
    pub(crate) fn new(parts: Parts) -> Coordinator {
        Coordinator { parts, reports: Arc::new(Semaphore::new(1)) }
    }

    pub(crate) fn keeper(&self) -> Keeper {
        Keeper(self.parts.ingest.clone())
    }

    pub(crate) async fn alerts(&self) -> Result<Vec<alerts::AlertStatus>, Refusal> {
        let alerts = self.parts.alerts.clone();
        let read = tokio::task::spawn_blocking(move || alerts.status()).await;
        let read = read.map_err(|_| ServerError::Ingest("the alerts' reader panicked".to_owned()))?;
        Ok(read.map_err(ServerError::from)?)
    }

    /// False: there is no such alert.
    pub(crate) async fn test_alert(&self, name: &str) -> Result<bool, Refusal> {
        let now_s = self.parts.clock.now().0.div_euclid(1_000_000_000);
        let Some(commit) = self.parts.alerts.test(name, now_s) else { return Ok(false) };
        self.call(move |ingest| Ok(ingest.store.put_alerts(&commit)?)).await?;
        Ok(true)
    }

    pub(crate) fn admin_hash(&self) -> [u8; 32] {
        self.parts.admin_hash
    }

    fn send(&self, message: Message) -> Result<(), Refusal> {
        self.parts.ingest.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => Refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the server is busy; try again later".to_owned(),
            ),
            TrySendError::Disconnected(_) => {
                Refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is shutting down".to_owned())
            }
        })
    }

    /// Does something with the store on its thread.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ingest) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, result) = oneshot::channel();
        self.send(Message::Call(Box::new(move |ingest| {
            let _ = answer.send(work(ingest));
        })))?;
        let gone =
            |_| Refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is shutting down".to_owned());
        Ok(result.await.map_err(gone)??)
    }

    pub(crate) async fn authenticate(&self, hash: [u8; 32]) -> Result<Option<WorkerName>, Refusal> {
        let row = self.call(move |ingest| Ok(ingest.store.credential(hash)?)).await?;
        Ok(row.filter(|row| !row.revoked).map(|row| row.worker))
    }

    pub(crate) async fn enroll(&self, token: [u8; 32], request: Enroll) -> Result<Option<Enrolled>, Refusal> {
        let credential = secrets::token()?;
        let (hash, now) = (secrets::hash(&credential), self.parts.clock.now());
        let version: String = request.version.chars().filter(|c| !c.is_control()).take(40).collect();
        let name = self
            .call(move |ingest| {
                Ok(ingest.store.redeem(token, &request.name, hash, request.ephemeral, &version, now)?)
            })
            .await?;
        Ok(name.map(|name| {
            tracing::info!(worker = %name, "joined");
            Enrolled { name, credential }
        }))
    }

    pub(crate) async fn tasks(&self) -> Result<Vec<Task>, Refusal> {
        self.call(|ingest| Ok(ingest.store.tasks()?)).await
    }

    pub(crate) async fn add_task(&self, add: AddTask) -> Result<Task, Refusal> {
        let id = match add.id {
            Some(id)
                if !id.is_empty() && id.len() <= 63 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
            {
                id
            }
            Some(_) => {
                let message = "a task's id has 1 to 63 letters, digits and '-'".to_owned();
                return Err(Refusal(StatusCode::BAD_REQUEST, "bad_request", message));
            }
            None => format!("task-{}", secrets::hex(&secrets::random::<4>()?)),
        };
        let task = Task { id: TaskId(id), worker: add.worker, spec: add.spec };
        let stored = task.clone();
        self.call(move |ingest| {
            ingest.store.add_task(&stored)?;
            ingest.task_revision = ingest.store.task_revision()?;
            Ok(())
        })
        .await?;
        Ok(task)
    }

    pub(crate) async fn remove_task(&self, id: TaskId) -> Result<bool, Refusal> {
        self.call(move |ingest| {
            let removed = ingest.store.remove_task(&id)?;
            ingest.task_revision = ingest.store.task_revision()?;
            Ok(removed)
        })
        .await
    }

    /// Ends the worker's credential and its sessions.
    pub(crate) async fn revoke(&self, name: WorkerName) -> Result<bool, Refusal> {
        self.call(move |ingest| {
            let known = ingest.store.revoke(&name)?;
            for streams in ingest.streams.values_mut().filter(|streams| streams.info.worker == name) {
                ingest.sessions.remove(streams.info.session);
                streams.forsake();
            }
            Ok(known)
        })
        .await
    }

    pub(crate) async fn join_string(&self, many: bool, expires_s: Option<u32>) -> Result<String, Refusal> {
        let token = secrets::token()?;
        let hash = secrets::hash(&token);
        let expires = match (many, expires_s) {
            (true, None) => None,
            (_, seconds) => {
                Some(self.parts.clock.now().plus(i64::from(seconds.unwrap_or(JOIN_EXPIRES_S)) * 1_000_000_000))
            }
        };
        let uses = if many { None } else { Some(1) };
        self.call(move |ingest| Ok(ingest.store.add_join_token(hash, uses, expires)?)).await?;
        Ok(self.join_text(&token))
    }

    /// A link that logs one browser in, once.
    pub(crate) fn login_link(&self, role: Role) -> Result<String, Refusal> {
        let message = "this server was started with --dashboard off".to_owned();
        let gate = self.parts.gate.as_ref().ok_or(Refusal(StatusCode::CONFLICT, "no_dashboard", message))?;
        Ok(crate::listen::login_link(gate, role, &self.parts.authority, self.parts.clock.now())?)
    }

    pub(crate) fn join_text(&self, token: &str) -> String {
        format!("netlat://{}/{token}#{}", self.parts.authority, self.parts.fingerprint)
    }

    pub(crate) async fn open_session(
        &self,
        worker: WorkerName,
        request: SessionRequest,
    ) -> Result<SessionGrant, Refusal> {
        check_request(&request).map_err(|why| Refusal(StatusCode::BAD_REQUEST, "bad_request", why.to_owned()))?;
        if let Some(experiment) = &request.experiment {
            let refused = |why: String| Refusal(StatusCode::BAD_REQUEST, "bad_request", why);
            experiment.check().map_err(|error| refused(error.to_string()))?;
            let own = [self.parts.ports.udp, self.parts.ports.dns, self.parts.ports.tcp];
            let open = |port: u16| own.contains(&port) || self.parts.ports.trigger.contains(&port);
            if let Some(arm) = experiment.arms().find(|arm| !open(arm.port)) {
                return Err(refused(format!(
                    "port {} is not open here: start the server with --trigger-port {0}",
                    arm.port
                )));
            }
        }
        let mut request = request;
        if let Some(experiment) = &mut request.experiment {
            // How often an endless watch may err is the deployment's matter, not the worker's.
            if let Some(rate) = &mut experiment.standard.false_changes_per_year {
                *rate = self.parts.false_changes_per_year;
            }
        }
        let keys = SessionKeys { up: secrets::random()?, down: secrets::random()? };
        let (key_up, key_down) = (secrets::hex(&keys.up), secrets::hex(&keys.down));
        let seed = u64::from_le_bytes(secrets::random()?);
        let candidates: [u8; 32] = secrets::random()?;
        let now = self.parts.clock.now();
        let session = self
            .call(move |ingest| {
                let taken = |id: &u32| *id == 0 || ingest.sessions.get(*id).is_some();
                let chunks = candidates.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]));
                let id = chunks.into_iter().find(|id| !taken(id)).ok_or(ServerError::Random)?;
                let own = ingest.streams.values().filter(|s| s.info.worker == worker && !s.is_closed()).count();
                if own >= MAX_SESSIONS {
                    return Ok(None);
                }
                let info = SessionInfo {
                    session: SessionId(id),
                    worker,
                    boot: request.boot,
                    kind: request.kind,
                    family: request.family,
                    direction: request.direction,
                    started_at: now,
                    ended_at: None,
                    from: None,
                    to: None,
                    notes: Vec::new(),
                    experiment: request.experiment,
                    local_queue: Vec::new(),
                    transfers: Vec::new(),
                };
                let plan = SessionPlan {
                    classes: request.classes,
                    rate_pps: request.rate_pps,
                    size: request.size,
                    task: request.task,
                    seed,
                    syn: request.syn,
                };
                if !ingest.store.open_session(&info, &keys, &plan)? {
                    return Err(ServerError::Random);
                }
                let monotonic = net::Clock::monotonic_ns();
                ingest.sessions.insert(&info, &keys, &plan, monotonic);
                ingest.streams.insert(info.session, SessionStreams::new(info));
                Ok(Some(SessionId(id)))
            })
            .await?;
        let Some(session) = session else {
            let message = format!("a worker may have {MAX_SESSIONS} sessions open: close some first");
            return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, "too_many", message));
        };
        Ok(SessionGrant {
            session,
            key_up,
            key_down,
            mask_key: secrets::hex(&self.parts.mask_key),
            seed,
            ports: self.parts.ports.clone(),
            addresses: self.parts.advertised.clone(),
        })
    }

    /// What is seen so far of an experiment of this worker's.
    pub(crate) async fn experiment(
        &self,
        worker: WorkerName,
        session: SessionId,
    ) -> Result<Option<ExperimentStatus>, Refusal> {
        self.call(move |ingest| Ok(ingest.experiments.status(session, &worker))).await
    }

    pub(crate) async fn upload(
        &self,
        worker: WorkerName,
        upload: Upload,
        waiting_bytes: Option<u64>,
    ) -> Result<Uploaded, Refusal> {
        let (answer, result) = oneshot::channel();
        self.send(Message::Upload { worker, upload, waiting_bytes, answer })?;
        match result.await {
            Ok(Ok(uploaded)) => Ok(uploaded),
            Ok(Err(UploadRefused::Malformed)) => {
                let message = model::control::BadColumns.to_string();
                Err(Refusal(StatusCode::BAD_REQUEST, "bad_request", message))
            }
            Ok(Err(UploadRefused::Unavailable)) | Err(_) => {
                let message = "the server cannot store anything now; keep the batch and try again".to_owned();
                Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message))
            }
        }
    }

    pub(crate) async fn changed_marks(&self, worker: WorkerName) -> Result<Vec<ChangedMarks>, Refusal> {
        let (dir, now) = (self.parts.data_dir.clone(), self.parts.clock.now());
        let looked = tokio::task::spawn_blocking(move || {
            let reader = store::Reader::open(&dir)?;
            crate::changed::changed_marks(&reader, &worker, Direction::Up, now)
        });
        Ok(looked.await.map_err(|_| ServerError::Ingest("the rollups' reader panicked".to_owned()))??)
    }

    pub(crate) async fn keep_trace(&self, worker: WorkerName, report: path::TraceReport) -> Result<(), Refusal> {
        let body = serde_json::to_string(&report).map_err(|error| ServerError::Ingest(error.to_string()))?;
        let row = store::TraceRow {
            worker,
            direction: Direction::Up,
            family: report.family,
            at: self.parts.clock.now(),
            body,
        };
        self.call(move |ingest| Ok(ingest.store.put_trace(&row)?)).await
    }

    pub(crate) async fn report(&self, worker: Option<WorkerName>, since: UnixNanos) -> Result<Report, Refusal> {
        let busy = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is shutting down".to_owned());
        let permit = self.reports.clone().acquire_owned().await.map_err(|_| busy())?;
        let (dir, now) = (self.parts.data_dir.clone(), self.parts.clock.now());
        let built = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            crate::report::build(&dir, worker.as_ref(), Some(since), now)
        });
        Ok(built.await.map_err(|_| busy())??)
    }

    /// Keeps checked records; answered once they are in the store.
    pub(crate) async fn submit(&self, submission: RecordSubmission) -> Result<RecordsAccepted, Refusal> {
        self.call(move |ingest| Ok(ingest.store.submit(&submission)?)).await
    }

    pub(crate) async fn cursors(&self) -> Result<Vec<Cursor>, Refusal> {
        self.call(|ingest| Ok(ingest.store.cursors()?)).await
    }

    pub(crate) async fn applications(
        &self,
        worker: Option<WorkerName>,
        since: UnixNanos,
    ) -> Result<Vec<Application>, Refusal> {
        let busy = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is shutting down".to_owned());
        let permit = self.reports.clone().acquire_owned().await.map_err(|_| busy())?;
        let dir = self.parts.data_dir.clone();
        let built = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            crate::report::applications_of(&dir, worker.as_ref(), Some(since))
        });
        Ok(built.await.map_err(|_| busy())??)
    }

    pub(crate) async fn csv(&self, since_us: i64) -> Result<String, Refusal> {
        let busy = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is shutting down".to_owned());
        let permit = self.reports.clone().acquire_owned().await.map_err(|_| busy())?;
        let dir = self.parts.data_dir.clone();
        let written = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            crate::report::csv_of(&dir, since_us)
        });
        let csv = written.await.map_err(|_| busy())??;
        csv.ok_or_else(|| Refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_long", model::deployment::too_long()))
    }

    pub(crate) async fn status(&self) -> Result<Status, Refusal> {
        let dir = self.parts.data_dir.clone();
        let read = tokio::task::spawn_blocking(move || store::Reader::open(&dir)?.counters()).await;
        let read = read.map_err(|_| ServerError::Ingest("the counters' reader panicked".to_owned()))?;
        let counters = read.map_err(ServerError::from)?;
        self.call(|ingest| {
            let mut workers: Vec<WorkerStatus> = Vec::new();
            for streams in ingest.streams.values() {
                let silent_s = streams.idle().as_secs();
                match workers.iter_mut().find(|worker| worker.name == streams.info.worker) {
                    Some(worker) => {
                        worker.sessions += 1;
                        worker.silent_s = worker.silent_s.min(silent_s);
                    }
                    None => workers.push(WorkerStatus { name: streams.info.worker.clone(), sessions: 1, silent_s }),
                }
            }
            workers.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                sessions: ingest.streams.len(),
                workers,
                counters,
            })
        })
        .await
    }
}

fn check_request(request: &SessionRequest) -> Result<(), &'static str> {
    if request.classes.is_empty() || request.classes.len() > 256 {
        Err("a session has 1 to 256 traffic classes")
    } else if !(0.01..=10_000.0).contains(&request.rate_pps) {
        Err("a session's rate lies between 0.01 and 10000 packets per second")
    } else if request.syn.as_ref().is_some_and(|syn| syn.options.len() > 40) {
        Err("a SYN has 40 bytes of options at most")
    } else if request.kind == model::Kind::Stamp {
        Err("stamp needs no session")
    } else {
        Ok(())
    }
}
