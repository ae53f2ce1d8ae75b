//! One query, one answer: no sockets. Never panics on any input.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::config::Dns;

/// Where Discord's names live.
const DISCORD: [&str; 5] = ["discord.com", "discord.gg", "discord.media", "discordapp.com", "discordapp.net"];
/// Without EDNS (RFC 1035, section 4.2.1), and what is answered at most with it.
const PLAIN: u16 = 512;
const EDNS: u16 = 1232;

pub struct Zones {
    zones: Vec<Name>,
    a: Vec<Ipv4Addr>,
    aaaa: Vec<Ipv6Addr>,
    ttl: u32,
}

/// An answer, and what it is about.
pub struct Answered {
    /// Lower case, without the final dot.
    pub name: String,
    pub kind: RecordType,
    pub bytes: Vec<u8>,
    empty: Message,
}

impl Answered {
    /// SERVFAIL or NXDOMAIN instead.
    pub fn failed(&self, no_such_name: bool) -> Option<Vec<u8>> {
        let mut message = self.empty.clone();
        message.metadata.response_code = if no_such_name { ResponseCode::NXDomain } else { ResponseCode::ServFail };
        message.to_vec().ok()
    }
}

impl Zones {
    pub fn new(config: &Dns) -> Zones {
        let names = DISCORD.iter().copied().chain(config.zones.iter().map(String::as_str));
        let zones = names.filter_map(|name| Name::from_ascii(name).ok()).map(|mut name| {
            name.set_fqdn(true);
            name
        });
        Zones { zones: zones.collect(), a: config.a.clone(), aaaa: config.aaaa.clone(), ttl: config.ttl }
    }

    /// `None`: not a query that deserves an answer. `datagram`: bounded by what the asker takes.
    pub fn answer(&self, query: &[u8], datagram: bool) -> Option<Answered> {
        let query = Message::from_vec(query).ok()?;
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let [question] = query.queries.as_slice() else { return None };
        let question = question.clone();
        let mut empty = Message::response(query.metadata.id, query.metadata.op_code);
        empty.metadata.recursion_desired = query.metadata.recursion_desired;
        empty.metadata.recursion_available = true;
        empty.add_query(question.clone());
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS);
            empty.set_edns(edns);
        }
        let mut message = empty.clone();
        let zone = self.zones.iter().find(|zone| zone.zone_of(&question.name));
        match zone {
            _ if query.metadata.op_code != OpCode::Query => message.metadata.response_code = ResponseCode::NotImp,
            None => message.metadata.response_code = ResponseCode::NXDomain,
            Some(zone) => {
                message.metadata.authoritative = true;
                let record = |data| Record::from_rdata(question.name.clone(), self.ttl, data);
                match question.query_type {
                    RecordType::A => message.answers = self.a.iter().map(|ip| record(RData::A(A(*ip)))).collect(),
                    RecordType::AAAA => {
                        message.answers = self.aaaa.iter().map(|ip| record(RData::AAAA(AAAA(*ip)))).collect();
                    }
                    _ => {}
                }
                if message.answers.is_empty() {
                    let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86_400, self.ttl);
                    message.add_authority(Record::from_rdata(zone.clone(), self.ttl, RData::SOA(soa)));
                }
            }
        }
        let mut bytes = message.to_vec().ok()?;
        let most = query.edns.as_ref().map_or(PLAIN, |edns| edns.max_payload().clamp(PLAIN, EDNS));
        if datagram && bytes.len() > usize::from(most) {
            let mut cut = empty.clone();
            cut.metadata.truncation = true;
            bytes = cut.to_vec().ok()?;
        }
        let name = question.name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        Some(Answered { name, kind: question.query_type, bytes, empty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(zones: &Zones, name: &str, kind: RecordType) -> Message {
        let mut query = Message::query();
        let mut name = Name::from_ascii(name).unwrap();
        name.set_fqdn(true);
        query.add_query(hickory_proto::op::Query::query(name, kind));
        Message::from_vec(&zones.answer(&query.to_vec().unwrap(), true).unwrap().bytes).unwrap()
    }

    /// A query as a resolver sent it: `gateway.discord.gg` A, id 0xbeef, recursion desired (bytes by hand from RFC 1035).
    const QUERY: &[u8] =
        b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07gateway\x07discord\x02gg\x00\x00\x01\x00\x01";

    #[test]
    fn a_query_is_answered_byte_by_byte() {
        let answered = Zones::new(&Dns::default()).answer(QUERY, true).unwrap();
        let mut expected = QUERY.to_vec();
        expected[2..4].copy_from_slice(&[0x85, 0x80]);
        expected[7] = 1;
        // Name: a pointer to the question; A, IN, 60 s, 4 bytes.
        expected.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01");
        assert_eq!(answered.bytes, expected);
        assert_eq!(answered.name, "gateway.discord.gg");
    }

    #[test]
    fn discords_names_exist_and_no_others() {
        let zones = Zones::new(&Dns::default());
        assert_eq!(ask(&zones, "c-ams08-44aff7ca.discord.media", RecordType::A).answers.len(), 1);
        let none = ask(&zones, "discord.com", RecordType::AAAA);
        assert_eq!((none.answers.len(), none.metadata.response_code), (0, ResponseCode::NoError));
        let other = ask(&zones, "notdiscord.com", RecordType::A);
        assert_eq!(other.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn many_addresses_are_cut_for_datagrams_only() {
        let a = (0..100).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
        let zones = Zones::new(&Dns { a, ..Dns::default() });
        assert!(Message::from_vec(&zones.answer(QUERY, true).unwrap().bytes).unwrap().metadata.truncation);
        assert_eq!(Message::from_vec(&zones.answer(QUERY, false).unwrap().bytes).unwrap().answers.len(), 100);
    }
}
