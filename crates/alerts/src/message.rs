//! What a webhook is told of a change: `netlat.alert/1`, or a message as Discord takes it.

use model::WorkerName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rule::{Format, On, Rule};
use crate::watch::Seen;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Raised,
    /// Still raised, but another verdict.
    Changed,
    Cleared,
    /// Asked for, to see whether it arrives.
    Test,
}

/// One change, as it is kept and as `format = "json"` sends it. Fields may be added, not renamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub schema: String,
    pub alert: String,
    pub on: On,
    pub state: State,
    /// RFC 3339, UTC.
    pub at: String,
    pub worker: Option<WorkerName>,
    /// What is raised or over, in words.
    pub what: String,
    /// In `unit`; absent of verdicts and tests.
    pub value: Option<f64>,
    /// The bound at which it is raised, and below which it is over.
    pub raise: Option<f64>,
    pub clear: Option<f64>,
    pub unit: Option<String>,
    /// The network's part of an application's latency, in ms.
    pub network_ms: Option<f64>,
    /// A verdict's name.
    pub verdict: Option<String>,
    pub verdict_before: Option<String>,
    /// All of it in one sentence for people.
    pub sentence: String,
}

pub(crate) const SCHEMA: &str = "netlat.alert/1";
const NOT_TO_DISCORD: &str = "path to this server, not to Discord";

fn rfc3339(at_s: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(at_s).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

const fn unit(on: On) -> Option<&'static str> {
    match on {
        On::Verdict => None,
        On::Application | On::Delay => Some("ms"),
        On::Loss => Some("percent"),
        On::Silent => Some("s"),
    }
}

/// Three significant digits at least, and no more than people read.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

impl Event {
    /// A number that turned.
    pub(crate) fn number(rule: &Rule, seen: &Seen, state: State, raise: f64, now_s: i64) -> Event {
        let clear = rule.band(raise).clear;
        let over = state == State::Cleared;
        let unit_word = match rule.on {
            On::Loss => "%",
            _ => unit(rule.on).unwrap_or_default(),
        };
        let (value, bound) = (number(seen.value), number(if over { clear } else { raise }));
        let network = seen.network_ms.map(|ms| format!("; {} ms of it is the network", number(ms))).unwrap_or_default();
        let usual = match (rule.above_times, seen.usual) {
            (Some(times), Some(usual)) if !over => {
                format!(" ({} times the last day's median is {bound} ms; that was {} ms)", times, number(usual))
            }
            _ => format!(" ({} {bound} {unit_word})", if over { "below" } else { "the bound is" }),
        };
        let who = &seen.worker;
        let sentence = match rule.on {
            On::Silent if over => format!("{who} is heard of again"),
            On::Silent => format!("{who} has not been heard of for {value} s"),
            On::Loss => format!("{who}: {value} % of {} is lost{usual}", seen.what),
            On::Delay => format!("{who}: {} takes {value} ms{usual}; {NOT_TO_DISCORD}", seen.what),
            _ => format!("{who}: {} takes {value} ms{network}{usual}", seen.what),
        };
        Event {
            value: Some(seen.value),
            raise: Some(raise),
            clear: Some(clear),
            unit: unit(rule.on).map(str::to_owned),
            network_ms: seen.network_ms,
            ..Event::new(rule, Some(seen), state, now_s, sentence)
        }
    }

    /// A verdict that changed.
    pub(crate) fn verdict(rule: &Rule, seen: &Seen, state: State, before: &str, now_s: i64) -> Event {
        let said = seen.sentence.clone().unwrap_or_else(|| format!("{}: {} is over", seen.worker, seen.what));
        let was = if before.is_empty() { String::new() } else { format!(" (it was: {before})") };
        Event {
            verdict: Some(seen.word.clone()),
            verdict_before: Some(before.to_owned()).filter(|word| !word.is_empty()),
            ..Event::new(rule, Some(seen), state, now_s, format!("{said}{was}; {NOT_TO_DISCORD}"))
        }
    }

    /// What was raised is not measured any more.
    pub(crate) fn gone(rule: &Rule, subject: &str, now_s: i64) -> Event {
        let sentence = format!("{subject}: not measured any more, so it no longer stands raised");
        Event { what: subject.to_owned(), ..Event::new(rule, None, State::Cleared, now_s, sentence) }
    }

