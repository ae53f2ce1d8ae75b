//! Reads the workers' channels from where it stopped, page by page, and hands the records over together with the new
//! place, so that a crash in between repeats a page and loses none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Cursor, Deployment, Record, RecordSubmission, WorkerName};
use tokio::sync::Notify;

use crate::api::{PAGE, Page};
use crate::error::BotError;
use crate::main_bot::is_away;
use crate::place::Layout;
use crate::recorder::lock;
use crate::rest::Rest;
use crate::server_bot::judge::{DELETED, EDITED, Judged, judge};
use crate::snowflake::Snowflake;
use crate::tokens::Workers;
use crate::turns::{Ask, QUEUE, Request};
use crate::types::Message;

/// Everything is looked through so often, whatever the gateway said or did not say.
const SWEEP: Duration = Duration::from_secs(600);
/// After an event other messages of the same moment are waited for.
const GATHER: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_secs(15);
/// Records of one submission, so that it stays below what the deployment takes.
const MOST_RECORDS: usize = 1_500;
/// A message has at most 2,000 characters, of which a record takes 40 at least.
const MOST_OF_A_MESSAGE: usize = 50;
/// Messages of a channel that are remembered to have held records: a day of one worker and more.
const MOST_HELD: usize = 2_000;
const MOST_ASKS: usize = 1_000;

pub struct Scraper {
    rest: Rest,
    guild: Snowflake,
    authors: BTreeMap<Snowflake, Workers>,
    deployment: Arc<dyn Deployment>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    channels: BTreeMap<Snowflake, WorkerName>,
    cursors: HashMap<Snowflake, Snowflake>,
    /// Channels with news.
    due: Vec<Snowflake>,
    /// The list of channels, and then all of them, are due.
    all_due: bool,
    counted: BTreeMap<&'static str, u64>,
    told_unreadable: bool,
    /// Who last posted records to a channel.
    authors: HashMap<Snowflake, Snowflake>,
    /// By channel, the newest messages that held records: what is done to others is not counted.
    held: HashMap<Snowflake, BTreeSet<Snowflake>>,
    /// Channels whose newest messages were looked at, whoever read them before.
    looked_back: BTreeSet<Snowflake>,
    /// Bots that wait for a turn, as far as their requests were found and not yet taken.
    asks: Vec<Request>,
    totals: Totals,
}

impl State {
    fn hold(&mut self, channel: Snowflake, message: Snowflake) {
        let held = self.held.entry(channel).or_default();
        held.insert(message);
        while held.len() > MOST_HELD {
            held.pop_first();
        }
    }
}

/// What was read since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub messages: u64,
    pub records: u64,
    pub refused: u64,
    /// The newest record's time in microseconds since the epoch; 0 before any.
    pub newest_us: i64,
}

/// How a channel's reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Done,
    /// The rest cannot be read for want of an intent.
    Blocked,
}

fn source(channel: Snowflake) -> String {
    format!("discord/{channel}")
}

impl Scraper {
    pub fn new(
        rest: Rest,
        guild: Snowflake,
        authors: BTreeMap<Snowflake, Workers>,
        deployment: Arc<dyn Deployment>,
    ) -> Scraper {
        let state = State { all_due: true, ..State::default() };
        Scraper { rest, guild, authors, deployment, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Everything may have news: a new session began, or a channel was made.
    pub fn look_everywhere(&self) {
        lock(&self.state).all_due = true;
        self.wake.notify_one();
    }

    /// A message came to some channel.
    pub fn heard(&self, message: &Message) {
        let channel = message.channel_id;
        let mut state = lock(&self.state);
        let Some(worker) = state.channels.get(&channel) else { return };
        if matches!(judge(message, worker, &self.authors), Judged::Records(_)) {
            // It may be gone before it is read.
            state.hold(channel, message.id);
        }
        if !state.due.contains(&channel) {
            state.due.push(channel);
            self.wake.notify_one();
        }
    }

    /// A message was edited: if it held records and was read already, what it said then stays.
    pub fn edited(&self, channel: Snowflake, message: Snowflake) {
        let mut state = lock(&self.state);
        // One that was not read yet is counted when it is.
        let was_read = state.cursors.get(&channel).is_some_and(|cursor| message <= *cursor);
        if was_read && state.held.get(&channel).is_some_and(|held| held.contains(&message)) {
            *state.counted.entry(EDITED).or_default() += 1;
            self.wake.notify_one();
        }
    }

    /// A message was deleted: if it held records and was read already, they stay.
    pub fn deleted(&self, channel: Snowflake, message: Snowflake) {
        let mut state = lock(&self.state);
        if state.held.get_mut(&channel).is_some_and(|held| held.remove(&message)) {
            *state.counted.entry(DELETED).or_default() += 1;
            self.wake.notify_one();
        }
    }

    /// Requests for turns that were found in channels.
    pub fn take_asks(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state).asks)
    }

