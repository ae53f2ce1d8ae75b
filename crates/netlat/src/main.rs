//! The program: command line, configuration, and the wiring of all the rest. Nothing else knows the command line.

mod cli;
mod commands;
mod config;
mod ports;
mod table;
mod usage;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a command ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A check said no (`demo`): exit status 1 without an error line.
    Differs,
    /// Something was found and the caller asked to be told by exit status 3.
    Found,
}

fn main() -> ExitCode {
    // Many small threads: what each once needed would stay with it.
    net::memory::share_heaps(2);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        Err(error) => {
            eprintln!("netlat: {}", usage::of_clap(&error));
            return ExitCode::from(2);
        }
    };
    log_to_stderr(cli.verbose);
    match run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(1),
        Ok(Outcome::Found) => ExitCode::from(3),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netlat: {}", usage::one_line(&error));
            ExitCode::from(if error.chain().any(|cause| cause.is::<usage::Usage>()) { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let config = match &cli.command {
        // Its --config is the emulator's own file, not netlat.toml.
        Command::Emulate { .. } => config::Config::default(),
        _ => config::Config::load(cli.config.as_deref())?,
    };
    match cli.command {
        Command::Server(args) => commands::server::run(args, &config),
        Command::Worker(args) => commands::worker::run(args, &config),
        Command::Probe(args) => commands::probe::run(args, &config),
        Command::Stamp(args) => commands::stamp::run(args),
        Command::Reflect(args) => commands::reflect::run(args),
        Command::Path(args) => commands::path::run(args),
        Command::Check(args) => commands::check::run(args, &config),
        Command::Legion(args) => commands::legion::run(args, &config),
        Command::Bot(args) => commands::bot::run(args, &config),
        Command::Report(args) => commands::report::run(args, &config),
        Command::Dashboard(args) => commands::dashboard::run(args, &config),
        Command::Export(args) => commands::export::run(args, &config),
        Command::Demo(args) => commands::demo::run(args, cli.verbose),
        Command::Emulate { service } => commands::emulate::run(service, cli.config.as_deref()),
        Command::LabRelay { arguments } => commands::demo::relay(arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "netlat", &mut std::io::stdout());
            Ok(Outcome::Done)
        }
        Command::Man => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
            Ok(Outcome::Done)
        }
    }
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stderr().is_terminal();
    // Libraries below speak of every connection they reuse; their debug lines help nobody here.
    let ours = [
        "netlat",
        "dashboard",
        "alerts",
        "server",
        "worker",
        "store",
        "net",
        "measure",
        "lab",
        "discord",
        "legion",
        "discord_emulator",
    ]
    .map(|name| (name, level));
    let filter =
        tracing_subscriber::filter::Targets::new().with_targets(ours).with_default(level.min(LevelFilter::WARN));
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(!plain);
    tracing_subscriber::registry().with(format.with_filter(filter)).init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
