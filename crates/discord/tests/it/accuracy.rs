//! Our figures against the emulator's own stamps of the same exchanges: medians within 2 ms or 5 %.

use std::time::Duration;

use discord_emulator::faults::{Rule, Surface};
use discord_emulator::stamps::{Exchange, ExchangeKind};
use model::Metric;

use crate::support::{Running, Scene, until};

const EXCHANGES: usize = 50;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

fn ours(scene: &Scene, metric: Metric) -> Vec<f64> {
    let records = scene.posted("nyc1");
    let of = records.iter().filter(|record| record.measured.metric == metric);
    of.filter_map(|record| record.measured.app_us).map(|us| us as f64 / 1000.0).collect()
}

fn truth(scene: &Scene, from: u64, wanted: impl Fn(&Exchange) -> bool) -> f64 {
    let answered = |exchange: &Exchange| wanted(exchange) && exchange.sent_ns.is_some();
    let spans = scene.handle.exchanges(from, answered);
    median(spans.iter().map(|exchange| (exchange.sent_ns.unwrap() - exchange.received_ns) as f64 / 1e6).collect())
}

fn is_close(what: &str, ours: f64, truth: f64) -> bool {
    println!("{what}: ours {ours:.3} ms, the emulator's {truth:.3} ms");
    (ours - truth).abs() <= (truth * 0.05).max(2.0)
}

/// A busy machine wakes the bot late after an answer, which only ever adds: of some runs of exchanges one has to be right.
const RUNS: usize = 8;

async fn at_delay(delay_ms: f64) {
    let config = format!("[gateway]\nheartbeat_interval_ms = 250\nack_delay_ms = {delay_ms}\n");
    let scene = Scene::start(&config).await;
    let rule = Rule {
        route: Some("GET /channels/{channel_id}".to_owned()),
        answer_delay_ms: delay_ms,
        ..Rule::new(Surface::Rest)
    };
    scene.handle.set_faults(vec![rule]).unwrap();
    let mut bot = scene.main_bot("main-token", "nyc1");
    bot.pace.rest = Duration::from_millis(100);
    let bot = Running::main(bot);
    let metrics = [Metric::Rest, Metric::GatewayHeartbeat];
    let mut is_right = [false; 2];
    for _ in 0..RUNS {
        let from = scene.handle.next_exchange();
        let before = metrics.map(|metric| ours(&scene, metric).len());
        let since = |nth: usize| ours(&scene, metrics[nth]).split_off(before[nth]);
        until("enough exchanges", || (0..2).all(|nth| since(nth).len() >= EXCHANGES)).await;
        let call =
            |exchange: &Exchange| exchange.kind == ExchangeKind::Rest && exchange.name == "GET /channels/{channel_id}";
        let beat = |exchange: &Exchange| exchange.kind == ExchangeKind::Heartbeat;
        let [rest, beats] = [truth(&scene, from, call), truth(&scene, from, beat)];
        is_right[0] |= is_close(&format!("REST at {delay_ms} ms"), median(since(0)), rest);
        is_right[1] |= is_close(&format!("gateway at {delay_ms} ms"), median(since(1)), beats);
        if is_right == [true; 2] {
            break;
        }
    }
    bot.stop().await.unwrap();
    assert_eq!(is_right, [true; 2], "REST and gateway within 2 ms or 5 % of the truth");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_delay() {
    at_delay(0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_30_ms() {
    at_delay(30.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_150_ms() {
    at_delay(150.0).await;
}
