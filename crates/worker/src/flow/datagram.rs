//! The threads of an rtp, udp, clock or dns flow: one sends on time, one reads answers and transmit stamps. One socket,
//! hence one 5-tuple, for the whole session, because stateful boxes classify a flow by its first packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::{Family, Kind, SampleFlags, SentHalf, Tos};
use net::udp::{ReceiveBatch, UdpOptions, UdpProbeSocket};
use net::{Clock, NetError};

use super::link::{Incoming, Link};
use super::plan::Plan;
use super::stop::Flag;

/// The longest probe and some room to tell that a packet was longer.
const PACKET: usize = 1536;
const BATCH: usize = 16;
const TICK: Duration = Duration::from_millis(250);
/// Bounds the wake-ups of a fast flow to some hundred a second.
const GATHER: Duration = Duration::from_millis(2);
/// Stamps share the receive buffer with the answers; the answers to a burst of probes must fit as well.
const RECEIVE_BUFFER: usize = 1 << 20;
const DISCOVERY_TRIES: u32 = 5;
const DISCOVERY_WAIT: Duration = Duration::from_millis(300);
/// The host stood still, rather than a thread being late.
const STALL_NS: u64 = 1_000_000_000;

pub(crate) fn open(link: &Link) -> Result<UdpProbeSocket, NetError> {
    let any: IpAddr = match link.family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let options = UdpOptions { receive_buffer: RECEIVE_BUFFER, ..UdpOptions::default() };
    let socket = UdpProbeSocket::bind(SocketAddr::new(any, 0), &options)?;
    socket.connect(link.peer)?;
    Ok(socket)
}

/// Sends until the plan ends or `stop`.
pub(crate) fn send(link: &Link, socket: &UdpProbeSocket, mut plan: Plan, discovered: &Flag, stop: &Flag) {
    // Without it probes are some 50 us later, no more.
    let _ = net::pacing::set_timer_slack(1_000);
    if link.kind == Kind::Rtp && !discover(link, socket, discovered, stop) {
        return;
    }
    let mut packet = Vec::with_capacity(PACKET);
    while let Some(due) = plan.next() {
        if !stop.sleep_until(due.at_ns) {
            return;
        }
        let now_ns = Clock::monotonic_ns();
        let late_ns = now_ns.saturating_sub(due.at_ns);
        if late_ns > STALL_NS {
            plan.postpone(late_ns);
        }
        let user_time = link.clock.now();
        let header = link.header(due.sequence, due.tos, user_time);
        if let Err(error) = link.build(&mut packet, &header) {
            link.log.note(format!("{}: cannot build probes: {error}", link.kind));
            return;
        }
        let half = SentHalf {
            sequence: due.sequence,
            sent_at: user_time,
            tos: header.tos,
            size: link.layer3(packet.len()),
            flags: SampleFlags::default(),
        };
        // Before the send: the stamp may be read by the other thread before send returns.
        link.log.sending(now_ns, half);
        if let Err(error) = socket.send_to(&packet, None, header.tos, None) {
            link.log.retract(due.sequence);
            link.log.note(format!("{} over {}: not sent: {error}", link.kind, link.family));
        }
    }
    link.log.note(format!("{} over {}: the session's sequence numbers are used up", link.kind, link.family));
}

/// Opens the flow as Discord's clients do. False: told to stop.
fn discover(link: &Link, socket: &UdpProbeSocket, discovered: &Flag, stop: &Flag) -> bool {
    let request = wire::discovery::build_discovery_request(link.session);
    for _ in 0..DISCOVERY_TRIES {
        if let Err(error) = socket.send_to(&request, None, Tos::default(), None) {
            link.log.note(format!("rtp over {}: IP discovery was not sent: {error}", link.family));
        }
        if discovered.wait(DISCOVERY_WAIT) {
            return !stop.is_set();
        }
        if stop.is_set() {
            return false;
        }
    }
    link.log.note(format!("rtp over {}: IP discovery was not answered", link.family));
    true
}

