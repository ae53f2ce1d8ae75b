//! Carries commands out, answers them where they came from, and keeps the status message up to date.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Deployment, Measurement, Metric, Problem, Task, UnixNanos, WorkerName};
use net::Clock;
use tokio::time::Instant;

use crate::api::Page;
use crate::board::command::{Command, HELP};
use crate::board::steering::{BotSettings, Steering};
use crate::board::{Allowed, status};
use crate::recorder::{Recorder, lock, micros, stamps};
use crate::rest::{Rest, RestError};
use crate::server_bot::Scraper;
use crate::snowflake::Snowflake;
use crate::types::{APPLICATION_COMMAND, Interaction, Message};

pub struct BoardConfig {
    pub allowed: Allowed,
    /// The control channel.
    pub control: Snowflake,
    pub me: Snowflake,
    pub application: Snowflake,
    /// Where settings are kept.
    pub data_dir: PathBuf,
    /// Between edits of the status message.
    pub refresh: Duration,
    pub clock: Clock,
}

pub struct Board {
    config: BoardConfig,
    rest: Rest,
    deployment: Arc<dyn Deployment>,
    scraper: Arc<Scraper>,
    settings: Mutex<Settings>,
    status: Mutex<Option<Snowflake>>,
}

/// Of all workers (`""`) and of single ones.
type Settings = BTreeMap<String, BotSettings>;

/// An interaction has to be answered within three seconds; after this the answer is put off.
const PATIENCE: Duration = Duration::from_millis(1500);
const HOUR_US: i64 = 3_600_000_000;
/// Discord's code for a message that is not there (any more).
const UNKNOWN_MESSAGE: u64 = 10008;
/// And for a request entity too large.
const TOO_LARGE: u64 = 40005;

