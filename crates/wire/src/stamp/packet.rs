//! STAMP's four base packets and how they are authenticated (RFC 8762, sections 4.2 to 4.4; SSID of RFC 8972, section
//! 3).
//!
//! ```text
//!                open   auth.                                    open   auth.
//! sequence       0      0        all of a sender's packet;       the reflector's has besides
//! timestamp      4      16       receive timestamp               16     32
//! error          12     24       sender's sequence               24     48
//! SSID           14     26       sender's timestamp              28     64
//! HMAC                  96       sender's error                  36     72
//! length         44     112      sender's TTL                    40     80
//! ```
//!
//! Everything between is zero when sent and ignored when received. The HMAC is over the 96 bytes before it.

use alloc::vec::Vec;

use super::time::{ErrorEstimate, Timestamp};
use super::tlv::{TLV_HEADER_LEN, Tlv, TlvFlags, TlvType, Tlvs};
use super::{HMAC_LEN, Security, StampKey};
use crate::bytes::{Reader, put};
use crate::error::WireError;
use crate::stamp::tlv::ClassOfService;

pub const OPEN_LEN: usize = 44;
pub const AUTHENTICATED_LEN: usize = 112;

const HMAC_AT: usize = AUTHENTICATED_LEN - HMAC_LEN;

/// A Session-Sender's base packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderPacket {
    pub sequence: u32,
    /// T1.
    pub timestamp: Timestamp,
    pub error: ErrorEstimate,
    /// The STAMP Session Identifier; 0 where there is none.
    pub ssid: u16,
}

/// A Session-Reflector's base packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectorPacket {
    /// Its own count, or the sender's sequence where it is stateless.
    pub sequence: u32,
    /// T3.
    pub timestamp: Timestamp,
    /// Of T3 and T2, whose format it names.
    pub error: ErrorEstimate,
    pub ssid: u16,
    /// T2.
    pub received: Timestamp,
    pub sender_sequence: u32,
    /// T1, in the format that `sender_error` names.
    pub sender_timestamp: Timestamp,
    pub sender_error: ErrorEstimate,
    /// The TTL or hop limit the request arrived with. 0 cannot arrive: it stands for a reflector that does not know.
    pub sender_ttl: u8,
}

/// A parsed request.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    pub packet: SenderPacket,
    /// Unchecked: [`reflect()`](super::reflect()) judges them.
    pub tlvs: Tlvs<'a>,
}

/// A parsed reply.
#[derive(Clone, Copy, Debug)]
pub struct Reflected<'a> {
    pub packet: ReflectorPacket,
    /// Whether the TLVs passed their integrity check and the reflector says that the request's did. If not they are not
    /// to be used (RFC 8972, section 4.8), and [`Reflected::tlvs`] yields none.
    pub integrity: bool,
    tlvs: Tlvs<'a>,
}

impl<'a> Reflected<'a> {
    /// The TLVs to be used: those the reflector understood, up to the first malformed one (RFC 8972, section 4).
    pub fn tlvs(&self) -> impl Iterator<Item = Tlv<'a>> + use<'a> {
        self.tlvs
            .take_while(|tlv| !tlv.flags.contains(TlvFlags::MALFORMED) && has_valid_len(tlv))
            .filter(|tlv| !tlv.flags.contains(TlvFlags::UNRECOGNIZED))
    }

    /// What the reflector says of classes of service, if it was asked and understood.
    pub fn class_of_service(&self) -> Option<ClassOfService> {
        self.tlvs()
            .find(|tlv| tlv.kind == TlvType::ClassOfService)
            .and_then(|tlv| tlv.value.try_into().ok())
            .map(ClassOfService::parse)
    }
}

