//! HTTP probes: one GET per TCP connection whose path carries a token, and its answer (RFC 9112).
//!
//! ```text
//! GET /p/<45 characters of base32> HTTP/1.1      HTTP/1.1 200 OK
//! Host: <host>                                   Content-Type: text/plain
//! User-Agent: netlat/<version>                   Content-Length: 45
//! Accept: text/plain                             Cache-Control: no-store
//! Connection: close                              Connection: close
//!
//!                                                <45 characters of base32>
//! ```
//!
//! Parsers are given the stream from its beginning, as far as it has been read: `Ok(None)` asks for more of it.

use alloc::vec::Vec;

use crate::base32::{TOKEN_TEXT_LEN, decode_token, encode_token};
use crate::error::WireError;
use crate::token::TOKEN_LEN;

/// A head longer than this is not a probe's, nor its answer's.
pub const HEAD_MAX: usize = 4096;

/// Likewise for the line before a chunk.
const CHUNK_LINE_MAX: usize = 32;

const METHOD: &[u8] = b"GET ";
const UPLOAD_METHOD: &[u8] = b"POST ";
const VERSION: &[u8] = b"HTTP/1.";
const PATH: &[u8] = b"/p/";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Header fields that a server of ours never sends and a proxy adds; a `*` stands for any ending.
const PROXY_FIELDS: [&str; 9] =
    ["via", "age", "forwarded", "x-forwarded-*", "x-cache*", "x-proxy*", "x-squid*", "proxy-*", "cdn-*"];

/// What came back, from whoever answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 100..=999.
    pub status: u16,
    /// `None`: the body is not a token, so somebody else answered. A token is still to be authenticated.
    pub token: Option<[u8; TOKEN_LEN]>,
    /// A proxy has added its header fields.
    pub via: bool,
}

/// Builds the request into `out`, which is cleared first.
///
/// `host` is a name or address with an optional port, IPv6 in brackets; bytes that would end the header field are left
/// out.
pub fn build_request(out: &mut Vec<u8>, host: &str, token: &[u8; TOKEN_LEN]) {
    out.clear();
    out.extend_from_slice(METHOD);
    out.extend_from_slice(PATH);
    out.extend_from_slice(&encode_token(token));
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend(host.bytes().filter(u8::is_ascii_graphic));
    out.extend_from_slice(b"\r\nUser-Agent: netlat/");
    out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    out.extend_from_slice(b"\r\nAccept: text/plain\r\nConnection: close\r\n\r\n");
}

/// Builds the head of an upload of `length` bytes, which follow once the server has said so, into `out`, which is cleared first.
pub fn build_upload(out: &mut Vec<u8>, host: &str, token: &[u8; TOKEN_LEN], length: u64) {
    out.clear();
    out.extend_from_slice(UPLOAD_METHOD);
    out.extend_from_slice(PATH);
    out.extend_from_slice(&encode_token(token));
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend(host.bytes().filter(u8::is_ascii_graphic));
    out.extend_from_slice(b"\r\nUser-Agent: netlat/");
    out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    out.extend_from_slice(b"\r\nContent-Type: application/octet-stream\r\nContent-Length: ");
    crate::bulk::push_decimal(out, length);
    out.extend_from_slice(b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
}

/// The token of an upload's head; as [`parse_request`], and a POST.
pub fn parse_upload(stream: &[u8]) -> Result<Option<[u8; TOKEN_LEN]>, WireError> {
    parse_head(stream, UPLOAD_METHOD)
}

/// The token of a probe's request; `Ok(None)` while the head is incomplete.
///
/// Anything but a GET is refused at its first wrong byte. A proxy may have changed the rest: more header fields,
/// HTTP/1.0, the absolute form of the path.
pub fn parse_request(stream: &[u8]) -> Result<Option<[u8; TOKEN_LEN]>, WireError> {
    parse_head(stream, METHOD)
}

fn parse_head(stream: &[u8], method: &[u8]) -> Result<Option<[u8; TOKEN_LEN]>, WireError> {
    expect_prefix(stream, method)?;
    let Some((head, _)) = split_head(stream)? else { return Ok(None) };
    let (line, fields) = split_line(head);
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(_), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(WireError::Malformed);
    };
    if !matches!(version.strip_prefix(VERSION), Some(b"0" | b"1")) {
        return Err(WireError::Unsupported);
    }
    check_fields(fields)?;
    let path = match target.strip_prefix(b"http://") {
        Some(absolute) => absolute.iter().position(|&byte| byte == b'/').and_then(|slash| absolute.get(slash..)),
        None => Some(target),
    };
    path.and_then(|path| path.strip_prefix(PATH)).and_then(decode_token).map(Some).ok_or(WireError::Malformed)
}

/// Builds the response into `out`, which is cleared first.
pub fn build_response(out: &mut Vec<u8>, reply: &[u8; TOKEN_LEN]) {
    out.clear();
    out.extend_from_slice(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 45\r\nCache-Control: no-store\r\n\
          Connection: close\r\n\r\n",
    );
    out.extend_from_slice(&encode_token(reply));
}

/// The answer, as soon as it is known; `Ok(None)` while it is not. When the peer has closed, ask [`finish_response`].
pub fn parse_response(stream: &[u8]) -> Result<Option<HttpAnswer>, WireError> {
    let Some((head, body)) = read_response_head(stream)? else { return Ok(None) };
    let text = match head.body {
        // No body of ours: what it says does not matter.
        Body::Length(length) if length != TOKEN_TEXT_LEN => Some(None),
        Body::Length(_) => body.get(..TOKEN_TEXT_LEN).map(Some),
        Body::UntilClose if body.len() > TOKEN_TEXT_LEN => Some(None),
        Body::UntilClose => None,
        Body::Chunked => first_chunk(body),
    };
    Ok(text.map(|text| head.answer(text)))
}

