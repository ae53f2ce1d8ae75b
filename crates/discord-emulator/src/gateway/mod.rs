//! The gateway, versions 9 and 10: how clients come in. A connection's life is in `connection`.

mod compress;
mod connection;
mod ready;
mod requests;
mod starts;

use std::sync::Arc;

use axum::extract::{Extension, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;

pub use starts::StartLimits;

use crate::hub::{Arrival, Hub};
use compress::Encoder;
use connection::Connection;

/// `/?v=10&encoding=json[&compress=zlib-stream|zstd-stream]`.
pub async fn connect(
    State(hub): State<Arc<Hub>>,
    Extension(arrival): Extension<Arrival>,
    Query(query): Query<std::collections::HashMap<String, String>>,
    request: Request,
) -> Response {
    let url = public_url(&hub, &arrival, request.headers());
    let version = query.get("v").map_or(Some(10), |text| text.parse::<u64>().ok());
    let refused = match version {
        Some(9 | 10) if query.get("encoding").is_none_or(|encoding| encoding == "json") => None,
        Some(9 | 10) => Some((4002, "Only JSON encoding is spoken here.")),
        _ => Some((4012, "Invalid API version")),
    };
    let encoder = Encoder::by_name(query.get("compress").map(String::as_str));
    crate::websocket::upgrade(request, move |stream| async move {
        let connection = Connection::new(hub, stream, arrival, encoder, version.unwrap_or(10), url);
        connection.run(refused).await;
    })
}

/// Where clients find the gateway: by name if they found the API by name, else where they came to.
pub fn public_url(hub: &Hub, arrival: &Arrival, headers: &HeaderMap) -> String {
    if let Some(url) = &hub.config.gateway.url {
        return url.clone();
    }
    let scheme = if arrival.tls { "wss" } else { "ws" };
    let local = arrival.control.local.to_string();
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or(&local);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    let by_name = ["discord.com", "discord.gg", "discordapp.com"]
        .iter()
        .any(|zone| name == *zone || name.ends_with(&format!(".{zone}")));
    match (by_name, port) {
        (true, Some(port)) => format!("{scheme}://gateway.discord.gg:{port}"),
        (true, None) => format!("{scheme}://gateway.discord.gg"),
        (false, _) => format!("{scheme}://{host}"),
    }
}
