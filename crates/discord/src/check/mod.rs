//! Where does the time go, from this host: one look at everything between a bot and Discord, each step as the application sees it
//! beside the network time of the very connection it ran on. Needs no server, and no token but for what only a bot may ask.

mod bot;
mod dns;
mod http;
pub mod judge;
pub mod process;
mod socket;
mod voice;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

pub use judge::{Culprit, Verdict};
pub use process::{Looks, Watched};

use crate::rest::{Endpoint, Trust};
use crate::secret::Token;
use crate::snowflake::Snowflake;

/// REST and the gateway each, whatever hangs; with at most six seconds of DNS before them all of it is over in half a minute.
const PART: Duration = Duration::from_secs(11);
/// What only a bot may ask gets what is left of this.
const WHOLE: Duration = Duration::from_secs(27);

/// What to look at.
pub struct CheckConfig {
    pub api: Endpoint,
    pub gateway: Endpoint,
    pub trust: Trust,
    /// With a token REST is asked as the bot: its own limits show.
    pub token: Option<Token>,
    /// With a token: posts messages into this text channel, to time their echo, and deletes them again.
    pub channel: Option<Snowflake>,
    /// With a token: enters this voice channel for some seconds.
    pub voice: Option<Snowflake>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Dns,
    Tcp,
    Tls,
    Rest,
    GatewayHello,
    GatewayHeartbeat,
    MessageEcho,
    VoiceConnect,
    VoiceIcmp,
    VoiceUdp,
    VoiceHeartbeat,
}

impl Step {
    pub const fn name(self) -> &'static str {
        match self {
            Step::Dns => "DNS",
            Step::Tcp => "TCP connect",
            Step::Tls => "TLS handshake",
            Step::Rest => "REST, first byte",
            Step::GatewayHello => "gateway, hello",
            Step::GatewayHeartbeat => "gateway, heartbeat",
            Step::MessageEcho => "message echo",
            Step::VoiceConnect => "voice, TCP connect",
            Step::VoiceIcmp => "voice, ICMP echo",
            Step::VoiceUdp => "voice, IP discovery",
            Step::VoiceHeartbeat => "voice, heartbeat",
        }
    }
}

/// One step, possibly done several times. Milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub step: Step,
    /// Whom it was asked of: a resolver and a name, or host and port.
    pub target: String,
    pub samples: usize,
    /// As the application sees it; absent where it never came to an end.
    pub app_ms: Option<Spread>,
    /// The kernel's least round trip (TCP_INFO `min_rtt`) of this very connection, times the round trips that the step needs.
    pub network_ms: Option<f64>,
    /// Median of the application's time without the network's.
    pub rest_ms: Option<f64>,
    /// Segments sent again on this connection.
    pub retransmits: Option<u32>,
    /// What went wrong, or what could not be seen and why.
    pub problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub p50: f64,
    pub max: f64,
}

pub(crate) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl Spread {
    /// Nearest rank; `None` of nothing.
    pub(crate) fn of(times: &[Duration]) -> Option<Spread> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let (min, max) = (sorted.first()?, sorted.last()?);
        Some(Spread { min: ms(*min), p50: ms(sorted[(sorted.len() - 1) / 2]), max: ms(*max) })
    }
}

impl Row {
    fn failed(step: Step, target: &str, problem: impl std::fmt::Display) -> Row {
        let problem = Some(problem.to_string());
        Row { problem, ..Row::timed(step, target, &[], None, 0) }
    }

    /// `trips`: round trips on the wire that the step cannot do without.
    fn timed(step: Step, target: &str, times: &[Duration], min_rtt: Option<Duration>, trips: u32) -> Row {
        let app_ms = Spread::of(times);
        let network_ms = min_rtt.filter(|_| app_ms.is_some()).map(|rtt| ms(rtt * trips));
        Row {
            step,
            target: target.to_owned(),
            samples: times.len(),
            app_ms,
            network_ms,
            rest_ms: app_ms.zip(network_ms).map(|(app, network)| ((app.p50 - network).max(0.0) * 1e3).round() / 1e3),
            retransmits: None,
            problem: None,
        }
    }
}

/// Everything that was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub rows: Vec<Row>,
    /// The process that was to be watched, if one was.
    pub process: Option<Looks>,
    /// What stands in the way of seeing more, or is worth knowing.
    pub notes: Vec<String>,
    pub verdict: Verdict,
}

/// Looks once, within half a minute. `progress` is told each step before it begins. `watched` is looked at all the while.
pub async fn run(config: &CheckConfig, watched: Option<Watched>, progress: &mut dyn FnMut(&str)) -> Check {
    let watching = watched.map(process::Watching::start);
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    environment(&mut notes);
    let begun = Instant::now();
    let mut known: Vec<SocketAddr> = Vec::new();
    progress("asking the resolvers");
    let mut hosts = vec![config.api.host.clone()];
    hosts.extend(Some(config.gateway.host.clone()).filter(|host| *host != config.api.host));
    rows.extend(dns::ask(&hosts, &mut notes).await);
    progress("connecting to REST");
    let before = rows.len();
    let rest = tokio::time::timeout(PART, http::rest(config, &mut rows, &mut known, &mut notes)).await;
    if rest.is_err() {
        cut_off(&mut rows, before, Step::Rest, &config.api);
    }
    progress("connecting to the gateway");
    let before = rows.len();
    let gateway = tokio::time::timeout(PART, socket::gateway(config, &mut rows, &mut known)).await;
    if gateway.is_err() {
        cut_off(&mut rows, before, Step::GatewayHeartbeat, &config.gateway);
    }
    let (rest, gateway) = (rest.ok().flatten(), gateway.ok().flatten());
    if config.channel.is_some() || config.voice.is_some() {
        bot::ask(config, (rest, gateway), begun + WHOLE, (&mut rows, &mut notes), progress).await;
    } else if let Some(gateway) = gateway {
        gateway.close().await;
    }
    let process = match watching {
        None => None,
        Some(watching) => {
            progress("watching the process");
            let left = process::LEAST.saturating_sub(begun.elapsed());
            tokio::time::sleep(left).await;
            Some(watching.end(&known).await)
        }
    };
    let verdict = judge::judge(&rows, process.as_ref());
    Check { rows, process, notes, verdict }
}

/// What took too long is a row like any other, so that nobody takes its absence for health.
fn cut_off(rows: &mut Vec<Row>, before: usize, step: Step, endpoint: &Endpoint) {
    let step = if rows.len() == before { Step::Tcp } else { step };
    rows.push(Row::failed(step, &endpoint.authority(), format!("not at its end after {} s", PART.as_secs())));
}

fn environment(notes: &mut Vec<String>) {
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    if let Some(name) = proxies.iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        notes.push(format!("{name} is set: a bot whose library heeds it goes another way; this check goes straight"));
    }
}
