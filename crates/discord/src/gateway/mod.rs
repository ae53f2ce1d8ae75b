//! The gateway: twilight's shard keeps the session (identify, resume, heartbeats, op 7 and 9); this adds the times, the
//! network's share of each heartbeat, and patience where a gateway ends sessions as soon as they begin.

mod event;
mod socket;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use model::UnixNanos;
use net::Clock;
use tokio::time::Instant;
use twilight_gateway::{ConfigBuilder, Intents, Message as GatewayMessage, MessageSender, Shard, ShardId};

pub use event::Event;
pub(crate) use event::{Frame, read};

use crate::gateway::socket::Sockets;
use crate::rest::Endpoint;
use crate::secret::Token;

/// What a user sees as the library of this crate's own measurements.
pub const LIBRARY: &str = "twilight 0.18";

#[derive(Clone, Debug)]
pub struct GatewayConfig {
    pub token: Token,
    /// `None`: Discord's own.
    pub endpoint: Option<Endpoint>,
    pub intents: Intents,
    pub clock: Clock,
}

/// One heartbeat and its acknowledgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    pub sent_at: UnixNanos,
    pub received_at: UnixNanos,
    /// What the library measured between its own stamps of the two.
    pub app: Duration,
    pub interval: Duration,
    /// The kernel's minimum for the gateway's connection, and its far end.
    pub network: Option<Duration>,
    pub peer: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub enum Signal {
    Beat(Beat),
    Event {
        event: Box<Event>,
        /// When the program had it.
        at: Instant,
        received_at: UnixNanos,
    },
    /// The connection ended and is being made again.
    Lost,
}

/// The session cannot go on, whatever is waited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayEnd {
    #[error("Discord's gateway refuses the token (4004): get a new one in the developer portal under Bot, Reset Token")]
    Unauthorized,
    #[error(
        "Discord's gateway refuses intents that this bot may not use (4014): enable Message Content Intent in the developer portal under Bot, Privileged Gateway Intents"
    )]
    DisallowedIntents,
    #[error("Discord's gateway ended the session for good (close code {0})")]
    Closed(u16),
}

pub struct Gateway {
    config: GatewayConfig,
    endpoint: Endpoint,
    shard: Shard,
    clock: Clock,
    sockets: Sockets,
    interval: Duration,
    /// When the present connection said Hello.
    began: Option<Instant>,
    /// Connections in a row that ended almost at once.
    short: u32,
    /// Not to be polled before.
    pause: Option<Instant>,
    last_close: Option<u16>,
    unreadable: u64,
}

fn shard(config: &GatewayConfig, endpoint: &Endpoint) -> Shard {
    let builder = ConfigBuilder::new(format!("Bot {}", config.token.reveal()), config.intents);
    Shard::with_config(ShardId::ONE, builder.proxy_url(endpoint.websocket()).build())
}

