//! The command line: flags, their environment variables, and help with examples. What a command does is in `commands`.

mod bot;
mod data;
mod measure;
mod server;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use bot::{
    BotArgs, BotCommand, BotRun, CheckArgs, DiscordArgs, EmulateCommand, LegionArgs, LegionCommand, LegionRun,
    LegionWhich, Role,
};
pub use data::{Dataset, DemoArgs, ExportArgs, Format, ReportArgs};
pub use measure::{PathArgs, ProbeArgs, ReflectArgs, ShapingArgs, StampArgs, WorkerArgs};
pub use server::{AlertCommand, DashboardArgs, ServerArgs, ServerCommand, ServerRun, SpecArgs, TaskAdd, TaskCommand};

/// Measures application and network latency, and what networks do to packet marks.
#[derive(Debug, Parser)]
#[command(
    name = "netlat",
    version,
    max_term_width = 110,
    after_help = "Try it on this machine alone: netlat demo\nExit status: 0 done, 1 failed, 2 usage, 3 found something and --fail-on-finding was given."
)]
pub struct Cli {
    /// Configuration file [default: netlat.toml here, then in $XDG_CONFIG_HOME/netlat]
    #[arg(long, global = true, env = "NETLAT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// More log lines on stderr (-vv for even more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The main server: receives the workers' probes, stores and reports
    Server(ServerArgs),
    /// A worker: measures toward a main server until it is stopped
    Worker(WorkerArgs),
    /// One measurement without installing anything: an ephemeral worker that prints its own report
    Probe(ProbeArgs),
    /// STAMP sender (RFC 8762/8972): measures toward any STAMP reflector, ours or a router's
    Stamp(StampArgs),
    /// STAMP reflector (RFC 8762/8972)
    Reflect(ReflectArgs),
    /// Finds between which hops the mark of a packet changes (needs CAP_NET_RAW)
    Path(PathArgs),
    /// Where does a Discord bot's time go: resolver, route, Discord or the process; from this host, no server needed
    Check(CheckArgs),
    /// Discord bots: measure from a worker (main), or read all channels and keep the task board (server)
    Bot(BotArgs),
    /// The Legion: a bot per language beside the worker's own, each with its own library, measured alike
    Legion(LegionArgs),
    /// What was measured: one-way delay, loss, marks of every path in a data directory
    Report(ReportArgs),
    /// Shows a data directory in the browser, without writing to it
    Dashboard(DashboardArgs),
    /// Writes samples to a file that other programs read
    Export(ExportArgs),
    /// The whole system on this machine: cities in network namespaces with known policies; no account, no root
    Demo(DemoArgs),
    /// Emulated services by themselves, for testing any program against them
    Emulate {
        #[command(subcommand)]
        service: EmulateCommand,
    },
    /// Shell completions on stdout
    Completions { shell: clap_complete::Shell },
    /// The manual page (roff) on stdout
    Man,
    /// Delay line of a lab's city; started by the demo
    #[command(hide = true)]
    LabRelay {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}
