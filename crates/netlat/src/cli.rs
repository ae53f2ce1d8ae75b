//! The command line: flags, their environment variables, and help with examples. What a command does is in `commands`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::{DirectionChoice, Kind, WorkerName};

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
    /// Discord bots: measure from a worker (main), or read all channels and keep the task board (server)
    Bot(BotArgs),
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

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Join string, @FILE that holds it, or - for stdin [default: the stored credential]
    #[arg(long, env = "NETLAT_JOIN", hide_env_values = true, value_name = "STRING|@FILE|-")]
    pub join: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netlat worker --join @nyc1.join --name nyc1\nThe join string is needed once; later starts use the credential in the data directory."
)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub join: JoinArgs,
    /// Name of this worker, usually its city [default: the host name]
    #[arg(long, env = "NETLAT_NAME")]
    pub name: Option<WorkerName>,
    /// Also read replies by passive capture of this interface (needs CAP_NET_RAW, given up after opening)
    #[arg(long, env = "NETLAT_INTERFACE", value_name = "IF")]
    pub interface: Option<String>,
    /// Where the credential and unsent data are kept [default: $XDG_DATA_HOME/netlat/worker]
    #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  netlat probe --join @server.join --kind rtp,http,dns,udp --dscp all --ecn all --direction both --json\n  netlat probe --join @server.join --shaping --dscp 34,46 --budget 20MB"
)]
pub struct ProbeArgs {
    #[command(flatten)]
    pub join: JoinArgs,
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Seconds [default: as long as 12 probes of each class take, at least 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub duration: Option<u32>,
    /// Also read replies by passive capture of this interface (needs CAP_NET_RAW)
    #[arg(long, env = "NETLAT_INTERFACE", value_name = "IF")]
    pub interface: Option<String>,
    /// Name in the report [default: the host name]
    #[arg(long)]
    pub name: Option<WorkerName>,
    #[command(flatten)]
    pub shaping: ShapingArgs,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
    /// Exit with 3 if a mark was changed or a class is treated differently
    #[arg(long)]
    pub fail_on_finding: bool,
    #[arg(
        long,
        env = "NETLAT_DATA_DIR",
        value_name = "DIR",
        help = "Where a worker's stored credential is looked for"
    )]
    pub data_dir: Option<PathBuf>,
}

/// Whether the path tells classes of traffic apart.
#[derive(Debug, Args)]
pub struct ShapingArgs {
    /// Compare classes with best effort in randomised pairs and trains: is any delayed, dropped, policed, shaped or favoured?
    /// Unless told: --dscp 34,46 --kind rtp,udp, 60 s
    #[arg(long)]
    pub shaping: bool,
    /// Server ports to compare with its own (needs `netlat server --trigger-port`)
    #[arg(long, requires = "shaping", value_delimiter = ',', value_name = "PORT|RANGE,...")]
    pub ports: Vec<crate::ports::PortRange>,
    /// At most so much is sent, both ways and in all: 500kB, 20MB [default: 20MB]
    #[arg(long, requires = "shaping", value_name = "BYTES", value_parser = crate::ports::parse_bytes)]
    pub budget: Option<u64>,
    /// Also fill the path with two classes at once to see who gets it: strict priority, weights, or nobody. Without RATE as fast as
    /// the limit that the trains meet
    #[arg(long, requires = "shaping", value_name = "RATE", num_args = 0..=1, default_missing_value = "met", value_parser = crate::ports::parse_load)]
    pub load: Option<worker::Load>,
    /// Probability of naming a difference where there is none, over the whole run
    #[arg(long, requires = "shaping", default_value_t = 0.001, value_name = "P", value_parser = parse_share)]
    pub alpha: f64,
    /// Probability, for each comparison, of `none` where there is a difference that matters
    #[arg(long, requires = "shaping", default_value_t = 0.01, value_name = "P", value_parser = parse_share)]
    pub alpha_none: f64,
    /// The least difference of delay that matters
    #[arg(long, requires = "shaping", default_value_t = 0.25, value_name = "MS", value_parser = parse_least)]
    pub least_delay: f64,
    /// The least difference of loss that matters, in percentage points
    #[arg(long, requires = "shaping", default_value_t = 0.5, value_name = "PP", value_parser = parse_least)]
    pub least_loss: f64,
    /// The least difference of TCP's throughput that matters, in per cent of the control's (compared where http or tls is asked for)
    #[arg(long, requires = "shaping", default_value_t = 10.0, value_name = "PERCENT", value_parser = parse_least)]
    pub least_throughput: f64,
    /// Print the evidence as well: e-values, counts, intervals, and what would change each verdict
    #[arg(long, requires = "shaping")]
    pub explain: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netlat stamp 192.0.2.1 --dscp all --count 640 --json\nThe port is 862 unless given."
)]
pub struct StampArgs {
    /// HOST, HOST:PORT or [IPV6]:PORT
    pub target: String,
    /// DSCP numbers or names, or "all"
    #[arg(long, default_value = "0,46", value_name = "LIST|all")]
    pub dscp: String,
    /// ECN code points 0..3, or "all"
    #[arg(long, default_value = "0", value_name = "LIST|all")]
    pub ecn: String,
    /// Packets per second
    #[arg(long, default_value_t = 20.0, value_name = "PPS", value_parser = parse_rate)]
    pub rate: f64,
    /// Packets in all
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Authenticated mode: file that holds the HMAC key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Bytes of Extra Padding TLV
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(0..=1200))]
    pub padding: u16,
    /// Send no Class of Service TLV
    #[arg(long)]
    pub no_cos: bool,
    #[arg(long)]
    pub json: bool,
    /// Exit with 3 if a mark was changed
    #[arg(long)]
    pub fail_on_finding: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  netlat reflect --listen [::]:8862")]
