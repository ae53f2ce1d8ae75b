//! One gateway connection: hello, identify or resume, heartbeats, dispatches as they fall due, faults, the end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_websockets::{CloseCode, Message};

use super::compress::Encoder;
use super::ready::{self, Outcome};
use super::requests;
use crate::clock::system_ns;
use crate::faults::{Decision, Effect, Point, Surface};
use crate::hub::{Arrival, Hub};
use crate::id::Snowflake;
use crate::stamps::{Exchange, ExchangeKind};
use crate::state::{Attached, Order, SessionEnd};
use crate::websocket::Stream;

/// Discord's limit of a client's payload, bytes; more is 4002.
const PAYLOAD: usize = 4096;
const MINUTE: Duration = Duration::from_secs(60);
/// A client that takes nothing for so long is given up.
const WRITE: Duration = Duration::from_secs(30);
const CLOSING: Duration = Duration::from_secs(2);
/// Dispatches taken from the session at a time.
const BATCH: usize = 64;
/// ACKs and the like that wait for their time; more are dropped.
const WAITING: usize = 1000;

/// Why the loop ends.
enum End {
    /// The client closed, with this code.
    Client(Option<u16>),
    /// We close. `keep`: the session can be resumed.
    Server { code: u16, reason: &'static str, keep: bool },
    /// The stream broke.
    Broken,
}

struct Waiting {
    due: Instant,
    text: String,
    exchange: Option<Exchange>,
}

struct Live {
    id: String,
    user: Snowflake,
    username: String,
    /// Sequence number of the last dispatch sent.
    cursor: u64,
    wake: Arc<Notify>,
}

pub struct Connection {
    hub: Arc<Hub>,
    stream: Stream,
    arrival: Arrival,
    encoder: Encoder,
    version: u64,
    url: String,
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    live: Option<Live>,
    waiting: VecDeque<Waiting>,
    next_dispatch: Option<Instant>,
    sends: VecDeque<Instant>,
    last_beat: Instant,
}

impl Connection {
    pub fn new(
        hub: Arc<Hub>,
        stream: Stream,
        arrival: Arrival,
        encoder: Encoder,
        version: u64,
        url: String,
    ) -> Connection {
        Connection {
            hub,
            stream,
            arrival,
            encoder,
            version,
            url,
            orders: mpsc::channel(16),
            live: None,
            waiting: VecDeque::new(),
            next_dispatch: None,
            sends: VecDeque::new(),
            last_beat: Instant::now(),
        }
    }

