//! An emulated Discord with a guild, a person and bots; bots of ours in it; a deployment in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use discord::main_bot::MainBotConfig;
use discord::rest::{Endpoint, Rest, RestConfig, Trust};
use discord::secret::Token;
use discord::server_bot::{Scraper, ServerBotConfig};
use discord::tokens::{Chosen, Tokens};
use discord::{BotError, Pace, main_bot, server_bot};
use discord_emulator::stamps::{Exchange, ExchangeKind};
use discord_emulator::testing::Home;
use discord_emulator::{Emulator, Handle, Snowflake};
use model::deployment::{LONGEST_CSV, too_long};
use model::report::Application;
use model::{
    Answer, Cursor, Deployment, Problem, Record, RecordId, RecordSubmission, RecordsAccepted, Task, TaskId, TaskSpec,
    WorkerName, WorkerState,
};
use tokio::sync::oneshot;

pub use discord_emulator::testing::{bounded, until};

const CONFIG: &str = r#"
[[application]]
name = "main"
token = "main-token"

[[application]]
name = "reader"
token = "reader-token"
intents = ["MESSAGE_CONTENT"]

[[application]]
name = "blind"
token = "blind-token"

[[application]]
name = "feeble"
token = "feeble-token"

[[user]]
name = "alice"

[[guild]]
name = "home"
owner = "alice"

[[guild.member]]
name = "main"
permissions = ["MANAGE_CHANNELS"]

[[guild.member]]
name = "reader"
permissions = ["MANAGE_CHANNELS"]

[[guild.member]]
name = "blind"
permissions = ["MANAGE_CHANNELS"]

[[guild.member]]
name = "feeble"

[[guild.channel]]
name = "general"

[[guild.channel]]
name = "Lounge"
kind = "voice"
"#;

pub struct Scene {
    pub emulator: Emulator,
    pub handle: Handle,
    pub guild: Snowflake,
    pub alice: Snowflake,
    pub data: tempfile::TempDir,
}

impl Scene {
    /// `extra` comes in front of the configuration.
    pub async fn start(extra: &str) -> Scene {
        let text = format!("[limits]\nidentify_window_ms = 0\nrest = false\n{extra}\n{CONFIG}");
        let Home { emulator, handle, guild, alice } = Home::start(&text).await;
        Scene { emulator, handle, guild, alice, data: tempfile::tempdir().expect("a directory") }
    }

    fn host(&self) -> String {
        self.emulator.host()
    }

    pub fn api(&self) -> Endpoint {
        format!("http://{}/api/v10", self.host()).parse().expect("an address")
    }

    pub fn gateway(&self) -> Endpoint {
        format!("ws://{}", self.host()).parse().expect("an address")
    }

    pub fn main_bot(&self, token: &str, worker: &str) -> MainBotConfig {
        MainBotConfig {
            worker: name(worker),
            token: Chosen { token: Token::new(token).expect("a token"), shared: false },
            guild: None,
            api: self.api(),
            gateway: Some(self.gateway()),
            steered_by: self.handle.user("reader").map(|id| discord::Snowflake(id.0)).into_iter().collect(),
            receiver: None,
            data_dir: self.data.path().join(worker),
            pace: quick(),
            voice: false,
            clock: net::Clock::identity(),
        }
    }

    pub fn server_bot(&self, token: &str, deployment: &Arc<Memory>) -> ServerBotConfig {
        let main = self.handle.user("main").expect("configured");
        let text =
            format!("[[token]]\ntoken = \"{token}\"\nserver = true\n[[author]]\nid = \"{main}\"\nworkers = [\"*\"]\n");
        ServerBotConfig {
            tokens: Tokens::parse(&text).expect("tokens"),
            name: name("server"),
            guild: None,
            api: self.api(),
            gateway: Some(self.gateway()),
            data_dir: self.data.path().join("server-bot"),
            deployment: deployment.clone(),
            allowed: discord::board::Allowed {
                roles: BTreeSet::new(),
                users: [discord::Snowflake(self.alice.0)].into(),
            },
            pace: quick(),
            refresh: Duration::from_millis(200),
            clock: net::Clock::identity(),
        }
    }

