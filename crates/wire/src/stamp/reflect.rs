//! The Session-Reflector as a function of bytes (RFC 8762, section 4.3; RFC 8972, section 4).
//!
//! The reply is as long as the request, never longer: a reflector must not amplify what a forged source address sends
//! it. For that reason a request shorter than the base packet, which a TWAMP Light sender may send (RFC 8762, section
//! 4.6), is refused.

use alloc::vec::Vec;

use super::Security;
use super::packet::{Integrity, ReflectorPacket, has_valid_len, parse_sender, put_reflector, value_at, verify_tlvs};
use super::time::{ErrorEstimate, Timestamp};
use super::tlv::{ClassOfService, ReversePathEcn, Tlv, TlvFlags, TlvType, Tlvs};
use crate::bytes::put;
use crate::error::WireError;
use crate::tos::{Dscp, Ecn, Tos};

/// Sequence and timestamp of a Follow-Up Telemetry TLV.
const FOLLOW_UP_FILLED: usize = 12;

/// All that a reflector knows besides the request's bytes.
#[derive(Clone, Copy, Debug)]
pub struct ReflectContext<'a> {
    pub security: Security<'a>,
    /// T2, ns since the Unix epoch.
    pub received_ns: i64,
    /// T3, ns since the Unix epoch.
    pub transmit_ns: i64,
    /// Of the clock behind T2 and T3; its format is theirs.
    pub error: ErrorEstimate,
    /// `None`: the socket does not tell. A Class of Service TLV is then answered as not understood.
    pub received_tos: Option<Tos>,
    /// `None`: the socket does not tell. The reply then says 0.
    pub received_ttl: Option<u8>,
    /// `None`: stateless, the sender's sequence is repeated.
    pub reply_sequence: Option<u32>,
    /// Bit n: a reply may be sent with DSCP n.
    pub allowed_dscp: u64,
    /// Whether a reply can be sent with the ECN that a request asks for.
    pub sets_ecn: bool,
    /// `None`: a Timestamp Information TLV is answered as not understood.
    pub timestamp_info: Option<TimestampInfo>,
    /// `None`: a Direct Measurement TLV is answered as not understood.
    pub counters: Option<Counters>,
    /// Of the session's previous reply. `None`: there is none, or the reflector is stateless.
    pub follow_up: Option<FollowUp>,
}

impl ReflectContext<'_> {
    /// An open, stateless reflector that permits every DSCP and ECN and has been told nothing of the packet but its
    /// times.
    pub const fn new(received_ns: i64, transmit_ns: i64, error: ErrorEstimate) -> Self {
        ReflectContext {
            security: Security::Open,
            received_ns,
            transmit_ns,
            error,
            received_tos: None,
            received_ttl: None,
            reply_sequence: None,
            allowed_dscp: u64::MAX,
            sets_ecn: true,
            timestamp_info: None,
            counters: None,
            follow_up: None,
        }
    }
}

/// How the reflector's timestamps came about (RFC 8972, section 4.3), in the numbers of IANA's registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampInfo {
    /// 1 NTP, 2 PTP, 3 SSU/BITS, 4 satellites, 5 free running.
    pub synchronization: u8,
    /// Of T2: 1 hardware, 2 software, 3 control plane.
    pub received_by: u8,
    /// Of T3, likewise.
    pub transmitted_by: u8,
}

/// Packets of the session so far, this one included (RFC 8972, section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub received: u32,
    pub transmitted: u32,
}

/// When the previous reply really left (RFC 8972, section 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowUp {
    pub sequence: u32,
    pub transmit_ns: i64,
    /// 1 hardware, 2 software, 3 control plane.
    pub transmitted_by: u8,
}

/// How the reply is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyPlan {
    /// What a Class of Service TLV asked for, if it is permitted; else what the request arrived with, if that is known.
    pub dscp: Dscp,
    pub ecn: Ecn,
    /// The session the request names, 0 if none.
    pub ssid: u16,
    pub sender_sequence: u32,
}

/// Turns a request into the reply in `out`, which is cleared first.
///
/// [`WireError::Truncated`]: shorter than a base packet. [`WireError::Forged`]: the base packet's HMAC is wrong.
/// Whatever is wrong with the TLVs is the reply's to tell.
pub fn reflect(request: &[u8], context: &ReflectContext<'_>, out: &mut Vec<u8>) -> Result<ReplyPlan, WireError> {
    out.clear();
    let security = context.security;
    let sent = parse_sender(request, security)?;
    let sender = sent.packet;
    let reply = ReflectorPacket {
        sequence: context.reply_sequence.unwrap_or(sender.sequence),
        timestamp: Timestamp::from_unix_ns(context.transmit_ns, context.error.format),
        error: context.error,
        ssid: sender.ssid,
        received: Timestamp::from_unix_ns(context.received_ns, context.error.format),
        sender_sequence: sender.sequence,
        sender_timestamp: sender.timestamp,
        sender_error: sender.error,
        sender_ttl: context.received_ttl.unwrap_or(0),
    };
    put_reflector(out, &reply, security);
    let mut plan = ReplyPlan {
        dscp: context.received_tos.map_or(Dscp::BEST_EFFORT, Tos::dscp),
        ecn: Ecn::NotEct,
        ssid: sender.ssid,
        sender_sequence: sender.sequence,
    };
    let requested = sent.tlvs.rest();
    out.extend_from_slice(requested);
    let tlvs = out.get_mut(security.base_len()..).unwrap_or(&mut []);
    let integrity = verify_tlvs(sender.sequence, requested, security);
    if integrity == Integrity::Failed {
        mark_all(requested, tlvs);
        return Ok(plan);
    }
    answer_all(requested, tlvs, context, &mut plan);
    if let (Integrity::Verified { hmac_at }, Some(key)) = (integrity, security.tlv_key()) {
        let hmac = key.hmac([&reply.sequence.to_be_bytes(), tlvs.get(..hmac_at).unwrap_or(&[])]);
        put(tlvs, value_at(hmac_at), &hmac);
    }
    Ok(plan)
}

