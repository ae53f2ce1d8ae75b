//! How much it holds: gateway clients that each receive every message of a guild, and the dispatches delivered in a second.
//!
//! `cargo run --release -p discord-emulator --example load [CLIENTS] [DISPATCHES]`

use std::time::{Duration, Instant};

use discord_emulator::{Config, Emulator};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_websockets::{ClientBuilder, Message};

const CONFIG: &str = r#"
[limits]
identify_window_ms = 0

[[application]]
name = "bot"
token = "load-token"
intents = ["MESSAGE_CONTENT"]

[[user]]
name = "alice"

[[guild]]
name = "home"
owner = "alice"

[[guild.member]]
name = "bot"

[[guild.channel]]
name = "general"
"#;

/// Reads until it has `wanted` messages, answering nothing.
async fn client(uri: String, ready: tokio::sync::mpsc::Sender<()>, wanted: usize) -> Result<usize, String> {
    let uri = uri.parse().map_err(|error| format!("{error}"))?;
    let (mut stream, _) = ClientBuilder::from_uri(uri).connect().await.map_err(|error| error.to_string())?;
    let identify =
        json!({ "op": 2, "d": { "token": "load-token", "intents": 1 | 1 << 9 | 1 << 15, "properties": {} } });
    stream.send(Message::text(identify.to_string())).await.map_err(|error| error.to_string())?;
    let mut messages = 0;
    while messages < wanted {
        let message = stream.next().await.ok_or("closed")?.map_err(|error| error.to_string())?;
        let text = message.as_text().ok_or("no text")?;
        let payload: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match payload["t"].as_str() {
            Some("GUILD_CREATE") => ready.send(()).await.map_err(|error| error.to_string())?,
            Some("MESSAGE_CREATE") => messages += 1,
            _ => {}
        }
    }
    Ok(messages)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let clients = arguments.next().transpose()?.unwrap_or(200).max(1);
    let dispatches = arguments.next().transpose()?.unwrap_or(20_000);
    let emulator = Emulator::start(Config::parse(CONFIG, "built in")?).await?;
    let handle = emulator.handle();
    let (alice, guild) = (handle.user("alice").ok_or("alice")?, handle.guild("home").ok_or("home")?);
    let channel = handle.channel(guild, "general").ok_or("general")?;
    let posts = dispatches.div_ceil(clients);
    let uri = format!("ws://{}/?v=10&encoding=json", emulator.addresses().api[0]);
    let (sender, mut ready) = tokio::sync::mpsc::channel(clients);
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(client(uri.clone(), sender.clone(), posts));
    }
    drop(sender);
    for _ in 0..clients {
        tokio::time::timeout(Duration::from_secs(60), ready.recv()).await?.ok_or("a client failed")?;
    }
    println!("{clients} clients identified in {:.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    for number in 0..posts {
        handle.post(alice, channel, &format!("message {number} of a load test")).map_err(|refusal| refusal.message)?;
        // In steps, so that delivery and not the replay buffer is measured.
        if number % 8 == 7 {
            tokio::task::yield_now().await;
        }
    }
    let mut delivered = 0;
    while let Some(done) = tasks.join_next().await {
        delivered += done??;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{delivered} dispatches delivered in {seconds:.2} s: {:.0}/s", delivered as f64 / seconds);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        println!("clients and emulator in one process, {}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(())
}
