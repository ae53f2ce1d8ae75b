//! DNS against dnspython's queries and answers, and against names made to be hard to read.

use crate::common::{dirty, hex, vector};
use wire::WireError;
use wire::dns::{ProbeAnswer, ProbeQuery, build_answer, build_query, parse_answer, parse_query};

fn token() -> [u8; 28] {
    vector("token").try_into().unwrap()
}

fn reply() -> [u8; 28] {
    vector("token_reply").try_into().unwrap()
}

#[test]
fn a_query_is_dnspython_s() {
    let mut out = dirty();
    build_query(&mut out, 0x1234, &token());
    assert_eq!(out, vector("dns_query"));
    assert_eq!(parse_query(&out), Ok(ProbeQuery::new(0x1234, token())));
}

#[test]
fn an_answer_is_dnspython_s() {
    let mut out = dirty();
    build_answer(&mut out, &parse_query(&vector("dns_query")).unwrap(), &reply());
    assert_eq!(out, vector("dns_answer"));
    assert_eq!(parse_answer(&out), Ok(ProbeAnswer { id: 0x1234, token: Some(reply()), rcode: 0 }));
}

#[test]
fn mixed_case_is_understood_and_repeated() {
    let mixed = vector("dns_query_mixed_case");
    let query = parse_query(&mixed).unwrap();
    assert_eq!((query.id, query.token), (7, token()));
    let mut out = dirty();
    build_answer(&mut out, &query, &reply());
    // The question, letter by letter; no EDNS and no recursion, since none was asked for.
    assert_eq!(out[12..mixed.len()], mixed[12..]);
    assert_eq!(out[..12], hex("0007 8400 0001 0001 0000 0000"));
    assert_eq!(parse_answer(&out), Ok(ProbeAnswer { id: 7, token: Some(reply()), rcode: 0 }));
}

#[test]
fn somebody_else_s_answer_is_an_answer_without_a_token() {
    let answer = |token, rcode| Ok(ProbeAnswer { id: 0x1234, token, rcode });
    assert_eq!(parse_answer(&vector("dns_nxdomain")), answer(None, 3));
    assert_eq!(parse_answer(&vector("dns_redirected")), answer(None, 0));
    // Servers that refuse often leave the question out.
    assert_eq!(parse_answer(&hex("1234 8005 0000 0000 0000 0000")), answer(None, 5));
}

#[test]
fn queries_of_others_are_not_probes() {
    let query = vector("dns_query");
    let changed = |place: usize, byte: u8| {
        let mut changed = query.clone();
        changed[place] = byte;
        parse_query(&changed)
    };
    let (name_end, opt) = (74, 78);
    assert_eq!(changed(2, 0x81), Err(WireError::Malformed), "a response");
    assert_eq!(changed(2, 0x10), Err(WireError::Unsupported), "the status opcode");
    assert_eq!(changed(5, 2), Err(WireError::Malformed), "two questions");
    assert_eq!(changed(7, 1), Err(WireError::Malformed), "an answer");
    assert_eq!(changed(11, 0), Err(WireError::Malformed), "bytes behind the last record");
    assert_eq!(changed(11, 2), Err(WireError::Truncated), "a record that is not there");
    assert_eq!(changed(12, 44), Err(WireError::Malformed), "a shorter label");
    assert_eq!(changed(13, b'1'), Err(WireError::Malformed), "no base32");
    assert_eq!(changed(60, b'x'), Err(WireError::Malformed), "another zone");
    assert_eq!(changed(name_end + 1, 1), Err(WireError::Unsupported), "type A");
    assert_eq!(changed(name_end + 3, 3), Err(WireError::Unsupported), "class CHAOS");
    assert_eq!(changed(opt, 0xff), Err(WireError::Malformed), "a pointer forward");
    let second_opt = [&query[..11], &[2], &query[12..], &query[opt..]].concat();
    assert_eq!(parse_query(&second_opt), Err(WireError::Malformed), "two OPT records");
    for len in 0..query.len() {
        assert_eq!(parse_query(&query[..len]), Err(WireError::Truncated), "{len}");
    }
}

#[test]
fn an_edns_cookie_does_not_matter() {
    // RFC 7873: option 10, 8 bytes, in the OPT record's data.
    let mut query = vector("dns_query");
    let length = query.len() - 2;
    query.splice(length.., hex("000c 000a 0008 0011223344556677"));
    assert_eq!(parse_query(&query), Ok(ProbeQuery::new(0x1234, token())));
}

#[test]
fn pointers_neither_loop_nor_run_away() {
    let answer = |name: &str| hex(&format!("1234 8400 0000 0001 0000 0000 {name} 0010 0001 00000000 0000"));
    let empty = Ok(ProbeAnswer { id: 0x1234, token: None, rcode: 0 });
    assert_eq!(parse_answer(&answer("00")), empty);
    assert_eq!(parse_answer(&answer("c00c")), Err(WireError::Malformed), "to itself");
    assert_eq!(parse_answer(&answer("0161 c00c")), Err(WireError::Malformed), "to the name's own beginning");
    assert_eq!(parse_answer(&answer("c00e")), Err(WireError::Malformed), "forward");
    assert_eq!(parse_answer(&answer("c3ff")), Err(WireError::Malformed), "past the end");
    assert_eq!(parse_answer(&answer("c002")), Err(WireError::Malformed), "back, to the header's 0x84");
    assert_eq!(parse_answer(&answer("c005")), empty, "back, to a zero");
    assert_eq!(parse_answer(&answer("41")), Err(WireError::Malformed), "a label type that is not in use");

    // 63 + 63 + 63 + 61 and five lengths are 255 bytes, the longest name; one more is too long.
    let labels = |last: usize| {
        let mut name = String::new();
        for len in [63, 63, 63, last] {
            name += &format!("{len:02x}{}", "61".repeat(len));
        }
        answer(&(name + "00"))
    };
    assert_eq!(parse_answer(&labels(61)), empty);
    assert_eq!(parse_answer(&labels(62)), Err(WireError::Malformed));

    // A ladder of pointers, each to the one before, behind an unknown record's data: bounded, however long it is.
    let ladder = |rungs: usize| {
        let mut packet = hex("1234 8400 0000 0002 0000 0000 00 00ff 0001 00000000");
        packet.extend((2 * rungs as u16 + 1).to_be_bytes());
        let bottom = packet.len();
        packet.push(0);
        let mut below = bottom;
        for _ in 0..rungs {
            let here = packet.len();
            packet.extend((0xc000 | below as u16).to_be_bytes());
            below = here;
        }
        packet.extend((0xc000 | below as u16).to_be_bytes());
        packet.extend(hex("0010 0001 00000000 0000"));
        parse_answer(&packet)
    };
    assert_eq!(ladder(126), empty);
    assert_eq!(ladder(127), Err(WireError::Malformed));
    assert_eq!(ladder(8000), Err(WireError::Malformed));
}

#[test]
fn only_a_whole_token_is_one() {
    let mut out = Vec::new();
    build_answer(&mut out, &ProbeQuery::new(1, token()), &reply());
    let text_at = out.len() - 11 - 45;
    assert_eq!(out[text_at - 1], 45);
    out[text_at] = b'!';
    assert_eq!(parse_answer(&out).map(|answer| answer.token), Ok(None));
    out[text_at - 1] = 44;
    assert_eq!(parse_answer(&out).map(|answer| answer.token), Ok(None));
    for len in 0..out.len() {
        assert_eq!(parse_answer(&out[..len]), Err(WireError::Truncated), "{len}");
    }
}
