//! HTTP: the bytes of RFC 9112 by hand, streams that arrive in pieces, and what proxies make of both.

use crate::common::{dirty, vector};
use wire::WireError;
use wire::http::{HEAD_MAX, HttpAnswer, build_request, build_response, finish_response, parse_request, parse_response};

fn token() -> [u8; 28] {
    vector("token").try_into().unwrap()
}

fn text() -> String {
    String::from_utf8(vector("token_text")).unwrap()
}

fn request(line: &str, fields: &str) -> Result<Option<[u8; 28]>, WireError> {
    parse_request(format!("{line}\r\n{fields}\r\n").as_bytes())
}

fn answer(status: u16, token: Option<[u8; 28]>, via: bool) -> HttpAnswer {
    HttpAnswer { status, token, via }
}

#[test]
fn a_request_is_as_written() {
    let mut out = dirty();
    build_request(&mut out, "192.0.2.1:8620", &token());
    let expected = format!(
        "GET /p/{} HTTP/1.1\r\nHost: 192.0.2.1:8620\r\nUser-Agent: netlat/{}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
        text(),
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    for len in 0..expected.len() {
        assert_eq!(parse_request(&expected.as_bytes()[..len]), Ok(None), "{len}");
    }
    assert_eq!(parse_request(expected.as_bytes()), Ok(Some(token())));
}

#[test]
fn a_host_cannot_add_header_fields() {
    let mut out = dirty();
    build_request(&mut out, "a\r\nX-Injected: 1\r\n\r\nGET / HTTP/1.1", &token());
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.contains("\r\nHost: aX-Injected:1GET/HTTP/1.1\r\n"));
}

#[test]
fn what_proxies_do_to_requests_is_accepted() {
    let path = format!("/p/{}", text());
    let fields = "host: a\r\nVIA: 1.1 proxy\r\nX-Empty:\r\n";
    assert_eq!(request(&format!("GET {path} HTTP/1.0"), fields), Ok(Some(token())));
    assert_eq!(request(&format!("GET http://192.0.2.1:8620{path} HTTP/1.1"), fields), Ok(Some(token())));
    assert_eq!(
        request(&format!("GET {} HTTP/1.1", path.replace(&text(), &text().to_uppercase())), fields),
        Ok(Some(token()))
    );
}

#[test]
fn other_requests_are_refused() {
    let path = format!("/p/{}", text());
    for (line, fields, error) in [
        (format!("GET {path} HTTP/2.0"), "", WireError::Unsupported),
        (format!("GET {path} HTTP/1.1 "), "", WireError::Malformed),
        (format!("GET {path}"), "", WireError::Malformed),
        (format!("GET {path}x HTTP/1.1"), "", WireError::Malformed),
        (format!("GET {path}?q HTTP/1.1"), "", WireError::Malformed),
        ("GET / HTTP/1.1".into(), "", WireError::Malformed),
        ("GET http://a HTTP/1.1".into(), "", WireError::Malformed),
        (format!("GET {path} HTTP/1.1"), "no colon\r\n", WireError::Malformed),
        (format!("GET {path} HTTP/1.1"), ": no name\r\n", WireError::Malformed),
        (format!("GET {path} HTTP/1.1"), "space : before\r\n", WireError::Malformed),
        (format!("GET {path} HTTP/1.1"), "a: 1\r\n folded: yes\r\n", WireError::Malformed),
        (format!("get {path} HTTP/1.1"), "", WireError::Malformed),
    ] {
        assert_eq!(request(&line, fields), Err(error), "{line} {fields}");
    }
    // At the first wrong byte: a server need not wait for the rest of a TLS record or of another method.
    assert_eq!(parse_request(b"P"), Err(WireError::Malformed));
    assert_eq!(parse_request(&[0x16]), Err(WireError::Malformed));
    assert_eq!(parse_request(b""), Ok(None));
}

