//! What Discord refuses for good, and clocks that are wrong: one line, no storm, flags in the records.

use std::sync::Arc;

use discord::{BotError, gateway::GatewayEnd};
use discord_emulator::faults::{Effect, Rule, Surface};
use model::Record;

use crate::support::{Memory, Running, Scene, until};

/// Close codes after which there must be no other attempt (reference, "Gateway Close Event Codes").
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_refuses_for_good_is_asked_once() {
    for (code, end, part) in [
        (4004, GatewayEnd::Unauthorized, "Reset Token"),
        (4014, GatewayEnd::DisallowedIntents, "enable Message Content Intent"),
        (4013, GatewayEnd::Closed(4013), "close code 4013"),
    ] {
        let scene = Scene::start("").await;
        let memory = Arc::new(Memory::default());
        let identify = Rule {
            event: Some("IDENTIFY".to_owned()),
            effect: Some(Effect::Close { code }),
            ..Rule::new(Surface::Gateway)
        };
        scene.handle.set_faults(vec![identify]).unwrap();
        let main = Running::main(scene.main_bot("main-token", "nyc1"));
        let server = Running::server(scene.server_bot("reader-token", &memory));
        for (nth, bot) in [main, server].into_iter().enumerate() {
            let error = bot.end().await.unwrap_err();
            assert!(matches!(&error, BotError::Gateway(found) if *found == end), "{error}");
            let line = error.to_string();
            assert!(line.contains(part) && line.lines().count() == 1 && !line.contains("-token"), "{line}");
            // Both have ended once the second has: each identified once and never again.
            if nth == 1 {
                assert_eq!(scene.handle.faults()[0].1, 2, "identifies");
            }
        }
    }
}

fn is_flagged(record: &Record) -> bool {
    record.measured.flags.iter().any(|flag| flag == "clock-off")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_flagged_from_the_first_record_on() {
    let beats = "[gateway]\nheartbeat_interval_ms = 100\n";
    for (clock, wrong) in [("step=+60s@0s", true), ("step=-60s@0s", true), ("step=+300ms@0s", false)] {
        let scene = Scene::start(beats).await;
        let memory = Arc::new(Memory::default());
        let mut config = scene.main_bot("main-token", "nyc1");
        config.clock = net::Clock::shifted(clock).unwrap();
        let main = Running::main(config);
        let server = Running::server(scene.server_bot("reader-token", &memory));
        until("records", || memory.of("nyc1").len() > 30).await;
        main.stop().await.unwrap();
        server.stop().await.unwrap();
        let records = memory.of("nyc1");
        assert!(records.iter().all(|record| is_flagged(record) == wrong), "{clock}: {records:?}");
        // The server bot's host has the right time.
        assert!(!memory.of("server").iter().any(is_flagged));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_becomes_wrong_and_right_again_is_noticed() {
    let scene = Scene::start("").await;
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    let flagged = || scene.posted("nyc1").iter().filter(|record| is_flagged(record)).count();
    let fine = || scene.posted("nyc1").len() - flagged();
    until("records", || fine() > 5).await;
    // As seen from Discord this host's clock is behind now.
    scene.handle.set_clock_offset_ms(60_000);
    until("flagged records", || flagged() > 5).await;
    scene.handle.set_clock_offset_ms(0);
    let before = fine();
    until("records without a flag", || fine() > before + 5).await;
    bot.stop().await.unwrap();
}

/// A record that lies far from its message's time cannot be placed: it is left out and counted.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_clock_an_hour_ahead_are_counted_as_implausible() {
    let scene = Scene::start("").await;
    let memory = Arc::new(Memory::default());
    let mut config = scene.main_bot("main-token", "nyc1");
    config.clock = net::Clock::shifted("step=+3600s@0s").unwrap();
    let main = Running::main(config);
    let server = Running::server(scene.server_bot("reader-token", &memory));
    until("messages to be left out", || memory.counted("record_implausible") > 3).await;
    main.stop().await.unwrap();
    server.stop().await.unwrap();
    assert!(memory.of("nyc1").is_empty());
}
