//! Webhooks: looks every minute at what was measured, and tells whom the configuration names when something is worth a message
//! (`measure::alert`) or over. It reads a data directory and has what it remembers kept by its caller, who alone writes there.
//!
//! A change and its note are kept in one transaction before anything is sent, and a note is deleted once it was taken: each is told
//! at least once, and twice only where the server was killed between the two.

mod deliver;
mod evaluate;
mod message;
mod rule;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{AlertCommit, Reader, StoreError};
use tokio::sync::watch::Receiver;

use crate::deliver::{Outcome, Webhook};
use crate::evaluate::{Standing, evaluate, note};
use crate::message::Event;
pub use crate::rule::{Format, InvalidRule, On, Rule};

/// So often what is due is sent.
const TICK: Duration = Duration::from_secs(2);
/// A minute's sums are looked at when it has been over for so long: what was measured in it is there by then.
const SETTLED_S: i64 = 10;

#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    #[error(transparent)]
    Rule(#[from] InvalidRule),
    #[error("alert '{0}' is there twice")]
    Twice(String),
    #[error("alert '{name}': the webhook's URL: {what}")]
    Url { name: String, what: String },
    #[error("cannot make the webhooks' HTTPS client: {0}")]
    Client(String),
}

/// Whoever may write to the data directory.
pub trait Keep: Send + Sync {
    /// In one transaction; the error in words.
    fn keep(&self, commit: AlertCommit) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
}

/// How an alert stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertStatus {
    pub name: String,
    pub on: String,
    /// What stands raised.
    pub raised: Vec<String>,
    /// What may soon be.
    pub rising: usize,
    /// Notes that wait for their webhook.
    pub waiting: u64,
    /// Since this server started.
    pub delivered: u64,
    pub failed: u64,
    /// Why the last attempt came to nothing; absent after one that did.
    pub problem: Option<String>,
}

#[derive(Default)]
struct Told {
    delivered: u64,
    failed: u64,
    problem: Option<String>,
}

/// The configured alerts.
pub struct Alerts {
    webhooks: BTreeMap<String, Webhook>,
    /// `None` where there is nobody to tell.
    client: Option<reqwest::Client>,
    data_dir: PathBuf,
    told: Mutex<BTreeMap<String, Told>>,
}

impl Alerts {
    /// Checks the rules and reads their URLs.
    pub fn new(rules: Vec<Rule>, data_dir: &Path) -> Result<Alerts, AlertError> {
        let mut webhooks = BTreeMap::new();
        for rule in rules {
            rule.check()?;
            let name = rule.name.clone();
            if webhooks.insert(name.clone(), Webhook::new(rule)?).is_some() {
                return Err(AlertError::Twice(name));
            }
        }
        let client = (!webhooks.is_empty()).then(deliver::client).transpose()?;
        Ok(Alerts { webhooks, client, data_dir: data_dir.to_owned(), told: Mutex::default() })
    }

    /// What to keep so that this alert's webhook gets a test; `None`: there is no such alert.
    pub fn test(&self, name: &str, now_s: i64) -> Option<AlertCommit> {
        let rule = &self.webhooks.get(name)?.rule;
        Some(AlertCommit { notes: vec![note(rule, &Event::test(rule, now_s), now_s)], ..AlertCommit::default() })
    }

    pub fn status(&self) -> Result<Vec<AlertStatus>, StoreError> {
        let reader = Reader::open(&self.data_dir)?;
        let (states, backlog) = (reader.alerts()?, reader.alert_backlog()?);
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |(name, webhook): (&String, &Webhook)| {
            let of = |raised: bool| states.iter().filter(move |state| state.rule == *name && state.raised == raised);
            let told = told.get(name);
            AlertStatus {
                name: name.clone(),
                on: webhook.rule.on.name().to_owned(),
                raised: of(true).map(|state| state.subject.clone()).collect(),
                rising: of(false).count(),
                waiting: backlog.get(name).copied().unwrap_or(0),
                delivered: told.map_or(0, |told| told.delivered),
                failed: told.map_or(0, |told| told.failed),
                problem: told.and_then(|told| told.problem.clone()),
            }
        };
        Ok(self.webhooks.iter().map(one).collect())
    }