#[test]
fn a_head_has_a_bound() {
    let head = |len: usize| {
        let mut head = format!("GET /p/{} HTTP/1.1\r\nX: ", text()).into_bytes();
        head.resize(len - 4, b'a');
        [head.as_slice(), b"\r\n\r\n"].concat()
    };
    assert_eq!(parse_request(&head(HEAD_MAX)), Ok(Some(token())));
    assert_eq!(parse_request(&head(HEAD_MAX + 1)), Err(WireError::Malformed));
    assert_eq!(parse_request(&head(HEAD_MAX + 1)[..HEAD_MAX - 1]), Ok(None));
}

#[test]
fn a_response_is_as_written() {
    let mut out = dirty();
    build_response(&mut out, &token());
    let expected = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 45\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{}",
        text()
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    for len in 0..expected.len() {
        assert_eq!(parse_response(&expected.as_bytes()[..len]), Ok(None), "{len}");
    }
    assert_eq!(parse_response(expected.as_bytes()), Ok(Some(answer(200, Some(token()), false))));
    assert_eq!(finish_response(&expected.as_bytes()[..expected.len() - 1]), Ok(answer(200, None, false)));
    assert_eq!(finish_response(&expected.as_bytes()[..20]), Err(WireError::Truncated));
}

#[test]
fn proxies_show_in_the_header() {
    for field in [
        "Via: 1.1 squid",
        "AGE: 0",
        "X-Cache-Lookup: MISS",
        "x-cache: HIT",
        "Proxy-Connection: close",
        "X-Forwarded-For: a",
    ] {
        let stream = format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 45\r\n\r\n{}", text());
        assert_eq!(parse_response(stream.as_bytes()), Ok(Some(answer(200, Some(token()), true))), "{field}");
    }
    let stream = format!("HTTP/1.0 200\r\nServer: via\r\nX-Ca: a\r\nContent-Length: 45\r\n\r\n{}", text());
    assert_eq!(parse_response(stream.as_bytes()), Ok(Some(answer(200, Some(token()), false))));
}

#[test]
fn chunked_bodies_are_read() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = format!("{head}2d;name=value\r\n{}\r\n0\r\n\r\n", text());
    for len in 0..head.len() + 15 + 45 {
        assert_eq!(parse_response(&stream.as_bytes()[..len]), Ok(None), "{len}");
    }
    assert_eq!(parse_response(stream.as_bytes()), Ok(Some(answer(200, Some(token()), false))));
    let page = format!("{head}4000\r\n<html>");
    assert_eq!(parse_response(page.as_bytes()), Ok(Some(answer(200, None, false))));
    let endless = format!("{head}{}", "0".repeat(40));
    assert_eq!(parse_response(endless.as_bytes()), Ok(Some(answer(200, None, false))));
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let stream = format!("HTTP/1.0 200 OK\r\n\r\n{}", text());
    assert_eq!(parse_response(stream.as_bytes()), Ok(None));
    assert_eq!(finish_response(stream.as_bytes()), Ok(answer(200, Some(token()), false)));
    let longer = stream + "\n";
    assert_eq!(parse_response(longer.as_bytes()), Ok(Some(answer(200, None, false))));
}

#[test]
fn somebody_else_s_page_is_an_answer_without_a_token() {
    for (stream, expected) in [
        (
            "HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\n\r\n".into(),
            answer(302, None, false),
        ),
        ("HTTP/1.1 403 Forbidden\r\nVia: x\r\nContent-Length: 5000\r\n\r\n".into(), answer(403, None, true)),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n{}", text().replace('r', "1")),
            answer(200, None, false),
        ),
    ] {
        assert_eq!(parse_response(stream.as_bytes()), Ok(Some(expected)), "{stream}");
    }
    for (stream, error) in [
        ("HTTP/2 200 OK\r\n\r\n", WireError::Malformed),
        ("HTTP/1.1 20 OK\r\n\r\n", WireError::Malformed),
        ("HTTP/1.1 2000 OK\r\n\r\n", WireError::Malformed),
        ("HTTP/1.1 099 OK\r\n\r\n", WireError::Malformed),
        ("HTTP/1.2 200 OK\r\n\r\n", WireError::Unsupported),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", WireError::Malformed),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", WireError::Malformed),
        ("SSH-2.0-OpenSSH\r\n", WireError::Malformed),
    ] {
        assert_eq!(parse_response(stream.as_bytes()), Err(error), "{stream}");
    }
}