/// A connection that lived shorter was no success.
const SHORT: Duration = Duration::from_secs(10);
const FLUSH: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Gateway {
    /// Needs [`crate::rest::Trust::load`] to have succeeded before.
    pub fn new(config: GatewayConfig) -> Gateway {
        let endpoint = config.endpoint.clone().unwrap_or_else(Endpoint::discord_gateway);
        Gateway {
            shard: shard(&config, &endpoint),
            sockets: Sockets::new(endpoint.clone()),
            clock: config.clock.clone(),
            config,
            endpoint,
            interval: Duration::ZERO,
            began: None,
            short: 0,
            pause: None,
            last_close: None,
            unreadable: 0,
        }
    }

    /// For commands such as op 4; they are sent once the session stands.
    pub fn sender(&self) -> MessageSender {
        self.shard.sender()
    }

    /// Events that could not be read so far.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Waits for the next signal. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Result<Signal, GatewayEnd> {
        loop {
            if let Some(until) = self.pause {
                tokio::time::sleep_until(until).await;
                self.pause = None;
            }
            let Some(received) = self.shard.next().await else { return Err(self.end()) };
            let (at, received_at) = (Instant::now(), self.clock.now());
            match received {
                Ok(GatewayMessage::Text(text)) => {
                    if let Some(signal) = self.read(&text, at, received_at) {
                        return Ok(signal);
                    }
                }
                Ok(GatewayMessage::Close(frame)) => {
                    self.last_close = frame.map(|frame| frame.code);
                    if !self.is_fatal() {
                        self.slow_down(Duration::ZERO);
                        return Ok(Signal::Lost);
                    }
                }
                Err(error) => {
                    // The library waits longer after each failure, up to minutes.
                    tracing::debug!(%error, "the gateway cannot be reached");
                    return Ok(Signal::Lost);
                }
            }
        }
    }

    /// Gives commands that were just handed over a moment to be sent; what comes meanwhile is left out.
    pub async fn flush(&mut self) {
        let _ = tokio::time::timeout(FLUSH, async {
            while let Ok(Signal::Event { .. } | Signal::Beat(_)) = self.next().await {}
        })
        .await;
    }

    fn read(&mut self, text: &str, at: Instant, received_at: UnixNanos) -> Option<Signal> {
        match read(text) {
            Frame::Hello { heartbeat_interval_ms } => {
                self.interval = Duration::from_millis(heartbeat_interval_ms);
                self.began = Some(at);
                self.sockets.connected(self.shard.resume_url());
                None
            }
            Frame::HeartbeatAck => self.beat(received_at).map(Signal::Beat),
            Frame::InvalidSession { resumable } => {
                tracing::info!(resumable, "the gateway does not know the session any more");
                // Discord asks for a random wait of 1 to 5 seconds before the next Identify.
                self.slow_down(Duration::from_millis(1000 + fastrand::u64(0..4000)));
                Some(Signal::Lost)
            }
            Frame::Reconnect => {
                tracing::debug!("the gateway asks for a new connection");
                Some(Signal::Lost)
            }
            Frame::Event(event) => {
                // The library would give up the whole process over an address it cannot read.
                if self.shard.resume_url().is_some_and(|url| url.parse::<Endpoint>().is_err()) {
                    tracing::warn!("the gateway gave an address for resuming that is none; beginning anew");
                    self.shard = shard(&self.config, &self.endpoint);
                    self.slow_down(SHORT);
                    return Some(Signal::Lost);
                }
                Some(Signal::Event { event, at, received_at })
            }
            Frame::Other => None,
            Frame::Unreadable(what) => {
                self.unreadable += 1;
                tracing::debug!(what, "an event of the gateway could not be read");
                None
            }
        }
    }

    fn beat(&mut self, received_at: UnixNanos) -> Option<Beat> {
        let latency = self.shard.latency();
        let (sent, received) = (latency.sent()?, latency.received()?);
        let app = *latency.recent().first()?;
        // The library's own stamps are of the system's clock.
        let now = std::time::Instant::now();
        let ago = |moment| i64::try_from(now.saturating_duration_since(moment).as_nanos()).unwrap_or(i64::MAX);
        let connection = self.sockets.find();
        Some(Beat {
            sent_at: received_at.plus(-ago(sent)),
            received_at: received_at.plus(-ago(received)),
            app,
            interval: self.interval,
            network: connection.and_then(|connection| connection.info.min_rtt),
            peer: connection.map(|connection| connection.peer),
        })
    }

    /// After connections that end at once every further one waits longer.
    fn slow_down(&mut self, least: Duration) {
        let lived = self.began.take().map_or(Duration::ZERO, |began| began.elapsed());
        self.short = if lived < SHORT { self.short.saturating_add(1) } else { 0 };
        let doubled = match self.short {
            0 | 1 => Duration::ZERO,
            more => Duration::from_secs(1 << (more - 1).min(6)).min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64() / 2.0),
        };
        let wait = doubled.max(least);
        if !wait.is_zero() {
            self.pause = Some(Instant::now() + wait);
        }
    }

    fn is_fatal(&self) -> bool {
        matches!(self.last_close, Some(4004 | 4010..=4014))
    }

    fn end(&self) -> GatewayEnd {
        match self.last_close {
            Some(4004) => GatewayEnd::Unauthorized,
            Some(4014) => GatewayEnd::DisallowedIntents,
            code => GatewayEnd::Closed(code.unwrap_or_default()),
        }
    }
}
