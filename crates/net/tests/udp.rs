//! What the kernel really delivers to and from the UDP socket, without any privilege.

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use net::{Outgoing, ReceiveBatch, UdpOptions, UdpProbeSocket};
use support::{Owned, on_loopback, receive, transmit_stamps, udp, veth_pair, warm_up, without_capabilities};
use wire::Tos;

fn every_tos() -> impl Iterator<Item = Tos> {
    (0..=255).map(Tos::from_byte)
}

/// Sends one packet of each ToS and joins what was received with the error queue's frames by their payload.
fn all_tos_arrive(sender: &UdpProbeSocket, receiver: &UdpProbeSocket, to: SocketAddr) {
    let payloads: Vec<[u8; 40]> = (0..=255u8).map(|i| [i; 40]).collect();
    let packets: Vec<Outgoing<'_>> = every_tos()
        .zip(&payloads)
        .map(|(tos, payload)| Outgoing { payload, to: Some(to), tos, ttl: Some(tos.byte() | 1), ..Outgoing::default() })
        .collect();
    let (mut received, mut stamps) = (Vec::new(), Vec::new());
    // As many at a time as any system's socket buffers hold.
    for packets in packets.chunks(64) {
        let sent = sender.send_batch(packets, &mut |i, error| panic!("packet {i}: {error}"));
        assert_eq!(sent, 64);
        received.extend(receive(receiver, 64));
        stamps.extend(transmit_stamps(sender, 64));
    }
    received.sort_by_key(|packet| packet.payload[0]);
    let payload_of = |frame: &[u8]| wire::frame::udp_in_frame(frame).unwrap().1.payload.to_vec();
    stamps.sort_by_key(|(_, frame)| payload_of(frame)[0]);
    for (((tos, packet), (stamp, frame)), payload) in every_tos().zip(&received).zip(&stamps).zip(&payloads) {
        assert_eq!(packet.payload, payload);
        assert_eq!(packet.tos, Some(tos), "received");
        assert_eq!(packet.ttl, Some(tos.byte() | 1));
        assert_eq!(packet.to, Some(to.ip()));
        assert_eq!(packet.from.port(), sender.local_addr().unwrap().port());
        assert!(!packet.truncated);
        let (ip, udp) = wire::frame::udp_in_frame(frame).unwrap();
        assert_eq!((ip.tos, udp.payload), (tos, &payload[..]), "on the error queue");
        assert!(*stamp <= packet.stamp.expect("stamps were seen before"), "sent after it was received");
    }
}

#[test]
fn every_tos_arrives_and_shows_on_the_error_queue() {
    on_loopback("every_tos_arrives_and_shows_on_the_error_queue", || {
        without_capabilities();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (sender, receiver) = (udp(address), udp(address));
            warm_up(&sender);
            all_tos_arrive(&sender, &receiver, receiver.local_addr().unwrap());
        }
    });
}

#[test]
fn every_tos_crosses_a_veth_pair_both_ways() {
    support::inside("every_tos_crosses_a_veth_pair_both_ways", || {
        let other = veth_pair();
        for (here, there) in [("10.9.0.1:0", "10.9.0.2:0"), ("[fd09::1]:0", "[fd09::2]:0")] {
            let (near, far) = (udp(here), other.open(|| udp(there)));
            warm_up(&near);
            all_tos_arrive(&near, &far, far.local_addr().unwrap());
            all_tos_arrive(&far, &near, near.local_addr().unwrap());
        }
    });
}

#[test]
fn single_sends_carry_tos_and_the_default_ttl() {
    on_loopback("single_sends_carry_tos_and_the_default_ttl", || {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (sender, receiver) = (udp(address), udp(address));
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            for tos in [0x00, 0xb8, 0xff, 0x01] {
                sender.send_to(b"one", None, Tos::from_byte(tos), None).unwrap();
                let Owned { tos: seen, ttl, .. } = receive(&receiver, 1)[0].clone();
                assert_eq!((seen, ttl), (Some(Tos::from_byte(tos)), Some(64)));
            }
        }
    });
}

