//! The contract's lines (`legion/CONTRACT.md`, version 1): what a bot says, read with suspicion, and what it is told. A bot is a program of
//! somebody else's library: its lines are bounded, and what makes no sense is refused.

use std::time::Duration;

use discord::recorder::near_interval;
use model::{Measurement, Metric, UnixNanos};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) const VERSION: u64 = 1;
pub(crate) const LONGEST_LINE: usize = 4_096;
/// Latencies from here on are a mistake of somebody's.
const LONGEST_MS: f64 = 600_000.0;

/// What a bot said.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Hello(Hello),
    Ready {},
    Measured(Measured),
    Posted { id: String },
    Failed { id: String, problem: String },
    Fatal { why: String, problem: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Hello {
    pub contract: u64,
    pub library: String,
    pub version: String,
    pub language: String,
    pub runtime: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Measured {
    pub metric: Metric,
    pub at_ns: i64,
    #[serde(default)]
    pub app_ms: Option<f64>,
    #[serde(default)]
    pub own: Option<Value>,
    #[serde(default)]
    pub own_ms: Option<f64>,
    #[serde(default)]
    pub interval_ms: Option<f64>,
    #[serde(default)]
    pub flags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotALine {
    #[error("no line of the contract: {0}")]
    Unreadable(String),
    #[error("a metric that bots of the Legion do not measure: {0}")]
    OtherMetric(Metric),
    #[error("a latency or a time that cannot be")]
    Implausible,
}

/// Text of a bot, for logs and messages.
pub(crate) fn printable(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

pub(crate) fn read(line: &str) -> Result<Line, NotALine> {
    let line: Line =
        serde_json::from_str(line).map_err(|error| NotALine::Unreadable(printable(&error.to_string(), 120)))?;
    if let Line::Measured(measured) = &line {
        if !matches!(measured.metric, Metric::GatewayHeartbeat | Metric::Rest | Metric::MessageEcho) {
            return Err(NotALine::OtherMetric(measured.metric));
        }
        let is_span = |ms: Option<f64>| ms.is_none_or(|ms| (0.0..LONGEST_MS).contains(&ms));
        if !is_span(measured.app_ms) || !is_span(measured.own_ms) || !is_span(measured.interval_ms) {
            return Err(NotALine::Implausible);
        }
    }
    Ok(line)
}

/// What a bot is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order<'a> {
    Post { id: &'a str, content: &'a str },
    Stop {},
}

impl Order<'_> {
    pub(crate) fn line(&self) -> String {
        // Plain data with string keys: writing it cannot fail.
        format!("{}\n", serde_json::to_string(self).unwrap_or_default())
    }
}

impl Measured {
    /// The record's part that the bot knows; the traps of its library are flagged.
    pub(crate) fn record(&self) -> Measurement {
        let mut record = Measurement::new(self.metric, UnixNanos(self.at_ns));
        let us = |ms: f64| (ms * 1e3).round() as u64;
        for flag in self.flags.iter().take(4) {
            record.flag(&printable(flag, 32));
        }
        record.library_us = self.own_ms.map(us);
        record.app_us = self.app_ms.or(self.own_ms).map(us);
        if self.app_ms.is_none() && self.own_ms.is_some() {
            record.flag("library-only");
        }
        if let Some(app) = self.app_ms {
            record.sent_us = Some(record.at_us);
            record.received_us = Some(record.at_us.saturating_add(us(app) as i64));
        }
        if let Some(word) = self.own.as_ref().filter(|_| self.own_ms.is_none()).and_then(trap) {
            record.flag(word);
        }
        // The library's own, or by how much it exceeds the raw one.
        let span = |ms: f64| Duration::from_secs_f64(ms.max(0.0) / 1e3);
        let exceeds = self.own_ms.zip(self.app_ms).map(|(own, app)| own - app);
        let interval = span(self.interval_ms.unwrap_or(0.0));
        if [self.own_ms, self.app_ms, exceeds].into_iter().flatten().any(|ms| near_interval(span(ms), interval)) {
            record.flag("near-interval");
        }
        if record.app_us.is_none() && record.flags.is_empty() {
            record.flag("no-value");
        }
        if self.metric == Metric::Rest {
            record.target = "GET /channels/{}".to_owned();
        } else if self.metric == Metric::MessageEcho {
            record.target = "POST /channels/{}/messages".to_owned();
        }
        record
    }
}

/// Values that libraries give before, or instead of, a latency.
fn trap(own: &Value) -> Option<&'static str> {
    match own {
        Value::Number(number) if number.as_f64() == Some(-1.0) => Some("library-minus-one"),
        Value::Number(number) if number.as_f64().is_some_and(|value| value < 0.0) => Some("library-negative"),
        Value::String(text) => match text.to_ascii_lowercase().trim_start_matches('-') {
            "inf" | "infinity" => Some("library-infinite"),
            "nan" => Some("library-not-a-number"),
            _ => None,
        },
        _ => None,
    }
}

/// At most so many lines a second are read of one bot.
pub(crate) const MOST_LINES: u32 = 100;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(text: &str) -> Measurement {
        let Line::Measured(measured) = read(text).unwrap() else { panic!("{text}") };
        let record = measured.record();
        assert_eq!(record.check(), Ok(()), "{text}");
        record
    }

    /// The lines that the contract prints.
    #[test]
    fn the_contracts_own_lines_are_read() {
        let contract = include_str!("../../../legion/CONTRACT.md");
        let lines: Vec<&str> = contract.lines().filter_map(|line| line.strip_prefix("    {")).collect();
        let said: Vec<Line> = lines.iter().filter_map(|line| read(&format!("{{{line}")).ok()).collect();
        assert_eq!(said.len(), 6, "{said:?}");
        let Line::Hello(hello) = &said[0] else { panic!("hello comes first") };
        assert_eq!((hello.contract, hello.runtime.as_str()), (VERSION, "CPython 3.11.7"));
        for order in [Order::Post { id: "17", content: "..." }, Order::Stop {}] {
            let line: Value = serde_json::from_str(&order.line()).unwrap();
            let told = lines.iter().filter_map(|line| serde_json::from_str::<Value>(&format!("{{{line}")).ok());
            assert!(told.into_iter().any(|told| told == line), "{line}");
        }
    }

    #[test]
    fn the_traps_of_libraries_are_flagged_and_not_averaged() {
        let of = |rest: &str| {
            measured(&format!(r#"{{"measured":{{"metric":"gateway_heartbeat","at_ns":1790000000000000000,{rest}}}}}"#))
        };
        let sound = of(r#""app_ms":31.25,"own":0.03125,"own_ms":31.25,"interval_ms":41250"#);
        assert_eq!((sound.app_us, sound.library_us, sound.flags.len()), (Some(31_250), Some(31_250), 0));
        assert_eq!(sound.received_us.unwrap() - sound.sent_us.unwrap(), 31_250);
        for (own, flag) in [
            ("-1", "library-minus-one"),
            ("-41213.5", "library-negative"),
            ("\"inf\"", "library-infinite"),
            ("\"NaN\"", "library-not-a-number"),
        ] {
            let trapped = of(&format!(r#""app_ms":30,"own":{own},"own_ms":null"#));
            assert_eq!(
                (trapped.app_us, trapped.library_us, trapped.flags),
                (Some(30_000), None, vec![flag.to_owned()])
            );
        }
        // The library counted from the heartbeat before (discord.py 2.7.1).
        let late = of(r#""app_ms":30,"own":41.28,"own_ms":41280,"interval_ms":41250"#);
        assert_eq!(late.flags, ["near-interval"]);
        let only = of(r#""own":31,"own_ms":31"#);
        assert_eq!((only.app_us, only.flags), (Some(31_000), vec!["library-only".to_owned()]));
        assert_eq!(of(r#""app_ms":null"#).flags, ["no-value"]);
        assert_eq!(of(r#""app_ms":null,"flags":["timeout"]"#).flags, ["timeout"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "",
            "hello",
            r#"{"measured":{}}"#,
            r#"{"measured":{"metric":"voice_heartbeat","at_ns":1,"app_ms":1}}"#,
            r#"{"measured":{"metric":"rest","at_ns":1,"app_ms":-1}}"#,
            r#"{"measured":{"metric":"rest","at_ns":1,"app_ms":1e300}}"#,
            r#"{"measured":{"metric":"rest","at_ns":1e30,"app_ms":1}}"#,
            r#"{"surplus":{}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let hostile = measured(
            r#"{"measured":{"metric":"rest","at_ns":1790000000000000000,"app_ms":1,"flags":["a","b","c","d","e"]}}"#,
        );
        assert_eq!(hostile.flags.len(), 4);
    }
}
