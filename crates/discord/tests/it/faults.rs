//! The main bot under everything that goes wrong: what it measured is all there, and nothing twice.

use std::collections::HashSet;
use std::time::Duration;

use discord::BotError;
use discord_emulator::faults::{Effect, Rule, Scope, Surface};
use model::{Metric, Record};

use crate::support::{Running, Scene, quick, until};

/// Every record once, and every number of the boot up to the last.
fn assert_complete(records: &[Record]) {
    let ids: HashSet<_> = records.iter().map(|record| record.id.clone()).collect();
    assert_eq!(ids.len(), records.len(), "nothing twice");
    let boots: HashSet<_> = records.iter().map(|record| record.id.boot).collect();
    for boot in boots {
        let mut counters: Vec<u64> =
            records.iter().filter(|record| record.id.boot == boot).map(|record| record.id.counter).collect();
        counters.sort_unstable();
        let expected: Vec<u64> = (1..=counters.len() as u64).collect();
        assert_eq!(counters, expected, "nothing lost");
    }
}

fn has(records: &[Record], metric: Metric) -> bool {
    records.iter().any(|record| record.measured.metric == metric && record.measured.app_us.is_some())
}

const BEATS: &str = "[gateway]\nheartbeat_interval_ms = 100\n";

#[tokio::test(flavor = "multi_thread")]
async fn it_makes_its_channel_and_posts_every_metric() {
    let scene = Scene::start(BEATS).await;
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    let all = [Metric::Rest, Metric::GatewayHeartbeat, Metric::MessageEcho];
    until("records of every metric", || {
        let records = scene.posted("nyc1");
        all.iter().all(|metric| has(&records, *metric))
    })
    .await;
    bot.stop().await.unwrap();
    let records = scene.posted("nyc1");
    assert_complete(&records);
    for record in records.iter().filter(|record| record.measured.app_us.is_some()) {
        let network = record.measured.network_us.expect("each beside its connection's network time");
        assert!(network <= record.measured.app_us.unwrap(), "{record:?}");
    }
    let category = scene.channel("netlat").expect("the category");
    let channel = scene.channel("nyc1").unwrap();
    let parent = scene.handle.with_world(|world| world.channels[&channel].parent);
    assert_eq!(parent, Some(category));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_every_scope_and_server_errors_lose_nothing() {
    let scene = Scene::start(BEATS).await;
    let limit = |scope| Effect::RateLimit { scope, retry_after_ms: 60 };
    let rule = |effect, probability| Rule { effect: Some(effect), probability, ..Rule::new(Surface::Rest) };
    scene
        .handle
        .set_faults(vec![
            rule(limit(Scope::User), 0.1),
            rule(limit(Scope::Shared), 0.1),
            rule(limit(Scope::Global), 0.05),
            rule(Effect::Status { code: 503 }, 0.1),
            rule(Effect::Reset, 0.05),
            rule(Effect::HalfClose, 0.05),
            rule(Effect::SlowBody { over_ms: 50 }, 0.1),
        ])
        .unwrap();
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    until("records under faults", || scene.posted("nyc1").len() > 120).await;
    scene.handle.clear_faults();
    bot.stop().await.unwrap();
    let records = scene.posted("nyc1");
    assert_complete(&records);
    let waited = records.iter().filter(|record| record.measured.wait_us > 50_000).count();
    assert!(waited > 0, "waits are reported apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_in_every_way_are_taken_up_again() {
    let scene = Scene::start(BEATS).await;
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    let main = scene.handle.user("main");
    let beats = || scene.posted("nyc1").iter().filter(|r| r.measured.metric == Metric::GatewayHeartbeat).count();
    until("the first beat", || beats() > 0).await;
    for effect in [
        Effect::Reconnect,
        Effect::InvalidSession { resumable: true },
        Effect::InvalidSession { resumable: false },
        Effect::Close { code: 4000 },
        Effect::Reset,
        Effect::HalfClose,
    ] {
        let before = beats();
        until("a session to disturb", || scene.handle.disturb_gateway(main, effect.clone()) == 1).await;
        until(&format!("beats after {effect:?}"), || beats() > before + 2).await;
    }
    bot.stop().await.unwrap();
    assert_complete(&scene.posted("nyc1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_acknowledgements_is_given_up() {
    let scene = Scene::start(BEATS).await;
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    let main = scene.handle.user("main");
    until("the first beat", || has(&scene.posted("nyc1"), Metric::GatewayHeartbeat)).await;
    let from = scene.handle.next_exchange();
    assert_eq!(scene.handle.disturb_gateway(main, Effect::Stall), 1);
    let resumed = |exchange: &discord_emulator::stamps::Exchange| {
        use discord_emulator::stamps::ExchangeKind::{Identify, Resume};
        matches!(exchange.kind, Identify | Resume)
    };
    until("a new session", || !scene.handle.exchanges(from, resumed).is_empty()).await;
    bot.stop().await.unwrap();
    assert_complete(&scene.posted("nyc1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn discord_is_away_and_what_was_measured_meanwhile_comes_later() {
    let scene = Scene::start(BEATS).await;
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    until("a first post", || !scene.posted("nyc1").is_empty()).await;
    scene.handle.set_away(true);
    // Each attempt to reach it is a record of its own.
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.handle.set_away(false);
    // A connection that is reset at once may still have taken the request.
    let words = ["unreachable", "interrupted"];
    let unreachable = |record: &Record| record.measured.flags.iter().any(|flag| words.contains(&flag.as_str()));
    until("the backlog", || scene.posted("nyc1").iter().filter(|record| unreachable(record)).count() > 20).await;
    bot.stop().await.unwrap();
    assert_complete(&scene.posted("nyc1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_does_not_post_twice() {
    let scene = Scene::start(BEATS).await;
    let lost = Rule {
        route: Some("POST /channels/{channel_id}/messages".to_owned()),
        effect: Some(Effect::HalfClose),
        probability: 0.5,
        ..Rule::new(Surface::Rest)
    };
    scene.handle.set_faults(vec![lost]).unwrap();
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    until("posts", || scene.posted("nyc1").len() > 60).await;
    scene.handle.clear_faults();
    bot.stop().await.unwrap();
    assert_complete(&scene.posted("nyc1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_ends_it_after_one_request() {
    let scene = Scene::start("").await;
    let from = scene.handle.next_exchange();
    let error = Running::main(scene.main_bot("s3cret-token", "nyc1")).end().await.unwrap_err();
    assert!(error.to_string().contains("401") && !error.to_string().contains("s3cret"), "{error}");
    assert_eq!(scene.handle.exchanges(from, |_| true).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_meanwhile_ends_it_without_a_storm() {
    let scene = Scene::start(BEATS).await;
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    until("a first post", || !scene.posted("nyc1").is_empty()).await;
    let from = scene.handle.next_exchange();
    let refused = Rule { effect: Some(Effect::Status { code: 401 }), ..Rule::new(Surface::Rest) };
    scene.handle.set_faults(vec![refused]).unwrap();
    assert!(matches!(bot.end().await, Err(BotError::Rest(discord::rest::RestError::Unauthorized))));
    let unauthorised = scene.handle.exchanges(from, |exchange| exchange.status == Some(401)).len();
    assert_eq!(unauthorised, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named() {
    let scene = Scene::start("").await;
    let error = Running::main(scene.main_bot("feeble-token", "nyc1")).end().await.unwrap_err().to_string();
    assert!(error.contains("Manage Channels") && error.contains(&scene.guild.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_guild_is_named() {
    let scene = Scene::start("").await;
    let mut config = scene.main_bot("main-token", "nyc1");
    config.guild = Some(discord::Snowflake(7));
    let error = Running::main(config).end().await.unwrap_err();
    assert!(matches!(error, BotError::UnknownGuild(discord::Snowflake(7))), "{error}");
    let stranger = scene.handle.create_bot("stranger", "stranger-token", 0);
    assert!(matches!(Running::main(scene.main_bot("stranger-token", "ams1")).end().await, Err(BotError::NoGuild)));
    assert_ne!(stranger, scene.guild);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_of_two_main_bots_ends() {
    let scene = Scene::start(BEATS).await;
    let first = Running::main(scene.main_bot("main-token", "nyc1"));
    until("the first bot's post", || !scene.posted("nyc1").is_empty()).await;
    // Another host: another data directory.
    let mut config = scene.main_bot("main-token", "nyc1");
    config.data_dir = scene.data.path().join("elsewhere");
    assert!(matches!(Running::main(config).end().await, Err(BotError::SecondBot { .. })));
    // The same host: the directory is taken.
    assert!(matches!(Running::main(scene.main_bot("main-token", "nyc1")).end().await, Err(BotError::Locked { .. })));
    let before = scene.posted("nyc1").len();
    until("the first bot goes on", || scene.posted("nyc1").len() > before).await;
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_bot_posts_what_its_predecessor_left() {
    let scene = Scene::start(BEATS).await;
    let mut config = scene.main_bot("main-token", "nyc1");
    config.pace.post = Duration::from_secs(3600);
    let silent = Running::main(config);
    until("unposted records", || {
        std::fs::read_to_string(scene.data.path().join("nyc1/journal.jsonl"))
            .is_ok_and(|text| text.lines().count() > 20)
    })
    .await;
    scene.handle.set_away(true);
    silent.stop().await.unwrap();
    assert!(scene.posted("nyc1").is_empty());
    scene.handle.set_away(false);
    let bot = Running::main(scene.main_bot("main-token", "nyc1"));
    let boots = || scene.posted("nyc1").iter().map(|record| record.id.boot).collect::<HashSet<_>>().len();
    until("records of both boots", || boots() == 2).await;
    bot.stop().await.unwrap();
    assert_complete(&scene.posted("nyc1"));
    assert_eq!(quick().rest, Duration::from_millis(20));
}
