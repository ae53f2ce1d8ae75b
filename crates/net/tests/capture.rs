//! The capture sees what the sockets see, only what was asked for, and counts what it lost.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Family, UnixNanos};
use net::Outgoing;
use net::capture::{Capture, CaptureOptions};
use net::filter::{Filter, Side};
use net::icmp::EchoSocket;
use net::packet_io::{Frame, PacketSocket};
use net::tcp::{TcpOptions, TcpProbe, TcpProbeListener};
use support::{LONG, inside, on_loopback, receive, run, udp, veth_pair, without_capabilities};
use wire::Tos;

/// A captured packet that owns its bytes.
#[derive(Clone, Debug)]
struct Seen {
    packet: Vec<u8>,
    original_len: u32,
    stamp: UnixNanos,
    outgoing: bool,
    vlan_tci: Option<u16>,
}

fn open(interface: &str, filter: Filter) -> Capture {
    let retire = Duration::from_millis(1);
    // However slowly a test sends, there is a block for each of its packets.
    let (block_size, block_count) = (8 << 10, 300);
    Capture::open(interface, &CaptureOptions { filter, retire, block_size, block_count, ..CaptureOptions::default() })
        .unwrap()
}

fn capture(capture: &mut Capture, count: usize) -> Vec<Seen> {
    let mut all = Vec::new();
    while all.len() < count {
        let block = capture.next_block(Some(LONG)).unwrap();
        let block = block.unwrap_or_else(|| panic!("{} of {count} packets were captured: {all:?}", all.len()));
        assert_eq!(block.len(), block.frames().count());
        all.extend(block.frames().map(|frame| Seen {
            packet: frame.packet.to_vec(),
            original_len: frame.original_len,
            stamp: frame.stamp,
            outgoing: frame.outgoing,
            vlan_tci: frame.vlan_tci,
        }));
    }
    all
}

#[test]
fn it_sees_the_tos_and_ttl_that_the_socket_sees() {
    inside("it_sees_the_tos_and_ttl_that_the_socket_sees", || {
        let other = veth_pair();
        for (here, there) in [("10.9.0.1:0", "10.9.0.2:0"), ("[fd09::1]:0", "[fd09::2]:0")] {
            let (near, far) = (udp(here), other.open(|| udp(there)));
            let to = far.local_addr().unwrap();
            let filter = Filter { side: Side::Both, ..Filter::ports([to.port()..=to.port()]) };
            let mut left = open("left", filter.clone());
            let mut right = other.open(|| open("right", filter.clone()));
            let mut sockets = BTreeMap::new();
            for chunk in (0..=255u8).collect::<Vec<_>>().chunks(64) {
                for byte in chunk {
                    let packet = Outgoing {
                        payload: &[*byte; 60],
                        to: Some(to),
                        tos: Tos::from_byte(*byte),
                        ttl: Some(byte | 1),
                        source: None,
                    };
                    near.send(&packet).unwrap();
                }
                sockets.extend(receive(&far, chunk.len()).into_iter().map(|packet| (packet.payload[0], packet)));
            }
            for (end, outgoing) in [(&mut left, true), (&mut right, false)] {
                let captured = capture(end, 256);
                assert_eq!(captured.len(), 256);
                for seen in &captured {
                    let ip = wire::frame::IpPacket::parse(&seen.packet).unwrap();
                    let datagram = ip.udp().unwrap();
                    let socket = &sockets[&datagram.payload[0]];
                    assert_eq!((Some(ip.tos), Some(ip.ttl)), (socket.tos, socket.ttl));
                    assert_eq!(datagram.payload, socket.payload);
                    assert_eq!((seen.outgoing, seen.vlan_tci), (outgoing, None));
                    assert_eq!(seen.original_len as usize, seen.packet.len());
                    let (captured, received) = (seen.stamp, socket.stamp.unwrap());
                    assert!(captured <= received, "{}", captured.since(received));
                }
                assert_eq!(end.statistics().unwrap(), net::capture::CaptureStatistics { seen: 256, dropped: 0 });
            }
        }
    });
}

