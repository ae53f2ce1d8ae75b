//! Watches the DNS of one interface for names of media hosts, whichever program asks: plain DNS over UDP and TCP. What is
//! asked for over TLS or HTTPS cannot be seen.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use model::control::WatchCounts;
use model::{Measurement, Metric, UnixNanos};
use net::Clock;
use resolver::{Dns, RecordType, ResponseCode};
use wire::frame::{IpPacket, TcpFlags, protocol};

use super::stream::Streams;

pub(super) const DNS_PORT: u16 = 53;
/// Queries of the whole host that wait for their answers.
const MOST_WAITING: usize = 1024;
/// Addresses of media hosts to which connections are noticed: the newest.
const MOST_KNOWN: usize = 64;
/// libc asks again after 5 s; who answers later than this answers nobody.
const PATIENCE_NS: i64 = 10_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: SocketAddr,
    resolver: SocketAddr,
    id: u16,
    kind: RecordType,
    tcp: bool,
}

#[derive(Debug)]
struct Waiting {
    name: String,
    /// The kernel's, of the first query: an application that asks again has waited since then.
    at: UnixNanos,
}

/// What is worth telling.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// A program looked a media host up.
    Lookup(Box<Measurement>),
    /// An address of a media host accepted a connection from this port.
    Opened { peer: SocketAddr, client_port: u16 },
}

pub(super) struct Table {
    is_media_host: fn(&str) -> bool,
    clock: Clock,
    waiting: HashMap<Key, Waiting>,
    streams: Streams,
    known: VecDeque<IpAddr>,
    pub(super) counts: WatchCounts,
}

impl Table {
    pub(super) fn new(is_media_host: fn(&str) -> bool, clock: Clock) -> Table {
        Table {
            is_media_host,
            clock,
            waiting: HashMap::new(),
            streams: Streams::default(),
            known: VecDeque::new(),
            counts: WatchCounts::default(),
        }
    }

