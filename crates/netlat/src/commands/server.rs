//! `netlat server`: runs the main server, or asks the running one for something.

use std::path::Path;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, anyhow, bail};
use model::control::TaskList;
use model::{Task, TaskId};
use server::api::{AlertList, AlertTest};
use server::{Announcement, DashboardAddress, Server, ServerConfig};
use store::StoreOptions;
use worker::{Secret, ServerAddress, Uplink};

use super::{print_json, runtime, spec, stop_signal};
use crate::Outcome;
use crate::cli::{AlertCommand, ServerArgs, ServerCommand, ServerRun, TaskAdd, TaskCommand};
use crate::config::{Config, data_dir};
use crate::table;
use crate::usage::mistake;

pub fn run(args: ServerArgs, config: &Config) -> anyhow::Result<Outcome> {
    match args.command {
        None => serve(args.run, config),
        Some(ServerCommand::Join { many, data_dir: dir }) => {
            let dir = data_dir(dir, config.server.data_dir.as_ref(), "server")?;
            let request = server::api::JoinRequest { many, expires_s: None };
            let answer: server::api::JoinAnswer = ask(&dir, async |client| client.post("admin/join", &request).await)?;
            println!("{}", answer.join);
            Ok(Outcome::Done)
        }
        Some(ServerCommand::Login { admin, data_dir: dir }) => {
            let dir = data_dir(dir, config.server.data_dir.as_ref(), "server")?;
            let request = server::api::LoginRequest { admin };
            let answer: server::api::LoginAnswer =
                ask(&dir, async |client| client.post("admin/login", &request).await)?;
            println!("{}", answer.link);
            Ok(Outcome::Done)
        }
        Some(ServerCommand::Status { json, data_dir: dir }) => {
            let dir = data_dir(dir, config.server.data_dir.as_ref(), "server")?;
            let status: server::api::Status = ask(&dir, async |client| client.get("admin/status").await)?;
            if json {
                print_json(&status)?;
            } else {
                let mut table = table::new(&["worker", "sessions", "last heard of, s"]);
                for worker in &status.workers {
                    table.add_row([worker.name.to_string(), worker.sessions.to_string(), worker.silent_s.to_string()]);
                }
                println!("netlat server {}, {} session(s)\n{table}", status.version, status.sessions);
                let dropped: Vec<String> =
                    status.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
                if !dropped.is_empty() {
                    println!("dropped: {}", dropped.join(", "));
                }
            }
            Ok(Outcome::Done)
        }
        Some(ServerCommand::Revoke { worker, data_dir: dir }) => {
            let dir = data_dir(dir, config.server.data_dir.as_ref(), "server")?;
            ask(&dir, async |client| client.delete(&format!("admin/workers/{worker}")).await)?;
            Ok(Outcome::Done)
        }
        Some(ServerCommand::Task { command }) => task(command, config),
        Some(ServerCommand::Alert { command }) => alert(command, config),
    }
}

/// A test that its webhook did not take within this time has failed.
const ALERT_TEST: std::time::Duration = std::time::Duration::from_secs(20);