#[test]
fn an_answer_leaves_from_the_address_asked() {
    on_loopback("an_answer_leaves_from_the_address_asked", || {
        support::run("ip addr add 2001:db8::7/128 dev lo");
        for (any, asked, asker) in [("0.0.0.0:0", "127.0.0.77", "127.0.0.1:0"), ("[::]:0", "2001:db8::7", "[::1]:0")] {
            let (server, client) = (udp(any), udp(asker));
            let to = SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
            client.send_to(b"?", Some(to), Tos::default(), None).unwrap();
            let question = receive(&server, 1).remove(0);
            assert_eq!(question.to, Some(to.ip()));
            server.send_to(b"!", Some(question.from), Tos::from_byte(0x2a), question.to).unwrap();
            assert_eq!(receive(&client, 1)[0].from, to);
        }
    });
}

#[test]
fn longer_packets_say_that_they_were_cut() {
    on_loopback("longer_packets_say_that_they_were_cut", || {
        let (sender, receiver) = (udp("127.0.0.1:0"), udp("127.0.0.1:0"));
        let mut batch = ReceiveBatch::new(4, 100);
        let to = Some(receiver.local_addr().unwrap());
        // The third comes again and shows that the memory's reuse leaves nothing behind.
        for length in [99usize, 100, 101, 1400, 0, 3] {
            sender.send_to(&vec![length as u8; length], to, Tos::default(), None).unwrap();
            assert_eq!(receiver.receive(&mut batch, Some(support::LONG)).unwrap(), 1);
            assert_eq!(batch.len(), 1);
            for packet in batch.packets() {
                assert_eq!(packet.truncated, length > 100);
                assert_eq!(packet.payload, vec![length as u8; length.min(100)]);
            }
        }
    });
}

#[test]
fn payloads_can_be_written_in_place() {
    on_loopback("payloads_can_be_written_in_place", || {
        let (sender, receiver) = (udp("127.0.0.1:0"), udp("127.0.0.1:0"));
        let to = Some(receiver.local_addr().unwrap());
        for i in 0..5u8 {
            sender.send_to(&[i; 8], to, Tos::default(), None).unwrap();
        }
        let mut batch = ReceiveBatch::new(64, 64);
        let mut seen = 0;
        while seen < 5 {
            receiver.receive(&mut batch, Some(support::LONG)).unwrap();
            seen += batch.len();
            let mut together: Vec<_> = batch.packets().collect();
            together.iter_mut().for_each(|packet| packet.payload.reverse());
            together.iter_mut().for_each(|packet| packet.payload[0] = 99);
            drop(together);
            assert!(batch.packets().all(|packet| packet.payload[0] == 99 && packet.payload[1] == packet.payload[7]));
        }
    });
}

#[test]
fn a_quiet_socket_times_out_though_stamps_wait() {
    on_loopback("a_quiet_socket_times_out_though_stamps_wait", || {
        let (sender, receiver) = (udp("127.0.0.1:0"), udp("127.0.0.1:0"));
        sender.send_to(b"x", Some(receiver.local_addr().unwrap()), Tos::default(), None).unwrap();
        assert!(sender.wait(Some(support::LONG)).unwrap().error_queue);
        let mut batch = ReceiveBatch::default();
        for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(5)] {
            assert_eq!(sender.receive(&mut batch, Some(timeout)).unwrap(), 0);
            assert!(batch.is_empty() && batch.packets().len() == 0);
        }
        let readiness = sender.wait(Some(Duration::ZERO)).unwrap();
        assert!(readiness.error_queue && !readiness.readable);
    });
}

