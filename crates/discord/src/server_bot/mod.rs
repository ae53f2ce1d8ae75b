//! The server bot: one for a deployment. Reads all workers' channels into the deployment's store, measures its own latency,
//! keeps the task board.

mod judge;
mod scrape;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{BootId, Deployment, RecordSubmission, WorkerName};
use net::Clock;
use tokio::time::Instant;
use twilight_gateway::Intents;

pub use judge::{Judged, judge};
pub use scrape::{Scraper, Totals};

use crate::board::{Allowed, Board, BoardConfig, command};
use crate::error::BotError;
use crate::gateway::{Event, Gateway, GatewayConfig, Signal};
use crate::journal::Journal;
use crate::main_bot::{claim, patiently};
use crate::place;
use crate::recorder::{Recorder, lock};
use crate::rest::{Endpoint, Rest, RestConfig, RestError, Trust};
use crate::snowflake::Snowflake;
use crate::stall::Stalls;
use crate::tokens::{Tokens, Workers};
use crate::turns::{Ask, Request, Turns};
use crate::types::Message;
use crate::vitals::{Pace, Vitals};

pub struct ServerBotConfig {
    pub tokens: Tokens,
    /// Under which its own latencies are recorded.
    pub name: WorkerName,
    /// Needed where the bot is in several.
    pub guild: Option<Snowflake>,
    pub api: Endpoint,
    /// `None`: Discord's own.
    pub gateway: Option<Endpoint>,
    /// Of this bot alone.
    pub data_dir: PathBuf,
    pub deployment: Arc<dyn Deployment>,
    pub allowed: Allowed,
    pub pace: Pace,
    /// Between edits of the status message.
    pub refresh: Duration,
    pub clock: Clock,
}

const TIMEOUT: Duration = Duration::from_secs(15);
/// Between looks at who waits for a turn.
const GRANTS: Duration = Duration::from_millis(250);
const ASK_LOOKS: u32 = 40;
/// Commands carried out at a time; further ones wait their turn.
const MOST_COMMANDS: usize = 8;

struct ServerBot {
    vitals: Vitals,
    scraper: Arc<Scraper>,
    board: Board,
    deployment: Arc<dyn Deployment>,
    commands: tokio::sync::Semaphore,
    turns: Mutex<Turns>,
    began: Instant,
}

/// Runs until `shutdown`, or until an error that no waiting repairs. Use a current-thread runtime, so that a stall of it is
/// seen.
pub async fn run(config: ServerBotConfig, shutdown: impl Future<Output = ()>) -> Result<(), BotError> {
    let trust = Trust::load()?;
    tokio::pin!(shutdown);
    let (bot, mut gateway, _lock) = tokio::select! {
        started = start(config, trust) => started?,
        () = &mut shutdown => return Ok(()),
    };
    let ended = tokio::select! {
        ended = listen(&bot, &mut gateway) => Some(ended),
        error = bot.vitals.probe() => Some(explain(error, bot.vitals.channel)),
        error = bot.scraper.run() => Some(error),
        error = bot.board.refresh_forever() => Some(explain(error, bot.vitals.channel)),
        () = bot.submit_forever() => None,
        () = bot.grant_forever() => None,
        () = bot.vitals.connect_forever() => None,
        () = bot.vitals.recorder.stalls.watch() => None,
        () = &mut shutdown => None,
    };
    bot.submit_own().await;
    ended.map_or(Ok(()), Err)
}

fn explain(error: RestError, channel: Snowflake) -> BotError {
    match error {
        RestError::Forbidden { .. } => BotError::ChannelPermission { channel },
        RestError::Refused { status: 404, .. } => BotError::ChannelGone { channel },
        error => error.into(),
    }
}

async fn start(config: ServerBotConfig, trust: Trust) -> Result<(Arc<ServerBot>, Gateway, std::fs::File), BotError> {
    let lock = claim(&config.data_dir)?;
    let path = config.data_dir.join("journal.jsonl");
    let journal = Journal::open(&path).map_err(|source| BotError::Data { path, source })?;
    let chosen = config.tokens.for_server().map_err(BotError::Tokens)?;
    let rest = Rest::new(RestConfig {
        endpoint: config.api.clone(),
        token: chosen.token.clone(),
        trust,
        clock: config.clock.clone(),
        timeout: TIMEOUT,
    });
    let wanted = config.guild.or(config.tokens.guild);
    let place = patiently(|| Place::find(&rest, wanted)).await?;
    let authors = config.tokens.known_authors(place.me);
    let intents = intents(&place, &authors);
    tracing::info!(
        "server bot: user {}, guild {}, {} known author(s), records go to {}",
        place.me,
        place.guild,
        authors.len(),
        config.deployment.name()
    );
    let scraper = Arc::new(Scraper::new(rest.clone(), place.guild, authors, config.deployment.clone()));
    let board = Board::new(
        BoardConfig {
            allowed: config.allowed,
            control: place.control,
            me: place.me,
            application: place.application,
            data_dir: config.data_dir,
            refresh: config.refresh,
            clock: config.clock.clone(),
        },
        rest.clone(),
        config.deployment.clone(),
        scraper.clone(),
    );
    if let Err(error) = rest.set_commands(place.application, place.guild, &command::registration()).await {
        tracing::warn!("slash commands cannot be registered, text in the control channel still works: {error}");
    }
    let target = config.gateway.as_ref().map_or("gateway.discord.gg".to_owned(), |endpoint| endpoint.host.clone());
    let gateway = Gateway::new(GatewayConfig {
        token: chosen.token,
        endpoint: config.gateway,
        intents,
        clock: config.clock.clone(),
    });
    let recorder = Recorder::new(config.name, BootId(fastrand::u64(1..)), journal, Stalls::default());
    let vitals = Vitals {
        rest,
        recorder,
        clock: config.clock,
        pace: config.pace,
        settings: Mutex::default(),
        channel: place.control,
        gateway_target: target,
        peers: Mutex::default(),
        voice_server: Mutex::default(),
    };
    vitals.look_at_clock().await;
    let commands = tokio::sync::Semaphore::new(MOST_COMMANDS);
    let turns = Mutex::new(Turns::new(config.pace.voice_lease));
    let bot =
        ServerBot { vitals, scraper, board, deployment: config.deployment, commands, turns, began: Instant::now() };
    Ok((Arc::new(bot), gateway, lock))
}

