//! The reflector: what RFC 8762 and RFC 8972 have it answer, byte by byte.

use crate::common::{STAMP_KEY, dirty, hex, vector};
use wire::stamp::{
    Counters, ErrorEstimate, FollowUp, ReflectContext, ReplyPlan, Security, StampKey, TimestampFormat, TimestampInfo,
    Tlv, TlvType, build_sender, parse_reflector, parse_sender, reflect,
};
use wire::{Dscp, Ecn, Tos, WireError};

/// T2 and T3 of the vectors: two and three seconds after T1.
const RECEIVED_NS: i64 = 1_700_000_002_500_000_000;
const TRANSMIT_NS: i64 = 1_700_000_003_500_000_000;
/// EF, ECT(0).
const TOS: Tos = Tos::from_byte(0xba);

fn context() -> ReflectContext<'static> {
    ReflectContext {
        received_tos: Some(TOS),
        received_ttl: Some(57),
        reply_sequence: Some(4),
        ..ReflectContext::new(RECEIVED_NS, TRANSMIT_NS, ErrorEstimate::from_bits(0x0c01))
    }
}

fn open_request(tlvs: &str) -> Vec<u8> {
    [vector("stamp_sender_open"), hex(tlvs)].concat()
}

/// The reply's TLVs, and how it is to be sent.
fn answer(tlvs: &str, context: &ReflectContext<'_>) -> (Vec<u8>, ReplyPlan) {
    let request = open_request(tlvs);
    let mut out = dirty();
    let plan = reflect(&request, context, &mut out).unwrap();
    assert_eq!(out.len(), request.len(), "as long as the request");
    assert_eq!(out[..4], hex("00000004"));
    (out.split_off(44), plan)
}

fn tlvs_of(tlvs: &str, context: &ReflectContext<'_>) -> Vec<u8> {
    answer(tlvs, context).0
}

#[test]
fn a_base_packet_is_answered_with_one() {
    let mut out = dirty();
    let plan = reflect(&vector("stamp_sender_open"), &context(), &mut out).unwrap();
    assert_eq!(out, vector("stamp_reflector_open"));
    let expected = ReplyPlan { dscp: Dscp::EF, ecn: Ecn::NotEct, ssid: 0xbeef, sender_sequence: 9 };
    assert_eq!(plan, expected, "without a TLV that asks otherwise the DSCP is returned");
}

#[test]
fn a_stateless_reflector_repeats_the_sequence() {
    let mut out = dirty();
    let context = ReflectContext { reply_sequence: None, received_ttl: None, received_tos: None, ..context() };
    let plan = reflect(&vector("stamp_sender_open"), &context, &mut out).unwrap();
    assert_eq!((&out[..4], out[40]), ([0, 0, 0, 9].as_slice(), 0));
    assert_eq!(plan.dscp, Dscp::BEST_EFFORT);
}

#[test]
fn an_authenticated_request_is_answered_signed() {
    let key = StampKey::new(STAMP_KEY);
    let context = ReflectContext { security: Security::Authenticated(&key), ..context() };
    let mut out = dirty();
    let plan = reflect(&vector("stamp_sender_auth"), &context, &mut out).unwrap();
    assert_eq!(out, vector("stamp_reflector_auth"));
    assert_eq!((plan.dscp, plan.ecn), (Dscp::EF, Ecn::NotEct));

    let mut forged = vector("stamp_sender_auth");
    forged[3] ^= 1;
    assert_eq!(reflect(&forged, &context, &mut out), Err(WireError::Forged));
    assert!(out.is_empty());
}

#[test]
fn a_short_request_is_not_answered() {
    let mut out = dirty();
    let request = vector("stamp_sender_open");
    for len in 0..44 {
        assert_eq!(reflect(&request[..len], &context(), &mut out), Err(WireError::Truncated), "{len}");
        assert!(out.is_empty());
    }
}

#[test]
fn times_are_in_the_reflector_s_own_format() {
    let error = ErrorEstimate { format: TimestampFormat::Ptp, ..ErrorEstimate::from_bits(0x0c01) };
    let mut out = dirty();
    reflect(&vector("stamp_sender_open"), &ReflectContext { error, ..context() }, &mut out).unwrap();
    let reply = parse_reflector(&out, Security::Open).unwrap().packet;
    assert_eq!(reply.timestamp.to_unix_ns(reply.error.format), Some(TRANSMIT_NS));
    assert_eq!(reply.received.to_unix_ns(reply.error.format), Some(RECEIVED_NS));
    assert_eq!(reply.sender_timestamp.to_unix_ns(reply.sender_error.format), Some(1_700_000_000_500_000_000));
    assert_eq!(out[12..14], hex("4c01"));
}