#[test]
fn a_refused_packet_does_not_stop_the_others() {
    on_loopback("a_refused_packet_does_not_stop_the_others", || {
        let (sender, receiver) = (udp("127.0.0.1:0"), udp("127.0.0.1:0"));
        let good = receiver.local_addr().unwrap();
        let unroutable: SocketAddr = "203.0.113.1:9".parse().unwrap();
        let payloads: Vec<[u8; 1]> = (0..100).map(|i| [i]).collect();
        let packets: Vec<Outgoing<'_>> = payloads
            .iter()
            .map(|payload| {
                let to = if payload[0] % 10 == 3 { unroutable } else { good };
                Outgoing { payload, to: Some(to), ..Outgoing::default() }
            })
            .collect();
        let mut failed = Vec::new();
        let sent = sender.send_batch(&packets, &mut |i, error| failed.push((i, error.to_string())));
        assert_eq!(sent, 90);
        assert_eq!(failed.iter().map(|(i, _)| *i).collect::<Vec<_>>(), (0..10).map(|i| i * 10 + 3).collect::<Vec<_>>());
        assert!(failed[0].1.starts_with("sending to 203.0.113.1:9: Network is unreachable"), "{}", failed[0].1);
        let mut received: Vec<u8> = receive(&receiver, 90).iter().map(|packet| packet.payload[0]).collect();
        received.dedup();
        assert_eq!(received.len(), 90);
        // The frames tell which ones left, though the kernel counted the failures as well.
        let left: Vec<u8> = transmit_stamps(&sender, 90)
            .iter()
            .map(|(_, frame)| wire::frame::udp_in_frame(frame).unwrap().1.payload[0])
            .collect();
        assert_eq!(left, received);
    });
}

#[test]
fn a_closed_port_neither_swallows_a_packet_nor_ends_the_receiver() {
    on_loopback("a_closed_port_neither_swallows_a_packet_nor_ends_the_receiver", || {
        let sender = udp("127.0.0.1:0");
        let gone = udp("127.0.0.1:0").local_addr().unwrap();
        sender.connect(gone).unwrap();
        // Each send would report the refusal of the one before, instead of sending.
        for _ in 0..10 {
            sender.send_to(b"anyone?", None, Tos::default(), None).unwrap();
        }
        assert_eq!(transmit_stamps(&sender, 10).len(), 10);
        let mut batch = ReceiveBatch::default();
        assert_eq!(sender.receive(&mut batch, Some(Duration::from_millis(1))).unwrap(), 0);
        assert_eq!(sender.refusals(), 10);
        // Nor does the report of it keep a waiting thread awake.
        sender.send_to(b"anyone?", None, Tos::default(), None).unwrap();
        transmit_stamps(&sender, 1);
        while sender.wait(Some(Duration::from_millis(1))).unwrap().error_queue {
            assert_eq!(sender.transmit_stamps(&mut |_| ()).unwrap(), 0);
        }
        assert_eq!(sender.refusals(), 11);
    });
}

#[test]
fn icmp_errors_are_told_from_stamps() {
    on_loopback("icmp_errors_are_told_from_stamps", || {
        without_capabilities();
        for (address, expected) in [("127.0.0.1:0", (3, 3)), ("[::1]:0", (1, 4))] {
            let options = UdpOptions { icmp_errors: true, ..UdpOptions::default() };
            let sender = UdpProbeSocket::bind(address.parse().unwrap(), &options).unwrap();
            let gone = udp(address).local_addr().unwrap();
            sender.send_to(b"quoted", Some(gone), Tos::from_byte(0xb8), None).unwrap();
            let (mut stamps, mut errors) = (0, 0);
            while stamps + errors < 2 {
                assert!(sender.wait(Some(support::LONG)).unwrap().error_queue);
                sender
                    .error_queue(&mut |event| match event {
                        net::QueueEvent::Transmit(stamp) => {
                            stamps += 1;
                            assert_eq!(wire::frame::udp_in_frame(stamp.frame).unwrap().1.payload, b"quoted");
                        }
                        net::QueueEvent::Icmp(error) => {
                            errors += 1;
                            assert_eq!((error.icmp_type, error.icmp_code), expected);
                            assert_eq!((error.payload, error.to), (&b"quoted"[..], Some(gone)));
                            assert_eq!(error.offender, Some(gone.ip()));
                            assert_eq!(error.errno, libc::ECONNREFUSED);
                        }
                    })
                    .unwrap();
            }
            assert_eq!((stamps, errors), (1, 1));
            let mut batch = ReceiveBatch::default();
            assert_eq!(sender.receive(&mut batch, Some(Duration::ZERO)).unwrap(), 0);
            sender.send_to(b"again", Some(gone), Tos::default(), None).unwrap();
        }
    });
}

