//! Each city's policy beside what was found. Pure: a scenario and a report in, a verdict out.

use std::collections::BTreeSet;

use lab::pathology::{name_of_dscp_map, name_of_ecn_map};
use lab::{City, Protocol, Scenario, Traffic};
use model::report::{EcnFinding, Path, Pathology, Remarking, Report};
use model::{Direction, Dscp, Ecn, Family, Kind, Tos};
use serde::Serialize;

use crate::commands::demo::applications::{self, ApplicationCheck};
use crate::commands::demo::discord::Board;
use crate::table;

#[derive(Debug, Serialize)]
pub struct Verdict {
    pub schema: &'static str,
    /// Everything that could be compared agrees, and something was compared for every city.
    pub ok: bool,
    pub cities: Vec<CityVerdict>,
    /// Null without the emulated Discord.
    pub discord: Option<Board>,
}

#[derive(Debug, Serialize)]
pub struct CityVerdict {
    pub city: String,
    /// What the scenario says of the city.
    pub policy: String,
    pub ok: bool,
    pub checks: Vec<Check>,
    pub delays: Vec<DelayCheck>,
    /// What the city's bot measured of Discord, beside the network to it.
    pub applications: Vec<ApplicationCheck>,
    /// The worker's clock as the report has it.
    pub clock: Option<model::report::Clock>,
}

/// A city's delay line beside the smallest one-way delay that was found.
#[derive(Debug, Serialize)]
pub struct DelayCheck {
    pub direction: Direction,
    pub family: Family,
    pub policy_ms: f64,
    pub found_min_ms: f64,
    /// The truth has to lie within this of what was found.
    pub uncertainty_ms: f64,
    pub result: CheckResult,
}

/// What routers and sockets of the lab add to the delay line, on a busy machine.
const LAB_OVERHEAD_MS: f64 = 1.0;

#[derive(Debug, Serialize)]
pub struct Check {
    pub direction: Direction,
    pub family: Family,
    pub kind: Kind,
    pub expected: Pathology,
    pub found: Pathology,
    pub expected_ecn: EcnFinding,
    pub found_ecn: EcnFinding,
    /// `agrees`, `differs`, or `not-observable` (this socket cannot show the marks; see `reason`).
    pub result: CheckResult,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    Agrees,
    Differs,
    NotObservable,
}

/// `discord`: what stands in the emulated Discord's channels, if there is one.
pub fn compare(scenario: &Scenario, report: &Report, probe_port: u16, discord: Option<Board>) -> Verdict {
    let mut cities: Vec<CityVerdict> =
        scenario.cities.iter().map(|city| compare_city(city, report, probe_port)).collect();
    if discord.is_some() {
        for (city, verdict) in scenario.cities.iter().zip(&mut cities) {
            verdict.applications = applications::compare(city, report);
            verdict.ok &= applications::are_fine(&verdict.applications);
        }
    }
    let board_is_fine = discord.as_ref().is_none_or(|board| board.status_messages == 1);
    let ok = board_is_fine && cities.iter().all(|city| city.ok);
    Verdict { schema: "netlat.demo/1", ok, cities, discord }
}

fn compare_city(city: &City, report: &Report, probe_port: u16) -> CityVerdict {
    let mut checks = Vec::new();
    for path in report.paths.iter().filter(|path| path.worker.as_str() == city.name) {
        for remarking in path.remarking.iter().filter(|remarking| remarking.kind != Kind::Icmp) {
            checks.push(check(city, path, remarking, probe_port));
        }
    }
    // A city of which nothing was seen, or only one way or one family, is no success.
    let covered = |direction, family| {
        checks.iter().any(|check: &Check| {
            check.direction == direction && check.family == family && check.result == CheckResult::Agrees
        })
    };
    let complete = Family::ALL
        .into_iter()
        .all(|family| [Direction::Up, Direction::Down].into_iter().all(|direction| covered(direction, family)));
    let delays: Vec<DelayCheck> = report
        .paths
        .iter()
        .filter(|path| path.worker.as_str() == city.name)
        .filter_map(|path| check_delay(city, path))
        .collect();
    let ok = complete
        && checks.iter().all(|check| check.result != CheckResult::Differs)
        && delays.iter().all(|check| check.result != CheckResult::Differs);
    let of_city = |path: &&Path| path.worker.as_str() == city.name;
    let clock = report.paths.iter().filter(of_city).find_map(|path| path.clock.clone());
    CityVerdict {
        city: city.name.clone(),
        policy: city.summary.clone(),
        ok,
        checks,
        delays,
        applications: Vec::new(),
        clock,
    }
}

/// Of the path's class with the smallest delay; `None` where there is none (round trips, nothing received).
fn check_delay(city: &City, path: &Path) -> Option<DelayCheck> {
    let delay_of = |class: &model::report::Class| Some((class.owd_ms?.min, class.owd_uncertainty_ms?));
    let (found, uncertainty) =
        path.classes.iter().filter_map(delay_of).min_by(|one, other| one.0.total_cmp(&other.0))?;
    let policy = city.relay.as_ref().map_or(0.0, |relay| relay.line(path.direction).delay.as_secs_f64() * 1e3);
    let within = (found - policy).abs() <= uncertainty + LAB_OVERHEAD_MS;
    Some(DelayCheck {
        direction: path.direction,
        family: path.family,
        policy_ms: policy,
        found_min_ms: found,
        uncertainty_ms: uncertainty,
        result: if within { CheckResult::Agrees } else { CheckResult::Differs },
    })
}

