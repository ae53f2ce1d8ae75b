//! What TCP sockets show of marks, times and round trips, without any privilege.

mod support;

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use model::UnixNanos;
use net::tcp::{MarkOf, TcpOptions, TcpProbe, TcpProbeListener};
use support::{LONG, on_loopback, veth_pair, without_capabilities};
use wire::{Dscp, Ecn, Tos};

const ADDRESSES: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn listen(address: &str) -> TcpProbeListener {
    TcpProbeListener::bind(address.parse().unwrap()).unwrap()
}

fn connected(listener: &TcpProbeListener, tos: Tos) -> (TcpProbe, TcpProbe) {
    let to = listener.local_addr().unwrap();
    let client = TcpProbe::connect(to, tos, LONG, &TcpOptions::default()).unwrap();
    let server = listener.accept(Some(LONG)).unwrap().expect("a connection is waiting");
    (client, server)
}

fn receive(probe: &TcpProbe, length: usize) -> (Vec<u8>, Option<UnixNanos>) {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let mut stamp = None;
    while all.len() < length {
        let received = probe.receive(&mut buffer, LONG).unwrap();
        assert!(received.length > 0, "closed early");
        all.extend_from_slice(&buffer[..received.length]);
        stamp = received.stamp;
    }
    (all, stamp)
}

#[test]
fn a_hosts_own_syn_has_the_options_of_every_connection_it_opens() {
    on_loopback("a_hosts_own_syn_has_the_options_of_every_connection_it_opens", || {
        without_capabilities();
        let own = net::tcp::own_syn().expect("a loopback interface");
        let (_, own) = wire::frame::tcp_in_frame(&own).unwrap();
        // What Linux sends (net/ipv4/tcp_output.c, tcp_syn_options): segment size, SACK with timestamps, window scale.
        assert_eq!(own.option_kinds().collect::<Vec<u8>>(), [2, 4, 8, 1, 3]);
        for address in ADDRESSES {
            let (_client, server) = connected(&listen(address), Tos::default());
            let (_, seen) = wire::frame::tcp_in_frame(server.saved_syn()).unwrap();
            assert!(seen.option_kinds().eq(own.option_kinds()), "{address}");
            assert_eq!(seen.window_scale(), own.window_scale(), "{address}");
        }
    });
}

#[test]
fn the_saved_syn_shows_every_dscp_and_no_ecn() {
    on_loopback("the_saved_syn_shows_every_dscp_and_no_ecn", || {
        without_capabilities();
        for address in ADDRESSES {
            let listener = listen(address);
            for dscp in Dscp::all() {
                // Asked for CE as well: TCP keeps those bits to itself.
                let (client, server) = connected(&listener, Tos::new(dscp, Ecn::Ce));
                assert_eq!(server.syn_mark(), Some((Tos::new(dscp, Ecn::NotEct), 64)));
                let (ip, tcp) = wire::frame::tcp_in_frame(server.saved_syn()).unwrap();
                assert!(tcp.flags.contains(wire::frame::TcpFlags::SYN));
                assert_eq!(tcp.source_port, client.local_addr().unwrap().port());
                assert_eq!(ip.source, client.local_addr().unwrap().ip());
                assert!(client.saved_syn().is_empty());
                assert_eq!(client.syn_mark(), None);
            }
        }
    });
}

#[test]
fn ipv6_shows_the_latest_packets_mark_on_both_sides() {
    support::inside("ipv6_shows_the_latest_packets_mark_on_both_sides", || {
        let other = veth_pair();
        let listener = other.open(|| listen("[fd09::2]:0"));
        let (client, server) = connected(&listener, Tos::from_byte(0x28));
        let mark = |probe: &TcpProbe| probe.received_mark().unwrap().expect("IPv6 shows it");
        assert_eq!(mark(&server).tos, Tos::from_byte(0x28), "of the handshake");
        for dscp in Dscp::all() {
            let (there, back) = (Tos::new(dscp, Ecn::NotEct), Tos::from_byte(!(dscp.get() << 2) & 0xfc));
            client.set_tos(there).unwrap();
            client.send(b"GET", LONG).unwrap();
            receive(&server, 3);
            assert_eq!(
                (mark(&server).tos, mark(&server).ttl, mark(&server).of),
                (there, Some(64), MarkOf::LatestPacket)
            );
            server.set_tos(back).unwrap();
            server.send(b"200", LONG).unwrap();
            receive(&client, 3);
            assert_eq!(
                (mark(&client).tos, mark(&client).ttl, mark(&client).of),
                (back, Some(64), MarkOf::LatestPacket)
            );
        }
    });
}

#[test]
fn ipv4_shows_the_handshakes_ack_and_only_to_the_server() {
    on_loopback("ipv4_shows_the_handshakes_ack_and_only_to_the_server", || {
        let listener = listen(ADDRESSES[0]);
        for dscp in Dscp::all() {
            let (client, server) = connected(&listener, Tos::new(dscp, Ecn::NotEct));
            let mark = server.received_mark().unwrap().expect("the kernel keeps it");
            assert_eq!((mark.tos, mark.ttl, mark.of), (Tos::new(dscp, Ecn::NotEct), Some(64), MarkOf::HandshakeAck));
            client.set_tos(Tos::from_byte(0x04)).unwrap();
            client.send(b"GET", LONG).unwrap();
            receive(&server, 3);
            assert_eq!(server.received_mark().unwrap(), Some(mark), "the request's own mark is not shown");
            server.send(b"200", LONG).unwrap();
            receive(&client, 3);
            assert_eq!(client.received_mark().unwrap(), None);
        }
    });
}

