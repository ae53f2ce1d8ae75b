//! `/applications`: latency of Discord's API by city, library and metric, beside the network's part of it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use model::{Metric, WorkerName};
use serde::{Deserialize, Serialize};
use store::{DelaySketch, RecordRollupQuery, RecordTally};

use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, ms, worker};

/// Bots measure a few times a minute: a bucket wants several exchanges, or it has no spread to show.
const BUCKETS: i64 = 96;

#[derive(Deserialize)]
pub(crate) struct Of {
    /// Of one city with all quantiles; else of all with their medians alone.
    worker: Option<String>,
    metric: Option<Metric>,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    range: Range,
    times: Vec<i64>,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    worker: WorkerName,
    /// Measured by the server bot, which is no city.
    server_bot: bool,
    library: String,
    language: String,
    metric: Metric,
    samples: u64,
    /// Exchanges that were not answered.
    unanswered: u64,
    app_ms: Option<Smoke>,
    network_ms: Option<Smoke>,
    overhead_ms: Option<Smoke>,
    series: Series,
}

/// Of the whole range.
#[derive(Serialize)]
struct Smoke {
    min: f64,
    p50: f64,
    p95: f64,
    max: f64,
}

/// Columns as long as `times`, in milliseconds; null where nothing was measured. The bands only of one city.
#[derive(Serialize)]
struct Series {
    samples: Vec<u64>,
    app_p50: Vec<Option<f64>>,
    network_p50: Vec<Option<f64>>,
    overhead_p50: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bands: Option<Bands>,
}

#[derive(Serialize)]
struct Bands {
    min: Vec<Option<f64>>,
    p5: Vec<Option<f64>>,
    p25: Vec<Option<f64>>,
    p75: Vec<Option<f64>>,
    p95: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
}

type Key = (WorkerName, Metric, String, String);

pub(crate) async fn applications(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Json<Answer>, Refusal> {
    let worker = of.worker.as_deref().map(worker).transpose()?;
    let (alone, metric) = (worker.is_some(), of.metric);
    if metric.is_some_and(|metric| !metric.is_application()) {
        return Err(Refusal::bad("media_dns and media_ping are no application's latencies: see /api/v1/view/media"));
    }
    let range = Range::with_buckets(asked, dashboard.0.parts.clock.now(), BUCKETS)?;
    let groups = dashboard.read(move |reader| {
        let query = RecordRollupQuery {
            period: range.period(),
            worker,
            since: range.since_ns(),
            until: range.until_ns(),
            metric,
        };
        let mut groups: BTreeMap<Key, Vec<RecordTally>> = BTreeMap::new();
        reader.record_rollups(&query, &mut |rollup| {
            let key = (rollup.worker, rollup.metric, rollup.library, rollup.language);
            let buckets = groups.entry(key).or_insert_with(|| vec![RecordTally::default(); range.buckets()]);
            if let Some(bucket) = range.bucket(rollup.start) {
                buckets[bucket].merge(&rollup.tally);
            }
        })?;
        // A worker of this name would be a city all the same.
        let no_city = !reader.workers()?.iter().any(|row| row.name.as_str() == model::SERVER_BOT);
        let is_bot = |worker: &WorkerName| no_city && worker.as_str() == model::SERVER_BOT;
        let group = |(key, buckets): (Key, Vec<RecordTally>)| {
            let server_bot = is_bot(&key.0);
            group(key, &buckets, alone, server_bot)
        };
        Ok(groups.into_iter().map(group).collect())
    });
    Ok(Json(Answer { range, times: range.times(), groups: groups.await? }))
}

fn group((worker, metric, library, language): Key, buckets: &[RecordTally], alone: bool, server_bot: bool) -> Group {
    let mut all = RecordTally::default();
    buckets.iter().for_each(|tally| all.merge(tally));
    let column = |of: fn(&RecordTally) -> &DelaySketch, q: f64| -> Vec<Option<f64>> {
        buckets.iter().map(|tally| of(tally).quantile(q).map(ms)).collect()
    };
    let app = |q| column(|tally| &tally.app, q);
    Group {
        worker,
        server_bot,
        library,
        language,
        metric,
        samples: all.samples,
        unanswered: all.samples.saturating_sub(all.app.count()),
        app_ms: smoke(&all.app),
        network_ms: smoke(&all.network),
        overhead_ms: smoke(&all.overhead),
        series: Series {
            samples: buckets.iter().map(|tally| tally.samples).collect(),
            app_p50: app(0.5),
            network_p50: column(|tally| &tally.network, 0.5),
            overhead_p50: column(|tally| &tally.overhead, 0.5),
            bands: alone.then(|| Bands {
                min: app(0.0),
                p5: app(0.05),
                p25: app(0.25),
                p75: app(0.75),
                p95: app(0.95),
                max: app(1.0),
            }),
        },
    }
}

fn smoke(sketch: &DelaySketch) -> Option<Smoke> {
    let quantile = |q| sketch.quantile(q).map(ms);
    Some(Smoke { min: quantile(0.0)?, p50: quantile(0.5)?, p95: quantile(0.95)?, max: quantile(1.0)? })
}
