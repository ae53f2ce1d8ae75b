//! The vectors of vectors.py (see there for how they are made), and the values they are made of.

use data_encoding::HEXLOWER_PERMISSIVE;
use wire::{DirectionKey, MaskKey, ProbeFlags, ProbeHeader, Tos};

pub(crate) const SESSION: u32 = 0x1234_5678;
pub(crate) const SEQUENCE: u32 = 0x00fe_dcba;
pub(crate) const STAMP_KEY: &[u8] = b"an HMAC key of a STAMP session!!";

/// The bytes of one line of vectors.txt.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let line = include_str!("vectors.txt").lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    hex(line.unwrap_or_else(|| panic!("vectors.txt has no {name}")))
}

/// Spaces are for the reader's eyes.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).expect("hexadecimal digits")
}

/// What an encoder must not rely on: neither empty nor zero.
pub(crate) fn dirty() -> Vec<u8> {
    vec![0xa5; 300]
}

pub(crate) fn key() -> DirectionKey {
    DirectionKey::new(&core::array::from_fn(|i| i as u8))
}

pub(crate) fn reply_key() -> DirectionKey {
    DirectionKey::new(&core::array::from_fn(|i| 31 - i as u8))
}

pub(crate) fn mask() -> MaskKey {
    MaskKey::new(&core::array::from_fn(|i| 32 + i as u8))
}

pub(crate) fn request() -> ProbeHeader {
    ProbeHeader {
        flags: ProbeFlags::REPLY_WANTED,
        tos: Tos::from_byte(0xba),
        reply_tos: Tos::from_byte(0x28),
        sequence: SEQUENCE,
        in_reply_to: None,
        sent_at_ns: 1_700_000_000_123_456_789,
    }
}

pub(crate) fn reply() -> ProbeHeader {
    ProbeHeader { flags: ProbeFlags::REPLY, in_reply_to: Some(77), ..request() }
}

/// Every way of changing one bit.
pub(crate) fn with_one_bit_flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 0x80 >> (bit % 8);
        changed
    })
}
