//! Echoes and the quotes of routers.

mod support;

use std::net::IpAddr;

use model::Family;
use net::icmp::{EchoSocket, IcmpListener};
use net::{Outgoing, ReceiveBatch};
use support::{LONG, Namespace, inside, on_loopback, run, udp, veth_pair, warm_up, without_capabilities};
use wire::Tos;
use wire::icmp::{IcmpMessage, parse_icmp};

const LOOPBACK: [(Family, &str); 2] = [(Family::Ipv4, "127.0.0.1"), (Family::Ipv6, "::1")];

/// Echoes of several marks, each answered, with ordered stamps.
fn echoes(socket: &EchoSocket, to: IpAddr) {
    let mut batch = ReceiveBatch::default();
    for (sequence, tos) in [(1u16, 0x00u8), (2, 0xb8), (3, 0x48), (65535, 0xfd)] {
        let tos = Tos::from_byte(tos);
        socket.send(to, sequence, b"0123456789", tos, Some(77)).unwrap();
        let mut answers = Vec::new();
        while answers.is_empty() {
            socket
                .receive(&mut batch, Some(LONG), &mut |reply| {
                    assert_eq!((reply.from, reply.sequence, reply.data), (to, sequence, &b"0123456789"[..]));
                    answers.push((reply.tos, reply.ttl, reply.stamp));
                })
                .unwrap();
        }
        let mut left = Vec::new();
        while left.is_empty() {
            socket.wait(Some(LONG)).unwrap();
            socket.transmit_stamps(&mut |stamp| left.push(stamp)).unwrap();
        }
        assert_eq!((left[0].sequence, left[0].tos, left[0].to), (sequence, tos, to));
        let (seen, ttl, stamp) = answers[0];
        // The far kernel copies the mark but for ECN where it pleases, and answers with a TTL of its own.
        assert_eq!(seen.map(|seen| seen.dscp()), Some(tos.dscp()));
        assert_eq!(ttl, Some(64));
        assert!(left[0].stamp <= stamp.expect("stamps were seen before"));
    }
}

#[test]
fn unprivileged_echoes_are_answered() {
    on_loopback("unprivileged_echoes_are_answered", || {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        without_capabilities();
        warm_up(&udp("127.0.0.1:0"));
        for (family, address) in LOOPBACK {
            let (socket, other) = (EchoSocket::open(family).unwrap(), EchoSocket::open(family).unwrap());
            assert!(!socket.is_raw());
            other.send(address.parse().unwrap(), 9, b"not yours", Tos::default(), None).unwrap();
            echoes(&socket, address.parse().unwrap());
        }
    });
}

#[test]
fn raw_echoes_are_answered_where_unprivileged_ones_are_closed() {
    on_loopback("raw_echoes_are_answered_where_unprivileged_ones_are_closed", || {
        // A new network namespace lets nobody ping.
        warm_up(&udp("127.0.0.1:0"));
        for (family, address) in LOOPBACK {
            let (socket, other) = (EchoSocket::open(family).unwrap(), EchoSocket::open(family).unwrap());
            assert!(socket.is_raw());
            other.send(address.parse().unwrap(), 9, b"not yours", Tos::default(), None).unwrap();
            echoes(&socket, address.parse().unwrap());
        }
    });
}

#[test]
fn without_either_way_the_sysctl_is_named() {
    on_loopback("without_either_way_the_sysctl_is_named", || {
        // A new network namespace lets nobody ping.
        without_capabilities();
        for (family, _) in LOOPBACK {
            let error = EchoSocket::open(family).unwrap_err().to_string();
            assert!(error.contains("net.ipv4.ping_group_range") && error.contains("CAP_NET_RAW"), "{error}");
            let error = IcmpListener::open(family).unwrap_err().to_string();
            assert!(error.contains("CAP_NET_RAW") && !error.contains('\n'), "{error}");
        }
    });
}

/// left (here) - right, a router - beyond.
fn routed() -> (Namespace, Namespace) {
    let router = veth_pair();
    let beyond = Namespace::new("beyond");
    router.run("ip link add far type veth peer name near netns beyond");
    for (command, namespace) in [
        ("ip addr add 10.10.0.1/24 dev far", &router),
        ("ip addr add fd10::1/64 dev far nodad", &router),
        ("ip link set far up", &router),
        ("ip addr add 10.10.0.2/24 dev near", &beyond),
        ("ip addr add fd10::2/64 dev near nodad", &beyond),
        ("ip link set near up", &beyond),
        ("ip route add default via 10.10.0.1", &beyond),
        ("ip -6 route add default via fd10::1", &beyond),
    ] {
        namespace.run(command);
    }
    run("ip route add 10.10.0.0/24 via 10.9.0.2");
    run("ip -6 route add fd10::/64 via fd09::2");
    router.open(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    });
    (router, beyond)
}

#[test]
fn a_router_quotes_the_mark_it_saw() {
    inside("a_router_quotes_the_mark_it_saw", || {
        let (_router, beyond) = routed();
        for (family, here, there, hop) in [
            (Family::Ipv4, "10.9.0.1:0", "10.10.0.2:0", "10.9.0.2"),
            (Family::Ipv6, "[fd09::1]:0", "[fd10::2]:0", "fd09::2"),
        ] {
            let (sender, target) = (udp(here), beyond.open(|| udp(there)));
            warm_up(&sender);
            let listener = IcmpListener::open(family).unwrap();
            let to = target.local_addr().unwrap();
            for tos in [0x00, 0x20, 0xb8, 0xfe] {
                let tos = Tos::from_byte(tos);
                sender.send(&Outgoing { payload: b"hop?", to: Some(to), tos, ttl: Some(1), source: None }).unwrap();
                let mut batch = ReceiveBatch::default();
                assert_eq!(listener.receive(&mut batch, Some(LONG)).unwrap(), 1);
                let packet = batch.packets().next().unwrap();
                assert_eq!(packet.from.ip(), hop.parse::<IpAddr>().unwrap());
                assert!(packet.stamp.is_some());
                let family = if family == Family::Ipv4 { wire::frame::Family::Ipv4 } else { wire::frame::Family::Ipv6 };
                let Ok(IcmpMessage::TimeExceeded { code: 0, quote }) = parse_icmp(family, packet.payload) else {
                    panic!("{packet:?}")
                };
                assert_eq!((quote.packet.tos, quote.packet.ttl), (tos, 1));
                assert_eq!(quote.destination_port, Some(to.port()));
                assert_eq!(quote.udp_payload, b"hop?");
                // One hop more, and it arrives.
                sender.send(&Outgoing { payload: b"there", to: Some(to), tos, ttl: Some(2), source: None }).unwrap();
                let arrived = support::receive(&target, 1).remove(0);
                assert_eq!((arrived.tos, arrived.ttl, &arrived.payload[..]), (Some(tos), Some(1), &b"there"[..]));
            }
        }
    });
}
