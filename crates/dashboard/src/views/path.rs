//! `/path`: the newest traces of one city's paths: hops, and the mark that each quotes.

use ::path::{Change, Misquote, Trace, TraceReport, locate_all};
use axum::Json;
use axum::extract::State;
use model::{Direction, Family};
use serde::Serialize;

use super::classes::Of;
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::worker;

#[derive(Serialize)]
pub(crate) struct Answer {
    paths: Vec<Traced>,
}

#[derive(Serialize)]
struct Traced {
    direction: Direction,
    family: Family,
    /// In seconds.
    at: i64,
    /// Null: `problem` says why.
    trace: Option<Trace>,
    problem: Option<String>,
    changes: Vec<Change>,
    misquotes: Vec<Misquote>,
}

pub(crate) async fn path(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(of): Ask<Of>,
) -> Result<Json<Answer>, Refusal> {
    let worker = worker(&of.worker)?;
    let rows = dashboard.read(move |reader| Ok(reader.traces(&worker)?)).await?;
    let traced = |row: store::TraceRow| {
        let damaged =
            || TraceReport { family: row.family, trace: None, problem: Some("the trace is damaged".to_owned()) };
        let TraceReport { trace, problem, .. } = serde_json::from_str(&row.body).unwrap_or_else(|_| damaged());
        let located = trace.as_ref().map(|trace| locate_all(trace, None));
        let (changes, misquotes) = located.map_or_else(Default::default, |found| (found.changes, found.misquotes));
        let at = row.at.0.div_euclid(1_000_000_000);
        Traced { direction: row.direction, family: row.family, at, trace, problem, changes, misquotes }
    };
    Ok(Json(Answer { paths: rows.into_iter().map(traced).collect() }))
}
