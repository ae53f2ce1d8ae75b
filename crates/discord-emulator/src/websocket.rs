//! The HTTP half of WebSocket: checks the request, answers 101, hands out the stream. Frames are tokio-websockets' business.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio_websockets::{Limits, ServerBuilder, WebSocketStream};

pub type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Larger messages end the connection; what Discord itself refuses is smaller and gets its close code.
const MESSAGE: usize = 64 << 10;

fn has(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

/// Answers an opening handshake and runs `serve` on the stream once it is there. Anything else gets 400 or 426.
pub fn upgrade<F>(mut request: Request, serve: impl FnOnce(Stream) -> F + Send + 'static) -> Response
where
    F: Future<Output = ()> + Send,
{
    let headers = request.headers();
    if !has(headers, header::CONNECTION, "upgrade") || !has(headers, header::UPGRADE, "websocket") {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")]).into_response();
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().to_vec());
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let Some(key) = key.filter(|key| version && BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Some(pending) = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut hashed = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hashed.update(&key);
    hashed.update(GUID.as_bytes());
    let accept = BASE64.encode(hashed.finish().as_ref());
    tokio::spawn(async move {
        if let Ok(upgraded) = pending.await {
            let limits = Limits::default().max_payload_len(Some(MESSAGE));
            serve(ServerBuilder::new().limits(limits).serve(TokioIo::new(upgraded))).await;
        }
    });
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}
