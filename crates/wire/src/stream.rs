//! A probe on a TCP connection without one byte that a classifier could recognise: the control of http and tls.
//!
//! A [`token`](crate::token), which looks random, and filler up to the size of what it is compared with.

use alloc::vec::Vec;

use crate::token::TOKEN_LEN;

/// Token and filler; the same both ways.
pub fn build_stream(out: &mut Vec<u8>, token: &[u8; TOKEN_LEN], filler: &[u8]) {
    out.clear();
    out.extend_from_slice(token);
    out.extend_from_slice(filler);
}

/// The token of a stream so far; `None` until it is there. Any bytes are a token to who has not authenticated it.
pub fn parse_stream(stream: &[u8]) -> Option<[u8; TOKEN_LEN]> {
    stream.first_chunk().copied()
}
