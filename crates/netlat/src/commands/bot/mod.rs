//! `netlat bot`: the main bot of a worker, the server bot of a deployment, and their setup.

mod deployment;
mod setup;
mod tasks;

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use discord::main_bot::MainBotConfig;
use discord::rest::Endpoint;
use discord::secret::Token;
use discord::server_bot::ServerBotConfig;
use discord::tokens::Tokens;
use discord::{Pace, Snowflake};
use model::{Deployment, WorkerName};

use super::legion::beside::{self, Python};
use super::legion::{Beside, LegionFile, configure};
use super::stop_signal;
use crate::Outcome;
use crate::cli::{BotArgs, BotCommand, BotRun, DiscordArgs, Role};
use crate::config::{BotSection, Config, data_dir, xdg};
use crate::usage::mistake;

/// Name of the directory in which a server bot without a server keeps its records.
pub const STANDALONE: &str = "discord";
pub const TOKEN: &str = "NETLAT_DISCORD_TOKEN";

pub fn run(args: BotArgs, config: &Config) -> anyhow::Result<Outcome> {
    let discord = match &args.command {
        Some(BotCommand::Setup { discord, .. }) => discord,
        None => &args.run.discord,
    };
    trust(discord.ca.as_deref().or(config.bot.ca.as_deref()))?;
    match args.command {
        Some(BotCommand::Setup { token, force, discord }) => setup::run(token, force, &discord, &config.bot),
        None => match args.run.role {
            Some(Role::Main) => main_bot(args.run, config),
            Some(Role::Server) => server_bot(args.run, config),
            None => Err(mistake(anyhow!("say which bot: netlat bot -b -r server, or netlat bot -b -r main"))),
        },
    }
}

/// The libraries below read the trusted certificates from `SSL_CERT_FILE` alone, and a process's environment is set only
/// before it starts: so it starts anew.
pub fn trust(ca: Option<&Path>) -> anyhow::Result<()> {
    const VARIABLE: &str = "SSL_CERT_FILE";
    let Some(ca) = ca else { return Ok(()) };
    if std::env::var_os(VARIABLE).is_some_and(|set| Path::new(&set) == ca) {
        return Ok(());
    }
    std::fs::File::open(ca).with_context(|| format!("cannot read the certificates in {}", ca.display()))?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = std::process::Command::new("/proc/self/exe").arg0(name).args(arguments).env(VARIABLE, ca).exec();
    Err(error).context("cannot start anew with other certificates")
}

/// Everything of a bot on one loop, so that it notices when that loop stands still.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(2)
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

pub fn endpoint(flag: Option<&String>, configured: Option<&String>) -> anyhow::Result<Option<Endpoint>> {
    flag.or(configured).map(|text| text.parse::<Endpoint>().map_err(|error| mistake(error.into()))).transpose()
}

fn id(text: &str, what: &str) -> anyhow::Result<Snowflake> {
    text.parse().with_context(|| format!("[bot] {what}: '{text}' is no Discord id"))
}

fn ids(texts: &[String], what: &str) -> anyhow::Result<BTreeSet<Snowflake>> {
    texts.iter().map(|text| id(text, what)).collect()
}

pub fn tokens_path(args: &DiscordArgs, section: &BotSection) -> anyhow::Result<PathBuf> {
    args.tokens
        .clone()
        .or_else(|| section.tokens.clone())
        .or_else(|| xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("netlat/tokens.toml")))
        .context("neither HOME nor XDG_CONFIG_HOME is set: give --tokens")
}

/// The token of the environment, else the tokens file.
pub fn tokens(args: &DiscordArgs, section: &BotSection) -> anyhow::Result<Tokens> {
    match std::env::var(TOKEN) {
        Ok(token) => Ok(Tokens::single(Token::new(&token).with_context(|| TOKEN.to_owned())?)),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{TOKEN} is not text"),
        Err(std::env::VarError::NotPresent) => Ok(Tokens::load(&tokens_path(args, section)?)?),
    }
}

pub fn guild(args: &DiscordArgs, section: &BotSection, tokens: &Tokens) -> anyhow::Result<Option<Snowflake>> {
    let configured = section.guild.as_deref().map(|text| id(text, "guild")).transpose()?;
    Ok(args.guild.map(Snowflake).or(configured).or(tokens.guild))
}

fn pace(section: &BotSection) -> Pace {
    let default = Pace::default();
    let seconds = |value: Option<u32>, least: u32, otherwise| {
        value.map_or(otherwise, |value| Duration::from_secs(value.max(least).into()))
    };
    Pace { rest: seconds(section.rest_s, 1, default.rest), post: seconds(section.post_s, 2, default.post), ..default }
}

