//! Server and probe over both families: what the report says of a path that changes nothing, and what export writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::serving::{Reach, Server, streams};
use crate::support::{Ended, Scene, ended};

const DATAGRAMS: [&str; 3] = ["rtp", "udp", "dns"];
const CONNECTIONS: [&str; 2] = ["http", "tls"];
const PATHOLOGIES: [&str; 11] = [
    "none",
    "bleach-dscp",
    "bleach-tos-precedence",
    "bleach-some-tos",
    "remark-tos",
    "bleach-low",
    "bleach-some-low",
    "remark-dscp",
    "partial",
    "unstable",
    "inconclusive",
];
const ECN: [&str; 8] =
    ["none", "bleached", "ect1-to-ect0", "ce-forced", "ce-stripped", "ect-dropped", "unsupported", "inconclusive"];

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is a list in {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is text in {value}"))
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is a count in {value}"))
}

/// Design section 3: these keys and no fewer, whether or not they have a value.
fn has_keys(value: &Value, keys: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("an object: {value}"));
    let missing: Vec<&&str> = keys.iter().filter(|key| !object.contains_key(**key)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value}");
}

fn check_shape(report: &Value) {
    has_keys(report, &["schema", "generated_at", "paths", "applications", "media"]);
    assert_eq!(report["schema"], "netlat.report/1");
    let at = text(report, "generated_at");
    assert!(at.len() == 20 && at.ends_with('Z') && at.as_bytes()[10] == b'T', "RFC 3339: {at}");
    for path in list(report, "paths") {
        has_keys(
            path,
            &[
                "worker",
                "direction",
                "family",
                "from",
                "to",
                "clock",
                "classes",
                "remarking",
                "differentiation",
                "rate_limit",
            ],
        );
        assert!(["up", "down", "round-trip"].contains(&text(path, "direction")));
        assert!(["ipv4", "ipv6"].contains(&text(path, "family")));
        if !path["clock"].is_null() {
            has_keys(&path["clock"], &["offset_ms", "uncertainty_ms", "skew_ppm", "method", "steps"]);
        }
        for class in list(path, "classes") {
            has_keys(
                class,
                &[
                    "kind",
                    "dscp",
                    "ecn",
                    "sent",
                    "received",
                    "lost",
                    "duplicated",
                    "reordered",
                    "owd_ms",
                    "owd_uncertainty_ms",
                    "ipdv_ms",
                    "rtt_ms",
                ],
            );
            assert_eq!(number(class, "sent"), number(class, "received") + number(class, "lost"), "{class}");
            for quantiles in ["owd_ms", "rtt_ms"] {
                let quantiles = &class[quantiles];
                if !quantiles.is_null() {
                    let values =
                        ["min", "p50", "p95", "p99", "max"].map(|key| quantiles[key].as_f64().expect("a number"));
                    assert!(values.is_sorted(), "{class}");
                }
            }
            if class["owd_ms"].is_null() || class["rtt_ms"].is_null() || class["ipdv_ms"].is_null() {
                assert!(!text(class, "reason").is_empty(), "null has a reason: {class}");
            }
        }
        for remarking in list(path, "remarking") {
            has_keys(remarking, &["kind", "pathology", "map", "ecn", "ecn_map", "flags", "where", "reason"]);
            assert!(PATHOLOGIES.contains(&text(remarking, "pathology")), "{remarking}");
            assert!(ECN.contains(&text(remarking, "ecn")), "{remarking}");
            list(remarking, "map").iter().for_each(|entry| has_keys(entry, &["dscp_sent", "dscp_received", "count"]));
            list(remarking, "ecn_map").iter().for_each(|entry| has_keys(entry, &["ecn_sent", "ecn_received", "count"]));
            if text(remarking, "pathology") == "inconclusive" {
                assert!(!text(remarking, "reason").is_empty(), "{remarking}");
            }
        }
    }
}

/// One path of a report, by direction and family.
fn path<'a>(report: &'a Value, direction: &str, family: &str) -> &'a Value {
    let wanted = |path: &&Value| path["direction"] == direction && path["family"] == family;
    let mut found = list(report, "paths").iter().filter(wanted);
    let path = found.next().unwrap_or_else(|| panic!("no {direction} {family} in {report}"));
    assert!(found.next().is_none(), "{direction} {family} is there twice");
    path
}

fn remarking<'a>(path: &'a Value, kind: &str) -> &'a Value {
    list(path, "remarking")
        .iter()
        .find(|remarking| remarking["kind"] == kind)
        .unwrap_or_else(|| panic!("{kind} in {path}"))
}

/// Every mark arrived as it was sent, and each that was sent is there.
fn assert_identity(remarking: &Value, expected_dscp: &[u64]) {
    assert_eq!(remarking["pathology"], "none", "{remarking}");
    let sent: BTreeSet<u64> = list(remarking, "map").iter().map(|entry| number(entry, "dscp_sent")).collect();
    assert_eq!(sent.into_iter().collect::<Vec<_>>(), expected_dscp, "{remarking}");
    for entry in list(remarking, "map") {
        assert_eq!(entry["dscp_sent"], entry["dscp_received"], "{remarking}");
    }
    for entry in list(remarking, "ecn_map") {
        assert_eq!(entry["ecn_sent"], entry["ecn_received"], "{remarking}");
    }
}

