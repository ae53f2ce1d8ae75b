//! How far a voice server is, without being in voice: its name's lookup, ICMP echo, TCP connect. While the bot is in voice these stand
//! beside each heartbeat; afterwards the server that Discord named last is pinged on.

use std::net::IpAddr;
use std::time::Duration;

use model::{Family, Measurement, Metric};
use net::icmp::EchoSocket;
use resolver::Answer;
use tokio::time::Instant;

use crate::recorder::{lock, micros};
use crate::rest::{Endpoint, connection};
use crate::vitals::Vitals;

/// A heartbeat is not held back for longer by what is measured before it.
const ECHO: Duration = Duration::from_secs(1);
const LOOKUP: Duration = Duration::from_secs(2);
/// Where nobody was in voice for so long, the server that was named then means nothing any more.
const FORGET: Duration = Duration::from_secs(24 * 3600);

/// A voice server that Discord named.
#[derive(Clone, Debug)]
pub(crate) struct VoiceHost {
    pub(super) endpoint: Endpoint,
    /// Its name for people, as the heartbeats' records have it.
    pub(super) target: String,
    pub(super) named: Instant,
    /// A heartbeat that was acknowledged, which has the same figures.
    pub(super) beaten: Option<Instant>,
}

/// Which resolver answered, and after how long. `None` of an address.
pub(super) async fn lookup(host: &str) -> Option<(IpAddr, Duration)> {
    addresses(host).await.map(|answer| (answer.resolver, answer.took))
}

async fn addresses(host: &str) -> Option<Answer> {
    if host == "localhost" || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    tokio::time::timeout(LOOKUP, resolver::addresses(host, LOOKUP, &|_| {})).await.ok()?.ok()
}

/// By an unprivileged socket, which a host may forbid; the bot's journal and posts are not slowed by the wait.
pub(super) async fn echo(to: IpAddr, sequence: u16) -> Option<Duration> {
    let family = if to.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let asked = move || EchoSocket::open(family).ok()?.round_trip(to, sequence, ECHO);
    tokio::task::spawn_blocking(asked).await.ok().flatten()
}

/// Pings the last voice server for ever, as often as the pace says, while no heartbeat measures it.
pub(crate) async fn ping_forever(vitals: &Vitals) {
    let mut ticks = tokio::time::interval(vitals.pace.media);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sequence = 0_u16;
    loop {
        ticks.tick().await;
        let known = lock(&vitals.voice_server).clone();
        let is_idle = |host: &VoiceHost| {
            host.named.elapsed() < FORGET && host.beaten.unwrap_or(host.named).elapsed() >= vitals.pace.media
        };
        if let Some(host) = known.filter(is_idle).filter(|_| !vitals.recorder.is_paused()) {
            sequence = sequence.wrapping_add(1);
            let began = Instant::now();
            vitals.recorder.keep(ping(vitals, &host, sequence).await, began);
        }
    }
}

/// What fails is a flag.
async fn ping(vitals: &Vitals, host: &VoiceHost, sequence: u16) -> Measurement {
    let mut measured = Measurement::new(Metric::MediaPing, vitals.clock.now());
    measured.target = host.target.clone();
    let (name, port) = (host.endpoint.host.as_str(), host.endpoint.port);
    let looked = addresses(name).await;
    if let Some(answer) = &looked {
        measured.dns_us = Some(micros(answer.took));
        measured.resolver = Some(answer.resolver.to_canonical());
        measured.addresses = answer.addresses.iter().copied().take(model::record::MOST_ADDRESSES).collect();
    }
    // As the session itself connects, whatever the resolver that was asked by itself said.
    let connected = connection::connect(name, port).await.ok();
    let peer = connected.as_ref().and_then(|(stream, _)| stream.peer_addr().ok()).map(|peer| peer.ip().to_canonical());
    measured.connect_us = connected.map(|(_, took)| micros(took));
    if measured.connect_us.is_none() {
        measured.flag("no-tcp");
    }
    let to = peer.or_else(|| measured.addresses.first().copied()).or_else(|| name.parse().ok());
    match to {
        Some(to) => measured.icmp_us = echo(to, sequence).await.map(micros),
        None => measured.flag("no-address"),
    }
    if to.is_some() && measured.icmp_us.is_none() {
        measured.flag("no-echo");
    }
    measured
}