/// Builds a request into `out`, which is cleared first: base packet, `tlvs`, and the HMACs that `security` asks for.
///
/// An HMAC TLV is put last; RFC 8972 does not want one where padding is the only TLV. [`WireError::Unsupported`] for a
/// TLV that is too long.
pub fn build_sender(
    out: &mut Vec<u8>,
    packet: &SenderPacket,
    tlvs: &[Tlv<'_>],
    security: Security<'_>,
) -> Result<(), WireError> {
    out.clear();
    out.resize(security.base_len(), 0);
    let fields = own_fields(packet.sequence, packet.timestamp, packet.error, packet.ssid);
    put_own_fields(out, &fields, security);
    authenticate(out, security);
    let built = tlvs.iter().try_for_each(|tlv| tlv.emit(out)).and_then(|()| match security.tlv_key() {
        Some(key) if tlvs.iter().any(|tlv| tlv.kind != TlvType::ExtraPadding) => {
            let hmac = key.hmac([&packet.sequence.to_be_bytes(), out.get(security.base_len()..).unwrap_or(&[])]);
            Tlv::request(TlvType::Hmac, &hmac).emit(out)
        }
        _ => Ok(()),
    });
    built.inspect_err(|_| out.clear())
}

/// Reads a request, having checked the HMAC of its base packet.
pub fn parse_sender<'a>(packet: &'a [u8], security: Security<'_>) -> Result<Sent<'a>, WireError> {
    let (base, tlvs) = split(packet, security)?;
    let (sequence, timestamp, error, ssid) = read_own_fields(base, security)?;
    Ok(Sent { packet: SenderPacket { sequence, timestamp, error, ssid }, tlvs: Tlvs::new(tlvs) })
}

/// Reads a reply, having checked the HMAC of its base packet and of its TLVs.
pub fn parse_reflector<'a>(packet: &'a [u8], security: Security<'_>) -> Result<Reflected<'a>, WireError> {
    let (base, tlvs) = split(packet, security)?;
    let (sequence, timestamp, error, ssid) = read_own_fields(base, security)?;
    let places = ReflectorPlaces::of(security);
    let packet = ReflectorPacket {
        sequence,
        timestamp,
        error,
        ssid,
        received: Timestamp(at(base, places.received)?.u64()?),
        sender_sequence: at(base, places.sender_sequence)?.u32()?,
        sender_timestamp: Timestamp(at(base, places.sender_timestamp)?.u64()?),
        sender_error: ErrorEstimate::from_bits(at(base, places.sender_error)?.u16()?),
        sender_ttl: at(base, places.sender_ttl)?.u8()?,
    };
    let integrity = !Tlvs::new(tlvs).any(|tlv| tlv.flags.contains(TlvFlags::INTEGRITY))
        && verify_tlvs(sequence, tlvs, security) != Integrity::Failed;
    let tlvs = Tlvs::new(if integrity { tlvs } else { &[] });
    Ok(Reflected { packet, integrity, tlvs })
}

/// Appends a reflector's base packet, with its HMAC.
pub(super) fn put_reflector(out: &mut Vec<u8>, packet: &ReflectorPacket, security: Security<'_>) {
    out.resize(security.base_len(), 0);
    let fields = own_fields(packet.sequence, packet.timestamp, packet.error, packet.ssid);
    put_own_fields(out, &fields, security);
    let places = ReflectorPlaces::of(security);
    put(out, places.received, &packet.received.0.to_be_bytes());
    put(out, places.sender_sequence, &packet.sender_sequence.to_be_bytes());
    put(out, places.sender_timestamp, &packet.sender_timestamp.0.to_be_bytes());
    put(out, places.sender_error, &packet.sender_error.bits().to_be_bytes());
    put(out, places.sender_ttl, &[packet.sender_ttl]);
    authenticate(out, security);
}

struct ReflectorPlaces {
    received: usize,
    sender_sequence: usize,
    sender_timestamp: usize,
    sender_error: usize,
    sender_ttl: usize,
}

impl ReflectorPlaces {
    const fn of(security: Security<'_>) -> ReflectorPlaces {
        let [received, sender_sequence, sender_timestamp, sender_error, sender_ttl] = match security {
            Security::Open | Security::OpenWithTlvKey(_) => [16, 24, 28, 36, 40],
            Security::Authenticated(_) => [32, 48, 64, 72, 80],
        };
        ReflectorPlaces { received, sender_sequence, sender_timestamp, sender_error, sender_ttl }
    }
}

/// Timestamp, error estimate and SSID lie together in every packet, the sequence before them.
const fn timestamp_at(security: Security<'_>) -> usize {
    match security {
        Security::Open | Security::OpenWithTlvKey(_) => 4,
        Security::Authenticated(_) => 16,
    }
}

fn own_fields(sequence: u32, timestamp: Timestamp, error: ErrorEstimate, ssid: u16) -> ([u8; 4], [u8; 12]) {
    let together = u128::from(timestamp.0) << 32 | u128::from(error.bits()) << 16 | u128::from(ssid);
    (sequence.to_be_bytes(), together.to_be_bytes().last_chunk().copied().unwrap_or_default())
}

fn put_own_fields(out: &mut [u8], (sequence, rest): &([u8; 4], [u8; 12]), security: Security<'_>) {
    put(out, 0, sequence);
    put(out, timestamp_at(security), rest);
}

fn read_own_fields(base: &[u8], security: Security<'_>) -> Result<(u32, Timestamp, ErrorEstimate, u16), WireError> {
    let sequence = at(base, 0)?.u32()?;
    let mut reader = at(base, timestamp_at(security))?;
    Ok((sequence, Timestamp(reader.u64()?), ErrorEstimate::from_bits(reader.u16()?), reader.u16()?))
}

fn at(base: &[u8], place: usize) -> Result<Reader<'_>, WireError> {
    base.get(place..).map(Reader::new).ok_or(WireError::Truncated)
}

