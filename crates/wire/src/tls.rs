//! TLS probes: a ClientHello whose SNI a classifier can read and whose random carries a token, and its answer.
//!
//! ```text
//! record      content type (1)  version (2)  length (2)          RFC 8446, section 5.1
//! handshake   type (1)          length (3)                       section 4
//! ClientHello version 0x0303, random (32), session id <0..32>, cipher suites <2..2^16-2>, compression <1..2^8-1>,
//!             extensions <8..2^16-1>                             section 4.1.2
//! random      token (28)        filler (4)
//! ```
//!
//! No handshake is ever finished: the server answers with a TLS 1.2 ServerHello (RFC 5246, section 7.4.1.3), whose
//! random carries the reply's token, and a `handshake_failure` alert. Parsers are given the stream from its beginning,
//! as far as it has been read: `Ok(None)` asks for more of it.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::bytes::Reader;
use crate::error::WireError;
use crate::token::TOKEN_LEN;

/// Random bytes of a ClientHello: 4 end its random, 32 are the legacy session id, 32 the X25519 key share.
pub const CLIENT_FILLER_LEN: usize = 68;
/// Random bytes of a ServerHello: 4 end its random, 32 are the session id.
pub const SERVER_FILLER_LEN: usize = 36;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const TLS_1_0: u16 = 0x0301;
const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;
const FATAL: u8 = 2;
const HANDSHAKE_FAILURE: u8 = 40;

/// Of a record's content, and of a hello: longer ones are not a probe's.
const CONTENT_MAX: usize = 1 << 14;
/// Of records up to the end of a hello, however small they are cut.
const STREAM_MAX: usize = 2 * CONTENT_MAX;
/// A name's text without the final dot.
const SNI_MAX: usize = 253;

const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// TLS 1.3's three, then what a browser offers to TLS 1.2.
const CIPHER_SUITES: [u16; 15] = [
    0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f,
    0x0035,
];
const TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: u16 = 0xc02f;
const X25519: u16 = 0x001d;
const GROUPS: [u16; 3] = [X25519, 0x0017, 0x0018];
const SIGNATURES: [u16; 8] = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];

/// What a server, or somebody in its place, answered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsAnswer {
    /// The first 28 bytes of a ServerHello's random: any server's looks like one, so authenticate it. `None`: no
    /// ServerHello.
    pub token: Option<[u8; TOKEN_LEN]>,
    /// The description of an alert sent in place of a ServerHello (RFC 8446, section 6).
    pub alert: Option<u8>,
}

/// Builds the record into `out`, which is cleared first. An empty `sni` leaves the extension out.
///
/// [`WireError::Unsupported`] for an `sni` that is not a host name's text: 253 graphic ASCII characters at most.
pub fn build_client_hello(
    out: &mut Vec<u8>,
    sni: &str,
    token: &[u8; TOKEN_LEN],
    filler: &[u8; CLIENT_FILLER_LEN],
) -> Result<(), WireError> {
    out.clear();
    if sni.len() > SNI_MAX || !sni.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WireError::Unsupported);
    }
    let (random_end, session_id, key_share) = (&filler[..4], &filler[4..36], &filler[36..]);
    // Its version is TLS 1.0, for the sake of old middleboxes (RFC 8446, section 5.1).
    record(out, HANDSHAKE, TLS_1_0, |out| {
        handshake(out, CLIENT_HELLO, |out| {
            put_u16s(out, &[TLS_1_2]);
            out.extend_from_slice(token);
            out.extend_from_slice(random_end);
            vec8(out, |out| out.extend_from_slice(session_id));
            vec16(out, |out| put_u16s(out, &CIPHER_SUITES));
            vec8(out, |out| out.push(0));
            vec16(out, |out| client_extensions(out, sni, key_share));
        });
    });
    Ok(())
}