    pub(crate) fn test(rule: &Rule, now_s: i64) -> Event {
        let sentence = format!("A test of the alert '{}': nothing has happened", rule.name);
        Event::new(rule, None, State::Test, now_s, sentence)
    }

    fn new(rule: &Rule, seen: Option<&Seen>, state: State, now_s: i64, sentence: String) -> Event {
        Event {
            schema: SCHEMA.to_owned(),
            alert: rule.name.clone(),
            on: rule.on,
            state,
            at: rfc3339(now_s),
            worker: seen.map(|seen| seen.worker.clone()),
            what: seen.map(|seen| seen.what.clone()).unwrap_or_default(),
            value: None,
            raise: None,
            clear: None,
            unit: None,
            network_ms: None,
            verdict: None,
            verdict_before: None,
            sentence,
        }
    }

    /// The body of the request.
    pub(crate) fn body(&self, format: Format) -> Value {
        match format {
            Format::Json => serde_json::to_value(self).unwrap_or_default(),
            Format::Discord => self.discord(),
        }
    }

    /// Within Discord's limits: a title of 256 characters, a description of 4096, a field's value of 1024.
    fn discord(&self) -> Value {
        let (word, color) = match self.state {
            State::Raised => ("Raised", 0xd9_53_4f),
            State::Changed => ("Changed", 0xe0_9f_3e),
            State::Cleared => ("Over", 0x3f_9b_6b),
            State::Test => ("Test", 0x5b_7d_b1),
        };
        let mut fields = Vec::new();
        let mut field = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                fields.push(json!({"name": name, "value": cut(&escape(&value), 1024), "inline": true}));
            }
        };
        field("Worker", self.worker.as_ref().map(ToString::to_string));
        field("Alert", Some(self.alert.clone()));
        field("Verdict", self.verdict.clone());
        json!({
            "username": "NetLat",
            "allowed_mentions": {"parse": []},
            "embeds": [{
                "title": cut(&escape(&format!("{word}: {}", if self.what.is_empty() { &self.alert } else { &self.what })), 256),
                "description": cut(&escape(&self.sentence), 4096),
                "color": color,
                "timestamp": self.at,
                "fields": fields,
            }],
        })
    }
}

/// Libraries name themselves in records: what they say is text, not Markdown.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '[' | ']' | '#' | '@') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        serde_json::from_str(r#"{"name":"slow","on":"application","url_env":"H","above_ms":300}"#).unwrap()
    }

    #[test]
    fn a_latency_says_how_much_of_it_is_the_network() {
        let seen = Seen {
            subject: "nyc1 rest x".to_owned(),
            worker: "nyc1".parse().unwrap(),
            what: "REST by twilight 0.18".to_owned(),
            value: 412.3,
            usual: None,
            word: String::new(),
            sentence: None,
            network_ms: Some(24.04),
        };
        let event = Event::number(&rule(), &seen, State::Raised, 300.0, 1_790_000_000);
        assert_eq!(
            event.sentence,
            "nyc1: REST by twilight 0.18 takes 412 ms; 24.0 ms of it is the network (the bound is 300 ms)"
        );
        let body = event.body(Format::Json);
        assert_eq!(body["schema"], "netlat.alert/1");
        assert_eq!(body["state"], "raised");
        assert_eq!(body["at"], "2026-09-21T14:13:20Z");
        assert_eq!(body["clear"], 240.0);
    }

    #[test]
    fn what_a_library_calls_itself_mentions_nobody_and_formats_nothing() {
        let mut event = Event::test(&rule(), 0);
        event.sentence = "@everyone *look* <@1> [here](https://example.org)".to_owned() + &"x".repeat(5_000);
        let body = event.body(Format::Discord);
        let description = body["embeds"][0]["description"].as_str().unwrap();
        assert!(description.starts_with(r"\@everyone \*look\* \<\@1\> \[here\](https://example.org)"), "{description}");
        assert_eq!(description.chars().count(), 4096);
        assert_eq!(body["allowed_mentions"]["parse"], json!([]));
    }
}
