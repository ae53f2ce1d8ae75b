//! Sends calls: waits for limits, keeps the connection, tries again what may be tried again, times what was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode, header};
use model::UnixNanos;
use net::Clock;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::rest::answer::{self, Call, Timed, Timing};
use crate::rest::connection::{Connection, Trust};
use crate::rest::endpoint::Endpoint;
use crate::rest::error::RestError;
use crate::rest::limits::Limits;
use crate::secret::Token;

/// No answer that a bot asks for is longer: a hundred messages of 2,000 characters.
const MAX_BODY: usize = 8 << 20;
/// Discord asks bots to name themselves so.
pub(crate) const USER_AGENT: &str = concat!("DiscordBot (netlat, ", env!("CARGO_PKG_VERSION"), ")");
/// Attempts of one call, and the longest a rate limit is waited for within it.
const ATTEMPTS: u32 = 4;
const MOST_REFUSALS: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Answers of 401, 403 and 429 count against the address (10,000 in 10 minutes ban it). Far below that something is wrong.
const MOST_FORBIDDEN: u32 = 500;

#[derive(Clone)]
pub struct RestConfig {
    pub endpoint: Endpoint,
    pub token: Token,
    pub trust: Trust,
    pub clock: Clock,
    /// For an answer, body included.
    pub timeout: Duration,
}

/// A client of one token. Cheap to clone; calls of all clones go one after the other over one connection.
#[derive(Clone)]
pub struct Rest {
    shared: Arc<Shared>,
}

struct Shared {
    config: RestConfig,
    authorization: header::HeaderValue,
    began: Instant,
    limits: Mutex<Limits>,
    connection: tokio::sync::Mutex<Option<Connection>>,
    /// The token was refused: nothing is sent any more.
    refused: AtomicBool,
    forbidden: AtomicU32,
}

/// The kept connection, for one exchange.
type Slot<'a> = tokio::sync::MutexGuard<'a, Option<Connection>>;

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    timing: Timing,
}

impl Rest {
    pub fn new(config: RestConfig) -> Rest {
        // A token has header characters only.
        let mut authorization = header::HeaderValue::try_from(format!("Bot {}", config.token.reveal()))
            .unwrap_or(header::HeaderValue::from_static("Bot"));
        authorization.set_sensitive(true);
        Rest {
            shared: Arc::new(Shared {
                config,
                authorization,
                began: Instant::now(),
                limits: Mutex::new(Limits::default()),
                connection: tokio::sync::Mutex::new(None),
                refused: AtomicBool::new(false),
                forbidden: AtomicU32::new(0),
            }),
        }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.config.endpoint
    }

    /// The token was refused at some time.
    pub fn is_refused(&self) -> bool {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Sends the call, again where that is harmless, and reads the answer.
    pub async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<Timed<T>, RestError> {
        let answered = self.attempt(&call, ATTEMPTS).await?;
        decode(&call, answered)
    }

    /// Sends the call once (after a 429 again), so that what is timed is one exchange.
    pub async fn measure(&self, call: Call) -> Result<Timing, RestError> {
        Ok(self.attempt(&call, 1).await?.timing)
    }

    /// For calls whose answer is empty or does not matter.
    pub async fn send(&self, call: Call) -> Result<Timing, RestError> {
        Ok(self.attempt(&call, ATTEMPTS).await?.timing)
    }

    async fn attempt(&self, call: &Call, attempts: u32) -> Result<Answered, RestError> {
        let mut wait = Duration::ZERO;
        let (mut failures, mut refusals, mut stale) = (0, 0, false);
        loop {
            let (held, slot) = self.admitted(call, wait).await?;
            wait += held;
            let failure = match self.exchange(call, slot).await {
                Ok(mut answered) => {
                    answered.timing.wait = wait;
                    match self.judge(call, answered)? {
                        Judged::Fine(answered) => return Ok(*answered),
                        Judged::Again(wait) if refusals < MOST_REFUSALS => {
                            refusals += 1;
                            tracing::debug!(call = call.key.route, ?wait, "a rate limit was hit");
                            continue;
                        }
                        Judged::Again(wait) => return Err(RestError::RateLimited { call: call.name(), wait }),
                        Judged::Failed(error) => error,
                    }
                }
                // The far end closed a kept connection just as it was used again: this says nothing of the far end.
                Err(RestError::Interrupted { kept: true, .. }) if call.repeatable && !stale => {
                    stale = true;
                    continue;
                }
                Err(error) => error,
            };
            failures += 1;
            let harmless = call.repeatable || !failure.is_ambiguous();
            if failures >= attempts || !harmless || !failure.is_transient() {
                return Err(failure);
            }
            tracing::debug!(call = call.key.route, "{failure}; trying again");
            tokio::time::sleep(Duration::from_millis(250 << failures)).await;
        }
    }

    /// Waits for the limits; answers with how long that took, and with the connection, which nobody else uses meanwhile.
    async fn admitted(&self, call: &Call, waited: Duration) -> Result<(Duration, Slot<'_>), RestError> {
        let mut held = Duration::ZERO;
        loop {
            // Looked at while no other request is on its way: its answer may tell of a limit that nobody knew.
            let slot = self.shared.connection.lock().await;
            if self.is_refused() {
                return Err(RestError::Unauthorized);
            }
            let now = self.shared.began.elapsed();
            let taken = self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner).take(call.key, now);
            let Err(wait) = taken else { return Ok((held, slot)) };
            drop(slot);
            if waited + held + wait > LONGEST_WAIT {
                return Err(RestError::RateLimited { call: call.name(), wait });
            }
            let began = Instant::now();
            tokio::time::sleep(wait).await;
            held += began.elapsed();
        }
    }

