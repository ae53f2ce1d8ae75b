//! What every REST request goes through: stamps, faults, authentication, rate limits, headers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::delivery::{Delivery, Manner};
use super::limit::{Allowance, Refused};
use crate::clock::{http_date, system_ns};
use crate::config::FieldErrorCodes;
use crate::faults::{Decision, Effect, Point, Scope, Surface};
use crate::hub::{Arrival, Hub};
use crate::id::Snowflake;
use crate::stamps::{Exchange, ExchangeKind};
use crate::state::Refusal;

/// Whole answers are held to be stamped; the largest is a page of a hundred messages.
const ANSWER: usize = 64 << 20;
const STALL: Duration = Duration::from_secs(3600);

/// The bot that asks, proven by its token.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Snowflake);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Refusal> {
        parts.extensions.get::<Caller>().copied().ok_or(Refusal::UNAUTHORIZED)
    }
}

/// What most handlers begin with: the world, and the bot that asks.
pub struct Asked {
    pub hub: Arc<Hub>,
    pub me: Snowflake,
}

impl FromRequestParts<Arc<Hub>> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Asked, Refusal> {
        let Caller(me) = Caller::from_request_parts(parts, hub).await?;
        Ok(Asked { hub: hub.clone(), me })
    }
}

pub type Answer = Result<axum::Json<Value>, Refusal>;
/// Nothing to say but that it is done.
pub type Done = Result<StatusCode, Refusal>;

/// Set by handlers on their answer: what it was about.
#[derive(Clone, Copy, Debug)]
pub struct Subject(pub Snowflake);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self.body())).into_response()
    }
}

pub async fn layer(State(hub): State<Arc<Hub>>, mut request: Request, next: Next) -> Response {
    let received_ns = system_ns();
    let Some(arrival) = request.extensions().get::<Arrival>().cloned() else {
        return Refusal::INTERNAL.into_response();
    };
    let method = request.method().as_str().to_owned();
    let path = below_version(request.uri().path()).to_owned();
    let matched = request.extensions().get::<MatchedPath>().map(|path| below_version(path.as_str()).to_owned());
    let template = matched.unwrap_or_else(|| "/{unknown}".to_owned());
    let caller = authenticate(&hub, request.headers());
    let username = caller.and_then(|id| hub.world().users.get(&id).map(|user| user.username.clone()));
    let point = Point { request: Some((&method, &path)), user: username.as_deref(), ..Point::new(Surface::Rest) };
    let decision = hub.faults.decide(&point);
    let mut exchange = Exchange::new(ExchangeKind::Rest, arrival.control.peer, arrival.control.id, received_ns);
    exchange.name = format!("{method} {template}");
    exchange.user = caller;
    if !decision.delay.is_zero() {
        tokio::time::sleep(decision.delay).await;
    }
    if let Some(caller) = caller {
        request.extensions_mut().insert(Caller(caller));
    }
    let response = match disturbed(&decision, &arrival).await {
        Some(response) => response,
        None => limited(&hub, &arrival, caller, (&method, &template, &path), request, next).await,
    };
    if !decision.answer_delay.is_zero() {
        tokio::time::sleep(decision.answer_delay).await;
    }
    deliver(hub, &arrival, decision, exchange, response).await
}

/// `/channels/1` of `/api/v10/channels/1`.
fn below_version(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/api") else { return path };
    match rest.strip_prefix("/v").and_then(|version| version.find('/').map(|end| (version, end))) {
        Some((version, end)) if version[..end].bytes().all(|byte| byte.is_ascii_digit()) => &version[end..],
        _ => rest,
    }
}

fn authenticate(hub: &Hub, headers: &HeaderMap) -> Option<Snowflake> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = value.strip_prefix("Bot ")?;
    hub.world().by_token(token.trim())
}

/// Faults that come instead of an answer.
async fn disturbed(decision: &Decision, arrival: &Arrival) -> Option<Response> {
    match decision.effect.as_ref()? {
        Effect::Status { code } => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let reason = status.canonical_reason().unwrap_or("Error");
            Some((status, axum::Json(json!({ "message": format!("{code}: {reason}"), "code": 0 }))).into_response())
        }
        Effect::RateLimit { scope, retry_after_ms } => {
            let retry_after = Duration::from_millis(*retry_after_ms);
            Some(too_many(&Refused { scope: *scope, retry_after, allowance: None }))
        }
        Effect::Reset => {
            arrival.control.reset();
            tokio::time::sleep(STALL).await;
            None
        }
        Effect::Stall => {
            tokio::time::sleep(STALL).await;
            None
        }
        _ => None,
    }
}

async fn limited(
    hub: &Arc<Hub>,
    arrival: &Arrival,
    caller: Option<Snowflake>,
    (method, template, path): (&str, &str, &str),
    request: Request,
    next: Next,
) -> Response {
    let address = arrival.control.peer.ip();
    let limiter = || hub.limiter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(left) = limiter().banned(Instant::now(), address) {
        return banned(left);
    }
    // An answer to an interaction is never limited.
    let counted = hub.config.limits.rest && !template.starts_with("/interactions/");
    let allowance = if counted {
        let key = caller.map_or_else(|| address.to_string(), |id| id.to_string());
        // Out of the match, which would hold the lock through its arms.
        let taken = limiter().take(Instant::now(), &key, method, template, major(path));
        match taken {
            Ok(allowance) => Some(allowance),
            Err(refused) => {
                limiter().note_invalid(Instant::now(), address);
                return too_many(&refused);
            }
        }
    } else {
        None
    };
    let mut response = next.run(request).await;
    if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        limiter().note_invalid(Instant::now(), address);
    }
    if let Some(allowance) = allowance.filter(|allowance| !allowance.bucket.is_empty()) {
        allowance_headers(response.headers_mut(), &allowance);
    }
    response
}

