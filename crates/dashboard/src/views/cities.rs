//! `/cities`: every city at a glance, the sentence about it, and what changed in the last day.

use axum::Json;
use axum::extract::State;
use model::report::{EcnFinding, Pathology, Remarking};
use model::{Direction, Family, Kind, Metric, Tos, UnixNanos, WorkerName};
use serde::Serialize;
use store::{Reader, RecordRollupQuery, RecordTally, RollupQuery, StoreError, Tally, WorkerRow};

use super::state::names;
use super::sums::{query, remarking, sums};
use super::verdicts::{Change, changes, in_force};
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, ms};
use crate::sentence::{Facts, sentence};

/// Workers upload about once a second.
const SILENT_AFTER_S: i64 = 60;
const DAY_S: i64 = 86_400;

#[derive(Serialize)]
pub(crate) struct Answer {
    range: Range,
    cities: Vec<City>,
    /// In the day before the range's end, newest first.
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct City {
    name: WorkerName,
    /// `measuring`, `silent`, `bots-only` where no worker of this name ever joined, or `server-bot`, which is no city.
    state: &'static str,
    silent_s: Option<i64>,
    sentence: String,
    application: Option<App>,
    ways: Vec<Way>,
    marks: Vec<Mark>,
    /// Findings of comparisons, in words.
    verdicts: Vec<String>,
}

#[derive(Serialize)]
struct App {
    metric: Metric,
    library: String,
    app_ms: f64,
    network_ms: Option<f64>,
}

#[derive(Serialize)]
struct Way {
    direction: Direction,
    sent: u64,
    lost: u64,
    /// Median one-way delay of best effort on rtp and udp; null where there is none.
    owd_ms: Option<f64>,
    owd_uncertainty_ms: Option<f64>,
}

/// A change of marks; without any the list is empty.
#[derive(Serialize)]
struct Mark {
    direction: Direction,
    family: Family,
    kind: Kind,
    pathology: Pathology,
    ecn: EcnFinding,
}

pub(crate) async fn cities(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
) -> Result<Json<Answer>, Refusal> {
    let now = dashboard.0.parts.clock.now();
    let range = Range::of_sums(asked, now)?;
    let answer = dashboard.read(move |reader| {
        let rows = reader.workers()?;
        let (findings, _) = in_force(reader, None)?;
        let mut cities = Vec::new();
        for name in names(reader)? {
            let row = rows.iter().find(|row| row.name == name);
            let own = findings.iter().filter(|one| one.is_finding() && *one.worker() == name);
            let verdicts = own.map(|one| one.sentence().to_owned()).collect();
            cities.push(city(reader, name, row, verdicts, &range, now)?);
        }
        let day = Range { since: range.until - DAY_S, ..range };
        Ok(Answer { range, cities, changes: changes(reader, None, &day)? })
    });
    Ok(Json(answer.await?))
}

fn city(
    reader: &Reader,
    name: WorkerName,
    row: Option<&WorkerRow>,
    verdicts: Vec<String>,
    range: &Range,
    now: UnixNanos,
) -> Result<City, StoreError> {
    let counted = sums(reader, &RollupQuery { without_delays: true, ..query(&name, range) })?;
    let found = remarking(reader, &name, &counted, now)?;
    let found: Vec<(Direction, Family, Remarking)> = found
        .into_iter()
        .flat_map(|path| {
            let (direction, family) = (path.direction, path.family);
            path.remarking.into_iter().map(move |finding| (direction, family, finding))
        })
        .filter(|(_, _, finding)| finding.pathology.is_finding() || finding.ecn.is_finding())
        .collect();
    let best_effort =
        RollupQuery { kinds: vec![Kind::Rtp, Kind::Udp], classes: vec![Tos::default()], ..query(&name, range) };
    let delays = sums(reader, &best_effort)?;
    let ways = [Direction::Up, Direction::Down].into_iter().filter_map(|direction| {
        let of = counted.iter().filter(|((way, ..), _)| *way == direction).map(|(_, tally)| tally);
        let (sent, lost) = of.fold((0, 0), |(sent, lost), tally| (sent + tally.sent, lost + tally.lost));
        // Families are other paths: the one with more probes speaks.
        let mut families = Family::ALL.map(|family| {
            let mut sum = Tally::default();
            let own = delays.iter().filter(|((way, of, ..), _)| (*way, *of) == (direction, family));
            own.for_each(|(_, tally)| sum.merge(tally));
            sum
        });
        families.sort_by_key(|tally| tally.delay.count());
        let [_, most] = families;
        (sent > 0).then(|| Way {
            direction,
            sent,
            lost,
            owd_ms: most.delay.quantile(0.5).map(ms),
            owd_uncertainty_ms: most.uncertainty_ns.map(|ns| ms(ns as f64)),
        })
    });
    let ways: Vec<Way> = ways.collect();
    let application = application(reader, &name, range)?;
    let silent_s = row.and_then(|row| row.seen_at).map(|at| now.since(at).max(0) / 1_000_000_000);
    let state = match (row, silent_s) {
        (None, _) if name.as_str() == model::SERVER_BOT => "server-bot",
        (None, _) => "bots-only",
        (Some(_), Some(seconds)) if seconds <= SILENT_AFTER_S => "measuring",
        _ => "silent",
    };
    // Whoever looks at a past range asks about then.
    let is_past = range.until < now.0.div_euclid(1_000_000_000) - SILENT_AFTER_S;
    let facts = Facts {
        name: name.as_str(),
        silent_s,
        is_silent: state == "silent" && !is_past,
        application: application.as_ref().map(|app| (app.metric.name(), app.app_ms, app.network_ms)),
        verdicts: &verdicts,
        marks: &found,
        sent: ways.iter().map(|way| way.sent).sum(),
        lost: ways.iter().map(|way| way.lost).sum(),
    };
    let sentence = sentence(&facts);
    let mark = |(direction, family, finding): (Direction, Family, Remarking)| Mark {
        direction,
        family,
        kind: finding.kind,
        pathology: finding.pathology,
        ecn: finding.ecn,
    };
    let marks = found.into_iter().map(mark).collect();
    Ok(City { name, state, silent_s, sentence, application, ways, marks, verdicts })
}

/// REST where it is measured, else the first metric there is, of the library with the most exchanges.
fn application(reader: &Reader, name: &WorkerName, range: &Range) -> Result<Option<App>, StoreError> {
    let query = RecordRollupQuery {
        period: range.period(),
        worker: Some(name.clone()),
        since: range.since_ns(),
        until: range.until_ns(),
        metric: None,
    };
    let mut groups = std::collections::BTreeMap::<(Metric, String), RecordTally>::new();
    reader.record_rollups(&query, &mut |rollup| {
        groups.entry((rollup.metric, rollup.library)).or_default().merge(&rollup.tally);
    })?;
    let answered = groups.into_iter().filter(|(_, tally)| tally.app.count() > 0);
    let best = answered
        .max_by_key(|((metric, _), tally)| (*metric == Metric::Rest, std::cmp::Reverse(*metric), tally.app.count()));
    Ok(best.and_then(|((metric, library), tally)| {
        let app_ms = ms(tally.app.quantile(0.5)?);
        Some(App { metric, library, app_ms, network_ms: tally.network.quantile(0.5).map(ms) })
    }))
}
