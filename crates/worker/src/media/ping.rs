//! How far a media host is: resolver, ICMP echo, TCP connect.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::{Family, Measurement, Metric, Tos};
use net::Clock;
use net::icmp::EchoSocket;
use net::tcp::{TcpOptions, TcpProbe};

use super::{Origin, OwnPorts, Target, watch};

/// As libc waits.
const ANSWER: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);

/// One echo socket for each family that allows it.
pub(crate) struct Echoes(Vec<(Family, EchoSocket)>);

impl Echoes {
    /// Raw sockets take CAP_NET_RAW, so that they are opened before it is given up. What cannot be opened is said.
    pub(crate) fn open() -> Echoes {
        let open = |family| match EchoSocket::open(family) {
            Ok(socket) => Some((family, socket)),
            Err(error) => {
                tracing::warn!("media hosts are not pinged by ICMP over {family}: {error}");
                None
            }
        };
        Echoes(Family::ALL.into_iter().filter_map(open).collect())
    }

    fn of(&self, address: IpAddr) -> Option<&EchoSocket> {
        let family = if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        self.0.iter().find(|(of, _)| *of == family).map(|(_, socket)| socket)
    }
}

/// One measurement; what fails is a flag of it.
pub(super) async fn ping(
    Target { host, seen, origin }: &Target,
    sequence: u16,
    echoes: &std::sync::Arc<Echoes>,
    own: &OwnPorts,
    clock: &Clock,
) -> Measurement {
    let mut measured = Measurement::new(Metric::MediaPing, clock.now());
    // Only where it was told is the port part of the name: of a host that was seen, it may change.
    measured.target = if *origin == Origin::Told { host.to_string() } else { host.host.clone() };
    match origin {
        Origin::Told => measured.flag("configured"),
        Origin::SeenWithPort => measured.flag(&format!("port-{}", host.port)),
        Origin::Seen => {}
    }
    let mut addresses = Vec::new();
    if let Ok(address) = host.host.parse::<IpAddr>() {
        addresses.push(address);
    } else {
        match resolver::addresses(&host.host, ANSWER, &|port| own.add(port)).await {
            Ok(answer) => {
                measured.dns_us = Some(micros(answer.took));
                measured.resolver = Some(answer.resolver.to_canonical());
                watch::flag_code(&mut measured, answer.code);
                addresses = answer.addresses;
            }
            Err((asked, _)) => {
                measured.resolver = Some(asked.to_canonical());
                measured.flag("no-answer");
            }
        }
    }
    if addresses.is_empty() {
        // An application may have been told other things, by another resolver.
        addresses = seen.to_vec();
    }
    measured.addresses = addresses.clone();
    if addresses.is_empty() {
        measured.flag("no-address");
        return measured;
    }
    let port = host.port;
    let connected = tokio::task::spawn_blocking(move || connect(&addresses, port)).await.ok();
    let Some((address, connected)) = connected else { return measured };
    match connected {
        Some(Connected { took, port }) => {
            measured.connect_us = took.map(micros);
            own.add(port);
        }
        None => measured.flag("no-tcp"),
    }
    let echoes = echoes.clone();
    let echoed = tokio::task::spawn_blocking(move || {
        echoes.of(address).map(|socket| socket.round_trip(address, sequence, PATIENCE))
    });
    match echoed.await {
        Ok(Some(Some(took))) => measured.icmp_us = Some(micros(took)),
        Ok(Some(None)) => measured.flag("no-echo"),
        _ => measured.flag("no-icmp"),
    }
    measured
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

struct Connected {
    took: Option<Duration>,
    /// This host's.
    port: u16,
}

/// The first of each family, IPv4 first, until one answers: a host with one family only must not be measured by the other.
fn connect(addresses: &[IpAddr], port: u16) -> (IpAddr, Option<Connected>) {
    let first = |ipv4: bool| addresses.iter().find(|address| address.is_ipv4() == ipv4).copied();
    let mut tried = addresses[0];
    for address in [first(true), first(false)].into_iter().flatten() {
        let probe =
            TcpProbe::connect(SocketAddr::new(address, port), Tos::from_byte(0), PATIENCE, &TcpOptions::default());
        if let Ok(probe) = probe {
            // The kernel's own, where it has one: the call's return waits for this thread's turn.
            let kernel = probe.info().ok().and_then(|info| info.min_rtt).filter(|rtt| !rtt.is_zero());
            let port = probe.local_addr().map_or(0, |local| local.port());
            return (address, Some(Connected { took: kernel.or(probe.connect_time()), port }));
        }
        if has_route(address) {
            tried = address;
        }
    }
    (tried, None)
}

/// Asks the kernel, without sending anything.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    std::net::UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, 9))).is_ok()
}
