//! Discord's media (voice) hosts as this host knows them: which names its programs look up, seen passively in the DNS of
//! `--interface`, and how far those and configured ones are, pinged every so often. What a media host's name looks like
//! is handed in.

mod ping;
mod stream;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::Measurement;
use model::control::WatchCounts;
use net::Clock;
use net::capture::{Capture, CaptureOptions};
use net::filter::{Filter, Side};
use tokio::sync::{Notify, mpsc};

use crate::error::WorkerError;
use crate::station::Station;

pub(crate) use ping::Echoes;
use watch::Found;

/// Media hosts answer there; a name seen in DNS says nothing of the port, which the connections that follow do.
const PORT: u16 = 443;
const TICK: Duration = Duration::from_millis(200);
const RETIRE: Duration = Duration::from_millis(10);
const STACK: usize = 256 * 1024;
/// How often what could not be read is told.
const LOOK: Duration = Duration::from_secs(1);
/// Between two rounds of pings at least.
const PAUSE: Duration = Duration::from_secs(1);
/// Sightings between two looks of the worker.
const MOST_SIGHTINGS: usize = 256;
/// Hosts seen in DNS that are pinged: the newest.
const MOST_HOSTS: usize = 4;
/// A host that nobody asked for in so long is not pinged any more.
const FORGET: Duration = Duration::from_secs(24 * 3600);
/// A port of this process counts as its own for so long after its query or connect.
const OWN: Duration = Duration::from_secs(10);
/// A connection that was seen may be this process's own: that is known by then.
const OPENED: Duration = Duration::from_secs(1);
const MOST_OPENED: usize = 64;

/// `HOST[:PORT]` of a media host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaHost {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for MediaHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for MediaHost {
    type Err = String;
    fn from_str(text: &str) -> Result<MediaHost, String> {
        let bad = || format!("{text:?} is no HOST, HOST:PORT or [IPV6]:PORT");
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(MediaHost { host: address.to_string(), port: PORT });
        }
        if let Ok(address) = text.parse::<std::net::SocketAddr>() {
            return Ok(MediaHost { host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?),
            None => (text, PORT),
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        match host.len() <= 100 && host.split('.').all(label) {
            true => Ok(MediaHost { host, port }),
            false => Err(bad()),
        }
    }
}

/// What a worker is told of media hosts.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Whether a name (lower case, no dot at its end) is a media host's.
    pub is_media_host: fn(&str) -> bool,
    /// Pinged besides those that are seen.
    pub hosts: Vec<MediaHost>,
    pub every: Duration,
}

/// How often media hosts are pinged unless told otherwise.
pub const MEDIA_EVERY: Duration = Duration::from_secs(60);

/// Ports from which this process itself asks resolvers and connects: what goes from there is no program's that wants voice.
#[derive(Debug, Default)]
pub(crate) struct OwnPorts(Mutex<VecDeque<(u16, Instant)>>);

impl OwnPorts {
    fn add(&self, port: u16) {
        let mut ports = lock(&self.0);
        while ports.front().is_some_and(|(_, at)| at.elapsed() > OWN) {
            ports.pop_front();
        }
        ports.push_back((port, Instant::now()));
    }

    fn contains(&self, port: u16) -> bool {
        lock(&self.0).iter().any(|(own, at)| *own == port && at.elapsed() <= OWN)
    }
}

/// Opens the capture of the watch; needs CAP_NET_RAW.
pub(crate) fn open(interface: &str) -> Result<Capture, WorkerError> {
    // On loopback every packet is seen going out and coming in; what arrives is what tcpdump shows there.
    let is_loopback = net::interface::list()?.iter().any(|known| known.name == interface && known.loopback);
    let side = if is_loopback { Side::Incoming } else { Side::Both };
    // Segmentation is left to the device, so that a packet may be 64 kB; a block holds some of them.
    let options = CaptureOptions {
        filter: Filter { side, accepts: true, ..Filter::ports([watch::DNS_PORT..=watch::DNS_PORT]) },
        snaplen: 65_535,
        block_size: 1 << 18,
        block_count: 4,
        retire: RETIRE,
    };
    Ok(Capture::open(interface, &options)?)
}

#[derive(Default)]
struct Shared {
    own: OwnPorts,
    counts: Mutex<WatchCounts>,
    missed: AtomicU64,
    stop: AtomicBool,
}

