//! `/variation`: IPDV and true round trips, which sums do not have: from the samples of a short window at the range's end.

use axum::Json;
use axum::extract::State;
use measure::report::SampleSource;
use model::report::{Ipdv, Quantiles};
use model::{Direction, Family, Kind, Sample, UnixNanos};
use serde::Serialize;
use store::{Period, SampleQuery, SessionQuery};

use super::classes::Of;
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, worker};

/// Samples are read only of so long a window, and so many.
const WINDOW_S: i64 = 300;
const MOST_SAMPLES: usize = 200_000;

#[derive(Serialize)]
pub(crate) struct Answer {
    /// The window, in seconds.
    since: i64,
    until: i64,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    direction: Direction,
    family: Family,
    kind: Kind,
    dscp: u8,
    ecn: u8,
    ipdv_ms: Option<Ipdv>,
    rtt_ms: Option<Quantiles>,
}

pub(crate) async fn variation(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Json<Answer>, Refusal> {
    let range = Range::new(asked, dashboard.0.parts.clock.now())?;
    let worker = worker(&of.worker)?;
    let answer = dashboard.read(move |reader| {
        // Of a range whose end lies behind the newest data, what there is last.
        let newest = reader
            .rollup_span(&worker, Period::Minute)?
            .map_or(range.until, |(_, last)| (last.0 / 1_000_000_000 + Period::Minute.seconds()).min(range.until));
        let since = (newest - WINDOW_S).max(range.since);
        let nanos = |seconds: i64| UnixNanos(seconds.saturating_mul(1_000_000_000));
        let (begin, end) = (Some(nanos(since)), Some(nanos(newest)));
        let query = SampleQuery { worker: Some(worker.clone()), since: begin, until: end, ..SampleQuery::default() };
        let mut samples: Vec<Sample> = Vec::new();
        reader.samples(&query, &mut |_, sample| {
            if samples.len() < MOST_SAMPLES {
                samples.push(*sample);
            }
        })?;
        let sessions = SessionQuery { worker: Some(worker.clone()), since: begin, until: end, open_only: false };
        let sessions = reader.sessions(&sessions)?;
        let info = |id| sessions.iter().find(|info| info.session == id).cloned();
        let source: &dyn SampleSource = &samples;
        let built = measure::build_paths(&worker, source, &info, &measure::ReportConfig::default());
        let paths = built.map_err(|error| Refusal::bad(error.to_string()))?;
        let classes = paths.into_iter().flat_map(|path| {
            let (direction, family) = (path.direction, path.family);
            path.classes.into_iter().map(move |class| Class {
                direction,
                family,
                kind: class.kind,
                dscp: class.dscp,
                ecn: class.ecn,
                ipdv_ms: class.ipdv_ms,
                rtt_ms: class.rtt_ms,
            })
        });
        Ok(Answer { since, until: newest, classes: classes.collect() })
    });
    Ok(Json(answer.await?))
}
