//! `/media`: the media (voice) hosts that one city's bot was given, or that its programs looked up, or that it was told to
//! ping: when they changed, and how far they are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use model::Metric;
use model::report::MediaSource;
use serde::Serialize;
use store::{DelaySketch, RecordRollupQuery, RecordTally};

use super::classes::Of;
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, ms, worker};

/// As of the applications: heartbeats are few.
const BUCKETS: i64 = 96;

#[derive(Serialize)]
pub(crate) struct Answer {
    range: Range,
    times: Vec<i64>,
    /// In the order in which they were first used.
    hosts: Vec<Host>,
}

#[derive(Serialize)]
struct Host {
    /// `HOST:PORT` of an own bot's, else the name.
    host: String,
    city: Option<String>,
    source: MediaSource,
    /// First and last bucket with a measurement, in seconds.
    first: i64,
    last: i64,
    samples: u64,
    /// Medians in milliseconds; null where it was not measured.
    voice_ms: Option<f64>,
    tcp_ms: Option<f64>,
    udp_ms: Option<f64>,
    dns_ms: Option<f64>,
    icmp_ms: Option<f64>,
    series: Series,
}

#[derive(Serialize)]
struct Series {
    samples: Vec<u64>,
    voice_p50: Vec<Option<f64>>,
    tcp_p50: Vec<Option<f64>>,
    udp_p50: Vec<Option<f64>>,
    dns_p50: Vec<Option<f64>>,
    icmp_p50: Vec<Option<f64>>,
}

pub(crate) async fn media(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Json<Answer>, Refusal> {
    let parts = &dashboard.0.parts;
    let (range, city) = (Range::with_buckets(asked, parts.clock.now(), BUCKETS)?, parts.media_city);
    let worker = worker(&of.worker)?;
    let hosts = dashboard.read(move |reader| {
        let mut hosts: BTreeMap<(String, MediaSource), Vec<RecordTally>> = BTreeMap::new();
        for metric in [Metric::VoiceHeartbeat, Metric::MediaDns, Metric::MediaPing] {
            let query = RecordRollupQuery {
                period: range.period(),
                worker: Some(worker.clone()),
                since: range.since_ns(),
                until: range.until_ns(),
                metric: Some(metric),
            };
            let mut looked_up: Vec<String> = hosts.keys().map(|(name, _)| name.clone()).collect();
            looked_up.sort();
            reader.record_rollups(&query, &mut |mut rollup| {
                let source = match metric {
                    Metric::VoiceHeartbeat => MediaSource::VoiceServerUpdate,
                    // A bot pings on where it was in voice.
                    Metric::MediaPing if !model::record::is_worker(&rollup.library) => MediaSource::VoiceServerUpdate,
                    // What was seen is pinged by its name alone, since its port was not.
                    Metric::MediaPing if measure::applications::host_of(&rollup.place) != rollup.place => {
                        MediaSource::Configured
                    }
                    _ => MediaSource::Dns,
                };
                if metric == Metric::MediaPing
                    && source == MediaSource::Dns
                    && looked_up.binary_search(&rollup.place).is_ok()
                {
                    // What the programs of the host waited for is the better figure.
                    rollup.tally.dns = DelaySketch::default();
                }
                let key = (rollup.place, source);
                let buckets = hosts.entry(key).or_insert_with(|| vec![RecordTally::default(); range.buckets()]);
                if let Some(bucket) = range.bucket(rollup.start) {
                    buckets[bucket].merge(&rollup.tally);
                }
            })?;
        }
        let mut hosts: Vec<Host> = hosts
            .into_iter()
            .filter_map(|((name, source), buckets)| host(name, source, &buckets, &range, city))
            .collect();
        hosts.sort_by_key(|host| host.first);
        Ok(hosts)
    });
    Ok(Json(Answer { range, times: range.times(), hosts: hosts.await? }))
}

fn host(
    name: String,
    source: MediaSource,
    buckets: &[RecordTally],
    range: &Range,
    city: fn(&str) -> Option<String>,
) -> Option<Host> {
    let mut all = RecordTally::default();
    buckets.iter().for_each(|tally| all.merge(tally));
    let median = |sketch: &DelaySketch| sketch.quantile(0.5).map(ms);
    let column = |of: fn(&RecordTally) -> &DelaySketch| buckets.iter().map(|tally| median(of(tally))).collect();
    let start = |index: usize| range.since + index as i64 * range.step_s;
    Some(Host {
        city: city(measure::applications::host_of(&name)),
        host: name,
        source,
        first: start(buckets.iter().position(|tally| tally.samples > 0)?),
        last: start(buckets.iter().rposition(|tally| tally.samples > 0)?),
        samples: all.samples,
        voice_ms: median(&all.app),
        tcp_ms: median(&all.connect),
        udp_ms: median(&all.udp),
        dns_ms: median(&all.dns),
        icmp_ms: median(&all.icmp),
        series: Series {
            samples: buckets.iter().map(|tally| tally.samples).collect(),
            voice_p50: column(|tally| &tally.app),
            tcp_p50: column(|tally| &tally.connect),
            udp_p50: column(|tally| &tally.udp),
            dns_p50: column(|tally| &tally.dns),
            icmp_p50: column(|tally| &tally.icmp),
        },
    })
}
