//! The pages' files, embedded. Their names stay the same from build to build, so browsers ask each time whether they changed.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use ring::digest;

use crate::answer::Refusal;

include!(concat!(env!("OUT_DIR"), "/files.rs"));

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Every page is one document; which page it shows is after the `#` and never reaches the server.
pub(crate) async fn page(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some((name, bytes)) = FILES.iter().find(|(known, _)| *known == name) else {
        return Refusal::new(StatusCode::NOT_FOUND, "unknown", "there is no such page").into_response();
    };
    let tag = format!("\"{}\"", HEXLOWER.encode(&digest::digest(&digest::SHA256, bytes).as_ref()[..16]));
    // A compressed answer's tag comes back as it was given.
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let about = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(header::CONTENT_TYPE, content_type(name))], Body::from(*bytes)).into_response()
}