fn main_bot(args: BotRun, config: &Config) -> anyhow::Result<Outcome> {
    let section = &config.bot;
    let worker_dir = data_dir(None, config.worker.data_dir.as_ref(), "worker")?;
    let name = match args.name.or_else(|| config.worker.name.clone()) {
        Some(name) => name,
        None => worker_name(&worker_dir)?,
    };
    let tokens = tokens(&args.discord, section)?;
    let mut steered_by = ids(&section.steered_by, "steered_by")?;
    steered_by.extend(tokens.for_server().ok().and_then(|chosen| chosen.token.user_id()));
    let chosen = tokens.for_worker(&name)?;
    let bot = MainBotConfig {
        guild: guild(&args.discord, section, &tokens)?,
        api: endpoint(args.discord.api.as_ref(), section.api.as_ref())?.unwrap_or_else(Endpoint::discord_api),
        gateway: endpoint(args.discord.gateway.as_ref(), section.gateway.as_ref())?,
        steered_by,
        receiver: Some(Arc::new(tasks::Handover::new(worker_dir))),
        data_dir: data_dir(args.data_dir, section.data_dir.as_ref(), &format!("bot-main-{name}"))?,
        pace: pace(section),
        voice: section.voice.unwrap_or(true),
        token: chosen,
        clock: net::Clock::from_env()?,
        worker: name,
    };
    let python = match args.no_python || section.python == Some(false) {
        true => None,
        false => Some(python(&bot, &args.discord, config)?),
    };
    let ended = runtime()?.block_on(async {
        let stop = stop_signal()?;
        discord::main_bot::run(bot, stop).await.map_err(anyhow::Error::from)
    });
    if let Some(python) = python {
        python.end();
    }
    ended.map(|()| Outcome::Done)
}

/// The bots in other languages begin with Python's, as the first of all these bots did.
fn python(bot: &MainBotConfig, discord: &DiscordArgs, config: &Config) -> anyhow::Result<Python> {
    let beside = Beside {
        worker: bot.worker.clone(),
        discord,
        config,
        kinds: beside::kinds()?,
        root: data_dir(None, None, "legion")?,
        data_dir: bot.data_dir.join("legion"),
    };
    let (config, rest) = configure(beside, &LegionFile::load(None)?)?;
    Python::start(beside::Plan { config, rest })
}

pub fn worker_name(worker_dir: &Path) -> anyhow::Result<WorkerName> {
    if let Some(credential) = worker::Credential::load(worker_dir)? {
        return Ok(credential.name);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read this host's name")?;
    Ok(WorkerName::from_host_name(host.trim()))
}

fn server_bot(args: BotRun, config: &Config) -> anyhow::Result<Outcome> {
    let section = &config.bot;
    let tokens = tokens(&args.discord, section)?;
    let server_dir = data_dir(args.server_data_dir, config.server.data_dir.as_ref(), "server")?;
    let has_server = server_dir.join(server::Announcement::FILE).exists();
    let deployment: Arc<dyn Deployment> = if args.standalone || section.standalone || !has_server {
        let dir = data_dir(None, None, STANDALONE)?;
        if !args.standalone && !section.standalone {
            tracing::info!("no server has run on {}: records go to {}", server_dir.display(), dir.display());
        }
        Arc::new(deployment::Own::open(&dir)?)
    } else {
        Arc::new(deployment::Remote::new(server_dir))
    };
    let bot = ServerBotConfig {
        name: args.name.map_or_else(|| WorkerName::new(model::SERVER_BOT), Ok)?,
        guild: guild(&args.discord, section, &tokens)?,
        api: endpoint(args.discord.api.as_ref(), section.api.as_ref())?.unwrap_or_else(Endpoint::discord_api),
        gateway: endpoint(args.discord.gateway.as_ref(), section.gateway.as_ref())?,
        data_dir: data_dir(args.data_dir, section.data_dir.as_ref(), "bot-server")?,
        deployment,
        allowed: discord::board::Allowed {
            roles: ids(&section.allowed_roles, "allowed_roles")?,
            users: ids(&section.allowed_users, "allowed_users")?,
        },
        pace: pace(section),
        refresh: Duration::from_secs(section.refresh_s.unwrap_or(30).max(2).into()),
        clock: net::Clock::from_env()?,
        tokens,
    };
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        discord::server_bot::run(bot, stop).await.map_err(anyhow::Error::from)
    })?;
    Ok(Outcome::Done)
}
