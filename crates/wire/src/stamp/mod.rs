//! STAMP, the Simple Two-way Active Measurement Protocol: RFC 8762 with the optional extensions of RFC 8972.
//!
//! Packets of both ends in both modes ([`packet`]), their timestamps ([`time`]), their TLVs ([`tlv`]), and a reflector
//! that turns a request into a reply ([`mod@reflect`]). Which sessions exist, and which key belongs to which, is the
//! caller's.

pub mod packet;
pub mod reflect;
pub mod time;
pub mod tlv;

use core::fmt;

use ring::hmac;

pub use packet::{AUTHENTICATED_LEN, OPEN_LEN, Reflected, ReflectorPacket, SenderPacket, Sent};
pub use packet::{build_sender, parse_reflector, parse_sender};
pub use reflect::{Counters, FollowUp, ReflectContext, ReplyPlan, TimestampInfo, reflect};
pub use time::{ErrorEstimate, Timestamp, TimestampFormat};
pub use tlv::{ClassOfService, ReversePathEcn, Tlv, TlvFlags, TlvType, Tlvs};

/// UDP, RFC 8762 section 4.1.
pub const STAMP_PORT: u16 = 862;

/// Length of a truncated HMAC-SHA-256, RFC 8762 section 4.4.
pub const HMAC_LEN: usize = 16;

/// The key of a session's HMACs.
#[derive(Clone)]
pub struct StampKey(hmac::Key);

impl StampKey {
    /// Any length; 32 random bytes are right.
    pub fn new(key: &[u8]) -> StampKey {
        StampKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn hmac(&self, parts: [&[u8]; 2]) -> [u8; HMAC_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn verify(&self, parts: [&[u8]; 2], hmac: &[u8]) -> bool {
        let expected = self.hmac(parts);
        // Every byte is looked at, whatever the first ones say: the time taken tells a forger nothing.
        hmac.len() == HMAC_LEN && expected.iter().zip(hmac).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }
}

impl fmt::Debug for StampKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StampKey(..)")
    }
}

/// The mode of a session, agreed on beforehand: nothing in a packet tells the two apart.
#[derive(Clone, Copy, Debug)]
pub enum Security<'a> {
    /// 44-byte packets without HMAC. A packet with an HMAC TLV fails its integrity check.
    Open,
    /// 44-byte packets whose TLVs are protected by an HMAC TLV (RFC 8972, section 4.8).
    OpenWithTlvKey(&'a StampKey),
    /// 112-byte packets with an HMAC; the same key protects their TLVs.
    Authenticated(&'a StampKey),
}

impl<'a> Security<'a> {
    /// Length of a packet without TLVs.
    pub const fn base_len(self) -> usize {
        match self {
            Security::Open | Security::OpenWithTlvKey(_) => OPEN_LEN,
            Security::Authenticated(_) => AUTHENTICATED_LEN,
        }
    }

    const fn tlv_key(self) -> Option<&'a StampKey> {
        match self {
            Security::Open => None,
            Security::OpenWithTlvKey(key) | Security::Authenticated(key) => Some(key),
        }
    }
}
