//! STAMP packets against scapy's (open) and against struct and HMAC in Python (authenticated); times against the
//! epochs.

use crate::common::{STAMP_KEY, dirty, hex, vector};
use wire::stamp::{
    ClassOfService, ErrorEstimate, ReflectorPacket, ReversePathEcn, Security, SenderPacket, StampKey, Timestamp,
    TimestampFormat, Tlv, TlvFlags, TlvType, Tlvs, build_sender, parse_reflector, parse_sender,
};
use wire::{Dscp, Ecn, WireError};

/// 2023-11-14T22:13:20.5Z.
const T1_NS: i64 = 1_700_000_000_500_000_000;
const T1: Timestamp = Timestamp(0xe8fe_6f80_8000_0000);

const SENDER: SenderPacket = SenderPacket {
    sequence: 9,
    timestamp: T1,
    error: ErrorEstimate { synchronized: true, format: TimestampFormat::Ntp, scale: 10, multiplier: 3 },
    ssid: 0xbeef,
};

const REFLECTOR: ReflectorPacket = ReflectorPacket {
    sequence: 4,
    timestamp: Timestamp(T1.0 + (3 << 32)),
    error: ErrorEstimate { synchronized: false, format: TimestampFormat::Ntp, scale: 12, multiplier: 1 },
    ssid: 0xbeef,
    received: Timestamp(T1.0 + (2 << 32)),
    sender_sequence: 9,
    sender_timestamp: T1,
    sender_error: SENDER.error,
    sender_ttl: 57,
};

#[test]
fn open_packets_are_scapy_s() {
    let mut out = dirty();
    build_sender(&mut out, &SENDER, &[], Security::Open).unwrap();
    assert_eq!(out, vector("stamp_sender_open"));
    assert_eq!(parse_sender(&out, Security::Open).unwrap().packet, SENDER);
    let reply = vector("stamp_reflector_open");
    let reply = parse_reflector(&reply, Security::Open).unwrap();
    assert_eq!((reply.packet, reply.integrity, reply.tlvs().count()), (REFLECTOR, true, 0));
}

#[test]
fn authenticated_packets_are_signed_in_both_parts() {
    let key = StampKey::new(STAMP_KEY);
    let security = Security::Authenticated(&key);
    let mut out = dirty();
    let class = ClassOfService::request(Dscp::EF).bytes();
    build_sender(&mut out, &SENDER, &[Tlv::request(TlvType::ClassOfService, &class)], security).unwrap();
    assert_eq!(out, vector("stamp_sender_auth"));
    assert_eq!(parse_sender(&out, security).unwrap().packet, SENDER);

    let reply = vector("stamp_reflector_auth");
    let reply = parse_reflector(&reply, security).unwrap();
    assert_eq!((reply.packet, reply.integrity), (REFLECTOR, true));
    let class = reply.class_of_service().unwrap();
    assert_eq!((class.received_dscp, class.received_ecn, class.refused()), (Dscp::EF, Ecn::Ect0, false));
}

#[test]
fn what_was_signed_cannot_be_changed() {
    let key = StampKey::new(STAMP_KEY);
    let security = Security::Authenticated(&key);
    for changed in crate::common::with_one_bit_flipped(&vector("stamp_reflector_auth")).enumerate() {
        let (bit, changed) = changed;
        let result = parse_reflector(&changed, security);
        match bit / 8 {
            0..112 => assert_eq!(result.err(), Some(WireError::Forged), "bit {bit}"),
            // The HMAC is over the TLVs before it: its own flags are not covered, and have no say.
            120 => assert_eq!(result.unwrap().class_of_service().is_some(), bit != 120 * 8 + 2, "bit {bit}"),
            _ => {
                let reply = result.unwrap();
                assert!(!reply.integrity && reply.tlvs().count() == 0, "bit {bit}");
            }
        }
    }
    let other = StampKey::new(b"another");
    let forged = parse_sender(&vector("stamp_sender_auth"), Security::Authenticated(&other)).err();
    assert_eq!(forged, Some(WireError::Forged));
    assert_eq!(format!("{key:?}"), "StampKey(..)");
}

#[test]
fn a_packet_shorter_than_its_mode_s_base_is_cut() {
    let key = StampKey::new(STAMP_KEY);
    for (name, security) in
        [("stamp_reflector_open", Security::Open), ("stamp_reflector_auth", Security::Authenticated(&key))]
    {
        let packet = vector(name);
        for len in 0..security.base_len() {
            assert_eq!(parse_reflector(&packet[..len], security).err(), Some(WireError::Truncated), "{len}");
            assert_eq!(parse_sender(&packet[..len], security).err(), Some(WireError::Truncated), "{len}");
        }
    }
}