    /// Reads channels by itself, without a gateway.
    pub fn scraper(&self, token: &str, deployment: &Arc<Memory>) -> Scraper {
        let rest = Rest::new(RestConfig {
            endpoint: self.api(),
            token: Token::new(token).expect("a token"),
            trust: Trust::load().expect("certificates"),
            clock: net::Clock::identity(),
            timeout: Duration::from_secs(15),
        });
        let authors = self.server_bot(token, deployment).tokens.known_authors(discord::Snowflake(1));
        Scraper::new(rest, discord::Snowflake(self.guild.0), authors, deployment.clone())
    }

    /// Until a bot's account got a new session since exchange `from`; an earlier process's may still be closing.
    pub async fn identified(&self, from: u64, account: &str) {
        let user = self.handle.user(account);
        let identify = |exchange: &Exchange| exchange.kind == ExchangeKind::Identify && exchange.user == user;
        until("the session", || !self.handle.exchanges(from, identify).is_empty()).await;
    }

    /// Makes the category and a worker's channel the way a main bot does, which goes away again.
    pub async fn with_channel(&self, worker: &str) {
        let bot = Running::main(self.main_bot("main-token", worker));
        until("the channel", || !self.posted(worker).is_empty()).await;
        bot.stop().await.expect("it ends well");
    }

    pub fn channel(&self, name: &str) -> Option<Snowflake> {
        self.handle.channel(self.guild, name)
    }

    /// Batches in a worker's channel, in their order.
    pub fn posted(&self, worker: &str) -> Vec<Record> {
        let Some(channel) = self.channel(worker) else { return Vec::new() };
        let contents = self.handle.contents(channel);
        let batches = contents.iter().filter_map(|text| discord::batch::Batch::read(text).ok());
        batches.flat_map(|batch| batch.into_records()).collect()
    }
}

pub fn quick() -> Pace {
    Pace {
        rest: Duration::from_millis(20),
        post: Duration::from_millis(100),
        connect: Duration::from_millis(100),
        voice_lease: Duration::from_secs(1),
        media: Duration::from_millis(500),
    }
}

pub fn name(text: &str) -> WorkerName {
    WorkerName::new(text).expect("a name")
}

/// A bot on a thread and loop of its own, as the program runs it.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), BotError>>,
}

impl Running {
    pub fn main(config: MainBotConfig) -> Running {
        Running::on_a_thread(move |stop| main_bot::run(config, stop))
    }

    pub fn server(config: ServerBotConfig) -> Running {
        Running::on_a_thread(move |stop| server_bot::run(config, stop))
    }

    /// Beside `driver`, on the same loop.
    pub fn main_with(config: MainBotConfig, driver: impl Future<Output = ()> + Send + 'static) -> Running {
        Running::on_a_thread(move |stop| async move {
            tokio::spawn(driver);
            main_bot::run(config, stop).await
        })
    }

    fn on_a_thread<F: Future<Output = Result<(), BotError>>>(
        run: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F + Send + 'static,
    ) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a loop");
            let stopped = Box::pin(async {
                let _ = stopped.await;
            });
            let _ = end.send(runtime.block_on(run(stopped)));
        });
        Running { stop: Some(stop), ended }
    }

    pub async fn stop(mut self) -> Result<(), BotError> {
        drop(self.stop.take());
        bounded("the bot's end", self.ended).await.expect("no panic")
    }

    /// Waits for it to end by itself.
    pub async fn end(self) -> Result<(), BotError> {
        bounded("the bot's end", self.ended).await.expect("no panic")
    }
}

/// What the store does, in memory.
#[derive(Default)]
pub struct Memory {
    pub kept: Mutex<Kept>,
}

