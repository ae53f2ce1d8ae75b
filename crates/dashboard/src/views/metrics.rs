//! `/metrics`: the same figures for Prometheus, as OpenMetrics text: of the last five whole minutes.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use model::{Metric, WorkerName};
use store::{DelaySketch, Reader, RecordRollupQuery, RecordTally, StoreError};

use super::state::names;
use super::sums::{Sums, query, sums};
use super::verdicts::in_force;
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::Refusal;
use crate::range::Range;

const WINDOW_S: i64 = 300;
/// A path with more classes than this shows the four that tell most (best effort, AF41, EF, 54): scrapers pay for each.
const MOST_CLASSES: usize = 16;
const TELLING: [u8; 4] = [0, 34, 46, 54];
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) async fn metrics(State(dashboard): State<Dashboard>, _: Viewer) -> Result<impl IntoResponse, Refusal> {
    let now_s = dashboard.0.parts.clock.now().0.div_euclid(1_000_000_000);
    let until = now_s.div_euclid(60) * 60;
    let range = Range { since: until - WINDOW_S, until, step_s: WINDOW_S, period_s: 60 };
    let text = dashboard.read(move |reader| Ok(render(reader, &range)?)).await?;
    Ok(([(header::CONTENT_TYPE, KIND)], text))
}

/// Families of metrics, each in one piece as the format wants it.
#[derive(Default)]
struct Families(BTreeMap<&'static str, (&'static str, &'static str, String)>);

impl Families {
    /// `labels` without braces; `suffix` is what OpenMetrics puts behind a counter's name.
    fn add(&mut self, name: &'static str, kind: &'static str, help: &'static str, labels: &str, value: f64) {
        let (_, _, text) = self.0.entry(name).or_insert_with(|| (kind, help, String::new()));
        let suffix = if kind == "counter" { "_total" } else { "" };
        let _ = writeln!(text, "{name}{suffix}{{{labels}}} {value}");
    }

    fn finish(self) -> String {
        let mut out = String::new();
        for (name, (kind, help, text)) in self.0 {
            let unit = if name.ends_with("_seconds") { format!("# UNIT {name} seconds\n") } else { String::new() };
            let _ = write!(out, "# TYPE {name} {kind}\n{unit}# HELP {name} {help}\n{text}");
        }
        out + "# EOF\n"
    }
}

fn render(reader: &Reader, range: &Range) -> Result<String, StoreError> {
    let mut all = Families::default();
    for worker in names(reader)? {
        probes(&mut all, &worker, &sums(reader, &query(&worker, range))?);
        applications(&mut all, reader, &worker, range)?;
    }
    for row in reader.workers()?.into_iter().filter(|row| !row.ephemeral) {
        if let Some(seen) = row.seen_at {
            let help = "When the server last heard of the worker.";
            let labels = format!("worker=\"{}\"", row.name);
            all.add("netlat_worker_seen_timestamp_seconds", "gauge", help, &labels, seen.0 as f64 / 1e9);
        }
    }
    for one in in_force(reader, None)?.0 {
        let (direction, family, what) = one.labels();
        let labels = format!(
            "worker=\"{}\",direction=\"{direction}\",family=\"{family}\",class=\"{what}\",verdict=\"{}\"",
            one.worker(),
            one.verdict().name()
        );
        let help = "1 for the verdict in force of a class compared with best effort.";
        all.add("netlat_verdict", "gauge", help, &labels, 1.0);
    }
    for (reason, count) in reader.counters()? {
        let help = "Packets and records dropped since the data directory was made.";
        all.add("netlat_dropped", "counter", help, &format!("reason=\"{reason}\""), count as f64);
    }
    Ok(all.finish())
}

fn probes(all: &mut Families, worker: &WorkerName, sums: &Sums) {
    for ((direction, family, kind, tos), tally) in sums {
        let beside = sums.keys().filter(|(way, of, what, _)| (way, of, what) == (direction, family, kind)).count();
        let dscp = tos.dscp().get();
        if beside > MOST_CLASSES && !(TELLING.contains(&dscp) && tos.ecn().bits() == 0) {
            continue;
        }
        let labels = format!(
            "worker=\"{worker}\",direction=\"{direction}\",family=\"{family}\",kind=\"{kind}\",dscp=\"{dscp}\",ecn=\"{}\"",
            tos.ecn().bits()
        );
        if tally.sent > 0 {
            let help = "Share of the probes that were lost, last five minutes.";
            all.add("netlat_loss_ratio", "gauge", help, &labels, tally.lost as f64 / tally.sent as f64);
        }
        let help = "One-way delay (round trip of icmp), nearest rank, last five minutes.";
        quantiles(all, "netlat_delay_seconds", help, &labels, &tally.delay);
        if let Some(ns) = tally.uncertainty_ns {
            let help = "The delay is wrong by at most this, for the clocks' sake.";
            all.add("netlat_delay_uncertainty_seconds", "gauge", help, &labels, ns as f64 / 1e9);
        }
    }
}

fn applications(all: &mut Families, reader: &Reader, worker: &WorkerName, range: &Range) -> Result<(), StoreError> {
    let query = RecordRollupQuery {
        period: range.period(),
        worker: Some(worker.clone()),
        since: range.since_ns(),
        until: range.until_ns(),
        metric: None,
    };
    let mut groups: BTreeMap<(Metric, String), RecordTally> = BTreeMap::new();
    reader.record_rollups(&query, &mut |rollup| {
        groups.entry((rollup.metric, rollup.library)).or_default().merge(&rollup.tally);
    })?;
    for ((metric, library), tally) in groups {
        let labels = format!("worker=\"{worker}\",library=\"{}\",metric=\"{metric}\"", escape(&library));
        let help = "Latency of Discord's API as the application sees it, last five minutes.";
        quantiles(all, "netlat_application_seconds", help, &labels, &tally.app);
        let help = "Round trip of the same connection, last five minutes.";
        quantiles(all, "netlat_application_network_seconds", help, &labels, &tally.network);
    }
    Ok(())
}

fn quantiles(all: &mut Families, name: &'static str, help: &'static str, labels: &str, sketch: &DelaySketch) {
    for q in [0.5, 0.95] {
        if let Some(ns) = sketch.quantile(q) {
            all.add(name, "summary", help, &format!("{labels},quantile=\"{q}\""), ns / 1e9);
        }
    }
}

/// Libraries name themselves: printable, but not without quotes.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