/// Who and where this bot is.
struct Place {
    me: Snowflake,
    application: Snowflake,
    may_read_content: bool,
    guild: Snowflake,
    control: Snowflake,
}

impl Place {
    async fn find(rest: &Rest, wanted: Option<Snowflake>) -> Result<Place, BotError> {
        let me = rest.me().await?.id;
        let application = rest.application().await?;
        let guild = place::guild(rest, wanted).await?;
        let topic = "NetLat's task board: `/netlat` or `!netlat help`.";
        let control = place::text_channel(rest, guild, place::CONTROL_NAME, topic).await?;
        let may_read_content = application.may_read_content();
        Ok(Place { me, application: application.id, may_read_content, guild, control })
    }
}

/// Message content is asked for only where the application may have it: asking without ends the session (4014).
fn intents(place: &Place, authors: &BTreeMap<Snowflake, Workers>) -> Intents {
    let base = Intents::GUILDS | Intents::GUILD_MESSAGES;
    if place.may_read_content {
        return base | Intents::MESSAGE_CONTENT;
    }
    if authors.keys().any(|author| *author != place.me) {
        tracing::warn!("{}", BotError::NoContent);
    }
    tracing::info!("without Message Content Intent, text commands must mention the bot; slash commands need nothing");
    base
}

async fn listen(bot: &Arc<ServerBot>, gateway: &mut Gateway) -> BotError {
    loop {
        match gateway.next().await {
            Ok(Signal::Beat(beat)) => bot.vitals.beat(&beat),
            Ok(Signal::Event { event, at, .. }) => handle(bot, *event, at),
            Ok(Signal::Lost) => tracing::debug!("the gateway's connection ended; connecting again"),
            Err(end) => return end.into(),
        }
    }
}

fn handle(bot: &Arc<ServerBot>, event: Event, at: Instant) {
    match event {
        // What happened while there was no session is not sent again.
        Event::Ready(_) | Event::ChannelCreate(_) => bot.scraper.look_everywhere(),
        Event::MessageCreate(message) => {
            bot.scraper.heard(&message);
            if let Some(ask) = Ask::read(&message.content) {
                tokio::spawn(asked(bot.clone(), ask, message.clone()));
            }
            let bot = bot.clone();
            tokio::spawn(async move {
                if let Ok(_turn) = bot.commands.acquire().await {
                    bot.board.message(&message).await;
                }
            });
        }
        Event::MessageUpdate(update) if update.edited_timestamp.is_some() => {
            bot.scraper.edited(update.channel_id, update.id);
        }
        Event::MessageDelete(delete) => {
            lock(&bot.turns).withdraw(delete.id);
            bot.scraper.deleted(delete.channel_id, delete.id);
        }
        Event::MessageDeleteBulk(bulk) => {
            for id in bulk.ids {
                bot.scraper.deleted(bulk.channel_id, id);
            }
        }
        Event::InteractionCreate(interaction) => {
            let bot = bot.clone();
            tokio::spawn(async move {
                if let Ok(_turn) = bot.commands.acquire().await {
                    bot.board.interaction(&interaction, at, &bot.vitals.recorder).await;
                }
            });
        }
        _ => {}
    }
}

/// A main bot that shares its token asks for a turn. Its channel may be so new that it was not read yet.
async fn asked(bot: Arc<ServerBot>, ask: Ask, message: Box<Message>) {
    for _ in 0..ASK_LOOKS {
        if bot.scraper.speaks_for(message.author.id, message.channel_id, &ask.worker) {
            let request = Request { channel: message.channel_id, message: message.id, want: ask.want };
            bot.queue(request).await;
            return;
        }
        tokio::time::sleep(GRANTS).await;
    }
}

impl ServerBot {
    async fn queue(&self, request: Request) {
        let is_new = lock(&self.turns).ask(request);
        if is_new && let Err(error) = self.vitals.rest.note(request).await {
            tracing::debug!("a request for a turn could not be noted: {error}");
        }
    }

    async fn grant_forever(&self) {
        loop {
            for request in self.scraper.take_asks() {
                self.queue(request).await;
            }
            let granted = lock(&self.turns).grant(self.began.elapsed());
            for request in granted {
                if let Err(error) = self.vitals.rest.grant(request).await {
                    tracing::warn!("a turn could not be granted: {error}");
                    lock(&self.turns).withdraw(request.message);
                }
            }
            tokio::time::sleep(GRANTS).await;
        }
    }

    /// Its own records go straight to the deployment.
    async fn submit_forever(&self) {
        loop {
            tokio::time::sleep(self.vitals.pace.post).await;
            self.submit_own().await;
        }
    }

    async fn submit_own(&self) {
        let waiting = self.vitals.recorder.waiting(RecordSubmission::LIMIT);
        if waiting.is_empty() {
            return;
        }
        let ids = waiting.iter().map(|record| record.id.clone()).collect();
        let submission = RecordSubmission { records: waiting, ..RecordSubmission::default() };
        match self.deployment.submit(submission).await {
            Ok(_) => self.vitals.recorder.posted(&ids),
            Err(problem) => tracing::debug!(%problem, "own records wait"),
        }
    }
}