/// The part of a path that has limits of its own: channel, guild, or webhook with token.
fn major(path: &str) -> &str {
    let end = |nth: usize| path.match_indices('/').nth(nth).map_or(path.len(), |(at, _)| at);
    match path.split('/').nth(1) {
        Some("channels" | "guilds") => &path[..end(2)],
        Some("webhooks") => &path[..end(3)],
        _ => "",
    }
}

fn allowance_headers(headers: &mut HeaderMap, allowance: &Allowance) {
    let reset_after = allowance.reset_after.as_secs_f64();
    let reset = system_ns() as f64 / 1e9 + reset_after;
    let values = [
        ("x-ratelimit-limit", allowance.limit.to_string()),
        ("x-ratelimit-remaining", allowance.remaining.to_string()),
        ("x-ratelimit-reset", format!("{reset:.3}")),
        ("x-ratelimit-reset-after", format!("{reset_after:.3}")),
        ("x-ratelimit-bucket", allowance.bucket.clone()),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

fn too_many(refused: &Refused) -> Response {
    let global = refused.scope == Scope::Global;
    let message = match refused.scope {
        Scope::Shared => "The resource is being rate limited.",
        _ => "You are being rate limited.",
    };
    let retry_after = (refused.retry_after.as_secs_f64() * 1000.0).ceil() / 1000.0;
    let body = json!({ "message": message, "retry_after": retry_after, "global": global, "code": 0 });
    let mut response = (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-scope", HeaderValue::from_static(refused.scope.name()));
    headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.ceil() as u64));
    if global {
        headers.insert("x-ratelimit-global", HeaderValue::from_static("true"));
    }
    match &refused.allowance {
        Some(allowance) => allowance_headers(headers, &Allowance { remaining: 0, ..allowance.clone() }),
        None if !global => {
            let reset_after = refused.retry_after;
            let bucket = "0".repeat(32);
            allowance_headers(headers, &Allowance { limit: 1, remaining: 0, reset_after, bucket });
        }
        None => {}
    }
    response
}

/// The codes of single fields as numbers.
fn with_numbers(data: bytes::Bytes) -> bytes::Bytes {
    let Ok(mut body) = serde_json::from_slice::<Value>(&data) else { return data };
    let code = body["code"].clone();
    let Some(errors) = body.get_mut("errors") else { return data };
    let mut level = errors;
    // One path of names down to `_errors`: that is how refusals are made.
    while let Some(map) = level.as_object_mut() {
        let Some((name, inner)) = map.iter_mut().next() else { break };
        if name == "_errors" {
            for error in inner.as_array_mut().into_iter().flatten() {
                error["code"] = code.clone();
            }
            break;
        }
        level = inner;
    }
    body.to_string().into()
}

/// Cloudflare's answer: no JSON, no rate limit headers.
fn banned(left: Duration) -> Response {
    let body = "<html><title>Access denied | error 1015</title><body>You are being rate limited</body></html>";
    let seconds = HeaderValue::from(left.as_secs() + 1);
    let kind = HeaderValue::from_static("text/html; charset=UTF-8");
    let headers = [(header::RETRY_AFTER, seconds), (header::CONTENT_TYPE, kind)];
    (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response()
}

async fn deliver(
    hub: Arc<Hub>,
    arrival: &Arrival,
    decision: Decision,
    mut exchange: Exchange,
    response: Response,
) -> Response {
    let (mut parts, body) = response.into_parts();
    let mut data = axum::body::to_bytes(body, ANSWER).await.unwrap_or_default();
    // What the framework itself refused (a bad id in the path, a method that is not there) comes as plain text.
    let json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind != "text/plain; charset=utf-8");
    if parts.status.is_client_error() && !json {
        let refusal = match parts.status {
            StatusCode::METHOD_NOT_ALLOWED => Refusal::METHOD_NOT_ALLOWED,
            StatusCode::NOT_FOUND => Refusal::NOT_FOUND,
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::TOO_LARGE,
            _ => Refusal::field("id", "NUMBER_TYPE_COERCE", "Value is not snowflake."),
        };
        parts.status = StatusCode::from_u16(refusal.status).unwrap_or(parts.status);
        data = refusal.body().to_string().into();
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if parts.status == StatusCode::BAD_REQUEST && hub.config.rest.field_error_codes == FieldErrorCodes::Number {
        data = with_numbers(data);
    }
    let ray = format!("{:016x}-{}", exchange.received_ns, hub.config.gateway.edge);
    if let Ok(ray) = HeaderValue::from_str(&ray) {
        parts.headers.insert("cf-ray", ray);
    }
    let now_ms = hub.world().clock.now_ms();
    if let Ok(date) = HeaderValue::from_str(&http_date(now_ms)) {
        parts.headers.insert(header::DATE, date);
    }
    parts.headers.insert("via", HeaderValue::from_static("1.1 google"));
    parts.headers.insert("server", HeaderValue::from_static("cloudflare"));
    if parts.status != StatusCode::NO_CONTENT {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(data.len()));
    }
    exchange.status = Some(parts.status.as_u16());
    exchange.subject = parts.extensions.get::<Subject>().map(|subject| subject.0);
    let manner = match decision.effect {
        Some(Effect::SlowBody { over_ms }) => Manner::Slow(Duration::from_millis(over_ms)),
        Some(Effect::HalfClose) => Manner::Half(arrival.control.clone()),
        _ => Manner::Whole,
    };
    Response::from_parts(parts, Body::new(Delivery::new(data, manner, hub, exchange)))
}