    /// `refused`: the address asked for what is not spoken here.
    pub async fn run(mut self, refused: Option<(u16, &'static str)>) {
        let end = match refused {
            Some((code, reason)) => End::Server { code, reason, keep: false },
            None => self.serve().await.err().unwrap_or(End::Broken),
        };
        if let End::Server { code, reason, .. } = &end {
            self.close(*code, reason).await;
        }
        let keep = match end {
            End::Client(code) => !matches!(code, Some(1000 | 1001)),
            End::Server { keep, .. } => keep,
            End::Broken => true,
        };
        if let Some(live) = &self.live {
            self.hub.world().detach(&live.id, self.arrival.control.id, keep);
        }
    }

    async fn serve(&mut self) -> Result<(), End> {
        let interval = self.hub.config.gateway.heartbeat_interval_ms;
        let hello = json!({ "t": null, "s": null, "op": 10, "d": { "heartbeat_interval": interval, "_trace": [] } });
        self.plan("HELLO", hello.to_string(), None)?;
        // Discord gives up a client some while after the beat it owes.
        let patience = Duration::from_millis(interval) + Duration::from_millis(interval).max(Duration::from_secs(10));
        loop {
            self.flush().await?;
            let due = [self.waiting.front().map(|waiting| waiting.due), self.next_dispatch].into_iter().flatten().min();
            let silent = self.last_beat + patience;
            let wake = self.live.as_ref().map(|live| live.wake.clone());
            tokio::select! {
                message = self.stream.next() => self.received(message).await?,
                Some(order) = self.orders.1.recv() => self.obey(order)?,
                () = async { wake.as_ref().expect("guarded").notified().await }, if wake.is_some() => {}
                () = sleep_until(due.unwrap_or(silent)), if due.is_some() => {}
                () = sleep_until(silent) => {
                    return Err(End::Server { code: 4009, reason: "Session timed out.", keep: true });
                }
            }
        }
    }

    fn decide(&self, event: &str) -> Decision {
        let user = self.live.as_ref().map(|live| live.username.as_str());
        self.hub.faults.decide(&Point { event: Some(event), user, ..Point::new(Surface::Gateway) })
    }

    /// Sends `text` when its rules say so; or something else, or nothing.
    fn plan(&mut self, event: &str, text: String, exchange: Option<Exchange>) -> Result<(), End> {
        let decision = self.decide(event);
        let dropped = matches!(decision.effect, Some(Effect::Drop));
        let mut delay = decision.delay;
        if event == "HEARTBEAT_ACK" {
            delay += Duration::from_secs_f64(self.hub.config.gateway.ack_delay_ms / 1000.0);
        }
        if dropped || self.waiting.len() >= WAITING {
            if let Some(exchange) = exchange {
                self.hub.stamps.record(exchange);
            }
            return Ok(());
        }
        self.queue(text, delay, exchange);
        match decision.effect {
            Some(effect) => self.suffer(effect),
            None => Ok(()),
        }
    }

    fn queue(&mut self, text: String, delay: Duration, exchange: Option<Exchange>) {
        let due = Instant::now() + delay;
        let at = self.waiting.partition_point(|waiting| waiting.due <= due);
        self.waiting.insert(at, Waiting { due, text, exchange });
    }

    fn suffer(&mut self, effect: Effect) -> Result<(), End> {
        match effect {
            Effect::HalfClose => self.arrival.control.half_close(),
            Effect::Stall => self.arrival.control.stall(),
            Effect::Reset => {
                self.arrival.control.reset();
                return Err(End::Broken);
            }
            Effect::Close { code } => {
                let keep = !matches!(code, 1000 | 1001 | 4003 | 4004 | 4010..=4014);
                return Err(End::Server { code, reason: "", keep });
            }
            Effect::Reconnect => {
                let text = json!({ "t": null, "s": null, "op": 7, "d": null }).to_string();
                self.queue(text, Duration::ZERO, None);
            }
            Effect::InvalidSession { resumable } => self.invalidate(resumable),
            _ => {}
        }
        Ok(())
    }

    /// Op 9. Where the session is over, the client may identify again on this connection.
    fn invalidate(&mut self, resumable: bool) {
        let text = json!({ "t": null, "s": null, "op": 9, "d": resumable }).to_string();
        self.queue(text, Duration::ZERO, None);
        if !resumable && let Some(live) = self.live.take() {
            let mut world = self.hub.world();
            // Without a connection first, so that ending it sends no close.
            world.detach(&live.id, self.arrival.control.id, true);
            world.end_session(&live.id);
            self.next_dispatch = None;
        }
    }

    fn obey(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Fault(effect) => self.suffer(effect),
            Order::Superseded => Err(End::Server { code: 4000, reason: "Session resumed elsewhere.", keep: true }),
            Order::Close(code, reason) => Err(End::Server { code, reason, keep: false }),
        }
    }

