//! Application latency beside network latency, from records: order statistics by worker, library and metric.

use std::collections::{BTreeMap, BTreeSet};

use model::report::{AppLatency, Application, Media, MediaSource, NetworkLatency, Overhead};
use model::{Metric, Record, WorkerName};

/// Sums up records as they come, in any order.
#[derive(Debug, Default)]
pub struct Applications {
    groups: BTreeMap<(WorkerName, String, String, Metric), Group>,
    media: BTreeMap<(WorkerName, String), MediaGroup>,
}

#[derive(Debug, Default)]
struct Group {
    samples: u64,
    app: Vec<u64>,
    network: Vec<u64>,
    overhead: Vec<i64>,
    flags: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct MediaGroup {
    tcp: Vec<u64>,
    udp: Vec<u64>,
}

/// The value at rank `ceil(p * n)`, counted from 1; `None` of nothing.
fn nearest_rank<T: Copy + Ord>(values: &mut [T], p: f64) -> Option<T> {
    values.sort_unstable();
    let rank = (p * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

impl Applications {
    pub fn add(&mut self, record: &Record) {
        let measured = &record.measured;
        let key = (
            record.id.worker.clone(),
            record.instrument.library.clone(),
            record.instrument.language.clone(),
            measured.metric,
        );
        let group = self.groups.entry(key).or_default();
        group.samples += 1;
        // Each in as few bytes as the statistics need: a day of fifty workers stays in tens of megabytes.
        group.app.extend(measured.app_us);
        let network = measured.network_us.or(measured.connect_us);
        group.network.extend(network);
        if let (Some(app), Some(network)) = (measured.app_us, network) {
            group.overhead.push(app as i64 - network as i64);
        }
        for flag in &measured.flags {
            if !group.flags.contains(flag) {
                group.flags.insert(flag.clone());
            }
        }
        if measured.metric == Metric::VoiceHeartbeat && !measured.target.is_empty() {
            let media = self.media.entry((record.id.worker.clone(), measured.target.clone())).or_default();
            media.tcp.extend(measured.connect_us);
            media.udp.extend(measured.udp_us);
        }
    }

    /// Sorted by worker, library, language and metric. `city` names the city of a media host.
    pub fn finish(self, city: &dyn Fn(&str) -> Option<String>) -> (Vec<Application>, Vec<Media>) {
        let applications = self.groups.into_iter().map(|((worker, library, language, metric), mut group)| {
            let app = nearest_rank(&mut group.app, 0.5).zip(nearest_rank(&mut group.app, 0.95));
            let network = nearest_rank(&mut group.network, 0.5).zip(group.network.iter().min().copied());
            Application {
                worker,
                library,
                language,
                metric,
                app_ms: app.map(|(p50, p95)| AppLatency { p50: ms(p50), p95: ms(p95) }),
                network_ms: network.map(|(p50, min)| NetworkLatency { p50: ms(p50), min: ms(min) }),
                overhead_ms: nearest_rank(&mut group.overhead, 0.5).map(|p50| Overhead { p50: p50 as f64 / 1000.0 }),
                samples: group.samples,
                flags: group.flags.into_iter().collect(),
            }
        });
        let media = self.media.into_iter().map(|((worker, target), mut group)| {
            let host = target.rsplit_once(':').map_or(target.as_str(), |(host, _)| host).to_owned();
            Media {
                worker,
                city: city(&host),
                host,
                source: MediaSource::VoiceServerUpdate,
                dns_ms: None,
                icmp_ms: None,
                tcp_ms: nearest_rank(&mut group.tcp, 0.5).map(ms),
                udp_ms: nearest_rank(&mut group.udp, 0.5).map(ms),
            }
        });
        (applications.collect(), media.collect())
    }
}