/// The answer, given that nothing follows any more; [`WireError::Truncated`] where not even the head arrived.
pub fn finish_response(stream: &[u8]) -> Result<HttpAnswer, WireError> {
    if let Some(answer) = parse_response(stream)? {
        return Ok(answer);
    }
    let Some((head, body)) = read_response_head(stream)? else { return Err(WireError::Truncated) };
    Ok(head.answer(matches!(head.body, Body::UntilClose).then_some(body)))
}

#[derive(Clone, Copy)]
enum Body {
    Length(usize),
    Chunked,
    UntilClose,
}

struct ResponseHead {
    status: u16,
    via: bool,
    body: Body,
}

impl ResponseHead {
    fn answer(&self, text: Option<&[u8]>) -> HttpAnswer {
        HttpAnswer { status: self.status, token: text.and_then(decode_token), via: self.via }
    }
}

fn read_response_head(stream: &[u8]) -> Result<Option<(ResponseHead, &[u8])>, WireError> {
    expect_prefix(stream, VERSION)?;
    let Some((head, body)) = split_head(stream)? else { return Ok(None) };
    let (line, fields) = split_line(head);
    let status = match line.get(VERSION.len()..) {
        Some([b'0' | b'1', b' ', digits @ ..]) => digits,
        _ => return Err(WireError::Unsupported),
    };
    let status = match status {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']
        | [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
            [a, b, c].into_iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0'))
        }
        _ => return Err(WireError::Malformed),
    };
    let mut parsed = ResponseHead { status, via: false, body: Body::UntilClose };
    for field in lines(fields) {
        let (name, value) = split_field(field)?;
        if PROXY_FIELDS.iter().any(|pattern| matches_pattern(name, pattern)) {
            parsed.via = true;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // RFC 9112, section 6.3: it overrides a length, whichever comes first.
            parsed.body = Body::Chunked;
        } else if name.eq_ignore_ascii_case(b"content-length") && !matches!(parsed.body, Body::Chunked) {
            let length = core::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            parsed.body = Body::Length(length.ok_or(WireError::Malformed)?);
        }
    }
    Ok(Some((parsed, body)))
}

/// `None`: not there yet. `Some(None)`: there, and not of a token's length.
fn first_chunk(body: &[u8]) -> Option<Option<&[u8]>> {
    let line = body.get(..CHUNK_LINE_MAX).unwrap_or(body);
    let end = match line.iter().position(|&byte| byte == b'\n') {
        Some(end) => end,
        None if body.len() >= CHUNK_LINE_MAX => return Some(None),
        None => return None,
    };
    let size = body.get(..end)?.split(|&byte| byte == b';' || byte == b'\r').next()?;
    let size = core::str::from_utf8(size).ok().and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
    if size != Some(TOKEN_TEXT_LEN) {
        return Some(None);
    }
    body.get(end + 1..)?.get(..TOKEN_TEXT_LEN).map(Some)
}

fn expect_prefix(stream: &[u8], prefix: &[u8]) -> Result<(), WireError> {
    if stream.iter().zip(prefix).all(|(a, b)| a == b) { Ok(()) } else { Err(WireError::Malformed) }
}

type HeadAndBody<'a> = (&'a [u8], &'a [u8]);

/// The head with the end of its last line, and what follows the empty line; bounded by [`HEAD_MAX`].
fn split_head(stream: &[u8]) -> Result<Option<HeadAndBody<'_>>, WireError> {
    let searched = stream.get(..HEAD_MAX).unwrap_or(stream);
    match searched.windows(HEAD_END.len()).position(|window| window == HEAD_END) {
        Some(end) => Ok(stream.split_at_checked(end + 2).map(|(head, rest)| (head, rest.get(2..).unwrap_or(&[])))),
        None if stream.len() >= HEAD_MAX => Err(WireError::Malformed),
        None => Ok(None),
    }
}

/// The first line without its end, and the rest.
fn split_line(head: &[u8]) -> (&[u8], &[u8]) {
    match head.windows(2).position(|window| window == b"\r\n") {
        Some(end) => (head.get(..end).unwrap_or(&[]), head.get(end + 2..).unwrap_or(&[])),
        None => (head, &[]),
    }
}

fn lines(mut fields: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (line, rest) = split_line(fields);
        fields = rest;
        (!line.is_empty()).then_some(line)
    })
}

fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let colon = line.iter().position(|&byte| byte == b':').ok_or(WireError::Malformed)?;
    let (name, value) = line.split_at_checked(colon).ok_or(WireError::Malformed)?;
    let value = value.get(1..).unwrap_or(&[]).trim_ascii();
    // RFC 9112, section 5.1: no space before the colon, and no folded lines.
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return Err(WireError::Malformed);
    }
    Ok((name, value))
}

fn check_fields(fields: &[u8]) -> Result<(), WireError> {
    lines(fields).try_for_each(|line| split_field(line).map(|_| ()))
}

fn matches_pattern(name: &[u8], pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.get(..beginning.len()).is_some_and(|n| n.eq_ignore_ascii_case(beginning.as_bytes())),
        None => name.eq_ignore_ascii_case(pattern.as_bytes()),
    }
}