/// Requests as RFC 8972 and the draft have them, replies as peers sent them.
#[test]
fn class_of_service_has_the_bits_of_the_rfc_and_of_the_draft() {
    let request = ClassOfService::request(Dscp::EF);
    assert_eq!(request.bytes().to_vec(), hex("b8000000"));
    let draft = ClassOfService { requested_ecn: Ecn::Ect0, ..request };
    assert_eq!(draft.bytes().to_vec(), hex("b8008000"));

    let reply = ClassOfService { received_dscp: Dscp::EF, received_ecn: Ecn::Ect0, ..request };
    assert_eq!(ClassOfService::parse([0xba, 0xe8, 0, 0]), reply);
    assert_eq!(reply.bytes().to_vec(), hex("bae80000"));
    let draft_reply = ClassOfService { requested_ecn: Ecn::Ect0, reverse_path_ecn: ReversePathEcn::Done, ..reply };
    assert_eq!(ClassOfService::parse([0xba, 0xe8, 0xb0, 0]), draft_reply);
    assert_eq!(draft_reply.bytes().to_vec(), hex("bae8b000"));

    // Each field alone, so that no two can be swapped: 110011 010101 10 01 01 10.
    let each = ClassOfService::parse([0b1100_1101, 0b0101_1001, 0b0110_0000, 0]);
    assert_eq!(each.requested_dscp.get(), 0b11_0011);
    assert_eq!(each.received_dscp.get(), 0b01_0101);
    assert_eq!((each.received_ecn, each.reverse_path, each.refused()), (Ecn::Ect0, 1, true));
    assert_eq!((each.requested_ecn, each.reverse_path_ecn), (Ecn::Ect1, ReversePathEcn::Refused));
    assert_eq!(each.bytes(), [0b1100_1101, 0b0101_1001, 0b0110_0000, 0]);
}

#[test]
fn a_request_s_tlvs_follow_its_base_packet() {
    let mut out = dirty();
    let class = ClassOfService::request(Dscp::EF).bytes();
    let tlvs = [Tlv::request(TlvType::ClassOfService, &class), Tlv::request(TlvType::ExtraPadding, &[7; 5])];
    build_sender(&mut out, &SENDER, &tlvs, Security::Open).unwrap();
    assert_eq!(out[44..], hex("80 04 0004 b8000000  80 01 0005 0707070707"));
    assert_eq!(Tlvs::new(&out[44..]).collect::<Vec<_>>(), tlvs);
    assert!(Tlvs::new(&out[44..out.len() - 1]).eq([tlvs[0]]), "the cut one is not yielded");

    let key = StampKey::new(STAMP_KEY);
    build_sender(&mut out, &SENDER, &tlvs[1..], Security::Authenticated(&key)).unwrap();
    assert_eq!(out.len(), 112 + 9, "padding alone needs no HMAC TLV");
    build_sender(&mut out, &SENDER, &tlvs, Security::OpenWithTlvKey(&key)).unwrap();
    assert_eq!(out.len(), 44 + 8 + 9 + 20);
    let too_long = vec![0; 65_536];
    let result = build_sender(&mut out, &SENDER, &[Tlv::request(TlvType::ExtraPadding, &too_long)], Security::Open);
    assert_eq!((result, out.len()), (Err(WireError::Unsupported), 0));
}

/// RFC 8972, section 4: what a sender does with a reply's flags.
#[test]
fn a_reply_s_flags_are_obeyed() {
    let reply = |tlvs: &str| {
        let packet = [vector("stamp_reflector_open"), hex(tlvs)].concat();
        let reply = parse_reflector(&packet, Security::Open).unwrap();
        let kinds: Vec<u8> = reply.tlvs().map(|tlv| tlv.kind.byte()).collect();
        (reply.integrity, reply.class_of_service().is_some(), kinds)
    };
    assert_eq!(reply("00010000 00040004bae80000"), (true, true, vec![1, 4]));
    assert_eq!(reply("80030004b8000000 00040004bae80000"), (true, true, vec![4]), "U: skip it");
    assert_eq!(reply("80040004b8000000"), (true, false, vec![]), "a reflector that only copies is found out");
    assert_eq!(reply("00010000 40030004b8000000 00040004bae80000"), (true, false, vec![1]), "M: stop");
    assert_eq!(reply("00010000 20030004b8000000 00040004bae80000"), (false, false, vec![]), "I: use none");
    assert_eq!(reply("00010000 00040005bae8000000"), (true, false, vec![1]), "a length that cannot be");
    assert_eq!(reply("00040004bae80000 0008 0010 00112233445566778899aabbccddeeff"), (false, false, vec![]));
}

