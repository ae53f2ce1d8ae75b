//! IP discovery: 74 bytes, big-endian. Discord's reference, "Voice", section "IP Discovery". Never panics on any input.
//!
//! ```text
//!  0      2      4          8                                   72     74
//!  | type | 70   | ssrc     | address, NUL-terminated           | port |
//! ```

use std::net::SocketAddr;

pub const LENGTH: usize = 74;
const REST: u16 = 70;
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;

/// The RTP source that asks; `None` if this is no request.
pub fn parse_request(datagram: &[u8]) -> Option<u32> {
    let bytes: &[u8; LENGTH] = datagram.try_into().ok()?;
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    (word(0) == REQUEST && word(2) == REST).then(|| u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]))
}

/// What the asker looks like from here.
pub fn response(ssrc: u32, peer: SocketAddr) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0..2].copy_from_slice(&RESPONSE.to_be_bytes());
    bytes[2..4].copy_from_slice(&REST.to_be_bytes());
    bytes[4..8].copy_from_slice(&ssrc.to_be_bytes());
    // The longest address has 45 characters, so the terminator always fits.
    let text = peer.ip().to_canonical().to_string();
    bytes[8..8 + text.len()].copy_from_slice(text.as_bytes());
    bytes[72..].copy_from_slice(&peer.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_documented() {
        let mut request = [0; LENGTH];
        request[..8].copy_from_slice(&[0, 1, 0, 70, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(parse_request(&request), Some(0x1234_5678));
        let answer = response(0x1234_5678, "192.0.2.7:50001".parse().unwrap());
        assert_eq!(answer[..8], [0, 2, 0, 70, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(&answer[8..18], b"192.0.2.7\0");
        assert_eq!(answer[72..], [0xc3, 0x51]);
    }

    #[test]
    fn what_is_no_request_is_none() {
        for length in 0..200 {
            assert_eq!(parse_request(&vec![0; length]), None);
        }
        assert_eq!(parse_request(&response(1, "[2001:db8::1]:9".parse().unwrap())), None);
    }
}
