//! Our packets, in capture files, as tshark decodes them: the judge is a dissector that does not know this crate.
//!
//! Needs tshark, the Debian package `tshark`; without it these tests fail. Checked with 4.0.17.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::Command;

use wire::frame::Family;
use wire::icmp::{Echo, EchoKind, build_echo, fill_icmpv6_checksum};
use wire::stamp::{
    ClassOfService, ErrorEstimate, ReflectContext, Security, SenderPacket, StampKey, Timestamp, TimestampFormat, Tlv,
    TlvType, build_sender, reflect,
};
use wire::{DirectionKey, Dscp, Ecn, MaskKey, ProbeFlags, ProbeHeader, Tos};

const SESSION: u32 = 0x1234_5678;
/// 2023-11-14T22:13:20Z.
const NOW_NS: i64 = 1_700_000_000_000_000_000;
const EF: Tos = Tos::new(Dscp::EF, Ecn::Ect0);

const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn header(sequence: u32) -> ProbeHeader {
    let flags = ProbeFlags::REPLY_WANTED;
    ProbeHeader { flags, tos: EF, reply_tos: EF, sequence, in_reply_to: None, sent_at_ns: NOW_NS }
}

fn key() -> DirectionKey {
    DirectionKey::new(&[7; 32])
}

fn token(sequence: u32) -> [u8; 28] {
    wire::token::seal_token(SESSION, &header(sequence), &key(), &MaskKey::new(&[8; 32]))
}

fn token_text(sequence: u32) -> String {
    String::from_utf8(wire::base32::encode_token(&token(sequence)).to_vec()).unwrap()
}

