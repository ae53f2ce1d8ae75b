//! What was measured, and the demo.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use model::WorkerName;

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