    /// Until `stop` says so. `now_s`: seconds since the epoch.
    pub async fn run(self: Arc<Self>, keep: Arc<dyn Keep>, now_s: impl Fn() -> i64, mut stop: Receiver<bool>) {
        let Some(client) = self.client.clone() else { return };
        let listening_s = now_s();
        let mut standing: Option<Standing> = None;
        let mut looked = i64::MIN;
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
            let now = now_s();
            let minute = (now - SETTLED_S).div_euclid(60);
            if minute != looked {
                looked = minute;
                match self.look(standing.take(), now, listening_s).await {
                    // What could not be kept is looked at again from what was.
                    Ok((commit, after)) => match commit == AlertCommit::default() {
                        true => standing = Some(after),
                        false => match keep.keep(commit).await {
                            Ok(()) => standing = Some(after),
                            Err(error) => tracing::warn!("cannot keep how alerts stand: {error}"),
                        },
                    },
                    Err(error) => tracing::warn!("cannot look at what alerts watch: {error}"),
                }
            }
            if let Some(commit) = self.tell(&client, now).await
                && let Err(error) = keep.keep(commit).await
            {
                tracing::warn!("cannot keep what alerts were told: {error}");
            }
        }
    }

    async fn look(
        self: &Arc<Self>,
        before: Option<Standing>,
        now_s: i64,
        listening_s: i64,
    ) -> Result<(AlertCommit, Standing), String> {
        let own = self.clone();
        let work = move || -> Result<(AlertCommit, Standing), StoreError> {
            let reader = Reader::open(&own.data_dir)?;
            let mut commit = AlertCommit::default();
            let mut standing = match before {
                Some(standing) => standing,
                None => {
                    let all =
                        reader.alerts()?.into_iter().map(|state| ((state.rule.clone(), state.subject.clone()), state));
                    let (known, removed): (Standing, Standing) =
                        all.partition(|((rule, _), _)| own.webhooks.contains_key(rule));
                    commit.forget.extend(removed.into_keys());
                    known
                }
            };
            for webhook in own.webhooks.values() {
                let seen = watch::look(&reader, &webhook.rule, now_s, listening_s)?;
                let one = evaluate(&mut standing, &webhook.rule, &seen, now_s);
                commit.put.extend(one.put);
                commit.forget.extend(one.forget);
                commit.notes.extend(one.notes);
            }
            Ok((commit, standing))
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
        done.map_err(|error| error.to_string())
    }

    /// Sends what is due. A webhook that does not take a note gets no further one until that is due again: they arrive in order.
    async fn tell(self: &Arc<Self>, client: &reqwest::Client, now_s: i64) -> Option<AlertCommit> {
        let own = self.clone();
        let due = tokio::task::spawn_blocking(move || Reader::open(&own.data_dir)?.alert_notes(now_s)).await.ok()?;
        let due = due.inspect_err(|error| tracing::warn!("cannot read what alerts are to be told: {error}")).ok()?;
        let mut commit = AlertCommit::default();
        let mut stuck: Vec<String> = Vec::new();
        for due in due {
            let Some(webhook) = self.webhooks.get(&due.rule) else {
                commit.done.push(due.id);
                continue;
            };
            if stuck.contains(&due.rule) {
                continue;
            }
            let Ok(event) = serde_json::from_str::<Event>(&due.body) else {
                commit.done.push(due.id);
                continue;
            };
            let outcome = deliver::attempt(client, webhook, &event, due.attempts).await;
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let told = told.entry(due.rule.clone()).or_default();
            told.problem = match &outcome {
                Outcome::Taken => None,
                Outcome::Later(_, why) | Outcome::Refused(why) => Some(why.clone()),
            };
            match outcome {
                Outcome::Taken => {
                    told.delivered += 1;
                    commit.done.push(due.id);
                }
                Outcome::Later(pause_s, _) if now_s - due.at_s < deliver::GIVEN_UP_S => {
                    commit.later.push((due.id, due.attempts + 1, now_s + pause_s));
                    stuck.push(due.rule);
                }
                Outcome::Later(_, why) | Outcome::Refused(why) => {
                    tracing::warn!(alert = due.rule, "the webhook did not take a message, which is given up: it {why}");
                    told.failed += 1;
                    commit.done.push(due.id);
                    commit.counters.push(("alerts_failed", 1));
                }
            }
        }
        (commit != AlertCommit::default()).then_some(commit)
    }
}