/// Reads until `stop`.
pub(crate) fn receive(link: &Arc<Link>, socket: &UdpProbeSocket, discovered: &Flag, stop: &Flag) {
    let mut batch = ReceiveBatch::new(BATCH, PACKET);
    let mut watch = Watch::default();
    while !stop.is_set() {
        let ready = match socket.wait(Some(TICK)) {
            Ok(ready) => ready,
            Err(error) => {
                link.log.note(format!("{} over {}: {error}", link.kind, link.family));
                stop.wait(TICK);
                continue;
            }
        };
        watch.look(link, socket);
        if ready.readable || ready.error_queue {
            // The kernel notes the times, so nothing is lost by letting some packets and stamps gather.
            stop.wait(GATHER);
            answers(link, socket, &mut batch, discovered);
            stamps(link, socket, &mut |_, _| {});
        }
    }
}

/// Takes the answers that are there. Reading also takes a pending ICMP error off the socket.
pub(super) fn answers(link: &Link, socket: &UdpProbeSocket, batch: &mut ReceiveBatch, discovered: &Flag) {
    loop {
        let count = match socket.receive(batch, Some(Duration::ZERO)) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) => return link.log.note(format!("{} over {}: {error}", link.kind, link.family)),
        };
        for packet in batch.packets() {
            let incoming = if packet.truncated { Incoming::Foreign } else { link.open(packet.payload) };
            match incoming {
                Incoming::Answer(sequence) => {
                    let half = link.received(sequence, packet.stamp, packet.tos, packet.ttl);
                    // A resolver on the way could answer dns sooner.
                    if link.kind != Kind::Dns
                        && let Some(sent_at) = link.log.sent_at(sequence)
                    {
                        link.nearest.answered(half.received_at.since(sent_at));
                    }
                    if !link.log.received(&half) {
                        link.log.foreign();
                    }
                }
                Incoming::Discovery => discovered.set(),
                Incoming::OtherResolver(id) => match link.log.unanswered(|sequence| link.dns_id(sequence) == id) {
                    Some(sequence) => link.log.intercepted(sequence),
                    None => link.log.foreign(),
                },
                Incoming::Foreign => link.log.foreign(),
            }
        }
        if count < BATCH {
            return;
        }
    }
}

/// Takes the transmit stamps that are there. `waited` hears of each probe how many nanoseconds it was in this host.
pub(super) fn stamps(link: &Link, socket: &UdpProbeSocket, waited: &mut dyn FnMut(u32, i64)) {
    let read = socket.transmit_stamps(&mut |stamp| {
        let Ok((packet, udp)) = wire::frame::udp_in_frame(stamp.frame) else { return };
        if let Some(sequence) = link.identify(udp.payload)
            && let Some(ns) = link.log.stamped(sequence, link.clock.stamp(stamp.stamp), Some(packet.tos))
        {
            waited(sequence, ns);
        }
    });
    if let Err(error) = read {
        link.log.note(format!("{} over {}: {error}", link.kind, link.family));
    }
}

/// What the kernel counts and no packet shows.
#[derive(Default)]
struct Watch {
    looked_ns: u64,
    dropped: u32,
    refused: bool,
}

impl Watch {
    fn look(&mut self, link: &Link, socket: &UdpProbeSocket) {
        let now_ns = Clock::monotonic_ns();
        if now_ns.saturating_sub(self.looked_ns) < 1_000_000_000 {
            return;
        }
        self.looked_ns = now_ns;
        if !self.refused && socket.refusals() > 0 {
            self.refused = true;
            link.log.note(format!(
                "{} over {}: an ICMP error says that {} does not take the packets",
                link.kind, link.family, link.peer
            ));
        }
        let dropped = socket.dropped().unwrap_or(self.dropped);
        if self.dropped == 0 && dropped > 0 {
            link.log.note(format!(
                "{} over {}: this host dropped answers for want of buffer; they look like loss",
                link.kind, link.family
            ));
        }
        self.dropped = dropped;
    }
}
