//! The UDP probe port: rtp, udp and clock probes and IP discovery. One thread for each socket, off the async runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{ReceivedHalf, SampleFlags, SentHalf, SessionId, Tos, UnixNanos};
use net::udp::{Outgoing, ReceiveBatch, Received, TransmitStamp, UdpProbeSocket};
use wire::{MaskKey, Peeked, ProbeFlags, ProbeHeader, WireError};

use crate::answers::{AwaitedStamps, Pending};
use crate::counters::{self, Counters};
use crate::limits::SourceLimiter;
use crate::observe::{Observation, Observer};
use crate::sessions::{Admission, LiveSession, SessionTable};

/// Longest probe (model::TaskSpec::check) and some room to tell that a packet was longer.
pub(crate) const PACKET: usize = 1536;
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// What every packet path shares.
#[derive(Clone)]
pub struct Shared {
    pub sessions: Arc<SessionTable>,
    pub counters: Arc<Counters>,
    pub mask: Arc<MaskKey>,
    pub clock: net::Clock,
    pub stop: Arc<AtomicBool>,
}

impl Shared {
    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Which bytes a datagram path speaks.
pub(crate) trait Protocol {
    /// Authenticates one packet. Returns the session, what the header says, and the packet's layer-4 answer builder.
    fn open(&mut self, packet: &mut [u8], shared: &Shared) -> Result<Opened, Dropped>;
    /// Builds the answer to `opened` into `out`.
    fn answer(
        &mut self,
        opened: &Opened,
        header: &ProbeHeader,
        out: &mut Vec<u8>,
        shared: &Shared,
    ) -> Result<(), WireError>;
    /// Session and sequence of a frame's UDP payload that was sent by `answer`.
    fn identify(&self, payload: &[u8], shared: &Shared) -> Option<Peeked>;
    /// Answers something that is not a probe (IP discovery), at most as long as what came.
    fn courtesy(&mut self, packet: &[u8], from: SocketAddr, shared: &Shared) -> Courtesy;
}

pub(crate) struct Opened {
    pub session: Arc<LiveSession>,
    pub header: ProbeHeader,
    pub len: usize,
    pub form: Form,
}

/// What becomes of a packet that may be IP discovery.
pub(crate) enum Courtesy {
    NotMine,
    TooOften,
    Answer(Vec<u8>),
}

/// How the packet was dressed, and so how its answer is.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Rtp,
    Control,
    Dns(wire::dns::ProbeQuery),
}

pub(crate) enum Dropped {
    Forged,
    Unknown,
    Truncated,
}

/// rtp, udp and clock probes.
pub(crate) struct VoicePort {
    discovery: SourceLimiter,
}

impl VoicePort {
    pub(crate) fn new() -> VoicePort {
        VoicePort { discovery: SourceLimiter::new(5.0, 50.0, net::Clock::monotonic_ns()) }
    }
}

impl Protocol for VoicePort {
    fn open(&mut self, packet: &mut [u8], shared: &Shared) -> Result<Opened, Dropped> {
        let len = packet.len();
        let mut claimed = false;
        if let Ok(peeked) = wire::rtp::peek_rtp(packet)
            && let Some(session) = shared.sessions.get(peeked.session)
        {
            claimed = true;
            // The session is found by 32 clear bits: if authentication fails it may still be random bytes of a `udp` probe.
            let mut copy = [0u8; PACKET];
            let copied = &mut copy[..len];
            copied.copy_from_slice(packet);
            if let Ok(header) = wire::rtp::open_rtp(copied, &session.key_up) {
                return Ok(Opened { session, header, len, form: Form::Rtp });
            }
        }
        let peeked = wire::control::peek_control(packet, &shared.mask).map_err(|_| Dropped::Truncated)?;
        let unknown = if claimed { Dropped::Forged } else { Dropped::Unknown };
        let session = shared.sessions.get(peeked.session).ok_or(unknown)?;
        let header = wire::control::open_control(packet, &peeked, &session.key_up).map_err(|_| Dropped::Forged)?;
        Ok(Opened { session, header, len, form: Form::Control })
    }

    fn answer(
        &mut self,
        opened: &Opened,
        header: &ProbeHeader,
        out: &mut Vec<u8>,
        shared: &Shared,
    ) -> Result<(), WireError> {
        let (id, key) = (opened.session.id.0, &opened.session.key_down);
        match opened.form {
            Form::Rtp => wire::rtp::build_rtp(out, id, header, opened.len, key),
            _ => wire::control::build_control(out, id, header, opened.len, key, &shared.mask),
        }
    }

