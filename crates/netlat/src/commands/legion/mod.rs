//! `netlat legion`: installs and runs the bots in other languages.

pub mod beside;
mod file;
mod view;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use discord::rest::{Endpoint, Rest, RestConfig, Trust};
use legion::{BotStatus, Kind, LegionConfig};
use model::WorkerName;

use super::bot::{endpoint, guild, tokens, trust, worker_name};
use super::{runtime, stop_signal};
use crate::Outcome;
use crate::cli::{DiscordArgs, LegionArgs, LegionCommand, LegionRun, LegionWhich};
use crate::config::{Config, data_dir};
use crate::usage::mistake;
pub use file::LegionFile;

/// For an answer of Discord before the bots begin.
const TIMEOUT: Duration = Duration::from_secs(30);

pub fn run(args: LegionArgs, config: &Config) -> anyhow::Result<Outcome> {
    match args.command {
        Some(LegionCommand::Setup { which }) => setup(&which),
        None => bots(args.run, config),
    }
}

fn install_dir(which: &LegionWhich) -> anyhow::Result<PathBuf> {
    data_dir(which.install_dir.clone(), None, "legion")
}

/// The bots that were asked for, and whether they were asked for by name.
fn chosen(which: &LegionWhich, file: &LegionFile) -> anyhow::Result<(Vec<&'static Kind>, bool)> {
    let names = if which.only.is_empty() { file.bots.clone() } else { Some(which.only.clone()) };
    let Some(names) = names else { return Ok((legion::KINDS.iter().collect(), false)) };
    let mut kinds: Vec<&'static Kind> = Vec::new();
    for name in &names {
        let kind = legion::named(name.trim()).map_err(|error| mistake(error.into()))?;
        if !kinds.iter().any(|known| known.library == kind.library) {
            kinds.push(kind);
        }
    }
    ensure!(!kinds.is_empty(), "no bot was chosen: bots = [] says none");
    Ok((kinds, true))
}

/// Installs one after the other; what cannot be installed is told, and the others go on.
fn setup(which: &LegionWhich) -> anyhow::Result<Outcome> {
    let (kinds, by_name) = chosen(which, &LegionFile::load(which.file.as_deref())?)?;
    let root = install_dir(which)?;
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let (mut done, mut missing) = (0, 0);
        for kind in &kinds {
            let begun = Instant::now();
            let mut progress = |step: &str| eprintln!("netlat: {}: {step} ...", kind.library);
            let outcome = tokio::select! {
                outcome = legion::install(kind, &root, &mut progress) => outcome,
                () = &mut stop => bail!("stopped; what was installed stays, the rest is begun anew next time"),
            };
            match outcome {
                Ok(()) => {
                    done += 1;
                    eprintln!("netlat: {} is ready ({:.0} s)", kind.library, begun.elapsed().as_secs_f64());
                }
                Err(error) => {
                    missing += 1;
                    eprintln!("netlat: {error}");
                }
            }
        }
        ensure!(done > 0, "no bot could be installed");
        // Who named one wants that one.
        ensure!(missing == 0 || !by_name, "{missing} of {} bots could not be installed", kinds.len());
        Ok(Outcome::Done)
    })
}

/// Those of the chosen that are installed; the others are told.
async fn installed(kinds: Vec<&'static Kind>, by_name: bool, root: &Path) -> anyhow::Result<Vec<&'static Kind>> {
    let mut ready = Vec::new();
    for kind in kinds {
        match legion::runtime(kind).await {
            Ok(runtime) if legion::is_installed(kind, root, &runtime) => ready.push(kind),
            Ok(_) if by_name => bail!("{} is not installed: netlat legion setup --only {}", kind.library, kind.library),
            Err(error) if by_name => return Err(error.into()),
            Ok(_) => tracing::info!("{} is not installed: netlat legion setup", kind.library),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    ensure!(!ready.is_empty(), "no bot is installed in {}: netlat legion setup", root.display());
    Ok(ready)
}

/// What a Legion beside a main bot needs to know of it.
pub struct Beside<'a> {
    pub worker: WorkerName,
    pub discord: &'a DiscordArgs,
    pub config: &'a Config,
    pub kinds: Vec<&'static Kind>,
    pub root: PathBuf,
    pub data_dir: PathBuf,
}

/// Everything but the pace has its place in the configuration of bots.
pub fn configure(beside: Beside<'_>, file: &LegionFile) -> anyhow::Result<(LegionConfig, Rest)> {
    let (discord, section) = (beside.discord, &beside.config.bot);
    let tokens = tokens(discord, section)?;
    let api = endpoint(discord.api.as_ref(), section.api.as_ref())?.unwrap_or_else(Endpoint::discord_api);
    let gateway =
        endpoint(discord.gateway.as_ref(), section.gateway.as_ref())?.unwrap_or_else(Endpoint::discord_gateway);
    let token = tokens.for_worker(&beside.worker)?.token;
    let clock = net::Clock::from_env()?;
    let rest = Rest::new(RestConfig {
        endpoint: api.clone(),
        token: token.clone(),
        trust: Trust::load()?,
        clock: clock.clone(),
        timeout: TIMEOUT,
    });
    let config = LegionConfig {
        guild: guild(discord, section, &tokens)?,
        worker: beside.worker,
        token,
        api,
        gateway,
        kinds: beside.kinds,
        root: beside.root,
        data_dir: beside.data_dir,
        interval: Duration::from_secs_f64(file.interval_s),
        post: Duration::from_secs_f64(file.post_s),
        stagger: Duration::from_secs_f64(file.stagger_s),
        turn: Duration::from_secs_f64(file.turn_s),
        memory_mib: file.memory_mib,
        clock,
    };
    Ok((config, rest))
}

fn bots(args: LegionRun, config: &Config) -> anyhow::Result<Outcome> {
    trust(args.discord.ca.as_deref().or(config.bot.ca.as_deref()))?;
    let file = LegionFile::load(args.which.file.as_deref())?;
    let (kinds, by_name) = chosen(&args.which, &file)?;
    let root = install_dir(&args.which)?;
    let name = match args.name.clone().or_else(|| config.worker.name.clone()) {
        Some(name) => name,
        None => worker_name(&data_dir(None, config.worker.data_dir.as_ref(), "worker")?)?,
    };
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let kinds = installed(kinds, by_name, &root).await?;
        let beside = Beside {
            data_dir: data_dir(args.data_dir.clone(), None, &format!("legion-{name}"))?,
            worker: name,
            discord: &args.discord,
            config,
            kinds,
            root,
        };
        let (legion, rest) = configure(beside, &file)?;
        let is_json = args.json;
        let told = move |record: &model::Record| {
            if is_json && let Ok(line) = serde_json::to_string(record) {
                // Whoever reads has gone: the bots go on.
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
        };
        let mut table = view::Table::new(!is_json && std::io::stdout().is_terminal());
        let mut last: Vec<BotStatus> = Vec::new();
        let mut shown = |statuses: &[BotStatus]| {
            table.show(statuses);
            last = statuses.to_vec();
        };
        let ended = legion::run(legion, &rest, Box::new(told), &mut shown, stop).await;
        match is_json {
            true => writeln!(std::io::stdout().lock(), "{}", serde_json::json!({ "bots": last }))?,
            false => table.end(&last)?,
        }
        ended.map(|()| Outcome::Done).map_err(anyhow::Error::from)
    })
}
