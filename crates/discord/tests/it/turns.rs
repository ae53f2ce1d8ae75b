//! Bots that share an account: one voice seat, in turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use discord::turns::{Ask, Want};
use discord_emulator::Snowflake;
use discord_emulator::stamps::ExchangeKind;
use model::Metric;

use crate::support::{Memory, Running, Scene, name, until};

const WORKERS: [&str; 3] = ["nyc1", "ams1", "fra1"];

/// Who measured voice, in the order of time; a worker once for all beats in a row.
fn stays(scene: &Scene) -> Vec<&'static str> {
    let mut beats: Vec<(i64, &str)> = Vec::new();
    for worker in WORKERS {
        let records = scene.posted(worker).into_iter();
        let answered = records.filter(|record| record.measured.metric == Metric::VoiceHeartbeat);
        beats.extend(answered.filter_map(|record| Some((record.measured.sent_us?, worker))));
    }
    beats.sort_unstable();
    let mut stays: Vec<&str> = beats.into_iter().map(|(_, worker)| worker).collect();
    stays.dedup();
    stays
}

#[tokio::test(flavor = "multi_thread")]
async fn the_voice_seat_goes_round_among_bots_in_voice() {
    let scene = Scene::start("[gateway]\nheartbeat_interval_ms = 5000\n[voice]\nheartbeat_interval_ms = 100\n").await;
    let memory = Arc::new(Memory::default());
    let lease = Duration::from_secs(2);
    let mut server = scene.server_bot("reader-token", &memory);
    server.pace.voice_lease = lease;
    let server = Running::server(server);
    let bots: Vec<Running> = WORKERS
        .into_iter()
        .map(|worker| {
            let mut config = scene.main_bot("main-token", worker);
            (config.token.shared, config.voice) = (true, true);
            config.pace.voice_lease = lease;
            // What is judged here is voice: the rest stays in the background.
            config.pace.rest = Duration::from_millis(500);
            Running::main(config)
        })
        .collect();
    let main = scene.handle.user("main").unwrap();
    let mut most = 0;
    until("two stays of each", || {
        most = most.max(scene.handle.with_world(|world| world.voice_connections.len()));
        let mut counts = BTreeMap::new();
        for worker in stays(&scene) {
            *counts.entry(worker).or_insert(0) += 1;
        }
        counts.len() == WORKERS.len() && counts.values().all(|count| *count >= 2)
    })
    .await;
    for bot in bots {
        bot.stop().await.unwrap();
    }
    server.stop().await.unwrap();
    // Had two been in voice at a time, their beats would lie between each other's: many more stays than admissions.
    let entered = scene.handle.exchanges(0, |exchange| exchange.kind == ExchangeKind::VoiceIdentify);
    let stays = stays(&scene);
    assert!(entered.iter().all(|exchange| exchange.user == Some(main)));
    assert!(stays.len() <= entered.len(), "{stays:?}, {} admissions", entered.len());
    assert_eq!(most, 1, "voice connections at a time");
    // Nobody identified out of turn either.
    let identifies =
        scene.handle.exchanges(0, |exchange| exchange.kind == ExchangeKind::Identify && exchange.user == Some(main));
    assert_eq!(identifies.len(), WORKERS.len());
}

/// A server bot that comes later, or comes again, finds who waits.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_while_no_server_bot_listened_gets_a_turn() {
    let scene = Scene::start("").await;
    let memory = Arc::new(Memory::default());
    scene.with_channel("nyc1").await;
    let (main, channel) = (scene.handle.user("main").unwrap(), scene.channel("nyc1").unwrap());
    let ask = || scene.handle.post(main, channel, &Ask::text(&name("nyc1"), Want::Voice)).unwrap();
    let has = |message: Snowflake, mark: &str| {
        scene.handle.with_world(|world| {
            let message = world.channels[&channel].messages.get(&message);
            message.is_some_and(|message| message.reactions.iter().any(|reaction| reaction.name == mark))
        })
    };
    let (granted, noted) = ("\u{2705}", "\u{23f3}");
    let (first, second) = (ask(), ask());
    let from = scene.handle.next_exchange();
    let server = Running::server(scene.server_bot("reader-token", &memory));
    until("the first one's turn", || has(first, granted) && has(second, noted)).await;
    // Turns are found by reading, before it listens: its own session must not be taken for the next one's.
    scene.identified(from, "reader").await;
    assert!(!has(second, granted));
    server.stop().await.unwrap();
    // What it remembered is gone with it; the channel still says who waits.
    let from = scene.handle.next_exchange();
    let again = Running::server(scene.server_bot("reader-token", &memory));
    scene.identified(from, "reader").await;
    scene.handle.delete(main, channel, first).unwrap();
    until("the second one's turn", || has(second, granted)).await;
    again.stop().await.unwrap();
}
