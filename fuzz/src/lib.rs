//! What must hold for any bytes whatever. libFuzzer drives these functions here; proptest does in `crates/wire/tests`,
//! where every `cargo test` runs them. A broken promise is a panic.

use wire::frame::{Family, IpPacket, ip_in_frame};
use wire::icmp::{IcmpMessage, build_echo, parse_icmp};
use wire::rtp::RtpHeader;
use wire::stamp::{
    ClassOfService, Counters, ErrorEstimate, FollowUp, ReflectContext, Security, SenderPacket, StampKey, Timestamp,
    TimestampFormat, TimestampInfo, Tlv, TlvType, Tlvs, build_sender, parse_reflector, parse_sender, reflect,
};
use wire::{DirectionKey, MaskKey, Peeked, ProbeFlags, ProbeHeader, Tos, WireError};

const SESSION: u32 = 0x1234_5678;

fn key() -> DirectionKey {
    DirectionKey::new(&[0x11; 32])
}

fn mask() -> MaskKey {
    MaskKey::new(&[0x22; 32])
}

/// Some number out of the bytes, different for different `at`.
fn number(data: &[u8], at: usize) -> u64 {
    data.iter().skip(at).take(8).fold(at as u64, |number, &byte| number << 8 | u64::from(byte))
}

fn header(data: &[u8]) -> ProbeHeader {
    let [flags, tos, reply_tos, answers, ..] = number(data, 0).to_be_bytes();
    ProbeHeader {
        flags: ProbeFlags::from_bits(flags),
        tos: Tos::from_byte(tos),
        reply_tos: Tos::from_byte(reply_tos),
        sequence: (number(data, 4) as u32).min(wire::SEQUENCE_MAX),
        in_reply_to: (answers & 1 == 1).then_some((number(data, 8) as u32).min(wire::SEQUENCE_MAX)),
        sent_at_ns: number(data, 12) as i64,
    }
}

/// Flips one bit that the data chooses.
fn flip(packet: &mut [u8], data: &[u8]) {
    let bit = number(data, 20) as usize % (8 * packet.len());
    packet[bit / 8] ^= 1 << (bit % 8);
}

pub fn rtp_control(data: &[u8]) {
    let (key, mask) = (key(), mask());

    // Bytes from anywhere are not opened.
    assert!(wire::rtp::open_rtp(&mut data.to_vec(), &key).is_err());
    if let Ok(peeked) = wire::rtp::peek_rtp(data) {
        assert!(data.len() >= wire::rtp::RTP_MIN_LEN && data[8..12] == peeked.session.to_be_bytes());
    }
    if let Ok(peeked) = wire::control::peek_control(data, &mask) {
        let opened = wire::control::open_control(&mut data.to_vec(), &peeked, &key);
        assert_eq!(opened, Err(WireError::Forged));
    }
    let _ = wire::discovery::parse_discovery_request(data);
    if let Ok((ssrc, address, port)) = wire::discovery::parse_discovery_response(data) {
        let again = wire::discovery::build_discovery_response(ssrc, address, port);
        assert_eq!(wire::discovery::parse_discovery_response(&again), Ok((ssrc, address, port)));
    }

    // What is built is what is opened, and nothing else is.
    let header = header(data);
    let peeked = Peeked { session: SESSION, sequence: header.sequence };
    let len = 48 + number(data, 16) as usize % 400;
    let mut out = vec![0xa5; data.len() % 64];
    wire::rtp::build_rtp(&mut out, SESSION, &header, len, &key).unwrap();
    assert_eq!((out.len(), wire::rtp::peek_rtp(&out)), (len, Ok(peeked)));
    let mut flipped = out.clone();
    flip(&mut flipped, data);
    assert_eq!(wire::rtp::open_rtp(&mut out, &key), Ok(header));
    assert!(matches!(wire::rtp::open_rtp(&mut flipped, &key), Err(WireError::Forged | WireError::Malformed)));

    wire::control::build_control(&mut out, SESSION, &header, len, &key, &mask).unwrap();
    assert_eq!((out.len(), wire::control::peek_control(&out, &mask)), (len, Ok(peeked)));
    let mut flipped = out.clone();
    flip(&mut flipped, data);
    assert_eq!(wire::control::open_control(&mut out, &peeked, &key), Ok(header));
    let seen = wire::control::peek_control(&flipped, &mask).unwrap();
    assert_eq!(wire::control::open_control(&mut flipped, &seen, &key), Err(WireError::Forged));

    // Anybody's RTP header is written as it was read.
    if let Ok((header, payload)) = RtpHeader::parse(data) {
        let mut out = Vec::new();
        header.emit(&mut out).unwrap();
        assert_eq!([&out, payload].concat(), data);
    }
}

