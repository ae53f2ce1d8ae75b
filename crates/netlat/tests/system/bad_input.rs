//! Every mistake and every refusal of the system: one line that names what it is about, no panic, the right exit status.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::serving::{Reach, Server, worker};
use crate::support::{Ended, Ports, Scene, ended, eventually};

const FAILED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);

/// The error is the last line; a probe's progress may stand before it.
fn check(case: &str, ended: &Ended, status: Option<i32>, about: &[&str]) {
    assert_eq!(ended.status, status, "{case}: {ended:?}");
    assert_eq!(ended.stdout, "", "{case}: {ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_else(|| panic!("{case}: nothing on stderr"));
    for line in ended.stderr.lines() {
        assert!(line.starts_with("netlat: ") && !line.contains("panicked"), "{case}: {ended:?}");
    }
    let progress =
        ended.stderr.lines().filter(|line| ["netlat: joining", "netlat: opening sessions"].contains(line)).count();
    assert_eq!(ended.stderr.lines().count() - progress, 1, "{case}: {ended:?}");
    for word in about {
        assert!(last.contains(word), "{case}: '{word}' is not in '{last}'");
    }
    // A library's message that quotes its cause, and then the cause again.
    let mut parts: Vec<&str> = last.split(": ").collect();
    let all = parts.len();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), all, "{case} says something twice: {last}");
}

fn fake_join(port: u16) -> String {
    format!("netlat://127.0.0.1:{port}/{}#{}", "a".repeat(26), "0".repeat(64))
}

#[test]
fn mistakes_on_the_command_line() {
    let scene = Scene::new();
    let join = fake_join(9);
    let probe = |rest: &[&str]| -> Vec<String> {
        ["probe", "--join", &join].iter().chain(rest).map(ToString::to_string).collect()
    };
    let plain = |words: &[&str]| -> Vec<String> { words.iter().map(ToString::to_string).collect() };
    fs::write(scene.path("bad.toml"), "[server]\nlisten = \"nowhere\"\n").expect("written");
    fs::write(scene.path("unknown.toml"), "[server]\nprot = 1\n").expect("written");
    fs::write(scene.path("garbage.join"), "garbage\n").expect("written");
    let cases: Vec<(Vec<String>, Option<i32>, &[&str])> = vec![
        (plain(&["--nope"]), USAGE, &["--nope"]),
        (plain(&["frobnicate"]), USAGE, &["frobnicate"]),
        (probe(&["--kind", "rtp,foo"]), USAGE, &["foo", "rtp"]),
        (probe(&["--kind", "stamp"]), USAGE, &["netlat stamp"]),
        (probe(&["--dscp", "64"]), USAGE, &["--dscp 64", "63"]),
        (probe(&["--dscp", "EF,XY"]), USAGE, &["--dscp XY"]),
        (probe(&["--dscp", ""]), USAGE, &["--dscp"]),
        (probe(&["--ecn", "4"]), USAGE, &["--ecn 4", "3"]),
        (probe(&["--direction", "sideways"]), USAGE, &["sideways", "both"]),
        (probe(&["--rate", "0"]), USAGE, &["rate"]),
        (probe(&["--rate", "nan"]), USAGE, &["rate"]),
        (probe(&["--rate", "fast"]), USAGE, &["fast"]),
        (probe(&["--size", "10"]), USAGE, &["10", "48"]),
        (probe(&["--duration", "0"]), USAGE, &["--duration"]),
        (probe(&["--family", "5"]), USAGE, &["--family"]),
        (probe(&["--sni", ""]), USAGE, &["server name"]),
        (plain(&["probe", "--join", "garbage"]), USAGE, &["--join", "netlat://"]),
        (plain(&["probe", "--join", "@garbage.join"]), USAGE, &["netlat://"]),
        (plain(&["worker", "--data-dir", "w", "--join", "garbage"]), USAGE, &["--join", "netlat://"]),
        (plain(&["worker", "--data-dir", "w", "--join", &join[..40]]), USAGE, &["token"]),
        (
            plain(&["worker", "--data-dir", "w", "--join", join.split('#').next().expect("text")]),
            USAGE,
            &["fingerprint", "quote"],
        ),
        (plain(&["probe", "--join", "@nowhere.join"]), FAILED, &["nowhere.join", "No such file"]),
        (plain(&["worker", "--name", "a b"]), USAGE, &["a b"]),
        (plain(&["server", "--listen", "nonsense"]), USAGE, &["nonsense"]),
        (plain(&["server", "--probe-port", "0"]), USAGE, &["--probe-port"]),
        (plain(&["server", "--certificate", "x"]), USAGE, &["--key"]),
        (plain(&["server", "task", "add", "--kind", "rtp", "--dscp", "99", "--data-dir", "s"]), USAGE, &["--dscp 99"]),
        (plain(&["report", "--since", "yesterday", "--data-dir", "s"]), USAGE, &["yesterday", "15m"]),
        (plain(&["report", "--worker", "x y"]), USAGE, &["x y"]),
        (plain(&["export", "--format", "xml", "--out", "x"]), USAGE, &["xml", "parquet"]),
        (plain(&["export", "--format", "csv"]), USAGE, &["--out"]),
        (plain(&["stamp", "127.0.0.1:9", "--dscp", "77"]), USAGE, &["--dscp 77"]),
        (plain(&["stamp", "127.0.0.1:9", "--rate", "0"]), USAGE, &["rate"]),
        (plain(&["--config", "nowhere.toml", "report"]), FAILED, &["nowhere.toml"]),
        (plain(&["--config", "bad.toml", "report"]), FAILED, &["bad.toml", "line 2"]),
        (plain(&["--config", "unknown.toml", "report"]), FAILED, &["unknown.toml", "prot"]),
    ];
    for (arguments, status, about) in &cases {
        check(&arguments.join(" "), &scene.run(arguments), *status, about);
    }
    let left: Vec<_> =
        fs::read_dir(scene.path("")).expect("readable").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left.len(), 3, "a mistake makes no files: {left:?}");
}

