//! The task board from a person's side: commands in, answers and effects out.

use std::sync::{Arc, Mutex};

use discord_emulator::Snowflake;
use model::{Kind, Metric, Problem, Task, TaskReceiver};
use serde_json::{Map, Value, json};

use crate::support::{Memory, Running, Scene, until};

struct Board {
    scene: Scene,
    memory: Arc<Memory>,
    bot: Running,
    control: Snowflake,
}

impl Board {
    async fn start(extra: &str) -> Board {
        let scene = Scene::start(extra).await;
        let memory = Arc::new(Memory::default());
        let bot = Running::server(scene.server_bot("reader-token", &memory));
        let reader = scene.handle.user("reader").unwrap();
        until("the session", || {
            scene.handle.connected_sessions(reader) == 1 && scene.channel("netlat-control").is_some()
        })
        .await;
        let control = scene.channel("netlat-control").unwrap();
        until("the status message", || scene.handle.contents(control).iter().any(|text| is_status(text))).await;
        Board { scene, memory, bot, control }
    }

    /// Says it and waits for the answer.
    async fn say(&self, text: &str) -> String {
        let before = self.scene.handle.contents(self.control).len();
        self.scene.handle.post(self.scene.alice, self.control, text).unwrap();
        until("an answer", || self.scene.handle.contents(self.control).len() > before + 1).await;
        self.scene.handle.contents(self.control).pop().unwrap()
    }

    async fn slash(&self, user: Snowflake, sub: &str, options: Value) -> String {
        let mut map = Map::new();
        map.insert(sub.to_owned(), options);
        let handle = &self.scene.handle;
        let id = handle.invoke(user, self.control, "netlat", map).unwrap();
        until("an answer", || handle.interaction(id).is_some_and(|view| !view.messages.is_empty())).await;
        let view = handle.interaction(id).unwrap();
        view.messages[0]["content"].as_str().unwrap().to_owned()
    }
}

