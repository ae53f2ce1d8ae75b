//! Order statistics of records against values worked out by hand.

use measure::applications::Applications;
use model::report::MediaSource;
use model::{BootId, Instrument, Measurement, Metric, Record, RecordId, UnixNanos, WorkerName};

fn record(counter: u64, app_ms: Option<u64>, network_ms: Option<u64>) -> Record {
    let at = UnixNanos(1_790_000_000_000_000_000);
    let mut measured = Measurement::new(Metric::Rest, at);
    measured.app_us = app_ms.map(|ms| ms * 1000);
    measured.network_us = network_ms.map(|ms| ms * 1000);
    if app_ms.is_none() {
        measured.flag("timeout");
    }
    Record {
        id: RecordId { worker: WorkerName::new("nyc1").unwrap(), boot: BootId(1), counter },
        instrument: Instrument { library: "x 1".into(), language: "rust".into(), version: "0".into() },
        measured,
    }
}

#[test]
fn overhead_is_of_each_exchange_and_not_of_the_medians() {
    let mut all = Applications::default();
    // Application 100, 10, 50 beside network 90, 1, 2: overheads 10, 9, 48; medians 50 and 2 would say 48.
    for (n, (app, network)) in [(100, 90), (10, 1), (50, 2)].into_iter().enumerate() {
        all.add(&record(n as u64 + 1, Some(app), Some(network)));
    }
    all.add(&record(4, None, None));
    let (applications, media) = all.finish(&|_| None);
    assert!(media.is_empty());
    let [application] = applications.as_slice() else { panic!("{applications:?}") };
    assert_eq!(application.samples, 4);
    assert_eq!(application.app_ms.map(|app| (app.p50, app.p95)), Some((50.0, 100.0)));
    assert_eq!(application.network_ms.map(|network| (network.p50, network.min)), Some((2.0, 1.0)));
    assert_eq!(application.overhead_ms.map(|overhead| overhead.p50), Some(10.0));
    assert_eq!(application.flags, ["timeout"]);
}

#[test]
fn unanswered_exchanges_leave_no_latency() {
    let mut all = Applications::default();
    all.add(&record(1, None, Some(3)));
    let (applications, _) = all.finish(&|_| None);
    assert_eq!((applications[0].app_ms, applications[0].overhead_ms), (None, None));
    assert_eq!(applications[0].network_ms.map(|network| network.min), Some(3.0));
}

/// A media host is known from where it was learned: a worker's DNS, its configuration, or a bot's own voice.
#[test]
fn media_hosts_are_told_apart_by_who_learned_of_them() {
    let mut all = Applications::default();
    let ping = |n, library: &str, target: &str, flag: Option<&str>| {
        let mut ping = record(n, None, None);
        ping.instrument.library = library.to_owned();
        ping.measured.metric = Metric::MediaPing;
        ping.measured.target = target.to_owned();
        ping.measured.connect_us = Some(n * 1000);
        ping.measured.flags.clear();
        flag.into_iter().for_each(|flag| ping.measured.flag(flag));
        ping
    };
    let worker = model::record::WORKER_LIBRARY;
    all.add(&ping(1, worker, "newark1.discord.media", Some("port-2053")));
    all.add(&ping(2, worker, "newark1.discord.media:443", Some("configured")));
    all.add(&ping(3, "twilight 0.18", "newark1.discord.media:8443", None));
    let (applications, media) = all.finish(&|_| None);
    assert!(applications.is_empty(), "they time no application");
    let mut seen: Vec<_> = media.iter().map(|one| (one.tcp_ms, one.source)).collect();
    seen.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap());
    assert_eq!(
        seen,
        [
            (Some(1.0), MediaSource::Dns),
            (Some(2.0), MediaSource::Configured),
            (Some(3.0), MediaSource::VoiceServerUpdate)
        ]
    );
    assert!(media.iter().all(|one| one.host == "newark1.discord.media"));
}
