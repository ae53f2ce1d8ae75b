//! Faults of REST: each comes as it was asked for, and the stamps tell.

use discord_emulator::faults::{Effect, Rule, Scope, Surface};
use discord_emulator::stamps::ExchangeKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rest::Bot;
use crate::support::{Scene, bounded};

fn on_me(effect: Effect) -> Rule {
    Rule::new(Surface::Rest).route("GET /users/@me").effect(effect).times(1)
}

#[tokio::test]
async fn statuses_and_every_scope_of_429() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let bot = Bot::new(&scene, "reader-token");
    scene.handle.add_fault(on_me(Effect::Status { code: 502 })).unwrap();
    assert_eq!(bot.get("/users/@me").await.0, 502);
    for (scope, name) in [(Scope::User, "user"), (Scope::Global, "global"), (Scope::Shared, "shared")] {
        scene.handle.add_fault(on_me(Effect::RateLimit { scope, retry_after_ms: 1500 })).unwrap();
        let answer = bot.raw(Method::GET, "/users/@me", None).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["x-ratelimit-scope"], name);
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(answer.headers().contains_key("x-ratelimit-global"), scope == Scope::Global);
        let body: Value = answer.json().await.unwrap();
        assert_eq!((&body["retry_after"], &body["global"]), (&json!(1.5), &json!(scope == Scope::Global)));
    }
    assert_eq!(bot.get("/users/@me").await.0, 200, "each acted once");
    assert_eq!(bot.get("/gateway").await.0, 200, "and nowhere else");
}

#[tokio::test]
async fn broken_bodies_and_connections() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let bot = Bot::new(&scene, "reader-token");
    scene.handle.add_fault(on_me(Effect::SlowBody { over_ms: 200 })).unwrap();
    let first = scene.handle.next_exchange();
    assert_eq!(bot.get("/users/@me").await.1["username"], "reader", "slow, and whole");
    let slow = &scene.handle.exchanges(first, |exchange| exchange.kind == ExchangeKind::Rest)[0];
    assert!(slow.sent_ns.unwrap() - slow.received_ns >= 150_000_000);

    scene.handle.add_fault(on_me(Effect::HalfClose)).unwrap();
    let answer = bot.raw(Method::GET, "/users/@me", None).await;
    assert_eq!(answer.status(), 200);
    assert!(bounded("the end", answer.text()).await.is_err(), "half a body is an error");

    for effect in [Effect::Reset, Effect::Stall] {
        let stalls = effect == Effect::Stall;
        scene.handle.add_fault(on_me(effect)).unwrap();
        let limit = std::time::Duration::from_millis(if stalls { 300 } else { 20_000 });
        let request = reqwest::Client::new()
            .get(scene.api("/users/@me"))
            .header("authorization", "Bot reader-token")
            .timeout(limit)
            .send()
            .await;
        assert_eq!(request.unwrap_err().is_timeout(), stalls);
    }
    assert_eq!(bot.get("/users/@me").await.0, 200);
}

#[tokio::test]
async fn delays_by_route_and_user_are_in_the_stamps() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let route = "POST /channels/{channel_id}/messages";
    let rule = Rule { user: Some("reader".to_owned()), ..Rule::new(Surface::Rest).route(route).delay_ms(120.0) };
    scene.handle.add_fault(rule).unwrap();
    let path = format!("/channels/{}/messages", scene.general);
    let first = scene.handle.next_exchange();
    for token in ["reader-token", "plain-token"] {
        let (status, body) = Bot::new(&scene, token).post(&path, json!({ "content": "x" })).await;
        assert_eq!(status, 200, "{body}");
    }
    let posts = scene.handle.exchanges(first, |exchange| exchange.name == route);
    assert_eq!(posts.len(), 2);
    let service = |index: usize| posts[index].sent_ns.unwrap() - posts[index].received_ns;
    assert!(service(0) >= 120_000_000);
    assert_eq!(posts[0].user, scene.handle.user("reader"));
    assert_eq!(posts[0].status, Some(200));
    assert!(posts[0].subject.is_some() && posts[0].subject < posts[1].subject);
}

#[tokio::test]
async fn the_clock_can_be_another() {
    let scene = Scene::start().await;
    let before = scene.handle.post(scene.alice, scene.general, "now").unwrap();
    scene.handle.set_clock_offset_ms(3_600_000);
    let later = scene.handle.post(scene.alice, scene.general, "in an hour").unwrap();
    let apart = later.unix_ms() - before.unix_ms();
    assert!((3_600_000..3_660_000).contains(&apart), "{apart}");
}

#[tokio::test]
async fn names_are_found_by_tls_with_the_private_ca() {
    let scene = Scene::start().await;
    let ca = reqwest::Certificate::from_pem(scene.emulator.ca_pem().as_bytes()).unwrap();
    let address = scene.emulator.addresses().api[0];
    let client = reqwest::Client::builder().tls_certs_only([ca]).resolve("discord.com", address).build().unwrap();
    let url = format!("https://discord.com:{}/api/v10/gateway", address.port());
    let body: Value = client.get(url).send().await.expect("trusted").json().await.unwrap();
    assert_eq!(body["url"], format!("wss://gateway.discord.gg:{}", address.port()));
}
