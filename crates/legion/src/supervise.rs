//! All bots of one host: who runs when, one after the other where Discord or memory asks for it.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use discord::place::{WorkerPlace, of_worker_patiently};
use discord::rest::{Endpoint, Rest};
use discord::secret::Token;
use discord::{BotError, Snowflake};
use futures_util::future::join_all;
use model::{Record, WorkerName};
use net::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bot::{Bot, lock};
use crate::catalogue::Kind;
use crate::memory;
use crate::network::Places;
use crate::status::{BotStatus, State};

/// Names are looked up again so often.
const LOOKUPS: Duration = Duration::from_secs(300);

pub struct LegionConfig {
    pub worker: WorkerName,
    pub token: Token,
    /// Needed where the bot is in several.
    pub guild: Option<Snowflake>,
    pub api: Endpoint,
    pub gateway: Endpoint,
    /// Installed ones.
    pub kinds: Vec<&'static Kind>,
    /// Under which they are installed.
    pub root: PathBuf,
    /// For journals and logs; of this Legion alone.
    pub data_dir: PathBuf,
    /// Between a bot's REST calls.
    pub interval: Duration,
    /// Between a bot's posts; each is a message echo as well.
    pub post: Duration,
    /// Between two bots' starts: Discord takes one identify in five seconds of one token.
    pub stagger: Duration,
    /// How long a group of bots runs where not all fit into memory.
    pub turn: Duration,
    /// What all of them together may take; `None`: what the host has to give.
    pub memory_mib: Option<u64>,
    pub clock: Clock,
}

#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    Discord(#[from] BotError),
    #[error("cannot use {path}: {source}")]
    Data { path: PathBuf, source: io::Error },
    #[error("no bot of the Legion can go on")]
    AllFailed,
}

pub(crate) struct Shared {
    pub config: LegionConfig,
    pub place: WorkerPlace,
    pub statuses: Mutex<Vec<BotStatus>>,
    pub places: Mutex<Places>,
    pub told: Box<dyn Fn(&Record) + Send + Sync>,
}

/// Runs the bots until `shutdown`. `told` gets each record as it is made; `shown` each second what is known of each bot.
pub async fn run(
    config: LegionConfig,
    rest: &Rest,
    told: Box<dyn Fn(&Record) + Send + Sync>,
    shown: &mut dyn FnMut(&[BotStatus]),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Ended> {
    tokio::pin!(shutdown);
    let _lock = discord::main_bot::claim(&config.data_dir)?;
    let place = tokio::select! {
        place = of_worker_patiently(rest, config.guild, &config.worker) => place?,
        () = &mut shutdown => return Ok(()),
    };
    let statuses = config.kinds.iter().map(|kind| BotStatus::new(kind.library, kind.language)).collect();
    let shared = Shared { config, place, statuses: Mutex::new(statuses), places: Mutex::default(), told };
    let mut bots = Vec::new();
    for (index, kind) in shared.config.kinds.iter().copied().enumerate() {
        let dir = &shared.config.data_dir;
        let bot = Bot::open(kind, index, &shared, dir);
        bots.push(bot.map_err(|source| Ended::Data { path: dir.clone(), source })?);
    }
    let (stop, stopped) = watch::channel(false);
    let ended = {
        let work = turns(&shared, &mut bots, stopped);
        tokio::pin!(work);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let lookups = lookups(&shared);
        tokio::pin!(lookups);
        loop {
            tokio::select! {
                () = &mut work => break Err(Ended::AllFailed),
                () = &mut lookups => {}
                _ = ticks.tick() => shown(&lock(&shared.statuses)),
                () = &mut shutdown => {
                    let _ = stop.send(true);
                    work.await;
                    break Ok(());
                }
            }
        }
    };
    shown(&lock(&shared.statuses));
    ended
}

async fn lookups(shared: &Shared) {
    loop {
        let mut places = lock(&shared.places).clone();
        places.api.learn(&shared.config.api).await;
        places.gateway.learn(&shared.config.gateway).await;
        *lock(&shared.places) = places;
        tokio::time::sleep(LOOKUPS).await;
    }
}

/// Ends when told to, or when no bot can go on.
async fn turns(shared: &Shared, bots: &mut [Bot<'_>], mut stop: watch::Receiver<bool>) {
    let mut told_of_turns = false;
    while !*stop.borrow() {
        let groups = groups(shared);
        if groups.is_empty() {
            return;
        }
        if groups.len() > 1 && !std::mem::replace(&mut told_of_turns, true) {
            tracing::info!(
                "not all bots fit into this host's memory at once: {} groups take turns of {} s",
                groups.len(),
                shared.config.turn.as_secs()
            );
        }
        for group in &groups {
            let (end, ended) = watch::channel(false);
            let is_only = groups.len() == 1;
            let turn = async {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = tokio::time::sleep(shared.config.turn), if !is_only => {}
                }
                let _ = end.send(true);
                std::future::pending::<()>().await;
            };
            let running = join_all(
                bots.iter_mut()
                    .filter(|bot| group.contains(&bot.index))
                    .enumerate()
                    .map(|(rank, bot)| start_later(bot, shared.config.stagger * rank as u32, ended.clone())),
            );
            tokio::select! {
                _ = running => {}
                () = turn => {}
            }
            if *stop.borrow() {
                return;
            }
        }
    }
}

async fn start_later(bot: &mut Bot<'_>, after: Duration, stop: watch::Receiver<bool>) {
    let (at, mut ended) = (Instant::now() + after, stop.clone());
    tokio::select! {
        () = tokio::time::sleep_until(at) => bot.run(stop).await,
        _ = ended.wait_for(|stop| *stop) => {}
    }
}

/// The bots that can go on, in the groups that fit into memory.
fn groups(shared: &Shared) -> Vec<Vec<usize>> {
    let statuses = lock(&shared.statuses);
    let alive: Vec<usize> =
        (0..statuses.len()).filter(|index| !matches!(statuses[*index].state, State::Failed(_))).collect();
    let need = |index: &usize| {
        let seen = statuses[*index].most_resident_mib.map(|mib| mib.ceil() as u64);
        seen.unwrap_or(shared.config.kinds[*index].memory_mib)
    };
    let needs: Vec<u64> = alive.iter().map(need).collect();
    let host = memory::available_mib().map(memory::budget_mib);
    let budget = [shared.config.memory_mib, host].into_iter().flatten().min().unwrap_or(u64::MAX);
    let groups = memory::turns(&needs, budget);
    groups.into_iter().map(|group| group.into_iter().map(|at| alive[at]).collect()).collect()
}