#[test]
fn types_have_their_registered_numbers() {
    let named = [
        (1, TlvType::ExtraPadding, None),
        (2, TlvType::Location, None),
        (3, TlvType::TimestampInformation, Some(4)),
        (4, TlvType::ClassOfService, Some(4)),
        (5, TlvType::DirectMeasurement, Some(12)),
        (6, TlvType::AccessReport, Some(4)),
        (7, TlvType::FollowUpTelemetry, Some(16)),
        (8, TlvType::Hmac, Some(16)),
    ];
    for (number, kind, len) in named {
        assert_eq!((TlvType::from_byte(number), kind.fixed_len()), (kind, len));
    }
    assert!((0..=255).all(|byte| TlvType::from_byte(byte).byte() == byte));
    assert_eq!(
        [TlvFlags::UNRECOGNIZED, TlvFlags::MALFORMED, TlvFlags::INTEGRITY].map(|flags| flags.0),
        [0x80, 0x40, 0x20]
    );
}

#[test]
fn timestamps_count_from_their_epochs() {
    use TimestampFormat::{Ntp, Ptp};
    // The Unix epoch is 2,208,988,800 s after 1900 (RFC 5905, figure 4), and NTP's second era begins on 2036-02-07.
    for (ns, ntp) in [
        (0, 0x83aa_7e80_0000_0000),
        (T1_NS, T1.0),
        (-1_000_000_000, 0x83aa_7e7f_0000_0000),
        (2_085_978_495_999_999_999, 0xffff_ffff_ffff_fffc),
        (2_085_978_496_000_000_000, 0),
        (2_085_978_496_000_000_001, 4),
        (2_085_978_497_000_000_000, 1 << 32),
    ] {
        assert_eq!(Timestamp::from_unix_ns(ns, Ntp), Timestamp(ntp), "{ns}");
        assert_eq!(Timestamp(ntp).to_unix_ns(Ntp), Some(ns), "{ns}");
    }
    let ptp = Timestamp(0x6553_f100_1dcd_6500);
    assert_eq!(Timestamp::from_unix_ns(T1_NS, Ptp), ptp);
    assert_eq!(ptp.to_unix_ns(Ptp), Some(T1_NS));
    assert_eq!(Timestamp(999_999_999).to_unix_ns(Ptp), Some(999_999_999));
    assert_eq!(Timestamp(1_000_000_000).to_unix_ns(Ptp), None);
}

#[test]
fn error_estimates_are_multiplier_times_a_power_of_two() {
    let bits = |bits| ErrorEstimate::from_bits(bits);
    // 1 * 2^0 s; 3 * 2^(10-32) s = 715.3 ns.
    assert_eq!((bits(0x2001).seconds(), bits(0x2001).ns()), (1.0, 1_000_000_000));
    assert_eq!((bits(0x0a03).seconds(), bits(0x0a03).ns()), (3.0 / 4_194_304.0, 716));
    assert_eq!((bits(0x0001).seconds(), bits(0x0001).ns()), (1.0 / 4_294_967_296.0, 1));
    assert_eq!((bits(0x3fff).seconds(), bits(0x3fff).ns()), (255.0 * 2_147_483_648.0, u64::MAX));
    assert_eq!((bits(0x8a03), bits(0x8a03).bits()), (SENDER.error, 0x8a03));
    assert_eq!((bits(0x4001).synchronized, bits(0x4001).format), (false, TimestampFormat::Ptp));
    for ns in [0, 1, 59, 60, 1_000, 715_256, 1_000_000, 1_000_000_000, 86_400_000_000_000, u64::MAX] {
        let estimate = ErrorEstimate::from_ns(ns, true, TimestampFormat::Ntp);
        assert!(estimate.multiplier != 0 && estimate.ns() >= ns, "{ns}: {estimate:?}");
        // One part in 128, the last step of the multiplier, or one of the smallest units.
        assert!(estimate.ns() - ns <= ns / 127 + 1, "{ns}: {estimate:?} is {}", estimate.ns());
    }
    assert_eq!(ErrorEstimate::unknown(TimestampFormat::Ptp).bits(), 0x7fff);
}
