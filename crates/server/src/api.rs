//! The control plane's HTTP surface: routes, authentication, limits. What it does is the coordinator's work.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use model::control::{ChangedMarks, Enroll, ErrorBody, SessionRequest, TaskList, Upload};
use model::deployment::{ApplicationList, CsvExport, CursorList};
use model::shaping::ExperimentStatus;
use model::{RecordSubmission, RecordsAccepted, Report, SessionId, TaskSpec, UnixNanos, WorkerName};
use serde::{Deserialize, Serialize};

use crate::coordinator::Coordinator;
pub use crate::coordinator::{Status, WorkerStatus};
use crate::limits::SourceLimiter;
use crate::secrets;
use crate::sessions::lock;

/// Largest body: a batch of a worker that was away is cut to less than this.
const MAX_BODY: usize = 4 << 20;
const MAX_TRACE: usize = 256 << 10;
/// Bytes and time that a stranger may take for enrolling; everything else is authorised before its body is read.
const MAX_ENROLL: usize = 4 << 10;
const ENROLL: std::time::Duration = std::time::Duration::from_secs(15);

#[derive(Clone)]
pub struct Api {
    coordinator: Arc<Coordinator>,
    /// Failed authentications by source.
    failures: Arc<Mutex<SourceLimiter>>,
}

/// An error answer: status, stable word, one line for people.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub &'static str, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { error: self.1.to_owned(), message: self.2 })).into_response()
    }
}

impl From<crate::ServerError> for Refusal {
    fn from(error: crate::ServerError) -> Refusal {
        tracing::error!(%error, "a request failed");
        Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the server cannot store anything now; try again later".to_owned(),
        )
    }
}

pub fn router(coordinator: Arc<Coordinator>) -> Router {
    let now = net::Clock::monotonic_ns();
    let api = Api { coordinator, failures: Arc::new(Mutex::new(SourceLimiter::new(0.5, 20.0, now))) };
    Router::new()
        .route(
            "/api/v1/enroll",
            post(enroll).layer(DefaultBodyLimit::max(MAX_ENROLL)).layer(axum::middleware::from_fn(in_time)),
        )
        .route("/api/v1/tasks", get(own_tasks))
        .route("/api/v1/sessions", post(open_session))
        .route("/api/v1/sessions/{id}/experiment", get(experiment))
        .route("/api/v1/upload", post(upload))
        .route("/api/v1/changed-marks", get(changed_marks))
        .route("/api/v1/trace", post(trace).layer(DefaultBodyLimit::max(MAX_TRACE)))
        .route("/api/v1/report", get(report))
        .route("/api/v1/records", post(own_records))
        .route("/api/v1/admin/records", post(records))
        .route("/api/v1/admin/cursors", get(cursors))
        .route("/api/v1/admin/applications", get(applications))
        .route("/api/v1/admin/records.csv", get(csv))
        .route("/api/v1/admin/join", post(join))
        .route("/api/v1/admin/login", post(login))
        .route("/api/v1/admin/status", get(status))
        .route("/api/v1/admin/alerts", get(alerts))
        .route("/api/v1/admin/alerts/{name}/test", post(test_alert))
        .route("/api/v1/admin/tasks", get(tasks).post(add_task))
        .route("/api/v1/admin/tasks/{id}", delete(remove_task))
        .route("/api/v1/admin/workers/{name}", delete(revoke))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

/// Ends a request whose body does not come.
async fn in_time(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    match tokio::time::timeout(ENROLL, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = "the request did not come whole in time".to_owned();
            Refusal(StatusCode::REQUEST_TIMEOUT, "timeout", message).into_response()
        }
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").filter(|token| token.len() <= 128)
}

fn source(parts: &Parts) -> std::net::IpAddr {
    let from = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    from.unwrap_or(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)).to_canonical()
}

