//! The main bot: one for each worker. Measures REST, gateway, message echo and voice from that worker's host, and posts
//! what it measured to the worker's channel.

mod echo;
mod post;
mod start;
mod tell;

pub use start::claim;
pub(crate) use start::{is_away, patiently};

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use model::{BootId, TaskReceiver, WorkerName};
use net::Clock;
use tokio::sync::mpsc;
use tokio::time::Instant;
use twilight_gateway::Intents;

use crate::batch::{Batch, NotABatch};
use crate::board::steering::Steering;
use crate::error::BotError;
use crate::gateway::{Event, Gateway, GatewayConfig, Signal};
use crate::main_bot::echo::Echoes;
use crate::recorder::lock;
use crate::rest::{Endpoint, Trust};
use crate::snowflake::Snowflake;
use crate::tokens::Chosen;
use crate::types::Message;
use crate::vitals::{Pace, Vitals};
use crate::voice::Voice;

pub struct MainBotConfig {
    pub worker: WorkerName,
    pub token: Chosen,
    /// Needed where the bot is in several.
    pub guild: Option<Snowflake>,
    pub api: Endpoint,
    /// `None`: Discord's own.
    pub gateway: Option<Endpoint>,
    /// Accounts whose steering messages are obeyed; this bot's own always is.
    pub steered_by: BTreeSet<Snowflake>,
    /// Where tasks that came by Discord go.
    pub receiver: Option<Arc<dyn TaskReceiver>>,
    /// Of this bot alone.
    pub data_dir: PathBuf,
    pub pace: Pace,
    /// Stay in a voice channel, to measure voice servers.
    pub voice: bool,
    pub clock: Clock,
}

/// Runs until `shutdown`, or until an error that no waiting repairs. Everything is done on the caller's loop, so that a
/// stall of it is seen: use a current-thread runtime.
pub async fn run(config: MainBotConfig, shutdown: impl Future<Output = ()>) -> Result<(), BotError> {
    let trust = Trust::load()?;
    tokio::pin!(shutdown);
    let mut started = tokio::select! {
        started = start::start(config, trust) => started?,
        () = &mut shutdown => return Ok(()),
    };
    let bot = started.bot.clone();
    let ended = tokio::select! {
        ended = bot.listen(&mut started.gateway, &started.voice_events) => Some(ended),
        error = bot.vitals.probe() => Some(bot.explain(error)),
        ended = bot.post_forever() => Some(ended),
        ended = bot.tell_forever() => Some(ended),
        () = stay_in_voice(started.voice.as_mut(), &bot.vitals) => None,
        () = bot.vitals.connect_forever() => None,
        () = crate::voice::ping_forever(&bot.vitals) => None,
        () = bot.vitals.recorder.stalls.watch() => None,
        () = &mut shutdown => None,
    };
    match ended {
        Some(error) => Err(error),
        None => {
            if let Some(voice) = &started.voice {
                voice.leave();
                started.gateway.flush().await;
            }
            bot.last_post().await;
            Ok(())
        }
    }
}

async fn stay_in_voice(voice: Option<&mut Voice>, vitals: &Vitals) {
    match voice {
        Some(voice) => voice.run(vitals).await,
        None => std::future::pending().await,
    }
}

/// What the loops share.
struct MainBot {
    vitals: Vitals,
    me: Snowflake,
    started_us: i64,
    boot: BootId,
    steered_by: BTreeSet<Snowflake>,
    receiver: Option<Arc<dyn TaskReceiver>>,
    /// Lines for people that wait to be said in the channel.
    unsaid: Mutex<VecDeque<String>>,
    echoes: Mutex<Echoes>,
    /// The newest message known to be ours.
    latest: Mutex<Snowflake>,
}

impl MainBot {
    async fn listen(&self, gateway: &mut Gateway, voice: &mpsc::Sender<Event>) -> BotError {
        let mut was_lost = false;
        loop {
            match gateway.next().await {
                Ok(Signal::Beat(beat)) => self.vitals.beat(&beat),
                Ok(Signal::Event { event, at, .. }) => {
                    if matches!(*event, Event::Ready(_) | Event::Resumed) && std::mem::take(&mut was_lost) {
                        tracing::info!("the gateway's session stands again");
                    }
                    match *event {
                        Event::MessageCreate(message) => {
                            if let Err(error) = self.heard(&message, at) {
                                return error;
                            }
                        }
                        // Nobody listens where voice is not measured.
                        event @ (Event::VoiceStateUpdate(_) | Event::VoiceServerUpdate(_)) => {
                            let _ = voice.try_send(event);
                        }
                        _ => {}
                    }
                }
                Ok(Signal::Lost) => {
                    if !std::mem::replace(&mut was_lost, true) {
                        tracing::info!("the gateway's connection ended; connecting again");
                    }
                }
                Err(end) => return end.into(),
            }
        }
    }

    fn heard(&self, message: &Message, at: Instant) -> Result<(), BotError> {
        if message.channel_id != self.vitals.channel {
            return Ok(());
        }
        if message.author.id == self.me {
            let known = lock(&self.echoes).heard(message.id, at);
            if let Some(echo) = known {
                echo::keep(self, &echo, at);
            }
        }
        if self.obey(message) {
            return Ok(());
        }
        match Batch::read(&message.content) {
            Ok(batch) => self.compare(&batch),
            Err(NotABatch::Unmarked) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "a message of the worker's channel is no batch");
                Ok(())
            }
        }
    }

    /// Follows the message if it is a steering message of an account that may steer.
    fn obey(&self, message: &Message) -> bool {
        let may_steer = message.author.id == self.me || self.steered_by.contains(&message.author.id);
        if !may_steer || message.webhook_id.is_some() {
            return false;
        }
        let Some(steering) = Steering::read(&message.content) else { return false };
        if steering.worker != self.vitals.recorder.worker {
            return false;
        }
        tracing::info!(?steering.bot, tasks = steering.tasks.as_ref().map_or(0, Vec::len), "told by the task board");
        self.vitals.set(steering.bot);
        if let (Some(tasks), Some(receiver)) = (&steering.tasks, &self.receiver)
            && let Err(problem) = receiver.receive(tasks)
        {
            self.tell(format!("the tasks of the task board were not handed on: {problem}"));
        }
        true
    }

    /// Of two main bots for one worker the later one ends. What an earlier boot left and another process posts is no sign
    /// of a second bot: it was measured before this one began.
    fn compare(&self, batch: &Batch) -> Result<(), BotError> {
        let is_rival = batch.worker == self.vitals.recorder.worker
            && batch.boot != self.boot
            && batch.started_us != 0
            && batch.instrument.library == crate::gateway::LIBRARY
            && batch.records.iter().any(|entry| entry.measured.at_us > self.started_us);
        if !is_rival {
            return Ok(());
        }
        let boot = format!("{:016x}", batch.boot.0);
        if (batch.started_us, batch.boot) < (self.started_us, self.boot) {
            return Err(BotError::SecondBot { worker: batch.worker.clone(), boot });
        }
        tracing::warn!(%boot, "another main bot began to post for this worker; it should end by itself");
        Ok(())
    }
}

/// None of them is privileged.
pub(crate) fn intents() -> Intents {
    Intents::GUILDS | Intents::GUILD_MESSAGES | Intents::GUILD_VOICE_STATES
}

fn gateway_config(config: &MainBotConfig) -> GatewayConfig {
    GatewayConfig {
        token: config.token.token.clone(),
        endpoint: config.gateway.clone(),
        intents: intents(),
        clock: config.clock.clone(),
    }
}
