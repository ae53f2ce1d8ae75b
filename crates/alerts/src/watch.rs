//! What a rule's things are worth now: read from the sums of the last five whole minutes, as `/metrics` has them.

use std::collections::BTreeMap;

use model::{Ecn, Kind, Metric, Tos, UnixNanos, WorkerName};
use store::{Period, Reader, RecordRollupQuery, RecordTally, RollupQuery, Stated, StoreError, Tally};

use crate::rule::{On, Rule};

const WINDOW_S: i64 = 300;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// A median of fewer says little.
const FEWEST_RECORDS: u64 = 3;
const FEWEST_DELAYS: u64 = 20;
/// Of fewer probes a single one lost would be several per cent.
const FEWEST_PROBES: u64 = 100;
/// What is usual is known from so many measurements.
const FEWEST_USUAL: u64 = 50;

/// One thing of a rule, now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Stable over time, within a rule.
    pub subject: String,
    pub worker: WorkerName,
    /// In words: `REST by twilight 0.18`, `EF up over IPv4 (rtp)`.
    pub what: String,
    /// In the unit of [`Rule::bound`]: ms, per cent, s; of a verdict 1 for a finding, else 0.
    pub value: f64,
    /// In the same unit: the median of the last day without the last hour.
    pub usual: Option<f64>,
    /// A verdict's name, and a sentence that says it.
    pub word: String,
    pub sentence: Option<String>,
    /// The network's part of a latency, in ms.
    pub network_ms: Option<f64>,
}

fn seen(subject: String, worker: &WorkerName, what: String, value: f64) -> Seen {
    let worker = worker.clone();
    Seen { subject, worker, what, value, usual: None, word: String::new(), sentence: None, network_ms: None }
}

fn at(seconds: i64) -> UnixNanos {
    UnixNanos(seconds.saturating_mul(1_000_000_000))
}

/// Everything that a rule watches and that there is a number of.
/// `listening_s`: since when this server could hear of workers.
pub(crate) fn look(reader: &Reader, rule: &Rule, now_s: i64, listening_s: i64) -> Result<Vec<Seen>, StoreError> {
    let mut all = match rule.on {
        On::Verdict => verdicts(reader, rule)?,
        On::Application => applications(reader, rule, now_s)?,
        On::Delay | On::Loss => classes(reader, rule, now_s)?,
        On::Silent => silent(reader, rule, now_s, listening_s)?,
    };
    all.retain(|seen| rule.worker.as_ref().is_none_or(|worker| *worker == seen.worker));
    Ok(all)
}

/// `inconclusive` and `void` are no news either way: such a verdict is not among them.
fn verdicts(reader: &Reader, rule: &Rule) -> Result<Vec<Seen>, StoreError> {
    let mut all = Vec::new();
    for row in reader.verdicts(rule.worker.as_ref())? {
        if rule.direction.is_some_and(|direction| direction != row.direction) {
            continue;
        }
        let path = format!("{} {} {}", row.worker, row.direction, row.family);
        let one = match &row.stated {
            Stated::Entry(entry) => {
                let what = measure::words::what(&entry.subject, &entry.control);
                let finding = entry.verdict.is_finding();
                if !finding && entry.verdict != model::report::Verdict::None {
                    continue;
                }
                // By itself, for two comparisons may have the same words.
                let key = serde_json::to_string(&(&entry.subject, &entry.control)).unwrap_or_default();
                Seen {
                    word: entry.verdict.name().to_owned(),
                    sentence: Some(measure::words::sentence(&row.worker, row.direction, entry)),
                    ..seen(
                        format!("{path} {key}"),
                        &row.worker,
                        format!("{what} {} over {}", row.direction, row.family),
                        f64::from(u8::from(finding)),
                    )
                }
            }
            Stated::RateLimit(limit) => Seen {
                word: if limit.is_some() { "limited" } else { "none" }.to_owned(),
                sentence: limit.as_ref().map(measure::words::shared_limit),
                ..seen(
                    format!("{path} rate-limit"),
                    &row.worker,
                    format!("a limit that all classes share, {} over {}", row.direction, row.family),
                    f64::from(u8::from(limit.is_some())),
                )
            },
        };
        all.push(one);
    }
    Ok(all)
}

type Groups = BTreeMap<(WorkerName, Metric, String), RecordTally>;

fn records(reader: &Reader, rule: &Rule, period: Period, since_s: i64, until_s: i64) -> Result<Groups, StoreError> {
    let query = RecordRollupQuery {
        period,
        worker: rule.worker.clone(),
        since: at(since_s),
        until: at(until_s),
        metric: rule.metric,
    };
    let mut groups = Groups::new();
    reader.record_rollups(&query, &mut |rollup| {
        groups.entry((rollup.worker, rollup.metric, rollup.library)).or_default().merge(&rollup.tally);
    })?;
    Ok(groups)
}

fn ms(ns: f64) -> f64 {
    ns / 1e6
}

fn applications(reader: &Reader, rule: &Rule, now_s: i64) -> Result<Vec<Seen>, StoreError> {
    let until = now_s.div_euclid(60) * 60;
    let now = records(reader, rule, Period::Minute, until - WINDOW_S, until)?;
    let usual = match rule.above_times {
        Some(_) => records(reader, rule, Period::Hour, until - DAY_S - HOUR_S, until - HOUR_S)?,
        None => Groups::new(),
    };
    let one = |(key, tally): (&(WorkerName, Metric, String), &RecordTally)| {
        let (worker, metric, library) = key;
        let value = tally.app.quantile(0.5).filter(|_| tally.app.count() >= FEWEST_RECORDS)?;
        let before = usual.get(key).filter(|tally| tally.app.count() >= FEWEST_USUAL);
        Some(Seen {
            usual: before.and_then(|tally| tally.app.quantile(0.5)).map(ms),
            network_ms: tally.network.quantile(0.5).map(ms),
            ..seen(
                format!("{worker} {metric} {library}"),
                worker,
                format!("{} by {library}", named(*metric)),
                ms(value),
            )
        })
    };
    Ok(now.iter().filter_map(one).collect())
}

