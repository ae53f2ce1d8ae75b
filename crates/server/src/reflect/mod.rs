//! A STAMP Session-Reflector (RFC 8762, RFC 8972) for any sender, ours or a router's: `netlat reflect`.
//!
//! One thread per socket. It answers what it can authenticate, never with more bytes than came in, at most so often per
//! source, and never to a port that would answer an answer. It keeps nothing on disk and knows nothing of NetLat's sessions.

mod counters;
mod serve;
mod session;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use net::{NetError, UdpOptions, UdpProbeSocket};
use wire::stamp::{STAMP_PORT, Security, StampKey};

pub use counters::{ReflectCounters, ReflectCounts};

/// Kernel buffer of one socket.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Other ports than STAMP's are tried this often for one that is free in both families, when any will do.
const PORT_ATTEMPTS: usize = 16;

#[derive(Clone, Debug)]
pub struct ReflectConfig {
    /// `[::]` means both families, each with a socket of its own (the mark of an IPv4 packet cannot be set or read on an
    /// IPv6 socket). Port 0: any that is free.
    pub listen: SocketAddr,
    /// Given: authenticated mode, packets without a right HMAC are dropped.
    pub key: Option<StampKey>,
    /// Counts replies per session, so that a sender can tell where packets are lost and when replies left.
    pub stateful: bool,
    /// Sessions remembered at once; those that find no place are answered as if stateless.
    pub most_sessions: usize,
    /// Bit n: a reply may be sent with DSCP n.
    pub allowed_dscp: u64,
    /// Whether a reply may be sent with the ECN that a sender asks for.
    pub sets_ecn: bool,
    /// How far this host's clock is off UTC at most, if it is synchronised (chrony, ntpd, PTP) and the operator says so.
    /// `None`: replies say that nothing is known. Never read from the kernel, which is wrong under systemd-timesyncd.
    pub clock_error: Option<Duration>,
    /// Replies per second and source (an IPv4 address or an IPv6 /64), and how many of them at once.
    pub rate_per_source: f64,
    pub burst_per_source: f64,
    pub clock: net::Clock,
}

impl ReflectConfig {
    /// Port 862 of both families, open, stateless.
    pub fn new(clock: net::Clock) -> ReflectConfig {
        ReflectConfig {
            listen: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), STAMP_PORT),
            key: None,
            stateful: false,
            most_sessions: 4096,
            allowed_dscp: u64::MAX,
            sets_ecn: true,
            clock_error: None,
            rate_per_source: 10_000.0,
            burst_per_source: 2_000.0,
            clock,
        }
    }
}

/// A reflector whose sockets are open and whose threads are not started yet.
pub struct Reflector {
    config: ReflectConfig,
    sockets: Vec<UdpProbeSocket>,
    addresses: Vec<SocketAddr>,
    counters: Arc<ReflectCounters>,
    untested: Vec<String>,
}

impl Reflector {
    /// Opens the sockets. Of `[::]`, one family is enough; the other is then named by [`Reflector::untested`].
    pub fn bind(config: ReflectConfig) -> Result<Reflector, NetError> {
        let (sockets, untested) = if config.listen.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            bind_both(config.listen.port())?
        } else {
            (vec![bind_one(config.listen)?], Vec::new())
        };
        let addresses = sockets.iter().map(UdpProbeSocket::local_addr).collect::<Result<_, _>>()?;
        Ok(Reflector { config, sockets, addresses, counters: Arc::default(), untested })
    }

    /// One per family that is served.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What was asked for and could not be opened, a line each.
    pub fn untested(&self) -> &[String] {
        &self.untested
    }

    /// Readable while it runs and after.
    pub fn counters(&self) -> Arc<ReflectCounters> {
        self.counters.clone()
    }

    /// Serves until `stop`; returns within a tenth of a second of it.
    pub fn run(&self, stop: &AtomicBool) {
        let ports: Vec<u16> = self.addresses.iter().map(SocketAddr::port).collect();
        std::thread::scope(|scope| {
            for socket in &self.sockets {
                let mut port = serve::Port::new(&self.config, &self.counters, &ports);
                scope.spawn(move || port.run(socket, stop));
            }
        });
    }
}

impl ReflectConfig {
    fn security(&self) -> Security<'_> {
        self.key.as_ref().map_or(Security::Open, Security::Authenticated)
    }
}

fn bind_one(address: SocketAddr) -> Result<UdpProbeSocket, NetError> {
    let options = UdpOptions {
        timestamps: true,
        // The reply leaves from the address that the request came to.
        pktinfo: true,
        receive_buffer: RECEIVE_BUFFER,
        ..UdpOptions::default()
    };
    UdpProbeSocket::bind(address, &options)
}

fn bind_both(port: u16) -> Result<(Vec<UdpProbeSocket>, Vec<String>), NetError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let v4 = bind_one((Ipv4Addr::UNSPECIFIED, port).into());
        let same = match &v4 {
            Ok(socket) => socket.local_addr()?.port(),
            Err(_) => port,
        };
        match (v4, bind_one((Ipv6Addr::UNSPECIFIED, same).into())) {
            (Ok(v4), Ok(v6)) => return Ok((vec![v4, v6], Vec::new())),
            // Any port was wanted and this one is taken in the other family.
            (Ok(_), Err(_)) if port == 0 && attempt < PORT_ATTEMPTS => {}
            (Ok(one), Err(error)) | (Err(error), Ok(one)) if is_missing_family(&error) => {
                return Ok((vec![one], vec![error.to_string()]));
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        }
    }
}

/// The host has no such family. Anything else, a taken port for instance, is for the operator to mend.
fn is_missing_family(error: &NetError) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == std::io::ErrorKind::AddrNotAvailable
}
