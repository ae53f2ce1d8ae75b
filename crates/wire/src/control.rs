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

use crate::error::WireError;
use crate::probe::{DirectionKey, Framing, MaskKey, NonceSpace, Peeked, ProbeHeader};

/// The same as an RTP probe's, so that both kinds come in the same sizes.
pub const CONTROL_MIN_LEN: usize = crate::rtp::RTP_MIN_LEN;

const MASKED_LEN: usize = 8;
const FRAMING: Framing = Framing { space: NonceSpace::Control, head: MASKED_LEN, tail: 0 };

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
    let peeked = Peeked { session, sequence: header.sequence };
    FRAMING.seal(out, header, len, CONTROL_MIN_LEN, &peeked.bytes(), key)?;
    let hidden = out.get(MASKED_LEN..).map(|sealed| Ok(mask.hide(peeked, samples(sealed)?)));
    let hidden = hidden.unwrap_or(Err(WireError::TooShort)).inspect_err(|_| out.clear())?;
    if let Some(head) = out.first_chunk_mut() {
        *head = hidden;
    }
    Ok(())
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
    FRAMING.open(packet, peeked.sequence, &peeked.bytes(), key)
}

fn samples(sealed: &[u8]) -> Result<[&[u8; 16]; 2], WireError> {
    let (first, rest) = sealed.split_first_chunk::<16>().ok_or(WireError::Truncated)?;
    let second = rest.first_chunk::<16>().ok_or(WireError::Truncated)?;
    Ok([first, second])
}
