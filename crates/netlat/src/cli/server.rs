//! The server, its tasks and its pages.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::{DirectionChoice, Kind, WorkerName};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  netlat server --advertise measure.example.org\n  netlat server join        a fresh join string from the running server"
)]
pub struct ServerArgs {
    #[command(subcommand)]
    pub command: Option<ServerCommand>,
    #[command(flatten)]
    pub run: ServerRun,
}

#[derive(Debug, Args)]
pub struct ServerRun {
    /// Control plane, HTTPS; an unspecified address listens on all [default: [::]:8443]
    #[arg(long, env = "NETLAT_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Dashboard as plain HTTP, on a loopback address, a listening socket as stdin, or "off"; with a login it is on the HTTPS port too
    /// [default: 127.0.0.1:8080]
    #[arg(long, env = "NETLAT_DASHBOARD", value_name = "ADDR:PORT|stdin|off")]
    pub dashboard: Option<String>,
    /// UDP and TCP port P of the probes; dns uses P+1 [default: 8620]
    #[arg(long, env = "NETLAT_PROBE_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..65535))]
    pub probe_port: Option<u16>,
    /// How workers reach this server: the first goes into join strings, addresses are probed [default: this host's first address]
    #[arg(long, env = "NETLAT_ADVERTISE", value_delimiter = ',', value_name = "HOST,...")]
    pub advertise: Vec<String>,
    /// Further ports, UDP and TCP, that take probes of every kind, to see whether a network goes by port numbers
    #[arg(long, value_delimiter = ',', value_name = "PORT|RANGE,...")]
    pub trigger_port: Vec<crate::ports::PortRange>,
    /// Where samples and keys are kept [default: $XDG_DATA_HOME/netlat/server]
    #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Also read the probes by passive capture of this interface (needs CAP_NET_RAW, given up after opening)
    #[arg(long, env = "NETLAT_INTERFACE", value_name = "IF")]
    pub interface: Option<String>,
    /// Write a join string that serves any number of workers to this file, mode 0600
    #[arg(long, value_name = "FILE")]
    pub join_file: Option<PathBuf>,
    /// Own certificate chain, PEM (with --key)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Private key of --certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netlat dashboard --data /var/lib/netlat/server\nA running server shows its own data; from another host, forward the port: ssh -L 8080:127.0.0.1:8080 HOST"
)]
pub struct DashboardArgs {
    /// Data directory of a server, running or not [default: $XDG_DATA_HOME/netlat/server]
    #[arg(long = "data", visible_alias = "data-dir", env = "NETLAT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A loopback address; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
}

#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Prints a fresh join string of the running server
    #[command(after_help = "Example:\n  netlat server join --many > workers.join")]
    Join {
        /// For any number of workers instead of one
        #[arg(long)]
        many: bool,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Prints a link that logs one browser in to the running server's dashboard, once
    #[command(after_help = "Example:\n  netlat server login --admin     for starting and stopping tasks as well")]
    Login {
        /// Also to start and stop tasks
        #[arg(long)]
        admin: bool,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Shows the workers of the running server
    #[command(after_help = "Example:\n  netlat server status --json")]
    Status {
        #[arg(long)]
        json: bool,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Shows the running server's alerts, or tests one
    #[command(
        after_help = "Example:\n  netlat server alert test discord-slow\nAlerts are [[alert]] sections of netlat.toml."
    )]
    Alert {
        #[command(subcommand)]
        command: AlertCommand,
    },
    /// Ends a worker's credential and its sessions
    #[command(after_help = "Example:\n  netlat server revoke nyc1")]
    Revoke {
        worker: WorkerName,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Lists, adds and removes tasks of the running server
    #[command(after_help = "Example:\n  netlat server task add --worker nyc1 --kind rtp,udp --dscp all --rate 50")]
    Task {
        #[command(subcommand)]
        command: TaskCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// What stands raised, what waits for its webhook, what went wrong
    List {
        #[arg(long)]
        json: bool,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Sends a test message to an alert's webhook and waits until it was taken
    Test {
        name: String,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    List {
        #[arg(long)]
        json: bool,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    Add(Box<TaskAdd>),
    Remove {
        id: String,
        #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct TaskAdd {
    /// Chosen by the server if left out
    #[arg(long)]
    pub id: Option<String>,
    /// Only this worker [default: all]
    #[arg(long)]
    pub worker: Option<WorkerName>,
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Seconds; without it the task runs until removed
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub duration: Option<u32>,
    /// Also watch whether the path tells the task's classes and kinds apart
    #[arg(long)]
    pub shaping: bool,
    /// Server ports to compare with its own (needs `netlat server --trigger-port`)
    #[arg(long, requires = "shaping", value_delimiter = ',', value_name = "PORT|RANGE,...")]
    pub ports: Vec<crate::ports::PortRange>,
    /// What the watch may cost, both ways, an hour [default: 4MB]
    #[arg(long, requires = "shaping", value_name = "BYTES", value_parser = crate::ports::parse_bytes)]
    pub bytes_per_hour: Option<u64>,
    #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to send; shared by `probe` and `server task add`.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Kinds of probes [default: rtp,udp,http,dns]
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    pub kind: Vec<Kind>,
    /// DSCP numbers or names, or "all" [default: 0,34,46,54]
    #[arg(long, value_name = "LIST|all")]
    pub dscp: Option<String>,
    /// ECN code points 0..3, or "all" [default: 0]
    #[arg(long, value_name = "LIST|all")]
    pub ecn: Option<String>,
    /// up (to the server), down, or both
    #[arg(long, default_value_t = DirectionChoice::Both)]
    pub direction: DirectionChoice,
    /// Packets per second of each kind [default: 20; with --dscp all 100]
    #[arg(long, value_name = "PPS")]
    pub rate: Option<f64>,
    /// UDP payload bytes of rtp and udp, 48 to 1400
    #[arg(long, value_name = "BYTES", default_value_t = model::task::DEFAULT_PAYLOAD, value_parser = clap::value_parser!(u16).range(48..=1400))]
    pub size: u16,
    /// Only this address family
    #[arg(long, value_name = "4|6", value_parser = ["4", "6"])]
    pub family: Option<String>,
    /// Server name in the ClientHello of kind tls
    #[arg(long, default_value = "gateway.discord.gg")]
    pub sni: String,
}
