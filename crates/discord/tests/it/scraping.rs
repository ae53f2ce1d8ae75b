//! The server bot: what is in the channels is what is kept, once each, whatever happens meanwhile.

use std::sync::Arc;

use discord::batch::Batch;
use discord_emulator::faults::{Rule, Surface};
use model::{BootId, Instrument, Measurement, Metric, Record, RecordId};

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

#[tokio::test(flavor = "multi_thread")]
async fn history_and_live_messages_are_kept_once_each() {
    let scene = Scene::start("[gateway]\nheartbeat_interval_ms = 100\n").await;
    let (main, memory) = (scene.handle.user("main").unwrap(), Arc::new(Memory::default()));
    scene.with_channel("nyc1").await;
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
    // A look back at the newest, and what is newer than that; once more because the session began meanwhile.
    assert!(pages.len() <= 3, "{pages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_edited_and_broken_messages_are_counted_and_left_out() {
    let scene = Scene::start("").await;
    let (main, memory) = (scene.handle.user("main").unwrap(), Arc::new(Memory::default()));
    scene.with_channel("nyc1").await;
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

/// A channel that is made while the list of channels is being read is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_made_during_a_look_is_read() {
    let scene = Scene::start("").await;
    let memory = Arc::new(Memory::default());
    scene.with_channel("nyc1").await;
    let [main, reader] = ["main", "reader"].map(|name| scene.handle.user(name).unwrap());
    let list = "GET /guilds/{guild_id}/channels";
    // The list is made at once and comes late.
    let late = Rule { route: Some(list.to_owned()), answer_delay_ms: 1500.0, ..Rule::new(Surface::Rest) };
    let mut config = scene.server_bot("reader-token", &memory);
    // Nothing else that would make it look again.
    config.refresh = std::time::Duration::from_secs(3600);
    let bot = Running::server(config);
    until("the first channel", || !memory.of("nyc1").is_empty()).await;
    scene.handle.set_faults(vec![late]).unwrap();
    for worker in ["ams1", "fra1"] {
        let parent = scene.channel("netlat").unwrap();
        let channel = scene.handle.with_world(|world| {
            let body = serde_json::json!({ "name": worker, "type": 0, "parent_id": parent.to_string() });
            world.create_channel(reader, scene.guild, &body).unwrap()
        });
        scene.handle.post(main, channel, &text(worker, 1)).unwrap();
        // Long after the first list was made, before it has come.
        tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    }
    until("both channels", || !memory.of("ams1").is_empty() && !memory.of("fra1").is_empty()).await;
    bot.stop().await.unwrap();
}

/// What people do to their own messages is no matter of the data set.
#[tokio::test(flavor = "multi_thread")]
async fn only_changes_of_records_are_counted() {
    let scene = Scene::start("").await;
    let (main, memory) = (scene.handle.user("main").unwrap(), Arc::new(Memory::default()));
    scene.with_channel("nyc1").await;
    let channel = scene.channel("nyc1").unwrap();
    let old = scene.handle.post(main, channel, &text("nyc1", 1)).unwrap();
    let talk = scene.handle.post(scene.alice, channel, "nice graph!").unwrap();
    let ours = scene.handle.post(main, channel, "what a bot says to people").unwrap();
    let from = scene.handle.next_exchange();
    let bot = Running::server(scene.server_bot("reader-token", &memory));
    until("the record", || memory.of("nyc1").iter().any(|record| record.id.counter == 1)).await;
    // It may read before it listens: its own session must not be taken for the next one's.
    scene.identified(from, "reader").await;
    bot.stop().await.unwrap();
    // Another process, which did not read them itself, knows them all the same.
    let from = scene.handle.next_exchange();
    let bot = Running::server(scene.server_bot("reader-token", &memory));
    scene.identified(from, "reader").await;
    scene.handle.post(main, channel, &text("nyc1", 2)).unwrap();
    until("a live record", || memory.of("nyc1").iter().any(|record| record.id.counter == 2)).await;
    scene.handle.edit(scene.alice, channel, talk, "nicer graph!").unwrap();
    scene.handle.delete(scene.alice, channel, talk).unwrap();
    scene.handle.edit(main, channel, ours, "what a bot says").unwrap();
    scene.handle.delete(main, channel, ours).unwrap();
    scene.handle.edit(main, channel, old, &text("nyc1", 3)).unwrap();
    scene.handle.delete(main, channel, old).unwrap();
    // Events come in order: once the last change is counted the earlier ones were looked at.
    until("the record's changes", || memory.counted("record_deleted") > 0).await;
    bot.stop().await.unwrap();
    assert_eq!((memory.counted("record_edited"), memory.counted("record_deleted")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_away_loses_nothing_and_counts_once() {
    let scene = Scene::start("").await;
    let (main, memory) = (scene.handle.user("main").unwrap(), Arc::new(Memory::default()));
    scene.with_channel("nyc1").await;
    let channel = scene.channel("nyc1").unwrap();
    scene.handle.post(scene.alice, channel, &text("nyc1", 1)).unwrap();
    scene.handle.post(main, channel, &text("nyc1", 2)).unwrap();
    let scraper = scene.scraper("reader-token", &memory);
    memory.kept.lock().unwrap().away = true;
    for _ in 0..3 {
        assert!(scraper.read_all().await.is_err());
    }
    memory.kept.lock().unwrap().away = false;
    scraper.read_all().await.unwrap();
    assert_eq!((memory.counted("record_forged"), memory.of("nyc1").len()), (1, scene.posted("nyc1").len() - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_intent_is_named_and_reading_goes_on_once_it_is_there() {
    let scene = Scene::start("").await;
    let memory = Arc::new(Memory::default());
    scene.with_channel("nyc1").await;
    let blind = scene.scraper("blind-token", &memory);
    let error = blind.read_all().await.unwrap_err().to_string();
    assert!(error.contains("Message Content Intent"), "{error}");
    assert_eq!(memory.count(), 0);
    scene.scraper("reader-token", &memory).read_all().await.unwrap();
    assert_eq!(memory.of("nyc1").len(), scene.posted("nyc1").len());
}
