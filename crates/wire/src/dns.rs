//! DNS probes: a real TXT query whose name carries a token, and its answer (RFC 1035, with EDNS(0) of RFC 6891).
//!
//! ```text
//!   0  1  2  3  4  5  6  7  8  9  0  1  2  3  4  5
//! +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//! |                      ID                       |
//! +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//! |QR|   Opcode  |AA|TC|RD|RA| Z|AD|CD|   RCODE   |
//! +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//! |      QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT       |
//! +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//!
//! query    <45 characters of base32>.netlat.invalid. TXT IN, and an OPT record
//! answer   the question, <the same name> TXT IN, TTL 0, "<45 characters of base32>", and OPT if the query had one
//! ```
//!
//! `.invalid` is reserved (RFC 6761): a resolver that intercepts the query cannot answer it, and so gives itself away.

use alloc::vec::Vec;

use crate::base32::{TOKEN_TEXT_LEN, decode_token, encode_token};
use crate::bytes::Reader;
use crate::error::WireError;
use crate::token::TOKEN_LEN;

/// The zone below which every query is asked.
pub const DNS_ZONE: &str = "netlat.invalid";

const TYPE_TXT: u16 = 16;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
/// What the sender can take without fragments, by the agreement of DNS flag day 2020.
const EDNS_PAYLOAD: u16 = 1232;
/// Points to the question's name, right behind the 12-byte header.
const POINTER_TO_QUESTION: u16 = 0xc00c;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_AUTHORITATIVE: u16 = 0x0400;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const OPCODE: u16 = 0x7800;

/// Of a name, RFC 1035 section 3.1; also how far any walk over a name goes.
const NAME_MAX: usize = 255;
/// A name has at most 127 labels, and a pointer between two of them is of use once.
const POINTERS_MAX: usize = 127;

/// The question's name: the token's label, the zone's labels, the root.
const NAME_LEN: usize = 1 + TOKEN_TEXT_LEN + 1 + DNS_ZONE.len() + 1;

/// A probe's query, with what its answer has to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeQuery {
    pub id: u16,
    pub token: [u8; TOKEN_LEN],
    /// Bit i: byte i of the name is an upper-case letter. Forwarders mix cases (draft-vixie-dnsext-dns0x20) and
    /// compare.
    upper_case: u64,
    edns: bool,
    recursion_desired: bool,
}

impl ProbeQuery {
    /// As [`build_query`] writes it.
    pub const fn new(id: u16, token: [u8; TOKEN_LEN]) -> ProbeQuery {
        ProbeQuery { id, token, upper_case: 0, edns: true, recursion_desired: true }
    }
}

/// What came back, from whoever answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    pub id: u16,
    /// `None`: no token in it, so somebody else answered (an interceptor). A token is still to be authenticated.
    pub token: Option<[u8; TOKEN_LEN]>,
    /// RFC 1035's four bits; 0 is "no error", 3 "no such name".
    pub rcode: u8,
}

fn name_of(token: &[u8; TOKEN_LEN]) -> [u8; NAME_LEN] {
    let text = encode_token(token);
    let labels = core::iter::once(text.as_slice()).chain(DNS_ZONE.as_bytes().split(|&byte| byte == b'.'));
    let mut bytes = labels.flat_map(|label| core::iter::once(label.len() as u8).chain(label.iter().copied()));
    core::array::from_fn(|_| bytes.next().unwrap_or(0))
}

fn put_u16s(out: &mut Vec<u8>, values: &[u16]) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// An OPT record without options: root name, type, payload size, extended rcode and flags zero, no data.
fn put_opt(out: &mut Vec<u8>) {
    out.push(0);
    put_u16s(out, &[TYPE_OPT, EDNS_PAYLOAD, 0, 0, 0]);
}

/// Builds the query into `out`, which is cleared first.
pub fn build_query(out: &mut Vec<u8>, id: u16, token: &[u8; TOKEN_LEN]) {
    out.clear();
    put_u16s(out, &[id, FLAG_RECURSION_DESIRED, 1, 0, 0, 1]);
    out.extend_from_slice(&name_of(token));
    put_u16s(out, &[TYPE_TXT, CLASS_IN]);
    put_opt(out);
}

/// Accepts a probe's query and nothing else: one question below [`DNS_ZONE`], no records but additional ones.
pub fn parse_query(packet: &[u8]) -> Result<ProbeQuery, WireError> {
    let mut reader = Reader::new(packet);
    let [id, flags, questions, answers, authorities, additionals] = header(&mut reader)?;
    if flags & FLAG_RESPONSE != 0 || [questions, answers, authorities] != [1, 0, 0] {
        return Err(WireError::Malformed);
    }
    if flags & OPCODE != 0 {
        return Err(WireError::Unsupported);
    }
    let name: [u8; NAME_LEN] = reader.array()?;
    if reader.u16()? != TYPE_TXT || reader.u16()? != CLASS_IN {
        return Err(WireError::Unsupported);
    }
    let token = name.get(1..=TOKEN_TEXT_LEN).and_then(decode_token).ok_or(WireError::Malformed)?;
    // Everything but the case of letters, lengths and root included, is as this crate writes it.
    if !name.eq_ignore_ascii_case(&name_of(&token)) {
        return Err(WireError::Malformed);
    }
    let mut edns = false;
    for _ in 0..additionals {
        let record = Record::read(packet, &mut reader)?;
        if record.kind == TYPE_OPT {
            if edns {
                return Err(WireError::Malformed);
            }
            edns = true;
        }
    }
    if !reader.is_empty() {
        return Err(WireError::Malformed);
    }
    let upper_case =
        name.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase()).fold(0, |bits, (i, _)| bits | 1u64 << i);
    Ok(ProbeQuery { id, token, upper_case, edns, recursion_desired: flags & FLAG_RECURSION_DESIRED != 0 })
}

