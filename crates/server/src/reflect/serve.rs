//! The packet path of one socket: admit, time, reflect, send, and learn when the reply left.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::{Clock, Outgoing, ReceiveBatch, Received, TransmitStamp, UdpProbeSocket};
use wire::WireError;
use wire::stamp::{
    Counters, ErrorEstimate, FollowUp, ReflectContext, STAMP_PORT, TimestampFormat, TimestampInfo, TlvFlags, Tlvs,
    parse_sender, reflect,
};

use super::ReflectConfig;
use super::counters::{ReflectCounters, count};
use super::session::{SessionKey, Sessions};
use crate::limits::SourceLimiter;

const TICK: Duration = Duration::from_millis(50);
/// Longest request that is answered: an Ethernet payload.
const LONGEST: usize = 1500;

/// Services that answer whatever they are sent: echo, daytime, quote of the day, chargen, time, and reflectors. Two of
/// them, brought together by a forged source, would talk for ever.
const ANSWERING_PORTS: [u16; 6] = [7, 13, 17, 19, 37, STAMP_PORT];

/// IANA's numbers of RFC 8972, section 4.3: NTP as the source of time, or none; stamps by local software.
const SYNCHRONIZED_BY_NTP: u8 = 1;
const FREE_RUNNING: u8 = 5;
const BY_SOFTWARE: u8 = 2;

/// All that one socket's thread has.
pub(super) struct Port<'a> {
    config: &'a ReflectConfig,
    counters: &'a ReflectCounters,
    own_ports: &'a [u16],
    limiter: SourceLimiter,
    sessions: Sessions,
    reply: Vec<u8>,
}

