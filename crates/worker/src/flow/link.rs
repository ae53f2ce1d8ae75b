//! What the threads of one flow share: the session's keys and how its packets are dressed. No sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use model::control::SessionGrant;
use model::{DirectionChoice, Family, Kind, ReceivedHalf, SampleFlags, Tos, UnixNanos};
use wire::token::TOKEN_LEN;
use wire::{DirectionKey, MaskKey, ProbeFlags, ProbeHeader, WireError};

use super::log::SessionLog;
use super::nearest::Nearest;
use crate::duty::datagram_overhead;

/// Bytes of an echo request's data: the token and some more, as ping has 56.
const ECHO_DATA: usize = 56;

pub(crate) struct Link {
    pub kind: Kind,
    pub family: Family,
    pub direction: DirectionChoice,
    pub session: u32,
    pub keys: Arc<Keys>,
    pub seed: u64,
    /// Where probes go.
    pub peer: SocketAddr,
    /// UDP payload of rtp, udp and clock.
    pub size: u16,
    /// The server as an HTTP request names it.
    pub host: String,
    pub sni: String,
    /// On a TCP connection: this many random bytes instead of a request that looks like its kind.
    pub random_stream: Option<usize>,
    pub clock: net::Clock,
    pub log: Arc<SessionLog>,
    pub nearest: Arc<Nearest>,
}

/// What a packet on the flow's socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The authentic answer to this sequence.
    Answer(u32),
    /// The server told our address: the flow is open.
    Discovery,
    /// A DNS response with this id that the server did not make.
    OtherResolver(u16),
    Foreign,
}

/// The server's keys are not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server granted a session with malformed keys")]
pub(crate) struct BadGrant;

pub(crate) struct Keys {
    pub up: DirectionKey,
    pub down: DirectionKey,
    pub mask: MaskKey,
}

impl Keys {
    pub(crate) fn of(grant: &SessionGrant) -> Result<Keys, BadGrant> {
        let key = |text: &str| -> Result<[u8; 32], BadGrant> {
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| BadGrant)?;
            bytes.try_into().map_err(|_| BadGrant)
        };
        Ok(Keys {
            up: DirectionKey::new(&key(&grant.key_up)?),
            down: DirectionKey::new(&key(&grant.key_down)?),
            mask: MaskKey::new(&key(&grant.mask_key)?),
        })
    }
}

impl Link {
    /// The mark a probe of this class is sent with: in `down` only the answer is marked.
    pub(crate) fn mark(&self, class: Tos) -> Tos {
        if self.direction.up() { class } else { Tos::default() }
    }

    pub(crate) fn header(&self, sequence: u32, class: Tos, sent_at: UnixNanos) -> ProbeHeader {
        let answered = self.direction.down();
        ProbeHeader {
            flags: if answered { ProbeFlags::REPLY_WANTED } else { ProbeFlags::NONE },
            tos: self.mark(class),
            reply_tos: if answered { class } else { Tos::default() },
            sequence,
            in_reply_to: None,
            sent_at_ns: sent_at.0,
        }
    }

    pub(crate) fn token(&self, header: &ProbeHeader) -> [u8; TOKEN_LEN] {
        wire::token::seal_token(self.session, header, &self.keys.up, &self.keys.mask)
    }

    /// The first packet of a flow that is compared with voice, which opens with IP discovery: as long, and random. `index` counts a
    /// session's openings.
    pub(crate) fn build_opening(&self, out: &mut Vec<u8>, index: u32, class: Tos) -> Result<(), WireError> {
        let sequence = wire::OPENING_MIN.checked_add(index).ok_or(WireError::Unsupported)?;
        let header = self.header(sequence, class, self.clock.now());
        let header = ProbeHeader { flags: header.flags | ProbeFlags::OPENING, ..header };
        wire::control::build_control(
            out,
            self.session,
            &header,
            wire::discovery::DISCOVERY_LEN,
            &self.keys.up,
            &self.keys.mask,
        )
    }

    /// A datagram's payload into `out`.
    pub(crate) fn build(&self, out: &mut Vec<u8>, header: &ProbeHeader) -> Result<(), WireError> {
        let size = usize::from(self.size);
        match self.kind {
            Kind::Rtp => wire::rtp::build_rtp(out, self.session, header, size, &self.keys.up),
            Kind::Udp | Kind::Clock => {
                wire::control::build_control(out, self.session, header, size, &self.keys.up, &self.keys.mask)
            }
            Kind::Dns => {
                wire::dns::build_query(out, self.dns_id(header.sequence), &self.token(header));
                Ok(())
            }
            Kind::Icmp => {
                out.clear();
                out.extend_from_slice(&self.token(header));
                out.resize(ECHO_DATA, 0);
                Ok(())
            }
            Kind::Http | Kind::Tls | Kind::Stamp => Err(WireError::Unsupported),
        }
    }