fn client_extensions(out: &mut Vec<u8>, sni: &str, key_share: &[u8]) {
    if !sni.is_empty() {
        extension(out, SERVER_NAME, |out| {
            vec16(out, |out| {
                out.push(HOST_NAME);
                vec16(out, |out| out.extend_from_slice(sni.as_bytes()));
            });
        });
    }
    let extended_master_secret = 23;
    extension(out, extended_master_secret, |_| {});
    let renegotiation_info = 0xff01;
    extension(out, renegotiation_info, |out| out.push(0));
    let supported_groups = 10;
    extension(out, supported_groups, |out| vec16(out, |out| put_u16s(out, &GROUPS)));
    let (ec_point_formats, uncompressed) = (11, 0);
    extension(out, ec_point_formats, |out| vec8(out, |out| out.push(uncompressed)));
    let session_ticket = 35;
    extension(out, session_ticket, |_| {});
    let alpn = 16;
    extension(out, alpn, |out| {
        vec16(out, |out| {
            vec8(out, |out| out.extend_from_slice(b"h2"));
            vec8(out, |out| out.extend_from_slice(b"http/1.1"));
        });
    });
    let status_request = 5;
    extension(out, status_request, |out| out.extend_from_slice(&[1, 0, 0, 0, 0]));
    let signature_algorithms = 13;
    extension(out, signature_algorithms, |out| vec16(out, |out| put_u16s(out, &SIGNATURES)));
    let signed_certificate_timestamp = 18;
    extension(out, signed_certificate_timestamp, |_| {});
    let key_shares = 51;
    extension(out, key_shares, |out| {
        vec16(out, |out| {
            put_u16s(out, &[X25519]);
            vec16(out, |out| out.extend_from_slice(key_share));
        });
    });
    let (psk_key_exchange_modes, psk_dhe_ke) = (45, 1);
    extension(out, psk_key_exchange_modes, |out| vec8(out, |out| out.push(psk_dhe_ke)));
    let supported_versions = 43;
    extension(out, supported_versions, |out| vec8(out, |out| put_u16s(out, &[TLS_1_3, TLS_1_2])));
}

/// The token and SNI of a ClientHello, whoever's; `Ok(None)` while it is incomplete.
///
/// What is not a TLS record is refused at its first wrong byte. Middleboxes may have split the message into several
/// records.
#[expect(clippy::type_complexity, reason = "a pair, in the two layers that every stream parser here has")]
pub fn parse_client_hello(stream: &[u8]) -> Result<Option<([u8; TOKEN_LEN], Option<String>)>, WireError> {
    let Some(Message { kind, body }) = first_message(stream)? else { return Ok(None) };
    if kind != CLIENT_HELLO {
        return Err(WireError::Malformed);
    }
    match client_hello(&body) {
        // The message is all there: what ends too early is a vector inside of it.
        Err(WireError::Truncated) => Err(WireError::Malformed),
        result => result.map(Some),
    }
}

fn client_hello(body: &[u8]) -> Result<([u8; TOKEN_LEN], Option<String>), WireError> {
    let mut hello = Reader::new(body);
    let token = hello_random(&mut hello)?;
    let cipher_suites = hello.vec16()?;
    let compression = hello.vec8()?;
    if cipher_suites.is_empty() || !cipher_suites.len().is_multiple_of(2) || compression.is_empty() {
        return Err(WireError::Malformed);
    }
    let mut sni = None;
    if !hello.is_empty() {
        let mut extensions = Reader::new(hello.vec16()?);
        while !extensions.is_empty() {
            let (kind, data) = (extensions.u16()?, extensions.vec16()?);
            if kind == SERVER_NAME {
                sni = host_name(data)?;
            }
        }
    }
    if hello.is_empty() { Ok((token, sni)) } else { Err(WireError::Malformed) }
}

fn host_name(extension: &[u8]) -> Result<Option<String>, WireError> {
    let mut names = Reader::new(Reader::new(extension).vec16()?);
    while !names.is_empty() {
        let (kind, name) = (names.u8()?, names.vec16()?);
        if kind == HOST_NAME {
            return core::str::from_utf8(name).map(|name| Some(name.to_string())).map_err(|_| WireError::Malformed);
        }
    }
    Ok(None)
}

/// Builds a ServerHello and the alert that ends the connection into `out`, which is cleared first.
pub fn build_server_hello(out: &mut Vec<u8>, reply: &[u8; TOKEN_LEN], filler: &[u8; SERVER_FILLER_LEN]) {
    server_hello(out, reply, filler);
    record(out, ALERT, TLS_1_2, |out| out.extend_from_slice(&[FATAL, HANDSHAKE_FAILURE]));
}

/// Builds a ServerHello and a ChangeCipherSpec, after which application data may follow, into `out`, which is cleared first.
pub fn build_accepting_hello(out: &mut Vec<u8>, reply: &[u8; TOKEN_LEN], filler: &[u8; SERVER_FILLER_LEN]) {
    server_hello(out, reply, filler);
    record(out, CHANGE_CIPHER_SPEC, TLS_1_2, |out| out.push(1));
}

fn server_hello(out: &mut Vec<u8>, reply: &[u8; TOKEN_LEN], filler: &[u8; SERVER_FILLER_LEN]) {
    out.clear();
    let (random_end, session_id) = (&filler[..4], &filler[4..]);
    record(out, HANDSHAKE, TLS_1_2, |out| {
        handshake(out, SERVER_HELLO, |out| {
            put_u16s(out, &[TLS_1_2]);
            out.extend_from_slice(reply);
            out.extend_from_slice(random_end);
            vec8(out, |out| out.extend_from_slice(session_id));
            put_u16s(out, &[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]);
            out.push(0);
            vec16(out, |out| {
                let renegotiation_info = 0xff01;
                extension(out, renegotiation_info, |out| out.push(0));
                let extended_master_secret = 23;
                extension(out, extended_master_secret, |_| {});
            });
        });
    });
}