    async fn received(&mut self, message: Option<Result<Message, tokio_websockets::Error>>) -> Result<(), End> {
        let received_ns = system_ns();
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                tracing::debug!(peer = %self.arrival.control.peer, "gateway: {error}");
                return Err(End::Broken);
            }
            None => return Err(End::Broken),
        };
        if message.is_close() {
            return Err(End::Client(message.as_close().map(|(code, _)| code.into())));
        }
        if !message.is_text() && !message.is_binary() {
            return Ok(());
        }
        self.count_send()?;
        let payload: &[u8] = message.as_payload();
        let decode = End::Server { code: 4002, reason: "Error while decoding payload.", keep: true };
        if payload.len() > PAYLOAD {
            return Err(decode);
        }
        let Ok(payload) = serde_json::from_slice::<Value>(payload) else { return Err(decode) };
        let Some(op) = payload.get("op").and_then(Value::as_u64) else { return Err(decode) };
        self.operate(op, payload.get("d").unwrap_or(&Value::Null), received_ns).await
    }

    /// 120 payloads in 60 s, heartbeats included; one more is 4008.
    fn count_send(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.sends.retain(|at| now.duration_since(*at) < MINUTE);
        self.sends.push_back(now);
        if self.sends.len() > self.hub.config.limits.sends_per_minute {
            return Err(End::Server { code: 4008, reason: "Rate limited.", keep: true });
        }
        Ok(())
    }

    async fn operate(&mut self, op: u64, data: &Value, received_ns: u64) -> Result<(), End> {
        match (op, &self.live) {
            (1, live) => {
                self.last_beat = Instant::now();
                let control = &self.arrival.control;
                let mut exchange = Exchange::new(ExchangeKind::Heartbeat, control.peer, control.id, received_ns);
                exchange.user = live.as_ref().map(|live| live.user);
                let ack = json!({ "t": null, "s": null, "op": 11, "d": null }).to_string();
                self.plan("HEARTBEAT_ACK", ack, Some(exchange))
            }
            (2 | 6, Some(_)) => Err(End::Server { code: 4005, reason: "Already authenticated.", keep: true }),
            (2 | 6, None) => self.begin(op, data, received_ns).await,
            (_, None) => Err(End::Server { code: 4003, reason: "Not authenticated.", keep: false }),
            (_, Some(live)) => match requests::handle(&self.hub, &live.id, live.user, op, data) {
                Ok(true) => Ok(()),
                Ok(false) => Err(End::Server { code: 4001, reason: "Unknown opcode.", keep: true }),
                Err(refusal) if refusal.code == 50035 => {
                    Err(End::Server { code: 4002, reason: "Error while decoding payload.", keep: true })
                }
                // A guild or channel that is not there: Discord says nothing.
                Err(_) => Ok(()),
            },
        }
    }

    async fn begin(&mut self, op: u64, data: &Value, received_ns: u64) -> Result<(), End> {
        let (name, kind) =
            if op == 2 { ("IDENTIFY", ExchangeKind::Identify) } else { ("RESUME", ExchangeKind::Resume) };
        let decision = self.decide(name);
        tokio::time::sleep(decision.delay).await;
        match decision.effect {
            Some(Effect::Drop) => return Ok(()),
            Some(effect) => {
                if let Effect::InvalidSession { resumable: false } = effect
                    && let Some(id) = data.get("session_id").and_then(Value::as_str)
                {
                    self.hub.world().end_session(id);
                }
                return self.suffer(effect);
            }
            None => {}
        }
        let control = self.arrival.control.clone();
        let attached = Attached { connection: control.id, orders: self.orders.0.clone() };
        let outcome = if op == 2 {
            ready::identify(&self.hub, data, attached, self.version, &self.url)
        } else {
            ready::resume(&self.hub, data, attached)
        };
        let mut exchange = Exchange::new(kind, control.peer, control.id, received_ns);
        let result = match outcome {
            Outcome::Session { id, user, seen } => {
                let world = self.hub.world();
                let wake = world.sessions.get(&id).map(|session| session.wake.clone()).unwrap_or_default();
                let username = world.users.get(&user).map(|user| user.username.clone()).unwrap_or_default();
                drop(world);
                exchange.user = Some(user);
                self.live = Some(Live { id, user, username, cursor: seen, wake });
                self.last_beat = Instant::now();
                Ok(())
            }
            Outcome::Invalid => {
                self.invalidate(false);
                Ok(())
            }
            Outcome::Close(code, reason) => {
                exchange.status = Some(code);
                Err(End::Server { code, reason, keep: false })
            }
        };
        exchange.sent_ns = Some(system_ns());
        self.hub.stamps.record(exchange);
        result
    }

    /// Sends what is due: planned payloads, then dispatches in order.
    async fn flush(&mut self) -> Result<(), End> {
        let now = Instant::now();
        while self.waiting.front().is_some_and(|waiting| waiting.due <= now) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            let sent_ns = system_ns();
            self.send(&waiting.text).await?;
            if let Some(exchange) = waiting.exchange {
                self.hub.stamps.record(Exchange { sent_ns: Some(sent_ns), ..exchange });
            }
        }
        self.next_dispatch = None;
        loop {
            let Some(live) = &self.live else { return Ok(()) };
            let frames = match self.hub.world().sessions.get(&live.id) {
                Some(session) => session.after(live.cursor, BATCH),
                None => Err(SessionEnd::Unknown),
            };
            let frames = frames.map_err(|_| End::Server { code: 4000, reason: "Too slow.", keep: false })?;
            let count = frames.len();
            for frame in frames {
                if frame.due > Instant::now() {
                    self.next_dispatch = Some(frame.due);
                    return Ok(());
                }
                let sent_ns = system_ns();
                self.send(&frame.text).await?;
                let Some(live) = &mut self.live else { return Ok(()) };
                live.cursor = frame.seq;
                let control = &self.arrival.control;
                let mut exchange = Exchange::new(ExchangeKind::Dispatch, control.peer, control.id, frame.published_ns);
                exchange.name = frame.name.to_owned();
                exchange.user = Some(live.user);
                exchange.subject = frame.subject;
                exchange.sent_ns = Some(sent_ns);
                self.hub.stamps.record(exchange);
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, text: &str) -> Result<(), End> {
        let message = self.encoder.message(text).ok_or(End::Broken)?;
        match timeout(WRITE, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Broken),
        }
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
