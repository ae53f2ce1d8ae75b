//! `[[alert]]` of the configuration: what is watched, from when on it is worth a message, and whom to tell.

use std::path::PathBuf;

use measure::alert::Band;
use model::{Direction, Kind, Metric, WorkerName};
use serde::{Deserialize, Serialize};

/// What a rule watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// The verdicts of running workers on how the path treats a class.
    Verdict,
    /// Median latency of Discord's API as a bot sees it, over five minutes.
    Application,
    /// Median one-way delay of a class, over five minutes.
    Delay,
    /// Share of a class's probes that were lost, over five minutes.
    Loss,
    /// A worker that has not been heard of.
    Silent,
}

impl On {
    pub const fn name(self) -> &'static str {
        match self {
            On::Verdict => "verdict",
            On::Application => "application",
            On::Delay => "delay",
            On::Loss => "loss",
            On::Silent => "silent",
        }
    }
}

/// The body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `netlat.alert/1`.
    #[default]
    Json,
    /// A message as Discord's webhooks take it.
    Discord,
}

/// A rule as it is written down.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// 1 to 40 of `a-z 0-9 -`.
    pub name: String,
    pub on: On,
    /// The webhook's URL is a secret, so it comes from a file or an environment variable.
    pub url_file: Option<PathBuf>,
    pub url_env: Option<String>,
    #[serde(default)]
    pub format: Format,
    /// Only this worker.
    pub worker: Option<WorkerName>,
    /// Of `application`: only this metric.
    pub metric: Option<Metric>,
    /// Of `delay` and `loss`: the kind of probes (udp if left out), DSCP (0 if left out) and direction (both).
    pub kind: Option<Kind>,
    pub dscp: Option<u8>,
    pub direction: Option<Direction>,
    /// Of `application` and `delay`: milliseconds ...
    pub above_ms: Option<f64>,
    /// ... or this many times the median of the last day.
    pub above_times: Option<f64>,
    /// Of `loss`.
    pub above_percent: Option<f64>,
    /// Of `silent`: seconds.
    pub above_s: Option<f64>,
    /// Over again below this share of the bound.
    #[serde(default = "share")]
    pub clear_below: f64,
    /// So long it must be beyond the bound, and so long below it to be over. Of verdicts 0, for they are sure already.
    pub for_s: Option<u32>,
    pub clear_for_s: Option<u32>,
}

const fn share() -> f64 {
    0.8
}

/// A rule contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("alert '{name}': {what}")]
pub struct InvalidRule {
    pub name: String,
    pub what: String,
}

