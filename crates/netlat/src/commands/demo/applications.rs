//! What a city's bot measured, beside what it cannot be below: the delay line there and back, and what the emulated Discord
//! takes for an answer. How far above it is, is this machine's matter and not judged.

use lab::City;
use model::report::{Application, Report};
use model::{Direction, Metric};
use serde::Serialize;

use crate::commands::demo::compare::CheckResult;
use crate::commands::demo::discord::{HEARTBEAT_MS, METRICS, REST_MS};

#[derive(Debug, Serialize)]
pub struct ApplicationCheck {
    pub metric: Metric,
    pub samples: u64,
    pub app_p50_ms: Option<f64>,
    /// The kernel's smallest round trip of the same connections.
    pub network_min_ms: Option<f64>,
    /// Application minus network, exchange by exchange.
    pub overhead_p50_ms: Option<f64>,
    /// The city's delay line, there and back.
    pub lab_rtt_ms: f64,
    /// What the emulated Discord takes by itself; null where that is not set.
    pub discord_ms: Option<f64>,
    pub result: CheckResult,
    pub reason: Option<&'static str>,
}

/// Stamps are in whole microseconds, delays to the timer's tick.
const TOLERANCE_MS: f64 = 0.1;

/// Of the metrics that every bot has, and of voice where it came so far.
pub fn compare(city: &City, report: &Report) -> Vec<ApplicationCheck> {
    let delay = |direction| city.relay.as_ref().map_or(0.0, |relay| relay.line(direction).delay.as_secs_f64() * 1e3);
    let lab_rtt_ms = delay(Direction::Up) + delay(Direction::Down);
    let of = |metric| {
        let of_city = |one: &&Application| one.worker.as_str() == city.name && one.metric == metric;
        report.applications.iter().find(of_city)
    };
    let wanted = METRICS.into_iter().map(|metric| (metric, of(metric)));
    let voice = of(Metric::VoiceHeartbeat).map(|found| (Metric::VoiceHeartbeat, Some(found)));
    wanted.chain(voice).map(|(metric, found)| check(metric, found, lab_rtt_ms)).collect()
}

fn check(metric: Metric, found: Option<&Application>, lab_rtt_ms: f64) -> ApplicationCheck {
    let discord_ms = match metric {
        Metric::Rest => Some(REST_MS),
        Metric::GatewayHeartbeat => Some(HEARTBEAT_MS),
        _ => None,
    };
    let app = found.and_then(|found| found.app_ms).map(|app| app.p50);
    let network = found.and_then(|found| found.network_ms).map(|network| network.min);
    let reason = match (app, network) {
        (None, _) => Some("it was not measured"),
        (_, None) => Some("the network of its connections was not measured"),
        (Some(app), Some(network)) if app < network => Some("the application is quicker than its network"),
        (_, Some(network)) if network < lab_rtt_ms - TOLERANCE_MS => Some("the network is quicker than the delay line"),
        (Some(app), _) if app < lab_rtt_ms + discord_ms.unwrap_or(0.0) - TOLERANCE_MS => {
            Some("the application is quicker than the delay line and Discord together")
        }
        _ => None,
    };
    ApplicationCheck {
        metric,
        samples: found.map_or(0, |found| found.samples),
        app_p50_ms: app,
        network_min_ms: network,
        overhead_p50_ms: found.and_then(|found| found.overhead_ms).map(|overhead| overhead.p50),
        lab_rtt_ms,
        discord_ms,
        result: if reason.is_none() { CheckResult::Agrees } else { CheckResult::Differs },
        reason,
    }
}

pub fn are_fine(checks: &[ApplicationCheck]) -> bool {
    checks.len() >= METRICS.len() && checks.iter().all(|check| check.result == CheckResult::Agrees)
}

pub fn lines(checks: &[ApplicationCheck]) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1} ms"));
    let line = |check: &ApplicationCheck| {
        let result = check.reason.map_or("agrees".to_owned(), |reason| format!("DIFFERS: {reason}"));
        let own = check.discord_ms.map(|own| format!(", Discord itself {own:.0} ms")).unwrap_or_default();
        format!(
            "  Discord {}: application {}, network {} ({:.0} ms in the lab{own}), overhead {}, {} samples: {result}\n",
            check.metric,
            ms(check.app_p50_ms),
            ms(check.network_min_ms),
            check.lab_rtt_ms,
            ms(check.overhead_p50_ms),
            check.samples
        )
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use model::WorkerName;
    use model::report::{AppLatency, NetworkLatency};

    use super::*;

    fn found(app: f64, network: f64) -> Application {
        Application {
            worker: WorkerName::new("tor1").unwrap(),
            library: "twilight".to_owned(),
            language: "rust".to_owned(),
            metric: Metric::Rest,
            app_ms: Some(AppLatency { p50: app, p95: app }),
            network_ms: Some(NetworkLatency { p50: network, min: network }),
            overhead_ms: None,
            samples: 5,
            flags: Vec::new(),
        }
    }

    #[test]
    fn what_cannot_be_differs() {
        let reason = |app, network| check(Metric::Rest, Some(&found(app, network)), 20.0).reason;
        assert_eq!(reason(36.0, 20.2), None);
        assert!(reason(19.0, 20.2).unwrap().contains("quicker than its network"));
        assert!(reason(36.0, 19.0).unwrap().contains("than the delay line"));
        assert!(reason(30.0, 20.2).unwrap().contains("Discord together"));
        assert_eq!(check(Metric::Rest, None, 20.0).result, CheckResult::Differs);
        assert!(!are_fine(&[]));
    }
}
