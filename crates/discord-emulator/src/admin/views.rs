//! Looking, over HTTP: who is there, what is open, the true times.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Failure;
use super::reference::channel;
use crate::handle::Handle;
use crate::id::Snowflake;
use crate::state::Refusal;

/// Exchanges in one answer.
const PAGE: usize = 10_000;

pub async fn state(State(handle): State<Handle>) -> Json<Value> {
    let connections = handle.connections();
    let view = handle.with_world(|world| {
        let guilds = world.guilds.values().map(|guild| {
            let channels = guild.channels.iter().filter_map(|id| world.channels.get(id));
            json!({
                "id": guild.id,
                "name": guild.name,
                "channels": channels.map(|channel| json!({
                    "id": channel.id,
                    "name": channel.name,
                    "type": channel.kind as u8,
                    "messages": channel.messages.len(),
                })).collect::<Vec<_>>(),
                "members": guild.members.keys().collect::<Vec<_>>(),
                "voice_states": guild.voice_states.values().map(|state| state.json(None)).collect::<Vec<_>>(),
            })
        });
        let sessions = world.sessions.values().map(|session| {
            json!({
                "id": session.id,
                "user": session.user,
                "intents": session.intents,
                "seq": session.seq,
                "connected": session.attached.is_some(),
            })
        });
        let voice = world.voice_connections.values().map(|client| {
            json!({
                "ssrc": client.ssrc,
                "user": client.user,
                "guild": client.guild,
                "region": client.region,
                "udp": client.peer,
                "rtp_datagrams": client.datagrams,
                "key_package_bytes": client.key_package,
            })
        });
        json!({
            "guilds": guilds.collect::<Vec<_>>(),
            "users": world.users.values().map(|user| json!({
                "id": user.id, "name": user.username, "bot": user.bot,
            })).collect::<Vec<_>>(),
            "sessions": sessions.collect::<Vec<_>>(),
            "voice_connections": voice.collect::<Vec<_>>(),
            "stray_datagrams": world.stray_datagrams,
            "clock_offset_ms": world.clock.offset_ms(),
            "connections": connections,
        })
    });
    Json(view)
}

/// `since` (a number), `kind`, `limit`.
pub async fn exchanges(State(handle): State<Handle>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
    let limit = number("limit").map_or(PAGE, |limit| (limit as usize).min(PAGE));
    let kind = query.get("kind");
    let next = handle.next_exchange();
    let wanted =
        |exchange: &crate::stamps::Exchange| kind.is_none_or(|kind| json!(exchange.kind).as_str() == Some(kind));
    let list = handle.exchanges_page(number("since").unwrap_or(0), limit, wanted);
    Json(json!({ "next": next, "exchanges": list }))
}

pub async fn ca(State(handle): State<Handle>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], handle.ca_pem().to_owned()).into_response()
}

pub async fn messages(State(handle): State<Handle>, Path(id): Path<Snowflake>) -> Result<Json<Value>, Failure> {
    let id = channel(&handle, &id.to_string())?;
    let list = handle.with_world(|world| {
        let channel = world.channel(id)?;
        let messages = channel.messages.values().map(|message| world.message_json(message, Snowflake(0)));
        Ok::<Value, Refusal>(messages.collect())
    })?;
    Ok(Json(list))
}

pub async fn interaction(State(handle): State<Handle>, Path(id): Path<Snowflake>) -> Result<Json<Value>, Failure> {
    let view = handle.interaction(id).ok_or(Refusal::UNKNOWN_INTERACTION)?;
    Ok(Json(json!({ "token": view.token, "answer": view.answer, "messages": view.messages })))
}
