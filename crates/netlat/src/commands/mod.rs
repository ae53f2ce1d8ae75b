//! What the commands do, and the little that several of them need.

pub mod bot;
pub mod check;
pub mod dashboard;
pub mod demo;
pub mod emulate;
pub mod export;
pub mod legion;
mod locate;
pub mod path;
pub mod probe;
pub mod reflect;
pub mod report;
pub mod server;
pub mod stamp;
pub mod worker;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::worker::JoinString;
use anyhow::{Context, anyhow, ensure};
use model::report::Report;
use model::{Dscp, Duration, Ecn, Family, TaskSpec, UnixNanos};

use crate::Outcome;
use crate::cli::SpecArgs;
use crate::usage::mistake;

/// Small on purpose: probes run on threads of their own.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

/// Done at the first SIGINT or SIGTERM; a second one ends the process at once.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("ending; interrupt once more to end at once");
        tokio::spawn(async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            std::process::exit(130);
        });
    })
}

/// For measurements on plain threads: true after SIGINT or SIGTERM.
pub fn stop_flag(runtime: &tokio::runtime::Runtime) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let _in_runtime = runtime.enter();
    let signal = stop_signal()?;
    runtime.spawn(async move {
        signal.await;
        set.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}

pub fn parse_dscp(text: &str) -> anyhow::Result<Vec<Dscp>> {
    if text == "all" {
        return Ok(Dscp::all().collect());
    }
    let one = |word: &str| word.trim().parse().with_context(|| format!("--dscp {word}")).map_err(mistake);
    text.split(',').map(one).collect()
}

pub fn parse_ecn(text: &str) -> anyhow::Result<Vec<Ecn>> {
    if text == "all" {
        return Ok(Ecn::ALL.to_vec());
    }
    let one = |word: &str| {
        let value = word.trim().parse::<u8>().ok().and_then(|value| Ecn::try_from(value).ok());
        value.with_context(|| format!("--ecn {word}: {}", wire::tos::InvalidEcn)).map_err(mistake)
    };
    text.split(',').map(one).collect()
}

/// The task that the flags describe. `duration`: seconds, else as long as 12 probes of each class take.
pub fn spec(args: &SpecArgs, duration: Option<u32>) -> anyhow::Result<TaskSpec> {
    checked_spec(args, duration).map_err(mistake)
}

fn checked_spec(args: &SpecArgs, duration: Option<u32>) -> anyhow::Result<TaskSpec> {
    let mut spec = TaskSpec::default();
    if !args.kind.is_empty() {
        spec.kinds = args.kind.clone();
        spec.kinds.sort();
        spec.kinds.dedup();
    }
    if let Some(dscp) = &args.dscp {
        spec.dscp = parse_dscp(dscp)?;
    }
    if let Some(ecn) = &args.ecn {
        spec.ecn = parse_ecn(ecn)?;
    }
    ensure!(!spec.kinds.contains(&model::Kind::Stamp), "kind stamp has a command of its own: netlat stamp HOST");
    spec.direction = args.direction;
    spec.size = args.size;
    spec.sni = args.sni.clone();
    spec.families = match args.family.as_deref() {
        Some("4") => vec![Family::Ipv4],
        Some("6") => vec![Family::Ipv6],
        _ => Vec::new(),
    };
    let most = spec.kinds.iter().map(|kind| spec.classes(*kind).len()).max().unwrap_or(1);
    spec.rate_pps = args.rate.unwrap_or(if most > 16 { 100.0 } else { 20.0 });
    let enough = (most as f64 * 12.0 / spec.rate_pps.max(0.1)).ceil();
    spec.duration = Duration::Seconds(duration.unwrap_or(enough.clamp(10.0, 3600.0) as u32));
    spec.check()?;
    Ok(spec)
}

/// `30s`, `15m`, `1h`, `2d`, or an RFC 3339 time.
pub fn parse_since(text: &str, now: UnixNanos) -> anyhow::Result<UnixNanos> {
    let units = [("s", 1i64), ("m", 60), ("h", 3600), ("d", 86400)];
    for (unit, seconds) in units {
        if let Some(number) = text.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok()) {
            return Ok(now.plus(-(i64::from(number) * seconds * 1_000_000_000)));
        }
    }
    match time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339) {
        Ok(at) => Ok(UnixNanos(at.unix_timestamp_nanos().clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
        Err(_) => Err(mistake(anyhow!(
            "--since {text}: give an age such as 30s, 15m, 1h, 2d, or a time such as 2026-01-31T12:00:00Z"
        ))),
    }
}

/// What `--join` says: a join string, `@FILE` that holds it, or `-` (stdin).
pub fn join_string(given: &str) -> anyhow::Result<JoinString> {
    read_join(given)?.parse::<JoinString>().context("--join").map_err(mistake)
}

fn read_join(given: &str) -> anyhow::Result<String> {
    let text = match given.strip_prefix('@') {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read the join string from {path}"))?
        }
        None if given == "-" => {
            let mut text = String::new();
            std::io::stdin().take(4096).read_to_string(&mut text).context("cannot read the join string from stdin")?;
            text
        }
        None => given.to_owned(),
    };
    Ok(text.trim().to_owned())
}