pub fn token_dns(data: &[u8]) {
    let (key, mask) = (key(), mask());
    let header = header(data);
    let token = wire::token::seal_token(SESSION, &header, &key, &mask);
    let peeked = Peeked { session: SESSION, sequence: header.sequence };
    assert_eq!(wire::token::peek_token(&token, &mask), peeked);
    let short = ProbeHeader { in_reply_to: None, sent_at_ns: 0, ..header };
    assert_eq!(wire::token::open_token(&token, &peeked, &key), Ok(short));
    let mut flipped = token;
    flip(&mut flipped, data);
    let seen = wire::token::peek_token(&flipped, &mask);
    assert_eq!(wire::token::open_token(&flipped, &seen, &key), Err(WireError::Forged));
    if let Some(foreign) = data.first_chunk() {
        let seen = wire::token::peek_token(foreign, &mask);
        assert_eq!(wire::token::open_token(foreign, &seen, &key), Err(WireError::Forged));
    }

    if let Some(token) = wire::base32::decode_token(data) {
        assert!(wire::base32::encode_token(&token).eq_ignore_ascii_case(data));
    }

    if let Ok(query) = wire::dns::parse_query(data) {
        let (mut again, mut answer) = (vec![0xa5; 9], vec![0xa5; 9]);
        wire::dns::build_query(&mut again, query.id, &query.token);
        assert_eq!(wire::dns::parse_query(&again).map(|again| (again.id, again.token)), Ok((query.id, query.token)));
        wire::dns::build_answer(&mut answer, &query, &token);
        // The question comes back letter by letter: name, type and class are 66 bytes behind the header.
        assert_eq!(answer[12..78], data[12..78]);
        let answer = wire::dns::parse_answer(&answer).unwrap();
        assert_eq!((answer.id, answer.token, answer.rcode), (query.id, Some(token), 0));
    }
    if let Ok(answer) = wire::dns::parse_answer(data) {
        assert!(answer.rcode < 16 && data[..2] == answer.id.to_be_bytes());
    }
}

/// What a stream parser has said of a beginning it says of the whole, however the pieces were cut.
fn holds_for_beginnings<T: PartialEq + std::fmt::Debug>(
    data: &[u8],
    parse: impl Fn(&[u8]) -> Result<Option<T>, WireError>,
) {
    let whole = parse(data);
    for i in 0..8 {
        let cut = number(data, i) as usize % (data.len() + 1);
        match parse(&data[..cut]) {
            Ok(None) => {}
            decided => assert_eq!(decided, whole, "{cut} bytes of {}", data.len()),
        }
    }
}

pub fn http(data: &[u8]) {
    holds_for_beginnings(data, wire::http::parse_request);
    holds_for_beginnings(data, wire::http::parse_upload);
    holds_for_beginnings(data, wire::http::parse_response);
    match (wire::http::parse_response(data), wire::http::finish_response(data)) {
        (Ok(Some(answer)), finished) => assert_eq!(finished, Ok(answer)),
        (Ok(None), finished) => assert_ne!(finished, Err(WireError::Malformed)),
        (Err(error), finished) => assert_eq!(finished, Err(error)),
    }

    let token = core::array::from_fn(|i| number(data, i) as u8);
    let mut out = vec![0xa5; 9];
    wire::http::build_request(&mut out, &String::from_utf8_lossy(&data[..data.len().min(300)]), &token);
    assert_eq!(wire::http::parse_request(&out), Ok(Some(token)));
    wire::http::build_upload(&mut out, &String::from_utf8_lossy(&data[..data.len().min(300)]), &token, number(data, 7));
    assert_eq!(wire::http::parse_upload(&out), Ok(Some(token)));
    wire::http::build_response(&mut out, &token);
    assert_eq!(wire::http::parse_response(&out).unwrap().unwrap().token, Some(token));
}