    /// Whoever asked while nobody listened still waits.
    fn find_ask(&self, message: &Message, worker: &WorkerName) {
        let Some(ask) = Ask::read(&message.content) else { return };
        let asked_ns = message.id.time().0;
        let is_recent = self.rest.now().0.saturating_sub(asked_ns) < QUEUE.as_nanos() as i64;
        let may = self.authors.get(&message.author.id).is_some_and(|of| of.include(worker));
        let mut state = lock(&self.state);
        if ask.worker == *worker && may && is_recent && state.asks.len() < MOST_ASKS {
            state.asks.push(Request { channel: message.channel_id, message: message.id, want: ask.want });
        }
    }

    /// The newest messages of a channel that an earlier process read: which of them held records, and who waits.
    async fn look_back(&self, channel: Snowflake, worker: &WorkerName) -> Result<(), BotError> {
        for message in self.rest.messages(channel, Page::Newest, PAGE).await? {
            if matches!(judge(&message, worker, &self.authors), Judged::Records(_)) {
                lock(&self.state).hold(channel, message.id);
            }
            self.find_ask(&message, worker);
        }
        Ok(())
    }

    pub fn totals(&self) -> Totals {
        lock(&self.state).totals
    }

    pub fn workers(&self) -> Vec<(Snowflake, WorkerName)> {
        lock(&self.state).channels.iter().map(|(channel, worker)| (*channel, worker.clone())).collect()
    }

    /// Whether the account may speak for the worker, and the channel is that worker's.
    pub fn speaks_for(&self, author: Snowflake, channel: Snowflake, worker: &WorkerName) -> bool {
        let is_its_channel = lock(&self.state).channels.get(&channel) == Some(worker);
        is_its_channel && self.authors.get(&author).is_some_and(|of| of.include(worker))
    }

    /// Who last posted records to the channel, as far as was read since the start.
    pub fn author_of(&self, channel: Snowflake) -> Option<Snowflake> {
        lock(&self.state).authors.get(&channel).copied()
    }