#[test]
fn class_of_service_is_answered_in_the_layout_it_was_asked_in() {
    // The RFC's own example, and what another implementation of the draft was captured to send and receive.
    let (tlvs, plan) = answer("80 04 0004 b8000000", &context());
    assert_eq!((tlvs, plan.dscp, plan.ecn), (hex("00 04 0004 bae80000"), Dscp::EF, Ecn::NotEct));
    let (tlvs, plan) = answer("80 04 0004 b8008000", &context());
    assert_eq!((tlvs, plan.dscp, plan.ecn), (hex("00 04 0004 bae8b000"), Dscp::EF, Ecn::Ect0));
}

#[test]
fn what_class_of_service_asks_for_may_be_refused() {
    // AF41 asked for, EF received; ECT(1) asked for.
    let only_ef = ReflectContext { allowed_dscp: 1 << 46, sets_ecn: false, ..context() };
    let (tlvs, plan) = answer("80 04 0004 88004000", &only_ef);
    assert_eq!(tlvs, hex("00 04 0004 8ae96000"), "RP 1, RPE 2");
    assert_eq!((plan.dscp, plan.ecn), (Dscp::EF, Ecn::NotEct));
    let (tlvs, plan) = answer("80 04 0004 88004000", &context());
    assert_eq!(tlvs, hex("00 04 0004 8ae87000"), "RP 0, RPE 3");
    assert_eq!((plan.dscp.get(), plan.ecn), (34, Ecn::Ect1));
    // What a sender should have left zero does not come back, nor do reserved bits.
    let (tlvs, _) = answer("80 04 0004 bbff0fff", &context());
    assert_eq!(tlvs, hex("00 04 0004 bae80000"));
}

#[test]
fn what_the_socket_did_not_tell_is_not_made_up() {
    let blind = ReflectContext { received_tos: None, ..context() };
    let (tlvs, plan) = answer("80 04 0004 b8000000", &blind);
    assert_eq!((tlvs, plan.dscp), (hex("80 04 0004 b8000000"), Dscp::BEST_EFFORT));
}

#[test]
fn unknown_tlvs_come_back_marked_and_known_ones_unmarked() {
    let request = "e0 01 0002 0102  80 63 0003 aabbcc  00 00 0000  80 ff 0001 00  80 02 0004 00000000";
    let reply = "00 01 0002 0102  80 63 0003 aabbcc  80 00 0000  80 ff 0001 00  80 02 0004 00000000";
    assert_eq!(tlvs_of(request, &context()), hex(reply));
}

#[test]
fn a_malformed_tlv_ends_the_processing() {
    for (request, reply) in [
        ("80 04 0003 b80000  80 04 0004 b8000000", "40 04 0003 b80000  80 04 0004 b8000000"),
        ("80 04 0004 b8000000  80 04 0005 b800000000", "00 04 0004 bae80000  40 04 0005 b800000000"),
        ("80 01 0005 01020304", "40 01 0005 01020304"),
        ("80 01 00", "40 01 00"),
        ("80", "40"),
        ("80 06 0004 30000000", "40 06 0004 30000000"),
        ("80 07 0011 ffffffffffffffffffffffffffffffffff", "40 07 0011 000000000000000000000000ffffffffff"),
        ("80 07 0003 ffffff 80 01 0000", "40 07 0003 000000 80 01 0000"),
    ] {
        assert_eq!(tlvs_of(request, &context()), hex(reply), "{request}");
    }
}

#[test]
fn the_other_tlvs_are_filled_in_as_far_as_there_is_something_to_say() {
    let request = "80 03 0004 00000000  80 05 000c 00000007 00000000 00000000  80 06 0004 11000000 \
                   80 07 0010 00000000 0000000000000000 00000000";
    let nothing = tlvs_of(request, &context());
    let echoed = "80 03 0004 00000000  80 05 000c 00000007 00000000 00000000  00 06 0004 11000000 \
                  00 07 0010 00000000 0000000000000000 00000000";
    assert_eq!(nothing, hex(echoed));
    let all = ReflectContext {
        timestamp_info: Some(TimestampInfo { synchronization: 1, received_by: 2, transmitted_by: 3 }),
        counters: Some(Counters { received: 8, transmitted: 6 }),
        follow_up: Some(FollowUp { sequence: 3, transmit_ns: RECEIVED_NS, transmitted_by: 2 }),
        ..context()
    };
    let filled = "00 03 0004 01020103  00 05 000c 00000007 00000008 00000006  00 06 0004 11000000 \
                  00 07 0010 00000003 e8fe6f8280000000 02000000";
    assert_eq!(tlvs_of(request, &all), hex(filled));
    let stateless = ReflectContext { reply_sequence: None, ..all };
    let mut out = dirty();
    reflect(&open_request("80 07 0010 11111111 2222222222222222 33333333"), &stateless, &mut out).unwrap();
    assert_eq!(out[44..], hex("00 07 0010 00000000 0000000000000000 00000000"));
}

