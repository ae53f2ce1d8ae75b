//! TLS against OpenSSL's records; that tshark reads ours is decode.rs's to show.

use crate::common::{dirty, hex, vector};
use wire::WireError;
use wire::tls::{TlsAnswer, build_client_hello, build_server_hello, parse_client_hello, parse_server_hello};

fn token() -> [u8; 28] {
    vector("token").try_into().unwrap()
}

fn client_hello(sni: &str) -> Vec<u8> {
    let mut out = dirty();
    build_client_hello(&mut out, sni, &token(), &core::array::from_fn(|i| i as u8)).unwrap();
    out
}

fn server_hello() -> Vec<u8> {
    let mut out = dirty();
    build_server_hello(&mut out, &token(), &core::array::from_fn(|i| i as u8));
    out
}

#[test]
fn openssl_s_client_hello_is_read() {
    let hello = vector("openssl_client_hello");
    let random = hello[11..39].try_into().unwrap();
    assert_eq!(parse_client_hello(&hello), Ok(Some((random, Some("gateway.discord.gg".into())))));
    for len in 0..hello.len() {
        assert_eq!(parse_client_hello(&hello[..len]), Ok(None), "{len}");
    }
}

#[test]
fn openssl_s_answers_are_read() {
    let hello = vector("openssl_server_hello");
    let random = hello[11..39].try_into().unwrap();
    assert_eq!(parse_server_hello(&hello), Ok(Some(TlsAnswer { token: Some(random), alert: None })));
    let alert = vector("openssl_alert");
    assert_eq!(parse_server_hello(&alert), Ok(Some(TlsAnswer { token: None, alert: Some(40) })));
    for len in 0..alert.len() {
        assert_eq!(parse_server_hello(&alert[..len]), Ok(None), "{len}");
    }
}

#[test]
fn a_client_hello_begins_as_rfc_8446_says() {
    let hello = client_hello("gateway.discord.gg");
    assert_eq!(hello[..5], hex("16 0301 0113"), "a handshake record of 275 bytes");
    assert_eq!(hello[5..11], hex("01 00010f 0303"), "a ClientHello of 271 bytes");
    assert_eq!(hello.len(), 5 + 275);
    assert_eq!(hello[11..39], token());
    assert_eq!(hello[39..43], hex("00010203"), "the end of the random");
    assert_eq!(hello[43..47], hex("20 040506"), "32 bytes of session id");
    let server_name = hex("0000 0017 0015 00 0012 676174657761792e646973636f72642e6767");
    assert!(hello.windows(server_name.len()).any(|window| window == server_name));
    let key_share = hex("0033 0026 0024 001d 0020 2425262728");
    assert!(hello.windows(key_share.len()).any(|window| window == key_share));
    assert_eq!(parse_client_hello(&hello), Ok(Some((token(), Some("gateway.discord.gg".into())))));
    assert_eq!(parse_client_hello(&client_hello("")), Ok(Some((token(), None))));
}

#[test]
fn names_that_are_none_are_not_sent() {
    let long = "a".repeat(254);
    for sni in ["a b", "caf\u{e9}.example", "a\0", long.as_str()] {
        let mut out = dirty();
        assert_eq!(build_client_hello(&mut out, sni, &token(), &[0; 68]), Err(WireError::Unsupported), "{sni}");
        assert!(out.is_empty());
    }
    let longest = &long[1..];
    assert_eq!(parse_client_hello(&client_hello(longest)), Ok(Some((token(), Some(longest.into())))));
}

#[test]
fn a_server_hello_is_as_rfc_5246_says_and_an_alert_ends_it() {
    let hello = server_hello();
    let expected = [
        hex("16 0303 0055  02 000051 0303"),
        token().to_vec(),
        hex("00010203  20"),
        (4..36).collect(),
        hex("c02f 00  0009  ff01 0001 00  0017 0000"),
        hex("15 0303 0002 02 28"),
    ];
    assert_eq!(hello, expected.concat());
    assert_eq!(parse_server_hello(&hello), Ok(Some(TlsAnswer { token: Some(token()), alert: None })));
    for len in 0..hello.len() - 7 {
        assert_eq!(parse_server_hello(&hello[..len]), Ok(None), "{len}");
    }
}