#[derive(Default)]
pub struct Kept {
    pub records: BTreeMap<RecordId, Record>,
    pub cursors: BTreeMap<String, u64>,
    pub counted: BTreeMap<String, u64>,
    pub tasks: Vec<Task>,
    pub submissions: u64,
    /// How long the CSV is made.
    pub csv_bytes: usize,
    /// Refuses everything.
    pub away: bool,
}

impl Memory {
    pub fn count(&self) -> usize {
        self.kept.lock().unwrap().records.len()
    }

    /// Of one worker, which the server bot's own records are not.
    pub fn of(&self, worker: &str) -> Vec<Record> {
        let kept = self.kept.lock().unwrap();
        kept.records.values().filter(|record| record.id.worker.as_str() == worker).cloned().collect()
    }

    pub fn counted(&self, word: &str) -> u64 {
        self.kept.lock().unwrap().counted.get(word).copied().unwrap_or_default()
    }
}

fn ready<'a, T: Send + 'a>(value: Result<T, Problem>) -> Answer<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Deployment for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn submit(&self, submission: RecordSubmission) -> Answer<'_, RecordsAccepted> {
        let mut kept = self.kept.lock().unwrap();
        if kept.away {
            return ready(Err(Problem("away".to_owned())));
        }
        kept.submissions += 1;
        let mut accepted = RecordsAccepted::default();
        assert!(submission.records.len() <= RecordSubmission::LIMIT);
        for record in submission.records {
            record.check().expect("only checked records are submitted");
            match kept.records.get(&record.id) {
                None => {
                    kept.records.insert(record.id.clone(), record);
                    accepted.new += 1;
                }
                Some(known) if *known == record => accepted.known += 1,
                Some(_) => accepted.conflicting += 1,
            }
        }
        for Cursor { source, position } in submission.cursors {
            let known = kept.cursors.entry(source).or_default();
            *known = (*known).max(position);
        }
        for (word, count) in submission.counted {
            *kept.counted.entry(word).or_default() += count;
        }
        ready(Ok(accepted))
    }

    fn cursors(&self) -> Answer<'_, Vec<Cursor>> {
        let kept = self.kept.lock().unwrap();
        let cursor = |(source, position): (&String, &u64)| Cursor { source: source.clone(), position: *position };
        ready(Ok(kept.cursors.iter().map(cursor).collect()))
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerState>> {
        ready(Ok(Vec::new()))
    }

    fn tasks(&self) -> Answer<'_, Vec<Task>> {
        ready(Ok(self.kept.lock().unwrap().tasks.clone()))
    }

    fn put_task(&self, id: Option<TaskId>, worker: Option<WorkerName>, spec: TaskSpec) -> Answer<'_, Task> {
        let mut kept = self.kept.lock().unwrap();
        let id = id.unwrap_or_else(|| TaskId(format!("task-{}", kept.tasks.len())));
        let task = Task { id, worker, spec };
        kept.tasks.retain(|known| known.id != task.id);
        kept.tasks.push(task.clone());
        ready(Ok(task))
    }

    fn remove_task(&self, id: TaskId) -> Answer<'_, bool> {
        let mut kept = self.kept.lock().unwrap();
        let before = kept.tasks.len();
        kept.tasks.retain(|task| task.id != id);
        ready(Ok(kept.tasks.len() < before))
    }

    fn applications(&self, worker: Option<WorkerName>, _since_us: i64) -> Answer<'_, Vec<Application>> {
        let _ = worker;
        ready(Ok(Vec::new()))
    }

    fn csv(&self, _since_us: i64) -> Answer<'_, String> {
        let padding = self.kept.lock().unwrap().csv_bytes;
        let csv = format!("worker\n{}{}", "x\n".repeat(self.count()), "x".repeat(padding));
        ready(if csv.len() > LONGEST_CSV { Err(Problem(too_long())) } else { Ok(csv) })
    }
}
