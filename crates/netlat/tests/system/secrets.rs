//! Tokens, credentials and keys are in files of mode 0600 and nowhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::serving::{Reach, Server, worker};
use crate::support::Scene;

fn assert_private(dir: &Path) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        let mode = fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            assert_private(&path);
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As bytes are written by `{:?}`.
fn decimal(bytes: &[u8]) -> String {
    format!("{:?}", &bytes[..8]).trim_end_matches(']').to_owned()
}

fn token_of(join: &str) -> String {
    join.rsplit_once('/').and_then(|(_, rest)| rest.split_once('#')).expect("a join string").0.to_owned()
}

#[test]
fn no_secret_is_logged_or_readable_by_others() {
    let scene = Scene::new();
    let file = scene.path("many.join");
    let mut server = Server::with(&scene, Reach::V4, &[], &["-vv"]);
    server.add_task(&scene, &["--kind", "rtp,udp,http,tls,dns", "--rate", "20"]);
    let join = server.join();
    let data = scene.path("nyc1");
    let arguments = ["-vv", "worker", "--name", "nyc1", "--data-dir", data.to_str().expect("UTF-8")];
    let process = scene.start("worker", arguments.iter().chain(&["--join", &join]));
    server.samples_until(&scene, "samples", |rows| rows.len() > 300);
    let probe_join = server.fresh_join(&scene, false);
    let probed = scene
        .run(["-vv", "probe", "--join", &probe_join, "--kind", "udp,rtp", "--duration", "1", "--json"])
        .succeeded();
    // Mistakes with a secret in them.
    let used = scene.run(["-vv", "probe", "--join", &join, "--duration", "1"]);
    let cut = join.replacen("#", "##", 1);
    let malformed = scene.run(["probe", "--join", &cut]);
    let renamed = scene.run(["probe", "--join", &probe_join, "--nope"]);
    assert_eq!((used.status, malformed.status, renamed.status), (Some(1), Some(2), Some(2)));

    let credential = fs::read_to_string(data.join("credential.json")).expect("a credential");
    let credential: serde_json::Value = serde_json::from_str(&credential).expect("JSON");
    let credential = credential["credential"].as_str().expect("text").to_owned();
    let admin = fs::read_to_string(server.data.join("admin.token")).expect("the admin token").trim().to_owned();
    let server_out = server.process().stdout();
    let server_log = server.process().stderr();
    let (worker_out, worker_log) = (process.stdout(), process.stderr());
    process.kill();
    server.kill();
    // Of a killed server and its killed worker the sessions are still open, and the store has their keys.
    let store = store::Store::open(&server.data, store::StoreOptions::default()).expect("the data directory");
    let keys: Vec<[u8; 32]> =
        store.open_sessions().expect("sessions").iter().flat_map(|open| [open.keys.up, open.keys.down]).collect();
    drop(store);
    assert_eq!(keys.len(), 12, "two for each of six sessions");

    let mut secrets = vec![("credential", credential), ("admin token", admin), ("join token", token_of(&join))];
    secrets.push(("probe's join token", token_of(&probe_join)));
    secrets.extend(keys.iter().map(|key| ("session key", hex(key))));
    secrets.extend(keys.iter().map(|key| ("session key as numbers", decimal(key))));
    let without_join: String = server_out.lines().filter(|line| !line.starts_with("join: ")).collect();
    assert_eq!(server_out.lines().count(), 1, "{server_out}");
    let texts = [
        ("the server's stdout", without_join),
        ("the server's log", server_log),
        ("the worker's stdout", worker_out),
        ("the worker's log", worker_log),
        ("the probe's stdout", probed.stdout),
        ("the probe's log", probed.stderr),
        ("a used string's line", used.stdout + &used.stderr),
        ("a malformed string's line", malformed.stdout + &malformed.stderr),
        ("a usage line", renamed.stdout + &renamed.stderr),
    ];
    assert!(texts[1].1.contains("joined") && texts[3].1.contains("opened"), "the logs are there and detailed");
    for (of, text) in &texts {
        for (what, secret) in &secrets {
            assert!(!text.contains(secret.as_str()), "the {what} is in {of}");
        }
    }
    assert_private(&server.data);
    assert_private(&data);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&server.data), mode(&data)), (0o700, 0o700));

    // The arguments of a process can be read by everyone: a file or the environment is there for those who mind.
    let other = Server::at(&scene, scene.path("other"), Reach::V4, &[], &[]);
    let told = other.fresh_join(&scene, true);
    fs::write(&file, &told).expect("written");
    let mut command = scene.netlat(["probe", "--kind", "udp", "--duration", "1", "--json"]);
    command.env("NETLAT_JOIN", &told);
    let by_environment = crate::support::ended(command).succeeded();
    assert!(!by_environment.stderr.contains(&token_of(&told)));
    let help = scene.netlat(["probe", "--help"]).env("NETLAT_JOIN", &told).output().expect("help");
    assert!(!String::from_utf8_lossy(&help.stdout).contains(&token_of(&told)), "--help shows no environment");
}

#[test]
fn a_join_file_is_private_and_serves_many() {
    let scene = Scene::new();
    let file = scene.path("all.join");
    let ports = crate::support::Ports::free();
    let data = scene.path("server");
    let listen = format!("127.0.0.1:{}", ports.control);
    let probe_port = ports.probe.to_string();
    let arguments =
        ["server", "--listen", &listen, "--probe-port", &probe_port, "--advertise", "127.0.0.1", "--data-dir"];
    let arguments = arguments.iter().map(ToString::to_string).chain([data.display().to_string()]);
    let process = scene.start("server", arguments.chain(["--join-file".to_owned(), file.display().to_string()]));
    crate::support::eventually("the join file", || file.exists().then_some(()));
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let join = format!("@{}", file.display());
    let workers: Vec<_> = ["a", "b", "c"].map(|name| worker(&scene, name, Some(&join))).into();
    for name in ["a", "b", "c"] {
        crate::support::eventually("each worker joins", || {
            scene.path(name).join("credential.json").exists().then_some(())
        });
    }
    assert_eq!(process.stdout(), "", "no string is printed where a file was asked for");
    drop(workers);
}
