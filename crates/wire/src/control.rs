//! The `udp` control packet: the size of an RTP probe, and not one byte a classifier could recognise.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       session (masked)                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       sequence (masked)                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          probe header and padding, AES-256-GCM (>= 24 bytes)  |
//! |                              ....                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           tag (16 bytes)                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The unmasked eight bytes are the associated data. The mask's two samples are the bytes 8..24 and 24..40.

use alloc::vec::Vec;

use crate::bytes::put;
use crate::error::WireError;
use crate::probe::{DATAGRAM_MAX, DirectionKey, MaskKey, NonceSpace, Peeked, ProbeHeader, TAG_LEN};

/// The same as an RTP probe's, so that both kinds come in the same sizes.
pub const CONTROL_MIN_LEN: usize = crate::rtp::RTP_MIN_LEN;

const MASKED_LEN: usize = 8;

/// Builds a packet of exactly `len` bytes into `out`, which is cleared first.
///
/// [`WireError::TooShort`] below [`CONTROL_MIN_LEN`], [`WireError::Unsupported`] above what UDP carries or for a
/// sequence above [`SEQUENCE_MAX`](crate::SEQUENCE_MAX).
pub fn build_control(
    out: &mut Vec<u8>,
    session: u32,
    header: &ProbeHeader,
    len: usize,
    key: &DirectionKey,
    mask: &MaskKey,
) -> Result<(), WireError> {
    out.clear();
    if len < CONTROL_MIN_LEN {
        return Err(WireError::TooShort);
    }
    if len > DATAGRAM_MAX {
        return Err(WireError::Unsupported);
    }
    let plaintext = header.bytes()?;
    out.resize(len, 0);
    let mut build = || {
        let peeked = Peeked { session, sequence: header.sequence };
        let (clear, sealed) = out.split_first_chunk_mut::<MASKED_LEN>().ok_or(WireError::TooShort)?;
        let (body, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(WireError::TooShort)?;
        put(body, 0, &plaintext).ok_or(WireError::TooShort)?;
        *tag = key.seal(NonceSpace::Control, header.sequence, &peeked.bytes(), body)?;
        *clear = mask.hide(peeked, samples(sealed)?);
        Ok(())
    };
    build().inspect_err(|_| out.clear())
}

/// Which session the packet claims to be of, before its authenticity is known. Random bytes give random answers.
pub fn peek_control(packet: &[u8], mask: &MaskKey) -> Result<Peeked, WireError> {
    if packet.len() < CONTROL_MIN_LEN {
        return Err(WireError::Truncated);
    }
    let (masked, sealed) = packet.split_first_chunk::<MASKED_LEN>().ok_or(WireError::Truncated)?;
    Ok(mask.reveal(masked, samples(sealed)?))
}

/// Authenticates and decrypts in place. After an error the packet's bytes are unspecified.
pub fn open_control(packet: &mut [u8], peeked: &Peeked, key: &DirectionKey) -> Result<ProbeHeader, WireError> {
    if packet.len() < CONTROL_MIN_LEN {
        return Err(WireError::Truncated);
    }
    let (_, sealed) = packet.split_first_chunk_mut::<MASKED_LEN>().ok_or(WireError::Truncated)?;
    let plaintext = key.open(NonceSpace::Control, peeked.sequence, &peeked.bytes(), sealed)?;
    ProbeHeader::from_plaintext(plaintext, peeked.sequence)
}

fn samples(sealed: &[u8]) -> Result<[&[u8; 16]; 2], WireError> {
    let (first, rest) = sealed.split_first_chunk::<16>().ok_or(WireError::Truncated)?;
    let second = rest.first_chunk::<16>().ok_or(WireError::Truncated)?;
    Ok([first, second])
}
