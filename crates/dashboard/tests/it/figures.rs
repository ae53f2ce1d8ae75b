//! The figures are those of the samples that were put in.

use model::{Direction, Kind, Sample};
use serde_json::Value;
use store::{Reader, RecordQuery, SampleQuery};

use crate::support::{Site, WORLD};
use crate::world::name;

fn samples(worker: &str, wanted: impl Fn(&Sample) -> bool) -> Vec<Sample> {
    let mut found = Vec::new();
    let query = SampleQuery { worker: Some(name(worker)), ..SampleQuery::default() };
    let reader = Reader::open(WORLD.0.path()).unwrap();
    reader.samples(&query, &mut |_, sample| found.push(*sample)).unwrap();
    found.retain(wanted);
    found
}

/// Covers all of the generated time.
fn everything() -> String {
    let end = WORLD.1.0 / 1_000_000_000;
    format!("since={}&until={}", end - 3 * 3600, end + 120)
}

fn sum(value: &Value) -> u64 {
    value.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum()
}

#[tokio::test]
async fn series_have_every_probe_once_with_exact_ends_and_gaps() {
    let site = Site::new();
    let query = format!("worker=lon1&kind=rtp&direction=up&family=ipv4&classes=0,46&{}", everything());
    let answer = site.get(&format!("/api/v1/view/series?{query}")).await.json();
    for series in answer["series"].as_array().unwrap() {
        let dscp = series["dscp"].as_u64().unwrap() as u8;
        let own = samples("lon1", |sample| {
            sample.kind == Kind::Rtp && sample.direction == Direction::Up && sample.tos_sent.dscp().get() == dscp
        });
        assert!(own.len() > 100);
        assert_eq!(sum(&series["sent"]), own.len() as u64);
        assert_eq!(sum(&series["lost"]), own.iter().filter(|sample| sample.received_at.is_none()).count() as u64);
        let delay = |sample: &Sample| Some(sample.received_at?.since(sample.sent_at));
        let delays: Vec<i64> = own.iter().filter_map(delay).collect();
        let values =
            |name: &str| -> Vec<f64> { series[name].as_array().unwrap().iter().filter_map(Value::as_f64).collect() };
        let ms = |ns: i64| (ns as f64 / 1000.0).round() / 1000.0;
        let least = values("min").into_iter().fold(f64::MAX, f64::min);
        let most = values("max").into_iter().fold(f64::MIN, f64::max);
        assert_eq!((least, most), (ms(*delays.iter().min().unwrap()), ms(*delays.iter().max().unwrap())));
    }
    // Three hours were asked for and two measured: the first buckets are gaps, not zeros.
    let first = &answer["series"][0];
    assert_eq!((first["sent"][0].as_u64(), first["p50"][0].is_null()), (Some(0), true));
    assert_eq!(answer["times"].as_array().unwrap().len(), first["p50"].as_array().unwrap().len());
}

#[tokio::test]
async fn a_short_range_is_drawn_from_samples_to_the_second() {
    let site = Site::new();
    let end = WORLD.1.0 / 60_000_000_000 * 60;
    let query = format!("worker=fra1&kind=rtp&direction=down&family=ipv4&classes=46&since={}&until={end}", end - 600);
    let answer = site.get(&format!("/api/v1/view/series?{query}")).await.json();
    assert_eq!((answer["range"]["period_s"].as_i64(), answer["range"]["step_s"].as_i64()), (Some(0), Some(4)));
    let series = &answer["series"][0];
    let (since, until) = ((end - 600) * 1_000_000_000, end * 1_000_000_000);
    let own = samples("fra1", |sample| {
        (sample.kind, sample.direction, sample.tos_sent.byte()) == (Kind::Rtp, Direction::Down, 0xb8)
            && (since..until).contains(&sample.sent_at.0)
    });
    assert_eq!(sum(&series["sent"]), own.len() as u64);
    // Worker and server have one clock here, and the model finds it within its uncertainty.
    let exact =
        own.iter().filter_map(|sample| Some(sample.received_at?.since(sample.sent_at))).min().unwrap() as f64 / 1e6;
    let column = |name: &str| series[name].as_array().unwrap().iter().filter_map(Value::as_f64).collect::<Vec<_>>();
    let least = column("min").into_iter().fold(f64::MAX, f64::min);
    let uncertain = column("uncertainty").into_iter().fold(0.0, f64::max);
    assert!(uncertain > 0.0 && (least - exact).abs() <= uncertain, "{least} for {exact} +- {uncertain}");
}