/// The integrity check failed: nothing is processed, every TLV is copied and says so.
fn mark_all(requested: &[u8], reply: &mut [u8]) {
    let mut iterator = Tlvs::new(requested);
    loop {
        let at = requested.len() - iterator.rest().len();
        if iterator.next().is_none() {
            // What is no whole TLV is marked as both.
            put_flags(reply, at, TlvFlags(TlvFlags::INTEGRITY.0 | TlvFlags::MALFORMED.0));
            return;
        }
        put_flags(reply, at, TlvFlags::INTEGRITY);
    }
}

/// Answers one TLV after the other; the first malformed one is marked and ends it, what follows stays as it came.
fn answer_all(requested: &[u8], reply: &mut [u8], context: &ReflectContext<'_>, plan: &mut ReplyPlan) {
    let mut iterator = Tlvs::new(requested);
    loop {
        let at = requested.len() - iterator.rest().len();
        let Some(tlv) = iterator.next() else {
            put_flags(reply, at, TlvFlags::MALFORMED);
            return;
        };
        let value = reply.get_mut(value_at(at)..).and_then(|rest| rest.get_mut(..tlv.value.len())).unwrap_or(&mut []);
        let flags = answer(&tlv, value, context, plan);
        put_flags(reply, at, flags);
        if flags == TlvFlags::MALFORMED {
            return;
        }
    }
}

fn put_flags(reply: &mut [u8], at: usize, flags: TlvFlags) {
    // Past the end there is nothing left to mark.
    put(reply, at, &[flags.0]);
}

/// Fills in the value of one TLV and judges it.
fn answer(tlv: &Tlv<'_>, value: &mut [u8], context: &ReflectContext<'_>, plan: &mut ReplyPlan) -> TlvFlags {
    if !has_valid_len(tlv) {
        if tlv.kind == TlvType::FollowUpTelemetry {
            // RFC 8972, section 4.7 and erratum 8339: not what the sender may have left there.
            value.iter_mut().take(FOLLOW_UP_FILLED).for_each(|byte| *byte = 0);
        }
        return TlvFlags::MALFORMED;
    }
    let understood = match tlv.kind {
        TlvType::ExtraPadding | TlvType::Hmac => Some(()),
        TlvType::ClassOfService => class_of_service(tlv.value, context, plan).map(|bytes| {
            put(value, 0, &bytes);
        }),
        TlvType::TimestampInformation => context.timestamp_info.map(|info| {
            put(value, 0, &[info.synchronization, info.received_by, info.synchronization, info.transmitted_by]);
        }),
        TlvType::DirectMeasurement => context.counters.map(|counters| {
            // The sender's own counter, the first four bytes, is returned as it is.
            put(value, 4, &counters.received.to_be_bytes());
            put(value, 8, &counters.transmitted.to_be_bytes());
        }),
        TlvType::AccessReport => match tlv.value.first().map(|first| first >> 4) {
            // 3GPP and non-3GPP networks; everything else is invalid (RFC 8972, section 4.6).
            Some(1 | 2) => Some(()),
            _ => return TlvFlags::MALFORMED,
        },
        TlvType::FollowUpTelemetry => {
            put(value, 0, &follow_up(context));
            Some(())
        }
        TlvType::Location | TlvType::Other(_) => None,
    };
    if understood.is_some() { TlvFlags::NONE } else { TlvFlags::UNRECOGNIZED }
}

/// Answers in the layout that was asked in: of the RFC where the draft's EC1 is zero.
fn class_of_service(value: &[u8], context: &ReflectContext<'_>, plan: &mut ReplyPlan) -> Option<[u8; 4]> {
    let received = context.received_tos?;
    let mut class = ClassOfService::parse(value.try_into().ok()?);
    class.received_dscp = received.dscp();
    class.received_ecn = received.ecn();
    if context.allowed_dscp >> class.requested_dscp.get() & 1 == 1 {
        plan.dscp = class.requested_dscp;
        class.reverse_path = 0;
    } else {
        plan.dscp = received.dscp();
        class.reverse_path = 1;
    }
    class.reverse_path_ecn = match class.requested_ecn {
        Ecn::NotEct => ReversePathEcn::NotSupported,
        wanted if context.sets_ecn => {
            plan.ecn = wanted;
            ReversePathEcn::Done
        }
        _ => ReversePathEcn::Refused,
    };
    Some(class.bytes())
}

/// Sequence, timestamp, mode and three reserved bytes; all zero where there was no previous reply.
fn follow_up(context: &ReflectContext<'_>) -> [u8; 16] {
    let mut value = [0; 16];
    if let Some(previous) = context.follow_up.filter(|_| context.reply_sequence.is_some()) {
        put(&mut value, 0, &previous.sequence.to_be_bytes());
        let timestamp = Timestamp::from_unix_ns(previous.transmit_ns, context.error.format);
        put(&mut value, 4, &timestamp.0.to_be_bytes());
        put(&mut value, 12, &[previous.transmitted_by]);
    }
    value
}