/// Ports of what passes `filter`, of a fixed set of packets: UDP and TCP on two ports and echoes, over IPv4 and IPv6.
fn passing(filter: Filter) -> Vec<String> {
    let mut on_lo = open("lo", filter);
    for address in ["127.0.0.1", "[::1]"] {
        let sender = udp(&format!("{address}:7000"));
        for port in [8000, 9000] {
            let receiver = udp(&format!("{address}:{port}"));
            sender.send_to(b"x", Some(receiver.local_addr().unwrap()), Tos::default(), None).unwrap();
            let listener = TcpProbeListener::bind(format!("{address}:{port}").parse().unwrap()).unwrap();
            let to = listener.local_addr().unwrap();
            TcpProbe::connect(to, Tos::default(), LONG, &TcpOptions::default()).unwrap();
        }
    }
    for (family, address) in [(Family::Ipv4, "127.0.0.1"), (Family::Ipv6, "::1")] {
        let echo = EchoSocket::open(family).unwrap();
        echo.send(address.parse().unwrap(), 1, b"x", Tos::default(), None).unwrap();
    }
    // Whatever passes, this does last: the end of the set.
    let mut seen = Vec::new();
    while let Some(block) = on_lo.next_block(Some(Duration::from_millis(200))).unwrap() {
        seen.extend(block.frames().map(|frame| {
            let ip = wire::frame::IpPacket::parse(frame.packet).unwrap();
            let family = if ip.source.is_ipv4() { 4 } else { 6 };
            let side = if frame.outgoing { "out" } else { "in" };
            match (ip.udp(), ip.tcp()) {
                (Ok(udp), _) => format!("{side} udp{family} {}", udp.destination_port),
                (_, Ok(tcp)) => format!("{side} tcp{family} {}", tcp.destination_port.min(tcp.source_port)),
                _ => format!("{side} icmp{family}"),
            }
        }));
    }
    seen.sort();
    seen.dedup();
    seen
}

#[test]
fn filters_pass_what_they_say() {
    on_loopback("filters_pass_what_they_say", || {
        let incoming = Side::Incoming;
        let udp = Filter { udp: true, side: incoming, ..Filter::default() };
        assert_eq!(passing(udp), ["in udp4 8000", "in udp4 9000", "in udp6 8000", "in udp6 9000"]);
        let tcp = Filter { tcp: true, side: incoming, ..Filter::default() };
        assert_eq!(passing(tcp), ["in tcp4 8000", "in tcp4 9000", "in tcp6 8000", "in tcp6 9000"]);
        let icmp = Filter { icmp: true, side: incoming, ..Filter::default() };
        assert_eq!(passing(icmp), ["in icmp4", "in icmp6"]);
        let ports = Filter { side: incoming, ..Filter::ports([8500..=9000, 1..=7]) };
        assert_eq!(passing(ports), ["in tcp4 9000", "in tcp6 9000", "in udp4 9000", "in udp6 9000"]);
        let source = Filter { udp: true, ports: vec![6999..=7000], side: incoming, ..Filter::default() };
        assert_eq!(passing(source).len(), 4);
        let many = (0..300u16).map(|i| 8001 + 3 * i..=8002 + 3 * i).collect();
        let many = Filter { udp: true, tcp: true, icmp: true, ports: many, side: Side::Outgoing, ..Filter::default() };
        assert_eq!(passing(many), ["out icmp4", "out icmp6"]);
        let both = Filter { udp: true, ports: vec![8000..=8000], ..Filter::default() };
        assert_eq!(passing(both), ["in udp4 8000", "in udp6 8000", "out udp4 8000", "out udp6 8000"]);
        assert!(passing(Filter::default()).is_empty());
        // Whoever accepts a connection, and the port asked for besides.
        let accepts = Filter { accepts: true, side: incoming, ..Filter::ports([8000..=8000]) };
        let (udp, tcp) =
            (["in udp4 8000", "in udp6 8000"], ["in tcp4 8000", "in tcp4 9000", "in tcp6 8000", "in tcp6 9000"]);
        assert_eq!(passing(accepts), [&tcp[..], &udp[..]].concat());
    });
}

#[test]
fn long_packets_are_cut_at_the_snaplen() {
    on_loopback("long_packets_are_cut_at_the_snaplen", || {
        let filter = Filter { udp: true, side: Side::Incoming, ..Filter::default() };
        let options = CaptureOptions { filter, snaplen: 64, ..CaptureOptions::default() };
        let mut on_lo = Capture::open("lo", &options).unwrap();
        let socket = udp("127.0.0.1:0");
        socket.send_to(&[1; 1000], Some(socket.local_addr().unwrap()), Tos::from_byte(0x68), None).unwrap();
        let seen = capture(&mut on_lo, 1).remove(0);
        assert_eq!((seen.packet.len(), seen.original_len), (64, 1028));
        assert_eq!(wire::frame::IpPacket::parse(&seen.packet).unwrap().tos, Tos::from_byte(0x68));
    });
}

