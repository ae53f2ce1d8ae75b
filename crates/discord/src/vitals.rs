//! What every bot measures of its own connections: REST at intervals, each gateway heartbeat, own connects to the same far
//! ends, and whether this host's clock is right.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use model::UnixNanos;
use net::Clock;
use tokio::time::Instant;

use crate::board::steering::BotSettings;
use crate::gateway::Beat;
use crate::recorder::{Recorder, lock};
use crate::rest::{Call, Rest, RestError};
use crate::snowflake::Snowflake;
use crate::voice::VoiceHost;

/// How often what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between timed REST calls.
    pub rest: Duration,
    /// Between posts; each post is a message echo as well.
    pub post: Duration,
    /// Between own TCP connects to the same far ends.
    pub connect: Duration,
    /// How long a bot that shares its account keeps the voice seat.
    pub voice_lease: Duration,
    /// Between pings of the last voice server while the bot is not in voice.
    pub media: Duration,
}

impl Default for Pace {
    /// Four REST calls and a message a minute: far from any limit, also where fifty bots share a token.
    fn default() -> Pace {
        Pace {
            rest: Duration::from_secs(15),
            post: Duration::from_secs(60),
            connect: Duration::from_secs(30),
            voice_lease: Duration::from_secs(120),
            media: Duration::from_secs(60),
        }
    }
}

pub(crate) struct Vitals {
    pub(crate) rest: Rest,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
    /// What the task board says of it.
    pub(crate) settings: Mutex<BotSettings>,
    /// Measured by asking for it: what belongs to a guild is served where that guild is.
    pub(crate) channel: Snowflake,
    pub(crate) gateway_target: String,
    /// Far ends for own connects: the API's and the gateway's.
    pub(crate) peers: Mutex<[Option<SocketAddr>; 2]>,
    /// The voice server that Discord named last.
    pub(crate) voice_server: Mutex<Option<VoiceHost>>,
}

const REST_TARGET: &str = "GET /channels/{}";
/// The answer's `Date` has whole seconds only.
const CLOCK_TOLERANCE_MS: i64 = 3_000;

impl Vitals {
    pub(crate) fn beat(&self, beat: &Beat) {
        lock(&self.peers)[1] = beat.peer;
        self.recorder.beat(beat, &self.gateway_target);
    }

    /// Times REST calls for ever; comes back only with an error that no waiting repairs.
    pub(crate) async fn probe(&self) -> RestError {
        let mut complained = false;
        let mut pause = Duration::ZERO;
        loop {
            tokio::time::sleep(pause).await;
            pause = self.rest_pause();
            if self.recorder.is_paused() {
                continue;
            }
            let (began, at) = (Instant::now(), self.clock.now());
            let call = Call::new(REST_TARGET, self.channel.0, format!("/channels/{}", self.channel));
            let outcome = self.rest.measure(call).await;
            if let Ok(timing) = &outcome {
                // Before the record, which is to be flagged already.
                self.compare_clocks(timing.date_s, timing.sent_at, timing.received_at);
            }
            self.recorder.rest(REST_TARGET, began, at, &outcome);
            match outcome {
                Ok(timing) => {
                    lock(&self.peers)[0] = Some(timing.peer);
                    if std::mem::take(&mut complained) {
                        tracing::info!("Discord answers again");
                    }
                }
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!("{error}; going on, and catching up once it answers");
                    }
                }
                Err(error) => return error,
            }
        }
    }

    fn rest_pause(&self) -> Duration {
        let told = lock(&self.settings).rest_s.map(|seconds| Duration::from_secs(seconds.into()));
        told.unwrap_or(self.pace.rest)
    }

    pub(crate) fn post_pause(&self) -> Duration {
        let told = lock(&self.settings).post_s.map(|seconds| Duration::from_secs(seconds.into()));
        told.unwrap_or(self.pace.post)
    }

    pub(crate) fn set(&self, settings: BotSettings) {
        self.recorder.pause(settings.measure == Some(false));
        *lock(&self.settings) = settings;
    }

    /// Before anything is recorded: is this host's clock right? An answer that does not come is no reason to wait.
    pub(crate) async fn look_at_clock(&self) {
        let call = Call::new(REST_TARGET, self.channel.0, format!("/channels/{}", self.channel));
        if let Ok(timing) = self.rest.measure(call).await {
            self.compare_clocks(timing.date_s, timing.sent_at, timing.received_at);
        }
    }

    fn compare_clocks(&self, date_s: Option<i64>, sent: UnixNanos, received: UnixNanos) {
        let Some(date_s) = date_s else { return };
        let middle_ms = (sent.0 / 2 + received.0 / 2) / 1_000_000;
        let off_ms = middle_ms - (date_s * 1000 + 500);
        let is_off = off_ms.abs() > CLOCK_TOLERANCE_MS;
        let was_off = self.recorder.set_clock_off(is_off);
        if is_off && !was_off {
            tracing::warn!(
                "this host's clock is about {} s {} Discord's: set it (chrony or systemd-timesyncd); records are flagged clock-off",
                off_ms.abs() / 1000,
                if off_ms > 0 { "ahead of" } else { "behind" }
            );
        }
    }

    pub(crate) async fn connect_forever(&self) {
        loop {
            let peers = *lock(&self.peers);
            for peer in peers.into_iter().flatten() {
                let took = crate::rest::connection::probe(peer).await;
                self.recorder.connected(peer, took);
            }
            // The first far ends become known within the first exchanges.
            let known = peers.iter().flatten().count();
            let pause = if known == 2 { self.pace.connect } else { self.pace.connect.min(Duration::from_secs(1)) };
            tokio::time::sleep(pause).await;
        }
    }
}
