//! What one DNS message says. Reads as far as it can: a message that the capture cut, or that lies about its
//! length, gives what came before.

use std::net::IpAddr;

use hickory_proto::op::{Header, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Kept of one answer.
pub const MOST_ADDRESSES: usize = 16;
/// An honest answer has a handful; reading more is somebody else's wish to keep this host busy.
const MOST_RECORDS: u16 = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    pub id: u16,
    pub is_answer: bool,
    /// Of the first question: lower case, without the last dot.
    pub name: String,
    pub kind: RecordType,
    pub code: ResponseCode,
    pub truncated: bool,
    /// Names that the answer's CNAME and HTTPS records lead to, in their order.
    pub chain: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// Some of the answer could not be read.
    pub broken: bool,
}

fn plain(name: &hickory_proto::rr::Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

impl Dns {
    /// `None`: not even header and question can be read.
    pub fn read(bytes: &[u8]) -> Option<Dns> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).ok()?;
        if header.counts.queries == 0 {
            return None;
        }
        let question = Query::read(&mut decoder).ok()?;
        let mut dns = Dns {
            id: header.metadata.id,
            is_answer: header.metadata.message_type == MessageType::Response,
            name: plain(&question.name),
            kind: question.query_type,
            code: header.metadata.response_code,
            truncated: header.metadata.truncation,
            chain: Vec::new(),
            addresses: Vec::new(),
            // Nobody asks two questions at once (RFC 9619), and answers would begin after the second.
            broken: header.counts.queries > 1,
        };
        if dns.is_answer && !dns.broken {
            for _ in 0..header.counts.answers.min(MOST_RECORDS) {
                match Record::<RData>::read(&mut decoder) {
                    Ok(record) => dns.learn(record.data),
                    Err(_) => {
                        dns.broken = true;
                        break;
                    }
                }
            }
        }
        Some(dns)
    }

    /// Whether it answers this question.
    pub fn answers(&self, question: &Dns) -> bool {
        self.is_answer && (self.id, self.kind, &self.name) == (question.id, question.kind, &question.name)
    }

    fn learn(&mut self, data: RData) {
        match data {
            RData::A(address) => self.add(IpAddr::V4(address.0)),
            RData::AAAA(address) => self.add(IpAddr::V6(address.0)),
            RData::CNAME(target) => self.chain.push(plain(&target.0)),
            RData::HTTPS(service) => {
                if !service.0.target_name.is_root() {
                    self.chain.push(plain(&service.0.target_name));
                }
                for (_, value) in service.0.svc_params {
                    match value {
                        SvcParamValue::Ipv4Hint(hints) => hints.0.iter().for_each(|hint| self.add(IpAddr::V4(hint.0))),
                        SvcParamValue::Ipv6Hint(hints) => hints.0.iter().for_each(|hint| self.add(IpAddr::V6(hint.0))),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, address: IpAddr) {
        if self.addresses.len() < MOST_ADDRESSES && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `c-ams08-44aff7ca.discord.media HTTPS`: a CNAME to `edge.discord.media`, then `1 . ipv4hint=66.22.196.9
    /// ipv6hint=2001:db8::9`, written by hand from RFC 1035 (section 4) and RFC 9460 (section 2.2).
    pub(crate) fn https_answer() -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0];
        bytes.extend(b"\x10C-AMS08-44aff7ca\x07discord\x05media\x00\x00\x41\x00\x01");
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 7]);
        bytes.extend(b"\x04edge\xc0\x1d");
        bytes.extend([0xc0, 60, 0, 65, 0, 1, 0, 0, 0, 60, 0, 31]);
        bytes.extend([0, 1, 0, 0, 4, 0, 4, 66, 22, 196, 9, 0, 6, 0, 16]);
        bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        bytes
    }

    #[test]
    fn https_hints_and_cnames_are_read() {
        let dns = Dns::read(&https_answer()).unwrap();
        assert_eq!(dns.name, "c-ams08-44aff7ca.discord.media");
        assert_eq!((dns.id, dns.is_answer, dns.kind, dns.broken), (0xabcd, true, RecordType::HTTPS, false));
        assert_eq!(dns.chain, ["edge.discord.media"]);
        assert_eq!(dns.addresses, ["66.22.196.9".parse::<IpAddr>().unwrap(), "2001:db8::9".parse().unwrap()]);
    }

    #[test]
    fn what_is_cut_or_changed_breaks_nothing() {
        let whole = https_answer();
        for end in 0..whole.len() {
            if let Some(dns) = Dns::read(&whole[..end]) {
                assert!(dns.broken, "{end}");
            }
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = Dns::read(&changed);
            }
        }
    }

    #[test]
    fn names_that_point_at_themselves_and_endless_answers_end() {
        let mut own = vec![0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1];
        assert_eq!(Dns::read(&own), None);
        own[13] = 14;
        assert_eq!(Dns::read(&own), None);
        // 64 kB of one name after another, each a pointer to the one before.
        let mut long = vec![0, 1, 0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
        long.extend(b"\x01a\x07discord\x05media\x00\x00\x01\x00\x01");
        while long.len() + 16 < 65_535 {
            let before = (long.len().min(0x3fff) as u16 - 2) | 0xc000;
            long.extend(before.to_be_bytes());
            long.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, long.len() as u8]);
        }
        let dns = Dns::read(&long).unwrap();
        assert!(dns.addresses.len() <= MOST_ADDRESSES);
    }
}