#[test]
fn vlan_tags_are_told() {
    inside("vlan_tags_are_told", || {
        let other = veth_pair();
        let mut right = other.open(|| open("right", Filter { udp: true, ..Filter::default() }));
        let mut tagged = vec![0xff; 6];
        tagged.extend([2, 0, 0, 0, 0, 1]);
        tagged.extend([0x81, 0x00, 5 << 5, 42]);
        tagged.extend([0x08, 0x00]);
        tagged.extend([0x45, 0, 0, 34, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
        tagged.extend([0, 9, 0, 9, 0, 14, 0, 0]);
        tagged.extend(b"tagged");
        PacketSocket::open("left").unwrap().send(&Frame::from_ethernet(&tagged)).unwrap();
        let seen = capture(&mut right, 1).remove(0);
        assert_eq!(seen.vlan_tci, Some(5 << 13 | 42));
        assert_eq!(wire::frame::IpPacket::parse(&seen.packet).unwrap().udp().unwrap().payload, b"tagged");
    });
}

#[test]
fn what_a_full_ring_loses_is_counted() {
    on_loopback("what_a_full_ring_loses_is_counted", || {
        let filter = Filter { udp: true, side: Side::Incoming, ..Filter::default() };
        let options = CaptureOptions { filter, block_size: 4096, block_count: 2, ..CaptureOptions::default() };
        let mut on_lo = Capture::open("lo", &options).unwrap();
        let (sender, receiver) = (udp("127.0.0.1:0"), udp("127.0.0.1:0"));
        for _ in 0..500 {
            sender.send_to(&[0; 200], Some(receiver.local_addr().unwrap()), Tos::default(), None).unwrap();
            sender.transmit_stamps(&mut |_| ()).unwrap();
        }
        let mut read = 0;
        while let Some(block) = on_lo.next_block(Some(Duration::from_millis(200))).unwrap() {
            read += block.len() as u64;
        }
        let statistics = on_lo.statistics().unwrap();
        assert_eq!(statistics.seen, 500);
        assert!(statistics.dropped > 0 && read > 0);
        assert_eq!(read + statistics.dropped, 500);
        assert_eq!(on_lo.statistics().unwrap(), statistics, "counts from the beginning, not from the last question");
        // And it goes on.
        sender.send_to(b"later", Some(receiver.local_addr().unwrap()), Tos::default(), None).unwrap();
        assert_eq!(capture(&mut on_lo, 1).len(), 1);
    });
}

#[test]
fn a_capture_survives_the_loss_of_privilege_and_tells_of_the_interfaces_end() {
    inside("a_capture_survives_the_loss_of_privilege_and_tells_of_the_interfaces_end", || {
        let _other = veth_pair();
        let mut left = open("left", Filter { udp: true, ..Filter::default() });
        assert!(left.next_block(Some(Duration::ZERO)).unwrap().is_none());
        run("ip link del left");
        let error = loop {
            if let Err(error) = left.next_block(Some(LONG)) {
                break error.to_string();
            }
        };
        assert!(error.contains("left") && error.contains("went down or away"), "{error}");
        run("ip link set lo up");
        let mut on_lo = open("lo", Filter { udp: true, side: Side::Incoming, ..Filter::default() });
        without_capabilities();
        let socket = udp("127.0.0.1:0");
        socket.send_to(b"x", Some(socket.local_addr().unwrap()), Tos::default(), None).unwrap();
        assert_eq!(capture(&mut on_lo, 1).len(), 1);
        on_lo.statistics().unwrap();
    });
}

#[test]
fn errors_are_one_clear_line() {
    on_loopback("errors_are_one_clear_line", || {
        let options = CaptureOptions::default();
        let error = Capture::open("eth77", &options).unwrap_err().to_string();
        assert!(error.contains("'eth77'") && error.contains("lo") && !error.contains('\n'), "{error}");
        without_capabilities();
        let error = Capture::open("lo", &options).unwrap_err().to_string();
        assert!(
            error.starts_with("capturing on lo: Operation not permitted") && error.contains("CAP_NET_RAW"),
            "{error}"
        );
        assert!(!error.contains('\n'));
        let ports = (0..301).map(|port| port..=port).collect();
        let options = CaptureOptions { filter: Filter { ports, ..Filter::default() }, ..options };
        assert!(Capture::open("lo", &options).unwrap_err().to_string().contains("300"), "{error}");
    });
}