#[test]
fn bytes_are_stamped_where_they_leave_and_arrive() {
    on_loopback("bytes_are_stamped_where_they_leave_and_arrive", || {
        without_capabilities();
        for address in ADDRESSES {
            let warm = support::udp(address);
            support::warm_up(&warm);
            let listener = listen(address);
            let (client, server) = connected(&listener, Tos::from_byte(0xb8));
            for (from, to) in [(&client, &server), (&server, &client)] {
                let mut position = 0;
                for length in [1usize, 100, 700] {
                    from.send(&vec![7; length], LONG).unwrap();
                    position += length as u32;
                    let (bytes, received) = receive(to, length);
                    assert_eq!(bytes, vec![7; length]);
                    assert!(from.wait_transmit_stamp(LONG).unwrap());
                    let mut stamps = Vec::new();
                    from.transmit_stamps(&mut |stamp| stamps.push(stamp)).unwrap();
                    assert_eq!(stamps.len(), 1);
                    assert_eq!(stamps[0].last_byte, position - 1);
                    assert!(stamps[0].stamp <= received.expect("stamps were seen before"));
                }
            }
        }
    });
}

#[test]
fn the_kernel_tells_round_trips() {
    on_loopback("the_kernel_tells_round_trips", || {
        let listener = listen(ADDRESSES[0]);
        let (client, server) = connected(&listener, Tos::default());
        client.send(b"x", LONG).unwrap();
        receive(&server, 1);
        server.send(b"y", LONG).unwrap();
        receive(&client, 1);
        let info = client.info().unwrap();
        assert!(
            info.smoothed_rtt > Duration::ZERO && info.min_rtt.expect("there was a handshake") <= info.smoothed_rtt * 8
        );
        assert_eq!(info.retransmits, 0);
        assert!(client.connect_time().is_some() && server.connect_time().is_none());
    });
}

#[test]
fn waits_end() {
    on_loopback("waits_end", || {
        let listener = listen(ADDRESSES[1]);
        assert!(listener.accept(Some(Duration::ZERO)).unwrap().is_none());
        assert!(listener.accept(Some(Duration::from_millis(2))).unwrap().is_none());
        let (client, server) = connected(&listener, Tos::default());
        let mut buffer = [0; 10];
        for timeout in [Duration::ZERO, Duration::from_millis(2)] {
            let error = server.receive(&mut buffer, timeout).unwrap_err();
            assert!(error.is_timeout(), "{error}");
        }
        // Nobody reads: the buffers fill up, and the send gives up.
        let error = client.send(&vec![0; 64 << 20], Duration::from_millis(20)).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        drop(client);
        let mut rest = vec![0; 1 << 20];
        while server.receive(&mut rest, LONG).is_ok_and(|received| received.length > 0) {}
        let (client, server) = connected(&listener, Tos::default());
        client.shutdown_write().unwrap();
        assert_eq!(server.receive(&mut buffer, LONG).unwrap().length, 0);
    });
}

#[test]
fn a_reset_connection_ends_every_wait() {
    on_loopback("a_reset_connection_ends_every_wait", || {
        let listener = listen(ADDRESSES[0]);
        let (client, server) = connected(&listener, Tos::default());
        // Closing with unread bytes resets.
        client.send(b"unread", LONG).unwrap();
        while !server_has_bytes(&server) {}
        drop(server);
        assert!(client.receive(&mut [0; 8], LONG).is_err());
        client.transmit_stamps(&mut |_| ()).unwrap();
        assert!(!client.wait_transmit_stamp(LONG).unwrap());
    });
}

fn server_has_bytes(probe: &TcpProbe) -> bool {
    let mut events = libc::pollfd { fd: probe.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&mut events, 1, 1000) == 1 }
}

#[test]
fn errors_say_what_to_do() {
    on_loopback("errors_say_what_to_do", || {
        let listener = listen(ADDRESSES[0]);
        let taken = listener.local_addr().unwrap();
        let error = TcpProbeListener::bind(taken).unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("taken by another program"), "{error}");
        drop(listener);
        let error = TcpProbe::connect(taken, Tos::default(), LONG, &TcpOptions::default()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("connecting to {taken}: Connection refused")), "{error}");
        without_capabilities();
        let error = TcpProbeListener::bind("[::1]:80".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("CAP_NET_BIND_SERVICE"), "{error}");
    });
}

#[test]
fn a_handed_over_listener_saves_syns() {
    on_loopback("a_handed_over_listener_saves_syns", || {
        let given = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpProbeListener::from_fd(given.into()).unwrap();
        let (_client, server) = connected(&listener, Tos::from_byte(0x88));
        assert_eq!(server.syn_mark(), Some((Tos::from_byte(0x88), 64)));
        let stream = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(TcpProbeListener::from_fd(stream.into()).is_err());
    });
}

#[test]
fn connections_leave_from_the_chosen_address() {
    on_loopback("connections_leave_from_the_chosen_address", || {
        let listener = listen(ADDRESSES[0]);
        let options = TcpOptions { source: Some("127.0.0.9".parse().unwrap()) };
        let to = listener.local_addr().unwrap();
        let client = TcpProbe::connect(to, Tos::default(), LONG, &options).unwrap();
        let server = listener.accept(Some(LONG)).unwrap().unwrap();
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
        assert_eq!(server.peer_addr().unwrap().ip().to_string(), "127.0.0.9");
    });
}