impl Api {
    /// Every failed authentication costs its source a token of a small bucket; an empty bucket answers 429.
    fn refuse(&self, source: std::net::IpAddr, word: &'static str, message: &str) -> Refusal {
        if lock(&self.failures).allow(source, net::Clock::monotonic_ns()) {
            Refusal(StatusCode::UNAUTHORIZED, word, message.to_owned())
        } else {
            Refusal(StatusCode::TOO_MANY_REQUESTS, "too_many", "too many failed attempts from this address".to_owned())
        }
    }
}

/// The worker whose credential came with the request.
struct Caller(WorkerName);

impl FromRequestParts<Api> for Caller {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, Refusal> {
        let refused =
            |parts: &Parts| api.refuse(source(parts), "bad_credential", "this credential is unknown or was revoked");
        let hash = secrets::hash(bearer(parts).ok_or_else(|| refused(parts))?);
        let worker = api.coordinator.authenticate(hash).await?;
        worker.map(Caller).ok_or_else(|| refused(parts))
    }
}

/// The bearer of the admin token, which only the data directory's owner can read.
struct Admin;

impl FromRequestParts<Api> for Admin {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Admin, Refusal> {
        match bearer(parts) {
            // Hashes of secrets may be compared in variable time: the difference says nothing of the token.
            Some(token) if secrets::hash(token) == api.coordinator.admin_hash() => Ok(Admin),
            _ => Err(api.refuse(source(parts), "bad_credential", "this is not the admin token of this server")),
        }
    }
}

const BAD_TOKEN: &str = "this join token is unknown, used or expired: get a fresh one with `netlat server join`";

/// The hash of the join token that came with the request, and where it came from.
struct Token {
    hash: [u8; 32],
    source: std::net::IpAddr,
}

impl FromRequestParts<Api> for Token {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Token, Refusal> {
        Ok(Token { hash: secrets::hash(bearer(parts).unwrap_or_default()), source: source(parts) })
    }
}

async fn enroll(State(api): State<Api>, token: Token, Json(request): Json<Enroll>) -> Result<Response, Refusal> {
    if request.protocol.abs_diff(model::control::PROTOCOL) > 1 {
        let message = format!(
            "worker {} speaks protocol {}, this server (version {}) speaks {}: bring both to the same version",
            request.version,
            request.protocol,
            env!("CARGO_PKG_VERSION"),
            model::control::PROTOCOL
        );
        return Err(Refusal(StatusCode::CONFLICT, "protocol", message));
    }
    match api.coordinator.enroll(token.hash, request).await? {
        Some(enrolled) => Ok(Json(enrolled).into_response()),
        None => Err(api.refuse(token.source, "bad_token", BAD_TOKEN)),
    }
}

async fn own_tasks(State(api): State<Api>, caller: Caller) -> Result<Json<TaskList>, Refusal> {
    let tasks = api.coordinator.tasks().await?;
    let own = |worker: &Option<WorkerName>| worker.as_ref().is_none_or(|worker| *worker == caller.0);
    Ok(Json(TaskList { tasks: tasks.into_iter().filter(|task| own(&task.worker)).collect() }))
}

async fn open_session(
    State(api): State<Api>,
    caller: Caller,
    Json(request): Json<SessionRequest>,
) -> Result<Response, Refusal> {
    Ok(Json(api.coordinator.open_session(caller.0, request).await?).into_response())
}

async fn experiment(
    State(api): State<Api>,
    Caller(worker): Caller,
    Path(session): Path<SessionId>,
) -> Result<Json<ExperimentStatus>, Refusal> {
    let unknown = || Refusal(StatusCode::NOT_FOUND, "unknown", "this worker has no such experiment".to_owned());
    api.coordinator.experiment(worker, session).await?.map(Json).ok_or_else(unknown)
}

