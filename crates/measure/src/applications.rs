//! Application latency beside network latency, from records: order statistics by worker, library and metric.

// A value, of core; sockets are of std.
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use model::report::{AppLatency, Application, Media, MediaSource, NetworkLatency, Overhead};
use model::{Measurement, Metric, Record, WorkerName};

/// Sums up records as they come, in any order.
#[derive(Debug, Default)]
pub struct Applications {
    groups: BTreeMap<(WorkerName, String, String, Metric), Group>,
    media: BTreeMap<(WorkerName, String, MediaSource), MediaGroup>,
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
    samples: u64,
    /// Lookups of the host's programs, and the worker's own.
    seen: Vec<u64>,
    dns: Vec<u64>,
    icmp: Vec<u64>,
    tcp: Vec<u64>,
    udp: Vec<u64>,
    resolvers: BTreeSet<IpAddr>,
    addresses: BTreeSet<IpAddr>,
    flags: BTreeSet<String>,
}

/// Of one host in the report.
const MOST_ADDRESSES: usize = 32;

impl MediaGroup {
    fn add(&mut self, measured: &Measurement) {
        self.samples += 1;
        let dns = if measured.metric == Metric::MediaDns { &mut self.seen } else { &mut self.dns };
        dns.extend(measured.dns_us);
        self.icmp.extend(measured.icmp_us);
        self.tcp.extend(measured.connect_us);
        self.udp.extend(measured.udp_us);
        self.resolvers.extend(measured.resolver);
        for address in &measured.addresses {
            if self.addresses.len() < MOST_ADDRESSES {
                self.addresses.insert(*address);
            }
        }
        self.flags.extend(measured.flags.iter().cloned());
    }

    fn finish(mut self, worker: WorkerName, host: String, source: MediaSource, city: Option<String>) -> Media {
        let lookups = if self.seen.is_empty() { &mut self.dns } else { &mut self.seen };
        Media {
            worker,
            host,
            city,
            source,
            dns_ms: nearest_rank(lookups, 0.5).map(ms),
            icmp_ms: nearest_rank(&mut self.icmp, 0.5).map(ms),
            tcp_ms: nearest_rank(&mut self.tcp, 0.5).map(ms),
            udp_ms: nearest_rank(&mut self.udp, 0.5).map(ms),
            samples: self.samples,
            resolvers: self.resolvers.into_iter().collect(),
            addresses: self.addresses.into_iter().collect(),
            flags: self.flags.into_iter().collect(),
        }
    }
}

/// `HOST` of `HOST:PORT`, `[IPV6]:PORT` and `HOST`.
pub fn host_of(target: &str) -> &str {
    let host = match target.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => target,
    };
    host.trim_start_matches('[').trim_end_matches(']')
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
        let source = match measured.metric {
            Metric::VoiceHeartbeat => Some(MediaSource::VoiceServerUpdate),
            // A bot pings on where it was in voice.
            Metric::MediaPing if !model::record::is_worker(&record.instrument.library) => {
                Some(MediaSource::VoiceServerUpdate)
            }
            Metric::MediaPing if measured.flags.iter().any(|flag| flag == "configured") => {
                Some(MediaSource::Configured)
            }
            Metric::MediaPing | Metric::MediaDns => Some(MediaSource::Dns),
            Metric::GatewayHeartbeat | Metric::Rest | Metric::MessageEcho | Metric::Interaction => None,
        };
        if let Some(source) = source.filter(|_| !measured.target.is_empty()) {
            let key = (record.id.worker.clone(), host_of(&measured.target).to_owned(), source);
            self.media.entry(key).or_default().add(measured);
        }
        if !measured.metric.is_application() {
            return;
        }
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
        let media = self.media.into_iter().map(|((worker, host, source), group)| {
            let city = city(&host);
            group.finish(worker, host, source, city)
        });
        (applications.collect(), media.collect())
    }
}