fn authenticate(out: &mut [u8], security: Security<'_>) {
    if let Security::Authenticated(key) = security {
        let hmac = base_hmac(out, key);
        put(out, HMAC_AT, &hmac);
    }
}

fn base_hmac(base: &[u8], key: &StampKey) -> [u8; HMAC_LEN] {
    key.hmac([base.get(..HMAC_AT).unwrap_or(&[]), &[]])
}

/// Base packet and TLVs, the former authenticated.
fn split<'a>(packet: &'a [u8], security: Security<'_>) -> Result<(&'a [u8], &'a [u8]), WireError> {
    let (base, tlvs) = packet.split_at_checked(security.base_len()).ok_or(WireError::Truncated)?;
    if let Security::Authenticated(key) = security {
        let (covered, hmac) = base.split_at_checked(HMAC_AT).ok_or(WireError::Truncated)?;
        if !key.verify([covered, &[]], hmac) {
            return Err(WireError::Forged);
        }
    }
    Ok((base, tlvs))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integrity {
    /// Neither protected nor required to be.
    Unprotected,
    /// The HMAC TLV is at this offset and right.
    Verified {
        hmac_at: usize,
    },
    Failed,
}

/// RFC 8972, section 4.8: the HMAC TLV is over the sequence and all TLVs before it; only padding may follow it; with a
/// key it must be there unless padding is all there is.
pub(super) fn verify_tlvs(sequence: u32, tlvs: &[u8], security: Security<'_>) -> Integrity {
    let mut iterator = Tlvs::new(tlvs);
    let mut found = None;
    let mut only_padding = true;
    loop {
        let offset = tlvs.len() - iterator.rest().len();
        let Some(tlv) = iterator.next() else { break };
        match (tlv.kind, found) {
            (TlvType::ExtraPadding, _) => {}
            (_, Some(_)) => return Integrity::Failed,
            (TlvType::Hmac, None) => {
                found = Some((offset, tlv.value));
                only_padding = false;
            }
            (_, None) => only_padding = false,
        }
    }
    only_padding &= iterator.rest().is_empty();
    match (found, security) {
        (None, Security::Open) => Integrity::Unprotected,
        (None, _) if only_padding => Integrity::Unprotected,
        // Whoever has given us a key wants it used: without this, leaving the TLV out would be the way around it.
        (None, Security::OpenWithTlvKey(_) | Security::Authenticated(_)) => Integrity::Failed,
        // "MUST be verified before using any data": without a key it cannot be.
        (Some(_), Security::Open) => Integrity::Failed,
        (Some((offset, value)), Security::OpenWithTlvKey(key) | Security::Authenticated(key)) => {
            let covered = tlvs.get(..offset).unwrap_or(&[]);
            if key.verify([&sequence.to_be_bytes(), covered], value) {
                Integrity::Verified { hmac_at: offset }
            } else {
                Integrity::Failed
            }
        }
    }
}

pub(super) fn has_valid_len(tlv: &Tlv<'_>) -> bool {
    tlv.kind.fixed_len().is_none_or(|len| len == tlv.value.len())
}

/// Where a TLV's value begins, given where the TLV does.
pub(super) const fn value_at(tlv_at: usize) -> usize {
    tlv_at + TLV_HEADER_LEN
}