impl Rule {
    /// The first thing wrong with the rule by itself.
    pub fn check(&self) -> Result<(), InvalidRule> {
        let wrong = |what: &str| Err(InvalidRule { name: self.name.clone(), what: what.to_owned() });
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty() || self.name.len() > 40 || !self.name.bytes().all(word) {
            return wrong("a name has 1 to 40 of a-z, 0-9 and '-'");
        }
        if self.url_file.is_some() == self.url_env.is_some() {
            return wrong("give url_file or url_env, one of them: the webhook's URL is a secret");
        }
        let given = [
            ("above_ms", self.above_ms, matches!(self.on, On::Application | On::Delay)),
            ("above_times", self.above_times, matches!(self.on, On::Application | On::Delay)),
            ("above_percent", self.above_percent, self.on == On::Loss),
            ("above_s", self.above_s, self.on == On::Silent),
        ];
        if let Some((name, ..)) = given.iter().find(|(_, value, fits)| value.is_some() && !fits) {
            return wrong(&format!("{name} does not go with on = \"{}\"", self.on.name()));
        }
        let bounds: Vec<f64> = given.iter().filter_map(|(_, value, _)| *value).collect();
        let wanted = usize::from(self.on != On::Verdict);
        if bounds.len() != wanted {
            return wrong(match self.on {
                On::Verdict => "verdicts have no bound",
                On::Application | On::Delay => "give above_ms or above_times, one of them",
                On::Loss => "give above_percent",
                On::Silent => "give above_s",
            });
        }
        if bounds.iter().any(|bound| !bound.is_finite() || *bound <= 0.0 || *bound > 1e7) {
            return wrong("a bound is above 0 and at most 10000000");
        }
        if self.above_times.is_some_and(|times| times <= 1.0) {
            return wrong("above_times is more than 1");
        }
        if self.above_percent.is_some_and(|percent| percent > 100.0) {
            return wrong("above_percent is at most 100");
        }
        if !(0.0..=1.0).contains(&self.clear_below) {
            return wrong("clear_below lies between 0 and 1");
        }
        if self.for_s.into_iter().chain(self.clear_for_s).any(|s| s > 86_400) {
            return wrong("for_s and clear_for_s are at most 86400");
        }
        let classes = matches!(self.on, On::Delay | On::Loss);
        if !classes && (self.kind.is_some() || self.dscp.is_some()) {
            return wrong("kind and dscp go with on = \"delay\" or \"loss\"");
        }
        if !classes && self.on != On::Verdict && self.direction.is_some() {
            return wrong("direction goes with on = \"delay\", \"loss\" or \"verdict\"");
        }
        if self.on != On::Application && self.metric.is_some() {
            return wrong("metric goes with on = \"application\"");
        }
        if self.metric.is_some_and(|metric| !metric.is_application()) {
            return wrong("media_dns and media_ping are no application's latencies");
        }
        if self.dscp.is_some_and(|dscp| dscp > 63) {
            return wrong("dscp is at most 63");
        }
        Ok(())
    }

    /// The bound without what is usual: `None` where it is relative.
    pub(crate) fn bound(&self) -> Option<f64> {
        match self.on {
            On::Verdict => Some(0.5),
            On::Application | On::Delay => self.above_ms,
            On::Loss => self.above_percent,
            On::Silent => self.above_s,
        }
    }

    pub(crate) fn band(&self, raise: f64) -> Band {
        let (raise_after, clear_after) = match self.on {
            // Evidence was gathered before a verdict changed; silence is a time already.
            On::Verdict | On::Silent => (0, 0),
            _ => (300, 600),
        };
        Band {
            raise,
            clear: if self.on == On::Verdict { raise } else { raise * self.clear_below },
            raise_after_s: self.for_s.map_or(raise_after, i64::from),
            clear_after_s: self.clear_for_s.map_or(clear_after, i64::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let good = rule(r#"{"name":"slow","on":"application","url_env":"HOOK","above_ms":300,"metric":"rest"}"#);
        good.check().unwrap();
        assert_eq!(good.band(300.0), Band { raise: 300.0, clear: 240.0, raise_after_s: 300, clear_after_s: 600 });
        let media = rule(r#"{"name":"far","on":"application","url_env":"HOOK","above_ms":300,"metric":"media_ping"}"#);
        assert!(media.check().unwrap_err().to_string().contains("no application"));
        let wrong = |text: &str| rule(text).check().unwrap_err().to_string();
        assert!(wrong(r#"{"name":"a","on":"loss","url_env":"H","above_ms":3}"#).contains("above_ms does not go with"));
        assert!(wrong(r#"{"name":"a","on":"loss","url_env":"H"}"#).contains("give above_percent"));
        assert!(wrong(r#"{"name":"a","on":"loss","above_percent":3}"#).contains("url_file or url_env"));
        assert!(wrong(r#"{"name":"A b","on":"verdict","url_env":"H"}"#).contains("a name has"));
        assert!(
            wrong(r#"{"name":"a","on":"delay","url_env":"H","above_ms":3,"above_times":2}"#).contains("one of them")
        );
        assert!(wrong(r#"{"name":"a","on":"silent","url_env":"H","above_s":60,"dscp":46}"#).contains("kind and dscp"));
        assert!(wrong(r#"{"name":"a","on":"delay","url_env":"H","above_times":1}"#).contains("more than 1"));
        assert!(serde_json::from_str::<Rule>(r#"{"name":"a","on":"delay","url":"https://x"}"#).is_err());
    }
}