/// RFC 8446, section 5.1: a message may be spread over records, and some boxes do that to hide the name from others.
#[test]
fn a_hello_in_several_records_is_put_together() {
    let whole = client_hello("gateway.discord.gg");
    for size in [1, 2, 3, 7, 100, 249] {
        let stream: Vec<u8> = whole[5..]
            .chunks(size)
            .flat_map(|piece| [&[0x16, 3, 1], (piece.len() as u16).to_be_bytes().as_slice(), piece].concat())
            .collect();
        assert_eq!(parse_client_hello(&stream), parse_client_hello(&whole), "{size}");
        assert_eq!(parse_client_hello(&stream[..stream.len() - 1]), Ok(None), "{size}");
    }
}

#[test]
fn what_is_not_tls_is_refused_early() {
    for stream in ["47", "16 02", "16 03 01 4001", "00", "80 2e 01 03 01"] {
        assert_eq!(parse_client_hello(&hex(stream)), Err(WireError::Malformed), "{stream}");
        assert_eq!(parse_server_hello(&hex(stream)), Err(WireError::Malformed), "{stream}");
    }
    assert_eq!(parse_client_hello(&server_hello()), Err(WireError::Malformed), "the other side's hello");
    assert_eq!(parse_client_hello(&vector("openssl_alert")), Err(WireError::Malformed));
    assert_eq!(parse_client_hello(&hex("16 0303 0000")), Err(WireError::Malformed), "an empty record");
    assert_eq!(parse_client_hello(&hex("16 0303 0004 01 010000")), Err(WireError::Unsupported), "64 KiB of hello");
    assert_eq!(parse_server_hello(&hex("15 0303 0003 022801")), Err(WireError::Malformed), "a long alert");
    // A HelloRequest, which only a TLS 1.2 server may send: an answer, but no ServerHello.
    assert_eq!(parse_server_hello(&hex("16 0303 0004 00 000000")), Ok(Some(TlsAnswer { token: None, alert: None })));
    assert_eq!(parse_server_hello(&hex("17 0303 0001 00")), Err(WireError::Malformed), "data before any hello");
}

#[test]
fn vectors_that_do_not_fit_are_malformed() {
    let hello = client_hello("gateway.discord.gg");
    let (session_id, suites, compression, extensions) = (43, 76, 108, 110);
    assert_eq!(hello[suites..suites + 2], hex("001e"));
    assert_eq!(hello[compression..compression + 2], hex("0100"));
    for (place, byte) in [
        (session_id, 33),
        (session_id, 255),
        (suites, 0xff),
        (suites + 1, 0x1d),
        (compression, 0),
        (extensions, 0xff),
        (extensions + 1, 1),
    ] {
        let mut changed = hello.clone();
        changed[place] = byte;
        assert_eq!(parse_client_hello(&changed), Err(WireError::Malformed), "{byte:#x} at {place}");
    }
    let mut version = hello.clone();
    version[9] = 2;
    assert_eq!(parse_client_hello(&version), Err(WireError::Unsupported));
}

#[test]
fn a_session_id_has_at_most_32_bytes() {
    let mut hello = client_hello("gateway.discord.gg");
    hello.insert(44, 0);
    // One byte more of record, of message and of session id.
    for place in [4, 8, 43] {
        hello[place] += 1;
    }
    assert_eq!(parse_client_hello(&hello), Err(WireError::Malformed));
    // And 31 are as good as 32.
    hello.drain(44..46);
    for place in [4, 8, 43] {
        hello[place] -= 2;
    }
    assert_eq!(parse_client_hello(&hello), Ok(Some((token(), Some("gateway.discord.gg".into())))));
}

/// Whoever sends a record per byte makes us keep six bytes for one.
#[test]
fn a_hello_in_too_many_records_is_refused() {
    let long_hello = [&hex("01 004000")[..], &[0; 0x4000]].concat();
    let stream: Vec<u8> = long_hello.iter().flat_map(|&byte| [0x16, 3, 1, 0, 1, byte]).collect();
    assert_eq!(parse_client_hello(&stream[..32_768]), Ok(None));
    assert_eq!(parse_client_hello(&stream[..32_774]), Err(WireError::Malformed));
    assert_eq!(parse_client_hello(&stream), Err(WireError::Malformed));
}