fn is_status(text: &str) -> bool {
    text.starts_with("**NetLat status**")
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_slash_commands_start_and_stop_tasks() {
    let board = Board::start("").await;
    let answer = board.say("!netlat start id=voice worker=nyc1 kinds=rtp,udp duration=10m").await;
    assert!(answer.contains("Started task `voice` for `nyc1`"), "{answer}");
    {
        let kept = board.memory.kept.lock().unwrap();
        assert_eq!(kept.tasks[0].spec.kinds, [Kind::Rtp, Kind::Udp]);
    }
    let answer = board.slash(board.scene.alice, "tasks", json!({})).await;
    assert!(answer.contains("`voice` nyc1: rtp,udp"), "{answer}");
    let answer = board.slash(board.scene.alice, "stop", json!({ "id": "voice" })).await;
    assert!(answer.contains("Stopped task `voice`"), "{answer}");
    let answer = board.say("!netlat stop id=voice").await;
    assert!(answer.contains("there is no task `voice`"), "{answer}");
    let answer = board.say("!netlat start rate=lots").await;
    assert!(answer.contains("rate is packets per second"), "{answer}");
    until("its own interactions measured", || {
        board.memory.of("server").iter().any(|record| record.measured.metric == Metric::Interaction)
    })
    .await;
    board.bot.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_command_nothing() {
    let board = Board::start("").await;
    let mallory = board.scene.handle.create_user("mallory");
    board.scene.handle.join_guild(board.scene.guild, mallory);
    let before = board.scene.handle.contents(board.control).len();
    board.scene.handle.post(mallory, board.control, "!netlat start").unwrap();
    until("a refusal", || board.scene.handle.contents(board.control).len() > before + 1).await;
    let answer = board.scene.handle.contents(board.control).pop().unwrap();
    assert!(answer.contains("may not command"), "{answer}");
    assert!(board.memory.kept.lock().unwrap().tasks.is_empty());
    board.bot.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_status_message_is_edited_in_place() {
    let board = Board::start("").await;
    let count = || board.scene.handle.contents(board.control).iter().filter(|text| is_status(text)).count();
    let edits = |from| {
        board
            .scene
            .handle
            .exchanges(from, |exchange| exchange.name.starts_with("PATCH ") && exchange.status == Some(200))
    };
    until("edits", || edits(0).len() > 3).await;
    assert_eq!(count(), 1);
    // Started again it finds the same message.
    board.bot.stop().await.unwrap();
    let from = board.scene.handle.next_exchange();
    let again = Running::server(board.scene.server_bot("reader-token", &board.memory));
    until("edits", || edits(from).len() > 1).await;
    again.stop().await.unwrap();
    assert_eq!(count(), 1);
}

#[derive(Default)]
struct Received(Mutex<Vec<Vec<Task>>>, Mutex<Option<String>>);

impl TaskReceiver for Received {
    fn receive(&self, tasks: &[Task]) -> Result<(), Problem> {
        self.0.lock().unwrap().push(tasks.to_vec());
        Ok(())
    }

    fn answer(&self) -> Option<String> {
        self.1.lock().unwrap().take()
    }
}

/// A worker that is not there.
struct Nobody;

impl TaskReceiver for Nobody {
    fn receive(&self, _: &[Task]) -> Result<(), Problem> {
        Err(Problem("no worker has run here".to_owned()))
    }

    fn answer(&self) -> Option<String> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_handed_tasks_is_said_in_the_channel() {
    let board = Board::start("").await;
    let received = Arc::new(Received::default());
    let mut config = board.scene.main_bot("main-token", "nyc1");
    config.receiver = Some(received.clone());
    let mut lonely = board.scene.main_bot("main-token", "ams1");
    lonely.receiver = Some(Arc::new(Nobody));
    let (main, lonely) = (Running::main(config), Running::main(lonely));
    until("both are read", || ["nyc1", "ams1"].iter().all(|worker| !board.memory.of(worker).is_empty())).await;
    let says = |worker: &str, text: &str| {
        let channel = board.scene.channel(worker).unwrap();
        board.scene.handle.contents(channel).iter().any(|content| content.contains(text))
    };
    *received.1.lock().unwrap() = Some("measuring goes on: `a`. Not begun: `b`.".to_owned());
    until("the worker's answer", || says("nyc1", "`nyc1`: measuring goes on: `a`. Not begun: `b`.")).await;
    board.say("!netlat start id=a worker=ams1").await;
    until("that there is no worker", || says("ams1", "`ams1`: the tasks of the task board were not handed on")).await;
    main.stop().await.unwrap();
    lonely.stop().await.unwrap();
    board.bot.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_steered_by_discord_alone() {
    let board = Board::start("").await;
    let received = Arc::new(Received::default());
    let mut config = board.scene.main_bot("main-token", "nyc1");
    config.receiver = Some(received.clone());
    let main = Running::main(config);
    until("records are read", || !board.memory.of("nyc1").is_empty()).await;
    board.say("!netlat start id=a worker=nyc1").await;
    until("the task", || received.0.lock().unwrap().last().is_some_and(|tasks| tasks.len() == 1)).await;
    assert!(board.say("!netlat set worker=nyc1 measure=off").await.starts_with("Set for `nyc1`."));
    let settled = || {
        let records = board.scene.posted("nyc1").len();
        std::thread::sleep(std::time::Duration::from_millis(400));
        records == board.scene.posted("nyc1").len()
    };
    until("silence", settled).await;
    board.say("!netlat set worker=nyc1 measure=on").await;
    let before = board.scene.posted("nyc1").len();
    until("records again", || board.scene.posted("nyc1").len() > before).await;
    // Nobody else steers.
    let channel = board.scene.channel("nyc1").unwrap();
    let forged = r#"{"netlat":"tasks/1","worker":"nyc1","bot":{"measure":false}}"#;
    board.scene.handle.post(board.scene.alice, channel, forged).unwrap();
    let before = board.scene.posted("nyc1").len();
    until("records still", || board.scene.posted("nyc1").len() > before + 10).await;
    main.stop().await.unwrap();
    board.bot.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_comes_as_a_file() {
    let board = Board::start("").await;
    until("its own records", || board.memory.count() > 3).await;
    let answer = board.say("!netlat export hours=1").await;
    assert!(answer.contains("records of the last 1 h"), "{answer}");
    let file = board.scene.handle.with_world(|world| {
        let messages = world.channels[&board.control].messages.values();
        messages.filter(|message| !message.attachments.is_empty()).count()
    });
    assert_eq!(file, 1);
    board.bot.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_too_long_says_what_to_do_instead() {
    // Discord's own limit is smaller than the deployment's here.
    let board = Board::start("upload_bytes = 1000000").await;
    for (bytes, part) in [(9 << 20, "more than 8 MiB"), (2 << 20, "Discord takes no file of 20971")] {
        board.memory.kept.lock().unwrap().csv_bytes = bytes;
        let answer = board.say("!netlat export hours=1").await;
        assert!(answer.starts_with("That failed: ") && answer.contains(part), "{answer}");
        assert!(answer.contains("fewer hours") && answer.contains("`netlat export --dataset discord`"), "{answer}");
        assert_eq!(answer.lines().count(), 1);
    }
    board.bot.stop().await.unwrap();
}

/// Fifty bots with one token would be refused by the gateway without turns.
#[tokio::test(flavor = "multi_thread")]
async fn bots_that_share_a_token_log_in_in_turn() {
    let board = Board::start("").await;
    let bots: Vec<Running> = ["nyc1", "ams1"]
        .into_iter()
        .map(|worker| {
            let mut config = board.scene.main_bot("main-token", worker);
            config.token.shared = true;
            Running::main(config)
        })
        .collect();
    let main = board.scene.handle.user("main").unwrap();
    until("both sessions", || board.scene.handle.connected_sessions(main) == 2).await;
    let identifies = board.scene.handle.exchanges(0, |exchange| {
        exchange.kind == discord_emulator::stamps::ExchangeKind::Identify && exchange.user == Some(main)
    });
    assert_eq!(identifies.len(), 2);
    assert!(identifies[1].received_ns - identifies[0].received_ns >= 5_000_000_000);
    for bot in bots {
        bot.stop().await.unwrap();
    }
    board.bot.stop().await.unwrap();
}