    fn identify(&self, payload: &[u8], shared: &Shared) -> Option<Peeked> {
        let known = |peeked: &Peeked| shared.sessions.get(peeked.session).is_some();
        wire::rtp::peek_rtp(payload)
            .ok()
            .filter(known)
            .or_else(|| wire::control::peek_control(payload, &shared.mask).ok().filter(known))
    }

    fn courtesy(&mut self, packet: &[u8], from: SocketAddr, shared: &Shared) -> Courtesy {
        let Ok(ssrc) = wire::discovery::parse_discovery_request(packet) else { return Courtesy::NotMine };
        let Some(session) = shared.sessions.get(ssrc).filter(|session| session.takes(model::Kind::Rtp)) else {
            return Courtesy::NotMine;
        };
        let now_ns = net::Clock::monotonic_ns();
        if !session.admit_opening(from, now_ns) && !self.discovery.allow(from.ip(), now_ns) {
            return Courtesy::TooOften;
        }
        Courtesy::Answer(wire::discovery::build_discovery_response(ssrc, from.ip(), from.port()).to_vec())
    }
}

/// Runs one socket until `shared.stop`.
pub(crate) fn run(socket: &UdpProbeSocket, protocol: &mut dyn Protocol, shared: &Shared, mut observer: Observer) {
    let mut batch = ReceiveBatch::new(64, PACKET);
    let mut awaited = AwaitedStamps::default();
    let local = socket.local_addr().ok().map(|local| local.ip()).filter(|local| !local.is_unspecified());
    let mut path = Path { protocol, shared, observer: &mut observer, local, answers: Vec::new(), spare: Vec::new() };
    while !shared.stopping() {
        let received = match socket.receive(&mut batch, Some(TICK)) {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "cannot receive probes");
                std::thread::sleep(TICK);
                0
            }
        };
        let now_ns = net::Clock::monotonic_ns();
        if received > 0 {
            for mut packet in batch.packets() {
                path.packet(&mut packet, now_ns);
            }
            path.send(socket, &mut awaited, now_ns);
        }
        path.stamps(socket, &mut awaited);
        while let Some((session, half)) = awaited.expired(now_ns) {
            path.observer.push(Observation::Sent(session, half));
        }
        path.observer.flush(now_ns);
    }
    path.observer.flush(u64::MAX);
}

struct Answer {
    payload: Vec<u8>,
    to: SocketAddr,
    source: Option<std::net::IpAddr>,
    tos: Tos,
    /// `None` for IP discovery, which is no sample.
    probe: Option<(SessionId, u32)>,
}

struct Path<'a> {
    protocol: &'a mut dyn Protocol,
    shared: &'a Shared,
    observer: &'a mut Observer,
    /// The socket's address, unless it has all of them.
    local: Option<std::net::IpAddr>,
    answers: Vec<Answer>,
    spare: Vec<Vec<u8>>,
}