fn named(metric: Metric) -> &'static str {
    match metric {
        Metric::GatewayHeartbeat => "the gateway's heartbeat",
        Metric::Rest => "REST",
        Metric::MessageEcho => "a message's echo",
        Metric::Interaction => "an interaction",
        Metric::VoiceHeartbeat => "the voice gateway's heartbeat",
        Metric::MediaDns => "a media host's name",
        Metric::MediaPing => "a media host",
    }
}

type Classes = BTreeMap<(WorkerName, model::Direction, model::Family), Tally>;

fn sums(reader: &Reader, rule: &Rule, period: Period, since_s: i64, until_s: i64) -> Result<Classes, StoreError> {
    // What was checked is at most 63.
    let dscp = model::Dscp::new(rule.dscp.unwrap_or(0)).unwrap_or_default();
    let query = RollupQuery {
        worker: rule.worker.clone(),
        since: Some(at(since_s)),
        until: Some(at(until_s)),
        kinds: vec![rule.kind.unwrap_or(Kind::Udp)],
        direction: rule.direction,
        classes: vec![Tos::new(dscp, Ecn::NotEct)],
        without_delays: rule.on == On::Loss,
        ..RollupQuery::all(period)
    };
    let mut classes = Classes::new();
    reader.rollups(&query, &mut |rollup| {
        classes.entry((rollup.worker, rollup.direction, rollup.family)).or_default().merge(&rollup.tally);
    })?;
    Ok(classes)
}

fn classes(reader: &Reader, rule: &Rule, now_s: i64) -> Result<Vec<Seen>, StoreError> {
    let until = now_s.div_euclid(60) * 60;
    let now = sums(reader, rule, Period::Minute, until - WINDOW_S, until)?;
    let usual = match rule.above_times {
        Some(_) => sums(reader, rule, Period::Hour, until - DAY_S - HOUR_S, until - HOUR_S)?,
        None => Classes::new(),
    };
    let name = measure::words::class_name(rule.dscp.unwrap_or(0), 0);
    let kind = rule.kind.unwrap_or(Kind::Udp);
    let one = |(key, tally): (&(WorkerName, model::Direction, model::Family), &Tally)| {
        let (worker, direction, family) = key;
        let value = match rule.on {
            On::Loss if tally.sent >= FEWEST_PROBES => 100.0 * tally.lost as f64 / tally.sent as f64,
            On::Delay if tally.delay.count() >= FEWEST_DELAYS => ms(tally.delay.quantile(0.5)?),
            _ => return None,
        };
        let before = usual.get(key).filter(|tally| tally.delay.count() >= FEWEST_USUAL);
        Some(Seen {
            usual: before.and_then(|tally| tally.delay.quantile(0.5)).map(ms),
            ..seen(
                format!("{worker} {direction} {family}"),
                worker,
                format!("{name} {direction} over {family} ({kind})"),
                value,
            )
        })
    };
    Ok(now.iter().filter_map(one).collect())
}

/// Workers that have joined for good; an ephemeral one is meant to go. Nobody was silent while this server was not there to hear: one that
/// was last heard of before its start is known to be silent only once it had as much time as the rule allows.
fn silent(reader: &Reader, rule: &Rule, now_s: i64, listening_s: i64) -> Result<Vec<Seen>, StoreError> {
    let bound = rule.bound().unwrap_or(0.0);
    let one = |row: store::WorkerRow| {
        let seen_s = row.seen_at.filter(|_| !row.ephemeral)?.0.div_euclid(1_000_000_000);
        let is_known = seen_s >= listening_s || (now_s - listening_s) as f64 >= bound;
        let silent = (now_s - seen_s).max(0) as f64;
        is_known.then(|| seen(row.name.to_string(), &row.name, "the worker".to_owned(), silent))
    };
    Ok(reader.workers()?.into_iter().filter_map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Store, StoreOptions, WorkerRow};

    #[test]
    fn a_server_that_was_away_does_not_call_its_workers_silent() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        for (name, seen_s, ephemeral) in [("nyc1", 1_000, false), ("ams3", 5_010, false), ("probe", 1_000, true)] {
            let worker = WorkerRow {
                name: name.parse().unwrap(),
                version: String::new(),
                ephemeral,
                joined_at: at(0),
                seen_at: Some(at(seen_s)),
                waiting_bytes: None,
            };
            store.put_worker(&worker).unwrap();
        }
        let rule: Rule = serde_json::from_str(r#"{"name":"away","on":"silent","url_env":"H","above_s":300}"#).unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        let look = |now_s| -> Vec<(String, f64)> {
            let seen = look(&reader, &rule, now_s, 5_000).unwrap();
            seen.into_iter().map(|seen| (seen.subject, seen.value)).collect()
        };
        assert_eq!(look(5_070), [("ams3".to_owned(), 60.0)]);
        assert_eq!(look(5_300), [("ams3".to_owned(), 290.0), ("nyc1".to_owned(), 4_300.0)]);
    }
}