fn alert(command: AlertCommand, config: &Config) -> anyhow::Result<Outcome> {
    let dir = |given| data_dir(given, config.server.data_dir.as_ref(), "server");
    match command {
        AlertCommand::List { json, data_dir: given } => {
            let list: AlertList = ask(&dir(given)?, async |client| client.get("admin/alerts").await)?;
            if json {
                print_json(&list)?;
                return Ok(Outcome::Done);
            }
            let mut table = table::new(&["alert", "on", "raised", "rising", "waiting", "told", "failed", "problem"]);
            for alert in list.alerts {
                table.add_row([
                    alert.name,
                    alert.on,
                    alert.raised.join("\n"),
                    alert.rising.to_string(),
                    alert.waiting.to_string(),
                    alert.delivered.to_string(),
                    alert.failed.to_string(),
                    alert.problem.unwrap_or_default(),
                ]);
            }
            println!("{table}");
        }
        AlertCommand::Test { name, data_dir: given } => ask(&dir(given)?, async |client| {
            let of = |list: AlertList| list.alerts.into_iter().find(|alert| alert.name == name);
            let before = of(client.get("admin/alerts").await?);
            let path = format!("admin/alerts/{name}/test");
            let _: AlertTest = client.post(&path, &serde_json::json!({})).await?;
            let begun = std::time::Instant::now();
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                let Some((before, now)) = before.as_ref().zip(of(client.get("admin/alerts").await?)) else { continue };
                let failed = now.failed > before.failed;
                if now.delivered > before.delivered {
                    return Ok(Ok(()));
                } else if failed || begun.elapsed() > ALERT_TEST {
                    let problem = now.problem.unwrap_or_else(|| "it has not been tried yet".to_owned());
                    let rest = if failed { "the test was given up" } else { "the server goes on trying" };
                    return Ok(Err(anyhow!("the webhook of '{name}' did not take the test: {problem}; {rest}")));
                }
            }
        })??,
    }
    Ok(Outcome::Done)
}

fn task(command: TaskCommand, config: &Config) -> anyhow::Result<Outcome> {
    let dir = |given| data_dir(given, config.server.data_dir.as_ref(), "server");
    match command {
        TaskCommand::List { json, data_dir: given } => {
            let list: TaskList = ask(&dir(given)?, async |client| client.get("admin/tasks").await)?;
            if json {
                print_json(&list)?;
            } else {
                let mut table = table::new(&["id", "worker", "kinds", "classes", "packets/s", "direction"]);
                for task in &list.tasks {
                    let kinds: Vec<&str> = task.spec.kinds.iter().map(|kind| kind.name()).collect();
                    table.add_row([
                        task.id.to_string(),
                        task.worker.as_ref().map_or("all".to_owned(), ToString::to_string),
                        kinds.join(","),
                        (task.spec.dscp.len() * task.spec.ecn.len()).to_string(),
                        task.spec.rate_pps.to_string(),
                        task.spec.direction.to_string(),
                    ]);
                }
                println!("{table}");
            }
        }
        TaskCommand::Add(add) => {
            let TaskAdd { id, worker, spec: flags, duration, shaping, ports, bytes_per_hour, data_dir: given } = *add;
            let mut spec = spec(&flags, duration)?;
            if shaping {
                let ports = ports.into_iter().flat_map(|range| range.0).collect();
                let default = model::task::ShapingSpec::default();
                let bytes_per_hour = bytes_per_hour.unwrap_or(default.bytes_per_hour);
                spec.shaping = Some(model::task::ShapingSpec { ports, bytes_per_hour, ..default });
                spec.check()?;
            }
            if duration.is_none() {
                spec.duration = model::Duration::Forever;
            }
            let add = server::api::AddTask { id, worker, spec };
            let task: Task = ask(&dir(given)?, async |client| client.post("admin/tasks", &add).await)?;
            println!("{}", task.id);
        }
        TaskCommand::Remove { id, data_dir: given } => {
            ask(&dir(given)?, async |client| client.delete(&format!("admin/tasks/{id}")).await)?;
        }
    }
    Ok(Outcome::Done)
}

/// Asks the server that runs on this data directory.
fn ask<T>(dir: &Path, request: impl AsyncFnOnce(&Uplink) -> Result<T, worker::WorkerError>) -> anyhow::Result<T> {
    let uplink = uplink(dir)?;
    runtime()?.block_on(async { Ok(request(&uplink).await?) })
}

/// To the server that runs on this data directory, with its admin token.
pub fn uplink(dir: &Path) -> anyhow::Result<Uplink> {
    let file = dir.join(Announcement::FILE);
    let text = std::fs::read(&file)
        .with_context(|| format!("no server has run on {} (its {} is missing)", dir.display(), Announcement::FILE))?;
    let announcement: Announcement =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))?;
    let token_file = dir.join(Announcement::TOKEN_FILE);
    let token =
        std::fs::read_to_string(&token_file).with_context(|| format!("cannot read {}", token_file.display()))?;
    let address = ServerAddress { host: announcement.control.ip().to_string(), port: announcement.control.port() };
    Ok(Uplink::new(address, announcement.fingerprint.parse()?, Secret::new(token.trim().to_owned()))?)
}

