//! Tells pages that there is something new, so that they ask again for what they show.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use store::Reader;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::Refusal;

/// A server commits four times a second; nobody reads that fast.
const PACE: Duration = Duration::from_secs(2);

struct Listening {
    reader: Arc<Mutex<Reader>>,
    seen: Option<i64>,
    stop: watch::Receiver<bool>,
    clock: net::Clock,
    _permit: OwnedSemaphorePermit,
}

pub(crate) async fn events(
    State(dashboard): State<Dashboard>,
    _: Viewer,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let many = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", "too many pages listen already");
    let permit = dashboard.0.listeners.clone().try_acquire_owned().map_err(many)?;
    let parts = &dashboard.0.parts;
    let dir = parts.data_dir.clone();
    let ending = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is ending");
    let reader = tokio::task::spawn_blocking(move || Reader::open(&dir)).await.map_err(ending)??;
    let listening = Listening {
        reader: Arc::new(Mutex::new(reader)),
        seen: None,
        stop: parts.stop.clone(),
        clock: parts.clock.clone(),
        _permit: permit,
    };
    Ok(Sse::new(unfold(listening, next)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// Ends with the program, or where the data cannot be read any more: the page connects again and is told.
async fn next(mut listening: Listening) -> Option<(Result<Event, Infallible>, Listening)> {
    loop {
        if listening.seen.is_some() {
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                _ = listening.stop.wait_for(|stop| *stop) => return None,
            }
        }
        let reader = listening.reader.clone();
        let version = tokio::task::spawn_blocking(move || {
            let reader = reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            reader.data_version()
        });
        let version = version.await.ok()?.ok()?;
        if listening.seen != Some(version) {
            listening.seen = Some(version);
            let now_s = listening.clock.now().0.div_euclid(1_000_000_000);
            let event = Event::default().event("data").data(format!("{{\"now\":{now_s}}}"));
            return Some((Ok(event), listening));
        }
    }
}
