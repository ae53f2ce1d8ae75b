//! Voice frame by frame: op 4, the voice gateway, IP discovery, DAVE's refusal, one seat a user.

use discord_emulator::faults::{Effect, Rule, Surface};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio_websockets::{ClientBuilder, Message};

use futures_util::SinkExt;

use crate::gateway::Raw;
use crate::support::{Scene, bounded};

const VOICE: u64 = 1 | 1 << 7;

struct Seat {
    gateway: Raw,
    user: Value,
    state: Value,
    server: Value,
}

async fn join(scene: &Scene, token: &str) -> Seat {
    let (mut gateway, ready) = Raw::identified(scene, token, VOICE).await;
    let lounge = scene.handle.channel(scene.guild, "Lounge").unwrap();
    // Ids as numbers: discord.py sends them so.
    gateway.send(json!({ "op": 4, "d": { "guild_id": scene.guild.0, "channel_id": lounge.0 } })).await;
    let state = gateway.event("VOICE_STATE_UPDATE").await["d"].take();
    let server = gateway.event("VOICE_SERVER_UPDATE").await["d"].take();
    Seat { gateway, user: ready["d"]["user"]["id"].clone(), state, server }
}

async fn open(server: &Value, query: &str) -> Raw {
    let uri = format!("ws://{}/{query}", server["endpoint"].as_str().expect("an endpoint")).parse().unwrap();
    Raw(ClientBuilder::from_uri(uri).connect().await.expect("connects").0)
}

fn identify(seat: &Seat, dave: u64) -> Value {
    json!({ "op": 0, "d": {
        "server_id": seat.server["guild_id"], "user_id": seat.user, "session_id": seat.state["session_id"],
        "token": seat.server["token"], "max_dave_protocol_version": dave,
    } })
}

#[tokio::test]
async fn a_client_gets_its_address_and_heartbeats() {
    let scene = Scene::start().await;
    let seat = join(&scene, "reader-token").await;
    let mut voice = open(&seat.server, "?v=8").await;
    assert_eq!(voice.next().await["op"], 8);
    voice.send(identify(&seat, 1)).await;
    let ready = voice.op(2).await["d"].take();

    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (ip, port) = (ready["ip"].as_str().unwrap(), ready["port"].as_u64().unwrap() as u16);
    udp.connect((ip, port)).await.unwrap();
    let mut request = [0; 74];
    request[..4].copy_from_slice(&[0, 1, 0, 70]);
    request[4..8].copy_from_slice(&(ready["ssrc"].as_u64().unwrap() as u32).to_be_bytes());
    // A stranger's source and garbage are not answered; the next answer is the right one's.
    let mut wrong = request;
    wrong[7] ^= 0x55;
    for datagram in [&wrong[..], &request[..73], &[0xff; 8], &[]] {
        udp.send(datagram).await.unwrap();
    }
    udp.send(&request).await.unwrap();
    let mut answer = [0; 100];
    let length = bounded("discovery", udp.recv(&mut answer)).await.unwrap();
    assert_eq!((length, &answer[..4], &answer[4..8]), (74, &[0, 2, 0, 70][..], &request[4..8]));
    assert_eq!(&answer[8..18], b"127.0.0.1\0");
    assert_eq!(answer[72..74], udp.local_addr().unwrap().port().to_be_bytes());
    udp.send(&7u64.to_le_bytes()).await.unwrap();
    let length = bounded("keep-alive", udp.recv(&mut answer)).await.unwrap();
    assert_eq!(answer[..length], 7u64.to_le_bytes());

    let mode = "aead_xchacha20_poly1305_rtpsize";
    let data = json!({ "address": "127.0.0.1", "port": 9, "mode": mode });
    voice.send(json!({ "op": 1, "d": { "protocol": "udp", "data": data } })).await;
    let description = voice.op(4).await["d"].take();
    assert_eq!((&description["mode"], &description["dave_protocol_version"]), (&json!(mode), &json!(1)));
    assert_eq!(description["secret_key"].as_array().unwrap().len(), 32);
    voice.0.send(Message::binary([&[26][..], &[1; 300]].concat())).await.unwrap();
    voice.send(json!({ "op": 3, "d": { "t": 1234567, "seq_ack": 1 } })).await;
    loop {
        // The external sender (op 25) comes as a binary frame.
        let message = bounded("ACK", futures_util::StreamExt::next(&mut voice.0)).await.unwrap().unwrap();
        if message.is_text() {
            let ack: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
            assert_eq!((&ack["op"], &ack["d"]["t"]), (&json!(6), &json!(1234567)));
            break;
        }
    }
    scene.handle.with_world(|world| {
        let client = world.voice_connections.values().next().unwrap();
        assert_eq!(client.key_package, Some(300));
        assert!(world.stray_datagrams >= 3);
    });
    // Leaving ends the voice connection.
    let mut gateway = seat.gateway;
    gateway.send(json!({ "op": 4, "d": { "guild_id": scene.guild, "channel_id": null } })).await;
    assert_eq!(voice.closed().await, Some(4014));
}

