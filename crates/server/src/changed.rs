//! Marks that lately arrive as others, by the rollups: what is worth a trace. And the traces' `where` in a report.

use std::collections::BTreeMap;

use model::control::ChangedMarks;
use model::report::Path;
use model::{Direction, Family, Tos, UnixNanos, WorkerName};
use path::TraceReport;
use store::{Period, Reader, RollupQuery, WorkerRow};

use crate::ServerError;

/// How far back is looked.
const LATELY_NS: i64 = 15 * 60 * 1_000_000_000;
/// Fewer arrivals of a mark are no finding yet.
const ENOUGH: u64 = 10;
/// A path is another one after so long; until then a trace speaks for it.
const TRACE_HOLDS_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// Per family the marks of the worker's that mostly arrive as another one.
pub(crate) fn changed_marks(
    reader: &Reader,
    worker: &WorkerName,
    direction: Direction,
    now: UnixNanos,
) -> Result<Vec<ChangedMarks>, ServerError> {
    let query = RollupQuery {
        worker: Some(worker.clone()),
        since: Some(now.plus(-LATELY_NS)),
        direction: Some(direction),
        ..RollupQuery::all(Period::Minute)
    };
    let mut arrived: BTreeMap<_, BTreeMap<Tos, u64>> = BTreeMap::new();
    reader.rollups(&query, &mut |rollup| {
        let marks = arrived.entry((rollup.family, rollup.kind, rollup.tos_sent)).or_default();
        for (mark, count) in rollup.tally.marks {
            *marks.entry(mark).or_default() += count;
        }
    })?;
    let mut changed: BTreeMap<Family, BTreeMap<Tos, Tos>> = BTreeMap::new();
    for ((family, _, sent), marks) in arrived {
        let all: u64 = marks.values().sum();
        let most = marks.into_iter().max_by_key(|(_, count)| *count);
        if let Some((mark, _)) = most.filter(|(mark, _)| *mark != sent && all >= ENOUGH) {
            changed.entry(family).or_default().insert(sent, mark);
        }
    }
    let entry = |(family, marks): (_, BTreeMap<Tos, Tos>)| ChangedMarks { family, marks: marks.into_iter().collect() };
    Ok(changed.into_iter().map(entry).collect())
}

/// Fills the `where` of the paths' findings from the newest traces. Answers with a line for each path of which nothing is known.
pub(crate) fn place_findings(
    reader: &Reader,
    worker: &WorkerRow,
    paths: &mut [Path],
    now: UnixNanos,
) -> Result<Vec<String>, ServerError> {
    let traces = reader.traces(&worker.name)?;
    let mut unknown = Vec::new();
    for path in paths.iter_mut() {
        if path.remarking.iter().all(|remarking| path::changes(remarking).is_empty()) {
            continue;
        }
        let row = traces.iter().find(|row| {
            (row.direction, row.family) == (path.direction, path.family) && now.since(row.at) < TRACE_HOLDS_NS
        });
        let told = row.and_then(|row| serde_json::from_str::<TraceReport>(&row.body).ok());
        let problem = match told {
            Some(TraceReport { trace: Some(trace), .. }) => {
                path::place(path, &trace);
                end_of_sight(path, &trace)
            }
            Some(TraceReport { problem: Some(problem), .. }) => Some(problem),
            // `netlat probe` traces its way up itself, when the report is there.
            _ if worker.ephemeral && path.direction == Direction::Up => None,
            _ => Some("this path was not traced yet".to_owned()),
        };
        let line = |problem| format!("where, {} {} {}: {problem}", worker.name, path.direction, path.family);
        unknown.extend(problem.map(line));
    }
    Ok(unknown)
}

/// The way back is seen as far as routers answer the server: seldom behind a NAT.
fn end_of_sight(path: &Path, trace: &path::Trace) -> Option<String> {
    let farthest = trace.hops.iter().rfind(|hop| !hop.silent).map_or(0, |hop| hop.hop);
    let beyond = |place: model::report::Where| place.by_hop > farthest && trace.destination_hop.is_none();
    let hidden = path.remarking.iter().filter_map(|remarking| remarking.location).any(beyond);
    (path.direction == Direction::Down && hidden).then(|| {
        format!("nothing beyond hop {farthest} answers the server (reverse paths stop at a NAT): what lies behind is one interval")
    })
}
