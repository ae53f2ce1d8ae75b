//! Discord's IP discovery: the exchange that opens a voice flow, and therefore the packet a classifier sees first.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | type (1 request, 2 response)  |          length = 70          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                             SSRC                              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |              address (64 bytes, text, NUL-terminated)         |
//! |                              ....                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |             port              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Source: Discord's developer documentation, "IP Discovery".

use core::fmt::{self, Write};
use core::net::IpAddr;

use crate::bytes::{Reader, put};
use crate::error::WireError;

pub const DISCOVERY_LEN: usize = 74;

const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
/// Of what follows type and length.
const LENGTH: u16 = 70;
const ADDRESS_LEN: usize = 64;

/// The address and port fields are zero, as Discord's clients send them.
pub fn build_discovery_request(ssrc: u32) -> [u8; DISCOVERY_LEN] {
    build(REQUEST, ssrc, &[0; ADDRESS_LEN], 0)
}

/// The SSRC. Address and port are ignored: clients have been seen to leave rubbish there.
pub fn parse_discovery_request(packet: &[u8]) -> Result<u32, WireError> {
    let (ssrc, _) = parse(REQUEST, packet)?;
    Ok(ssrc)
}

/// Tells the client the address its packet came from.
pub fn build_discovery_response(ssrc: u32, address: IpAddr, port: u16) -> [u8; DISCOVERY_LEN] {
    let mut text = AddressText { bytes: [0; ADDRESS_LEN], len: 0 };
    // The longest text of an address has 39 characters and leaves the terminating NUL its place.
    let _fits = write!(text, "{address}");
    build(RESPONSE, ssrc, &text.bytes, port)
}

/// SSRC, address and port.
pub fn parse_discovery_response(packet: &[u8]) -> Result<(u32, IpAddr, u16), WireError> {
    let (ssrc, mut reader) = parse(RESPONSE, packet)?;
    let field = reader.take(ADDRESS_LEN)?;
    let end = field.iter().position(|&byte| byte == 0).ok_or(WireError::Malformed)?;
    let text = field.get(..end).and_then(|text| core::str::from_utf8(text).ok()).ok_or(WireError::Malformed)?;
    let address = text.parse().map_err(|_| WireError::Malformed)?;
    Ok((ssrc, address, reader.u16()?))
}

fn build(kind: u16, ssrc: u32, address: &[u8; ADDRESS_LEN], port: u16) -> [u8; DISCOVERY_LEN] {
    let mut packet = [0; DISCOVERY_LEN];
    let out = packet.as_mut_slice();
    put(out, 0, &kind.to_be_bytes());
    put(out, 2, &LENGTH.to_be_bytes());
    put(out, 4, &ssrc.to_be_bytes());
    put(out, 8, address);
    put(out, 72, &port.to_be_bytes());
    packet
}

fn parse(kind: u16, packet: &[u8]) -> Result<(u32, Reader<'_>), WireError> {
    if packet.len() < DISCOVERY_LEN {
        return Err(WireError::Truncated);
    }
    let mut reader = Reader::new(packet);
    if packet.len() > DISCOVERY_LEN || reader.u16()? != kind || reader.u16()? != LENGTH {
        return Err(WireError::Malformed);
    }
    Ok((reader.u32()?, reader))
}

struct AddressText {
    bytes: [u8; ADDRESS_LEN],
    len: usize,
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put(&mut self.bytes, self.len, text.as_bytes()).ok_or(fmt::Error)?;
        self.len += text.len();
        Ok(())
    }
}
