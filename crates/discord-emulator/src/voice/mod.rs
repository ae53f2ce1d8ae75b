//! Voice servers: the voice gateway (versions 1 to 8), IP discovery and keep-alives over UDP. All regions share the listeners;
//! which region a client is in, its voice state says.

mod connection;
mod dave;
pub mod discovery;
mod udp;

use std::sync::Arc;

use axum::extract::{Extension, Query, Request, State};
use axum::response::Response;

pub use udp::serve as serve_udp;

use crate::hub::{Arrival, Hub};
use connection::Connection;

/// `/?v=8`; without a version it is 1, as for libraries that never asked for more.
pub async fn connect(
    State((hub, udp)): State<(Arc<Hub>, u16)>,
    Extension(arrival): Extension<Arrival>,
    Query(query): Query<std::collections::HashMap<String, String>>,
    request: Request,
) -> Response {
    let version = query.get("v").map_or(Some(1), |text| text.parse::<u64>().ok());
    let version = version.filter(|version| (1..=9).contains(version));
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    crate::websocket::upgrade(request, move |stream| async move {
        let region = region_of(&hub, &host);
        Connection::new(hub, stream, arrival, version, udp, region).run().await;
    })
}

/// The region that a voice server's name belongs to: what is known before a client says who it is.
fn region_of(hub: &Hub, host: &str) -> Option<String> {
    let label = host.split(['.', ':']).next().unwrap_or_default();
    let world = hub.world();
    let region = world.regions.iter().find(|region| region.hosts.iter().any(|known| known == label))?;
    Some(region.id.clone())
}