fn report_of(ended: Ended) -> Value {
    let value = serde_json::from_str(&ended.succeeded().stdout).expect("one JSON document");
    check_shape(&value);
    value
}

#[test]
fn a_probe_over_both_families_reports_every_kind_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let server = Server::start(&scene, Reach::Both);
    let join = scene.path("many.join");
    fs::write(&join, server.fresh_join(&scene, true)).expect("written");
    let from_file = format!("@{}", join.display());
    let before: BTreeSet<_> = files(&scene);
    let probe = |extra: &[&str]| {
        let mut arguments = vec!["probe", "--join", &from_file, "--dscp", "0,46", "--json", "--fail-on-finding"];
        arguments.extend(extra);
        arguments.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    let all = "rtp,http,dns,udp,tls,icmp";
    let measured = scene.run(probe(&["--kind", all, "--ecn", "all", "--direction", "both", "--duration", "5"]));
    assert!(measured.stderr.lines().all(|line| line.starts_with("netlat: ")), "progress only: {measured:?}");
    let report = report_of(measured);

    for family in ["ipv4", "ipv6"] {
        let address = if family == "ipv4" { "127.0.0.1" } else { "::1" };
        for direction in ["up", "down"] {
            let path = path(&report, direction, family);
            assert_eq!((text(path, "from"), text(path, "to")), (address, address));
            assert!(!path["clock"].is_null());
            let mut classes: BTreeMap<&str, BTreeSet<(u64, u64)>> = BTreeMap::new();
            for class in list(path, "classes") {
                let own = classes.entry(text(class, "kind")).or_default();
                assert!(own.insert((number(class, "dscp"), number(class, "ecn"))), "{class} is there twice");
                assert!(
                    number(class, "sent") > 0 && number(class, "lost") == 0 && number(class, "duplicated") == 0,
                    "{class}"
                );
                assert!(!class["owd_ms"].is_null() && !class["owd_uncertainty_ms"].is_null(), "{class}");
            }
            let every =
                |ecn: u64| [0, 46].into_iter().flat_map(move |dscp| (0..ecn).map(move |ecn| (dscp, ecn))).collect();
            let expected: BTreeMap<&str, BTreeSet<(u64, u64)>> = DATAGRAMS
                .into_iter()
                .map(|kind| (kind, every(4)))
                .chain(CONNECTIONS.into_iter().map(|kind| (kind, every(1))))
                .collect();
            assert_eq!(classes, expected, "{direction} {family}");
            for kind in DATAGRAMS {
                let remarking = remarking(path, kind);
                assert_identity(remarking, &[0, 46]);
                assert_eq!(remarking["ecn"], "none", "{remarking}");
                assert_eq!(list(remarking, "ecn_map").len(), 4, "{remarking}");
                assert!(list(remarking, "flags").is_empty(), "{remarking}");
            }
            for kind in CONNECTIONS {
                let remarking = remarking(path, kind);
                assert_eq!(remarking["ecn"], "unsupported", "{remarking}");
                match (direction, family) {
                    ("down", "ipv4") => {
                        assert_eq!(remarking["pathology"], "inconclusive", "no socket shows it: {remarking}");
                        assert!(list(remarking, "map").is_empty() && text(remarking, "reason").contains("--interface"));
                    }
                    ("up", "ipv4") => {
                        assert_identity(remarking, &[0, 46]);
                        assert_eq!(remarking["flags"], serde_json::json!(["syn-only"]));
                    }
                    _ => assert_identity(remarking, &[0, 46]),
                }
            }
        }
        let untested: Vec<&str> = list(&report, "untested").iter().filter_map(Value::as_str).collect();
        let refused = untested.iter().any(|line| line.contains(family) && line.contains("ping_group_range"));
        if !refused {
            let path = path(&report, "round-trip", family);
            let icmp = list(path, "classes");
            assert_eq!(icmp.len(), 2, "{path}");
            for class in icmp {
                assert!(class["kind"] == "icmp" && number(class, "lost") == 0 && class["owd_ms"].is_null(), "{class}");
                assert!(!class["rtt_ms"].is_null(), "{class}");
            }
            assert_eq!(remarking(path, "icmp")["pathology"], "inconclusive");
        }
    }

    for direction in ["up", "down"] {
        let report = report_of(scene.run(probe(&[
            "--kind",
            "rtp,udp,dns,http,tls",
            "--direction",
            direction,
            "--duration",
            "3",
        ])));
        for path in list(&report, "paths") {
            assert_eq!(path["direction"], direction, "{path}");
            for class in list(path, "classes") {
                assert!(number(class, "sent") > 0 && number(class, "lost") == 0, "{class}");
            }
        }
        let expected: BTreeSet<&str> = DATAGRAMS.into_iter().chain(CONNECTIONS).collect();
        for family in ["ipv4", "ipv6"] {
            let classes = list(path(&report, direction, family), "classes").iter();
            assert_eq!(classes.map(|class| text(class, "kind")).collect::<BTreeSet<_>>(), expected);
        }
    }

    let after = files(&scene);
    let new: Vec<_> = after.difference(&before).filter(|path| !path.starts_with(&server.data)).collect();
    assert!(new.is_empty(), "the probe left {new:?}");
}

