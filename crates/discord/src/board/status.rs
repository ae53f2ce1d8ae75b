//! The status message: a deployment at a glance, within one message.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::report::Application;
use model::{Metric, UnixNanos, WorkerName, WorkerState};

use crate::batch::LONGEST_MESSAGE;

/// How the message begins, by which it is found again.
pub const TITLE: &str = "**NetLat status**";
/// Rows of a table; a row is 70 characters at most.
const MOST_ROWS: usize = 20;

/// Workers by name with their latencies of the last hour.
pub fn render(applications: &[Application], states: &[WorkerState], records: u64, now: UnixNanos) -> String {
    let mut rows: BTreeMap<&WorkerName, BTreeMap<Metric, &Application>> = BTreeMap::new();
    for application in applications {
        // The busiest program speaks for a worker's metric.
        let best = rows.entry(&application.worker).or_default().entry(application.metric).or_insert(application);
        if application.samples > best.samples {
            *best = application;
        }
    }
    for state in states {
        rows.entry(&state.name).or_default();
    }
    let mut out = format!(
        "{TITLE}: {} worker(s), {records} records since the start, updated <t:{}:R>\n",
        rows.len(),
        now.0.div_euclid(1_000_000_000)
    );
    if rows.is_empty() {
        out.push_str("No worker has been heard of yet.");
        return out;
    }
    let _ =
        writeln!(out, "```\n{:<20} {:>13} {:>13} {:>6} {:>6}", "ms: app/network", "REST", "gateway", "echo", "voice");
    let more = rows.len().saturating_sub(MOST_ROWS);
    for (worker, metrics) in rows.into_iter().take(MOST_ROWS) {
        let pair = |metric| {
            let Some(application) = metrics.get(&metric) else { return "-".to_owned() };
            let app = application.app_ms.map_or("-".to_owned(), |app| format!("{:.0}", app.p50));
            let network = application.network_ms.map_or("-".to_owned(), |network| format!("{:.0}", network.p50));
            format!("{app}/{network}")
        };
        let app = |metric| {
            let app = metrics.get(&metric).and_then(|application| application.app_ms);
            app.map_or("-".to_owned(), |app| format!("{:.0}", app.p50))
        };
        let name: String = worker.as_str().chars().take(20).collect();
        let _ = writeln!(
            out,
            "{name:<20} {:>13} {:>13} {:>6} {:>6}",
            pair(Metric::Rest),
            pair(Metric::GatewayHeartbeat),
            app(Metric::MessageEcho),
            app(Metric::VoiceHeartbeat)
        );
    }
    out.push_str("```");
    if more > 0 {
        let _ = write!(out, "and {more} more: ask for `report`");
    }
    out
}

/// One worker's latencies, all of its programs.
pub fn report(worker: &WorkerName, applications: &[Application]) -> String {
    if applications.is_empty() {
        return format!("Nothing was measured for `{worker}` in the last hour: is its main bot running?");
    }
    let mut out = format!("Latencies of `{worker}`, last hour, medians in ms:\n```\n");
    for application in applications {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        let _ = writeln!(
            out,
            "{:<18} {:<16} app {:>7} (p95 {:>7})  network {:>6}  overhead {:>7}  n={}",
            application.metric,
            application.library.chars().take(16).collect::<String>(),
            ms(application.app_ms.map(|app| app.p50)),
            ms(application.app_ms.map(|app| app.p95)),
            ms(application.network_ms.map(|network| network.p50)),
            ms(application.overhead_ms.map(|overhead| overhead.p50)),
            application.samples
        );
        if out.len() > LONGEST_MESSAGE - 200 {
            out.push_str("...\n");
            break;
        }
    }
    out.push_str("```Network is host to Discord's edge; the rest of app is edge, Discord and the program itself.");
    out
}

#[cfg(test)]
mod tests {
    use model::report::{AppLatency, NetworkLatency};

    use super::*;

    fn application(worker: &str, metric: Metric, app: f64, samples: u64) -> Application {
        Application {
            worker: WorkerName::new(worker).unwrap(),
            library: "twilight 0.18".to_owned(),
            language: "rust".to_owned(),
            metric,
            app_ms: Some(AppLatency { p50: app, p95: app }),
            network_ms: Some(NetworkLatency { p50: 21.0, min: 20.0 }),
            overhead_ms: None,
            samples,
            flags: Vec::new(),
        }
    }

    #[test]
    fn a_hundred_workers_still_fit() {
        let applications: Vec<Application> = (0..100)
            .map(|n| application(&format!("a-rather-long-worker-name-{n}"), Metric::Rest, 99999.0, 1))
            .collect();
        let text = render(&applications, &[], u64::MAX, UnixNanos(1_790_000_000_000_000_000));
        assert!(text.chars().count() <= LONGEST_MESSAGE && text.contains("and 80 more"), "{text}");
        let long: Vec<Application> = (0..60).map(|_| application("nyc1", Metric::Rest, 99999.0, 1)).collect();
        assert!(report(&long[0].worker, &long).chars().count() <= LONGEST_MESSAGE);
    }

    #[test]
    fn a_worker_shows_its_busiest_program_beside_the_network() {
        let applications = [application("nyc1", Metric::Rest, 500.0, 1), application("nyc1", Metric::Rest, 182.0, 40)];
        let text = render(&applications, &[], 41, UnixNanos(1_790_000_000_000_000_000));
        assert!(text.starts_with(TITLE) && text.contains("<t:1790000000:R>"), "{text}");
        assert!(text.contains("182/21") && !text.contains("500"), "{text}");
    }
}