/// A packet from 192.0.2.1 to 198.51.100.2.
fn ipv4(tos: Tos, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (20 + payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, tos.byte(), high, low, 0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
    let sum: u32 = packet.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DESTINATION6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

fn ipv6(tos: Tos, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = (6 << 28 | u32::from(tos.byte()) << 20).to_be_bytes().to_vec();
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([protocol, 64]);
    packet.extend(SOURCE6.octets());
    packet.extend(DESTINATION6.octets());
    packet.extend_from_slice(payload);
    packet
}

/// Over IPv4, where a checksum of zero means none.
fn udp(tos: Tos, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for field in [source, destination, 8 + payload.len() as u16, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    ipv4(tos, UDP, &datagram)
}

/// One segment with data, in a connection that needs no other.
fn tcp(tos: Tos, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xfa, 0xf0, 0, 0, 0, 0]);
    segment.extend_from_slice(payload);
    ipv4(tos, TCP, &segment)
}

/// The least of tshark's severities: "GET / HTTP/1.1" is one, a wrong checksum is not.
const CHAT: &str = "2097152";

/// A remark: application data follows a ServerHello and a ChangeCipherSpec at once.
const RESUMED: &str = "This session reuses previously negotiated keys (Session resumption)";

/// The fields of every packet, one row each, as tshark prints them; several values are separated by commas.
///
/// Fails where a packet's ToS is not `EF`, or where tshark has anything to complain about.
fn decode<const N: usize>(name: &str, packets: &[Vec<u8>], decode_as: &[&str], fields: [&str; N]) -> Vec<[String; N]> {
    // pcap, little-endian, microseconds, link type 101: raw IP.
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(u32::to_le_bytes(word));
    }
    for (i, packet) in packets.iter().enumerate() {
        for word in [1_700_000_000, i as u32, packet.len() as u32, packet.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend_from_slice(packet);
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pcap"));
    std::fs::write(&path, file).unwrap();

    let mut command = Command::new("tshark");
    // -n: no names for ports and addresses. The checks of checksums that are off by default are switched on.
    command.arg("-nr").arg(&path).args(["-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "occurrence=a"]);
    for rule in decode_as {
        command.args(["-d", rule]);
    }
    let checked = ["frame.protocols", "ip.dsfield", "ipv6.tclass", "_ws.expert.severity", "_ws.expert.message"];
    for field in checked.iter().chain(&fields) {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap_or_else(|error| {
        panic!("tshark cannot be run ({error}): install the Debian package `tshark` (apt-get install tshark)")
    });
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {complaint}");
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<[String; N]> = text
        .lines()
        .map(|line| {
            let mut values = line.split('\t').map(str::to_owned);
            let [protocols, tos, class, severities, message] = core::array::from_fn(|_| values.next().unwrap());
            assert!(!protocols.contains("_ws.malformed"), "{name}: {line}");
            assert!(tos == "0xba" || class == "0x000000ba", "{name}: {line}");
            let severities = if message == RESUMED { "" } else { &severities };
            assert!(severities.split(',').all(|severity| ["", CHAT].contains(&severity)), "{name}: {line}");
            core::array::from_fn(|_| values.next().unwrap())
        })
        .collect();
    assert_eq!(rows.len(), packets.len(), "{name}: {text}");
    rows
}

#[test]
fn rtp_probes_are_rtp() {
    let mut packets = Vec::new();
    let mut out = Vec::new();
    for (sequence, len) in [(0, 48), (1, 172), (0x0001_0002, 1200)] {
        wire::rtp::build_rtp(&mut out, SESSION, &header(sequence), len, &key()).unwrap();
        packets.push(udp(EF, 40_000, 8620, &out));
    }
    let fields = ["frame.protocols", "rtp.version", "rtp.p_type", "rtp.ssrc", "rtp.seq", "rtp.timestamp"];
    let rows = decode("rtp", &packets, &["udp.port==8620,rtp"], fields);
    let row = |seq, timestamp| ["raw:ip:udp:rtp", "2", "120", "0x12345678", seq, timestamp];
    assert_eq!(rows, [row("0", "0"), row("1", "960"), row("2", "62916480")]);
}

#[test]
fn discovery_and_control_are_nothing_known() {
    let mut out = Vec::new();
    let mask = MaskKey::new(&[8; 32]);
    let mut packets = vec![
        udp(EF, 40_000, 50_004, &wire::discovery::build_discovery_request(SESSION)),
        udp(
            EF,
            50_004,
            40_000,
            &wire::discovery::build_discovery_response(SESSION, "192.0.2.1".parse().unwrap(), 40_000),
        ),
    ];
    for sequence in 0..64 {
        wire::control::build_control(&mut out, SESSION, &header(sequence), 172, &key(), &mask).unwrap();
        packets.push(udp(EF, 40_000, 8620, &out));
    }
    let rows = decode("discovery", &packets, &[], ["frame.protocols", "udp.length", "data.data"]);
    assert!(rows.iter().all(|[protocols, ..]| protocols == "raw:ip:udp:data"), "{rows:?}");
    assert_eq!((rows[0][1].as_str(), &rows[0][2][..16]), ("82", "0001004612345678"));
    assert_eq!(&rows[1][2][..36], "0002004612345678 3139322e302e322e3100".replace(' ', ""));
    assert_eq!(rows[2][1], "180");
}

#[test]
fn dns_probes_are_a_txt_question_and_its_answer() {
    let (mut query, mut answer) = (Vec::new(), Vec::new());
    wire::dns::build_query(&mut query, 0x1234, &token(1));
    wire::dns::build_answer(&mut answer, &wire::dns::parse_query(&query).unwrap(), &token(2));
    let packets = [udp(EF, 40_000, 8621, &query), udp(EF, 8621, 40_000, &answer)];
    let fields =
        ["frame.protocols", "dns.id", "dns.qry.name", "dns.qry.type", "dns.txt", "dns.resp.ttl", "dns.resp.type"];
    let rows = decode("dns", &packets, &["udp.port==8621,dns"], fields);
    let name = format!("{}.netlat.invalid", token_text(1));
    assert_eq!(rows[0], ["raw:ip:udp:dns", "0x1234", &name, "16", "", "", "41"]);
    assert_eq!(rows[1], ["raw:ip:udp:dns", "0x1234", &name, "16", &token_text(2), "0", "16,41"]);
}

#[test]
fn http_probes_are_a_get_and_its_answer() {
    let (mut request, mut response) = (Vec::new(), Vec::new());
    wire::http::build_request(&mut request, "198.51.100.2:8620", &token(1));
    wire::http::build_response(&mut response, &token(2));
    let packets = [tcp(EF, 40_000, 8620, &request), tcp(EF, 8620, 40_000, &response)];
    let fields = [
        "http.request.method",
        "http.request.uri",
        "http.host",
        "http.response.code",
        "http.content_length",
        "http.file_data",
    ];
    let rows = decode("http", &packets, &["tcp.port==8620,http"], fields);
    assert_eq!(rows[0], ["GET", &format!("/p/{}", token_text(1)), "198.51.100.2:8620", "", "", ""]);
    assert_eq!(rows[1], ["", "", "", "200", "45", &token_text(2)]);
}

#[test]
fn tls_probes_are_a_hello_and_a_refusal() {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    let filler: [u8; 68] = core::array::from_fn(|i| i as u8);
    wire::tls::build_client_hello(&mut client, "gateway.discord.gg", &token(1), &filler).unwrap();
    wire::tls::build_server_hello(&mut server, &token(2), filler.first_chunk().unwrap());
    let packets = [tcp(EF, 40_000, 443, &client), tcp(EF, 443, 40_000, &server)];
    let fields = [
        "tls.handshake.type",
        "tls.handshake.extensions_server_name",
        "tls.handshake.extensions_alpn_str",
        "tls.handshake.extensions.supported_version",
        "tls.handshake.random",
        "tls.handshake.extension.type",
        "tls.alert_message.desc",
    ];
    let rows = decode("tls", &packets, &["tcp.port==443,tls"], fields);
    let random = |token: [u8; 28]| data_encoding::HEXLOWER.encode(&token) + "00010203";
    let extensions = "0,23,65281,10,11,35,16,5,13,18,51,45,43";
    let offered = ["1", "gateway.discord.gg", "h2,http/1.1", "0x0304,0x0303", &random(token(1)), extensions, ""];
    assert_eq!(rows[0], offered);
    assert_eq!(rows[1], ["2", "", "", "", &random(token(2)), "65281,23", "40"]);
}

/// Their beginnings, which a classifier sees first, and for TLS a record that runs on beyond its packet.
#[test]
fn transfers_are_web_traffic() {
    let (mut upload, mut answer, mut hello) = (Vec::new(), Vec::new(), Vec::new());
    wire::http::build_upload(&mut upload, "198.51.100.2:8620", &token(1), 1_000);
    upload.extend([0x5a; 1_000]);
    wire::bulk::build_http_continue(&mut answer);
    let mut download = Vec::new();
    wire::bulk::build_http_head(&mut download, 900);
    download.extend([0x5a; 900]);
    let packets = [tcp(EF, 40_000, 8620, &upload), tcp(EF, 8620, 40_000, &answer), tcp(EF, 8620, 40_001, &download)];
    let fields = ["http.request.method", "http.request.uri", "http.response.code", "http.content_length_header"];
    let rows = decode("transfers", &packets, &["tcp.port==8620,http"], fields);
    assert_eq!(rows[0], ["POST", &format!("/p/{}", token_text(1)), "", "1000"]);
    assert_eq!(rows[1], ["", "", "100", ""]);
    assert_eq!(rows[2], ["", "", "200", "900"]);

    wire::tls::build_accepting_hello(&mut hello, &token(2), &[7; 36]);
    let mut body = [0x5a; 1_200];
    wire::bulk::dress_body(wire::bulk::Dress::Tls, &mut body, 0, 1_200);
    hello.extend(body);
    let fields = ["tls.record.content_type", "tls.handshake.type", "tls.record.length", "tls.app_data"];
    let rows = decode("transfers-tls", &[tcp(EF, 443, 40_000, &hello)], &["tcp.port==443,tls"], fields);
    let (kinds, lengths) = (rows[0][0].clone(), rows[0][2].clone());
    assert!(kinds.starts_with("22,20") && lengths.ends_with(",1,1195"), "{kinds} {lengths}");
    assert_eq!((rows[0][1].as_str(), rows[0][3].as_str()), ("2", "5a".repeat(1_195).as_str()));
}

#[test]
fn stamp_packets_are_twamp_test_packets() {
    let error = ErrorEstimate::from_ns(1_000, true, TimestampFormat::Ntp);
    let timestamp = Timestamp::from_unix_ns(NOW_NS, TimestampFormat::Ntp);
    let sender = SenderPacket { sequence: 9, timestamp, error, ssid: 0 };
    let class = ClassOfService::request(Dscp::EF).bytes();
    let tlvs = [Tlv::request(TlvType::ClassOfService, &class)];
    let key = StampKey::new(&[9; 32]);
    let (mut request, mut reply, mut packets) = (Vec::new(), Vec::new(), Vec::new());
    for security in [Security::Open, Security::Authenticated(&key)] {
        build_sender(&mut request, &sender, &tlvs, security).unwrap();
        let context = ReflectContext {
            security,
            received_tos: Some(EF),
            received_ttl: Some(57),
            reply_sequence: Some(4),
            ..ReflectContext::new(NOW_NS + 2_000_000_000, NOW_NS + 3_000_000_000, error)
        };
        let plan = reflect(&request, &context, &mut reply).unwrap();
        let tos = Tos::new(plan.dscp, EF.ecn());
        packets.extend([udp(EF, 40_000, 862, &request), udp(tos, 862, 40_000, &reply)]);
    }
    let fields = [
        "frame.protocols",
        "twamp.test.seq_number",
        "twamp.test.timestamp",
        "twamp.test.receive_timestamp",
        "twamp.test.sender_seq_number",
        "twamp.test.sender_ttl",
        "twamp.test.error_estimate.s",
        "twamp.test.error_estimate.scale",
    ];
    let rows = decode("stamp", &packets, &["udp.port==862,twamp.test"], fields);
    let time = |seconds| format!("Nov 14, 2023 22:13:{seconds}.000000000 UTC");
    let (never, [t1, t2, t3]) = ("Jan  1, 1970 00:00:00.000000000 UTC", [20, 22, 23].map(time));
    // tshark reads every packet as an open reply; a request has zeros where that has the echoed fields.
    assert_eq!(rows[0], ["raw:ip:udp:twamp.test", "9", &t1, never, "0", "0", "1,0", "5,0"]);
    assert_eq!(rows[1], ["raw:ip:udp:twamp.test", "4", &t3, &t2, "9", "57", "1,1", "5,5"]);
    // In authenticated packets it therefore finds the sequence, and at offset 16, for it the receive timestamp, the
    // timestamp.
    assert_eq!(rows[2][..4], ["raw:ip:udp:twamp.test", "9", never, &t1]);
    assert_eq!(rows[3][..4], ["raw:ip:udp:twamp.test", "4", never, &t3]);
}

#[test]
fn echoes_are_echoes_with_good_checksums() {
    let echo = Echo { kind: EchoKind::Request, identifier: 0x1122, sequence: 0x3344, data: b"netlat!" };
    let mut packets = Vec::new();
    let mut out = Vec::new();
    for kind in [EchoKind::Request, EchoKind::Reply] {
        build_echo(&mut out, Family::Ipv4, &Echo { kind, ..echo });
        packets.push(ipv4(EF, ICMP, &out));
        build_echo(&mut out, Family::Ipv6, &Echo { kind, ..echo });
        fill_icmpv6_checksum(&mut out, SOURCE6, DESTINATION6);
        packets.push(ipv6(EF, ICMPV6, &out));
    }
    let fields = [
        "icmp.type",
        "icmp.ident",
        "icmp.seq",
        "icmp.checksum.status",
        "icmpv6.type",
        "icmpv6.echo.identifier",
        "icmpv6.echo.sequence_number",
        "icmpv6.checksum.status",
    ];
    let rows = decode("icmp", &packets, &[], fields);
    // Status 1: good.
    let four = |kind| [kind, "4386", "13124", "1", "", "", "", ""];
    let six = |kind| ["", "", "", "", kind, "0x1122", "13124", "1"];
    assert_eq!(rows, [four("8"), six("128"), four("0"), six("129")]);
}