#[test]
fn without_the_right_to_send_echoes_icmp_is_untested_and_the_rest_is_measured() {
    let scene = Scene::new();
    let server = Server::start(&scene, Reach::V4);
    let join = server.fresh_join(&scene, false);
    let arguments = ["probe", "--join", &join, "--kind", "icmp,udp", "--duration", "2", "--json"];
    let report = report_of(ended(scene.netlat_unprivileged(arguments)));
    assert_identity(remarking(path(&report, "up", "ipv4"), "udp"), &[0, 34, 46, 54]);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").expect("readable");
    let ids: Vec<u64> = range.split_whitespace().filter_map(|id| id.parse().ok()).collect();
    let untested = list(&report, "untested");
    if ids[0] > ids[1] {
        assert_eq!(untested.len(), 1, "{untested:?}");
        let line = untested[0].as_str().expect("text");
        assert!(line.contains("icmp") && line.contains("net.ipv4.ping_group_range"), "{line}");
        assert!(list(&report, "paths").iter().all(|path| path["direction"] != "round-trip"));
    } else {
        assert_eq!(number(&list(path(&report, "round-trip", "ipv4"), "classes")[0], "lost"), 0);
    }
}

#[test]
fn report_and_export_agree_in_every_format() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::Both);
    let join = server.fresh_join(&scene, true);
    for name in ["fra1", "nyc1"] {
        let arguments =
            ["probe", "--join", &join, "--name", name, "--kind", "rtp,dns,http", "--duration", "2", "--json"];
        report_of(scene.run(arguments));
    }
    for running in [true, false] {
        if !running {
            server.interrupt();
        }
        let counts: Vec<u64> = ["csv", "jsonl", "parquet"]
            .into_iter()
            .map(|format| {
                let out = scene.path(&format!("samples.{format}"));
                let out = out.to_str().expect("UTF-8");
                let told = server.ask(&scene, &["export", "--format", format, "--out", out]).succeeded();
                told.one_line().split(' ').next().and_then(|count| count.parse().ok()).expect("a count")
            })
            .collect();
        let rows = server.samples(&scene);
        assert_eq!(counts, [rows.len() as u64; 3]);
        streams(&rows);

        let csv = fs::read_to_string(scene.path("samples.csv")).expect("readable");
        let mut lines = csv.lines();
        let header = lines.next().expect("a header");
        assert_eq!(
            header,
            "worker,session,sequence,kind,direction,family,tos_sent,tos_received,sent_at_ns,received_at_ns,ttl,size,flags"
        );
        let shown = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
        let expected: BTreeSet<String> = rows
            .iter()
            .map(|row| {
                let start = format!(
                    "{},{},{},{},{},{},{}",
                    row.worker, row.session, row.sequence, row.kind, row.direction, row.family, row.tos_sent
                );
                let mark = shown(row.tos_received.map(i64::from));
                let end = format!(
                    "{},{},{},{}",
                    shown(row.received_at_ns),
                    shown(row.ttl.map(i64::from)),
                    row.size,
                    row.flags
                );
                format!("{start},{mark},{},{end}", row.sent_at_ns)
            })
            .collect();
        assert_eq!(lines.map(str::to_owned).collect::<BTreeSet<_>>(), expected);
        let parquet = fs::read(scene.path("samples.parquet")).expect("readable");
        assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));

        // The report's counts are those of the samples.
        let mut sent: BTreeMap<(String, String, String, String, u8), u64> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.kind != "clock") {
            let key = (row.worker.clone(), row.direction.clone(), row.family.clone(), row.kind.clone(), row.tos_sent);
            *sent.entry(key).or_default() += 1;
        }
        let mut told = BTreeMap::new();
        for path in server.report(&scene).paths {
            for class in path.classes {
                let key = (
                    path.worker.to_string(),
                    path.direction.to_string(),
                    path.family.to_string(),
                    class.kind.to_string(),
                    class.dscp << 2 | class.ecn,
                );
                told.insert(key, class.sent);
            }
        }
        assert_eq!(told, sent);
        let one = server.ask(&scene, &["export", "--format", "csv", "--out", "-", "--worker", "fra1"]).succeeded();
        let own = rows.iter().filter(|row| row.worker == "fra1").count();
        assert_eq!(one.stdout.lines().count() - 1, own);
        assert!(own > 0 && own < rows.len());
    }
}

fn files(scene: &Scene) -> BTreeSet<std::path::PathBuf> {
    let mut found = BTreeSet::new();
    let mut pending = vec![scene.path("")];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}