pub struct ReflectArgs {
    /// Address and port; an unspecified IPv6 address listens on both families
    #[arg(long, default_value = "[::]:862", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Authenticated mode: file that holds the HMAC key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Count sequence numbers of its own for each sender (RFC 8762, stateful)
    #[arg(long)]
    pub stateful: bool,
    /// Counters as one JSON document at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo netlat path 192.0.2.1 --dscp 0,46")]
pub struct PathArgs {
    /// Host name or address
    pub host: String,
    /// DSCP numbers or names, or "all"
    #[arg(long, default_value = "0,8,34,46,54", value_name = "LIST|all")]
    pub dscp: String,
    /// ECN code points 0..3, or "all"
    #[arg(long, default_value = "0", value_name = "LIST|all")]
    pub ecn: String,
    /// UDP destination port
    #[arg(long, default_value_t = 33434)]
    pub port: u16,
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub max_hops: u8,
    #[arg(long)]
    pub json: bool,
    /// Exit with 3 if a mark was changed
    #[arg(long)]
    pub fail_on_finding: bool,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  netlat bot setup              checks everything and writes the tokens file\n  netlat bot -b -r server\n  netlat bot -b -r main --name nyc1\nThe token comes from the tokens file, or from NETLAT_DISCORD_TOKEN."
)]
pub struct BotArgs {
    #[command(subcommand)]
    pub command: Option<BotCommand>,
    #[command(flatten)]
    pub run: BotRun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// One for a deployment: reads all channels, keeps the task board
    Server,
    /// One for a worker: measures, and posts to the worker's channel
    Main,
}

#[derive(Debug, Args)]
pub struct BotRun {
    /// The token is a bot's (always so)
    #[arg(short, long)]
    pub bot: bool,
    #[arg(short, long, value_enum)]
    pub role: Option<Role>,
    /// Main: the worker's name [default: the stored credential's, else the host name]
    #[arg(long, env = "NETLAT_NAME")]
    pub name: Option<WorkerName>,
    #[command(flatten)]
    pub discord: DiscordArgs,
    /// Where the bot keeps what is not yet posted [default: $XDG_DATA_HOME/netlat/bot-ROLE-NAME]
    #[arg(long, env = "NETLAT_BOT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Server: the running server's data directory, to whose API the records go [default: $XDG_DATA_HOME/netlat/server]
    #[arg(long, value_name = "DIR")]
    pub server_data_dir: Option<PathBuf>,
    /// Server: keep the records in a data directory of its own [default where no server has run here]
    #[arg(long)]
    pub standalone: bool,
}