#[tokio::test]
async fn classes_have_quantiles_within_a_hundredth() {
    let site = Site::new();
    let answer = site.get(&format!("/api/v1/view/classes?worker=fra1&{}", everything())).await.json();
    let class = answer["classes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|class| class["kind"] == "rtp" && class["direction"] == "down" && class["dscp"] == 46);
    let class = class.unwrap();
    let own = samples("fra1", |sample| {
        sample.kind == Kind::Rtp && sample.direction == Direction::Down && sample.tos_sent.byte() == 0xb8
    });
    let mut delays: Vec<i64> =
        own.iter().filter_map(|sample| Some(sample.received_at?.since(sample.sent_at))).collect();
    delays.sort_unstable();
    for (name, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let exact = delays[((delays.len() as f64 * q).ceil() as usize).max(1) - 1] as f64 / 1e6;
        let found = class["owd_ms"][name].as_f64().unwrap();
        assert!((found - exact).abs() <= exact * 0.011, "{name}: {found} for {exact}");
    }
    assert_eq!(class["sent"].as_u64(), Some(own.len() as u64));
}

#[tokio::test]
async fn marks_have_their_name_and_their_hop() {
    let site = Site::new();
    let of = async |worker: &str, direction: &str| -> Value {
        let answer = site.get(&format!("/api/v1/view/marks?worker={worker}&{}", everything())).await.json();
        let paths = answer["paths"].as_array().unwrap().clone();
        let path = paths.into_iter().find(|path| path["direction"] == direction).unwrap();
        path["remarking"].as_array().unwrap().iter().find(|one| one["kind"] == "rtp").unwrap().clone()
    };
    let bleached = of("nyc1", "up").await;
    assert_eq!(bleached["pathology"], "partial");
    assert_eq!((bleached["where"]["after_hop"].as_u64(), bleached["where"]["by_hop"].as_u64()), (Some(2), Some(3)));
    assert_eq!(of("nyc1", "down").await["pathology"], "none");
    assert_eq!(of("ams3", "down").await["pathology"], "bleach-tos-precedence");
    assert_eq!(of("fra1", "up").await["pathology"], "none");
}

#[tokio::test]
async fn the_city_of_the_policer_says_so() {
    let site = Site::new();
    let answer = site.get("/api/v1/view/cities").await.json();
    let cities = answer["cities"].as_array().unwrap();
    assert_eq!(cities.len(), 6);
    let of = |name: &str| cities.iter().find(|city| city["name"] == name).unwrap();
    let sentence = of("lon1")["sentence"].as_str().unwrap();
    assert!(sentence.contains("EF from lon1 is policed at 313 kbit/s"), "{sentence}");
    assert!(of("ams3")["sentence"].as_str().unwrap().contains("bleach-tos-precedence"), "{}", of("ams3"));
    assert_eq!((of("tor1")["marks"].as_array().unwrap().len(), of("tor1")["state"].as_str()), (0, Some("measuring")));
    let change = &answer["changes"][0];
    assert_eq!(
        (change["worker"].as_str(), change["from"].as_str(), change["to"].as_str()),
        (Some("lon1"), Some("none"), Some("policed"))
    );
}

#[tokio::test]
async fn applications_are_the_records_and_voice_has_its_host() {
    let site = Site::new();
    let answer = site.get(&format!("/api/v1/view/applications?worker=sfo1&metric=rest&{}", everything())).await.json();
    let groups = answer["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 3, "three libraries");
    let group = groups.iter().find(|group| group["library"] == "twilight 0.18").unwrap();
    let mut own = Vec::new();
    let query = RecordQuery { worker: Some(name("sfo1")), ..RecordQuery::default() };
    let reader = Reader::open(WORLD.0.path()).unwrap();
    reader
        .records(&query, &mut |record| {
            if record.measured.metric == model::Metric::Rest && record.instrument.library == "twilight 0.18" {
                own.push(record);
            }
            true
        })
        .unwrap();
    assert_eq!(group["samples"].as_u64(), Some(own.len() as u64));
    let mut app: Vec<u64> = own.iter().filter_map(|record| record.measured.app_us).collect();
    app.sort_unstable();
    assert_eq!(group["unanswered"].as_u64(), Some((own.len() - app.len()) as u64));
    let exact = app[app.len().div_ceil(2) - 1] as f64 / 1e3;
    let found = group["app_ms"]["p50"].as_f64().unwrap();
    assert!((found - exact).abs() <= exact * 0.011, "{found} for {exact}");
    assert_eq!(group["app_ms"]["max"].as_f64(), Some(app[app.len() - 1] as f64 / 1e3));

    let media = site.get(&format!("/api/v1/view/media?worker=sfo1&{}", everything())).await.json();
    let of = |host: &str, source: &str| {
        let hosts = media["hosts"].as_array().unwrap();
        hosts.iter().find(|one| one["host"] == host && one["source"] == source).cloned().unwrap_or_default()
    };
    let given = of("c-fra04-1a2b3c4d.discord.media:8443", "voice_server_update");
    assert_eq!(given["city"].as_str(), Some("frankfurt"));
    assert!(given["udp_ms"].as_f64().unwrap() > 0.0 && given["icmp_ms"].is_null());
    // What was looked up is pinged: one row, with the time the programs waited (4 to 7 ms), not the worker's own (0.9 ms).
    let seen = of("c-fra04-1a2b3c4d.discord.media", "dns");
    assert!((4.0..7.1).contains(&seen["dns_ms"].as_f64().unwrap()), "{seen}");
    assert!(seen["icmp_ms"].as_f64().unwrap() > 0.0 && seen["voice_ms"].is_null());
    let told = of("rotterdam1234.discord.media:443", "configured");
    assert!((0.9..1.1).contains(&told["dns_ms"].as_f64().unwrap()), "{told}");
    assert_eq!(media["hosts"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn files_hold_the_samples_of_the_range() {
    let site = Site::new();
    let minutes = format!("since={}&until={}", WORLD.1.0 / 60_000_000_000 * 60 - 600, WORLD.1.0 / 60_000_000_000 * 60);
    let csv = site.get(&format!("/api/v1/view/samples?worker=tor1&format=csv&{minutes}")).await.text();
    let rows = csv.lines().count() as u64 - 1;
    let parquet = site.get(&format!("/api/v1/view/samples?worker=tor1&format=parquet&{minutes}")).await;
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    // Ten minutes, four kinds, four classes, three probes a minute, both ways; what straddles an edge may be in or out.
    assert!((900..=970).contains(&rows), "{rows}");
    let day = site.get("/api/v1/view/samples?worker=tor1&format=csv&since=0&until=1000000").await;
    assert_eq!(day.status, 400);
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let site = Site::new();
    let text = site.get("/metrics").await.text();
    assert!(text.ends_with("# EOF\n"));
    assert!(
        text.contains(
            "netlat_verdict{worker=\"lon1\",direction=\"up\",family=\"ipv4\",class=\"EF\",verdict=\"policed\"} 1"
        ),
        "{text}"
    );
    assert!(text.contains(
        "netlat_application_seconds{worker=\"nyc1\",library=\"twilight 0.18\",metric=\"rest\",quantile=\"0.5\"}"
    ));
    let mut families = std::collections::BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(families.insert(name), "{name} is there twice");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (labelled, value) = line.rsplit_once(' ').unwrap();
        let name = labelled.split('{').next().unwrap();
        assert!(families.contains(name.trim_end_matches("_total")) || families.contains(name), "{line}");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
    }
}
