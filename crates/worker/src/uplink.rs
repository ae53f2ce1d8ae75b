//! The control plane as the worker sees it: typed requests over HTTPS to one pinned server, errors as one line.
//! Retries are the caller's.

use std::sync::Arc;
use std::time::Duration;

use model::control::{Enroll, Enrolled, ErrorBody, PROTOCOL, SessionGrant, SessionRequest, TaskList, Uploaded};
use model::shaping::ExperimentStatus;
use model::{Report, SessionId, WorkerName};
use reqwest::{Method, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::error::WorkerError;
use crate::join::{Fingerprint, Secret, ServerAddress};
use crate::pin::PinnedCertificate;

const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(15);
/// A report may take the server a while to build.
const REPORT: Duration = Duration::from_secs(60);
/// No honest answer is longer; a hostile one is not kept.
const MAX_ANSWER: usize = 16 << 20;

/// A client of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Uplink {
    client: reqwest::Client,
    pin: Arc<PinnedCertificate>,
    server: ServerAddress,
    bearer: Secret,
}

impl Uplink {
    /// `bearer` is the join token for [`Uplink::enroll`], the credential for all else.
    pub fn new(server: ServerAddress, fingerprint: Fingerprint, bearer: Secret) -> Result<Uplink, WorkerError> {
        let pin = Arc::new(PinnedCertificate::new(fingerprint));
        let start = |error: &dyn std::fmt::Display| WorkerError::Start(format!("the HTTPS client: {error}"));
        let tls = pin.client_config().map_err(|error| start(&error))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .pool_max_idle_per_host(2)
            .tcp_nodelay(true)
            .user_agent(concat!("netlat-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| start(&error))?;
        Ok(Uplink { client, pin, server, bearer })
    }

    pub fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// The same server with another secret.
    pub fn with_bearer(&self, bearer: Secret) -> Uplink {
        Uplink { bearer, ..self.clone() }
    }

    pub async fn enroll(&self, name: WorkerName, ephemeral: bool) -> Result<Enrolled, WorkerError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let body = Enroll { protocol: PROTOCOL, version, name, ephemeral };
        self.request(Method::POST, "enroll", Some(encode(&body)?), REQUEST).await
    }

    pub async fn tasks(&self) -> Result<TaskList, WorkerError> {
        self.request(Method::GET, "tasks", None, REQUEST).await
    }

    pub async fn open_session(&self, request: &SessionRequest) -> Result<SessionGrant, WorkerError> {
        self.request(Method::POST, "sessions", Some(encode(request)?), REQUEST).await
    }

    pub async fn experiment(&self, session: SessionId) -> Result<ExperimentStatus, WorkerError> {
        self.request(Method::GET, &format!("sessions/{}/experiment", session.0), None, REQUEST).await
    }

    /// `upload` is the JSON of a [`model::Upload`], as the spool keeps it.
    pub async fn upload(&self, upload: Vec<u8>) -> Result<Uploaded, WorkerError> {
        self.request(Method::POST, "upload", Some(upload), REQUEST).await
    }

    /// The same, and how many bytes wait behind it, for people who ask why a worker's figures are old.
    pub async fn upload_of(&self, upload: Vec<u8>, waiting_bytes: u64) -> Result<Uploaded, WorkerError> {
        self.request(Method::POST, &format!("upload?waiting_bytes={waiting_bytes}"), Some(upload), REQUEST).await
    }

    pub async fn report(&self, since_ns: i64) -> Result<Report, WorkerError> {
        self.request(Method::GET, &format!("report?since_ns={since_ns}"), None, REPORT).await
    }

    /// Any other resource under `/api/v1/`, for whoever administers the server with its own token.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, WorkerError> {
        self.request(Method::GET, path, None, REQUEST).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> Result<T, WorkerError> {
        self.request(Method::POST, path, Some(encode(body)?), REQUEST).await
    }

    pub async fn delete(&self, path: &str) -> Result<(), WorkerError> {
        self.request(Method::DELETE, path, None, REQUEST).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<T, WorkerError> {
        let url = format!("https://{}/api/v1/{path}", self.server);
        let mut authorization = header::HeaderValue::try_from(format!("Bearer {}", self.bearer.reveal()))
            .map_err(|_| WorkerError::Revoked { server: self.server.clone() })?;
        authorization.set_sensitive(true);
        let mut request =
            self.client.request(method, url).header(header::AUTHORIZATION, authorization).timeout(timeout);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(self.unreachable("its answer is too long"));
            }
            answer.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(self.refused(status, &answer));
        }
        // 204: nothing to read is a `null`.
        let text = if answer.is_empty() { b"null".as_slice() } else { &answer };
        serde_json::from_slice(text)
            .map_err(|error| self.unreachable(&format!("its answer is not understood: {error}")))
    }

    fn unreachable(&self, problem: &str) -> WorkerError {
        WorkerError::Unreachable { server: self.server.clone(), problem: problem.to_owned() }
    }

    fn failed(&self, error: &reqwest::Error) -> WorkerError {
        if let Some(shown) = self.pin.take_refused() {
            return WorkerError::WrongFingerprint { server: self.server.clone(), shown, expected: self.pin.expected() };
        }
        if error.is_timeout() {
            return self.unreachable("no answer in time");
        }
        // The innermost cause is the system's; the layers above only say that a request failed.
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        self.unreachable(&cause.to_string())
    }

    fn refused(&self, status: StatusCode, answer: &[u8]) -> WorkerError {
        let server = self.server.clone();
        let body: ErrorBody = serde_json::from_slice(answer).unwrap_or_else(|_| ErrorBody {
            error: String::new(),
            message: String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned(),
        });
        match (status.as_u16(), body.error.as_str()) {
            (401, "bad_token") => WorkerError::BadToken { server },
            (401, _) => WorkerError::Revoked { server },
            (409, "protocol") => WorkerError::VersionMismatch { server, message: body.message },
            (status, _) => WorkerError::Refused { server, status, word: body.error, message: body.message },
        }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, WorkerError> {
    serde_json::to_vec(value).map_err(|error| WorkerError::Start(format!("a message cannot be written: {error}")))
}