    fn judge(&self, call: &Call, answered: Answered) -> Result<Judged, RestError> {
        let status = answered.status;
        let now = self.shared.began.elapsed();
        let mut limits = self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = limits.refused(call.key, &answer::limits(&answered.headers, Some(&answered.body)), now);
            drop(limits);
            self.count_forbidden();
            return Ok(Judged::Again(wait));
        }
        limits.learn(call.key, &answer::limits(&answered.headers, None), now);
        drop(limits);
        if status.is_success() {
            return Ok(Judged::Fine(Box::new(answered)));
        }
        if status.is_server_error() {
            return Ok(Judged::Failed(RestError::Unavailable { call: call.name(), status: status.as_u16() }));
        }
        let (code, message) = answer::refusal(&answered.body);
        match status {
            StatusCode::UNAUTHORIZED if call.authorised => {
                self.shared.refused.store(true, Ordering::Relaxed);
                Err(RestError::Unauthorized)
            }
            StatusCode::FORBIDDEN => {
                self.count_forbidden();
                Err(RestError::Forbidden { call: call.name(), code, message })
            }
            _ => Err(RestError::Refused { call: call.name(), status: status.as_u16(), code, message }),
        }
    }

    fn count_forbidden(&self) {
        if self.shared.forbidden.fetch_add(1, Ordering::Relaxed) == MOST_FORBIDDEN {
            tracing::warn!(
                "{MOST_FORBIDDEN} answers of 403 or 429 so far: Discord bans addresses that collect 10000 of them in 10 minutes"
            );
        }
    }

    /// The slot is held for the whole exchange: HTTP/1.1 answers in order, and a second request would be timed with the first.
    async fn exchange(&self, call: &Call, mut slot: Slot<'_>) -> Result<Answered, RestError> {
        let timeout = self.shared.config.timeout;
        // Taken out, so that a dropped future leaves no half-used connection behind.
        let (mut connection, kept) = self.ready(slot.take()).await?;
        let request = self.request(call)?;
        let (sent, sent_at) = (Instant::now(), self.now());
        let exchanged = tokio::time::timeout(timeout, async {
            let response = connection.sender.send_request(request).await?;
            let (head, mut incoming) = response.into_parts();
            let mut body = Vec::new();
            while let Some(frame) = incoming.frame().await {
                if let Some(data) = frame?.data_ref() {
                    if body.len() + data.len() > MAX_BODY {
                        return Ok(None);
                    }
                    body.extend_from_slice(data);
                }
            }
            Ok::<_, hyper::Error>(Some((head, body)))
        })
        .await;
        let (app, received_at) = (sent.elapsed(), self.now());
        let (head, body) = match exchanged {
            Err(_) => return Err(RestError::Timeout { call: call.name(), after: timeout }),
            Ok(Err(error)) => {
                let problem = innermost(&error);
                return Err(RestError::Interrupted { call: call.name(), problem, kept });
            }
            Ok(Ok(None)) => {
                return Err(RestError::Malformed { call: call.name(), problem: "it is too long".to_owned() });
            }
            Ok(Ok(Some(parts))) => parts,
        };
        let timing = Timing {
            sent_at,
            received_at,
            app,
            wait: Duration::ZERO,
            network: connection.socket.info().and_then(|info| info.min_rtt),
            peer: connection.socket.peer,
            edge: answer::edge(&head.headers),
            status: head.status.as_u16(),
            date_s: answer::date_s(&head.headers),
        };
        *slot = Some(connection);
        Ok(Answered { status: head.status, headers: head.headers, body, timing })
    }

    /// The kept connection if it still stands (true), else a new one.
    async fn ready(&self, kept: Option<Connection>) -> Result<(Connection, bool), RestError> {
        if let Some(mut connection) = kept
            && connection.sender.ready().await.is_ok()
        {
            return Ok((connection, true));
        }
        let config = &self.shared.config;
        let unreachable = |error: &dyn std::error::Error| RestError::Unreachable {
            endpoint: config.endpoint.to_string(),
            problem: innermost(error),
        };
        let mut connection =
            Connection::open(&config.endpoint, &config.trust).await.map_err(|error| unreachable(&error))?;
        connection.sender.ready().await.map_err(|error| unreachable(&error))?;
        Ok((connection, false))
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, RestError> {
        let config = &self.shared.config;
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", config.endpoint.prefix, call.path))
            .header(header::HOST, config.endpoint.authority())
            .header(header::USER_AGENT, USER_AGENT);
        if call.authorised {
            request = request.header(header::AUTHORIZATION, self.shared.authorization.clone());
        }
        let body = call.body.clone().unwrap_or_default();
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, call.content_type.as_str());
        }
        if call.body.is_some() || call.method != hyper::Method::GET {
            request = request.header(header::CONTENT_LENGTH, body.len());
        }
        request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| RestError::Malformed { call: call.name(), problem: error.to_string() })
    }

    /// This host's clock.
    pub(crate) fn now(&self) -> UnixNanos {
        self.shared.config.clock.now()
    }
}

/// The innermost cause is the system's; the layers above only say that a request failed.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

enum Judged {
    Fine(Box<Answered>),
    /// A rate limit was hit, and is known now.
    Again(Duration),
    Failed(RestError),
}

fn decode<T: DeserializeOwned>(call: &Call, answered: Answered) -> Result<Timed<T>, RestError> {
    // 204: nothing to read is a `null`.
    let text = if answered.body.is_empty() { b"null".as_slice() } else { &answered.body };
    let value = serde_json::from_slice(text).map_err(|error| RestError::Malformed {
        call: call.name(),
        problem: format!("line {}, column {}", error.line(), error.column()),
    })?;
    Ok(Timed { value, timing: answered.timing })
}
