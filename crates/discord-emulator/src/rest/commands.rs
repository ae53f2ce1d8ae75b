//! Application commands, global and of a guild.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::Caller;
use super::body::Payload;
use crate::hub::Hub;
use crate::id::Snowflake;
use crate::state::Refusal;

type Hubs = State<Arc<Hub>>;

/// A bot has to do with its own commands only.
fn own(me: Snowflake, application: Snowflake) -> Result<Snowflake, Refusal> {
    if me == application { Ok(application) } else { Err(Refusal::MISSING_ACCESS) }
}

fn made((command, new): (Value, bool)) -> (StatusCode, Json<Value>) {
    (if new { StatusCode::CREATED } else { StatusCode::OK }, Json(command))
}

pub async fn list(State(hub): Hubs, Caller(me): Caller, Path(id): Path<Snowflake>) -> Result<Json<Value>, Refusal> {
    Ok(Json(Value::Array(hub.world().commands(own(me, id)?, None)?)))
}

pub async fn list_guild(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, guild)): Path<(Snowflake, Snowflake)>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(Value::Array(hub.world().commands(own(me, id)?, Some(guild))?)))
}

pub async fn create(
    State(hub): Hubs,
    Caller(me): Caller,
    Path(id): Path<Snowflake>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    Ok(made(hub.world().put_command(own(me, id)?, None, &body)?))
}

pub async fn create_guild(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, guild)): Path<(Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    Ok(made(hub.world().put_command(own(me, id)?, Some(guild), &body)?))
}

pub async fn overwrite(
    State(hub): Hubs,
    Caller(me): Caller,
    Path(id): Path<Snowflake>,
    Payload(body): Payload,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(Value::Array(hub.world().overwrite_commands(own(me, id)?, None, &body)?)))
}

pub async fn overwrite_guild(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, guild)): Path<(Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(Value::Array(hub.world().overwrite_commands(own(me, id)?, Some(guild), &body)?)))
}

pub async fn get(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, command)): Path<(Snowflake, Snowflake)>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(hub.world().command(own(me, id)?, None, command)?))
}

pub async fn get_guild(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, guild, command)): Path<(Snowflake, Snowflake, Snowflake)>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(hub.world().command(own(me, id)?, Some(guild), command)?))
}

pub async fn edit(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, command)): Path<(Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(hub.world().edit_command(own(me, id)?, None, command, &body)?))
}

pub async fn edit_guild(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, guild, command)): Path<(Snowflake, Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(hub.world().edit_command(own(me, id)?, Some(guild), command, &body)?))
}

pub async fn delete(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, command)): Path<(Snowflake, Snowflake)>,
) -> Result<StatusCode, Refusal> {
    hub.world().delete_command(own(me, id)?, None, command)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn delete_guild(
    State(hub): Hubs,
    Caller(me): Caller,
    Path((id, guild, command)): Path<(Snowflake, Snowflake, Snowflake)>,
) -> Result<StatusCode, Refusal> {
    hub.world().delete_command(own(me, id)?, Some(guild), command)?;
    Ok(StatusCode::NO_CONTENT)
}
