//! What measures: workers, probes, STAMP and paths.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use model::WorkerName;

use super::SpecArgs;

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Join string, @FILE that holds it, or - for stdin [default: the stored credential]
    #[arg(long, env = "NETLAT_JOIN", hide_env_values = true, value_name = "STRING|@FILE|-")]
    pub join: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netlat worker --join @nyc1.join --name nyc1\n  netlat worker --interface eth0 --media rotterdam1234.discord.media\nThe join string is needed once; later starts use the credential in the data directory."
)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub join: JoinArgs,
    /// Name of this worker, usually its city [default: the host name]
    #[arg(long, env = "NETLAT_NAME")]
    pub name: Option<WorkerName>,
    /// Also capture this interface passively: marks of replies, and DNS lookups of Discord's media hosts by any program of
    /// this host (needs CAP_NET_RAW, given up after opening; DNS over TLS or HTTPS cannot be seen)
    #[arg(long, env = "NETLAT_INTERFACE", value_name = "IF")]
    pub interface: Option<String>,
    /// Ping this media host (DNS, ICMP echo, TCP connect; port 443 if left out), besides those seen by --interface; may be
    /// repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    pub media: Vec<worker::MediaHost>,
    /// Seconds between two pings of a media host [default: 60]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub media_every: Option<u32>,
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
