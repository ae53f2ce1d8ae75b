//! ICMP against scapy's messages, and against what routers are known to quote.

use crate::common::{dirty, hex, vector};
use wire::frame::{Family, IpPacket};
use wire::icmp::{Echo, EchoKind, IcmpMessage, Quote, build_echo, fill_icmpv6_checksum, parse_icmp};
use wire::{Tos, WireError};

const REQUEST: Echo<'static> = Echo { kind: EchoKind::Request, identifier: 0x1122, sequence: 0x3344, data: b"netlat" };

fn time_exceeded(family: Family, message: &[u8]) -> Quote<'_> {
    match parse_icmp(family, message) {
        Ok(IcmpMessage::TimeExceeded { code: 0, quote }) => quote,
        other => panic!("{other:?}"),
    }
}

/// Sets the checksum of an IPv4 message written by hand, summing as RFC 1071 has it.
fn summed(text: &str) -> Vec<u8> {
    let mut message = hex(text);
    let mut words: Vec<u32> =
        message.chunks(2).map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |&b| b.into())).collect();
    words[1] = 0;
    let sum: u32 = words.iter().sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn an_echo_request_is_scapy_s() {
    let mut out = dirty();
    build_echo(&mut out, Family::Ipv4, &REQUEST);
    assert_eq!(out, vector("icmp_echo_request"));
    assert_eq!(parse_icmp(Family::Ipv4, &out), Ok(IcmpMessage::Echo(REQUEST)));

    build_echo(&mut out, Family::Ipv6, &REQUEST);
    let packet = vector("icmpv6_echo_request_packet");
    assert_eq!(out[..4], hex("80 00 0000"), "the kernel's to fill in");
    fill_icmpv6_checksum(&mut out, "2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    assert_eq!(out, packet[40..]);
    let packet = IpPacket::parse(&packet).unwrap();
    assert_eq!((packet.tos, packet.protocol), (Tos::from_byte(0xb8), 58));
    assert_eq!(parse_icmp(Family::Ipv6, packet.payload), Ok(IcmpMessage::Echo(REQUEST)));
}

#[test]
fn an_echo_reply_differs_in_its_type() {
    let reply = Echo { kind: EchoKind::Reply, data: b"odd", ..REQUEST };
    for (family, kind) in [(Family::Ipv4, 0), (Family::Ipv6, 129)] {
        let mut out = dirty();
        build_echo(&mut out, family, &reply);
        assert_eq!((out[0], out.len()), (kind, 11));
        assert_eq!(parse_icmp(family, &out), Ok(IcmpMessage::Echo(reply)));
    }
}

#[test]
fn an_ipv4_message_with_a_wrong_checksum_is_malformed() {
    for changed in crate::common::with_one_bit_flipped(&vector("icmp_echo_request")) {
        assert_eq!(parse_icmp(Family::Ipv4, &changed), Err(WireError::Malformed));
    }
    for len in 0..8 {
        assert_eq!(parse_icmp(Family::Ipv4, &vector("icmp_echo_request")[..len]), Err(WireError::Truncated));
    }
}

#[test]
fn a_quote_shows_the_mark_as_it_arrived() {
    let message = vector("icmp_time_exceeded");
    let quote = time_exceeded(Family::Ipv4, &message);
    assert_eq!((quote.packet.tos, quote.packet.ttl, quote.packet.protocol), (Tos::from_byte(0x48), 1, 17));
    assert_eq!((quote.source_port, quote.destination_port), (Some(40_000), Some(50_004)));
    assert_eq!(quote.packet.source.to_string(), "192.0.2.1");
    assert_eq!((quote.packet.total_len, quote.udp_payload), (68, [].as_slice()), "28 of 68 bytes are quoted");

    let packet = vector("icmpv6_time_exceeded_packet");
    let outer = IpPacket::parse(&packet).unwrap();
    let quote = time_exceeded(Family::Ipv6, outer.payload);
    assert_eq!((quote.packet.family, quote.packet.tos), (Family::Ipv6, Tos::from_byte(0xb9)));
    assert_eq!((quote.source_port, quote.destination_port), (Some(40_000), Some(8620)));
    assert_eq!((quote.udp_payload, outer.source.to_string()), (b"probe".as_slice(), "2001:db8::ff".into()));
}

#[test]
fn an_extension_is_not_taken_for_payload() {
    let message = vector("icmp_time_exceeded_mpls");
    let quote = time_exceeded(Family::Ipv4, &message);
    assert_eq!(quote.udp_payload, [b'x'; 40], "neither the padding nor the label");
    assert_eq!(quote.extension.len(), 12);
    assert_eq!(quote.extension[4..8], hex("0008 01 01"), "an MPLS label stack, RFC 4950");
    // A router that puts the extension behind 128 bytes without saying so: the quoted header tells the payload's end.
    let mut silent = message.clone();
    silent[5] = 0;
    silent[2..4].copy_from_slice(&(u16::from_be_bytes([message[2], message[3]]) + 32).to_be_bytes());
    assert_eq!(time_exceeded(Family::Ipv4, &silent).udp_payload, [b'x'; 40]);
}

#[test]
fn quotes_are_read_as_far_as_they_go() {
    // RFC 792's minimum, without the eight bytes; then four of them.
    let header = "45 28 001c 0001 0000 01 11 0000 c0000201 c6336402";
    let message = summed(&format!("0b 00 0000 00000000 {header}"));
    let quote = time_exceeded(Family::Ipv4, &message);
    assert_eq!((quote.packet.tos, quote.source_port, quote.destination_port), (Tos::from_byte(0x28), None, None));
    let message = summed(&format!("0b 00 0000 00000000 {header} 9c40 21ac"));
    assert_eq!(time_exceeded(Family::Ipv4, &message).destination_port, Some(0x21ac));
    // A router that has subtracted the header from the total length it quotes, as old BSD kernels do.
    let message = summed("0b 00 0000 00000000 45 28 0008 0001 0000 01 11 0000 c0000201 c6336402 9c40 21ac 0008 0000");
    assert_eq!(time_exceeded(Family::Ipv4, &message).destination_port, Some(0x21ac));
    // An RFC 4884 length beyond the message.
    let message = summed(&format!("0b 00 0000 00 ff 0000 {header} 9c40 21ac"));
    assert_eq!(time_exceeded(Family::Ipv4, &message).destination_port, Some(0x21ac));
    // A later fragment's payload has no ports.
    let message = summed("0b 00 0000 00000000 45 28 001c 0001 0001 01 11 0000 c0000201 c6336402 9c40 21ac 0008 0000");
    assert_eq!(time_exceeded(Family::Ipv4, &message).destination_port, None);
    let cut = summed("0b 00 0000 00000000 45 28 001c");
    assert_eq!(parse_icmp(Family::Ipv4, &cut), Err(WireError::Truncated));
}

#[test]
fn a_quoted_echo_is_known_by_its_identifier() {
    let message = summed("0b 00 0000 00000000 45 28 0024 0001 0000 01 01 0000 c0000201 c6336402 0800 0000 1122 3344");
    let quote = time_exceeded(Family::Ipv4, &message);
    assert_eq!((quote.echo, quote.source_port), (Some((0x1122, 0x3344)), None));
}

#[test]
fn the_other_errors_are_told_apart() {
    let quoted = "45 28 0024 0001 0000 3a 11 0000 c0000201 c6336402 9c40 21ac 0010 0000";
    let port = |quote: Quote<'_>| quote.destination_port;
    let message = summed(&format!("03 03 0000 00000000 {quoted}"));
    match parse_icmp(Family::Ipv4, &message) {
        Ok(IcmpMessage::Unreachable { code: 3, quote }) => assert_eq!(port(quote), Some(8620)),
        other => panic!("{other:?}"),
    }
    let message = summed(&format!("03 04 0000 0000 05dc {quoted}"));
    match parse_icmp(Family::Ipv4, &message) {
        Ok(IcmpMessage::TooBig { mtu: 1500, quote }) => assert_eq!(port(quote), Some(8620)),
        other => panic!("{other:?}"),
    }
    let mut six = hex("6b900000 000d 11 01 20010db8000000000000000000000001 20010db8000000000000000000000002");
    six.extend(hex("9c40 21ac 000d 0000 70726f6265"));
    match parse_icmp(Family::Ipv6, &[hex("01 04 0000 00000000"), six.clone()].concat()) {
        Ok(IcmpMessage::Unreachable { code: 4, quote }) => assert_eq!(quote.udp_payload, b"probe"),
        other => panic!("{other:?}"),
    }
    match parse_icmp(Family::Ipv6, &[hex("02 00 0000 00000500"), six.clone()].concat()) {
        Ok(IcmpMessage::TooBig { mtu: 1280, quote }) => assert_eq!(quote.packet.tos.byte(), 0xb9),
        other => panic!("{other:?}"),
    }
    // RFC 4884 counts words of eight bytes here: seven of them hold the packet, the rest is the extension.
    six.resize(56, 0);
    let with_extension = [hex("03 00 0000 07 000000"), six, hex("2000 0000")].concat();
    let quote = time_exceeded(Family::Ipv6, &with_extension);
    assert_eq!((quote.udp_payload, quote.extension), (b"probe".as_slice(), [0x20, 0, 0, 0].as_slice()));
    assert_eq!(parse_icmp(Family::Ipv4, &summed("0d 00 0000 00010002")), Ok(IcmpMessage::Other { kind: 13, code: 0 }));
    assert_eq!(parse_icmp(Family::Ipv6, &hex("86 00 0000 40000000")), Ok(IcmpMessage::Other { kind: 134, code: 0 }));
}
