//! The receiving half: replies, kernel transmit stamps and ICMP errors, put to the probes they belong to.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use model::{Tos, UnixNanos};
use net::{Clock, QueueEvent, ReceiveBatch, Received, UdpProbeSocket};
use wire::WireError;
use wire::stamp::{ClassOfService, ErrorEstimate, Reflected, Security, StampKey, Timestamp, TlvType, parse_reflector};

use super::send::Event;
use super::{ClassOfServiceTlv, StampConfig, StampCounters, StampProgress};

const TICK: Duration = Duration::from_millis(20);
const PROGRESS_NS: u64 = 200_000_000;

/// One sent probe and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub tos: Tos,
    /// T1 as the packet says it.
    pub timestamp: Timestamp,
    /// T1 as read before the send.
    pub sent_user: UnixNanos,
    pub sent_kernel: Option<UnixNanos>,
    /// The mark in the frame as it left.
    pub left_with: Option<Tos>,
    /// UDP payload.
    pub payload: u16,
    pub failed: bool,
    pub duplicated_up: bool,
    pub duplicated_down: bool,
    pub reply: Option<Reply>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    /// The reflector's sequence.
    pub sequence: u32,
    pub t2: UnixNanos,
    pub t3: UnixNanos,
    pub t4: UnixNanos,
    /// T4 is the kernel's.
    pub t4_kernel: bool,
    /// How many replies had come before.
    pub order: u32,
    pub tos: Option<Tos>,
    pub ttl: Option<u8>,
    /// What the request arrived with; 0: not told.
    pub sender_ttl: u8,
    pub class_of_service: Option<ClassOfService>,
    /// The reflector's count of packets received, this request included.
    pub received_count: Option<u32>,
    pub synchronized: bool,
}

/// The reflector's sequence and when that reply really left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeftAt {
    pub sequence: u32,
    pub at: UnixNanos,
}

pub(super) struct Collector {
    clock: Clock,
    key: Option<StampKey>,
    ssid: u16,
    asks_class_of_service: bool,
    linger_ns: u64,
    planned: u64,
    target_port: u16,
    pub probes: Vec<Probe>,
    pub left_at: Vec<LeftAt>,
    pub counters: StampCounters,
    /// Read from the error queue and not yet put to their probes.
    stamps: Vec<Left>,
}

/// The kernel's word on a probe as it left.
struct Left {
    sequence: u32,
    at: UnixNanos,
    tos: Tos,
}

impl Collector {
    pub(super) fn new(config: &StampConfig, ssid: u16) -> Collector {
        Collector {
            clock: config.clock.clone(),
            key: config.key.clone(),
            ssid,
            asks_class_of_service: config.class_of_service != ClassOfServiceTlv::Off,
            linger_ns: u64::try_from(config.linger.as_nanos()).unwrap_or(u64::MAX),
            planned: config.probes(),
            target_port: config.target.port(),
            probes: Vec::new(),
            left_at: Vec::new(),
            counters: StampCounters::default(),
            stamps: Vec::new(),
        }
    }

    /// Until everything is sent and answered, or the last probe has been waited for long enough.
    pub(super) fn run(
        &mut self,
        socket: &UdpProbeSocket,
        events: &Receiver<Event>,
        progress: &mut dyn FnMut(StampProgress),
    ) {
        let mut batch = ReceiveBatch::new(64, 2048);
        let mut ended_ns = None;
        let mut shown_ns = 0;
        loop {
            let received = socket.receive(&mut batch, Some(TICK));
            self.error_queue(socket);
            // A probe is told of before it is sent: whatever has been answered or stamped is known after this.
            self.take_events(events, &mut ended_ns);
            self.put_stamps();
            match received {
                Ok(0) => {}
                Ok(_) => batch.packets().for_each(|packet| self.packet(&packet)),
                Err(error) => {
                    tracing::warn!(%error, "cannot receive replies");
                    std::thread::sleep(TICK);
                }
            }

            let now_ns = Clock::monotonic_ns();
            let outstanding = self.counters.sent - self.counters.answered;
            let over = ended_ns.is_some_and(|ended| outstanding == 0 || now_ns - ended >= self.linger_ns);
            if over || now_ns - shown_ns >= PROGRESS_NS {
                shown_ns = now_ns;
                let StampCounters { sent, answered, .. } = self.counters;
                progress(StampProgress { sent, answered, planned: self.planned });
            }
            if over {
                // The last stamps may come after the last reply.
                self.error_queue(socket);
                self.put_stamps();
                return;
            }
        }
    }

    fn take_events(&mut self, events: &Receiver<Event>, ended_ns: &mut Option<u64>) {
        loop {
            match events.try_recv() {
                Ok(Event::Sending { timestamp, at, tos, payload }) => {
                    self.counters.sent += 1;
                    self.probes.push(Probe {
                        tos,
                        timestamp,
                        sent_user: at,
                        sent_kernel: None,
                        left_with: None,
                        payload,
                        failed: false,
                        duplicated_up: false,
                        duplicated_down: false,
                        reply: None,
                    });
                }
                Ok(Event::Failed { sequence }) => {
                    if let Some(probe) = self.probes.get_mut(sequence as usize) {
                        probe.failed = true;
                        self.counters.sent -= 1;
                        self.counters.send_failures += 1;
                    }
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    ended_ns.get_or_insert_with(Clock::monotonic_ns);
                    return;
                }
            }
        }
    }

