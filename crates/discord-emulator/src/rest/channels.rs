//! `/channels/{id}`, its overwrites, typing.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde_json::json;

use super::body::Payload;
use super::{Answer, Asked, Done};
use crate::id::Snowflake;
use crate::state::overwrite;

pub async fn get(Asked { hub, me }: Asked, Path(id): Path<Snowflake>) -> Answer {
    let world = hub.world();
    Ok(Json(world.channel_json(world.channel_for(me, id, 0)?)))
}

pub async fn edit(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Payload(body): Payload) -> Answer {
    let mut world = hub.world();
    world.edit_channel(me, id, &body)?;
    Ok(Json(world.channel_json(world.channel(id)?)))
}

pub async fn delete(Asked { hub, me }: Asked, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(hub.world().delete_channel(me, id)?))
}

pub async fn typing(Asked { hub, me }: Asked, Path(id): Path<Snowflake>) -> Done {
    hub.world().typing(me, id)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn set_overwrite(
    Asked { hub, me }: Asked,
    Path((id, target)): Path<(Snowflake, Snowflake)>,
    Payload(mut body): Payload,
) -> Done {
    if body.is_object() {
        body["id"] = json!(target);
    }
    let entry = overwrite(&body)?;
    hub.world().set_overwrite(me, id, entry)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn delete_overwrite(Asked { hub, me }: Asked, Path((id, target)): Path<(Snowflake, Snowflake)>) -> Done {
    hub.world().delete_overwrite(me, id, target)?;
    Ok(StatusCode::NO_CONTENT)
}
