//! Frames, IP, UDP and TCP against scapy's, with the tags, extensions and fragments that captures hold.

use crate::common::{hex, vector};
use wire::WireError;
use wire::frame::{
    Family, IpPacket, LinkLayer, TcpFlags, TcpOption, TcpView, ip_in_frame, ip_in_link, tcp_in_frame, udp_in_frame,
};

#[test]
fn udp_over_ipv4_is_found_behind_every_link_layer() {
    for name in ["frame_udp4", "frame_udp4_padded", "frame_udp4_vlan", "frame_udp4_qinq", "packet_udp4"] {
        let frame = vector(name);
        let (packet, udp) = udp_in_frame(&frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((packet.family, packet.tos.byte(), packet.ttl, packet.protocol), (Family::Ipv4, 0xb8, 61, 17));
        assert_eq!(
            (packet.source.to_string(), packet.destination.to_string()),
            ("192.0.2.1".into(), "198.51.100.2".into())
        );
        assert_eq!((packet.total_len, packet.identification, packet.is_fragment()), (33, Some(7), false), "{name}");
        assert_eq!((udp.source_port, udp.destination_port, udp.length), (40_000, 8620, 13));
        assert_eq!(udp.payload, b"hello", "{name}: without Ethernet's padding");
        assert_eq!(packet.tcp(), Err(WireError::Unsupported));
    }
    assert_eq!(ip_in_link(LinkLayer::None, &vector("frame_udp4")), Err(WireError::Malformed));
    assert_eq!(ip_in_link(LinkLayer::Ethernet, &vector("packet_udp4")), Err(WireError::Unsupported));
}

/// From 8.0.69.184 its bytes 12 to 15 read like the end of an Ethernet header and the beginning of a cut packet.
#[test]
fn a_complete_bare_packet_is_not_taken_for_a_cut_frame() {
    let mut packet = vector("packet_udp4");
    packet[12..16].copy_from_slice(&[8, 0, 0x45, 0xb8]);
    packet.extend(b"more");
    packet[3] += 4;
    assert!(ip_in_link(LinkLayer::Ethernet, &packet).is_ok_and(|cut| cut.total_len > packet.len()));
    let (ip, udp) = udp_in_frame(&packet).unwrap();
    assert_eq!((ip.source.to_string(), udp.destination_port), ("8.0.69.184".into(), 8620));
}

#[test]
fn ipv6_extension_headers_are_stepped_over() {
    let frame = vector("frame_udp6_extensions");
    let (packet, udp) = udp_in_frame(&frame).unwrap();
    assert_eq!((packet.family, packet.tos.byte(), packet.ttl, packet.protocol), (Family::Ipv6, 0x2e, 44, 17));
    assert_eq!((packet.identification, packet.fragment_offset, packet.more_fragments), (Some(0xab_cdef), 0, true));
    assert_eq!((udp.source_port, udp.destination_port, udp.length, udp.payload), (1, 2, 508, b"first".as_slice()));

    let frame = vector("frame_udp6_later_fragment");
    let packet = ip_in_frame(&frame).unwrap();
    assert_eq!((packet.fragment_offset, packet.more_fragments, packet.payload), (181 * 8, false, b"later".as_slice()));
    assert_eq!(packet.udp(), Err(WireError::Unsupported), "only the first fragment has ports");
}

#[test]
fn fragments_of_ipv4_are_counted_in_eights() {
    let mut packet = vector("packet_udp4");
    packet[6..8].copy_from_slice(&hex("2000"));
    let first = IpPacket::parse(&packet).unwrap();
    assert_eq!((first.fragment_offset, first.more_fragments, first.is_fragment()), (0, true, true));
    assert_eq!(first.udp().unwrap().destination_port, 8620);
    packet[6..8].copy_from_slice(&hex("00b9"));
    let last = IpPacket::parse(&packet).unwrap();
    assert_eq!((last.fragment_offset, last.more_fragments, last.is_fragment()), (1480, false, true));
    assert_eq!(last.udp(), Err(WireError::Unsupported));
    packet[6..8].copy_from_slice(&hex("4000"));
    assert!(!IpPacket::parse(&packet).unwrap().is_fragment(), "don't fragment");
}

#[test]
fn a_chain_of_extension_headers_has_an_end() {
    let header = hex("60000000 0000 3c 40 20010db8000000000000000000000001 20010db8000000000000000000000002");
    let destination_options = |count: usize| {
        let mut packet = header.clone();
        packet.extend(hex("3c 00 010400000000").repeat(count - 1));
        packet.extend(hex("11 00 010400000000  0001 0002 0008 0000"));
        packet
    };
    assert_eq!(IpPacket::parse(&destination_options(8)).unwrap().udp().unwrap().destination_port, 2);
    assert_eq!(IpPacket::parse(&destination_options(9)), Err(WireError::Malformed));
    assert_eq!(IpPacket::parse(&destination_options(3)[..60]), Err(WireError::Truncated));
    // RFC 4302: an authentication header of 24 bytes says 4, for it counts words of four bytes less two.
    let mut authenticated = header.clone();
    authenticated[6] = 51;
    authenticated.extend(hex("11 04 0000 00000001 00000001 000000000000000000000000  0001 0002 0008 0000"));
    assert_eq!(IpPacket::parse(&authenticated).unwrap().udp().unwrap().destination_port, 2);
    let encrypted = [&header[..6], &[50], &header[7..], &[1, 2, 3]].concat();
    let encrypted = IpPacket::parse(&encrypted).unwrap();
    assert_eq!((encrypted.protocol, encrypted.payload), (50, [1, 2, 3].as_slice()), "nobody can look further");
}

/// What `TCP_SAVED_SYN` gives: IP and TCP header, nothing else.
#[test]
fn a_saved_syn_shows_its_mark_and_its_options() {
    let syn = vector("saved_syn4");
    let (packet, tcp) = tcp_in_frame(&syn).unwrap();
    assert_eq!((packet.tos.byte(), packet.ttl, packet.source.to_string()), (0x28, 58, "192.0.2.1".into()));
    assert_eq!((tcp.source_port, tcp.destination_port, tcp.sequence, tcp.window), (50_000, 8620, 0x0102_0304, 64_240));
    assert_eq!(tcp.flags.0, TcpFlags::SYN.0 | TcpFlags::ECE.0 | TcpFlags::CWR.0);
    assert!(tcp.flags.contains(TcpFlags::SYN) && !tcp.flags.contains(TcpFlags::ACK));
    assert_eq!((tcp.mss(), tcp.window_scale(), tcp.sack_permitted()), (Some(1460), Some(7), true));
    assert_eq!(tcp.timestamps(), Some((0x1122_3344, 0)));
    assert_eq!(tcp.option_kinds().collect::<Vec<_>>(), [2, 4, 8, 1, 3]);
    assert!(tcp.payload.is_empty());
}

#[test]
fn a_segment_over_ipv6_shows_its_mark_and_ecn() {
    let frame = vector("frame_tcp6_data");
    let (packet, tcp) = tcp_in_frame(&frame).unwrap();
    assert_eq!((packet.family, packet.tos.ecn()), (Family::Ipv6, wire::Ecn::Ce));
    assert_eq!((tcp.sequence, tcp.acknowledgement, tcp.flags.0, tcp.payload), (5, 6, 0x18, b"GET /".as_slice()));
    assert_eq!((tcp.mss(), tcp.window_scale(), tcp.sack_permitted(), tcp.timestamps()), (None, None, false, None));
}

#[test]
fn tcp_options_end_where_they_stop_making_sense() {
    let segment = |options: &str| {
        let options = hex(options);
        let mut segment = hex("0001 0002 00000000 00000000 0002 0000 00000000");
        segment[12] = (((20 + options.len()) / 4) << 4) as u8;
        segment.extend(options);
        segment
    };
    let options =
        |text: &str| TcpView::parse(&segment(text)).unwrap().options().map(|option| option.kind()).collect::<Vec<_>>();
    assert_eq!(options("01 00 0204"), [1], "the end of the list");
    assert_eq!(options("01 02 00 01"), [1], "a length of nothing");
    assert_eq!(options("01 02 05 01"), [1], "a length beyond the end");
    assert_eq!(options("010101 02"), [1, 1, 1], "no length at all");
    let odd = segment("02 03 05 01");
    assert_eq!(TcpView::parse(&odd).unwrap().options().next(), Some(TcpOption::Other { kind: 2, data: &[5] }));
    assert_eq!(TcpView::parse(&odd).unwrap().mss(), None);
    let mut no_offset = odd.clone();
    no_offset[12] = 0x40;
    assert_eq!(TcpView::parse(&no_offset), Err(WireError::Malformed));
    no_offset[12] = 0xf0;
    assert_eq!(TcpView::parse(&no_offset), Err(WireError::Truncated));
    let accurate_ecn = hex("0001 0002 00000000 00000000 51c2 0000 00000000");
    assert_eq!(TcpView::parse(&accurate_ecn).unwrap().flags.0, 0x1c2);
}

#[test]
fn a_capture_may_end_early() {
    let packet = vector("packet_udp4");
    for len in 28..packet.len() {
        let (ip, udp) = udp_in_frame(&packet[..len]).unwrap();
        assert_eq!((ip.total_len, udp.length, udp.payload), (33, 13, &b"hello"[..len - 28]), "{len}");
    }
    for len in 0..28 {
        assert_eq!(udp_in_frame(&packet[..len]), Err(WireError::Truncated), "{len}");
    }
}

#[test]
fn headers_that_contradict_themselves_are_malformed() {
    let packet = vector("packet_udp4");
    let changed = |place: usize, byte: u8| {
        let mut changed = packet.clone();
        changed[place] = byte;
        IpPacket::parse(&changed).and_then(|packet| packet.udp()).map(|udp| udp.payload.len())
    };
    assert_eq!(changed(0, 0x44), Err(WireError::Malformed), "a header of 16 bytes");
    assert_eq!(changed(0, 0x55), Err(WireError::Malformed), "version 5");
    assert_eq!(changed(0, 0x4f), Err(WireError::Malformed), "a header longer than the packet");
    assert_eq!(changed(3, 19), Err(WireError::Malformed), "a packet shorter than its header");
    assert_eq!(changed(3, 0), Ok(5), "no total length: segmentation offload");
    assert_eq!(changed(25, 7), Err(WireError::Malformed), "a datagram shorter than its header");
    assert_eq!(changed(25, 10), Ok(2));
    let frame = vector("frame_udp4");
    let arp = [&frame[..12], &[8, 6], &frame[14..]].concat();
    assert_eq!(ip_in_frame(&arp), Err(WireError::Unsupported));
    let mismatched = [&frame[..12], &[0x86, 0xdd], &frame[14..]].concat();
    assert_eq!(ip_in_frame(&mismatched), Err(WireError::Malformed));
}
