//! One voice gateway connection: hello, identify or resume, UDP address, session description, heartbeats, DAVE's first steps.

use std::time::Duration;
use std::{collections::VecDeque, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_websockets::{CloseCode, Message};

use super::dave;
use crate::clock::system_ns;
use crate::faults::{Decision, Effect, Point, Surface};
use crate::hub::{Arrival, Hub};
use crate::id::Snowflake;
use crate::stamps::{Exchange, ExchangeKind};
use crate::state::{ChannelKind, Fields, VoiceOrder};
use crate::websocket::Stream;

const MODES: [&str; 2] = ["aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize"];
const WRITE: Duration = Duration::from_secs(30);
const CLOSING: Duration = Duration::from_secs(2);
const WAITING: usize = 1000;
/// DAVE's version spoken here.
const DAVE: u64 = 1;

enum End {
    /// The client closed, or the stream broke: resumable unless it closed orderly.
    Client(Option<u16>),
    Server(u16, &'static str),
}

struct Waiting {
    due: Instant,
    message: Message,
    exchange: Option<Exchange>,
}

/// Who it is, once identified.
#[derive(Clone)]
struct Seat {
    ssrc: u32,
    guild: Snowflake,
    user: Snowflake,
    username: String,
    dave: u64,
}

pub struct Connection {
    hub: Arc<Hub>,
    stream: Stream,
    arrival: Arrival,
    version: Option<u64>,
    udp_port: u16,
    region: Option<String>,
    orders: (mpsc::Sender<VoiceOrder>, mpsc::Receiver<VoiceOrder>),
    seat: Option<Seat>,
    waiting: VecDeque<Waiting>,
    last_beat: Instant,
}

impl Connection {
    pub fn new(
        hub: Arc<Hub>,
        stream: Stream,
        arrival: Arrival,
        version: Option<u64>,
        udp_port: u16,
        region: Option<String>,
    ) -> Connection {
        Connection {
            hub,
            stream,
            arrival,
            version,
            udp_port,
            region,
            orders: mpsc::channel(64),
            seat: None,
            waiting: VecDeque::new(),
            last_beat: Instant::now(),
        }
    }

    pub async fn run(mut self) {
        let end = match self.version {
            Some(_) => self.serve().await.err().unwrap_or(End::Client(None)),
            None => End::Server(4012, "Unknown protocol"),
        };
        if let End::Server(code, reason) = &end {
            self.close(*code, reason).await;
        }
        if let Some(seat) = &self.seat {
            let keep = matches!(end, End::Client(code) if !matches!(code, Some(1000 | 1001)))
                || matches!(end, End::Server(4015 | 4009, _));
            self.hub.world().detach_voice(seat.ssrc, self.arrival.control.id, keep);
        }
    }

    async fn serve(&mut self) -> Result<(), End> {
        let interval = self.hub.config.voice.heartbeat_interval_ms;
        let hello = json!({ "op": 8, "d": { "v": self.version, "heartbeat_interval": interval as f64 } });
        self.plan("HELLO", &hello, None)?;
        let patience = Duration::from_millis(interval) + Duration::from_millis(interval).max(Duration::from_secs(10));
        loop {
            self.flush().await?;
            let due = self.waiting.front().map(|waiting| waiting.due);
            let silent = self.last_beat + patience;
            tokio::select! {
                message = self.stream.next() => self.received(message).await?,
                Some(order) = self.orders.1.recv() => self.obey(order)?,
                () = sleep_until(due.unwrap_or(silent)), if due.is_some() => {}
                () = sleep_until(silent) => return Err(End::Server(4009, "Session timeout")),
            }
        }
    }

    fn decide(&self, event: &str) -> Decision {
        let point = Point {
            event: Some(event),
            region: self.region.as_deref(),
            user: self.seat.as_ref().map(|seat| seat.username.as_str()),
            guild: self.seat.as_ref().map(|seat| seat.guild),
            ..Point::new(Surface::Voice)
        };
        self.hub.faults.decide(&point)
    }

    fn plan(&mut self, event: &str, payload: &Value, exchange: Option<Exchange>) -> Result<(), End> {
        let decision = self.decide(event);
        if matches!(decision.effect, Some(Effect::Drop)) || self.waiting.len() >= WAITING {
            if let Some(exchange) = exchange {
                self.hub.stamps.record(exchange);
            }
            return Ok(());
        }
        self.queue(Message::text(payload.to_string()), decision.delay, exchange);
        match decision.effect {
            Some(effect) => self.suffer(&effect),
            None => Ok(()),
        }
    }

    fn queue(&mut self, message: Message, delay: Duration, exchange: Option<Exchange>) {
        let due = Instant::now() + delay;
        let at = self.waiting.partition_point(|waiting| waiting.due <= due);
        self.waiting.insert(at, Waiting { due, message, exchange });
    }

    fn suffer(&mut self, effect: &Effect) -> Result<(), End> {
        match effect {
            Effect::HalfClose => self.arrival.control.half_close(),
            Effect::Stall => self.arrival.control.stall(),
            Effect::Reset => {
                self.arrival.control.reset();
                return Err(End::Client(None));
            }
            Effect::Close { code } => return Err(End::Server(*code, "")),
            Effect::RefuseDave => return Err(End::Server(4017, "E2EE/DAVE protocol required")),
            _ => {}
        }
        Ok(())
    }

    fn obey(&mut self, order: VoiceOrder) -> Result<(), End> {
        match order {
            VoiceOrder::Send(text) => {
                if self.waiting.len() < WAITING {
                    self.queue(Message::text(text), Duration::ZERO, None);
                }
                Ok(())
            }
            VoiceOrder::Close(code, reason) => Err(End::Server(code, reason)),
            VoiceOrder::Fault(effect) => self.suffer(&effect),
        }
    }

    async fn received(&mut self, message: Option<Result<Message, tokio_websockets::Error>>) -> Result<(), End> {
        let received_ns = system_ns();
        let Some(Ok(message)) = message else { return Err(End::Client(None)) };
        if message.is_close() {
            return Err(End::Client(message.as_close().map(|(code, _)| code.into())));
        }
        if message.is_ping() || message.is_pong() {
            return Ok(());
        }
        let payload: &[u8] = message.as_payload();
        let decode = || End::Server(4002, "Failed to decode payload");
        if message.is_binary() {
            // DAVE: an op and its MLS bytes. The key package (26) is taken; with one member there is nothing to commit to.
            return match (&self.seat, payload.first()) {
                (Some(seat), Some(26)) => {
                    self.hub.world().note_key_package(seat.ssrc, payload.len() - 1);
                    Ok(())
                }
                (Some(_), Some(25..=30)) => Ok(()),
                (None, Some(_)) => Err(End::Server(4003, "Not authenticated")),
                _ => Err(decode()),
            };
        }
        let payload: Value = serde_json::from_slice(payload).map_err(|_| decode())?;
        let op = payload.get("op").and_then(Value::as_u64).ok_or_else(decode)?;
        self.operate(op, payload.get("d").unwrap_or(&Value::Null), received_ns).await
    }

    async fn operate(&mut self, op: u64, data: &Value, received_ns: u64) -> Result<(), End> {
        match (op, &self.seat) {
            (3, seat) => {
                self.last_beat = Instant::now();
                let control = &self.arrival.control;
                let mut exchange = Exchange::new(ExchangeKind::VoiceHeartbeat, control.peer, control.id, received_ns);
                exchange.user = seat.as_ref().map(|seat| seat.user);
                exchange.region = self.region.clone();
                // Since version 8 an object with the last sequence number seen; before, a bare number.
                let echo = data.get("t").map_or_else(|| data.clone(), |t| json!({ "t": t }));
                self.plan("HEARTBEAT_ACK", &json!({ "op": 6, "d": echo }), Some(exchange))
            }
            (0 | 7, Some(_)) => Err(End::Server(4005, "Already authenticated")),
            (0, None) => self.identify(data, received_ns).await,
            (7, None) => self.resume(data),
            (_, None) => Err(End::Server(4003, "Not authenticated")),
            (1, Some(seat)) => {
                let seat = seat.clone();
                self.select_protocol(&seat, data)
            }
            (5, Some(seat)) => {
                let speaking = json!({ "user_id": seat.user, "ssrc": seat.ssrc, "speaking": data.get("speaking") });
                self.hub.world().tell_voice_peers(seat.ssrc, 5, &speaking);
                Ok(())
            }
            // Video, media sinks, flags, platform, and DAVE's JSON: nothing comes of them here.
            (10..=24 | 31, Some(_)) => Ok(()),
            _ => Err(End::Server(4001, "Unknown opcode")),
        }
    }

    async fn identify(&mut self, data: &Value, received_ns: u64) -> Result<(), End> {
        let decode = |_| End::Server(4002, "Failed to decode payload");
        let fields = Fields::of(data).map_err(decode)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let (guild, user) =
            (fields.snowflake("server_id").map_err(decode)?, fields.snowflake("user_id").map_err(decode)?);
        let (Some(guild), Some(user)) = (guild, user) else {
            return Err(End::Server(4002, "Failed to decode payload"));
        };
        let wanted = fields.integer("max_dave_protocol_version", 0, u64::MAX).map_err(decode)?.unwrap_or(0);
        let found = {
            let world = self.hub.world();
            if !world.guilds.contains_key(&guild) {
                return Err(End::Server(4011, "Server not found"));
            }
            let Some(state) = world.voice_seat(guild, user, text("session_id"), text("token")) else {
                return Err(End::Server(4004, "Authentication failed"));
            };
            let stage = world.channels.get(&state.channel).is_some_and(|channel| channel.kind == ChannelKind::Stage);
            let name = world.users.get(&user).map(|user| user.username.clone()).unwrap_or_default();
            (state.region.clone(), stage, name)
        };
        let (region, stage, username) = found;
        self.region = Some(region.clone());
        let decision = self.decide("IDENTIFY");
        tokio::time::sleep(decision.delay).await;
        match &decision.effect {
            Some(Effect::Drop) => return Ok(()),
            Some(effect) => return self.suffer(effect),
            None => {}
        }
        if wanted == 0 && self.hub.config.voice.require_dave && !stage {
            return Err(End::Server(4017, "E2EE/DAVE protocol required"));
        }
        let dave = if stage { 0 } else { wanted.min(DAVE) };
        let control = self.arrival.control.clone();
        let orders = self.orders.0.clone();
        let ssrc = self.hub.world().add_voice_connection(guild, user, &region, control.id, orders);
        let Some(ssrc) = ssrc else { return Err(End::Server(4015, "Voice server crashed")) };
        self.seat = Some(Seat { ssrc, guild, user, username, dave });
        let mut exchange = Exchange::new(ExchangeKind::VoiceIdentify, control.peer, control.id, received_ns);
        exchange.user = Some(user);
        exchange.region = Some(region);
        let ready = json!({
            "op": 2,
            "d": {
                "ssrc": ssrc,
                "ip": control.local.ip().to_canonical().to_string(),
                "port": self.udp_port,
                "modes": MODES,
                "experiments": [],
                "streams": [],
            }
        });
        self.plan("READY", &ready, Some(exchange))?;
        let others = self.hub.world().join_voice_peers(ssrc);
        if !others.is_empty() {
            let present = json!({ "op": 11, "d": { "user_ids": others } });
            self.plan("CLIENTS_CONNECT", &present, None)?;
        }
        Ok(())
    }

    fn resume(&mut self, data: &Value) -> Result<(), End> {
        let decode = |_| End::Server(4002, "Failed to decode payload");
        let fields = Fields::of(data).map_err(decode)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let guild = fields.snowflake("server_id").map_err(decode)?.unwrap_or_default();
        let seen = fields.integer("seq_ack", 0, u64::MAX).ok().flatten();
        let decision = self.decide("RESUME");
        if let Some(effect) = &decision.effect {
            return self.suffer(effect);
        }
        let control = self.arrival.control.id;
        let orders = self.orders.0.clone();
        let resumed = {
            let mut world = self.hub.world();
            world.resume_voice(guild, text("session_id"), text("token"), control, orders, seen)
        };
        let Some((ssrc, user, region, missed)) = resumed else {
            return Err(End::Server(4006, "Session no longer valid"));
        };
        let username = self.hub.world().users.get(&user).map(|user| user.username.clone()).unwrap_or_default();
        self.region = Some(region);
        self.seat = Some(Seat { ssrc, guild, user, username, dave: 0 });
        self.plan("RESUMED", &json!({ "op": 9, "d": null }), None)?;
        for text in missed {
            self.queue(Message::text(text), Duration::ZERO, None);
        }
        Ok(())
    }

    fn select_protocol(&mut self, seat: &Seat, data: &Value) -> Result<(), End> {
        if data["protocol"] != "udp" {
            return Err(End::Server(4012, "Unknown protocol"));
        }
        let mode = data["data"]["mode"].as_str().filter(|mode| MODES.contains(mode));
        let Some(mode) = mode else { return Err(End::Server(4016, "Unknown encryption mode")) };
        let key: [u8; 32] = self.hub.random_bytes();
        let description = json!({
            "op": 4,
            "d": {
                "mode": mode,
                "secret_key": key,
                "audio_codec": "opus",
                "video_codec": "H264",
                "media_session_id": self.hub.secret(),
                "dave_protocol_version": seat.dave,
            }
        });
        self.plan("SESSION_DESCRIPTION", &description, None)?;
        if seat.dave > 0
            && let Some(sender) = dave::external_sender()
        {
            let seq = self.hub.world().next_voice_seq(seat.ssrc);
            let mut bytes = seq.to_be_bytes().to_vec();
            bytes.push(dave::EXTERNAL_SENDER);
            bytes.extend(sender);
            self.queue(Message::binary(bytes), Duration::ZERO, None);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        let now = Instant::now();
        while self.waiting.front().is_some_and(|waiting| waiting.due <= now) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            let sent_ns = system_ns();
            match timeout(WRITE, self.stream.send(waiting.message)).await {
                Ok(Ok(())) => {}
                _ => return Err(End::Client(None)),
            }
            if let Some(exchange) = waiting.exchange {
                self.hub.stamps.record(Exchange { sent_ns: Some(sent_ns), ..exchange });
            }
        }
        Ok(())
    }

    async fn close(&mut self, code: u16, reason: &str) {
        let code = CloseCode::try_from(code).ok();
        let closing = async {
            if self.stream.send(Message::close(code, reason)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        let _ = timeout(CLOSING, closing).await;
    }
}
