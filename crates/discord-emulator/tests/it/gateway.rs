//! The gateway frame by frame: what a library never does wrong, and what it must survive.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use discord_emulator::faults::{Effect, Rule, Surface};
use discord_emulator::stamps::ExchangeKind;

use crate::support::{Scene, bounded};

const GUILDS_AND_MESSAGES: u64 = 1 | 1 << 9;

pub struct Raw(pub WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Raw {
    pub async fn connect(scene: &Scene, query: &str) -> Raw {
        let uri = format!("ws://{}/?{query}", scene.host()).parse().expect("a URI");
        Raw(ClientBuilder::from_uri(uri).connect().await.expect("connects").0)
    }

    /// Connected, and the hello read.
    pub async fn open(scene: &Scene) -> Raw {
        let mut raw = Raw::connect(scene, "v=10&encoding=json").await;
        assert_eq!(raw.next().await["op"], 10);
        raw
    }

    /// Identified, with READY.
    pub async fn identified(scene: &Scene, token: &str, intents: u64) -> (Raw, Value) {
        let mut raw = Raw::open(scene).await;
        raw.send(json!({ "op": 2, "d": { "token": token, "intents": intents, "properties": {} } })).await;
        let ready = raw.event("READY").await;
        (raw, ready)
    }

    pub async fn send(&mut self, payload: Value) {
        self.0.send(Message::text(payload.to_string())).await.expect("sent");
    }

    async fn message(&mut self) -> Option<Message> {
        bounded("a frame", self.0.next()).await.and_then(Result::ok)
    }

    pub async fn next(&mut self) -> Value {
        let message = self.message().await.expect("a payload, not the end");
        let payload: &[u8] = message.as_payload();
        assert!(!message.is_close(), "closed: {:?}", message.as_close());
        serde_json::from_slice(payload).expect("JSON")
    }

    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let payload = self.next().await;
            if payload["t"] == name {
                return payload;
            }
        }
    }

    pub async fn op(&mut self, op: u64) -> Value {
        loop {
            let payload = self.next().await;
            if payload["op"] == op {
                return payload;
            }
        }
    }

    /// Close code; frames before it are passed over.
    pub async fn closed(&mut self) -> Option<u16> {
        while let Some(message) = self.message().await {
            if message.is_close() {
                return message.as_close().map(|(code, _)| code.into());
            }
        }
        None
    }
}

fn resume(ready: &Value, token: &str, seq: u64) -> Value {
    json!({ "op": 6, "d": { "token": token, "session_id": ready["d"]["session_id"], "seq": seq } })
}

#[tokio::test]
async fn identify_is_checked() {
    let scene = Scene::start().await;
    let cases = [
        (json!({ "token": "wrong", "intents": 0 }), 4004),
        (json!({ "token": "reader-token" }), 4013),
        (json!({ "token": "reader-token", "intents": 1u64 << 40 }), 4013),
        (json!({ "token": "plain-token", "intents": 1 << 15 }), 4014),
        (json!({ "token": "plain-token", "intents": 1 << 1 }), 4014),
        (json!({ "token": "reader-token", "intents": 0, "shard": [2, 2] }), 4010),
        (json!([]), 4002),
    ];
    for (data, code) in cases {
        let mut raw = Raw::open(&scene).await;
        raw.send(json!({ "op": 2, "d": data })).await;
        assert_eq!(raw.closed().await, Some(code), "{data}");
    }
    let mut raw = Raw::open(&scene).await;
    raw.send(json!({ "op": 2, "d": { "token": "Bot reader-token", "intents": 0, "properties": {} } })).await;
    raw.event("READY").await;
    raw.send(json!({ "op": 2, "d": { "token": "reader-token", "intents": 0 } })).await;
    assert_eq!(raw.closed().await, Some(4005));
}

