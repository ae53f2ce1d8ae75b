//! Passive reading of the probes on one interface (`--interface`): the mark, hop count and stamp of the very packet, also
//! where no socket shows them (the data packets of TCP over IPv4). Authenticates like the sockets do and never answers.

use std::time::Duration;

use model::{ReceivedHalf, SampleFlags};
use net::capture::{Capture, CaptureOptions};
use net::filter::{Filter, Side};
use wire::frame::IpPacket;

use crate::ServerError;
use crate::counters;
use crate::dns::DnsPort;
use crate::observe::{Observation, Observer};
use crate::tcp::{authenticate, token_of};
use crate::udp::{Opened, PACKET, Protocol, Shared, TICK, VoicePort};

/// A block is handed over when it is full or this old.
const RETIRE: Duration = Duration::from_millis(20);

/// Opens the ring; needs CAP_NET_RAW.
pub(crate) fn open(interface: &str, probe_port: u16) -> Result<Capture, ServerError> {
    let ports = probe_port..=probe_port.saturating_add(1);
    let filter = Filter { udp: true, tcp: true, side: Side::Incoming, ..Filter::ports([ports]) };
    let options =
        CaptureOptions { filter, snaplen: PACKET as u32, block_size: 1 << 18, block_count: 16, retire: RETIRE };
    Ok(Capture::open(interface, &options)?)
}

/// Reads until `shared.stop`.
pub(crate) fn run(mut capture: Capture, probe_port: u16, shared: &Shared, mut observer: Observer) {
    let mut reader = Reader { voice: VoicePort::new(), dns: DnsPort, probe_port, shared };
    let mut dropped = 0;
    while !shared.stopping() {
        match capture.next_block(Some(TICK)) {
            Ok(Some(block)) => {
                for frame in block.frames().filter(|frame| !frame.outgoing) {
                    let seen = reader.frame(frame.packet, shared.clock.stamp(frame.stamp));
                    seen.into_iter().for_each(|observation| observer.push(observation));
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the capture ended; the sockets go on");
                break;
            }
        }
        if let Ok(statistics) = capture.statistics() {
            counters::add(&shared.counters.capture_dropped, statistics.dropped - dropped);
            dropped = statistics.dropped;
        }
        observer.flush(net::Clock::monotonic_ns());
    }
    observer.flush(u64::MAX);
}

struct Reader<'a> {
    voice: VoicePort,
    dns: DnsPort,
    probe_port: u16,
    shared: &'a Shared,
}

impl Reader<'_> {
    fn frame(&mut self, packet: &[u8], stamp: model::UnixNanos) -> Option<Observation> {
        let packet = IpPacket::parse(packet).ok()?;
        let (session, sequence) = match packet.udp() {
            Ok(udp) => {
                let mut payload = [0u8; PACKET];
                let payload = payload.get_mut(..udp.payload.len())?;
                payload.copy_from_slice(udp.payload);
                let opened: Option<Opened> = if udp.destination_port == self.probe_port {
                    self.voice.open(payload, self.shared).ok()
                } else {
                    self.dns.open(payload, self.shared).ok()
                };
                let opened = opened?;
                (opened.session, opened.header.sequence)
            }
            Err(_) => {
                let tcp = packet.tcp().ok()?;
                let (kind, token) = token_of(tcp.payload)??;
                let (session, header) = authenticate(kind, &token, self.shared)?;
                (session, header.sequence)
            }
        };
        if !session.direction.up() || session.transfers.is_some() {
            return None;
        }
        let half = ReceivedHalf {
            sequence,
            received_at: stamp,
            tos: Some(packet.tos),
            ttl: Some(packet.ttl),
            flags: SampleFlags::CAPTURED,
        };
        Some(Observation::Received(session.id, half))
    }
}