impl<'a> Port<'a> {
    pub(super) fn new(config: &'a ReflectConfig, counters: &'a ReflectCounters, own_ports: &'a [u16]) -> Port<'a> {
        let now_ns = Clock::monotonic_ns();
        Port {
            config,
            counters,
            own_ports,
            limiter: SourceLimiter::new(config.rate_per_source, config.burst_per_source, now_ns),
            sessions: Sessions::new(config.most_sessions, now_ns),
            reply: Vec::with_capacity(LONGEST),
        }
    }

    pub(super) fn run(&mut self, socket: &UdpProbeSocket, stop: &AtomicBool) {
        let mut batch = ReceiveBatch::new(32, LONGEST + 1);
        let _ = net::pacing::set_timer_slack(1);
        while !stop.load(Ordering::Relaxed) {
            match socket.receive(&mut batch, Some(TICK)) {
                Ok(0) => {}
                Ok(_) => {
                    for packet in batch.packets() {
                        // Before every reply, so that it can say when the one before it left.
                        self.stamps(socket);
                        self.packet(socket, &packet);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot receive STAMP packets");
                    std::thread::sleep(TICK);
                }
            }
            self.stamps(socket);
            if let Ok(dropped) = socket.dropped() {
                self.counters.receive_dropped.store(dropped.into(), Ordering::Relaxed);
            }
        }
    }

    fn packet(&mut self, socket: &UdpProbeSocket, packet: &Received<'_>) {
        let counters = self.counters;
        count(&counters.received);
        if packet.truncated || packet.payload.len() > LONGEST {
            return count(&counters.too_long);
        }
        let from_port = packet.from.port();
        if ANSWERING_PORTS.contains(&from_port) || self.own_ports.contains(&from_port) {
            return count(&counters.from_answering_port);
        }
        let now_ns = Clock::monotonic_ns();
        if !self.limiter.allow(packet.from.ip(), now_ns) {
            return count(&counters.rate_limited);
        }
        let sent = match parse_sender(packet.payload, self.config.security()) {
            Ok(sent) => sent.packet,
            Err(WireError::Forged) => return count(&counters.unauthenticated),
            Err(_) => return count(&counters.too_short),
        };
        let received = packet.stamp.map(|stamp| self.config.clock.stamp(stamp));
        if received.is_none() {
            count(&counters.received_without_stamp);
        }

        let key = SessionKey { from: packet.from.ip(), from_port, to: packet.to, ssid: sent.ssid };
        let session = if self.config.stateful {
            let session = self.sessions.receive(key, sent.sequence, now_ns);
            if session.is_none() {
                count(&counters.sessions_full);
            }
            session
        } else {
            None
        };
        let now = self.config.clock.now();
        let context = ReflectContext {
            security: self.config.security(),
            received_tos: packet.tos,
            received_ttl: packet.ttl,
            reply_sequence: session.as_ref().map(|session| session.sequence),
            allowed_dscp: self.config.allowed_dscp,
            sets_ecn: self.config.sets_ecn,
            timestamp_info: Some(self.config.timestamp_info()),
            counters: session.as_ref().map(|session| Counters {
                received: session.received,
                transmitted: session.transmitted.wrapping_add(1),
            }),
            follow_up: session.as_ref().and_then(|session| session.follow_up()),
            ..ReflectContext::new(received.unwrap_or(now).0, now.0, self.config.error_estimate(sent.error.format))
        };
        let plan = match reflect(packet.payload, &context, &mut self.reply) {
            Ok(plan) => plan,
            // It has been parsed once already.
            Err(_) => return count(&counters.too_short),
        };
        let tlvs = self.reply.get(self.config.security().base_len()..).unwrap_or(&[]);
        note_flags(tlvs, counters);
        let outgoing = Outgoing {
            payload: &self.reply,
            to: Some(packet.from),
            tos: wire::Tos::new(plan.dscp, plan.ecn),
            ttl: None,
            source: packet.to,
        };
        match socket.send(&outgoing) {
            Ok(()) => {
                count(&counters.answered);
                if let Some(session) = session {
                    session.transmit();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a reply was not sent");
                count(&counters.send_failures);
            }
        }
    }

    /// Reads when replies left. Always, or the error queue fills up and takes the receive buffer with it.
    fn stamps(&mut self, socket: &UdpProbeSocket) {
        let (sessions, config) = (&mut self.sessions, self.config);
        let drained = socket.transmit_stamps(&mut |stamp| {
            if config.stateful {
                let _ = stamped(sessions, config, &stamp);
            }
        });
        if let Err(error) = drained {
            tracing::debug!(%error, "cannot read transmit stamps");
        }
    }
}

impl ReflectConfig {
    /// In the sender's format, so that it can subtract without knowing the other one.
    fn error_estimate(&self, format: TimestampFormat) -> ErrorEstimate {
        match self.clock_error {
            Some(bound) => ErrorEstimate::from_ns(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX), true, format),
            None => ErrorEstimate::unknown(format),
        }
    }

    fn timestamp_info(&self) -> TimestampInfo {
        let synchronization = if self.clock_error.is_some() { SYNCHRONIZED_BY_NTP } else { FREE_RUNNING };
        TimestampInfo { synchronization, received_by: BY_SOFTWARE, transmitted_by: BY_SOFTWARE }
    }
}

/// The copy of the reply that comes with its stamp says whose it is.
fn stamped(sessions: &mut Sessions, config: &ReflectConfig, stamp: &TransmitStamp<'_>) -> Option<()> {
    let (packet, udp) = wire::frame::udp_in_frame(stamp.frame).ok()?;
    // Sequence and SSID lie where a sender's do.
    let (sequence, ssid) = own_fields(udp.payload, config)?;
    let transmit_ns = config.clock.stamp(stamp.stamp).0;
    let left = FollowUp { sequence, transmit_ns, transmitted_by: BY_SOFTWARE };
    let mut found = |to: Option<IpAddr>| {
        let key = SessionKey { from: packet.destination, from_port: udp.destination_port, to, ssid };
        sessions.get_mut(&key).map(|session| session.stamped(left))
    };
    found(Some(packet.source)).or_else(|| found(None))
}

fn own_fields(reply: &[u8], config: &ReflectConfig) -> Option<(u32, u16)> {
    let ssid_at = if config.key.is_some() { 26 } else { 14 };
    let sequence = u32::from_be_bytes(*reply.first_chunk()?);
    let ssid = u16::from_be_bytes(*reply.get(ssid_at..)?.first_chunk()?);
    Some((sequence, ssid))
}

fn note_flags(tlvs: &[u8], counters: &ReflectCounters) {
    let mut integrity_failed = false;
    for tlv in Tlvs::new(tlvs) {
        integrity_failed |= tlv.flags.contains(TlvFlags::INTEGRITY);
        let class = (tlv.kind == wire::stamp::TlvType::ClassOfService && tlv.flags == TlvFlags::NONE)
            .then(|| tlv.value.try_into().ok().map(wire::stamp::ClassOfService::parse))
            .flatten();
        if class.is_some_and(|class| class.refused()) {
            count(&counters.dscp_refused);
        }
    }
    if integrity_failed {
        count(&counters.tlvs_not_authentic);
    }
}