#[tokio::test]
async fn bad_payloads_get_their_codes() {
    let scene = Scene::start().await;
    for (query, code) in [("v=8", 4012), ("v=x", 4012), ("v=10&encoding=etf", 4002)] {
        assert_eq!(Raw::connect(&scene, query).await.closed().await, Some(code), "{query}");
    }
    let mut raw = Raw::open(&scene).await;
    raw.send(json!({ "op": 4, "d": {} })).await;
    assert_eq!(raw.closed().await, Some(4003));
    for text in ["", "nonsense", "[]", "{\"op\":\"x\"}"] {
        let mut raw = Raw::open(&scene).await;
        raw.0.send(Message::text(text)).await.unwrap();
        assert_eq!(raw.closed().await, Some(4002), "{text}");
    }
    let (mut raw, _) = Raw::identified(&scene, "reader-token", 0).await;
    raw.send(json!({ "op": 77, "d": null })).await;
    assert_eq!(raw.closed().await, Some(4001));
    let (mut raw, _) = Raw::identified(&scene, "reader-token", 0).await;
    raw.send(json!({ "op": 3, "d": { "pad": "x".repeat(4096) } })).await;
    assert_eq!(raw.closed().await, Some(4002));
    // Binary frames with JSON are taken: hikari sends them.
    let mut raw = Raw::open(&scene).await;
    raw.0.send(Message::binary(br#"{"op":1,"d":null}"#.to_vec())).await.unwrap();
    raw.op(11).await;
}

#[tokio::test]
async fn too_many_sends_close() {
    let scene = Scene::start().await;
    let mut raw = Raw::open(&scene).await;
    for _ in 0..121 {
        raw.send(json!({ "op": 1, "d": null })).await;
    }
    assert_eq!(raw.closed().await, Some(4008));
}

#[tokio::test]
async fn identifies_are_counted_and_spaced() {
    let scene = Scene::with("[limits]\nidentifies_per_day = 1").await;
    let (_first, _) = Raw::identified(&scene, "reader-token", 0).await;
    // The day's only identify is used up: the token is over.
    let mut raw = Raw::open(&scene).await;
    raw.send(json!({ "op": 2, "d": { "token": "reader-token", "intents": 0 } })).await;
    assert_eq!(raw.closed().await, Some(4004));

    let scene = Scene::with("[limits]\nidentify_window_ms = 60000").await;
    let (_first, _) = Raw::identified(&scene, "reader-token", 0).await;
    let mut raw = Raw::open(&scene).await;
    raw.send(json!({ "op": 2, "d": { "token": "reader-token", "intents": 0 } })).await;
    assert_eq!(raw.op(9).await["d"], false);
}

#[tokio::test]
async fn resume_replays_exactly_what_was_missed() {
    let scene = Scene::start().await;
    let (mut raw, ready) = Raw::identified(&scene, "reader-token", GUILDS_AND_MESSAGES | 1 << 15).await;
    scene.handle.post(scene.alice, scene.general, "seen").unwrap();
    let seq = raw.event("MESSAGE_CREATE").await["s"].as_u64().unwrap();
    drop(raw);
    for number in 0..300 {
        scene.handle.post(scene.alice, scene.general, &format!("missed {number}")).unwrap();
    }
    let mut raw = Raw::open(&scene).await;
    raw.send(resume(&ready, "reader-token", seq)).await;
    for number in 0..300u64 {
        let payload = raw.next().await;
        assert_eq!(payload["s"], seq + 1 + number);
        assert_eq!(payload["d"]["content"], format!("missed {number}"));
    }
    assert_eq!(raw.next().await["t"], "RESUMED");
    scene.handle.post(scene.alice, scene.general, "live").unwrap();
    assert_eq!(raw.next().await["d"]["content"], "live");
}

#[tokio::test]
async fn what_cannot_be_resumed_is_said() {
    let scene = Scene::start().await;
    let (raw, ready) = Raw::identified(&scene, "reader-token", 1).await;
    drop(raw);
    let mut other = Raw::open(&scene).await;
    other.send(resume(&ready, "plain-token", 1)).await;
    assert_eq!(other.op(9).await["d"], false, "another bot's session");
    let mut ahead = Raw::open(&scene).await;
    ahead.send(resume(&ready, "reader-token", 1000)).await;
    assert_eq!(ahead.closed().await, Some(4007));
    // Orderly closing ends the session.
    let (mut raw, ready) = Raw::identified(&scene, "reader-token", 1).await;
    raw.0.send(Message::close(Some(1000.try_into().unwrap()), "")).await.unwrap();
    raw.closed().await;
    bounded("the session's end", async {
        while scene.handle.connected_sessions(scene.handle.user("reader").unwrap()) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut late = Raw::open(&scene).await;
    late.send(resume(&ready, "reader-token", 1)).await;
    assert_eq!(late.op(9).await["d"], false);
    late.send(json!({ "op": 2, "d": { "token": "reader-token", "intents": 0, "properties": {} } })).await;
    late.event("READY").await;
}

#[tokio::test]
async fn intents_and_sight_decide_what_comes() {
    let scene = Scene::start().await;
    let (mut plain, _) = Raw::identified(&scene, "plain-token", GUILDS_AND_MESSAGES).await;
    plain.event("GUILD_CREATE").await;
    let (mut deaf, _) = Raw::identified(&scene, "reader-token", 1).await;
    deaf.event("GUILD_CREATE").await;
    let secret = scene.handle.channel(scene.guild, "secret").unwrap();
    scene.handle.post(scene.alice, secret, "not for plain").unwrap();
    let id = scene.handle.post(scene.alice, scene.general, "for all").unwrap();
    let message = plain.next().await;
    assert_eq!(message["d"]["id"], id.to_string(), "the secret channel's message did not come");
    assert_eq!(message["d"]["content"], "", "no MESSAGE_CONTENT");
    assert_eq!(message["d"]["author"]["username"], "alice");
    deaf.send(json!({ "op": 1, "d": null })).await;
    assert_eq!(deaf.next().await["op"], 11, "no message came to who did not ask for messages");
}

#[tokio::test]
async fn faults_on_demand() {
    let scene = Scene::start().await;
    let reader = scene.handle.user("reader");
    let (mut raw, _) = Raw::identified(&scene, "reader-token", GUILDS_AND_MESSAGES).await;
    raw.event("GUILD_CREATE").await;

    let drop_ack = Rule::new(Surface::Gateway).event("HEARTBEAT_ACK").effect(Effect::Drop).times(1);
    scene.handle.add_fault(drop_ack).unwrap();
    let first = scene.handle.next_exchange();
    raw.send(json!({ "op": 1, "d": null })).await;
    raw.send(json!({ "op": 1, "d": null })).await;
    raw.op(11).await;
    raw.send(json!({ "op": 1, "d": 5 })).await;
    raw.op(11).await;
    let beats = scene.handle.exchanges(first, |exchange| exchange.kind == ExchangeKind::Heartbeat);
    assert_eq!(beats.iter().filter(|beat| beat.sent_ns.is_none()).count(), 1, "one ACK was left out");

    let lost = Rule::new(Surface::Gateway).event("MESSAGE_CREATE").effect(Effect::Drop).times(1);
    scene.handle.add_fault(lost).unwrap();
    scene.handle.post(scene.alice, scene.general, "lost").unwrap();
    let kept = scene.handle.post(scene.alice, scene.general, "kept").unwrap();
    assert_eq!(raw.event("MESSAGE_CREATE").await["d"]["id"], kept.to_string());

    assert_eq!(scene.handle.disturb_gateway(reader, Effect::Reconnect), 1);
    raw.op(7).await;
    scene.handle.disturb_gateway(reader, Effect::InvalidSession { resumable: true });
    assert_eq!(raw.op(9).await["d"], true);
    scene.handle.disturb_gateway(reader, Effect::Close { code: 4000 });
    assert_eq!(raw.closed().await, Some(4000));

    let (mut raw, _) = Raw::identified(&scene, "reader-token", 1).await;
    scene.handle.disturb_gateway(reader, Effect::HalfClose);
    assert_eq!(raw.closed().await, None, "the stream ends without a close frame");
    let (mut raw, _) = Raw::identified(&scene, "reader-token", 1).await;
    scene.handle.set_away(true);
    assert_eq!(raw.closed().await, None);
    let uri = format!("ws://{}/?v=10", scene.host()).parse().unwrap();
    assert!(ClientBuilder::from_uri(uri).connect().await.is_err(), "nobody is let in");
    scene.handle.set_away(false);
    Raw::open(&scene).await;
}

#[tokio::test]
async fn delays_are_stamped_and_keep_order() {
    let scene = Scene::start().await;
    let (mut raw, _) = Raw::identified(&scene, "reader-token", GUILDS_AND_MESSAGES).await;
    raw.event("GUILD_CREATE").await;
    let slow = Rule::new(Surface::Gateway).event("MESSAGE_CREATE").delay_ms(200.0).times(1);
    scene.handle.add_fault(slow).unwrap();
    let first = scene.handle.next_exchange();
    let ids: Vec<String> = (0..3)
        .map(|number| scene.handle.post(scene.alice, scene.general, &number.to_string()).unwrap().to_string())
        .collect();
    for id in &ids {
        assert_eq!(raw.event("MESSAGE_CREATE").await["d"]["id"], *id, "the later ones wait for the delayed one");
    }
    // The last stamp is written after its frame is out.
    raw.send(json!({ "op": 1, "d": null })).await;
    raw.op(11).await;
    let sent = scene.handle.exchanges(first, |exchange| exchange.name == "MESSAGE_CREATE");
    assert_eq!(sent.len(), 3);
    for exchange in sent {
        assert!(exchange.sent_ns.unwrap() - exchange.received_ns >= 190_000_000, "{exchange:?}");
    }
}