    pub(super) fn packet(&mut self, packet: &Received<'_>) {
        let arrived = packet.stamp.map(|stamp| self.clock.stamp(stamp));
        // The borrow of the key ends with the call: a clone is a reference count less than an HMAC.
        let key = self.key.clone();
        let security = key.as_ref().map_or(Security::Open, Security::Authenticated);
        let reflected = match parse_reflector(packet.payload, security) {
            Ok(reflected) if !packet.truncated => reflected,
            Err(WireError::Forged) => return self.counters.unauthenticated += 1,
            _ => return self.counters.malformed += 1,
        };
        let base = reflected.packet;
        let sequence = base.sender_sequence as usize;
        let ours = |probe: &&mut Probe| {
            // A reflector that knows no SSID leaves zero there.
            !probe.failed && probe.timestamp == base.sender_timestamp && (base.ssid == self.ssid || base.ssid == 0)
        };
        let Some(probe) = self.probes.get_mut(sequence).filter(ours) else {
            return self.counters.foreign += 1;
        };
        let format = base.error.format;
        let (Some(t2), Some(t3)) = (base.received.to_unix_ns(format), base.timestamp.to_unix_ns(format)) else {
            return self.counters.malformed += 1;
        };
        let reply = Reply {
            sequence: base.sequence,
            t2: UnixNanos(t2),
            t3: UnixNanos(t3),
            t4: arrived.unwrap_or_else(|| self.clock.now()),
            t4_kernel: arrived.is_some(),
            order: self.counters.answered as u32,
            tos: packet.tos,
            ttl: packet.ttl,
            sender_ttl: base.sender_ttl,
            class_of_service: reflected.class_of_service(),
            received_count: received_count(&reflected),
            synchronized: base.error.synchronized,
        };
        if let Some(first) = &probe.reply {
            // The same T2: one request was received once, so the reply was doubled.
            if first.t2 == reply.t2 {
                probe.duplicated_down = true;
            } else {
                probe.duplicated_up = true;
            }
            return self.counters.duplicates += 1;
        }
        probe.reply = Some(reply);
        self.counters.answered += 1;
        self.left_at.extend(left_at(&reflected, base.error));
        self.count_tlvs(&reflected, &reply);
    }

    fn count_tlvs(&mut self, reflected: &Reflected<'_>, reply: &Reply) {
        let counters = &mut self.counters;
        if !reflected.integrity {
            counters.integrity_failed += 1;
        }
        match reply.class_of_service {
            Some(class) => {
                counters.dscp_refused += u64::from(class.refused());
                counters.ecn_refused += u64::from(class.reverse_path_ecn == wire::stamp::ReversePathEcn::Refused);
            }
            None => counters.class_of_service_unsupported += u64::from(self.asks_class_of_service),
        }
    }

    fn put_stamps(&mut self) {
        for left in self.stamps.drain(..) {
            if let Some(probe) = self.probes.get_mut(left.sequence as usize) {
                probe.sent_kernel = Some(left.at);
                probe.left_with = Some(left.tos);
            }
        }
    }

    fn error_queue(&mut self, socket: &UdpProbeSocket) {
        let (stamps, counters, clock, port) = (&mut self.stamps, &mut self.counters, &self.clock, self.target_port);
        let drained = socket.error_queue(&mut |event| match event {
            QueueEvent::Transmit(stamp) => {
                let Ok((packet, udp)) = wire::frame::udp_in_frame(stamp.frame) else { return };
                let Some(sequence) = udp.payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else { return };
                if udp.destination_port != port {
                    return;
                }
                stamps.push(Left { sequence, at: clock.stamp(stamp.stamp), tos: packet.tos });
            }
            QueueEvent::Icmp(_) => counters.unreachable += 1,
        });
        if let Err(error) = drained {
            tracing::debug!(%error, "cannot read the error queue");
        }
    }
}

/// R_RxC of an answered Direct Measurement TLV. A reflector that answers has received at least this packet.
fn received_count(reflected: &Reflected<'_>) -> Option<u32> {
    let tlv = reflected.tlvs().find(|tlv| tlv.kind == TlvType::DirectMeasurement)?;
    let bytes = tlv.value.get(4..8)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes)).filter(|count| *count > 0)
}

/// All zero: the reflector is stateless or has sent no reply before.
fn left_at(reflected: &Reflected<'_>, error: ErrorEstimate) -> Option<LeftAt> {
    let tlv = reflected.tlvs().find(|tlv| tlv.kind == TlvType::FollowUpTelemetry)?;
    let sequence = u32::from_be_bytes(*tlv.value.first_chunk()?);
    let stamp = u64::from_be_bytes(*tlv.value.get(4..)?.first_chunk()?);
    let at = Timestamp(stamp).to_unix_ns(error.format).filter(|_| stamp != 0)?;
    Some(LeftAt { sequence, at: UnixNanos(at) })
}
