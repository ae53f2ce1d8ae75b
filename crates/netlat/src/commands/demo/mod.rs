//! `netlat demo`: the whole system on this machine. Cities in network namespaces with known policies, a real server, real
//! workers, an emulated Discord with real bots; a live table; at the end each policy beside its finding.

mod applications;
mod compare;
mod discord;
mod programs;
mod view;

use std::fs;
use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lab::{Lab, Place, RelayProgram, Scenario, Stage};
use model::report::Report;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;
use crate::cli::DemoArgs;
use crate::commands::demo::discord::Discord;
use crate::commands::demo::programs::Programs;

/// Tells the demo inside the lab that its standard input is the dashboard's listening socket.
const PAGES: &str = "NETLAT_DEMO_PAGES";
/// Inside the lab's own `/run`, which vanishes with it however the demo ends.
const PRIVATE_DIR: &str = "/run/netlat-demo";
const CONTROL_PORT: u16 = 8443;
const PROBE_PORT: u16 = 8620;
const SERVER_START: Duration = Duration::from_secs(60);
/// Bots that came up late on a slow machine are waited for so much longer.
const GRACE: Duration = Duration::from_secs(90);

/// What the demo's workers do. All 64 DSCP on the voice-like kinds; the four ECN code points; four classes on the rest.
const TASKS: &str = r#"
[[task]]
id = "marks"
kinds = ["rtp", "udp"]
dscp = [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63]
rate_pps = 80

[[task]]
id = "ecn"
kinds = ["rtp", "udp", "dns"]
dscp = [0, 46]
ecn = [0, 1, 2, 3]
rate_pps = 12

[[task]]
id = "classes"
kinds = ["dns", "http", "tls", "icmp"]
dscp = [0, 34, 46, 54]
rate_pps = 8
"#;

pub fn run(args: DemoArgs, verbose: u8) -> anyhow::Result<Outcome> {
    // Before anything is shown or entered: what was asked for may not exist.
    let scenario = scenario(&args)?;
    if lab::stage() == Stage::Outside {
        return outside();
    }
    lab::enter()?;
    let dir = args.data_dir.clone().unwrap_or_else(|| PathBuf::from(PRIVATE_DIR));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let relay = RelayProgram { program: program.clone(), arguments: vec!["lab-relay".to_owned()] };
    note(&format!("building the lab '{}': {} cities, one server", scenario.name, scenario.cities.len()));
    let lab = Lab::up(&scenario, &relay)?;
    for warning in lab.warnings() {
        note(warning);
    }
    let mut programs = Programs::default();
    start(&lab, &program, &dir, verbose, &mut programs)?;
    let duration = match args.duration {
        Some(seconds) => Some(Duration::from_secs(u64::from(seconds))),
        None if std::io::stdout().is_terminal() && !args.json => None,
        None => Some(Duration::from_secs(30)),
    };
    let discord = match args.no_discord {
        true => None,
        false => Some(Discord::start(&lab, &program, &dir, &mut programs)?),
    };
    note("everything is up; measuring");
    let report = watch(&dir, &mut programs, duration, args.json, discord.as_ref())?;
    // The workers keep running until the report is read; then nothing of them is needed any more.
    drop(programs);
    let board = discord.as_ref().map(Discord::board);
    let verdict = compare::compare(&scenario, &report, PROBE_PORT, board);
    if args.json {
        super::print_json(&verdict)?;
    } else {
        write!(std::io::stdout().lock(), "{}", compare::table(&verdict))?;
    }
    lab.down();
    Ok(if verdict.ok { Outcome::Done } else { Outcome::Differs })
}

fn scenario(args: &DemoArgs) -> anyhow::Result<Scenario> {
    let mut scenario = match &args.scenario {
        Some(path) => Scenario::read(path)?,
        None => Scenario::demo()?,
    };
    if let Some(unknown) = args.city.iter().find(|name| scenario.city(name).is_none()) {
        bail!("--city {unknown}: the scenario '{}' has no such city", scenario.name);
    }
    scenario.cities.retain(|city| args.city.is_empty() || args.city.contains(&city.name));
    Ok(scenario)
}