#[test]
fn nobody_there_and_nothing_stored() {
    let scene = Scene::new();
    let closed = Ports::free();
    let join = fake_join(closed.control);
    let address = format!("127.0.0.1:{}", closed.control);
    check("probe", &scene.run(["probe", "--join", &join]), FAILED, &[&address, "Connection refused"]);
    check("probe without a string", &scene.run(["probe"]), FAILED, &["netlat server join"]);
    let unresolved = join.replace("127.0.0.1", "nowhere.invalid");
    check("no such name", &scene.run(["probe", "--join", &unresolved]), FAILED, &["nowhere.invalid"]);
    check(
        "worker without a string",
        &scene.run(["worker", "--data-dir", "w"]),
        FAILED,
        &["no credential", "netlat server join"],
    );
    fs::create_dir(scene.path("broken")).expect("a directory");
    let credential = scene.path("broken/credential.json");
    fs::write(&credential, "{").expect("written");
    fs::set_permissions(&credential, fs::Permissions::from_mode(0o600)).expect("chmod");
    check(
        "damaged credential",
        &scene.run(["worker", "--data-dir", "broken"]),
        FAILED,
        &["credential.json", "join again"],
    );
    // A worker tries for a while: the server may be starting.
    let tried = scene.run(["worker", "--data-dir", "w", "--join", &join]);
    assert_eq!(tried.status, FAILED, "{tried:?}");
    assert!(tried.stderr.lines().last().is_some_and(|line| line.starts_with("netlat: cannot reach")), "{tried:?}");
    assert!(!tried.stderr.contains("panicked"));

    fs::create_dir(scene.path("empty")).expect("a directory");
    fs::write(scene.path("file"), "text").expect("written");
    for dir in ["empty", "nowhere", "file"] {
        check(dir, &scene.run(["report", "--data-dir", dir]), FAILED, &["no NetLat data", dir]);
        let export = ["export", "--format", "csv", "--out", "x.csv", "--data-dir", dir];
        check(dir, &scene.run(export), FAILED, &["no NetLat data", dir]);
        check(dir, &scene.run(["server", "join", "--data-dir", dir]), FAILED, &["server.json"]);
    }
    assert!(!scene.path("x.csv").exists() && !scene.path("nowhere").exists());
    check("a file as data directory", &scene.run(["server", "--data-dir", "file"]), FAILED, &["file"]);
    let certificate = ["server", "--data-dir", "s", "--certificate", "nowhere.pem", "--key", "nowhere.key"];
    check("certificate", &scene.run(certificate), FAILED, &["nowhere.pem"]);
    let certificate = ["server", "--data-dir", "s", "--certificate", "file", "--key", "file"];
    check("certificate", &scene.run(certificate), FAILED, &["file", "certificate"]);
}