    /// Layer-3 length of a datagram with such a payload. ICMP's header is as long as UDP's.
    pub(crate) fn layer3(&self, payload: usize) -> u16 {
        u16::try_from(payload).unwrap_or(u16::MAX).saturating_add(datagram_overhead(self.family))
    }

    /// The sequence of a probe of ours, from its payload as it left.
    pub(crate) fn identify(&self, payload: &[u8]) -> Option<u32> {
        let peeked = match self.kind {
            Kind::Rtp => wire::rtp::peek_rtp(payload).ok()?,
            Kind::Udp | Kind::Clock => wire::control::peek_control(payload, &self.keys.mask).ok()?,
            Kind::Dns => wire::token::peek_token(&wire::dns::parse_query(payload).ok()?.token, &self.keys.mask),
            _ => return None,
        };
        (peeked.session == self.session).then_some(peeked.sequence)
    }

    /// Authenticates a datagram. Its bytes are used up.
    pub(crate) fn open(&self, packet: &mut [u8]) -> Incoming {
        let header = match self.kind {
            Kind::Rtp => {
                if let Ok((ssrc, ..)) = wire::discovery::parse_discovery_response(packet) {
                    return if ssrc == self.session { Incoming::Discovery } else { Incoming::Foreign };
                }
                match wire::rtp::peek_rtp(packet) {
                    Ok(peeked) if peeked.session == self.session => wire::rtp::open_rtp(packet, &self.keys.down).ok(),
                    _ => None,
                }
            }
            Kind::Udp | Kind::Clock => match wire::control::peek_control(packet, &self.keys.mask) {
                Ok(peeked) if peeked.session == self.session => {
                    wire::control::open_control(packet, &peeked, &self.keys.down).ok()
                }
                _ => None,
            },
            Kind::Dns => match wire::dns::parse_answer(packet) {
                Ok(answer) => match answer.token.and_then(|token| self.open_token(&token)) {
                    Some(sequence) => return Incoming::Answer(sequence),
                    None => return Incoming::OtherResolver(answer.id),
                },
                Err(_) => None,
            },
            _ => None,
        };
        match header {
            Some(header) if is_answer(&header) && header.in_reply_to == Some(header.sequence) => {
                if header.sequence >= wire::OPENING_MIN {
                    Incoming::Discovery
                } else {
                    Incoming::Answer(header.sequence)
                }
            }
            _ => Incoming::Foreign,
        }
    }

    /// The sequence an authentic answer's token is for.
    pub(crate) fn open_token(&self, token: &[u8; TOKEN_LEN]) -> Option<u32> {
        let peeked = wire::token::peek_token(token, &self.keys.mask);
        if peeked.session != self.session {
            return None;
        }
        let header = wire::token::open_token(token, &peeked, &self.keys.down).ok()?;
        is_answer(&header).then_some(header.sequence)
    }

    /// The sequence of an echo of ours that came back; the far kernel returns our own bytes.
    pub(crate) fn open_echo(&self, data: &[u8]) -> Option<u32> {
        let token: &[u8; TOKEN_LEN] = data.first_chunk()?;
        let peeked = wire::token::peek_token(token, &self.keys.mask);
        if peeked.session != self.session {
            return None;
        }
        wire::token::open_token(token, &peeked, &self.keys.up).ok().map(|header| header.sequence)
    }

    /// Not to be guessed by who does not see the query, and not counting up.
    pub(crate) fn dns_id(&self, sequence: u32) -> u16 {
        // The finaliser of SplitMix64.
        let mut z = self.seed ^ u64::from(sequence).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as u16
    }

    /// A received half with the kernel's stamp where there is one.
    pub(crate) fn received(
        &self,
        sequence: u32,
        stamp: Option<UnixNanos>,
        tos: Option<Tos>,
        ttl: Option<u8>,
    ) -> ReceivedHalf {
        let (received_at, flags) = match stamp {
            Some(stamp) => (self.clock.stamp(stamp), SampleFlags::default()),
            None => (self.clock.now(), SampleFlags::RX_USER),
        };
        ReceivedHalf { sequence, received_at, tos, ttl, flags }
    }
}

fn is_answer(header: &ProbeHeader) -> bool {
    header.flags.contains(ProbeFlags::REPLY)
}