/// Builds the answer into `out`, which is cleared first. The question is repeated letter by letter.
pub fn build_answer(out: &mut Vec<u8>, query: &ProbeQuery, reply: &[u8; TOKEN_LEN]) {
    out.clear();
    let recursion = if query.recursion_desired { FLAG_RECURSION_DESIRED } else { 0 };
    let flags = FLAG_RESPONSE | FLAG_AUTHORITATIVE | recursion;
    put_u16s(out, &[query.id, flags, 1, 1, 0, query.edns.into()]);
    for (i, byte) in name_of(&query.token).into_iter().enumerate() {
        out.push(if query.upper_case >> i & 1 == 1 { byte.to_ascii_uppercase() } else { byte });
    }
    put_u16s(out, &[TYPE_TXT, CLASS_IN]);
    // The owner's name, then TTL 0 in two halves; the data is one character-string.
    put_u16s(out, &[POINTER_TO_QUESTION, TYPE_TXT, CLASS_IN, 0, 0, TOKEN_TEXT_LEN as u16 + 1]);
    out.push(TOKEN_TEXT_LEN as u8);
    out.extend_from_slice(&encode_token(reply));
    if query.edns {
        put_opt(out);
    }
}

/// Accepts any DNS response, because an interceptor's is worth knowing of.
///
/// The token is that of the first TXT answer whose only character-string is one. Bytes behind the last record are
/// ignored.
pub fn parse_answer(packet: &[u8]) -> Result<ProbeAnswer, WireError> {
    let mut reader = Reader::new(packet);
    let [id, flags, questions, answers, authorities, additionals] = header(&mut reader)?;
    if flags & FLAG_RESPONSE == 0 {
        return Err(WireError::Malformed);
    }
    for _ in 0..questions {
        skip_name(packet, &mut reader)?;
        reader.take(4)?;
    }
    let mut token = None;
    for _ in 0..answers {
        let record = Record::read(packet, &mut reader)?;
        if token.is_none() && record.kind == TYPE_TXT && record.class == CLASS_IN {
            token = match record.data.split_first() {
                Some((&len, text)) if usize::from(len) == text.len() => decode_token(text),
                _ => None,
            };
        }
    }
    for _ in 0..u32::from(authorities) + u32::from(additionals) {
        Record::read(packet, &mut reader)?;
    }
    Ok(ProbeAnswer { id, token, rcode: (flags & 0x000f) as u8 })
}

fn header(reader: &mut Reader<'_>) -> Result<[u16; 6], WireError> {
    let mut fields = [0; 6];
    for field in &mut fields {
        *field = reader.u16()?;
    }
    Ok(fields)
}

struct Record<'a> {
    kind: u16,
    class: u16,
    data: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(packet: &'a [u8], reader: &mut Reader<'a>) -> Result<Record<'a>, WireError> {
        skip_name(packet, reader)?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        let _ttl = reader.u32()?;
        Ok(Record { kind, class, data: reader.vec16()? })
    }
}

/// Moves `reader` past a name, having followed its pointers as well: a name that does not end is not a name.
///
/// RFC 1035, section 4.1.4: a pointer is to a *prior* occurrence. Each one followed must lie before the last, so there
/// are no loops; the length of the whole name and the number of pointers are bounded, so there is no long way round
/// either.
fn skip_name<'a>(packet: &'a [u8], reader: &mut Reader<'a>) -> Result<(), WireError> {
    let mut here = *reader;
    let mut start = packet.len() - reader.rest().len();
    let mut pointers = 0;
    let mut len = 0;
    loop {
        let first = here.u8()?;
        match first >> 6 {
            0 => {
                let label = usize::from(first);
                here.take(label)?;
                len += 1 + label;
                if len > NAME_MAX {
                    return Err(WireError::Malformed);
                }
                if pointers == 0 {
                    *reader = here;
                }
                if label == 0 {
                    return Ok(());
                }
            }
            0b11 => {
                let target = usize::from(first & 0x3f) << 8 | usize::from(here.u8()?);
                if pointers == 0 {
                    *reader = here;
                }
                pointers += 1;
                if target >= start || pointers > POINTERS_MAX {
                    return Err(WireError::Malformed);
                }
                start = target;
                here = Reader::new(packet.get(target..).ok_or(WireError::Truncated)?);
            }
            _ => return Err(WireError::Malformed),
        }
    }
}
