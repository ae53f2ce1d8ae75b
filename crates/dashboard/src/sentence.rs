//! The one sentence about a city: what a person should know first. Pure: facts in, words out.

use model::report::{Pathology, Remarking};
use model::{Direction, Family};

/// What is known of a city over the range.
#[derive(Default)]
pub(crate) struct Facts<'a> {
    pub name: &'a str,
    /// Seconds since it was last heard of; `None`: never.
    pub silent_s: Option<i64>,
    pub is_silent: bool,
    /// Metric, application's and network's median in milliseconds.
    pub application: Option<(&'a str, f64, Option<f64>)>,
    /// Findings of comparisons, in words.
    pub verdicts: &'a [String],
    pub marks: &'a [(Direction, Family, Remarking)],
    pub sent: u64,
    pub lost: u64,
}

/// From this share on, lost packets are worth a word.
const NOTABLE_LOSS: f64 = 0.01;

pub(crate) fn sentence(facts: &Facts<'_>) -> String {
    let name = facts.name;
    if facts.is_silent {
        return match facts.silent_s {
            Some(seconds) => format!("{name} has been silent for {}.", span(seconds)),
            None => format!("{name} has not been heard of yet."),
        };
    }
    let mut clauses = Vec::new();
    if let Some((metric, app, network)) = facts.application {
        clauses.push(match network {
            Some(network) => {
                format!("{} {app:.0} ms, of which the network takes {}", metric_name(metric), short_ms(network))
            }
            None => format!("{} {app:.0} ms", metric_name(metric)),
        });
    }
    if let Some(first) = facts.verdicts.first() {
        clauses.push(without_proof(first).to_owned());
        if facts.verdicts.len() > 1 {
            clauses.push(format!("and {} more findings", facts.verdicts.len() - 1));
        }
    }
    if let Some(marks) = marks(facts.marks) {
        clauses.push(marks);
    }
    let share = facts.lost as f64 / facts.sent.max(1) as f64;
    if share >= NOTABLE_LOSS {
        clauses.push(format!("{:.1} % of the probes are lost", share * 100.0));
    }
    match (clauses.is_empty(), facts.sent) {
        (true, 0) => format!("{name} measured nothing in this range."),
        (true, _) => format!("{name}: marks arrive as they were sent, {:.2} % of the probes are lost.", share * 100.0),
        (false, _) => format!("{name}: {}.", clauses.join("; ")),
    }
}

fn metric_name(metric: &str) -> &str {
    match metric {
        "rest" => "REST answers take",
        "gateway_heartbeat" => "gateway heartbeats take",
        "message_echo" => "messages come back after",
        "interaction" => "interactions take",
        "voice_heartbeat" => "voice heartbeats take",
        other => other,
    }
}

/// A verdict without its error rate, which its card has.
fn without_proof(sentence: &str) -> &str {
    sentence.split(" (").next().unwrap_or(sentence)
}

fn marks(findings: &[(Direction, Family, Remarking)]) -> Option<String> {
    let way = |direction: Direction| match direction {
        Direction::Up => "on the way up",
        Direction::Down => "on the way down",
        Direction::RoundTrip => "on the way and back",
    };
    let place = |finding: &Remarking| match finding.location {
        Some(place) => format!(", between hop {} and {}", place.after_hop, place.by_hop),
        None => String::new(),
    };
    let dscp = findings.iter().find(|(_, _, finding)| finding.pathology.is_finding());
    let ecn = findings.iter().find(|(_, _, finding)| finding.ecn.is_finding());
    match (dscp, ecn) {
        (Some((direction, _, finding)), _) => {
            let what = match finding.pathology {
                Pathology::Partial => "some marks are changed",
                Pathology::Unstable => "marks are changed now and then",
                _ => return Some(format!("{} {}{}", finding.pathology.name(), way(*direction), place(finding))),
            };
            Some(format!("{what} {}{}", way(*direction), place(finding)))
        }
        (None, Some((direction, _, finding))) => {
            Some(format!("ECN {} {}{}", finding.ecn.name(), way(*direction), place(finding)))
        }
        (None, None) => None,
    }
}

fn short_ms(ms: f64) -> String {
    if ms >= 10.0 { format!("{ms:.0} ms") } else { format!("{ms:.1} ms") }
}

pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_matters_first() {
        let verdicts = ["EF from nyc1 is policed at 300 kbit/s (alpha 0.001, 412 pairs, 9 s)".to_owned()];
        let facts = Facts { name: "nyc1", sent: 1000, lost: 20, ..Facts::default() };
        let said = |facts: &Facts<'_>| sentence(facts);
        assert_eq!(said(&facts), "nyc1: 2.0 % of the probes are lost.");
        assert_eq!(
            said(&Facts { application: Some(("rest", 182.4, Some(22.2))), verdicts: &verdicts, lost: 0, ..facts }),
            "nyc1: REST answers take 182 ms, of which the network takes 22 ms; EF from nyc1 is policed at 300 kbit/s."
        );
        let clean = Facts { name: "tor1", sent: 1000, ..Facts::default() };
        assert_eq!(said(&clean), "tor1: marks arrive as they were sent, 0.00 % of the probes are lost.");
        let silent = Facts { name: "tor1", is_silent: true, silent_s: Some(7300), ..Facts::default() };
        assert_eq!(said(&silent), "tor1 has been silent for 2 h.");
        assert_eq!(said(&Facts { name: "x", ..Facts::default() }), "x measured nothing in this range.");
    }
}