#[test]
fn a_full_buffer_is_counted() {
    on_loopback("a_full_buffer_is_counted", || {
        let options = UdpOptions { receive_buffer: 1, ..UdpOptions::default() };
        let receiver = UdpProbeSocket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let sender = udp("127.0.0.1:0");
        for _ in 0..100 {
            sender.send_to(&[0; 1000], Some(receiver.local_addr().unwrap()), Tos::default(), None).unwrap();
        }
        let mut batch = ReceiveBatch::default();
        let mut received = 0;
        while let count @ 1.. = receiver.receive(&mut batch, Some(Duration::ZERO)).unwrap() {
            received += count;
        }
        assert!(received < 100);
        assert_eq!(receiver.dropped().unwrap() as usize + received, 100);
    });
}

#[test]
fn one_thread_sends_while_another_receives() {
    on_loopback("one_thread_sends_while_another_receives", || {
        let socket = udp("127.0.0.1:0");
        let own = socket.local_addr().unwrap();
        const COUNT: usize = 5000;
        let received = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stamps = 0;
                for i in 0..COUNT {
                    // No more on the way than the smallest buffer holds.
                    while i > received.load(Ordering::Relaxed) + 50 {
                        std::thread::yield_now();
                    }
                    socket.send_to(&(i as u32).to_be_bytes(), Some(own), Tos::default(), None).unwrap();
                    stamps += socket.transmit_stamps(&mut |_| ()).unwrap();
                }
                while stamps < COUNT {
                    socket.wait(Some(Duration::from_millis(1))).unwrap();
                    stamps += socket.transmit_stamps(&mut |_| ()).unwrap();
                }
            });
            let mut batch = ReceiveBatch::default();
            while received.load(Ordering::Relaxed) < COUNT {
                socket.receive(&mut batch, Some(support::LONG)).unwrap();
                for packet in batch.packets() {
                    let number = received.fetch_add(1, Ordering::Relaxed) as u32;
                    assert_eq!(packet.payload, number.to_be_bytes());
                }
            }
        });
    });
}

#[test]
fn errors_say_what_to_do() {
    on_loopback("errors_say_what_to_do", || {
        let taken = udp("127.0.0.1:0").local_addr().unwrap();
        let _holder = UdpProbeSocket::bind(taken, &UdpOptions::default()).unwrap();
        let error = UdpProbeSocket::bind(taken, &UdpOptions::default()).unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("taken by another program"), "{error}");
        let error =
            UdpProbeSocket::bind("192.0.2.1:1".parse().unwrap(), &UdpOptions::default()).unwrap_err().to_string();
        assert!(error.contains("no interface of this host has the address"), "{error}");
        without_capabilities();
        let error =
            UdpProbeSocket::bind("127.0.0.1:53".parse().unwrap(), &UdpOptions::default()).unwrap_err().to_string();
        assert!(error.contains("CAP_NET_BIND_SERVICE") && !error.contains('\n'), "{error}");
    });
}

#[test]
fn a_handed_over_socket_is_one_family_of_udp() {
    on_loopback("a_handed_over_socket_is_one_family_of_udp", || {
        let options = UdpOptions::default();
        let given = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        given.set_nonblocking(true).unwrap();
        let address = given.local_addr().unwrap();
        let taken = UdpProbeSocket::from_fd(given.into(), &options).unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        udp("127.0.0.1:0").send_to(b"x", Some(address), Tos::from_byte(0x48), None).unwrap();
        assert_eq!(receive(&taken, 1)[0].tos, Some(Tos::from_byte(0x48)));
        let both = std::net::UdpSocket::bind("[::]:0").unwrap();
        assert!(UdpProbeSocket::from_fd(both.into(), &options).unwrap_err().to_string().contains("IPV6_V6ONLY"));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(UdpProbeSocket::from_fd(tcp.into(), &options).unwrap_err().to_string().contains("not a UDP socket"));
    });
}
