//! ICMP errors byte by byte, as RFC 792 and RFC 4443 draw them; the IP and UDP headers are written out by hand.

use std::net::IpAddr;

use model::Tos;
use wire::Family;

use crate::quote::{Answer, Flow, ProbeName, Verdict, answer, payload};

fn flow() -> Flow {
    Flow {
        from: "192.0.2.1:40000".parse().unwrap(),
        target: "198.51.100.7".parse().unwrap(),
        port: 33434,
        nonce: *b"netlat!?",
        shortest: crate::quote::SHORTEST,
    }
}

fn router() -> IpAddr {
    "203.0.113.9".parse().unwrap()
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A message of this type and code that quotes `quoted` bytes behind the IPv4 header of probe `id`.
fn message(kind: u8, code: u8, tos: u8, id: u32, quoted: usize) -> Vec<u8> {
    let mut probe = Vec::new();
    payload(&mut probe, &flow(), id);
    let mut datagram = Vec::new();
    datagram.extend_from_slice(&40000u16.to_be_bytes());
    datagram.extend_from_slice(&33434u16.to_be_bytes());
    datagram.extend_from_slice(&(probe.len() as u16 + 8).to_be_bytes());
    datagram.extend_from_slice(&[0xab, 0xcd]);
    datagram.extend_from_slice(&probe);
    let total = (datagram.len() + 20) as u16;
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&[0x45, tos]);
    message.extend_from_slice(&total.to_be_bytes());
    message.extend_from_slice(&[0x12, 0x34, 0x40, 0, 1, 17, 0, 0]);
    message.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 7]);
    message.extend_from_slice(&datagram[..quoted.min(datagram.len())]);
    seal(message)
}

fn seal(mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

fn expired(probe: ProbeName, tos: u8) -> Answer {
    Answer {
        probe,
        verdict: Verdict::Expired,
        address: router(),
        quoted: Tos::from_byte(tos),
        ttl: 1,
        translated: false,
    }
}

#[test]
fn a_long_quote_names_the_probe_and_a_short_one_its_length() {
    let hear = |bytes: &[u8]| answer(&flow(), Family::Ipv4, router(), bytes);
    assert_eq!(hear(&message(11, 0, 0xb8, 70_000, 128)), Some(expired(ProbeName::Id(70_000), 0xb8)));
    // RFC 792: the first 64 bits of the original datagram's data.
    assert_eq!(hear(&message(11, 0, 0x28, 70_000, 8)), Some(expired(ProbeName::Remainder(70_000 % 256), 0x28)));
    // Something between.
    assert_eq!(hear(&message(11, 0, 0, 3, 15)), Some(expired(ProbeName::Remainder(3), 0)));
}

#[test]
fn quotes_of_others_are_not_ours() {
    let hear = |bytes: Vec<u8>| answer(&flow(), Family::Ipv4, router(), &bytes);
    let changed = |at: usize, byte: u8, quoted: usize| {
        let mut message = message(11, 0, 0, 5, quoted);
        message[at] = byte;
        seal(message)
    };
    let (ip, udp) = (8, 28);
    assert_eq!(hear(changed(ip + 9, 6, 8)), None, "TCP");
    assert_eq!(hear(changed(ip + 19, 8, 8)), None, "another destination");
    assert_eq!(hear(changed(udp + 1, 0, 8)), None, "another source port");
    assert_eq!(hear(changed(udp + 3, 0, 8)), None, "another destination port");
    assert_eq!(hear(changed(udp + 4, 0xff, 8)), None, "a length that no probe has");
    assert_eq!(hear(changed(udp + 5, 9, 8)), None, "a length below the shortest");
    assert_eq!(hear(changed(udp + 8, b'N', 128)), None, "another trace's nonce");
    assert_eq!(hear(changed(udp + 8, b'N', 12)), None, "another trace's nonce, cut off");
    assert_eq!(hear(changed(ip + 7, 1, 128)), None, "a later fragment");
    assert_eq!(hear(message(11, 1, 0, 5, 128)), None, "fragments that were not put together");
    assert_eq!(hear(message(0, 0, 0, 5, 128)), None, "an echo reply");
    let mut forged = message(11, 0, 0, 5, 128);
    forged[2] ^= 1;
    assert_eq!(hear(forged), None, "a wrong checksum");
    // From 48 on the probe's number is in, and the rest of its payload is zeros, which a checksum does not see.
    for len in 0..48 {
        assert_eq!(hear(message(11, 0, 0, 5, 128)[..len].to_vec()), None, "cut to {len}");
    }
}

#[test]
fn a_quote_from_behind_a_nat_is_known_by_its_payload() {
    let mut bytes = message(11, 0, 0, 9, 128);
    bytes[8 + 12..8 + 16].copy_from_slice(&[100, 64, 0, 1]);
    bytes[28..30].copy_from_slice(&1024u16.to_be_bytes());
    let heard = answer(&flow(), Family::Ipv4, router(), &seal(bytes)).unwrap();
    assert_eq!((heard.probe, heard.translated), (ProbeName::Id(9), true));
}

#[test]
fn who_says_unreachable_decides_what_it_means() {
    let hear = |from: IpAddr, code| answer(&flow(), Family::Ipv4, from, &message(3, code, 0, 5, 28)).unwrap().verdict;
    assert_eq!(hear(flow().target, 3), Verdict::Arrived);
    // The target's own firewall.
    assert_eq!(hear(flow().target, 13), Verdict::Arrived);
    // A host behind a NAT, with its own address.
    assert_eq!(hear(router(), 3), Verdict::Arrived);
    assert_eq!(hear(router(), 13), Verdict::Refused);
    assert_eq!(hear(router(), 1), Verdict::Refused);
}

#[test]
fn icmpv6_is_read_as_rfc_4443_has_it() {
    let flow =
        Flow { from: "[2001:db8::1]:40000".parse().unwrap(), target: "2001:db8:f::7".parse().unwrap(), ..flow() };
    let mut probe = Vec::new();
    payload(&mut probe, &flow, 300);
    let mut message = vec![3, 0, 0, 0, 0, 0, 0, 0];
    // Version 6, traffic class 0xb9, flow label 0x12345.
    message.extend_from_slice(&[0x6b, 0x91, 0x23, 0x45]);
    message.extend_from_slice(&(probe.len() as u16 + 8).to_be_bytes());
    message.extend_from_slice(&[17, 1]);
    message.extend_from_slice(&"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    message.extend_from_slice(&"2001:db8:f::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    message.extend_from_slice(
        &[40000u16.to_be_bytes(), 33434u16.to_be_bytes(), (probe.len() as u16 + 8).to_be_bytes(), [1, 2]].concat(),
    );
    message.extend_from_slice(&probe);
    let from: IpAddr = "2001:db8:9::1".parse().unwrap();
    let heard = answer(&flow, Family::Ipv6, from, &message).unwrap();
    assert_eq!((heard.probe, heard.quoted.byte(), heard.verdict), (ProbeName::Id(300), 0xb9, Verdict::Expired));
    message[0..2].copy_from_slice(&[1, 4]);
    assert_eq!(answer(&flow, Family::Ipv6, from, &message).unwrap().verdict, Verdict::Arrived);
}

#[test]
fn lengths_of_256_neighbours_differ_and_fit_every_link() {
    let lengths: std::collections::BTreeSet<usize> = (1000..1256)
        .map(|id| {
            let mut out = Vec::new();
            payload(&mut out, &flow(), id);
            out.len()
        })
        .collect();
    assert_eq!(lengths.len(), 256);
    assert!(lengths.iter().all(|length| length + 28 <= 576));
}