/// The first thing the other end said; `Ok(None)` while it is incomplete, an error where it does not speak TLS.
pub fn parse_server_hello(stream: &[u8]) -> Result<Option<TlsAnswer>, WireError> {
    if stream.first() == Some(&ALERT) {
        return match next_record(&mut Reader::new(stream))? {
            Some((_, &[_level, description])) => Ok(Some(TlsAnswer { token: None, alert: Some(description) })),
            Some(_) => Err(WireError::Malformed),
            None => Ok(None),
        };
    }
    let Some(Message { kind, body }) = first_message(stream)? else { return Ok(None) };
    if kind != SERVER_HELLO {
        return Ok(Some(TlsAnswer { token: None, alert: None }));
    }
    let token = hello_random(&mut Reader::new(&body)).map_err(|_| WireError::Malformed)?;
    Ok(Some(TlsAnswer { token: Some(token), alert: None }))
}

/// What both hellos begin with; `reader` is left behind the session id.
fn hello_random(reader: &mut Reader<'_>) -> Result<[u8; TOKEN_LEN], WireError> {
    if reader.u8()? != 3 {
        return Err(WireError::Unsupported);
    }
    let _minor_version = reader.u8()?;
    let token = reader.array()?;
    let _random_end: [u8; 4] = reader.array()?;
    if reader.vec8()?.len() > 32 {
        return Err(WireError::Malformed);
    }
    Ok(token)
}

struct Message<'a> {
    kind: u8,
    body: Cow<'a, [u8]>,
}

/// The first handshake message, put together from its records; borrowed where it is in one, as it nearly always is.
fn first_message(stream: &[u8]) -> Result<Option<Message<'_>>, WireError> {
    let mut records = Reader::new(stream);
    let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    while let Some((content_type, content)) = next_record(&mut records)? {
        if content_type != HANDSHAKE || content.is_empty() {
            return Err(WireError::Malformed);
        }
        if joined.is_empty() {
            joined = Cow::Borrowed(content);
        } else {
            joined.to_mut().extend_from_slice(content);
        }
        if stream.len() - records.rest().len() > STREAM_MAX {
            return Err(WireError::Malformed);
        }
        let Some(&[kind, a, b, c]) = joined.first_chunk() else { continue };
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        if len > CONTENT_MAX {
            return Err(WireError::Unsupported);
        }
        if joined.len() >= 4 + len {
            let body = match joined {
                Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(4..4 + len).unwrap_or(&[])),
                Cow::Owned(mut bytes) => {
                    bytes.truncate(4 + len);
                    bytes.drain(..4);
                    Cow::Owned(bytes)
                }
            };
            return Ok(Some(Message { kind, body }));
        }
    }
    Ok(None)
}

/// Content type and content of the next record; `Ok(None)` while it is incomplete.
fn next_record<'a>(reader: &mut Reader<'a>) -> Result<Option<(u8, &'a [u8])>, WireError> {
    // Refused before it is complete, so that a server need not wait for the rest of something else.
    match *reader.rest() {
        [content_type, ..] if !(20..=24).contains(&content_type) => return Err(WireError::Malformed),
        [_, major, ..] if major != 3 => return Err(WireError::Malformed),
        [_, _, _, high, low, ..] if usize::from(u16::from_be_bytes([high, low])) > CONTENT_MAX => {
            return Err(WireError::Malformed);
        }
        _ => {}
    }
    let mut ahead = *reader;
    let (Ok(content_type), Ok(_version), Ok(content)) = (ahead.u8(), ahead.u16(), ahead.vec16()) else {
        return Ok(None);
    };
    *reader = ahead;
    Ok(Some((content_type, content)))
}

fn put_u16s(out: &mut Vec<u8>, values: &[u16]) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// A vector with `N` bytes of length in front; every vector here is far shorter than they can say.
fn vec_n<const N: usize>(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; N]);
    fill(out);
    let len = (out.len() - at - N).to_be_bytes();
    if let (Some(place), Some(len)) = (out.get_mut(at..at + N), len.last_chunk::<N>()) {
        place.copy_from_slice(len);
    }
}

fn vec8(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    vec_n::<1>(out, fill);
}

fn vec16(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    vec_n::<2>(out, fill);
}

fn extension(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    put_u16s(out, &[kind]);
    vec16(out, fill);
}

fn handshake(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    vec_n::<3>(out, fill);
}

fn record(out: &mut Vec<u8>, content_type: u8, version: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(content_type);
    put_u16s(out, &[version]);
    vec16(out, fill);
}
