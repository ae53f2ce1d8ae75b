//! Delays and faults, over HTTP.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use super::reference::{guild, read, user};
use crate::faults::{Effect, Rule};
use crate::handle::Handle;

type Made = Result<Json<Value>, Failure>;

pub async fn list(State(handle): State<Handle>) -> Json<Value> {
    let rules = handle.faults().into_iter();
    Json(rules.map(|(rule, matched, acted)| json!({ "rule": rule, "matched": matched, "acted": acted })).collect())
}

pub async fn add(State(handle): State<Handle>, body: Bytes) -> Made {
    handle.add_fault(read::<Rule>(&body)?).map_err(Failure::Said)?;
    Ok(Json(json!({ "ok": true })))
}

pub async fn replace(State(handle): State<Handle>, body: Bytes) -> Made {
    handle.set_faults(read::<Vec<Rule>>(&body)?).map_err(Failure::Said)?;
    Ok(Json(json!({ "ok": true })))
}

pub async fn clear(State(handle): State<Handle>) -> Json<Value> {
    handle.clear_faults();
    Json(json!({ "ok": true }))
}

pub async fn remove(State(handle): State<Handle>, Path(name): Path<String>) -> Json<Value> {
    Json(json!({ "removed": handle.remove_fault(&name) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AtOnce {
    /// Of all, if left out.
    #[serde(default)]
    user: Option<String>,
    effect: Effect,
}

impl AtOnce {
    fn whose(&self, handle: &Handle) -> Result<Option<crate::id::Snowflake>, Failure> {
        self.user.as_ref().map(|name| user(handle, name)).transpose()
    }
}

/// To open gateway connections: op 7, op 9, a close code, half-closed, stalled, reset.
pub async fn gateway(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: AtOnce = read(&body)?;
    let whose = wanted.whose(&handle)?;
    Ok(Json(json!({ "connections": handle.disturb_gateway(whose, wanted.effect) })))
}

pub async fn voice(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: AtOnce = read(&body)?;
    let whose = wanted.whose(&handle)?;
    Ok(Json(json!({ "connections": handle.disturb_voice(whose, &wanted.effect) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seat {
    guild: String,
    user: String,
}

/// VOICE_SERVER_UPDATE again.
pub async fn announce(State(handle): State<Handle>, body: Bytes) -> Made {
    let seat: Seat = read(&body)?;
    handle.announce_voice_server(guild(&handle, &seat.guild)?, user(&handle, &seat.user)?);
    Ok(Json(json!({ "ok": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Away {
    away: bool,
}

pub async fn away(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: Away = read(&body)?;
    handle.set_away(wanted.away);
    Ok(Json(json!({ "ok": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    offset_ms: i64,
}

pub async fn clock(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: Clock = read(&body)?;
    handle.set_clock_offset_ms(wanted.offset_ms);
    Ok(Json(json!({ "ok": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Availability {
    guild: String,
    available: bool,
}

pub async fn available(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: Availability = read(&body)?;
    handle.set_guild_available(guild(&handle, &wanted.guild)?, wanted.available);
    Ok(Json(json!({ "ok": true })))
}
