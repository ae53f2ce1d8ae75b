//! RTP: probes that are Discord voice on the wire, and RFC 3550 headers in general, for captures.
//!
//! A probe is laid out as Discord's `aead_aes256_gcm_rtpsize`:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 timestamp (sequence * 960)                    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 SSRC (the session)                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     probe header and padding, AES-256-GCM (>= 16 bytes)       |
//! |                              ....                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           tag (16 bytes)                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 counter (the probe's sequence)                |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The first twelve bytes are the associated data. The nonce is the counter followed by eight zero bytes, as in
//! discord.js and songbird.

use alloc::vec::Vec;

use crate::bytes::Reader;
use crate::error::WireError;
use crate::probe::{DirectionKey, Framing, HEADER_LEN, NonceSpace, Peeked, ProbeHeader, TAG_LEN};

/// RTP header, sealed probe header, tag, counter.
pub const RTP_MIN_LEN: usize = RTP_HEADER_LEN + HEADER_LEN + TAG_LEN + COUNTER_LEN;

/// An RTP header without CSRCs and extension.
pub const RTP_HEADER_LEN: usize = 12;
/// The payload type of Opus in Discord.
pub const PAYLOAD_TYPE: u8 = 0x78;
/// 20 ms at 48 kHz.
pub const SAMPLES_PER_PACKET: u32 = 960;

const COUNTER_LEN: usize = 4;
const FRAMING: Framing = Framing { space: NonceSpace::Rtp, head: RTP_HEADER_LEN, tail: COUNTER_LEN };
/// V=2, no padding, no extension, no CSRC.
const FIRST_BYTE: u8 = 0x80;

fn clear_header(session: u32, sequence: u32) -> [u8; RTP_HEADER_LEN] {
    let [_, _, s0, s1] = sequence.to_be_bytes();
    let [t0, t1, t2, t3] = sequence.wrapping_mul(SAMPLES_PER_PACKET).to_be_bytes();
    let [i0, i1, i2, i3] = session.to_be_bytes();
    [FIRST_BYTE, PAYLOAD_TYPE, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
}

/// Builds a UDP payload of exactly `len` bytes into `out`, which is cleared first.
///
/// [`WireError::TooShort`] below [`RTP_MIN_LEN`], [`WireError::Unsupported`] above what UDP carries or for a sequence
/// above [`SEQUENCE_MAX`](crate::SEQUENCE_MAX).
pub fn build_rtp(
    out: &mut Vec<u8>,
    session: u32,
    header: &ProbeHeader,
    len: usize,
    key: &DirectionKey,
) -> Result<(), WireError> {
    let clear = clear_header(session, header.sequence);
    FRAMING.seal(out, header, len, RTP_MIN_LEN, &clear, key)?;
    if let Some(head) = out.first_chunk_mut() {
        *head = clear;
    }
    if let Some(counter) = out.last_chunk_mut() {
        *counter = header.sequence.to_be_bytes();
    }
    Ok(())
}

/// Which session the packet claims to be of, before its authenticity is known.
///
/// Checks that it is Opus as Discord sends it and that RTP's sequence and timestamp agree with the counter, which a
/// real voice packet's practically never do.
pub fn peek_rtp(packet: &[u8]) -> Result<Peeked, WireError> {
    if packet.len() < RTP_MIN_LEN {
        return Err(WireError::Truncated);
    }
    let clear = packet.first_chunk::<RTP_HEADER_LEN>().ok_or(WireError::Truncated)?;
    let counter = packet.last_chunk::<COUNTER_LEN>().ok_or(WireError::Truncated)?;
    let [.., i0, i1, i2, i3] = *clear;
    let peeked = Peeked { session: u32::from_be_bytes([i0, i1, i2, i3]), sequence: u32::from_be_bytes(*counter) };
    if *clear == clear_header(peeked.session, peeked.sequence) { Ok(peeked) } else { Err(WireError::Malformed) }
}

/// Authenticates and decrypts in place. After an error the packet's bytes are unspecified.
pub fn open_rtp(packet: &mut [u8], key: &DirectionKey) -> Result<ProbeHeader, WireError> {
    let Peeked { session, sequence } = peek_rtp(packet)?;
    // What was compared with the packet's own bytes just now.
    FRAMING.open(packet, sequence, &clear_header(session, sequence), key)
}

/// Any RTP header (RFC 3550, section 5.1), as a capture shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader<'a> {
    pub marker: bool,
    /// 0..=127.
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Contributing sources, four bytes each, at most 15 of them.
    pub csrcs: &'a [u8],
    pub extension: Option<RtpExtension<'a>>,
    /// The last byte of the packet says how many bytes at its end are padding.
    pub padding: bool,
}

/// RFC 3550, section 5.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpExtension<'a> {
    pub profile: u16,
    /// A multiple of four bytes.
    pub data: &'a [u8],
}

impl<'a> RtpHeader<'a> {
    /// The header and what follows it. The padding is not removed: under encryption its length is not readable.
    pub fn parse(packet: &'a [u8]) -> Result<(RtpHeader<'a>, &'a [u8]), WireError> {
        let mut reader = Reader::new(packet);
        let first = reader.u8()?;
        if first >> 6 != 2 {
            return Err(WireError::Malformed);
        }
        let second = reader.u8()?;
        let sequence = reader.u16()?;
        let timestamp = reader.u32()?;
        let ssrc = reader.u32()?;
        let csrcs = reader.take(4 * usize::from(first & 0x0f))?;
        let extension = if first & 0x10 != 0 {
            let profile = reader.u16()?;
            let words = reader.u16()?;
            Some(RtpExtension { profile, data: reader.take(4 * usize::from(words))? })
        } else {
            None
        };
        let header = RtpHeader {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence,
            timestamp,
            ssrc,
            csrcs,
            extension,
            padding: first & 0x20 != 0,
        };
        Ok((header, reader.rest()))
    }

    /// Appends the header. [`WireError::Malformed`] where a field does not fit its bits; `out` is then unchanged.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let count = self.csrcs.len() / 4;
        if !self.csrcs.len().is_multiple_of(4) || count > 15 || self.payload_type > 0x7f {
            return Err(WireError::Malformed);
        }
        let extension = match self.extension {
            Some(RtpExtension { profile, data }) if data.len().is_multiple_of(4) => {
                Some((profile, u16::try_from(data.len() / 4).map_err(|_| WireError::Malformed)?, data))
            }
            Some(_) => return Err(WireError::Malformed),
            None => None,
        };
        let first = 0x80 | u8::from(self.padding) << 5 | u8::from(extension.is_some()) << 4 | count as u8;
        out.extend_from_slice(&[first, u8::from(self.marker) << 7 | self.payload_type]);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(self.csrcs);
        if let Some((profile, words, data)) = extension {
            out.extend_from_slice(&profile.to_be_bytes());
            out.extend_from_slice(&words.to_be_bytes());
            out.extend_from_slice(data);
        }
        Ok(())
    }
}
