//! Application commands, global and of a guild.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde_json::Value;

use super::body::Payload;
use super::{Answer, Asked, Done};
use crate::id::Snowflake;
use crate::state::Refusal;

/// A bot has to do with its own commands only.
fn own(me: Snowflake, application: Snowflake) -> Result<Snowflake, Refusal> {
    if me == application { Ok(application) } else { Err(Refusal::MISSING_ACCESS) }
}

fn made((command, new): (Value, bool)) -> (StatusCode, Json<Value>) {
    (if new { StatusCode::CREATED } else { StatusCode::OK }, Json(command))
}

pub async fn list(Asked { hub, me }: Asked, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(Value::Array(hub.world().commands(own(me, id)?, None)?)))
}

pub async fn list_guild(Asked { hub, me }: Asked, Path((id, guild)): Path<(Snowflake, Snowflake)>) -> Answer {
    Ok(Json(Value::Array(hub.world().commands(own(me, id)?, Some(guild))?)))
}

pub async fn create(
    Asked { hub, me }: Asked,
    Path(id): Path<Snowflake>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    Ok(made(hub.world().put_command(own(me, id)?, None, &body)?))
}

pub async fn create_guild(
    Asked { hub, me }: Asked,
    Path((id, guild)): Path<(Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    Ok(made(hub.world().put_command(own(me, id)?, Some(guild), &body)?))
}

pub async fn overwrite(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Payload(body): Payload) -> Answer {
    Ok(Json(Value::Array(hub.world().overwrite_commands(own(me, id)?, None, &body)?)))
}

pub async fn overwrite_guild(
    Asked { hub, me }: Asked,
    Path((id, guild)): Path<(Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Answer {
    Ok(Json(Value::Array(hub.world().overwrite_commands(own(me, id)?, Some(guild), &body)?)))
}

pub async fn get(Asked { hub, me }: Asked, Path((id, command)): Path<(Snowflake, Snowflake)>) -> Answer {
    Ok(Json(hub.world().command(own(me, id)?, None, command)?))
}

pub async fn get_guild(
    Asked { hub, me }: Asked,
    Path((id, guild, command)): Path<(Snowflake, Snowflake, Snowflake)>,
) -> Answer {
    Ok(Json(hub.world().command(own(me, id)?, Some(guild), command)?))
}

pub async fn edit(
    Asked { hub, me }: Asked,
    Path((id, command)): Path<(Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Answer {
    Ok(Json(hub.world().edit_command(own(me, id)?, None, command, &body)?))
}

pub async fn edit_guild(
    Asked { hub, me }: Asked,
    Path((id, guild, command)): Path<(Snowflake, Snowflake, Snowflake)>,
    Payload(body): Payload,
) -> Answer {
    Ok(Json(hub.world().edit_command(own(me, id)?, Some(guild), command, &body)?))
}

pub async fn delete(Asked { hub, me }: Asked, Path((id, command)): Path<(Snowflake, Snowflake)>) -> Done {
    hub.world().delete_command(own(me, id)?, None, command)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn delete_guild(
    Asked { hub, me }: Asked,
    Path((id, guild, command)): Path<(Snowflake, Snowflake, Snowflake)>,
) -> Done {
    hub.world().delete_command(own(me, id)?, Some(guild), command)?;
    Ok(StatusCode::NO_CONTENT)
}
