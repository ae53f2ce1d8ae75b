//! The admin port: the handle over HTTP, for tests in other languages and for people. JSON in, JSON out.
//! It rules this Discord, so it is off unless configured, and requests that a browser's page makes are refused.

mod acts;
mod faults;
mod reference;
mod views;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::json;

use crate::handle::Handle;
use crate::state::Refusal;

pub fn router(handle: Handle) -> Router {
    Router::new()
        .route("/state", get(views::state))
        .route("/exchanges", get(views::exchanges))
        .route("/ca.pem", get(views::ca))
        .route("/channels/{channel}/messages", get(views::messages))
        .route("/users", post(acts::create_user))
        .route("/bots", post(acts::create_bot))
        .route("/members", post(acts::join).delete(acts::leave))
        .route("/messages", post(acts::post).patch(acts::edit).delete(acts::delete))
        .route("/reactions", post(acts::react).delete(acts::unreact))
        .route("/typing", post(acts::type_in))
        .route("/interactions", post(acts::invoke))
        .route("/interactions/{id}", get(views::interaction))
        .route("/presses", post(acts::press))
        .route("/faults", get(faults::list).post(faults::add).put(faults::replace).delete(faults::clear))
        .route("/faults/{name}", axum::routing::delete(faults::remove))
        .route("/gateway/effect", post(faults::gateway))
        .route("/voice/effect", post(faults::voice))
        .route("/voice/announce", post(faults::announce))
        .route("/away", put(faults::away))
        .route("/clock", put(faults::clock))
        .route("/guild/available", put(faults::available))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such admin route; see docs/EMULATOR.md") })
        .layer(axum::middleware::from_fn(refuse_pages))
        .with_state(handle)
}

async fn refuse_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "requests of web pages are not taken");
    }
    next.run(request).await
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

/// Why an act was not done.
enum Failure {
    Refused(Refusal),
    Said(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Failure::Refused(refusal) => refusal.into_response(),
            Failure::Said(message) => problem(StatusCode::BAD_REQUEST, &message),
        }
    }
}
