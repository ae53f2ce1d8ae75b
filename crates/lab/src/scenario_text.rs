//! The TOML form of a scenario: unknown keys are refused, and every problem is told with its place and a remedy.

use std::time::Duration;

use model::Direction;
use model::report::{EcnFinding, Pathology};
use serde::Deserialize;

use crate::error::ScenarioError;
use crate::policy::{Action, Policy, Protocol};
use crate::policy_text::{DirectionText, FamilyText, PolicyText, ProtocolText};
use crate::relay::{Line, Relay};
use crate::scenario::{City, Expectation, Hop, Scenario};

const MAX_CITIES: usize = 200;
const MAX_HOPS: usize = 4;
/// IFNAMSIZ less the closing NUL.
const MAX_NAME: usize = 15;
const MAX_DELAY_MS: f64 = 10_000.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioText {
    name: String,
    #[serde(default)]
    summary: String,
    #[serde(default = "yes")]
    unprivileged_icmp: bool,
    #[serde(default)]
    city: Vec<CityText>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CityText {
    name: String,
    #[serde(default)]
    summary: String,
    relay: Option<RelayText>,
    #[serde(default)]
    hop: Vec<HopText>,
    #[serde(default)]
    expected: Vec<ExpectationText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HopText {
    #[serde(default)]
    policies: Vec<PolicyText>,
    #[serde(default)]
    limits_errors: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayText {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    up: LineText,
    #[serde(default)]
    down: LineText,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineText {
    #[serde(default)]
    delay_ms: f64,
    #[serde(default)]
    ipdv_ms: f64,
    #[serde(default)]
    loss: f64,
    #[serde(default)]
    duplicate: f64,
    #[serde(default)]
    reorder: f64,
    #[serde(default)]
    reorder_by_ms: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectationText {
    #[serde(default)]
    direction: DirectionText,
    #[serde(default)]
    family: FamilyText,
    protocol: Option<ProtocolText>,
    pathology: Pathology,
    #[serde(default = "no_ecn_finding")]
    ecn: EcnFinding,
    hop: Option<u8>,
    ecn_hop: Option<u8>,
}

fn no_ecn_finding() -> EcnFinding {
    EcnFinding::None
}

pub(crate) fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let scenario: ScenarioText = toml::from_str(text).map_err(|error| syntax_error(file, text, &error))?;
    let invalid = |place: &str, problem: String| ScenarioError::Invalid {
        file: file.to_owned(),
        place: place.to_owned(),
        problem,
    };
    if scenario.city.is_empty() || scenario.city.len() > MAX_CITIES {
        let problem = format!("{} cities: write 1 to {MAX_CITIES} [[city]] tables", scenario.city.len());
        return Err(invalid("scenario", problem));
    }
    let mut cities: Vec<City> = Vec::new();
    for (number, city) in (1..).zip(scenario.city) {
        let place = format!("city '{}'", city.name);
        check_name(&city.name).map_err(|problem| invalid(&place, problem))?;
        if cities.iter().any(|other| other.name == city.name) {
            return Err(invalid(&place, "name: two cities have it, choose another".to_owned()));
        }
        if city.hop.is_empty() || city.hop.len() > MAX_HOPS {
            return Err(invalid(&place, format!("{} hops: write 1 to {MAX_HOPS} [[city.hop]] tables", city.hop.len())));
        }
        let mut hops = Vec::new();
        for (hop_number, hop) in (1..).zip(city.hop) {
            hops.push(read_hop(hop, |policy, problem| {
                invalid(&format!("{place}, hop {hop_number}, policy {policy}"), problem)
            })?);
        }
        let relay = city.relay.map(read_relay).transpose();
        let relay = relay.map_err(|problem| invalid(&format!("{place}, relay"), problem))?;
        let expected = city.expected.into_iter().map(Expectation::from).collect();
        cities.push(City { name: city.name, summary: city.summary, number, hops, relay, expected });
    }
    Ok(Scenario {
        name: scenario.name,
        summary: scenario.summary,
        unprivileged_icmp: scenario.unprivileged_icmp,
        cities,
    })
}

fn syntax_error(file: &str, text: &str, error: &toml::de::Error) -> ScenarioError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    ScenarioError::Syntax {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        message: error.message().replace('\n', " "),
    }
}

/// Namespaces and an interface are called like the city.
fn check_name(name: &str) -> Result<(), String> {
    model::WorkerName::new(name).map_err(|error| format!("name: {error}"))?;
    if name.len() > MAX_NAME {
        return Err(format!("name: longer than {MAX_NAME} characters, shorten it (an interface has the same name)"));
    }
    if ["server", "lo", "all", "default"].contains(&name) {
        return Err("name: the lab uses this word itself, choose another".to_owned());
    }
    Ok(())
}

fn read_hop<F>(hop: HopText, invalid: F) -> Result<Hop, ScenarioError>
where
    F: Fn(String, String) -> ScenarioError,
{
    let mut policies = Vec::new();
    for (number, policy) in (1..).zip(hop.policies) {
        let place = format!("{number} ({})", policy.kind());
        policies.push(policy.read().map_err(|problem| invalid(place, problem))?);
    }
    for direction in [Direction::Up, Direction::Down] {
        let of = |wanted: fn(&Action) -> bool| {
            policies.iter().filter(move |p: &&Policy| p.scope.covers_direction(direction) && wanted(&p.action)).count()
        };
        let shared = of(|action| matches!(action, Action::Share { .. }));
        let shaped = of(|action| matches!(action, Action::Shape { .. }));
        if shared > 1 || shared == 1 && shaped > 0 {
            let problem =
                format!("{direction}: prioritise or weigh is a hop's only bottleneck: move the other to another hop");
            return Err(invalid("all".to_owned(), problem));
        }
    }
    Ok(Hop { policies, limits_errors: hop.limits_errors })
}

fn read_relay(relay: RelayText) -> Result<Relay, String> {
    Ok(Relay { seed: relay.seed, up: read_line("up", &relay.up)?, down: read_line("down", &relay.down)? })
}

fn read_line(direction: &str, line: &LineText) -> Result<Line, String> {
    let time = |key: &str, milliseconds: f64| {
        if (0.0..=MAX_DELAY_MS).contains(&milliseconds) {
            Ok(Duration::from_secs_f64(milliseconds / 1e3))
        } else {
            Err(format!("{direction}.{key} = {milliseconds} is not 0 to {MAX_DELAY_MS} milliseconds"))
        }
    };
    let share = |key: &str, share: f64| {
        if (0.0..=1.0).contains(&share) {
            Ok(share)
        } else {
            Err(format!("{direction}.{key} = {share} is not 0 to 1 (0.02 is two per cent)"))
        }
    };
    if (line.reorder > 0.0) != (line.reorder_by_ms > 0.0) {
        return Err(format!("{direction}: reorder and reorder_by_ms belong together: give both above 0, or neither"));
    }
    Ok(Line {
        delay: time("delay_ms", line.delay_ms)?,
        ipdv: time("ipdv_ms", line.ipdv_ms)?,
        loss: share("loss", line.loss)?,
        duplicate: share("duplicate", line.duplicate)?,
        reorder: share("reorder", line.reorder)?,
        reorder_by: time("reorder_by_ms", line.reorder_by_ms)?,
    })
}

impl From<ExpectationText> for Expectation {
    fn from(text: ExpectationText) -> Expectation {
        Expectation {
            direction: text.direction.only(),
            family: text.family.only(),
            protocol: text.protocol.map_or(Protocol::Udp, Protocol::from),
            pathology: text.pathology,
            ecn: text.ecn,
            hop: text.hop,
            ecn_hop: text.ecn_hop,
        }
    }
}