fn serve(args: ServerRun, config: &Config) -> anyhow::Result<Outcome> {
    let section = &config.server;
    let dir = data_dir(args.data_dir, section.data_dir.as_ref(), "server")?;
    let certificate = match (args.certificate.or(section.certificate.clone()), args.key.or(section.key.clone())) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        _ => bail!("certificate and key go together: give both or none"),
    };
    let listen = match args.listen.or(section.listen) {
        Some(listen) => listen,
        None => default_listen(),
    };
    let mut store = StoreOptions::default();
    let storage = &section.storage;
    store.raw_days = storage.raw_days.unwrap_or(store.raw_days);
    store.minute_days = storage.minute_days.unwrap_or(store.minute_days);
    store.max_bytes = storage.max_bytes.unwrap_or(store.max_bytes);
    let tasks = config.task.iter().map(|task| Task {
        id: TaskId(task.id.clone()),
        worker: task.worker.clone(),
        spec: task.spec.clone(),
    });
    let dashboard = dashboard_address(args.dashboard.as_ref().or(section.dashboard.as_ref()))?;
    let has_pages = dashboard != DashboardAddress::Nowhere;
    let mut server = Server::bind(ServerConfig {
        listen,
        probe_port: args.probe_port.or(section.probe_port).unwrap_or(8620),
        data_dir: dir.clone(),
        advertise: if args.advertise.is_empty() { section.advertise.clone() } else { args.advertise },
        interface: args.interface.or(section.interface.clone()),
        trigger_ports: if args.trigger_port.is_empty() {
            section.trigger_port.clone()
        } else {
            args.trigger_port.into_iter().flat_map(|range| range.0).collect()
        },
        false_changes_per_year: section.false_changes_per_year.unwrap_or(0.1),
        certificate,
        store,
        tasks: tasks.collect(),
        clock: net::Clock::from_env()?,
        dashboard,
        media_city: discord::media::city,
        alerts: config.alert.clone(),
    })?;
    // Everything that needs a privilege is open; threads start only in `run`.
    net::capability::drop_all()?;
    if let Some(file) = &args.join_file {
        let join = server.join_string(true)?;
        server::write_private(file, format!("{join}\n").as_bytes())?;
        tracing::info!(file = %file.display(), "wrote a join string for any number of workers");
    } else {
        println!("join: {}", server.join_string(false)?);
        if let Some(address) = server.dashboard_address() {
            println!("dashboard: http://{address}/");
        }
        if has_pages {
            println!("dashboard from elsewhere, one login: {}", server.login_link()?);
        }
    }
    if let Some(address) = server.dashboard_address() {
        tracing::info!("the dashboard is at http://{address}/; `netlat server login` lets in from elsewhere");
    }
    tracing::info!(control = %server.control_address()?, data = %dir.display(), "netlat server is up");
    let runtime = runtime()?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        server.run(stop).await.map_err(anyhow::Error::from)
    })?;
    Ok(Outcome::Done)
}

/// `off`, `stdin`, or a loopback address.
fn dashboard_address(given: Option<&String>) -> anyhow::Result<DashboardAddress> {
    match given.map(String::as_str) {
        None => Ok(DashboardAddress::Usually(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080))),
        Some("off") => Ok(DashboardAddress::Nowhere),
        Some("stdin") => Ok(DashboardAddress::HandedOver),
        Some(text) => {
            let bad = || anyhow!("--dashboard {text}: give ADDR:PORT such as 127.0.0.1:8080, stdin, or off");
            Ok(DashboardAddress::At(text.parse().map_err(|_| bad()).map_err(mistake)?))
        }
    }
}

/// Both families where the host has IPv6, else IPv4.
fn default_listen() -> std::net::SocketAddr {
    let v6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    let address = if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
    std::net::SocketAddr::new(address, 8443)
}
