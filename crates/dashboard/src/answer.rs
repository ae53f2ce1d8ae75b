//! Answers: JSON of what a reader found, refusals in one line, and their compression.

use std::io::Write;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use model::control::ErrorBody;
use serde::de::DeserializeOwned;
use store::{Reader, StoreError};

use crate::Dashboard;

/// An error answer: status, stable word, one line for people.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    word: &'static str,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, word: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, word, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.word.to_owned(), message: self.message })).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::warn!(%error, "the dashboard could not read");
        // Of the data directory's state the person at the server learns more: from the log.
        let message = "the data cannot be read now: the server's log says why";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

/// A query string; what does not fit is refused in the API's own shape. Each handler takes what it knows of it.
pub(crate) struct Ask<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Ask<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Ask<T>, Refusal> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Ask(asked)).map_err(|error| Refusal::bad(error.body_text()))
    }
}

impl Dashboard {
    /// Looks at the data directory, on a thread that may wait.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Reader) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let ending = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is ending");
        let _permit = self.0.readers.acquire().await.map_err(|_| ending())?;
        let dir = self.0.parts.data_dir.clone();
        let looking = tokio::task::spawn_blocking(move || look(&Reader::open(&dir)?));
        looking.await.map_err(|_| ending())?
    }
}

/// Answers smaller than this gain nothing.
const WORTH_COMPRESSING: usize = 1024;
/// Above what any page answers with; downloads stream and are left alone.
const MOST: usize = 64 << 20;

/// Compresses text for who takes it.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let accepts = request.headers().get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes = accepts.is_some_and(|list| list.split(',').any(|word| word.trim().split(';').next() == Some("gzip")));
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_text = ["application/json", "text/html", "text/css", "text/javascript", "image/svg+xml"]
        .iter()
        .any(|text| kind.starts_with(text));
    if !takes || !is_text {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MOST).await else {
        return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "too_long", "the answer is too long").into_response();
    };
    if bytes.len() < WORTH_COMPRESSING {
        return Response::from_parts(parts, Body::from(bytes));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(5));
    let Some(packed) = encoder.write_all(&bytes).and_then(|()| encoder.finish()).ok() else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(parts, Body::from(packed))
}