/// `HOST`, `HOST:PORT`, `ADDRESS` or `[IPV6]:PORT`, resolved.
pub fn resolve(target: &str, default_port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = target.parse::<std::net::IpAddr>() {
        return Ok(SocketAddr::new(address, default_port));
    }
    let with_port = if target.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        target.to_owned()
    } else {
        format!("{target}:{default_port}")
    };
    with_port
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {target}"))?
        .next()
        .with_context(|| format!("{target} has no address"))
}

/// An HMAC key from a file: hexadecimal digits if it holds nothing else, otherwise its bytes without the line end.
pub fn read_key(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut key = std::fs::read(path).with_context(|| format!("cannot read the key file {}", path.display()))?;
    while key.last().is_some_and(|byte| *byte == b'\n' || *byte == b'\r') {
        key.pop();
    }
    ensure!(!key.is_empty(), "the key file {} is empty", path.display());
    // Other STAMP programs keep keys as hexadecimal digits.
    let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let digits: Option<Vec<u8>> = key.iter().map(|byte| hex(*byte)).collect();
    Ok(match digits {
        Some(digits) if digits.len() % 2 == 0 => digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect(),
        _ => key,
    })
}

pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// The report as JSON or table, and what it means for the exit status.
pub fn show(report: &Report, json: bool, fail_on_finding: bool, explain: bool) -> anyhow::Result<Outcome> {
    if json {
        print_json(report)?;
    } else {
        write!(std::io::stdout().lock(), "{}", crate::table::report(report, explain))?;
    }
    let found = report
        .paths
        .iter()
        .flat_map(|path| &path.remarking)
        .any(|remarking| remarking.pathology.is_finding() || remarking.ecn.is_finding());
    let differs = report.paths.iter().flat_map(|path| &path.differentiation).any(|entry| entry.verdict.is_finding());
    Ok(if (found || differs) && fail_on_finding { Outcome::Found } else { Outcome::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_names_numbers_and_all() {
        let values: Vec<u8> = parse_dscp("0,EF,af41").unwrap().iter().map(|dscp| dscp.get()).collect();
        assert_eq!(values, [0, 46, 34]);
        assert_eq!(parse_dscp("all").unwrap().len(), 64);
        assert!(format!("{:#}", parse_dscp("0,184").unwrap_err()).contains("184"));
        assert_eq!(parse_ecn("all").unwrap().len(), 4);
        assert!(parse_ecn("4").is_err());
    }

    #[test]
    fn ages_and_times_are_understood() {
        let now = UnixNanos(1_000_000_000_000_000_000);
        assert_eq!(parse_since("15m", now).unwrap().0, now.0 - 900_000_000_000);
        assert_eq!(parse_since("2001-09-09T01:46:40Z", now).unwrap(), now);
        assert!(parse_since("yesterday", now).is_err());
    }

    #[test]
    fn targets_may_be_bare_addresses() {
        assert_eq!(resolve("192.0.2.1", 862).unwrap().to_string(), "192.0.2.1:862");
        assert_eq!(resolve("192.0.2.1:9", 862).unwrap().to_string(), "192.0.2.1:9");
        assert_eq!(resolve("2001:db8::1", 862).unwrap().to_string(), "[2001:db8::1]:862");
        assert_eq!(resolve("[2001:db8::1]:9", 862).unwrap().to_string(), "[2001:db8::1]:9");
    }
}