/// The one large body: read without the extractor's path of every value, which costs half as much again as the values.
async fn upload(
    State(api): State<Api>,
    caller: Caller,
    Query(behind): Query<Behind>,
    body: axum::body::Bytes,
) -> Result<Response, Refusal> {
    let upload: Upload = serde_json::from_slice(&body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, "bad_request", format!("this is no upload: {error}")))?;
    drop(body);
    Ok(Json(api.coordinator.upload(caller.0, upload, behind.waiting_bytes).await?).into_response())
}

/// What the worker still holds behind an upload.
#[derive(Deserialize)]
struct Behind {
    waiting_bytes: Option<u64>,
}

async fn changed_marks(State(api): State<Api>, caller: Caller) -> Result<Json<Vec<ChangedMarks>>, Refusal> {
    Ok(Json(api.coordinator.changed_marks(caller.0).await?))
}

/// How the caller's way up looks from hop to hop.
async fn trace(
    State(api): State<Api>,
    caller: Caller,
    Json(report): Json<path::TraceReport>,
) -> Result<StatusCode, Refusal> {
    if !report.is_plausible() {
        let message = "this is more than any trace holds".to_owned();
        return Err(Refusal(StatusCode::BAD_REQUEST, "bad_request", message));
    }
    api.coordinator.keep_trace(caller.0, report).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct ReportQuery {
    #[serde(default)]
    since_ns: i64,
}

async fn report(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ReportQuery>,
) -> Result<Json<Report>, Refusal> {
    Ok(Json(api.coordinator.report(Some(caller.0), UnixNanos(query.since_ns)).await?))
}

/// Every record and word within its documented range.
fn check_submission(submission: &RecordSubmission) -> Result<(), Refusal> {
    let refused = |why: String| Refusal(StatusCode::BAD_REQUEST, "bad_request", why);
    let most = RecordSubmission::LIMIT;
    if submission.records.len() > most || submission.cursors.len() > most || submission.counted.len() > 64 {
        return Err(refused(format!("a submission has at most {most} records and cursors and 64 counts")));
    }
    for record in &submission.records {
        record.check().map_err(|error| refused(error.to_string()))?;
    }
    let printable = |text: &str| (1..=80).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let is_counter = |name: &str| {
        name.len() <= 40 && name.starts_with("record_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    if !submission.cursors.iter().all(|cursor| printable(&cursor.source) && i64::try_from(cursor.position).is_ok()) {
        return Err(refused("a cursor's source has 1 to 80 printable characters, its position 63 bits".to_owned()));
    }
    if !submission.counted.iter().all(|(name, _)| is_counter(name)) {
        return Err(refused("a count's name is record_ and a word of a-z and '_'".to_owned()));
    }
    Ok(())
}

async fn own_records(
    State(api): State<Api>,
    caller: Caller,
    Json(submission): Json<RecordSubmission>,
) -> Result<Json<RecordsAccepted>, Refusal> {
    check_submission(&submission)?;
    let foreign = submission.records.iter().any(|record| record.id.worker != caller.0);
    if foreign || !submission.cursors.is_empty() || !submission.counted.is_empty() {
        let message = "a worker submits its own records and nothing else".to_owned();
        return Err(Refusal(StatusCode::BAD_REQUEST, "bad_request", message));
    }
    Ok(Json(api.coordinator.submit(submission).await?))
}

async fn records(
    State(api): State<Api>,
    _: Admin,
    Json(submission): Json<RecordSubmission>,
) -> Result<Json<RecordsAccepted>, Refusal> {
    check_submission(&submission)?;
    Ok(Json(api.coordinator.submit(submission).await?))
}

async fn cursors(State(api): State<Api>, _: Admin) -> Result<Json<CursorList>, Refusal> {
    Ok(Json(CursorList { cursors: api.coordinator.cursors().await? }))
}

#[derive(Deserialize)]
struct ApplicationsQuery {
    worker: Option<WorkerName>,
    #[serde(default)]
    since_us: i64,
}

async fn applications(
    State(api): State<Api>,
    _: Admin,
    Query(query): Query<ApplicationsQuery>,
) -> Result<Json<ApplicationList>, Refusal> {
    let since = UnixNanos(query.since_us.saturating_mul(1000));
    Ok(Json(ApplicationList { applications: api.coordinator.applications(query.worker, since).await? }))
}

async fn csv(
    State(api): State<Api>,
    _: Admin,
    Query(query): Query<ApplicationsQuery>,
) -> Result<Json<CsvExport>, Refusal> {
    Ok(Json(CsvExport { csv: api.coordinator.csv(query.since_us).await? }))
}

/// `POST /api/v1/admin/join`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JoinRequest {
    /// The string may be used by any number of workers.
    pub many: bool,
    /// Seconds until an unused string expires; default one day.
    pub expires_s: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct JoinAnswer {
    pub join: String,
}

async fn join(State(api): State<Api>, _: Admin, Json(request): Json<JoinRequest>) -> Result<Json<JoinAnswer>, Refusal> {
    let join = api.coordinator.join_string(request.many, request.expires_s).await?;
    Ok(Json(JoinAnswer { join }))
}

/// `POST /api/v1/admin/login`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginRequest {
    /// Whoever follows the link may also start and stop tasks.
    pub admin: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LoginAnswer {
    pub link: String,
}

async fn login(
    State(api): State<Api>,
    _: Admin,
    Json(request): Json<LoginRequest>,
) -> Result<Json<LoginAnswer>, Refusal> {
    let role = if request.admin { dashboard::Role::Admin } else { dashboard::Role::Viewer };
    Ok(Json(LoginAnswer { link: api.coordinator.login_link(role)? }))
}

async fn status(State(api): State<Api>, _: Admin) -> Result<Response, Refusal> {
    Ok(Json(api.coordinator.status().await?).into_response())
}

async fn alerts(State(api): State<Api>, _: Admin) -> Result<Response, Refusal> {
    Ok(Json(AlertList { alerts: api.coordinator.alerts().await? }).into_response())
}

async fn test_alert(State(api): State<Api>, _: Admin, Path(name): Path<String>) -> Result<Json<AlertTest>, Refusal> {
    match api.coordinator.test_alert(&name).await? {
        true => Ok(Json(AlertTest { alert: name })),
        false => Err(Refusal(StatusCode::NOT_FOUND, "unknown", format!("there is no alert '{name}'"))),
    }
}

/// `GET /api/v1/admin/alerts`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AlertList {
    pub alerts: Vec<alerts::AlertStatus>,
}

/// `POST /api/v1/admin/alerts/{name}/test`: the test is on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct AlertTest {
    pub alert: String,
}