impl Board {
    pub fn new(config: BoardConfig, rest: Rest, deployment: Arc<dyn Deployment>, scraper: Arc<Scraper>) -> Board {
        let settings = std::fs::read(config.data_dir.join("settings.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Board { config, rest, deployment, scraper, settings: Mutex::new(settings), status: Mutex::default() }
    }

    pub async fn interaction(&self, interaction: &Interaction, at: Instant, recorder: &Recorder) {
        if interaction.kind != APPLICATION_COMMAND {
            return;
        }
        let work = async {
            let Some(data) = &interaction.data else { return "this command has no content".to_owned() };
            if !self.config.allowed.interaction(interaction) {
                return "You may not command this deployment: ask its owner for an allowed role.".to_owned();
            }
            self.perform(Command::of_interaction(data)).await
        };
        tokio::pin!(work);
        let finished = tokio::time::timeout(PATIENCE, &mut work).await;
        let is_put_off = finished.is_err();
        let answered = match finished {
            Ok(text) => self.rest.answer(interaction.id, &interaction.token, &text).await,
            Err(_) => self.rest.defer(interaction.id, &interaction.token).await,
        };
        let mut measured = Measurement::new(Metric::Interaction, self.config.clock.now());
        measured.target = "POST /interactions/{}/{}/callback".to_owned();
        match &answered {
            Ok(timing) => {
                recorder.timed(&mut measured, timing);
                let app = at.elapsed();
                measured.app_us = Some(micros(app));
                let span = i64::try_from(app.as_nanos()).unwrap_or_default();
                stamps(&mut measured, timing.received_at.plus(-span), timing.received_at);
            }
            Err(error) => {
                measured.flag(&error.word());
                tracing::warn!("an interaction could not be answered: {error}");
            }
        }
        recorder.keep(measured, at);
        if is_put_off && answered.is_ok() {
            let text = work.await;
            if let Err(error) = self.rest.answer_later(self.config.application, &interaction.token, &text).await {
                tracing::warn!("an interaction could not be answered: {error}");
            }
        }
    }

    /// Text in the control channel.
    pub async fn message(&self, message: &Message) {
        if message.channel_id != self.config.control || message.author.id == self.config.me {
            return;
        }
        let mention = format!("<@{}>", self.config.me);
        let Some(command) = Command::of_text(&message.content, &mention) else { return };
        if message.author.bot || message.webhook_id.is_some() {
            return;
        }
        let text = match self.config.allowed.message(message) {
            true => self.perform(command).await,
            false => "You may not command this deployment by text: its owner lists roles and users in the configuration (`allowed_roles`, `allowed_users`).".to_owned(),
        };
        let nonce = format!("re-{}", message.id);
        if let Err(error) = self.rest.post(self.config.control, &text, Some(&nonce), None).await {
            tracing::warn!("a command could not be answered: {error}");
        }
    }

    /// What is answered, one message long.
    async fn perform(&self, command: Result<Command, String>) -> String {
        let outcome = match command {
            Ok(command) => self.carry_out(command).await,
            Err(mistake) => Err(Problem(mistake)),
        };
        let text = outcome.unwrap_or_else(|problem| format!("That failed: {problem}"));
        text.chars().take(crate::batch::LONGEST_MESSAGE).collect()
    }

    async fn carry_out(&self, command: Command) -> Result<String, Problem> {
        match command {
            Command::Help => Ok(HELP.to_owned()),
            Command::Status => self.status_text().await,
            Command::Workers => self.workers_text().await,
            Command::Tasks => Ok(tasks_text(&self.deployment.tasks().await?)),
            Command::Start { id, worker, spec } => {
                let task = self.deployment.put_task(id, worker.clone(), *spec).await?;
                let steered = self.steer(worker.as_ref()).await;
                let of = task.worker.as_ref().map_or("all workers".to_owned(), |worker| format!("`{worker}`"));
                Ok(format!("Started task `{}` for {of}.{steered}", task.id))
            }
            Command::Stop { id } => {
                let worker = self.deployment.tasks().await?.into_iter().find(|task| task.id == id);
                if !self.deployment.remove_task(id.clone()).await? {
                    return Err(Problem(format!("there is no task `{id}`: see `tasks`")));
                }
                let steered = self.steer(worker.and_then(|task| task.worker).as_ref()).await;
                Ok(format!("Stopped task `{id}`.{steered}"))
            }
            Command::Set { worker, settings } => {
                self.set(worker.as_ref(), settings)?;
                let of = worker.as_ref().map_or("all workers".to_owned(), |worker| format!("`{worker}`"));
                Ok(format!("Set for {of}.{}", self.steer(worker.as_ref()).await))
            }
            Command::Report { worker } => {
                let applications = self.deployment.applications(Some(worker.clone()), self.hour_ago()).await?;
                Ok(status::report(&worker, &applications))
            }
            Command::Export { hours } => {
                let since_us = model::record::micros(self.now()) - i64::from(hours) * HOUR_US;
                let csv = self.deployment.csv(since_us).await?;
                let rows = csv.lines().count().saturating_sub(1);
                let line = format!("{rows} records of the last {hours} h");
                self.rest.post_file(self.config.control, &line, "netlat-records.csv", &csv).await.map_err(|error| {
                    match error {
                        RestError::Refused { status: 413, .. } | RestError::Refused { code: TOO_LARGE, .. } => {
                            Problem(format!(
                                "Discord takes no file of {} bytes here. {}",
                                csv.len(),
                                model::deployment::ASK_FOR_LESS
                            ))
                        }
                        error => Problem(error.to_string()),
                    }
                })?;
                Ok(format!("{line}: see <#{}>.", self.config.control))
            }
        }
    }

    fn now(&self) -> UnixNanos {
        self.config.clock.now()
    }

    fn hour_ago(&self) -> i64 {
        model::record::micros(self.now()) - HOUR_US
    }

    async fn status_text(&self) -> Result<String, Problem> {
        let applications = self.deployment.applications(None, self.hour_ago()).await?;
        let states = self.deployment.workers().await?;
        Ok(status::render(&applications, &states, self.scraper.totals().records, self.now()))
    }

    async fn workers_text(&self) -> Result<String, Problem> {
        let states = self.deployment.workers().await?;
        let mut lines: BTreeMap<WorkerName, String> =
            self.scraper.workers().into_iter().map(|(channel, worker)| (worker, format!("<#{channel}>"))).collect();
        for state in states {
            let line = lines.entry(state.name).or_default();
            *line = format!("{line} {} session(s), heard of {} s ago", state.sessions, state.silent_s);
        }
        if lines.is_empty() {
            return Ok("No worker has been heard of yet.".to_owned());
        }
        Ok(lines.into_iter().map(|(worker, line)| format!("`{worker}` {}\n", line.trim())).collect())
    }

    fn set(&self, worker: Option<&WorkerName>, newer: BotSettings) -> Result<(), Problem> {
        let mut settings = lock(&self.settings);
        let entry = settings.entry(worker.map(ToString::to_string).unwrap_or_default()).or_default();
        *entry = entry.overlaid(newer);
        let path = self.config.data_dir.join("settings.json");
        let aside = path.with_extension("new");
        let written = serde_json::to_vec(&*settings)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&aside, text))
            .and_then(|()| std::fs::rename(&aside, &path));
        written.map_err(|error| Problem(format!("cannot keep the settings in {}: {error}", path.display())))
    }