    /// `packet` begins at its IP header. `is_own` tells by the client's port what this process asked itself.
    pub(super) fn look(
        &mut self,
        packet: &[u8],
        at: UnixNanos,
        is_own: &dyn Fn(u16) -> bool,
        found: &mut dyn FnMut(Found),
    ) {
        let Ok(packet) = IpPacket::parse(packet) else { return self.counts.malformed += 1 };
        let ends = |source, destination| {
            (SocketAddr::new(packet.source, source), SocketAddr::new(packet.destination, destination))
        };
        if packet.protocol == protocol::UDP {
            let Ok(udp) = packet.udp() else { return self.counts.malformed += 1 };
            let (from, to) = ends(udp.source_port, udp.destination_port);
            self.message(udp.payload, from, to, false, at, is_own, found);
        } else {
            let Ok(tcp) = packet.tcp() else { return self.counts.malformed += 1 };
            let (from, to) = ends(tcp.source_port, tcp.destination_port);
            if from.port() != DNS_PORT && to.port() != DNS_PORT {
                let accepts = tcp.flags.contains(TcpFlags::SYN) && tcp.flags.contains(TcpFlags::ACK);
                if accepts && self.known.contains(&from.ip().to_canonical()) {
                    found(Found::Opened { peer: from, client_port: to.port() });
                }
                return;
            }
            let mut messages = Vec::new();
            self.streams.add(from, to, &tcp, at, &mut |message| messages.push(message.to_vec()));
            self.counts.given_up += std::mem::take(&mut self.streams.given_up);
            for message in messages {
                self.message(&message, from, to, true, at, is_own, found);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a packet's parts, named one by one")]
    fn message(
        &mut self,
        bytes: &[u8],
        from: SocketAddr,
        to: SocketAddr,
        tcp: bool,
        at: UnixNanos,
        is_own: &dyn Fn(u16) -> bool,
        found: &mut dyn FnMut(Found),
    ) {
        let Some(dns) = Dns::read(bytes) else { return self.counts.malformed += 1 };
        self.counts.malformed += u64::from(dns.broken);
        let (client, resolver) = if dns.is_answer { (to, from) } else { (from, to) };
        if resolver.port() != DNS_PORT || is_own(client.port()) {
            return;
        }
        let key = Key { client, resolver, id: dns.id, kind: dns.kind, tcp };
        if !dns.is_answer {
            if !self.waiting.contains_key(&key) {
                self.make_room(at, found);
                self.waiting.insert(key, Waiting { name: dns.name, at });
            }
            return;
        }
        // A second answer finds nobody waiting.
        if self.waiting.get(&key).is_none_or(|waiting| waiting.name != dns.name) {
            return;
        }
        let Some(waiting) = self.waiting.remove(&key) else { return };
        let names = std::iter::once(&dns.name).chain(&dns.chain);
        let Some(host) = names.into_iter().find(|name| (self.is_media_host)(name)) else { return };
        let mut seen = self.sighting(&key, host, waiting.at);
        let took = at.0.saturating_sub(waiting.at.0).max(0);
        seen.dns_us = Some(took.unsigned_abs() / 1000);
        seen.received_us = Some(model::record::micros(self.clock.stamp(at)).max(seen.at_us));
        for address in &dns.addresses {
            if !self.known.contains(address) {
                self.known.truncate(MOST_KNOWN - 1);
                self.known.push_front(*address);
            }
        }
        seen.addresses = dns.addresses;
        flag_code(&mut seen, dns.code);
        if dns.truncated {
            seen.flag("truncated");
        }
        found(Found::Lookup(Box::new(seen)));
    }

    fn sighting(&self, key: &Key, host: &str, at: UnixNanos) -> Measurement {
        let mut seen = Measurement::new(Metric::MediaDns, self.clock.stamp(at));
        seen.sent_us = Some(seen.at_us);
        // As long as names may be in DNS, and printable as names of media hosts are.
        seen.target = host.chars().filter(|c| ('!'..='~').contains(c)).take(120).collect();
        seen.resolver = Some(key.resolver.ip().to_canonical());
        seen.flag(match key.kind {
            RecordType::A => "a",
            RecordType::AAAA => "aaaa",
            RecordType::HTTPS => "https",
            _ => "other-type",
        });
        if key.tcp {
            seen.flag("tcp");
        }
        seen
    }

    /// What nobody answered in time.
    pub(super) fn expire(&mut self, now: UnixNanos, found: &mut dyn FnMut(Found)) {
        let late = |waiting: &Waiting| now.0.saturating_sub(waiting.at.0) > PATIENCE_NS;
        let gone: Vec<(Key, Waiting)> = self.waiting.extract_if(|_, waiting| late(waiting)).collect();
        for (key, waiting) in gone {
            if (self.is_media_host)(&waiting.name) {
                let mut seen = self.sighting(&key, &waiting.name, waiting.at);
                seen.flag("no-answer");
                found(Found::Lookup(Box::new(seen)));
            }
        }
    }

    fn make_room(&mut self, now: UnixNanos, found: &mut dyn FnMut(Found)) {
        if self.waiting.len() < MOST_WAITING {
            return;
        }
        self.expire(now, found);
        while self.waiting.len() >= MOST_WAITING {
            let oldest = self.waiting.iter().min_by_key(|(_, waiting)| waiting.at).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.waiting.remove(&oldest);
            self.counts.given_up += 1;
        }
    }
}

/// Says of a measurement what the resolver said, where that is not that all went well.
pub(super) fn flag_code(measured: &mut Measurement, code: ResponseCode) {
    match code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => measured.flag("nxdomain"),
        code => measured.flag(&format!("rcode-{}", u16::from(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_media(name: &str) -> bool {
        name.ends_with(".discord.media")
    }

    /// An IPv4 UDP datagram.
    fn udp(from: (u8, u16), to: (u8, u16), payload: &[u8]) -> Vec<u8> {
        let length = (28 + payload.len()) as u16;
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, from.0, 192, 0, 2, to.0];
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes.extend(from.1.to_be_bytes());
        bytes.extend(to.1.to_be_bytes());
        bytes.extend((length - 20).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(payload);
        bytes
    }

    fn query(id: u8, name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(name);
        bytes.extend([0, 1, 0, 1]);
        bytes
    }

    fn answer(id: u8, name: &[u8]) -> Vec<u8> {
        let mut bytes = query(id, name);
        bytes[2] = 0x81;
        bytes[7] = 1;
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 66, 22, 196, 9]);
        bytes
    }

    const NAME: &[u8] = b"\x09newark123\x07discord\x05media\x00";
    const OTHER: &[u8] = b"\x03www\x07example\x03org\x00";

    fn lookup(found: Found) -> Option<Measurement> {
        match found {
            Found::Lookup(seen) => Some(*seen),
            Found::Opened { .. } => None,
        }
    }

    fn run(packets: &[(i64, Vec<u8>)]) -> (Vec<Measurement>, Table) {
        let mut table = Table::new(is_media, Clock::identity());
        let mut all = Vec::new();
        for (at_us, packet) in packets {
            let at = UnixNanos(1_790_000_000_000_000_000 + at_us * 1000);
            table.look(packet, at, &|port| port == 4444, &mut |found| all.extend(lookup(found)));
        }
        (all, table)
    }

    #[test]
    fn a_query_and_its_answer_are_one_sighting_and_doubles_and_others_are_none() {
        let ask = |id, name| udp((1, 40_000), (53, 53), &query(id, name));
        let tell = |id, name| udp((53, 53), (1, 40_000), &answer(id, name));
        let own = udp((1, 4444), (53, 53), &query(9, NAME));
        let (seen, table) = run(&[
            (0, ask(1, NAME)),
            (1, ask(1, NAME)),
            (5, ask(2, OTHER)),
            (6, own),
            (7, tell(7, NAME)),
            (900, tell(2, OTHER)),
            (1_250, tell(1, NAME)),
            (1_251, tell(1, NAME)),
            (1_260, udp((53, 53), (1, 4444), &answer(9, NAME))),
        ]);
        assert_eq!(seen.len(), 1);
        let seen = &seen[0];
        assert_eq!((seen.target.as_str(), seen.dns_us), ("newark123.discord.media", Some(1_250)));
        assert_eq!(seen.resolver, Some([192, 0, 2, 53].into()));
        assert_eq!(seen.addresses, [IpAddr::from([66, 22, 196, 9])]);
        assert_eq!(seen.flags, ["a"]);
        assert_eq!(seen.check(), Ok(()));
        assert!(table.waiting.is_empty());
    }

    /// An IPv4 TCP segment without data.
    fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.extend(from.0);
        bytes.extend(to.0);
        bytes.extend(from.1.to_be_bytes());
        bytes.extend(to.1.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn connections_to_what_was_looked_up_tell_the_port() {
        let (media, other, own) = ([66, 22, 196, 9], [192, 0, 2, 80], [192, 0, 2, 1]);
        let packets = [
            // Before anybody knows whose address it is.
            tcp((media, 2053), (own, 50_000), 0x12),
            udp((1, 40_000), (53, 53), &query(1, NAME)),
            udp((53, 53), (1, 40_000), &answer(1, NAME)),
            tcp((own, 50_001), (media, 8443), 0x02),
            tcp((media, 8443), (own, 50_001), 0x12),
            tcp((media, 8443), (own, 50_001), 0x10),
            tcp((other, 8080), (own, 50_002), 0x12),
            tcp((media, 9), (own, 50_003), 0x14),
        ];
        let (mut table, mut opened) = (Table::new(is_media, Clock::identity()), Vec::new());
        for packet in &packets {
            let mut found = |found| opened.extend(lookup_or_opened(found));
            table.look(packet, UnixNanos(1_790_000_000_000_000_000), &|_| false, &mut found);
        }
        assert_eq!(opened, [(SocketAddr::from((media, 8443)), 50_001)]);
        assert_eq!(table.counts, WatchCounts::default());
    }

    fn lookup_or_opened(found: Found) -> Option<(SocketAddr, u16)> {
        match found {
            Found::Opened { peer, client_port } => Some((peer, client_port)),
            Found::Lookup(_) => None,
        }
    }

    #[test]
    fn silence_is_told_once_and_what_waits_is_bounded() {
        let (_, mut table) = run(&[(0, udp((1, 40_000), (53, 53), &query(1, NAME)))]);
        let mut late = Vec::new();
        let second = |s: i64| UnixNanos(1_790_000_000_000_000_000 + s * 1_000_000_000);
        for s in [1, 11, 12] {
            table.expire(second(s), &mut |found| late.extend(lookup(found)));
        }
        assert_eq!(late.len(), 1);
        assert_eq!((late[0].dns_us, late[0].flags.as_slice()), (None, &["a".to_owned(), "no-answer".to_owned()][..]));
        assert_eq!(late[0].check(), Ok(()));
        let flood: Vec<_> =
            (0..3000_u16).map(|port| (i64::from(port), udp((1, 10_000 + port), (53, 53), &query(1, OTHER)))).collect();
        let (_, table) = run(&flood);
        assert_eq!((table.waiting.len(), table.counts.given_up), (MOST_WAITING, 3000 - MOST_WAITING as u64));
    }

    #[test]
    fn broken_packets_are_counted_and_break_nothing() {
        let whole = udp((53, 53), (1, 40_000), &answer(1, NAME));
        let mut packets = Vec::new();
        for end in 0..whole.len() {
            packets.push((0, whole[..end].to_vec()));
        }
        for at in 0..whole.len() {
            for byte in [0, 0x3f, 0x40, 0xc0, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                packets.push((0, changed));
            }
        }
        let (seen, table) = run(&packets);
        assert!(seen.is_empty());
        assert!(table.counts.malformed > 50, "{:?}", table.counts);
    }
}