/// RFC 8972, section 4.8: no key, no HMAC TLV, a wrong one, or one in the wrong place.
#[test]
fn a_failed_integrity_check_marks_every_tlv_and_processes_none() {
    let key = StampKey::new(STAMP_KEY);
    let with_key = ReflectContext { security: Security::OpenWithTlvKey(&key), ..context() };
    let hmac = "80 08 0010 00112233445566778899aabbccddeeff";
    let marked = "20 08 0010 00112233445566778899aabbccddeeff";
    for context in [&context(), &with_key] {
        let (tlvs, plan) = answer(&format!("80 04 0004 88000000 {hmac} 80 01 0001 00"), context);
        assert_eq!(tlvs, hex(&format!("20 04 0004 88000000 {marked} 20 01 0001 00")));
        assert_eq!(plan.dscp, Dscp::EF, "AF41 was not looked at");
    }
    assert_eq!(tlvs_of("80 04 0004 88000000", &with_key), hex("20 04 0004 88000000"), "the HMAC TLV is missing");
    assert_eq!(tlvs_of("80 01 0001 00 80 01 0000", &with_key), hex("00 01 0001 00 00 01 0000"), "padding needs none");
    assert_eq!(tlvs_of("80 04 0009 88000000", &with_key), hex("60 04 0009 88000000"), "cut, and unprotected");

    let mut request = Vec::new();
    let sender = parse_sender(&vector("stamp_sender_open"), with_key.security).unwrap().packet;
    let class = [0x88, 0, 0, 0];
    let tlvs = [Tlv::request(TlvType::ClassOfService, &class), Tlv::request(TlvType::ExtraPadding, &[1, 2])];
    build_sender(&mut request, &sender, &tlvs, with_key.security).unwrap();
    let mut out = dirty();
    let plan = reflect(&request, &with_key, &mut out).unwrap();
    assert_eq!((out.len(), plan.dscp.get()), (request.len(), 34));
    let reply = parse_reflector(&out, with_key.security).unwrap();
    assert!(reply.integrity, "the reply's HMAC is over the reply's sequence and TLVs");
    assert_eq!(reply.class_of_service().unwrap().received_dscp, Dscp::EF);

    // Padding may follow, and nothing else.
    request.extend(hex("80 01 0001 00"));
    reflect(&request, &with_key, &mut out).unwrap();
    assert!(parse_reflector(&out, with_key.security).unwrap().integrity);
    request.extend(hex("80 06 0004 10000000"));
    reflect(&request, &with_key, &mut out).unwrap();
    assert!(!parse_reflector(&out, with_key.security).unwrap().integrity);
    assert_eq!(out[out.len() - 8..], hex("20 06 0004 10000000"));
}

/// What stamp-suite 1.0.0 sent, captured on loopback: `stamp-suite -r 127.0.0.1 -c 3 --ssid 7 --cos --dscp 46 --ecn 2
/// --timestamp-info --follow-up-telemetry --extra-padding 20 -A A --hmac-key abababababababababababababababab`. It accepted
/// replies of this crate, as this crate did its.
#[test]
fn another_implementation_s_request_is_verified_and_answered() {
    let request =
        hex("00000000000000000000000000000000eeadea4727e1a45f000100070000000000000000000000000000000000000000
        000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
        ee90a13e4f12aec5e6741a9ce6375ce2  80040004b8008000  8003000400000000
        8007001000000000000000000000000000000000  800100147ebb1109fb38cda0888712836fe508fd87404a49
        800800103653d62bda6c96908e32436620f91c01");
    let key = StampKey::new(&[0xab; 16]);
    let context = ReflectContext { security: Security::Authenticated(&key), ..context() };
    let mut out = dirty();
    let plan = reflect(&request, &context, &mut out).unwrap();
    assert_eq!((plan.dscp, plan.ecn, plan.ssid), (Dscp::EF, Ecn::Ect0, 7));
    assert_eq!(out[112..120], hex("00040004bae8b000"));
    assert_eq!(out.len(), request.len());
    assert!(parse_reflector(&out, context.security).unwrap().integrity);
    let mut altered = request.clone();
    altered[117] ^= 0x10;
    let plan = reflect(&altered, &context, &mut out).unwrap();
    assert_eq!((out[112] & 0x20, plan.ecn), (0x20, Ecn::NotEct), "its HMAC TLV covers what is before it");
}
