//! Callbacks of interactions and messages by their tokens. No bot token is needed: the interaction's own is the proof.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::Subject;
use super::body::{Parameters, Upload};
use crate::hub::Hub;
use crate::id::Snowflake;
use crate::state::{Answer, Refusal};

fn is_true(query: &std::collections::HashMap<String, String>, name: &str) -> bool {
    query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

pub async fn callback(
    State(hub): State<Arc<Hub>>,
    Path((id, token)): Path<(Snowflake, String)>,
    Query(query): Parameters,
    mut upload: Upload,
) -> Result<Response, Refusal> {
    let body = upload.json.take();
    let data = body.get("data").cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    let draft = upload.draft(&hub, &data)?;
    let mut world = hub.world();
    world.answer(id, &token, &body, draft)?;
    if is_true(&query, "with_response") {
        return Ok((Extension(Subject(id)), Json(world.answer_json(id))).into_response());
    }
    Ok((Extension(Subject(id)), StatusCode::NO_CONTENT).into_response())
}

pub async fn follow_up(
    State(hub): State<Arc<Hub>>,
    Path((application, token)): Path<(Snowflake, String)>,
    mut upload: Upload,
) -> Result<Json<Value>, Refusal> {
    let body = upload.json.take();
    let draft = upload.draft(&hub, &body)?;
    Ok(Json(hub.world().follow_up(application, &token, draft)?))
}

/// As `ApplicationIncomingWebhookResponse`.
pub async fn webhook(
    State(hub): State<Arc<Hub>>,
    Path((application, token)): Path<(Snowflake, String)>,
) -> Result<Json<Value>, Refusal> {
    let world = hub.world();
    world.get_answer(application, &token, Answer::Original)?;
    let name = world.user(application)?.username.clone();
    Ok(Json(json!({
        "application_id": application,
        "avatar": null,
        "channel_id": null,
        "guild_id": null,
        "id": application,
        "name": name,
        "type": 3,
    })))
}

fn which(text: &str) -> Result<Answer, Refusal> {
    if text == "@original" {
        return Ok(Answer::Original);
    }
    text.parse().map(Answer::Followup).map_err(|_| Refusal::UNKNOWN_MESSAGE)
}

pub async fn get_answer(
    State(hub): State<Arc<Hub>>,
    Path((application, token, message)): Path<(Snowflake, String, String)>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(hub.world().get_answer(application, &token, which(&message)?)?))
}

pub async fn edit_answer(
    State(hub): State<Arc<Hub>>,
    Path((application, token, message)): Path<(Snowflake, String, String)>,
    mut upload: Upload,
) -> Result<Json<Value>, Refusal> {
    let body = upload.json.take();
    let draft = upload.draft(&hub, &body)?;
    Ok(Json(hub.world().edit_answer(application, &token, which(&message)?, draft)?))
}

pub async fn delete_answer(
    State(hub): State<Arc<Hub>>,
    Path((application, token, message)): Path<(Snowflake, String, String)>,
) -> Result<StatusCode, Refusal> {
    hub.world().delete_answer(application, &token, which(&message)?)?;
    Ok(StatusCode::NO_CONTENT)
}