/// Ends the thread with the worker.
struct Watching(Arc<Shared>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

fn start(
    mut capture: Capture,
    config: &MediaConfig,
    clock: Clock,
    shared: Arc<Shared>,
    sightings: mpsc::Sender<Found>,
) -> Result<(), WorkerError> {
    tracing::info!(
        "watching the DNS of {} for media hosts; what is asked for over TLS or HTTPS (DoT, DoH) cannot be seen",
        capture.interface()
    );
    let mut table = watch::Table::new(config.is_media_host, clock);
    let body = move || {
        let mut dropped = 0;
        while !shared.stop.load(Ordering::Relaxed) {
            let mut found = |seen: Found| {
                if sightings.try_send(seen).is_err() {
                    shared.missed.fetch_add(1, Ordering::Relaxed);
                }
            };
            match capture.next_block(Some(TICK)) {
                Ok(Some(block)) => block.frames().for_each(|frame| {
                    table.look(frame.packet, frame.stamp, &|port| shared.own.contains(port), &mut found);
                }),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("the watch of DNS ended: {error}");
                    return;
                }
            }
            table.expire(Clock::identity().now(), &mut found);
            if let Ok(statistics) = capture.statistics() {
                table.counts.missed += statistics.dropped - dropped;
                dropped = statistics.dropped;
            }
            let counted = std::mem::take(&mut table.counts);
            lock(&shared.counts).add(&counted);
        }
    };
    std::thread::Builder::new()
        .name("dns-watch".to_owned())
        .stack_size(STACK)
        .spawn(body)
        .map_err(|error| WorkerError::Start(format!("the thread of the DNS watch: {error}")))?;
    Ok(())
}

struct Known {
    addresses: Vec<IpAddr>,
    /// Where a program connected to.
    port: Option<u16>,
    at: Instant,
}

/// Why a host is pinged, and at which port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Told,
    /// Its port is taken for the usual one.
    Seen,
    SeenWithPort,
}

#[derive(Debug)]
struct Target {
    host: MediaHost,
    /// Addresses that were seen in answers to others.
    seen: Vec<IpAddr>,
    origin: Origin,
}

/// The newest, by name.
#[derive(Default)]
struct Seen(HashMap<String, Known>);

