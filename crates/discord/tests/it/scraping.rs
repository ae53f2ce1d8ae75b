//! The server bot: what is in the channels is what is kept, once each, whatever happens meanwhile.

use std::sync::Arc;
use std::time::Duration;

use discord::batch::Batch;
use discord::server_bot::Scraper;
use model::{BootId, Deployment, Instrument, Measurement, Metric, Record, RecordId};

use crate::support::{Memory, Running, Scene, name, until};

fn record(worker: &str, counter: u64) -> Record {
    let mut measured = Measurement::new(Metric::Rest, net::Clock::identity().now());
    measured.app_us = Some(100 + counter);
    Record {
        id: RecordId { worker: name(worker), boot: BootId(5), counter },
        instrument: Instrument { library: "test".into(), language: "rust".into(), version: "1".into() },
        measured,
    }
}

fn text(worker: &str, counter: u64) -> String {
    Batch::compose(&[record(worker, counter)], 0).expect("it fits").0
}

/// Makes the category and a worker's channel the way a main bot does, and goes away.
async fn with_channel(scene: &Scene, worker: &str) {
    let bot = Running::main(scene.main_bot("main-token", worker));
    until("the channel", || !scene.posted(worker).is_empty()).await;
    bot.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_live_messages_are_kept_once_each() {
    let scene = Scene::start("[gateway]\nheartbeat_interval_ms = 100\n").await;
    let (main, memory) = (scene.handle.user("main").unwrap(), Arc::new(Memory::default()));
    with_channel(&scene, "nyc1").await;
    let channel = scene.channel("nyc1").unwrap();
    for counter in 1..=350 {
        scene.handle.post(main, channel, &text("nyc1", counter)).unwrap();
    }
    let bot = Running::server(scene.server_bot("reader-token", &memory));
    until("the history", || memory.of("nyc1").len() == scene.posted("nyc1").len()).await;
    scene.handle.post(main, channel, &text("nyc1", 1000)).unwrap();
    until("the live message", || memory.of("nyc1").iter().any(|record| record.id.counter == 1000)).await;
    until("its own latencies", || !memory.of("server").is_empty()).await;
    bot.stop().await.unwrap();
    assert_eq!(memory.of("nyc1").len(), scene.posted("nyc1").len());

    // Started again it goes on from where it stopped.
    scene.handle.post(main, channel, &text("nyc1", 1001)).unwrap();
    let from = scene.handle.next_exchange();
    let again = Running::server(scene.server_bot("reader-token", &memory));
    until("what came meanwhile", || memory.of("nyc1").iter().any(|record| record.id.counter == 1001)).await;
    again.stop().await.unwrap();
    let pages = scene.handle.exchanges(from, |exchange| {
        exchange.name.starts_with("GET /channels/")
            && exchange.name.ends_with("/messages")
            && exchange.subject == Some(channel)
    });
    assert!(pages.len() <= 2, "{pages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_edited_and_broken_messages_are_counted_and_left_out() {
    let scene = Scene::start("").await;
    let (main, memory) = (scene.handle.user("main").unwrap(), Arc::new(Memory::default()));
    with_channel(&scene, "nyc1").await;
    let before = scene.posted("nyc1").len();
    let channel = scene.channel("nyc1").unwrap();
    scene.handle.post(scene.alice, channel, &text("nyc1", 1)).unwrap();
    scene.handle.post(main, channel, &text("ams1", 2)).unwrap();
    scene.handle.post(main, channel, &text("nyc1", 3).replace("\"app_us\":", "\"app_us\":-")).unwrap();
    let edited = scene.handle.post(main, channel, &text("nyc1", 4)).unwrap();
    scene.handle.edit(main, channel, edited, &text("nyc1", 5)).unwrap();
    scene.handle.post(scene.alice, channel, "nice graph!").unwrap();
    let kept = scene.handle.post(main, channel, &text("nyc1", 6)).unwrap();
    let bot = Running::server(scene.server_bot("reader-token", &memory));
    until("what is true", || memory.of("nyc1").iter().any(|record| record.id.counter == 6)).await;
    // What was read stays, whatever is done to the message later.
    scene.handle.edit(main, channel, kept, &text("nyc1", 7)).unwrap();
    scene.handle.delete(main, channel, kept).unwrap();
    until("both events", || memory.counted("record_edited") == 2 && memory.counted("record_deleted") == 1).await;
    bot.stop().await.unwrap();
    assert_eq!((memory.counted("record_forged"), memory.counted("record_malformed")), (2, 1));
    let counters: Vec<u64> =
        memory.of("nyc1").iter().filter(|record| record.id.boot == BootId(5)).map(|record| record.id.counter).collect();
    assert_eq!((counters, memory.of("nyc1").len()), (vec![6], before + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_away_loses_nothing_and_counts_once() {
    let scene = Scene::start("").await;
    let (main, memory) = (scene.handle.user("main").unwrap(), Arc::new(Memory::default()));
    with_channel(&scene, "nyc1").await;
    let channel = scene.channel("nyc1").unwrap();
    scene.handle.post(scene.alice, channel, &text("nyc1", 1)).unwrap();
    scene.handle.post(main, channel, &text("nyc1", 2)).unwrap();
    let rest = rest(&scene, "reader-token");
    let authors = scene.server_bot("reader-token", &memory).tokens.known_authors(discord::Snowflake(1));
    let scraper = Scraper::new(rest, discord::Snowflake(scene.guild.0), authors, memory.clone() as Arc<dyn Deployment>);
    memory.kept.lock().unwrap().away = true;
    for _ in 0..3 {
        assert!(scraper.read_all().await.is_err());
    }
    memory.kept.lock().unwrap().away = false;
    scraper.read_all().await.unwrap();
    assert_eq!((memory.counted("record_forged"), memory.of("nyc1").len()), (1, scene.posted("nyc1").len() - 1));
}

fn rest(scene: &Scene, token: &str) -> discord::rest::Rest {
    discord::rest::Rest::new(discord::rest::RestConfig {
        endpoint: scene.api(),
        token: discord::secret::Token::new(token).unwrap(),
        trust: discord::rest::Trust::load().unwrap(),
        clock: net::Clock::identity(),
        timeout: Duration::from_secs(15),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_intent_is_named_and_reading_goes_on_once_it_is_there() {
    let scene = Scene::start("").await;
    let memory = Arc::new(Memory::default());
    with_channel(&scene, "nyc1").await;
    let authors = scene.server_bot("blind-token", &memory).tokens.known_authors(discord::Snowflake(1));
    let guild = discord::Snowflake(scene.guild.0);
    let blind =
        Scraper::new(rest(&scene, "blind-token"), guild, authors.clone(), memory.clone() as Arc<dyn Deployment>);
    let error = blind.read_all().await.unwrap_err().to_string();
    assert!(error.contains("Message Content Intent"), "{error}");
    assert_eq!(memory.count(), 0);
    let seeing = Scraper::new(rest(&scene, "reader-token"), guild, authors, memory.clone() as Arc<dyn Deployment>);
    seeing.read_all().await.unwrap();
    assert_eq!(memory.of("nyc1").len(), scene.posted("nyc1").len());
}
