//! `/state`: who asks, and what there is to look at.

use axum::Json;
use axum::extract::State;
use model::WorkerName;
use serde::Serialize;
use store::{Period, Reader, StoreError};

use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::Refusal;

#[derive(Serialize)]
pub(crate) struct Answer {
    version: &'static str,
    now: i64,
    /// `viewer` or `admin`.
    role: &'static str,
    /// A server runs on this data: tasks can be started and stopped.
    live: bool,
    workers: Vec<WorkerName>,
    /// Ends of what there is, in seconds; null where there is nothing.
    first: Option<i64>,
    last: Option<i64>,
}

/// Every name that samples or records have, sorted.
pub(crate) fn names(reader: &Reader) -> Result<Vec<WorkerName>, StoreError> {
    let mut names: Vec<WorkerName> =
        reader.workers()?.into_iter().filter(|row| !row.ephemeral).map(|row| row.name).collect();
    names.extend(reader.record_workers()?);
    names.sort();
    names.dedup();
    Ok(names)
}

pub(crate) async fn state(State(dashboard): State<Dashboard>, Viewer(role): Viewer) -> Result<Json<Answer>, Refusal> {
    let parts = &dashboard.0.parts;
    let (now, live) = (parts.clock.now(), parts.control.is_some());
    let found = dashboard.read(move |reader| {
        let workers = names(reader)?;
        let seconds = |at: model::UnixNanos| at.0.div_euclid(1_000_000_000);
        let (mut first, mut last) = (None, None);
        for worker in &workers {
            if let Some((_, end)) = reader.rollup_span(worker, Period::Minute)? {
                last = last.max(Some(seconds(end) + Period::Minute.seconds()));
            }
            if let Some((begin, _)) = reader.rollup_span(worker, Period::Hour)? {
                first = Some(first.map_or(seconds(begin), |known: i64| known.min(seconds(begin))));
            }
            if let Some((begin, end)) = reader.record_span(worker)? {
                first = Some(first.map_or(seconds(begin), |known: i64| known.min(seconds(begin))));
                last = last.max(Some(seconds(end) + Period::Minute.seconds()));
            }
        }
        Ok((workers, first, last))
    });
    let (workers, first, last) = found.await?;
    Ok(Json(Answer {
        version: env!("CARGO_PKG_VERSION"),
        now: now.0.div_euclid(1_000_000_000),
        role: role.name(),
        live,
        workers,
        first,
        last,
    }))
}
