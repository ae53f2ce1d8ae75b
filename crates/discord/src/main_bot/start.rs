//! A main bot's start: who am I, which guild, which channel; patient where Discord is away, final where it refuses.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::BootId;
use tokio::sync::mpsc;

use crate::api::Page;
use crate::error::BotError;
use crate::gateway::{Event, Gateway};
use crate::journal::Journal;
use crate::main_bot::echo::Echoes;
use crate::main_bot::{MainBot, MainBotConfig, gateway_config};
use crate::place::{self, WorkerPlace};
use crate::recorder::Recorder;
use crate::rest::{Rest, RestConfig, RestError, Trust};
use crate::snowflake::Snowflake;
use crate::stall::Stalls;
use crate::turns::Want;
use crate::types::VOICE;
use crate::vitals::Vitals;
use crate::voice::{Seat, Voice};

const TIMEOUT: Duration = Duration::from_secs(15);
/// Few come, and a bot that does not read them measures no voice.
const VOICE_EVENTS: usize = 32;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Started {
    pub(super) bot: Arc<MainBot>,
    pub(super) gateway: Gateway,
    pub(super) voice: Option<Voice>,
    pub(super) voice_events: mpsc::Sender<Event>,
    _lock: File,
}

pub(super) async fn start(config: MainBotConfig, trust: Trust) -> Result<Started, BotError> {
    if config.worker.as_str() == place::CONTROL_NAME {
        return Err(BotError::ReservedName(config.worker));
    }
    let lock = claim(&config.data_dir)?;
    let path = config.data_dir.join("journal.jsonl");
    let journal = Journal::open(&path).map_err(|source| BotError::Data { path, source })?;
    let rest = Rest::new(RestConfig {
        endpoint: config.api.clone(),
        token: config.token.token.clone(),
        trust: trust.clone(),
        clock: config.clock.clone(),
        timeout: TIMEOUT,
    });
    let place = patiently(|| place_of(&rest, &config)).await?;
    let Place { me, channel, .. } = place;
    let (tls, is_shared) = (config.api.tls, config.token.shared);
    let worker = config.worker.clone();
    let boot = BootId(fastrand::u64(1..));
    let gateway = Gateway::new(gateway_config(&config));
    let target = config.gateway.as_ref().map_or("gateway.discord.gg".to_owned(), |endpoint| endpoint.host.clone());
    let recorder = Recorder::new(config.worker.clone(), boot, journal, Stalls::default());
    let started_us = model::record::micros(config.clock.now());
    let vitals = Vitals {
        rest,
        recorder,
        clock: config.clock,
        pace: config.pace,
        channel,
        gateway_target: target,
        settings: Mutex::default(),
        peers: Mutex::default(),
        voice_server: Mutex::default(),
    };
    let echoes = Mutex::new(Echoes::default());
    let bot = Arc::new(MainBot {
        vitals,
        me,
        started_us,
        boot,
        steered_by: config.steered_by,
        receiver: config.receiver,
        unsaid: Mutex::default(),
        echoes,
        latest: Mutex::default(),
    });
    bot.vitals.look_at_clock().await;
    // A process that was killed may have posted what its journal still holds.
    if bot.vitals.recorder.backlog() > 0 {
        patiently(async || Ok(bot.reconcile().await?)).await?;
    }
    // What the task board said while this bot was away: the newest word counts.
    let newest =
        patiently(async || Ok(bot.vitals.rest.messages(channel, Page::Newest, crate::api::PAGE).await?)).await?;
    let _ = newest.iter().rev().any(|message| bot.obey(message));
    tracing::info!("main bot of worker {}: user {me}, channel {channel}", worker);
    if is_shared {
        wait_for_identify(&bot).await;
    }
    let (voice_events, events) = mpsc::channel(VOICE_EVENTS);
    let seat = place.voice.map(|channel| Seat { guild: place.guild, channel, me, tls });
    let sender = gateway.sender();
    let turns = is_shared.then(|| bot.vitals.recorder.worker.clone());
    let voice = seat.map(|seat| Voice { seat, trust, sender, events, turns });
    Ok(Started { bot, gateway, voice, voice_events, _lock: lock })
}

/// Bots that share a token log in one after the other, as the server bot says. Where there is none, chance keeps them apart,
/// and the gateway's own refusal (op 9) after that.
async fn wait_for_identify(bot: &MainBot) {
    let Vitals { rest, recorder, channel, .. } = &bot.vitals;
    match rest.turn(*channel, &recorder.worker, Want::Identify).await {
        Ok(Some(message)) => {
            if let Err(error) = rest.delete(*channel, message).await {
                tracing::debug!("{error}");
            }
        }
        Ok(None) => tracing::info!("no server bot grants turns; logging in without"),
        Err(error) => tracing::debug!("{error}"),
    }
}

struct Place {
    me: Snowflake,
    guild: Snowflake,
    channel: Snowflake,
    voice: Option<Snowflake>,
}

async fn place_of(rest: &Rest, config: &MainBotConfig) -> Result<Place, BotError> {
    let WorkerPlace { me, guild, channel } = place::of_worker(rest, config.guild, &config.worker).await?;
    let voice = match config.voice {
        true => Some(place::channel(rest, guild, place::VOICE_NAME, VOICE, "").await?),
        false => None,
    };
    Ok(Place { me, guild, channel, voice })
}

/// Tries until it succeeds or fails for good; longer and longer pauses, one line at the first failure.
pub(crate) async fn patiently<T>(mut attempt: impl AsyncFnMut() -> Result<T, BotError>) -> Result<T, BotError> {
    let mut pause = Duration::from_secs(1);
    let mut complained = false;
    loop {
        match attempt().await {
            Err(error) if is_away(&error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!("{error}; trying again until it answers");
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

/// Waiting may repair it: Discord, or the deployment, is away.
pub(crate) fn is_away(error: &BotError) -> bool {
    match error {
        BotError::Rest(error) => error.is_transient(),
        BotError::Deployment(_) => true,
        _ => false,
    }
}

/// Makes the directory (0700) where it is missing and takes it for this process.
pub fn claim(dir: &Path) -> Result<File, BotError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BotError::Data { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
    let path = dir.join("bot.lock");
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BotError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
    }
}

impl MainBot {
    /// An error in the words of permissions, where it is one.
    pub(super) fn explain(&self, error: RestError) -> BotError {
        match error {
            RestError::Forbidden { call, code, message } => {
                tracing::error!("{call}: {message} (code {code})");
                BotError::ChannelPermission { channel: self.vitals.channel }
            }
            RestError::Refused { status: 404, .. } => BotError::ChannelGone { channel: self.vitals.channel },
            error => error.into(),
        }
    }
}