fn traffic(path: &Path, kind: Kind, probe_port: u16) -> Traffic {
    let (protocol, port) = match kind {
        Kind::Http | Kind::Tls => (Protocol::Tcp, probe_port),
        Kind::Dns => (Protocol::Udp, probe_port + 1),
        _ => (Protocol::Udp, probe_port),
    };
    Traffic::new(path.direction, protocol, path.family).on_port(port)
}

fn check(city: &City, path: &Path, remarking: &Remarking, probe_port: u16) -> Check {
    let kind = remarking.kind;
    let traffic = traffic(path, kind, probe_port);
    let sent = |of: fn(&model::report::Class) -> u8| -> BTreeSet<u8> {
        path.classes.iter().filter(|class| class.kind == kind).map(of).collect()
    };
    let (dscps, ecns) = (sent(|class| class.dscp), sent(|class| class.ecn));
    let map: Vec<_> = city.dscp_truth(&traffic).into_iter().filter(|(dscp, _)| dscps.contains(&dscp.get())).collect();
    let expected = name_of_dscp_map(&map);
    let expected_ecn = if kind.is_tcp() { EcnFinding::Unsupported } else { name_of_ecn_map(&city.ecn_truth(&traffic)) };
    // The name says little where a rewrite is partial: every received mark must be one that the policies make.
    let stray = remarking.map.iter().find(|row| {
        let sent = Tos::new(Dscp::new(row.dscp_sent).unwrap_or_default(), Ecn::NotEct);
        let received = |tos: &(Tos, f64)| tos.0.dscp().get() == row.dscp_received;
        !city.truth_of(&traffic, sent).received().iter().any(received)
    });
    // An unprivileged IPv4 TCP socket does not show the mark of what it receives; everything else must be seen.
    let hidden = kind.is_tcp() && path.family == Family::Ipv4 && path.direction == Direction::Down;
    let not_observable = hidden && remarking.pathology == Pathology::Inconclusive && remarking.reason.is_some();
    // Answers go out for probes that arrived: where ECT is dropped on the way up, the way down was asked for fewer code points.
    let unasked = ecns.len() < 4 && !remarking.ecn.is_finding();
    // A mixture of ECN faults has no name of its own; then it is enough that something was found.
    let nameless = expected_ecn == EcnFinding::Inconclusive && ecns.len() == 4 && remarking.ecn.is_finding();
    let ecn_agrees = remarking.ecn == expected_ecn || nameless || unasked;
    let agrees = remarking.pathology == expected && ecn_agrees && stray.is_none();
    let result = match (not_observable, agrees) {
        (true, _) => CheckResult::NotObservable,
        (false, true) => CheckResult::Agrees,
        (false, false) => CheckResult::Differs,
    };
    let stray = stray.map(|row| format!("{} arrived as {}, which no policy makes", row.dscp_sent, row.dscp_received));
    Check {
        direction: path.direction,
        family: path.family,
        kind,
        expected,
        found: remarking.pathology,
        expected_ecn,
        found_ecn: remarking.ecn,
        result,
        reason: stray.or_else(|| remarking.reason.clone()),
    }
}

pub fn table(verdict: &Verdict) -> String {
    let mut out = String::new();
    for city in &verdict.cities {
        out.push_str(&format!("\n{}  {}\n", city.city, city.policy));
        let mut rows =
            table::new(&["way", "ip", "kind", "policy makes", "found", "ECN: policy makes", "found", "result"]);
        for check in &city.checks {
            let result = match check.result {
                CheckResult::Agrees => "agrees",
                CheckResult::Differs => "DIFFERS",
                CheckResult::NotObservable => "not observable by this socket",
            };
            rows.add_row([
                check.direction.name(),
                check.family.name(),
                check.kind.name(),
                check.expected.name(),
                check.found.name(),
                check.expected_ecn.name(),
                check.found_ecn.name(),
                result,
            ]);
        }
        if city.checks.is_empty() {
            out.push_str("  nothing was measured\n");
        }
        rows.to_string().lines().for_each(|line| out.push_str(&format!("  {}\n", line.trim_end())));
        for delay in &city.delays {
            let agrees = if delay.result == CheckResult::Agrees { "agrees" } else { "DIFFERS" };
            out.push_str(&format!(
                "  delay {} {}: {:.1} ms in the lab, {:.3} ms measured, +- {:.3} ms: {agrees}\n",
                delay.direction, delay.family, delay.policy_ms, delay.found_min_ms, delay.uncertainty_ms
            ));
        }
        out.push_str(&applications::lines(&city.applications));
    }
    if let Some(board) = &verdict.discord {
        let status = board.status.as_deref().unwrap_or("NO STATUS MESSAGE");
        out.push_str(&format!("\nDiscord: {} messages in the cities' channels; {status}\n", board.messages));
    }
    out.push_str(if verdict.ok {
        "\nEvery finding agrees with its policy.\n"
    } else {
        "\nFINDINGS DIFFER FROM POLICIES.\n"
    });
    out
}
