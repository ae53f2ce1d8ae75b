//! IP discovery against the layout in Discord's documentation, written out by hand.

use crate::common::hex;
use wire::WireError;
use wire::discovery::{
    build_discovery_request, build_discovery_response, parse_discovery_request, parse_discovery_response,
};

fn packet(head: &str, address: &[u8], port: &str) -> Vec<u8> {
    let mut packet = hex(head);
    packet.extend_from_slice(address);
    packet.resize(72, 0);
    packet.extend(hex(port));
    packet
}

#[test]
fn requests_are_zero_but_for_their_head() {
    let golden = packet("0001 0046 0012d687", b"", "0000");
    assert_eq!(golden.len(), 74);
    assert_eq!(build_discovery_request(1_234_567).to_vec(), golden);
    assert_eq!(parse_discovery_request(&golden), Ok(1_234_567));
}

#[test]
fn responses_hold_the_address_as_text() {
    for (address, port, golden) in [
        ("203.0.113.7", 50_004, packet("0002 0046 0012d687", b"203.0.113.7", "c354")),
        ("2001:db8::7", 1, packet("0002 0046 0012d687", b"2001:db8::7", "0001")),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(build_discovery_response(1_234_567, address, port).to_vec(), golden);
        assert_eq!(parse_discovery_response(&golden), Ok((1_234_567, address, port)));
    }
    let longest = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
    let response = build_discovery_response(1, longest, 2);
    assert_eq!(parse_discovery_response(&response), Ok((1, longest, 2)));
}

#[test]
fn other_packets_of_that_size_are_not_taken_for_it() {
    let request = packet("0001 0046 00000001", b"", "0000");
    let response = packet("0002 0046 00000001", b"203.0.113.7", "c354");
    assert_eq!(parse_discovery_response(&request), Err(WireError::Malformed));
    assert_eq!(parse_discovery_request(&response), Err(WireError::Malformed));
    assert_eq!(parse_discovery_request(&request[..73]), Err(WireError::Truncated));
    assert_eq!(parse_discovery_request(&[request.as_slice(), &[0]].concat()), Err(WireError::Malformed));
    for address in [b"".as_slice(), b"localhost", b"\xff\xfe", &[b'1'; 64]] {
        let response = packet("0002 0046 00000001", address, "c354");
        assert_eq!(parse_discovery_response(&response), Err(WireError::Malformed));
    }
}
