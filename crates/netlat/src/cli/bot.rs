//! Discord's bots and the emulator.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use discord::Snowflake;
use model::WorkerName;

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
    /// Main: do not start the Legion's discord.py bot beside it
    #[arg(long, env = "NETLAT_NO_PYTHON", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_python: bool,
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

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  netlat check\n  netlat check --pid bot.py          a running bot, in whatever language it is written\n  netlat check --watch 60 --json\n  netlat check --channel 1400000000000000003 --voice 1400000000000000004\nIt posts nothing, joins nothing and needs no token; with one (tokens file or NETLAT_DISCORD_TOKEN) REST is asked as the bot. --channel and\n--voice need the token, and each look with them is one of the bot's 1000 identifies a day.\nExit status: 0 nothing stands out, 3 something does and --fail-on-finding was given."
)]
pub struct CheckArgs {
    /// Also watch this running process: its number, or the name of its program or script
    #[arg(long, value_name = "PID|NAME")]
    pub pid: Option<String>,
    /// Look again every so many seconds, and show what changed, until Ctrl-C
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(10..=86400))]
    pub watch: Option<u32>,
    /// Time the echo of four messages in this text channel, which are deleted at once
    #[arg(long, value_name = "ID", conflicts_with = "no_token")]
    pub channel: Option<Snowflake>,
    /// Enter this voice channel for some seconds, without a sound; a bot of the same token loses its own seat in that guild
    #[arg(long, value_name = "ID", conflicts_with = "no_token")]
    pub voice: Option<Snowflake>,
    /// One JSON document on stdout (with --watch one a line)
    #[arg(long)]
    pub json: bool,
    /// Ask REST without a token even where one is known
    #[arg(long)]
    pub no_token: bool,
    /// Exit status 3 where something stands out
    #[arg(long)]
    pub fail_on_finding: bool,
    #[command(flatten)]
    pub discord: DiscordArgs,
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
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  netlat legion setup                     installs every bot whose language is here, from its registry\n  netlat legion --name nyc1               runs them, with a live table on a terminal\n  netlat legion --only discord.py,hikari --json\nlegion.toml (here, or in $XDG_CONFIG_HOME/netlat) may say which: bots = [\"discord.py\"], interval_s, post_s, stagger_s, turn_s, memory_mib.\nThe token comes from the tokens file, or from NETLAT_DISCORD_TOKEN."
)]
pub struct LegionArgs {
    #[command(subcommand)]
    pub command: Option<LegionCommand>,
    #[command(flatten)]
    pub run: LegionRun,
}

#[derive(Debug, Args)]
pub struct LegionRun {
    /// The worker beside which they measure [default: the stored credential's, else the host name]
    #[arg(long, env = "NETLAT_NAME")]
    pub name: Option<WorkerName>,
    #[command(flatten)]
    pub which: LegionWhich,
    /// Every record as a line of JSON on stdout, and the bots' state at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub discord: DiscordArgs,
    /// Where the bots' journals and logs are [default: $XDG_DATA_HOME/netlat/legion-NAME]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct LegionWhich {
    /// These libraries only
    #[arg(long, value_name = "LIBRARY,...", value_delimiter = ',')]
    pub only: Vec<String>,
    /// The file that says which [default: legion.toml here, else in $XDG_CONFIG_HOME/netlat]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Where the bots are installed, for all workers of this host [default: $XDG_DATA_HOME/netlat/legion]
    #[arg(long, env = "NETLAT_LEGION_DIR", value_name = "DIR")]
    pub install_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum LegionCommand {
    /// Installs the bots' libraries from their registries, each by its ecosystem's own tool and lock file
    #[command(after_help = "Example:\n  netlat legion setup --only discord.py,discord.js")]
    Setup {
        #[command(flatten)]
        which: LegionWhich,
    },
}
