//! `/users` and the bot's own application.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::body::{Parameters, Payload};
use super::{Answer, Asked, Caller, Done};
use crate::hub::Hub;
use crate::id::Snowflake;
use crate::state::{Fields, Refusal, permission};

pub async fn me(State(hub): State<Arc<Hub>>, Caller(me): Caller) -> Answer {
    Ok(Json(hub.world().user(me)?.own_json()))
}

pub async fn rename(Asked { hub, me }: Asked, Payload(body): Payload) -> Answer {
    let name = Fields::of(&body)?.text("username", 2, 32)?;
    let mut world = hub.world();
    let user = world.users.get_mut(&me).ok_or(Refusal::UNKNOWN_USER)?;
    if let Some(name) = name {
        user.username = name;
    }
    Ok(Json(user.own_json()))
}

pub async fn user(State(hub): State<Arc<Hub>>, _: Caller, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(hub.world().user(id)?.json()))
}

pub async fn application(State(hub): State<Arc<Hub>>, Caller(me): Caller) -> Answer {
    Ok(Json(hub.world().application_json(me).ok_or(Refusal::UNKNOWN_APPLICATION)?))
}

/// `before`, `after`, `limit` (200).
pub async fn guilds(Asked { hub, me }: Asked, Query(query): Parameters) -> Json<Value> {
    let id = |name: &str| query.get(name).and_then(|text| text.parse::<Snowflake>().ok());
    let limit = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(200).clamp(1, 200);
    let counts = query.get("with_counts").is_some_and(|value| value == "true" || value == "1");
    let (before, after) = (id("before"), id("after"));
    let world = hub.world();
    let mine = world
        .guilds
        .values()
        .filter(|guild| guild.members.contains_key(&me))
        .filter(|guild| before.is_none_or(|id| guild.id < id) && after.is_none_or(|id| guild.id > id));
    let list = mine.take(limit).map(|guild| {
        let mut json = json!({
            "id": guild.id,
            "name": guild.name,
            "icon": null,
            "banner": null,
            "owner": guild.owner == me,
            "permissions": permission::in_guild(guild, me).unwrap_or(0).to_string(),
            "features": [],
        });
        if counts {
            json["approximate_member_count"] = json!(guild.members.len());
            json["approximate_presence_count"] = json!(guild.members.len());
        }
        json
    });
    Json(list.collect())
}

pub async fn leave(Asked { hub, me }: Asked, Path(guild): Path<Snowflake>) -> Done {
    hub.world().leave(guild, me)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn direct_channel(Asked { hub, me }: Asked, Payload(body): Payload) -> Answer {
    let recipient = Fields::of(&body)?.snowflake("recipient_id")?.ok_or_else(|| Refusal::required("recipient_id"))?;
    let mut world = hub.world();
    let id = world.direct_channel(me, recipient)?;
    let mut json = world.channel_json(world.channel(id)?);
    json["recipients"] = json!([world.user_json(recipient)]);
    Ok(Json(json))
}