impl Path<'_> {
    fn packet(&mut self, packet: &mut Received<'_>, now_ns: u64) {
        let counters = &self.shared.counters;
        if packet.truncated {
            return counters::add(&counters.oversized, 1);
        }
        if packet.payload.len() == wire::discovery::DISCOVERY_LEN {
            match self.protocol.courtesy(packet.payload, packet.from, self.shared) {
                Courtesy::NotMine => {}
                Courtesy::TooOften => return counters::add(&counters.rate_limited, 1),
                Courtesy::Answer(payload) => {
                    let (to, source) = (packet.from, packet.to);
                    return self.answers.push(Answer { payload, to, source, tos: Tos::default(), probe: None });
                }
            }
        }
        let opened = match self.protocol.open(packet.payload, self.shared) {
            Ok(opened) => opened,
            Err(Dropped::Forged) => return counters::add(&counters.forged, 1),
            Err(Dropped::Unknown) => return counters::add(&counters.unknown_session, 1),
            Err(Dropped::Truncated) => return counters::add(&counters.truncated, 1),
        };
        let session = &opened.session;
        let sequence = opened.header.sequence;
        if opened.header.flags.contains(ProbeFlags::OPENING) {
            if !session.admit_opening(packet.from, now_ns) {
                return counters::add(&counters.rate_limited, 1);
            }
            return self.answer(&opened, packet.from, packet.to);
        }
        let fresh = match session.admit(sequence, packet.from, now_ns) {
            Admission::TooOld => return counters::add(&counters.replayed, 1),
            Admission::TooFast => return counters::add(&counters.rate_limited, 1),
            Admission::Duplicate => {
                counters::add(&counters.duplicated, 1);
                false
            }
            Admission::Fresh { moved } => {
                if moved {
                    self.observer.push(Observation::Peer(session.id, packet.from.ip(), packet.to.or(self.local)));
                }
                true
            }
        };
        let mut flags = SampleFlags::default();
        if matches!(opened.form, Form::Dns(_)) {
            if session.intercepted(packet.from.ip(), packet.ttl) {
                flags = flags.with(SampleFlags::INTERCEPTED);
            }
        } else if fresh {
            session.learn_origin(packet.from.ip(), packet.ttl);
        }
        let received_at = packet.stamp.map(|stamp| self.shared.clock.stamp(stamp));
        if received_at.is_none() {
            flags = flags.with(SampleFlags::RX_USER);
        }
        if session.direction.up() {
            let received_at = received_at.unwrap_or_else(|| self.shared.clock.now());
            let half = ReceivedHalf { sequence, received_at, tos: packet.tos, ttl: packet.ttl, flags };
            self.observer.push(Observation::Received(session.id, half));
        }
        if fresh && opened.header.flags.contains(ProbeFlags::REPLY_WANTED) {
            self.answer(&opened, packet.from, packet.to);
        }
    }

    fn answer(&mut self, opened: &Opened, to: SocketAddr, source: Option<std::net::IpAddr>) {
        let tos = opened.header.reply_tos;
        let header = ProbeHeader {
            flags: ProbeFlags::REPLY,
            tos,
            reply_tos: Tos::default(),
            sequence: opened.header.sequence,
            in_reply_to: Some(opened.header.sequence),
            // Whatever varied here would be sealed a second time under one nonce when a restarted server, whose replay
            // window is empty, is sent the same probe again.
            sent_at_ns: opened.header.sent_at_ns,
        };
        let mut payload = self.spare.pop().unwrap_or_default();
        match self.protocol.answer(opened, &header, &mut payload, self.shared) {
            Ok(()) => {
                let is_probe = !opened.header.flags.contains(ProbeFlags::OPENING);
                let probe = is_probe.then_some((opened.session.id, opened.header.sequence));
                self.answers.push(Answer { payload, to, source, tos, probe });
            }
            Err(error) => tracing::debug!(%error, "cannot build an answer"),
        }
    }

    fn send(&mut self, socket: &UdpProbeSocket, awaited: &mut AwaitedStamps, now_ns: u64) {
        for answer in self.answers.drain(..) {
            let headers = if answer.to.is_ipv4() { 28 } else { 48 };
            if let Some((session, sequence)) = answer.probe {
                awaited.push(Pending {
                    session,
                    sequence,
                    tos: answer.tos,
                    size: (answer.payload.len() + headers) as u16,
                    user_time: self.shared.clock.now(),
                    monotonic_ns: now_ns,
                });
            }
            let outgoing = Outgoing {
                payload: &answer.payload,
                to: Some(answer.to),
                tos: answer.tos,
                source: answer.source,
                ttl: None,
            };
            if let Err(error) = socket.send(&outgoing) {
                tracing::debug!(%error, "an answer was not sent");
                counters::add(&self.shared.counters.answer_failed, 1);
                if let Some((session, sequence)) = answer.probe {
                    awaited.retract(session, sequence);
                }
            }
            if self.spare.len() < 64 {
                self.spare.push(answer.payload);
            }
        }
    }

    fn stamps(&mut self, socket: &UdpProbeSocket, awaited: &mut AwaitedStamps) {
        let (protocol, shared, observer) = (&*self.protocol, self.shared, &mut *self.observer);
        let drained = socket.transmit_stamps(&mut |stamp: TransmitStamp<'_>| {
            let Ok((packet, udp)) = wire::frame::udp_in_frame(stamp.frame) else { return };
            let Some(peeked) = protocol.identify(udp.payload, shared) else { return };
            let at: UnixNanos = shared.clock.stamp(stamp.stamp);
            let found: Option<(SessionId, SentHalf)> =
                awaited.stamped(peeked.session, peeked.sequence, at, Some(packet.tos));
            if let Some((session, half)) = found {
                observer.push(Observation::Sent(session, half));
            }
        });
        if let Err(error) = drained {
            tracing::debug!(%error, "cannot read transmit stamps");
        }
    }
}