pub fn tls(data: &[u8]) {
    holds_for_beginnings(data, wire::tls::parse_client_hello);
    holds_for_beginnings(data, wire::tls::parse_server_hello);

    let token = core::array::from_fn(|i| number(data, i) as u8);
    let filler: [u8; 68] = core::array::from_fn(|i| number(data, i / 2) as u8);
    let mut out = vec![0xa5; 9];
    let name: String =
        data.iter().take(200).filter(|byte| byte.is_ascii_graphic()).map(|&byte| char::from(byte)).collect();
    wire::tls::build_client_hello(&mut out, &name, &token, &filler).unwrap();
    let expected = Some(name).filter(|name| !name.is_empty());
    assert_eq!(wire::tls::parse_client_hello(&out), Ok(Some((token, expected))));
    wire::tls::build_server_hello(&mut out, &token, filler.first_chunk().unwrap());
    assert_eq!(wire::tls::parse_server_hello(&out).unwrap().unwrap().token, Some(token));
}

pub fn stamp(data: &[u8]) {
    let key = StampKey::new(&[0x33; 32]);
    let bits = number(data, 1);
    let error = ErrorEstimate::from_bits(bits as u16);
    assert_eq!(error.bits(), bits as u16);
    for security in [Security::Open, Security::OpenWithTlvKey(&key), Security::Authenticated(&key)] {
        let _ = parse_reflector(data, security).map(|reply| (reply.tlvs().count(), reply.class_of_service()));
        let context = ReflectContext {
            security,
            received_tos: (bits & 1 == 0).then_some(Tos::from_byte(bits as u8)),
            received_ttl: (bits & 2 == 0).then_some(64),
            reply_sequence: (bits & 4 == 0).then_some(bits as u32),
            allowed_dscp: number(data, 44),
            sets_ecn: bits & 8 == 0,
            timestamp_info: (bits & 16 == 0).then_some(TimestampInfo {
                synchronization: 1,
                received_by: 2,
                transmitted_by: 2,
            }),
            counters: (bits & 32 == 0).then_some(Counters { received: 1, transmitted: 2 }),
            follow_up: (bits & 64 == 0).then_some(FollowUp { sequence: 1, transmit_ns: 2, transmitted_by: 2 }),
            ..ReflectContext::new(bits as i64, number(data, 9) as i64, error)
        };
        let mut out = vec![0xa5; 9];
        match (parse_sender(data, security), reflect(data, &context, &mut out)) {
            (Ok(sent), Ok(plan)) => {
                assert_eq!(out.len(), data.len());
                let reply = parse_reflector(&out, security).unwrap();
                assert_eq!(reply.packet.sender_sequence, sent.packet.sequence);
                assert_eq!((plan.ssid, plan.sender_sequence), (sent.packet.ssid, sent.packet.sequence));
                // The same TLVs in the same order with the same lengths.
                let shape = |packet| Tlvs::new(packet).map(|tlv| (tlv.kind, tlv.value.len())).collect::<Vec<_>>();
                assert_eq!(shape(&out[security.base_len()..]), shape(&data[security.base_len()..]));
                let mut again = Vec::new();
                assert_eq!(reflect(data, &context, &mut again), Ok(plan));
                assert_eq!(again, out);
            }
            (Err(error), Err(refused)) => assert_eq!((error, out.len()), (refused, 0)),
            (sent, reflected) => panic!("{sent:?} {reflected:?}"),
        }
    }
    signed_stamp(data, &key);
    let value = (bits as u32).to_be_bytes();
    let written = ClassOfService::parse(value).bytes();
    assert_eq!(written, [value[0], value[1], value[2] & 0xf0, 0]);
    // 1968 to 2104 in either format, to the nanosecond.
    let ns = (bits % 4_200_000_000_000_000_000) as i64;
    for format in [TimestampFormat::Ntp, TimestampFormat::Ptp] {
        assert_eq!(Timestamp::from_unix_ns(ns, format).to_unix_ns(format), Some(ns));
        let _ = Timestamp(bits).to_unix_ns(format);
    }
    let estimate = ErrorEstimate::from_ns(bits, false, TimestampFormat::Ptp);
    assert!(estimate.ns() >= bits && estimate.multiplier != 0);
}

