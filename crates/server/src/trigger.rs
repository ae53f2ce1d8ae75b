//! Trigger ports: further ports that take probes of every kind, so that a network that goes by port numbers shows itself.

use std::net::{IpAddr, SocketAddr};

use net::tcp::TcpProbeListener;
use net::{UdpOptions, UdpProbeSocket};
use wire::{Peeked, ProbeHeader, WireError};

use crate::dns::DnsPort;
use crate::udp::{Courtesy, Dropped, Form, Opened, Protocol, Shared, VoicePort};

/// Most ports are idle; each costs a thread for UDP and one for TCP.
pub(crate) const MAX_PORTS: usize = 64;

/// One port of one address family.
pub(crate) struct Trigger {
    pub udp: UdpProbeSocket,
    pub tcp: TcpProbeListener,
}

/// Opens what can be opened of `ports`. Ports that can only be had in part (UDP and TCP, every address) are not used at all: a
/// comparison of ports must not fail for a reason of this host's. Returns the ports that are open and a line for each that is not.
pub(crate) fn open(addresses: &[IpAddr], ports: &[u16], options: &UdpOptions) -> (Vec<Trigger>, Vec<u16>, Vec<String>) {
    let (mut triggers, mut opened, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for port in ports {
        if opened.contains(port) {
            continue;
        }
        if opened.len() == MAX_PORTS {
            problems.push(format!("trigger port {port} and what follows is left out: {MAX_PORTS} are the most"));
            break;
        }
        let bind = |address: &IpAddr| {
            let address = SocketAddr::new(*address, *port);
            Ok(Trigger { udp: UdpProbeSocket::bind(address, options)?, tcp: TcpProbeListener::bind(address)? })
        };
        match addresses.iter().map(bind).collect::<Result<Vec<Trigger>, net::NetError>>() {
            Ok(bound) => {
                triggers.extend(bound);
                opened.push(*port);
            }
            Err(error) => problems.push(format!("trigger port {port} is not open: {error}")),
        }
    }
    (triggers, opened, problems)
}

/// Takes DNS queries as well as rtp, udp and clock probes: the dns port, where queries are compared with random bytes, and every
/// trigger port.
pub(crate) struct AnyPort {
    voice: VoicePort,
    dns: DnsPort,
}

impl AnyPort {
    pub(crate) fn new() -> AnyPort {
        AnyPort { voice: VoicePort::new(), dns: DnsPort }
    }
}

impl Protocol for AnyPort {
    fn open(&mut self, packet: &mut [u8], shared: &Shared) -> Result<Opened, Dropped> {
        // A query is found by its form and leaves the packet as it is; random bytes hardly ever parse as one.
        match self.dns.open(packet, shared) {
            Err(Dropped::Truncated) => self.voice.open(packet, shared),
            query => query,
        }
    }

    fn answer(
        &mut self,
        opened: &Opened,
        header: &ProbeHeader,
        out: &mut Vec<u8>,
        shared: &Shared,
    ) -> Result<(), WireError> {
        match opened.form {
            Form::Dns(_) => self.dns.answer(opened, header, out, shared),
            _ => self.voice.answer(opened, header, out, shared),
        }
    }

    fn identify(&self, payload: &[u8], shared: &Shared) -> Option<Peeked> {
        let known = |peeked: &Peeked| shared.sessions.get(peeked.session).is_some();
        self.dns.identify(payload, shared).filter(known).or_else(|| self.voice.identify(payload, shared))
    }

    fn courtesy(&mut self, packet: &[u8], from: SocketAddr, shared: &Shared) -> Courtesy {
        self.voice.courtesy(packet, from, shared)
    }
}