/// Runs the program again inside the lab and stays beside it: Ctrl-C is for the one inside, which then shows its verdict.
fn outside() -> anyhow::Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    // The lab dies with the thread that starts it: this one, which waits.
    let mut inside = lab::reexec_command(program, std::env::args_os().skip(1))?;
    if let Some((address, listener)) = pages_listener() {
        note(&format!("dashboard, live: http://{address}/"));
        inside.stdin(OwnedFd::from(listener)).env(PAGES, "stdin");
    }
    let mut child = inside.spawn().context("cannot enter the lab")?;
    drop(inside);
    let runtime = super::runtime()?;
    let ending = runtime.block_on(async { Ending::watch() })?;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the lab")? {
            return match status.code() {
                Some(0) => Ok(Outcome::Done),
                Some(1) => Ok(Outcome::Differs),
                _ => bail!("the lab ended: {status}"),
            };
        }
        if ending.now() {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Opened here, for the server is in a namespace that this host's browsers cannot reach: it gets the socket as its standard input.
/// The demo does without where there is none.
fn pages_listener() -> Option<(SocketAddr, TcpListener)> {
    let opened =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listener = opened.ok()?;
    Some((listener.local_addr().ok()?, listener))
}

/// Counts what asks the outer process to end: the first Ctrl-C goes to the inner one too, and is its matter.
struct Ending {
    interrupts: Arc<AtomicU32>,
    terminated: Arc<AtomicBool>,
}

impl Ending {
    fn watch() -> anyhow::Result<Ending> {
        let ending = Ending { interrupts: Arc::default(), terminated: Arc::default() };
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let (interrupts, terminated) = (ending.interrupts.clone(), ending.terminated.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => { interrupts.fetch_add(1, Ordering::Relaxed); }
                    _ = terminate.recv() => terminated.store(true, Ordering::Relaxed),
                }
            }
        });
        Ok(ending)
    }

    fn now(&self) -> bool {
        self.terminated.load(Ordering::Relaxed) || self.interrupts.load(Ordering::Relaxed) > 1
    }
}

/// The hidden subcommand that a lab starts for a city's delay line.
pub fn relay(arguments: Vec<String>) -> anyhow::Result<Outcome> {
    let argument = arguments.first().map(String::as_str).unwrap_or_default();
    lab::relay::run(&lab::relay::Relay::from_argument(argument)?)?;
    Ok(Outcome::Done)
}

/// Progress goes to stderr, so that stdout holds the tables or the one JSON document.
fn note(line: &str) {
    eprintln!("netlat demo: {line}");
}

fn start(lab: &Lab, program: &Path, dir: &Path, verbose: u8, programs: &mut Programs) -> anyhow::Result<()> {
    let config = dir.join("netlat.toml");
    fs::write(&config, TASKS).with_context(|| format!("cannot write {}", config.display()))?;
    let join = dir.join("workers.join");
    let _ = fs::remove_file(&join);
    let flags = vec!["-v"; usize::from(verbose)];
    let mut server = lab.command(Place::Server, program)?;
    let [v4, v6] = [model::Family::Ipv4, model::Family::Ipv6].map(|family| lab::addresses::server(family).to_string());
    server
        .args(["server", "--listen", &format!("[::]:{CONTROL_PORT}"), "--probe-port", &PROBE_PORT.to_string()])
        .args(["--advertise", &format!("{v4},{v6}")])
        .arg("--data-dir")
        .arg(dir.join("server"))
        .arg("--join-file")
        .arg(&join)
        .arg("--config")
        .arg(&config)
        .args(&flags)
        // The test variable shifts the workers' clocks; the server's is the lab's truth.
        .env_remove(net::Clock::VARIABLE);
    let has_pages = std::env::var_os(PAGES).is_some();
    server.args(["--dashboard", if has_pages { "stdin" } else { "off" }]);
    let input = if has_pages { Stdio::inherit() } else { Stdio::null() };
    programs.start_with("server", &mut server, input, &dir.join("server.log"))?;
    let started = Instant::now();
    while !join.exists() || !dir.join("server").join(server::Announcement::FILE).exists() {
        programs.check(dir)?;
        if started.elapsed() > SERVER_START {
            bail!(
                "the server did not come up within {} s: see {}",
                SERVER_START.as_secs(),
                dir.join("server.log").display()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for city in &lab.scenario().cities {
        let mut worker = lab.command(Place::City(&city.name), program)?;
        worker
            .args(["worker", "--name", &city.name, "--join", &format!("@{}", join.display()), "--data-dir"])
            .arg(dir.join(&city.name))
            .args(&flags)
            .env_remove("NETLAT_JOIN");
        programs.start(&city.name, &mut worker, &dir.join(format!("{}.log", city.name)))?;
    }
    Ok(())
}

/// Shows the live table until the time is over or Ctrl-C; returns the last report.
fn watch(
    dir: &Path,
    programs: &mut Programs,
    duration: Option<Duration>,
    quiet: bool,
    discord: Option<&Discord>,
) -> anyhow::Result<Report> {
    let runtime = super::runtime()?;
    let stop = super::stop_flag(&runtime)?;
    let data = dir.join("server");
    let mut view = view::View::new(quiet);
    let started = Instant::now();
    loop {
        let over = duration.is_some_and(|duration| started.elapsed() >= duration);
        let stopped = stop.load(std::sync::atomic::Ordering::Relaxed);
        programs.check(dir)?;
        if over || stopped {
            let report = server::report::build(&data, None, None, net::Clock::identity().now())?;
            let late = duration.is_some_and(|duration| started.elapsed() >= duration + GRACE);
            if stopped || late || discord.is_none_or(|discord| discord.has_all(&report)) {
                return Ok(report);
            }
        }
        let next = Instant::now() + Duration::from_secs(1);
        if view.wants(started.elapsed()) {
            let report = server::report::build(&data, None, None, net::Clock::identity().now())?;
            view.show(&report, started.elapsed(), duration)?;
        }
        while Instant::now() < next && !stop.load(std::sync::atomic::Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
