//! `/channels/{id}`, its overwrites, typing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Caller;
use super::body::Payload;
use crate::hub::Hub;
use crate::id::Snowflake;
use crate::state::{Refusal, overwrite};

pub async fn get(
    State(hub): State<Arc<Hub>>,
    Caller(me): Caller,
    Path(id): Path<Snowflake>,
) -> Result<Json<Value>, Refusal> {
    let world = hub.world();
    Ok(Json(world.channel_json(world.channel_for(me, id, 0)?)))
}

pub async fn edit(
    State(hub): State<Arc<Hub>>,
    Caller(me): Caller,
    Path(id): Path<Snowflake>,
    Payload(body): Payload,
) -> Result<Json<Value>, Refusal> {
    let mut world = hub.world();
    world.edit_channel(me, id, &body)?;
    Ok(Json(world.channel_json(world.channel(id)?)))
}

pub async fn delete(
    State(hub): State<Arc<Hub>>,
    Caller(me): Caller,
    Path(id): Path<Snowflake>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(hub.world().delete_channel(me, id)?))
}

pub async fn typing(
    State(hub): State<Arc<Hub>>,
    Caller(me): Caller,
    Path(id): Path<Snowflake>,
) -> Result<StatusCode, Refusal> {
    hub.world().typing(me, id)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn set_overwrite(
    State(hub): State<Arc<Hub>>,
    Caller(me): Caller,
    Path((id, target)): Path<(Snowflake, Snowflake)>,
    Payload(mut body): Payload,
) -> Result<StatusCode, Refusal> {
    if body.is_object() {
        body["id"] = json!(target);
    }
    let entry = overwrite(&body)?;
    hub.world().set_overwrite(me, id, entry)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn delete_overwrite(
    State(hub): State<Arc<Hub>>,
    Caller(me): Caller,
    Path((id, target)): Path<(Snowflake, Snowflake)>,
) -> Result<StatusCode, Refusal> {
    hub.world().delete_overwrite(me, id, target)?;
    Ok(StatusCode::NO_CONTENT)
}