    /// Writes what holds now into the channels of the workers concerned; answers with what could not be written.
    async fn steer(&self, concerned: Option<&WorkerName>) -> String {
        let tasks = match self.deployment.tasks().await {
            Ok(tasks) => tasks,
            Err(problem) => return format!(" Its channel could not be told: {problem}"),
        };
        let mut failures = Vec::new();
        for (channel, worker) in self.scraper.workers() {
            if concerned.is_some_and(|concerned| *concerned != worker) {
                continue;
            }
            let own = |task: &&Task| task.worker.as_ref().is_none_or(|of| *of == worker);
            let bot = {
                let settings = lock(&self.settings);
                let of = |name: &str| settings.get(name).copied().unwrap_or_default();
                of("").overlaid(of(worker.as_str()))
            };
            let steering = Steering::new(worker.clone(), tasks.iter().filter(own).cloned().collect(), bot);
            // A mention lets an account without Message Content Intent read the message.
            let author = self.scraper.author_of(channel);
            let mention = author.map(|author| format!("<@{author}> ")).unwrap_or_default();
            if let Err(error) = self.rest.post(channel, &steering.text(&mention), None, author).await {
                failures.push(format!("`{worker}`: {error}"));
            }
        }
        if failures.is_empty() { String::new() } else { format!(" Not told: {}", failures.join("; ")) }
    }

    /// Edits the one status message for ever; makes it where there is none.
    pub async fn refresh_forever(&self) -> RestError {
        loop {
            match self.refresh().await {
                Ok(()) => {}
                Err(error) if error.is_transient() => tracing::debug!("the status message waits: {error}"),
                Err(error @ (RestError::Unauthorized | RestError::Forbidden { .. })) => return error,
                Err(error) => tracing::warn!("the status message could not be written: {error}"),
            }
            tokio::time::sleep(self.config.refresh).await;
        }
    }

    async fn refresh(&self) -> Result<(), RestError> {
        let text = match self.status_text().await {
            Ok(text) => text,
            Err(problem) => format!("{}: {problem}", status::TITLE).chars().take(1500).collect(),
        };
        let known = *lock(&self.status);
        let known = match known {
            Some(known) => Some(known),
            None => self.find_status().await?,
        };
        if let Some(message) = known {
            match self.rest.edit(self.config.control, message, &text).await {
                Ok(_) => {
                    *lock(&self.status) = Some(message);
                    return Ok(());
                }
                Err(RestError::Refused { code: UNKNOWN_MESSAGE, .. }) => *lock(&self.status) = None,
                Err(error) => return Err(error),
            }
        }
        let posted = self.rest.post(self.config.control, &text, None, None).await?;
        *lock(&self.status) = Some(posted.value.id);
        Ok(())
    }

    /// The newest own status message among the newest messages.
    async fn find_status(&self) -> Result<Option<Snowflake>, RestError> {
        let messages = self.rest.messages(self.config.control, Page::Newest, crate::api::PAGE).await?;
        let ours =
            |message: &&Message| message.author.id == self.config.me && message.content.starts_with(status::TITLE);
        Ok(messages.iter().rev().find(ours).map(|message| message.id))
    }
}

fn tasks_text(tasks: &[Task]) -> String {
    if tasks.is_empty() {
        return "No tasks: workers measure their default (rtp, udp, http and dns, at most 200 MB a day).".to_owned();
    }
    let line = |task: &Task| {
        let kinds: Vec<&str> = task.spec.kinds.iter().map(|kind| kind.name()).collect();
        let of = task.worker.as_ref().map_or("all".to_owned(), ToString::to_string);
        let duration = match task.spec.duration {
            model::Duration::Forever => "forever".to_owned(),
            model::Duration::Seconds(seconds) => format!("{seconds} s"),
        };
        format!("`{}` {of}: {} at {}/s, {duration}\n", task.id, kinds.join(","), task.spec.rate_pps)
    };
    tasks.iter().map(line).collect()
}