impl Seen {
    /// True if it was not known before.
    fn learn(&mut self, sighting: &Measurement) -> bool {
        // A name that does not exist is nowhere.
        if sighting.flags.iter().any(|flag| flag == "nxdomain") || sighting.target.is_empty() {
            return false;
        }
        let is_new = !self.0.contains_key(&sighting.target);
        let known = self.0.entry(sighting.target.clone()).or_insert_with(|| {
            tracing::info!(host = %sighting.target, "a program of this host looked up a media host");
            Known { addresses: Vec::new(), port: None, at: Instant::now() }
        });
        known.at = Instant::now();
        for address in &sighting.addresses {
            if known.addresses.len() < model::record::MOST_ADDRESSES && !known.addresses.contains(address) {
                known.addresses.push(*address);
            }
        }
        self.0.retain(|_, known| known.at.elapsed() < FORGET);
        while self.0.len() > MOST_HOSTS {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.at).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.0.remove(&name));
        }
        is_new
    }

    /// A program connected there. True if that is news.
    fn open(&mut self, peer: SocketAddr) -> bool {
        let mut is_new = false;
        for known in self.0.values_mut().filter(|known| known.addresses.contains(&peer.ip().to_canonical())) {
            is_new |= known.port.replace(peer.port()) != Some(peer.port());
        }
        is_new
    }

    fn targets(&self, configured: &[MediaHost]) -> Vec<Target> {
        let told = configured.iter().map(|host| Target { host: host.clone(), seen: Vec::new(), origin: Origin::Told });
        let names = self.0.iter().filter(|(name, _)| configured.iter().all(|host| host.host != **name));
        let found = names.map(|(name, known)| Target {
            host: MediaHost { host: name.clone(), port: known.port.unwrap_or(PORT) },
            seen: known.addresses.clone(),
            origin: if known.port.is_some() { Origin::SeenWithPort } else { Origin::Seen },
        });
        told.chain(found).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches and pings; does not end. What is found goes to the station, which uploads it with the samples.
pub(crate) async fn run_forever(
    station: &Station,
    capture: Option<Capture>,
    echoes: Option<Echoes>,
    config: Option<&MediaConfig>,
) -> WorkerError {
    let (Some(config), Some(echoes)) = (config, echoes.map(Arc::new)) else { return std::future::pending().await };
    let shared = Arc::new(Shared::default());
    let _watching = Watching(shared.clone());
    let (sender, mut sightings) = mpsc::channel(MOST_SIGHTINGS);
    let watched = capture.map(|capture| start(capture, config, station.clock.clone(), shared.clone(), sender.clone()));
    if let Some(Err(error)) = watched {
        return error;
    }
    let seen = Mutex::new(Seen::default());
    let news = Notify::new();
    let take = async {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut opened: VecDeque<(SocketAddr, u16, Instant)> = VecDeque::new();
        loop {
            tokio::select! {
                Some(found) = sightings.recv() => match found {
                    Found::Lookup(sighting) => {
                        if lock(&seen).learn(&sighting) {
                            news.notify_one();
                        }
                        station.keep(*sighting);
                    }
                    Found::Opened { peer, client_port } => {
                        opened.truncate(MOST_OPENED - 1);
                        opened.push_front((peer, client_port, Instant::now()));
                    }
                },
                _ = looks.tick() => {
                    // The oldest are at the back.
                    while opened.back().is_some_and(|(_, _, at)| at.elapsed() >= OPENED) {
                        let Some((peer, client_port, _)) = opened.pop_back() else { break };
                        if !shared.own.contains(client_port) && lock(&seen).open(peer) {
                            news.notify_one();
                        }
                    }
                    let mut counts = std::mem::take(&mut *lock(&shared.counts));
                    counts.missed += shared.missed.swap(0, Ordering::Relaxed);
                    station.count(&counts);
                }
            }
        }
    };
    let pings = async {
        let mut ticks = tokio::time::interval(config.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sequence = 0_u16;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = news.notified() => {}
            }
            // Not in the loop's head, which would keep it locked until the last ping.
            let targets = lock(&seen).targets(&config.hosts);
            for target in targets {
                sequence = sequence.wrapping_add(1);
                let pinged = ping::ping(&target, sequence, &echoes, &shared.own, &station.clock).await;
                station.keep(pinged);
            }
            // New names, as many as there may be, do not make this host ping without a pause.
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        never = take => never,
        never = pings => never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_people_write_them() {
        for (text, shown) in [
            ("C-ams08-44aff7ca.discord.media", "c-ams08-44aff7ca.discord.media:443"),
            ("newark123.discord.media.:8443", "newark123.discord.media:8443"),
            ("66.22.196.9", "66.22.196.9:443"),
            ("66.22.196.9:50001", "66.22.196.9:50001"),
            ("2001:db8::9", "[2001:db8::9]:443"),
            ("[2001:db8::9]:50001", "[2001:db8::9]:50001"),
        ] {
            assert_eq!(text.parse::<MediaHost>().map(|host| host.to_string()), Ok(shown.to_owned()));
        }
        for bad in ["", ":443", "a:0", "a:65536", "a b", "a..b", "a/b", "host:443:1", &"a".repeat(64)] {
            assert!(bad.parse::<MediaHost>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_newest_hosts_are_kept() {
        let mut seen = Seen::default();
        for number in 0..100 {
            let mut sighting = Measurement::new(model::Metric::MediaDns, Clock::identity().now());
            sighting.target = format!("newark{number}.discord.media");
            assert!(seen.learn(&sighting) && !seen.learn(&sighting));
        }
        assert_eq!(seen.0.len(), MOST_HOSTS);
        let told: MediaHost = "newark99.discord.media:8443".parse().unwrap();
        let targets = seen.targets(std::slice::from_ref(&told));
        assert_eq!(targets.len(), MOST_HOSTS, "what was seen and configured is pinged once, as configured");
        assert_eq!((&targets[0].host, targets[0].origin), (&told, Origin::Told));
        assert!(seen.0.contains_key("newark99.discord.media"));
    }

    #[test]
    fn the_port_of_a_seen_host_is_that_of_the_last_connection_to_one_of_its_addresses() {
        let mut seen = Seen::default();
        let mut sighting = Measurement::new(model::Metric::MediaDns, Clock::identity().now());
        sighting.target = "newark1.discord.media".to_owned();
        sighting.addresses = vec![[66, 22, 196, 9].into()];
        seen.learn(&sighting);
        let port = |seen: &Seen| seen.targets(&[]).pop().map(|target| (target.host.port, target.origin));
        assert_eq!(port(&seen), Some((443, Origin::Seen)));
        assert!(!seen.open(([66, 22, 196, 10], 2053).into()), "somebody else's address");
        assert!(seen.open(([66, 22, 196, 9], 443).into()) && !seen.open(([66, 22, 196, 9], 443).into()));
        assert_eq!(port(&seen), Some((443, Origin::SeenWithPort)));
        assert!(seen.open(([66, 22, 196, 9], 8443).into()));
        assert_eq!(port(&seen), Some((8443, Origin::SeenWithPort)));
    }
}