/// A request with whatever TLVs the data makes, signed: it is answered, the answer verifies, and no altered one does.
fn signed_stamp(data: &[u8], key: &StampKey) {
    let wanted = Tlvs::new(data).filter(|tlv| tlv.kind != TlvType::Hmac);
    let tlvs: Vec<Tlv<'_>> = wanted.map(|tlv| Tlv::request(tlv.kind, tlv.value)).collect();
    let error = ErrorEstimate::from_bits(number(data, 2) as u16);
    let sender =
        SenderPacket { sequence: number(data, 3) as u32, timestamp: Timestamp(number(data, 4)), error, ssid: 0xbeef };
    for security in [Security::OpenWithTlvKey(key), Security::Authenticated(key)] {
        let mut request = vec![0xa5; 9];
        build_sender(&mut request, &sender, &tlvs, security).unwrap();
        assert_eq!(parse_sender(&request, security).unwrap().packet, sender);
        let context = ReflectContext { security, reply_sequence: Some(7), ..ReflectContext::new(1, 2, error) };
        let mut reply = Vec::new();
        reflect(&request, &context, &mut reply).unwrap();
        assert_eq!(reply.len(), request.len());
        let parsed = parse_reflector(&reply, security).unwrap();
        assert!(parsed.integrity && parsed.packet.sequence == 7);

        // Not covered: the zeros of an open packet's base but for its sequence, a lone padding (also one whose length was altered so
        // that it swallows all others: then there is nothing left to be used), the HMAC TLV's own flags.
        let (own_flags, mut altered) = (reply.len() - 20, reply.clone());
        flip(&mut altered, data);
        let has_more =
            |packet: &[u8]| Tlvs::new(&packet[security.base_len()..]).any(|tlv| tlv.kind != TlvType::ExtraPadding);
        let protected = tlvs.iter().any(|tlv| tlv.kind != TlvType::ExtraPadding) && has_more(&altered);
        let place = reply.iter().zip(&altered).position(|(a, b)| a != b).unwrap();
        let covered = match security {
            Security::Authenticated(_) if place < security.base_len() => true,
            _ if place >= 4 && place < security.base_len() => false,
            _ => protected && place != own_flags,
        };
        let accepted = parse_reflector(&altered, security).is_ok_and(|reply| reply.integrity);
        assert!(!(covered && accepted), "byte {place} of {}", reply.len());
    }
}

pub fn icmp_frame(data: &[u8]) {
    for packet in [ip_in_frame(data), IpPacket::parse(data)].into_iter().flatten() {
        assert!(packet.payload.len() <= data.len().min(packet.total_len));
        if let Ok(udp) = packet.udp() {
            assert!(packet.fragment_offset == 0 && udp.payload.len() + 8 <= usize::from(udp.length));
        }
        if let Ok(tcp) = packet.tcp() {
            assert!(tcp.option_bytes.len() <= 40 && tcp.options().count() <= tcp.option_bytes.len());
            let _ = (tcp.mss(), tcp.window_scale(), tcp.sack_permitted(), tcp.timestamps());
        }
        let _ = parse_icmp(packet.family, packet.payload);
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        match parse_icmp(family, data) {
            Ok(IcmpMessage::Echo(echo)) => {
                let mut out = vec![0xa5; 9];
                build_echo(&mut out, family, &echo);
                assert_eq!(parse_icmp(family, &out), Ok(IcmpMessage::Echo(echo)));
            }
            Ok(
                IcmpMessage::TimeExceeded { quote, .. }
                | IcmpMessage::Unreachable { quote, .. }
                | IcmpMessage::TooBig { quote, .. },
            ) => {
                assert!(quote.udp_payload.len() + quote.extension.len() <= data.len());
                assert!(quote.destination_port.is_none() || quote.source_port.is_some());
            }
            Ok(IcmpMessage::Other { .. }) | Err(_) => {}
        }
    }
}