#[tokio::test]
async fn old_versions_and_refusals() {
    let scene = Scene::start().await;
    let seat = join(&scene, "reader-token").await;
    // discordgo: no version, a bare number as heartbeat.
    let mut voice = open(&seat.server, "").await;
    assert_eq!(voice.next().await["op"], 8);
    voice.send(json!({ "op": 3, "d": 42 })).await;
    assert_eq!(voice.op(6).await["d"], 42);
    voice.send(identify(&seat, 0)).await;
    assert_eq!(voice.closed().await, Some(4017), "no DAVE");
    let cases = [
        (json!({ "op": 1, "d": {} }), 4003),
        (
            json!({ "op": 0, "d": { "server_id": scene.guild, "user_id": seat.user, "session_id": "x", "token": "y" } }),
            4004,
        ),
        (json!({ "op": 0, "d": { "server_id": "1", "user_id": "2" } }), 4011),
        (json!({ "op": 7, "d": { "server_id": scene.guild, "session_id": "x", "token": "y" } }), 4006),
        (json!({ "op": 0, "d": [] }), 4002),
    ];
    for (payload, code) in cases {
        let mut voice = open(&seat.server, "?v=8").await;
        voice.send(payload.clone()).await;
        assert_eq!(voice.closed().await, Some(code), "{payload}");
    }
    let rule = Rule::new(Surface::Voice).event("IDENTIFY").effect(Effect::RefuseDave).times(1);
    scene.handle.add_fault(rule).unwrap();
    let mut voice = open(&seat.server, "?v=8").await;
    voice.send(identify(&seat, 1)).await;
    assert_eq!(voice.closed().await, Some(4017));
}

#[tokio::test]
async fn a_broken_connection_resumes_and_hears_what_it_missed() {
    let scene = Scene::start().await;
    let seat = join(&scene, "reader-token").await;
    let mut voice = open(&seat.server, "?v=8").await;
    voice.send(identify(&seat, 1)).await;
    let ssrc = voice.op(2).await["d"]["ssrc"].clone();
    scene.handle.disturb_voice(None, &Effect::Reset);
    assert_eq!(voice.closed().await, None);

    let other = join(&scene, "plain-token").await;
    let mut second = open(&other.server, "?v=8").await;
    second.send(identify(&other, 1)).await;
    assert_eq!(second.op(11).await["d"]["user_ids"], json!([seat.user]));
    second.send(json!({ "op": 5, "d": { "speaking": 1, "delay": 0, "ssrc": 0 } })).await;
    second.send(json!({ "op": 3, "d": { "t": 1, "seq_ack": -1 } })).await;
    second.op(6).await;

    let mut again = open(&seat.server, "?v=8").await;
    let (session_id, token) = (&seat.state["session_id"], &seat.server["token"]);
    let data = json!({ "server_id": scene.guild, "session_id": session_id, "token": token, "seq_ack": 0 });
    again.send(json!({ "op": 7, "d": data })).await;
    again.op(9).await;
    assert_eq!(again.op(11).await["d"]["user_ids"], json!([other.user]));
    let speaking = again.op(5).await;
    assert_eq!((&speaking["d"]["user_id"], &speaking["seq"]), (&other.user, &json!(2)));
    scene.handle.with_world(|world| {
        assert!(world.voice_connections.contains_key(&(ssrc.as_u64().unwrap() as u32)), "the same source");
    });
}

#[tokio::test]
async fn one_seat_a_user_and_no_endpoint_on_demand() {
    let scene = Scene::start().await;
    let rule = Rule::new(Surface::Voice).event("VOICE_SERVER_UPDATE").effect(Effect::NullEndpoint { for_ms: Some(50) });
    scene.handle.add_fault(rule.times(1)).unwrap();
    let mut first = join(&scene, "reader-token").await;
    assert_eq!(first.server["endpoint"], Value::Null);
    let real = first.gateway.event("VOICE_SERVER_UPDATE").await;
    assert!(real["d"]["endpoint"].is_string());
    // A second session of the same bot takes the seat over: one voice state a user and guild.
    let second = join(&scene, "reader-token").await;
    assert_ne!(second.state["session_id"], first.state["session_id"]);
    let states = scene.handle.with_world(|world| world.guilds[&scene.guild].voice_states.len());
    assert_eq!(states, 1);
}

#[tokio::test]
async fn without_connect_nobody_gets_in() {
    let scene = Scene::of(&format!(
        "{}\n[[guild.channel.overwrite]]\ntarget = 'plain'\ndeny = ['CONNECT']",
        crate::support::CONFIG
    ))
    .await;
    let (mut gateway, _) = Raw::identified(&scene, "plain-token", VOICE).await;
    let lounge = scene.handle.channel(scene.guild, "Lounge").unwrap();
    gateway.event("GUILD_CREATE").await;
    gateway.send(json!({ "op": 4, "d": { "guild_id": scene.guild, "channel_id": lounge } })).await;
    gateway.send(json!({ "op": 1, "d": null })).await;
    assert_eq!(gateway.next().await["op"], 11, "nothing comes but the ACK");
}