async fn tasks(State(api): State<Api>, _: Admin) -> Result<Json<TaskList>, Refusal> {
    Ok(Json(TaskList { tasks: api.coordinator.tasks().await? }))
}

/// `POST /api/v1/admin/tasks`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddTask {
    /// Chosen by the server if left out; an existing task of this id is replaced.
    pub id: Option<String>,
    pub worker: Option<WorkerName>,
    #[serde(default)]
    pub spec: TaskSpec,
}

async fn add_task(State(api): State<Api>, _: Admin, Json(task): Json<AddTask>) -> Result<Response, Refusal> {
    task.spec.check().map_err(|error| Refusal(StatusCode::BAD_REQUEST, "bad_request", error.to_string()))?;
    Ok((StatusCode::CREATED, Json(api.coordinator.add_task(task).await?)).into_response())
}

async fn remove_task(State(api): State<Api>, _: Admin, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    if api.coordinator.remove_task(model::TaskId(id.clone())).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refusal(StatusCode::NOT_FOUND, "unknown_task", format!("there is no task '{id}'")))
    }
}

async fn revoke(State(api): State<Api>, _: Admin, Path(name): Path<WorkerName>) -> Result<StatusCode, Refusal> {
    if api.coordinator.revoke(name.clone()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refusal(StatusCode::NOT_FOUND, "unknown_worker", format!("there is no worker '{name}'")))
    }
}
