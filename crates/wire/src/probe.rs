//! The authenticated probe header and the keys that seal it; how it is carried is each format's own business.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     flags     |      ToS      |   reply ToS   |  version = 1  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        in reply to (sequence; 0xffff_ffff: to none)           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                                                               |
//! +                sent at (i64, ns since the Unix epoch)         +
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                zero padding up to the size asked for          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The sequence is the AEAD nonce and is therefore not repeated inside. A nonce must never be used twice with one key:
//! every session has one [`DirectionKey`] per direction, a sender never repeats a sequence, and whoever answers a
//! [`token`](crate::token) answers a repeated request with the very same bytes.

use alloc::vec::Vec;
use core::fmt;
use core::ops::BitOr;

use ring::aead::quic::{AES_256, HeaderProtectionKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::bytes::put;
use crate::error::WireError;
use crate::tos::Tos;

/// The greatest sequence: the value above it stands for "in reply to none".
pub const SEQUENCE_MAX: u32 = u32::MAX - 1;

/// Openings ([`ProbeFlags::OPENING`]) take sequences from here up, probes those below: no nonce serves twice.
pub const OPENING_MIN: u32 = SEQUENCE_MAX - 0xff_ffff;

/// The only version of the header.
pub const PROBE_VERSION: u8 = 1;

/// Length of the sealed header without padding.
pub(crate) const HEADER_LEN: usize = 16;
/// Length of an AES-GCM tag.
pub(crate) const TAG_LEN: usize = 16;
/// The greatest UDP payload over IPv4.
pub(crate) const DATAGRAM_MAX: usize = 65_507;

const NO_REPLY: u32 = u32::MAX;

/// What a probe is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProbeFlags(u8);

impl ProbeFlags {
    pub const NONE: ProbeFlags = ProbeFlags(0);
    /// The sender asks for an answer, marked with [`ProbeHeader::reply_tos`].
    pub const REPLY_WANTED: ProbeFlags = ProbeFlags(1);
    /// This is an answer.
    pub const REPLY: ProbeFlags = ProbeFlags(2);
    /// Opens a flow and measures nothing: what IP discovery is to voice, for flows that must not look like it.
    pub const OPENING: ProbeFlags = ProbeFlags(4);

    /// Unknown bits are kept.
    pub const fn from_bits(bits: u8) -> ProbeFlags {
        ProbeFlags(bits)
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: ProbeFlags) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn union(self, other: ProbeFlags) -> ProbeFlags {
        ProbeFlags(self.0 | other.0)
    }
}

impl BitOr for ProbeFlags {
    type Output = ProbeFlags;
    fn bitor(self, other: ProbeFlags) -> ProbeFlags {
        self.union(other)
    }
}

/// What a probe says about itself, readable only by the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeHeader {
    pub flags: ProbeFlags,
    /// The ToS byte this packet was sent with.
    pub tos: Tos,
    /// The ToS byte the answer shall be sent with.
    pub reply_tos: Tos,
    /// 0..=[`SEQUENCE_MAX`]; unique per session and direction, being the nonce.
    pub sequence: u32,
    /// The sequence answered to; `None` in requests, and in the short [`token`](crate::token) form.
    pub in_reply_to: Option<u32>,
    /// The sender's clock, ns since the Unix epoch; 0 in the short [`token`](crate::token) form.
    pub sent_at_ns: i64,
}

/// What anybody with the right to look learns of a packet before its authenticity is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peeked {
    pub session: u32,
    pub sequence: u32,
}

impl ProbeHeader {
    pub(crate) fn short_bytes(&self) -> [u8; 4] {
        [self.flags.0, self.tos.byte(), self.reply_tos.byte(), PROBE_VERSION]
    }

    pub(crate) fn bytes(&self) -> Result<[u8; HEADER_LEN], WireError> {
        if self.sequence > SEQUENCE_MAX || self.in_reply_to == Some(NO_REPLY) {
            return Err(WireError::Unsupported);
        }
        let [f, t, r, v] = self.short_bytes();
        let [a, b, c, d] = self.in_reply_to.unwrap_or(NO_REPLY).to_be_bytes();
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.sent_at_ns.to_be_bytes();
        Ok([f, t, r, v, a, b, c, d, s0, s1, s2, s3, s4, s5, s6, s7])
    }

    pub(crate) fn from_short(bytes: [u8; 4], sequence: u32) -> Result<ProbeHeader, WireError> {
        let [flags, tos, reply_tos, version] = bytes;
        if version != PROBE_VERSION {
            return Err(WireError::Unsupported);
        }
        Ok(ProbeHeader {
            flags: ProbeFlags(flags),
            tos: Tos::from_byte(tos),
            reply_tos: Tos::from_byte(reply_tos),
            sequence,
            in_reply_to: None,
            sent_at_ns: 0,
        })
    }

    pub(crate) fn from_plaintext(plaintext: &[u8], sequence: u32) -> Result<ProbeHeader, WireError> {
        let mut reader = crate::bytes::Reader::new(plaintext);
        let mut header = ProbeHeader::from_short(reader.array()?, sequence)?;
        header.in_reply_to = Some(reader.u32()?).filter(|&answered| answered != NO_REPLY);
        header.sent_at_ns = i64::from_be_bytes(reader.array()?);
        Ok(header)
    }
}

/// Which format a nonce belongs to, so that two formats under one key never share a nonce. RTP's is Discord's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum NonceSpace {
    Rtp = 0,
    Control = 1,
    Token = 2,
    Bulk = 3,
}

/// AES-256-GCM key of one session in one direction.
#[derive(Clone)]
pub struct DirectionKey(LessSafeKey);