#[test]
fn ports_and_interfaces_that_cannot_be_had() {
    let scene = Scene::new();
    let ports = Ports::free();
    let server = |rest: &[&str]| -> Vec<String> {
        let listen = format!("127.0.0.1:{}", ports.control);
        let probe = ports.probe.to_string();
        let words = ["server", "--listen", &listen, "--probe-port", &probe, "--data-dir", "s"];
        words.iter().chain(rest).map(ToString::to_string).collect()
    };
    let tcp = |port: u16| TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let udp = |port: u16| UdpSocket::bind(("127.0.0.1", port)).expect("a free port");
    let shown = |port: u16| format!("127.0.0.1:{port}");
    let held = tcp(ports.control);
    check("control", &scene.run(server(&[])), FAILED, &[&shown(ports.control), "in use"]);
    drop(held);
    for port in [ports.probe, ports.probe + 1] {
        let held = udp(port);
        check("probe UDP", &scene.run(server(&[])), FAILED, &[&shown(port), "in use", "taken"]);
        drop(held);
    }
    let held = tcp(ports.probe);
    check("probe TCP", &scene.run(server(&[])), FAILED, &[&shown(ports.probe), "in use", "taken"]);
    drop(held);
    let elsewhere = ["server", "--listen", "192.0.2.1:8443", "--data-dir", "s"];
    check("address", &scene.run(elsewhere), FAILED, &["192.0.2.1:8443", "no interface"]);
    let low = ["server", "--listen", "127.0.0.1:99", "--data-dir", "s"];
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("readable");
    if first.trim().parse::<u16>().is_ok_and(|first| first > 99) {
        check("low port", &ended(scene.netlat_unprivileged(low)), FAILED, &["127.0.0.1:99", "CAP_NET_BIND_SERVICE"]);
    }

    let join = fake_join(9);
    let missing = ["--interface", "nope0"];
    check("server", &scene.run(server(&missing)), FAILED, &["nope0", "lo"]);
    let worker = ["worker", "--data-dir", "w", "--join", &join, "--interface"];
    check("worker", &scene.run(worker.iter().chain(&["nope0"])), FAILED, &["nope0", "lo"]);
    check("worker", &ended(scene.netlat_unprivileged(worker.iter().chain(&["lo"]))), FAILED, &["lo", "CAP_NET_RAW"]);
    let denied = ended(scene.netlat_unprivileged(server(&["--interface", "lo"])));
    check("server", &denied, FAILED, &["lo", "CAP_NET_RAW"]);
    // Nothing of it holds: the same server starts without the interface.
    let running = Server::start(&scene, Reach::V4);
    let join = running.fresh_join(&scene, true);
    let probe = ["probe", "--join", &join, "--duration", "1", "--interface"];
    check("probe", &ended(scene.netlat_unprivileged(probe.iter().chain(&["lo"]))), FAILED, &["lo", "CAP_NET_RAW"]);
    check("probe", &scene.run(probe.iter().chain(&["nope0"])), FAILED, &["nope0"]);
}

