//! Posts what was measured: batched, far from the rate limits, again after a failure, and never the same twice.

use std::collections::HashSet;
use std::time::Duration;

use model::{Record, RecordId};
use tokio::time::Instant;

use crate::api::Page;
use crate::batch::Batch;
use crate::error::BotError;
use crate::main_bot::{MainBot, echo};
use crate::recorder::lock;
use crate::rest::RestError;
use crate::snowflake::Snowflake;

/// Between the messages of a backlog: a channel takes five in five seconds, and others may post there as well.
const BACKLOG_PACE: Duration = Duration::from_millis(1500);
/// A message holds fewer.
const MOST_RECORDS: usize = 40;
/// A backlog is a full message at least.
const FULL: usize = 8;
const LAST_POST: Duration = Duration::from_secs(5);
/// Pages of history that are looked through for what was posted.
const PAGES: usize = 20;

/// What is known of the channel's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    Certain,
    /// A post may have had its effect although no answer came.
    Doubtful,
}

impl MainBot {
    pub(super) async fn post_forever(&self) -> BotError {
        let mut certainty = Certainty::Certain;
        let mut pause = self.vitals.post_pause();
        loop {
            tokio::time::sleep(pause).await;
            echo::give_up(self);
            pause = match self.post(&mut certainty).await {
                Ok(true) if self.vitals.recorder.backlog() >= FULL => BACKLOG_PACE.min(self.vitals.post_pause()),
                Ok(_) => self.vitals.post_pause(),
                Err(error) if error.is_transient() => {
                    tracing::debug!("{error}; {} records wait", self.vitals.recorder.backlog());
                    self.vitals.post_pause()
                }
                Err(error) => return self.explain(error),
            };
        }
    }

    /// Posts one batch of what waits. False if nothing waited.
    async fn post(&self, certainty: &mut Certainty) -> Result<bool, RestError> {
        if *certainty == Certainty::Doubtful {
            self.reconcile().await?;
            *certainty = Certainty::Certain;
        }
        let waiting = self.vitals.recorder.waiting(MOST_RECORDS);
        let Some(first) = waiting.first() else { return Ok(false) };
        // What an earlier boot left says nothing of this one's start.
        let started_us = if first.id.boot == self.boot { self.started_us } else { 0 };
        let Some((text, included)) = Batch::compose(&waiting, started_us) else { return Ok(false) };
        let nonce = nonce(&waiting[..included]);
        match self.vitals.rest.post(self.vitals.channel, &text, Some(&nonce), None).await {
            Ok(answer) => {
                let received = Instant::now();
                let sent = received.checked_sub(answer.timing.app).unwrap_or(received);
                self.vitals.recorder.posted(&ids(&waiting[..included]));
                self.remember(answer.value.id);
                let ended = lock(&self.echoes).posted(answer.value.id, sent, answer.timing);
                if let Some((echo, heard)) = ended {
                    echo::keep(self, &echo, heard);
                }
                Ok(true)
            }
            Err(error) => {
                if error.is_ambiguous() {
                    *certainty = Certainty::Doubtful;
                }
                Err(error)
            }
        }
    }

    /// Reads what is newer than the newest message known to be ours, and forgets whatever of the journal is there.
    pub(super) async fn reconcile(&self) -> Result<(), RestError> {
        let mut after = *lock(&self.latest);
        for _ in 0..PAGES {
            let page = if after.0 == 0 { Page::Newest } else { Page::After(after) };
            let messages = self.vitals.rest.messages(self.vitals.channel, page, crate::api::PAGE).await?;
            let full = messages.len() == crate::api::PAGE as usize;
            for message in &messages {
                after = after.max(message.id);
                if message.author.id == self.me
                    && let Ok(batch) = Batch::read(&message.content)
                {
                    self.vitals.recorder.posted(&ids(&batch.into_records()));
                }
            }
            self.remember(after);
            if !full || page == Page::Newest {
                break;
            }
        }
        Ok(())
    }

    fn remember(&self, message: Snowflake) {
        let mut latest = lock(&self.latest);
        *latest = (*latest).max(message);
    }

    /// What is left at the end, as far as it fits into a moment; the rest stays in the journal.
    pub(super) async fn last_post(&self) {
        let mut certainty = Certainty::Doubtful;
        let posts = async { while let Ok(true) = self.post(&mut certainty).await {} };
        let _ = tokio::time::timeout(LAST_POST, posts).await;
        let (left, dropped) = (self.vitals.recorder.backlog(), self.vitals.recorder.dropped());
        if left + dropped as usize > 0 {
            tracing::info!("{left} records wait for the next start, {dropped} were given up");
        }
    }
}

fn ids(records: &[Record]) -> HashSet<RecordId> {
    records.iter().map(|record| record.id.clone()).collect()
}

/// The same records give the same nonce: at most 25 characters, as Discord bounds it.
fn nonce(records: &[Record]) -> String {
    let boot = records.first().map_or(0, |record| record.id.boot.0);
    let first = records.first().map_or(0, |record| record.id.counter);
    format!("{:08x}-{first:x}-{:x}", boot as u32, records.len()).chars().take(25).collect()
}
