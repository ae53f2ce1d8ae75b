//! The house's walls, held by the dependency graph: a crate uses only what stands below it, and what one crate alone may know
//! (SQL, HTTP serving, sockets) is named by no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Crates of the workspace and which of them each may use.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("wire", &[]),
    ("model", &["wire"]),
    ("measure", &["wire", "model"]),
    ("net", &["wire", "model"]),
    ("store", &["wire", "model"]),
    ("lab", &["wire", "model", "net"]),
    ("path", &["wire", "model", "measure", "net"]),
    ("resolver", &[]),
    ("discord-emulator", &[]),
    ("dashboard", &["model", "measure", "net", "path", "store"]),
    ("alerts", &["model", "measure", "store"]),
    ("server", &["wire", "model", "measure", "net", "path", "store", "dashboard", "alerts"]),
    ("worker", &["wire", "model", "measure", "net", "path", "resolver"]),
    ("discord", &["wire", "model", "net", "resolver"]),
    ("legion", &["model", "net", "discord"]),
    (
        "netlat",
        &[
            "wire",
            "model",
            "measure",
            "net",
            "path",
            "store",
            "lab",
            "dashboard",
            "alerts",
            "server",
            "worker",
            "discord",
            "discord-emulator",
            "legion",
        ],
    ),
];

/// Libraries that some crates alone may use.
const ONLY_IN: [(&str, &[&str]); 10] = [
    ("rusqlite", &["store"]),
    ("parquet", &["store"]),
    ("axum", &["dashboard", "server", "discord-emulator"]),
    ("clap", &["netlat"]),
    ("reqwest", &["worker", "alerts"]),
    ("libc", &["net"]),
    (
        "tokio",
        &["resolver", "dashboard", "alerts", "server", "worker", "netlat", "discord", "legion", "discord-emulator"],
    ),
    ("twilight-gateway", &["discord"]),
    ("davey", &["discord"]),
    ("hickory-proto", &["resolver", "discord-emulator"]),
];

fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut graph = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let names = dependencies.iter().filter(normal).map(|dependency| text(&dependency["name"])).collect();
        graph.insert(text(&package["name"]), names);
    }
    graph
}

#[test]
fn arrows_point_down() {
    let graph = direct_dependencies();
    let known: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    for (name, dependencies) in &graph {
        let allowed = known.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} has no place in the house yet"));
        for dependency in dependencies.iter().filter(|name| graph.contains_key(*name)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not use {dependency}");
        }
    }
    assert_eq!(graph.len(), MAY_USE.len());
}

#[test]
fn what_one_crate_knows_no_other_names() {
    let graph = direct_dependencies();
    for (library, homes) in ONLY_IN {
        for (name, dependencies) in &graph {
            let allowed = !dependencies.contains(library) || homes.contains(&name.as_str());
            assert!(allowed, "{library} belongs in {homes:?}, not in {name}");
        }
    }
}

#[test]
fn measure_reads_no_clock_file_socket_or_environment() {
    const BANNED: [&str; 9] =
        ["std::time", "std::fs", "std::net", "std::env", "std::thread", "SystemTime", "Instant::now", "tokio", "serde"];
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../measure/src")];
    let mut read = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("entry").path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        read += 1;
        for banned in BANNED {
            assert!(!text.contains(banned), "{} mentions {banned}", path.display());
        }
    }
    assert!(read > 5, "the crate's sources were found");
}