/// SQLite keeps `user_version` in the file's header, big-endian.
fn set_schema_version(database: &Path, version: u32) {
    let mut bytes = fs::read(database).expect("a database");
    bytes[60..64].copy_from_slice(&version.to_be_bytes());
    fs::write(database, bytes).expect("written");
}

#[test]
fn data_directories_that_are_not_this_programs_to_write() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let free = Ports::free();
    let data = server.data.display().to_string();
    let (listen, probe) = (format!("127.0.0.1:{}", free.control), free.probe.to_string());
    let start =
        |data: &str| ["server", "--listen", &listen, "--probe-port", &probe, "--data-dir", data].map(str::to_owned);
    check("in use", &scene.run(start(&data)), FAILED, &["in use", &data]);
    let join = server.join();
    let process = worker(&scene, "nyc1", Some(&join));
    eventually("the worker has joined", || scene.path("nyc1/credential.json").exists().then_some(()));
    check("worker in use", &scene.run(["worker", "--data-dir", "nyc1"]), FAILED, &["in use", "nyc1"]);
    check("worker in use", &scene.run(["probe", "--data-dir", "nyc1"]), FAILED, &["in use", "nyc1"]);
    server.samples_until(&scene, "a sample", |rows| !rows.is_empty());
    process.interrupt();
    server.interrupt();
    check("not running", &server.ask(&scene, &["server", "status"]), FAILED, &["Connection refused"]);

    // Written by a later version.
    let database = server.data.join("netlat.db");
    let known = u32::from_be_bytes(fs::read(&database).expect("a database")[60..64].try_into().expect("four bytes"));
    set_schema_version(&database, known + 1);
    let before = fs::read(&database).expect("a database");
    check("newer", &scene.run(start(&data)), FAILED, &["newer", "update netlat", &data]);
    check("newer", &server.ask(&scene, &["report"]), FAILED, &["newer", "update netlat"]);
    let export = ["export", "--format", "csv", "--out", "-"];
    check("newer", &server.ask(&scene, &export), FAILED, &["newer", "update netlat"]);
    assert!(fs::read(&database).expect("a database") == before, "it was not touched");
    set_schema_version(&database, known);
    let rows = server.samples(&scene).len();
    assert!(rows > 0);

    // Not to be read, also not by root without its capabilities.
    fs::set_permissions(&server.data, fs::Permissions::from_mode(0o000)).expect("chmod");
    let denied = ended(scene.netlat_unprivileged(start(&data)));
    let report = ["report", "--data-dir", &data];
    let denied_report = ended(scene.netlat_unprivileged(report));
    fs::set_permissions(&server.data, fs::Permissions::from_mode(0o700)).expect("chmod");
    check("unreadable", &denied, FAILED, &["Permission denied", &data]);
    check("unreadable", &denied_report, FAILED, &[&data]);
    assert!(denied_report.stderr.contains("Permission denied"), "not 'no data': {denied_report:?}");
    let out = ["export", "--format", "csv", "--out", "nowhere/x.csv"];
    check("nowhere to write", &server.ask(&scene, &out), FAILED, &["nowhere/x.csv"]);

    // Somebody else's file in its place.
    fs::create_dir(scene.path("foreign")).expect("a directory");
    fs::write(scene.path("foreign/netlat.db"), "This is a diary and no database. ".repeat(100)).expect("written");
    check("foreign", &scene.run(start("foreign")), FAILED, &["foreign/netlat.db", "not a NetLat database"]);
    check("foreign", &scene.run(["report", "--data-dir", "foreign"]), FAILED, &["not a NetLat database"]);
    let kept = fs::read_to_string(scene.path("foreign/netlat.db")).expect("readable");
    assert!(kept.starts_with("This is a diary"), "it was not touched");
}