    /// Reads for ever; comes back only with an error that no waiting repairs.
    pub async fn run(&self) -> BotError {
        let mut complained = false;
        loop {
            let pause = match self.round().await {
                Ok(Reading::Done) => {
                    if std::mem::take(&mut complained) {
                        tracing::info!("reading the channels again");
                    }
                    SWEEP
                }
                Ok(Reading::Blocked) => RETRY * 4,
                Err(error) if is_away(&error) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!("{error}; reading on once it answers");
                    }
                    lock(&self.state).all_due = true;
                    RETRY
                }
                Err(error) => return error,
            };
            tokio::select! {
                () = self.wake.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(pause) => lock(&self.state).all_due = true,
            }
        }
    }

    /// Reads whatever is due. Also for whoever wants one look and no more.
    async fn round(&self) -> Result<Reading, BotError> {
        // Taken before the list is read: a channel that is made meanwhile asks for another look.
        let all_due = std::mem::take(&mut lock(&self.state).all_due);
        if all_due && let Err(error) = self.find_channels().await {
            lock(&self.state).all_due = true;
            return Err(error);
        }
        let mut outcome = Reading::Done;
        loop {
            let next = {
                let mut state = lock(&self.state);
                state.due.pop().and_then(|channel| Some((channel, state.channels.get(&channel)?.clone())))
            };
            let Some((channel, worker)) = next else { break };
            match self.read_channel(channel, &worker).await {
                Ok(Reading::Done) => {}
                Ok(Reading::Blocked) => outcome = Reading::Blocked,
                Err(error) => {
                    lock(&self.state).due.push(channel);
                    return Err(error);
                }
            }
        }
        self.submit(Found::default()).await?;
        Ok(outcome)
    }

    /// Reads everything there is now and answers with what that was.
    pub async fn read_all(&self) -> Result<Totals, BotError> {
        self.look_everywhere();
        match self.round().await? {
            Reading::Done => Ok(self.totals()),
            Reading::Blocked => Err(BotError::NoContent),
        }
    }

    async fn find_channels(&self) -> Result<(), BotError> {
        let layout = Layout::read(&self.rest, self.guild).await?;
        let known: HashMap<String, u64> =
            self.deployment.cursors().await?.into_iter().map(|cursor| (cursor.source, cursor.position)).collect();
        let mut state = lock(&self.state);
        state.channels = layout.workers().into_iter().collect();
        let channels: Vec<Snowflake> = state.channels.keys().copied().collect();
        for channel in &channels {
            let position = Snowflake(known.get(&source(*channel)).copied().unwrap_or_default());
            let cursor = state.cursors.entry(*channel).or_default();
            *cursor = (*cursor).max(position);
        }
        state.due = channels;
        state.due.reverse();
        Ok(())
    }

    async fn read_channel(&self, channel: Snowflake, worker: &WorkerName) -> Result<Reading, BotError> {
        let is_known = lock(&self.state).cursors.get(&channel).is_some_and(|cursor| cursor.0 > 0);
        if is_known && !lock(&self.state).looked_back.contains(&channel) {
            self.look_back(channel, worker).await?;
        }
        lock(&self.state).looked_back.insert(channel);
        loop {
            let after = lock(&self.state).cursors.get(&channel).copied().unwrap_or_default();
            let messages = self.rest.messages(channel, Page::After(after), PAGE).await?;
            let full = messages.len() == PAGE as usize;
            if messages.is_empty() {
                return Ok(Reading::Done);
            }
            if self.read_page(channel, worker, &messages).await? == Reading::Blocked {
                return Ok(Reading::Blocked);
            }
            if !full {
                return Ok(Reading::Done);
            }
        }
    }

    async fn read_page(
        &self,
        channel: Snowflake,
        worker: &WorkerName,
        messages: &[Message],
    ) -> Result<Reading, BotError> {
        let mut found = Found::default();
        for message in messages {
            match judge(message, worker, &self.authors) {
                Judged::Records(new) => {
                    found.records.extend(new);
                    let mut state = lock(&self.state);
                    state.authors.insert(channel, message.author.id);
                    state.hold(channel, message.id);
                }
                Judged::Nothing => self.find_ask(message, worker),
                Judged::Refused(word) => *found.refused.entry(word).or_default() += 1,
                Judged::Unreadable => {
                    // Not passed over: once the intent is there, reading goes on here.
                    self.submit(found).await?;
                    if !std::mem::replace(&mut lock(&self.state).told_unreadable, true) {
                        tracing::error!("{}", BotError::NoContent);
                    }
                    return Ok(Reading::Blocked);
                }
            }
            found.messages += 1;
            found.read_to = Some((channel, message.id));
            if found.records.len() + MOST_OF_A_MESSAGE > MOST_RECORDS {
                self.submit(std::mem::take(&mut found)).await?;
            }
        }
        self.submit(found).await?;
        Ok(Reading::Done)
    }

    /// Hands over what was found, and what the gateway told meanwhile. After an error the page is read again, so nothing of
    /// it counts yet.
    async fn submit(&self, found: Found) -> Result<(), BotError> {
        let events = std::mem::take(&mut lock(&self.state).counted);
        if found.read_to.is_none() && events.is_empty() {
            return Ok(());
        }
        let newest_us = found.records.iter().map(|record| record.measured.at_us).max().unwrap_or_default();
        let cursor =
            |(channel, message): (Snowflake, Snowflake)| Cursor { source: source(channel), position: message.0 };
        let counts = events.iter().chain(&found.refused).map(|(word, count)| ((*word).to_owned(), *count));
        let submission = RecordSubmission {
            records: found.records,
            cursors: found.read_to.map(cursor).into_iter().collect(),
            counted: counts.collect(),
        };
        let answer = self.deployment.submit(submission).await;
        let mut state = lock(&self.state);
        match answer {
            Ok(accepted) => {
                let totals = &mut state.totals;
                totals.messages += found.messages;
                totals.records += accepted.new;
                totals.refused += found.refused.values().sum::<u64>();
                totals.newest_us = totals.newest_us.max(newest_us);
                if let Some((channel, message)) = found.read_to {
                    state.cursors.insert(channel, message);
                }
                Ok(())
            }
            Err(problem) => {
                for (word, count) in events {
                    *state.counted.entry(word).or_default() += count;
                }
                Err(problem.into())
            }
        }
    }
}

/// What messages in a row held.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    refused: BTreeMap<&'static str, u64>,
    messages: u64,
    /// Channel and last message.
    read_to: Option<(Snowflake, Snowflake)>,
}
