//! Voice without a sound: heartbeats and IP discovery, measured against the emulator's stamps; refusals and moves.

use discord_emulator::faults::{Effect, Rule, Surface};
use discord_emulator::stamps::ExchangeKind;
use model::{Metric, Record};

use crate::support::{Running, Scene, until};

const QUICK: &str = "[gateway]\nheartbeat_interval_ms = 5000\n[voice]\nheartbeat_interval_ms = 100\n";

fn voice_records(scene: &Scene) -> Vec<Record> {
    scene.posted("nyc1").into_iter().filter(|record| record.measured.metric == Metric::VoiceHeartbeat).collect()
}

fn answered(scene: &Scene) -> usize {
    voice_records(scene).iter().filter(|record| record.measured.app_us.is_some()).count()
}

fn start(scene: &Scene) -> Running {
    let mut config = scene.main_bot("main-token", "nyc1");
    config.voice = true;
    // What is judged here is voice: the rest stays in the background.
    config.pace.rest = std::time::Duration::from_millis(500);
    Running::main(config)
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_stand_beside_udp_and_the_network_and_are_true() {
    let scene = Scene::start(QUICK).await;
    let delay = Rule { event: Some("HEARTBEAT_ACK".to_owned()), delay_ms: 30.0, ..Rule::new(Surface::Voice) };
    scene.handle.set_faults(vec![delay]).unwrap();
    let bot = start(&scene);
    until("fifty heartbeats", || answered(&scene) >= 50).await;
    let packages = scene.handle.with_world(|world| {
        world.voice_connections.values().filter_map(|connection| connection.key_package).collect::<Vec<_>>()
    });
    // An MLS key package with its credential and signature is some hundreds of bytes.
    assert!(packages.len() == 1 && packages[0] > 150, "{packages:?}");
    bot.stop().await.unwrap();
    assert!(pings(&scene).is_empty(), "each heartbeat has those figures");
    let records = voice_records(&scene);
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[(values.len() - 1) / 2]
    };
    let ours = median(records.iter().filter_map(|record| record.measured.app_us).map(|us| us as f64 / 1e3).collect());
    let beats = scene
        .handle
        .exchanges(0, |exchange| exchange.kind == ExchangeKind::VoiceHeartbeat && exchange.sent_ns.is_some());
    let truth = median(beats.iter().map(|beat| (beat.sent_ns.unwrap() - beat.received_ns) as f64 / 1e6).collect());
    assert!((ours - truth).abs() <= (truth * 0.05).max(2.0), "{ours:.3} ms, truly {truth:.3} ms");
    let host = scene.emulator.addresses().voice[0].to_string();
    for record in records.iter().filter(|record| record.measured.app_us.is_some()) {
        let measured = &record.measured;
        assert_eq!(measured.target, host);
        let network = measured.network_us.expect("TCP_INFO");
        assert!(network < measured.app_us.unwrap() && measured.udp_us.is_some() && measured.connect_us.is_some());
        assert!(measured.icmp_us.is_some(), "loopback answers");
    }
    let main = scene.handle.user("main").unwrap();
    let seated =
        scene.handle.with_world(|world| world.guilds.values().any(|guild| guild.voice_states.contains_key(&main)));
    assert!(!seated, "it leaves the channel when it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_want_of_encryption_is_told_and_the_rest_goes_on() {
    let scene = Scene::start(QUICK).await;
    let refuse = Rule { effect: Some(Effect::RefuseDave), ..Rule::new(Surface::Voice) };
    scene.handle.set_faults(vec![refuse]).unwrap();
    let bot = start(&scene);
    let refused = |record: &Record| record.measured.flags.iter().any(|flag| flag == "dave-refused");
    until("the refusal", || voice_records(&scene).iter().any(refused)).await;
    let before = scene.posted("nyc1").len();
    until("other records", || scene.posted("nyc1").len() > before + 5).await;
    // The server that was named is pinged on.
    until("pings", || pings(&scene).len() >= 3).await;
    bot.stop().await.unwrap();
    assert_eq!(answered(&scene), 0);
    let host = scene.emulator.addresses().voice[0].to_string();
    for ping in pings(&scene) {
        assert_eq!(ping.measured.target, host);
        assert!(ping.measured.connect_us.is_some() && ping.measured.icmp_us.is_some(), "{ping:?}");
    }
}

fn pings(scene: &Scene) -> Vec<Record> {
    scene.posted("nyc1").into_iter().filter(|record| record.measured.metric == Metric::MediaPing).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_server_and_follows_to_another() {
    let scene = Scene::start(QUICK).await;
    let none_yet =
        Rule { effect: Some(Effect::NullEndpoint { for_ms: Some(300) }), times: Some(1), ..Rule::new(Surface::Voice) };
    scene.handle.set_faults(vec![none_yet]).unwrap();
    let bot = start(&scene);
    until("heartbeats", || answered(&scene) > 3).await;
    let main = scene.handle.user("main").unwrap();
    let from = scene.handle.next_exchange();
    scene.handle.announce_voice_server(scene.guild, main);
    let entered = |exchange: &discord_emulator::stamps::Exchange| exchange.kind == ExchangeKind::VoiceIdentify;
    until("a new stay", || !scene.handle.exchanges(from, entered).is_empty()).await;
    let before = answered(&scene);
    until("heartbeats there", || answered(&scene) > before + 3).await;
    bot.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_resumed() {
    let scene = Scene::start(QUICK).await;
    let bot = start(&scene);
    until("heartbeats", || answered(&scene) > 3).await;
    let reset = Rule {
        event: Some("HEARTBEAT_ACK".to_owned()),
        effect: Some(Effect::Reset),
        times: Some(1),
        ..Rule::new(Surface::Voice)
    };
    scene.handle.set_faults(vec![reset]).unwrap();
    let before = answered(&scene);
    until("heartbeats again", || answered(&scene) > before + 3).await;
    bot.stop().await.unwrap();
}
