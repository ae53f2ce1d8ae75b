//! Sums over a whole range, by path, kind and class.

use std::collections::BTreeMap;

use ::path::TraceReport;
use measure::report::{KindMarks, MarkSums, ReportConfig};
use model::report::{Path, Quantiles, Remarking};
use model::{Direction, Family, Kind, Tos, UnixNanos, WorkerName};
use store::{Reader, RollupQuery, StoreError, Tally};

use crate::range::{Range, ms};

pub(crate) type ClassKey = (Direction, Family, Kind, Tos);
pub(crate) type Sums = BTreeMap<ClassKey, Tally>;

/// A path is another one after so long; until then a trace speaks for it.
const TRACE_HOLDS_NS: i64 = 24 * 3_600 * 1_000_000_000;

pub(crate) fn query(worker: &WorkerName, range: &Range) -> RollupQuery {
    RollupQuery {
        worker: Some(worker.clone()),
        since: Some(range.since_ns()),
        until: Some(range.until_ns()),
        ..RollupQuery::all(range.period())
    }
}

pub(crate) fn sums(reader: &Reader, query: &RollupQuery) -> Result<Sums, StoreError> {
    let mut sums = Sums::new();
    reader.rollups(query, &mut |rollup| {
        let key = (rollup.direction, rollup.family, rollup.kind, rollup.tos_sent);
        sums.entry(key).or_default().merge(&rollup.tally);
    })?;
    Ok(sums)
}

/// Of the delays of a tally; the ends are exact, the rest within 1 %.
pub(crate) fn quantiles(tally: &Tally) -> Option<Quantiles> {
    let quantile = |q| tally.delay.quantile(q).map(ms);
    Some(Quantiles {
        min: ms(tally.min_ns? as f64),
        p50: quantile(0.5)?,
        p95: quantile(0.95)?,
        p99: quantile(0.99)?,
        max: ms(tally.max_ns? as f64),
    })
}

/// What happened to the marks, and where, as far as a trace has shown.
pub(crate) fn remarking(
    reader: &Reader,
    worker: &WorkerName,
    sums: &Sums,
    now: UnixNanos,
) -> Result<Vec<Path>, StoreError> {
    let config = ReportConfig::default();
    let mut kinds: BTreeMap<(Direction, Family, Kind), KindMarks> = BTreeMap::new();
    for ((direction, family, kind, tos), tally) in sums {
        let marks = kinds.entry((*direction, *family, *kind)).or_default();
        marks.add_sums(
            *tos,
            &MarkSums {
                sent: tally.sent,
                received: tally.received,
                intercepted: tally.intercepted,
                rewritten: tally.rewritten,
                marks: &tally.marks,
            },
        );
    }
    // A middlebox that speaks one way speaks the other way too.
    let intercepted: Vec<(Family, Kind)> = kinds
        .iter()
        .filter(|(_, marks)| marks.intercepted(&config))
        .map(|((_, family, kind), _)| (*family, *kind))
        .collect();
    let mut paths: BTreeMap<(Direction, Family), Vec<Remarking>> = BTreeMap::new();
    for ((direction, family, kind), marks) in &kinds {
        let taken = intercepted.contains(&(*family, *kind));
        let finding = marks.finding(*kind, *direction, *family, taken, &config);
        paths.entry((*direction, *family)).or_default().push(finding);
    }
    let traces = reader.traces(worker)?;
    let placed = paths.into_iter().map(|((direction, family), remarking)| {
        let mut path = Path {
            worker: worker.clone(),
            direction,
            family,
            from: None,
            to: None,
            clock: None,
            classes: Vec::new(),
            remarking,
            differentiation: Vec::new(),
            rate_limit: None,
        };
        let row = traces.iter().find(|row| (row.direction, row.family) == (direction, family));
        let row = row.filter(|row| now.since(row.at) < TRACE_HOLDS_NS);
        let trace = row.and_then(|row| serde_json::from_str::<TraceReport>(&row.body).ok()).and_then(|told| told.trace);
        if let Some(trace) = trace {
            ::path::place(&mut path, &trace);
        }
        path
    });
    Ok(placed.collect())
}