impl DirectionKey {
    pub fn new(key: &[u8; 32]) -> Self {
        // ring checks the length only, and the type above is that check.
        let unbound = UnboundKey::new(&AES_256_GCM, key).unwrap_or_else(|_| unreachable!("32 bytes are a key"));
        DirectionKey(LessSafeKey::new(unbound))
    }

    /// Discord's placement (`aead_aes256_gcm_rtpsize`): the 32-bit counter first, big-endian, the rest zero.
    fn nonce(space: NonceSpace, sequence: u32) -> Nonce {
        let [a, b, c, d] = sequence.to_be_bytes();
        Nonce::assume_unique_for_key([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, space as u8])
    }

    pub(crate) fn seal(
        &self,
        space: NonceSpace,
        sequence: u32,
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; TAG_LEN], WireError> {
        let tag = self
            .0
            .seal_in_place_separate_tag(Self::nonce(space, sequence), Aad::from(aad), in_out)
            .map_err(|_| WireError::Unsupported)?;
        tag.as_ref().try_into().map_err(|_| WireError::Unsupported)
    }

    /// `in_out` is ciphertext and tag; the plaintext is returned.
    pub(crate) fn open<'a>(
        &self,
        space: NonceSpace,
        sequence: u32,
        aad: &[u8],
        in_out: &'a mut [u8],
    ) -> Result<&'a [u8], WireError> {
        match self.0.open_in_place(Self::nonce(space, sequence), Aad::from(aad), in_out) {
            Ok(plaintext) => Ok(plaintext),
            Err(_) => Err(WireError::Forged),
        }
    }
}

impl fmt::Debug for DirectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectionKey(..)")
    }
}

/// Where the sealed part of a packet lies, which all but its first and last bytes are: probe header, padding, tag.
pub(crate) struct Framing {
    pub space: NonceSpace,
    /// Bytes before the sealed part, and behind it.
    pub head: usize,
    pub tail: usize,
}

impl Framing {
    const fn min_len(&self) -> usize {
        self.head + HEADER_LEN + TAG_LEN + self.tail
    }

    /// A packet of exactly `len` bytes, at least `min_len`, in `out`, which is empty after an error. Head and tail are zeros, left to
    /// the caller.
    pub(crate) fn seal(
        &self,
        out: &mut Vec<u8>,
        header: &ProbeHeader,
        len: usize,
        min_len: usize,
        aad: &[u8],
        key: &DirectionKey,
    ) -> Result<(), WireError> {
        out.clear();
        if len < min_len.max(self.min_len()) {
            return Err(WireError::TooShort);
        }
        if len > DATAGRAM_MAX {
            return Err(WireError::Unsupported);
        }
        let plaintext = header.bytes()?;
        out.resize(len, 0);
        let mut seal = || {
            let sealed = out.get_mut(self.head..len - self.tail).ok_or(WireError::TooShort)?;
            let (body, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(WireError::TooShort)?;
            put(body, 0, &plaintext).ok_or(WireError::TooShort)?;
            *tag = key.seal(self.space, header.sequence, aad, body)?;
            Ok(())
        };
        seal().inspect_err(|_| out.clear())
    }

    /// Authenticates and decrypts in place. After an error the packet's bytes are unspecified.
    pub(crate) fn open(
        &self,
        packet: &mut [u8],
        sequence: u32,
        aad: &[u8],
        key: &DirectionKey,
    ) -> Result<ProbeHeader, WireError> {
        let end = packet.len().checked_sub(self.tail).ok_or(WireError::Truncated)?;
        let sealed = packet.get_mut(self.head..end).ok_or(WireError::Truncated)?;
        let plaintext = key.open(self.space, sequence, aad, sealed)?;
        ProbeHeader::from_plaintext(plaintext, sequence)
    }
}

/// Hides session and sequence as QUIC hides its packet numbers (RFC 9001, section 5.4); one per server.
///
/// Eight bytes are masked with two AES blocks of four bytes each, from two different samples of the sealed part.
pub struct MaskKey(HeaderProtectionKey);

impl MaskKey {
    pub fn new(key: &[u8; 32]) -> Self {
        MaskKey(HeaderProtectionKey::new(&AES_256, key).unwrap_or_else(|_| unreachable!("32 bytes are a key")))
    }

    fn mask(&self, samples: [&[u8; 16]; 2]) -> [u8; 8] {
        let [first, second] = samples.map(|sample| match self.0.new_mask(sample) {
            Ok(mask) => mask,
            Err(_) => unreachable!("16 bytes are a sample"),
        });
        let ([a, b, c, d, _], [e, f, g, h, _]) = (first, second);
        [a, b, c, d, e, f, g, h]
    }

    pub(crate) fn hide(&self, peeked: Peeked, samples: [&[u8; 16]; 2]) -> [u8; 8] {
        let clear = peeked.bytes();
        let mask = self.mask(samples);
        core::array::from_fn(|i| clear[i] ^ mask[i])
    }

    pub(crate) fn reveal(&self, masked: &[u8; 8], samples: [&[u8; 16]; 2]) -> Peeked {
        let mask = self.mask(samples);
        let [a, b, c, d, e, f, g, h] = core::array::from_fn(|i| masked[i] ^ mask[i]);
        Peeked { session: u32::from_be_bytes([a, b, c, d]), sequence: u32::from_be_bytes([e, f, g, h]) }
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(..)")
    }
}

impl Peeked {
    /// Session, then sequence, big-endian: what is masked on the wire and authenticated unmasked.
    pub(crate) fn bytes(self) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (self.session.to_be_bytes(), self.sequence.to_be_bytes());
        [a, b, c, d, e, f, g, h]
    }
}
