//! `/channels/{id}/messages` and reactions.

use std::collections::HashMap;

use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::Value;

use super::body::{Parameters, Payload, Upload};
use super::{Answer, Asked, Done, Subject};
use crate::id::Snowflake;
use crate::state::{Fields, Page, Refusal};

type Of = (Snowflake, Snowflake);

fn page(query: &HashMap<String, String>) -> Result<(Page, usize), Refusal> {
    let id = |name: &str| match query.get(name) {
        Some(text) => {
            let bad = |_| Refusal::field(name, "NUMBER_TYPE_COERCE", format!("Value \"{text}\" is not snowflake."));
            text.parse::<Snowflake>().map(Some).map_err(bad)
        }
        None => Ok(None),
    };
    let limit = match query.get("limit").map(|text| text.parse::<usize>()) {
        None => 50,
        Some(Ok(limit)) if (1..=100).contains(&limit) => limit,
        Some(Ok(0)) => return Err(bad_limit("greater than or equal to 1")),
        Some(Ok(_)) => return Err(bad_limit("less than or equal to 100")),
        Some(Err(_)) => return Err(Refusal::field("limit", "NUMBER_TYPE_COERCE", "Value is not int.")),
    };
    let page = match (id("around")?, id("before")?, id("after")?) {
        (Some(id), _, _) => Page::Around(id),
        (_, Some(id), _) => Page::Before(id),
        (_, _, Some(id)) => Page::After(id),
        _ => Page::Latest,
    };
    Ok((page, limit))
}

fn bad_limit(should: &str) -> Refusal {
    let code = if should.starts_with('g') { "NUMBER_TYPE_MIN" } else { "NUMBER_TYPE_MAX" };
    Refusal::field("limit", code, format!("int value should be {should}."))
}

pub async fn list(Asked { hub, me }: Asked, Path(channel): Path<Snowflake>, Query(query): Parameters) -> Answer {
    let (page, limit) = page(&query)?;
    let world = hub.world();
    let messages = world.history(me, channel, page, limit)?;
    Ok(Json(messages.into_iter().map(|message| world.message_for(message, me)).collect()))
}

pub async fn get(Asked { hub, me }: Asked, Path((channel, id)): Path<Of>) -> Answer {
    let world = hub.world();
    Ok(Json(world.message_for(world.message(me, channel, id)?, me)))
}

pub async fn post(
    Asked { hub, me }: Asked,
    Path(channel): Path<Snowflake>,
    mut upload: Upload,
) -> Result<(Extension<Subject>, Json<Value>), Refusal> {
    let body = upload.json.take();
    let draft = upload.draft(&hub, &body)?;
    let mut world = hub.world();
    let id = world.post(me, channel, draft)?;
    let json = world.message_json(world.message_of(channel, id)?, me);
    Ok((Extension(Subject(id)), Json(json)))
}

pub async fn edit(
    Asked { hub, me }: Asked,
    Path((channel, id)): Path<Of>,
    mut upload: Upload,
) -> Result<(Extension<Subject>, Json<Value>), Refusal> {
    let body = upload.json.take();
    let draft = upload.draft(&hub, &body)?;
    let mut world = hub.world();
    world.edit_message(me, channel, id, draft)?;
    let json = world.message_for(world.message_of(channel, id)?, me);
    Ok((Extension(Subject(id)), Json(json)))
}

pub async fn delete(Asked { hub, me }: Asked, Path((channel, id)): Path<Of>) -> Done {
    hub.world().delete_message(me, channel, id)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn bulk_delete(Asked { hub, me }: Asked, Path(channel): Path<Snowflake>, Payload(body): Payload) -> Done {
    let ids = Fields::of(&body)?.snowflakes("messages", 100)?.ok_or_else(|| Refusal::required("messages"))?;
    hub.world().bulk_delete(me, channel, ids)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn react(Asked { hub, me }: Asked, Path((channel, id, emoji)): Path<(Snowflake, Snowflake, String)>) -> Done {
    hub.world().react(me, channel, id, &emoji)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn unreact_own(
    Asked { hub, me }: Asked,
    Path((channel, id, emoji)): Path<(Snowflake, Snowflake, String)>,
) -> Done {
    hub.world().unreact(me, channel, id, &emoji, me)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn unreact(
    Asked { hub, me }: Asked,
    Path((channel, id, emoji, user)): Path<(Snowflake, Snowflake, String, Snowflake)>,
) -> Done {
    hub.world().unreact(me, channel, id, &emoji, user)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn clear_reactions(Asked { hub, me }: Asked, Path((channel, id)): Path<Of>) -> Done {
    hub.world().clear_reactions(me, channel, id)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn reactors(
    Asked { hub, me }: Asked,
    Path((channel, id, emoji)): Path<(Snowflake, Snowflake, String)>,
    Query(query): Parameters,
) -> Answer {
    let after = query.get("after").and_then(|text| text.parse().ok()).unwrap_or_default();
    let limit = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(25).clamp(1, 100);
    Ok(Json(Value::Array(hub.world().reactors(me, channel, id, &emoji, after, limit)?)))
}
