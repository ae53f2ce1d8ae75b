//! `/marks`: which mark arrived as which, and the name that RFC 9435 has for it.

use axum::Json;
use axum::extract::State;
use model::report::Remarking;
use model::{Direction, Family};
use serde::Serialize;
use store::RollupQuery;

use super::classes::Of;
use super::sums::{query, remarking, sums};
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, worker};

#[derive(Serialize)]
pub(crate) struct Answer {
    range: Range,
    paths: Vec<Marks>,
}

#[derive(Serialize)]
struct Marks {
    direction: Direction,
    family: Family,
    remarking: Vec<Remarking>,
}

pub(crate) async fn marks(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Json<Answer>, Refusal> {
    let now = dashboard.0.parts.clock.now();
    let range = Range::new(asked, now)?;
    let worker = worker(&of.worker)?;
    let paths = dashboard.read(move |reader| {
        let counted = sums(reader, &RollupQuery { without_delays: true, ..query(&worker, &range) })?;
        Ok(remarking(reader, &worker, &counted, now)?)
    });
    let marks =
        |path: model::report::Path| Marks { direction: path.direction, family: path.family, remarking: path.remarking };
    Ok(Json(Answer { range, paths: paths.await?.into_iter().map(marks).collect() }))
}
