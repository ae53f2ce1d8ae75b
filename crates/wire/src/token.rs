//! The probe header for protocols where bytes are few: 28 bytes that look random, carried by DNS, HTTP and TLS.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       session (masked)                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       sequence (masked)                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     flags     |      ToS      |   reply ToS   |  version = 1  |  sealed
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           tag (16 bytes)                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! A reply has the sequence of its request, under the key of the other direction. The mask's two samples are the bytes
//! 8..24 and 12..28. DNS and TCP proxies repeat requests: answer a repeated one with the same header, because the same
//! nonce over a different plaintext would give the key's authenticity away.

use crate::error::WireError;
use crate::probe::{DirectionKey, MaskKey, NonceSpace, Peeked, ProbeHeader};

pub const TOKEN_LEN: usize = 28;

/// `in_reply_to` and `sent_at_ns` are not carried.
pub fn seal_token(session: u32, header: &ProbeHeader, key: &DirectionKey, mask: &MaskKey) -> [u8; TOKEN_LEN] {
    let peeked = Peeked { session, sequence: header.sequence };
    let mut sealed = header.short_bytes();
    // Four bytes are below every limit of AES-GCM; should ring refuse, a zero tag is a packet nobody accepts.
    let tag = key.seal(NonceSpace::Token, header.sequence, &peeked.bytes(), &mut sealed).unwrap_or_default();
    let mut token = [0; TOKEN_LEN];
    for (place, byte) in token[8..].iter_mut().zip(sealed.into_iter().chain(tag)) {
        *place = byte;
    }
    let masked = mask.hide(peeked, samples(&token));
    for (place, byte) in token.iter_mut().zip(masked) {
        *place = byte;
    }
    token
}

/// Which session the token claims to be of, before its authenticity is known. Random bytes give random answers.
pub fn peek_token(token: &[u8; TOKEN_LEN], mask: &MaskKey) -> Peeked {
    let masked: [u8; 8] = core::array::from_fn(|i| token[i]);
    mask.reveal(&masked, samples(token))
}

/// Authenticates and decrypts; `in_reply_to` is `None` and `sent_at_ns` 0.
pub fn open_token(token: &[u8; TOKEN_LEN], peeked: &Peeked, key: &DirectionKey) -> Result<ProbeHeader, WireError> {
    let mut sealed: [u8; 20] = core::array::from_fn(|i| token[8 + i]);
    let plaintext = key.open(NonceSpace::Token, peeked.sequence, &peeked.bytes(), &mut sealed)?;
    let short = plaintext.try_into().map_err(|_| WireError::Malformed)?;
    ProbeHeader::from_short(short, peeked.sequence)
}

fn samples(token: &[u8; TOKEN_LEN]) -> [&[u8; 16]; 2] {
    let sealed = token.last_chunk::<20>().unwrap_or(&[0; 20]);
    [sealed.first_chunk().unwrap_or(&[0; 16]), sealed.last_chunk().unwrap_or(&[0; 16])]
}
