//! What belongs to no guild: gateway addresses, voice regions, default sounds, stored files.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Caller;
use crate::hub::{Arrival, Hub};
use crate::id::Snowflake;
use crate::state::Refusal;

pub async fn gateway(
    State(hub): State<Arc<Hub>>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
) -> Json<Value> {
    Json(json!({ "url": crate::gateway::public_url(&hub, &arrival, &headers) }))
}

pub async fn gateway_bot(
    State(hub): State<Arc<Hub>>,
    Caller(me): Caller,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
) -> Json<Value> {
    let limits = hub.starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).status(me, &hub.config.limits);
    Json(json!({
        "url": crate::gateway::public_url(&hub, &arrival, &headers),
        "shards": hub.config.gateway.shards,
        "session_start_limit": {
            "total": hub.config.limits.identifies_per_day,
            "remaining": limits.remaining,
            "reset_after": limits.reset_after.as_millis() as u64,
            "max_concurrency": hub.config.limits.max_concurrency,
        },
    }))
}

pub async fn regions(State(hub): State<Arc<Hub>>, _: Caller) -> Json<Value> {
    let world = hub.world();
    let regions = world.regions.iter().map(|region| {
        json!({
            "id": region.id,
            "name": region.name,
            "optimal": region.optimal,
            "deprecated": false,
            "custom": false,
        })
    });
    Json(regions.collect())
}

pub async fn soundboard(_: Caller) -> Json<Value> {
    Json(json!([]))
}

pub async fn sticker_packs() -> Json<Value> {
    Json(json!({ "sticker_packs": [] }))
}

/// An attachment as it was sent.
pub async fn file(
    State(hub): State<Arc<Hub>>,
    Path((_, id, _)): Path<(Snowflake, Snowflake, String)>,
) -> Result<Response, Refusal> {
    let content = hub.world().file(id).ok_or(Refusal::NOT_FOUND)?;
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind)], content.to_vec()).into_response())
}