/// Where Discord is and who we are there.
#[derive(Debug, Args)]
pub struct DiscordArgs {
    /// Tokens file, mode 0600 [default: $XDG_CONFIG_HOME/netlat/tokens.toml]
    #[arg(long, env = "NETLAT_DISCORD_TOKENS", value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Guild id, where the bot is in several
    #[arg(long, env = "NETLAT_DISCORD_GUILD", value_name = "ID")]
    pub guild: Option<u64>,
    /// Base of the REST API, for an emulator [default: https://discord.com/api/v10]
    #[arg(long, env = "NETLAT_DISCORD_API", value_name = "URL")]
    pub api: Option<String>,
    /// Base of the gateway, for an emulator [default: wss://gateway.discord.gg]
    #[arg(long, env = "NETLAT_DISCORD_GATEWAY", value_name = "URL")]
    pub gateway: Option<String>,
    /// Trust the certificates of this PEM file instead of the system's, as SSL_CERT_FILE does
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum BotCommand {
    /// Prints the invite link, checks token, intents, guild, channels and gateway one by one, and writes the tokens file
    #[command(after_help = "Example:\n  netlat bot setup --token @token.txt")]
    Setup {
        /// The bot's token: @FILE that holds it, or - for stdin [default: NETLAT_DISCORD_TOKEN, else the tokens file]
        #[arg(long, value_name = "@FILE|-")]
        token: Option<String>,
        /// Replace a tokens file that is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        discord: DiscordArgs,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  netlat report --worker nyc1 --since 1h")]
pub struct ReportArgs {
    /// Only this worker
    #[arg(long)]
    pub worker: Option<WorkerName>,
    /// How far back: 30s, 15m, 1h, 2d, or an RFC 3339 time
    #[arg(long, default_value = "1h", value_name = "AGE|TIME")]
    pub since: String,
    #[arg(long)]
    pub json: bool,
    /// Print the evidence of each verdict as well
    #[arg(long)]
    pub explain: bool,
    /// Exit with 3 if a mark was changed or a class is treated differently
    #[arg(long)]
    pub fail_on_finding: bool,
    /// The server's data directory [default: $XDG_DATA_HOME/netlat/server]
    #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Parquet,
    Csv,
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dataset {
    /// Probes: one row for each packet
    Samples,
    /// Application latencies from Discord: one row for each record
    Discord,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netlat export --format parquet --out samples.parquet --since 2d\n  netlat export --dataset discord --format csv --out -"
)]
pub struct ExportArgs {
    #[arg(long, value_enum, default_value_t = Dataset::Samples)]
    pub dataset: Dataset,
    #[arg(long, value_enum)]
    pub format: Format,
    /// File to write; - is stdout (csv and jsonl)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Only this worker
    #[arg(long)]
    pub worker: Option<WorkerName>,
    /// How far back: 30s, 15m, 1h, 2d, or an RFC 3339 time [default: everything]
    #[arg(long, value_name = "AGE|TIME")]
    pub since: Option<String>,
    #[arg(long, env = "NETLAT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum EmulateCommand {
    /// A Discord that real client libraries accept: REST, gateway, voice, DNS, private CA; until Ctrl-C
    #[command(
        after_help = "Example:\n  netlat emulate discord --example > discord.toml\n  netlat emulate discord --config discord.toml"
    )]
    Discord {
        /// Print a configuration to start from
        #[arg(long)]
        example: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  netlat demo --duration 30 --json")]
pub struct DemoArgs {
    /// Seconds to measure [default: until Ctrl-C on a terminal, else 30]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(5..=86400))]
    pub duration: Option<u32>,
    /// Cities and policies [default: the built-in demo]
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Only these cities of it
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub city: Vec<String>,
    /// Each city's policy beside what was found, as one JSON document; exit status 1 where they differ
    #[arg(long)]
    pub json: bool,
    /// Keep server and worker data here instead of a temporary directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Without the emulated Discord and its bots
    #[arg(long)]
    pub no_discord: bool,
}

fn parse_share(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|share| (1e-9..=0.5).contains(share)).ok_or("a probability lies between 1e-9 and 0.5")
}

fn parse_least(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|least| (0.0..=100.0).contains(least)).ok_or("it lies between 0 and 100")
}

fn parse_rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate| (0.1..=10_000.0).contains(rate));
    rate.ok_or("the rate lies between 0.1 and 10000 packets per second")
}
