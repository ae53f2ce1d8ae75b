//! RFC 4648 base32 of a token, lower case and without padding: 45 characters that survive a DNS label and a URL.

use crate::token::TOKEN_LEN;

/// 28 bytes are 224 bits, five to a character.
pub const TOKEN_TEXT_LEN: usize = 45;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

pub fn encode_token(token: &[u8; TOKEN_LEN]) -> [u8; TOKEN_TEXT_LEN] {
    let bit = |at: usize| token.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    core::array::from_fn(|i| {
        let value = (0..5).fold(0, |value, at| value << 1 | bit(5 * i + at));
        ALPHABET[usize::from(value & 31)]
    })
}

/// Either case. `None` unless it is 45 characters of the alphabet whose last, spare bit is zero.
pub fn decode_token(text: &[u8]) -> Option<[u8; TOKEN_LEN]> {
    let text: &[u8; TOKEN_TEXT_LEN] = text.try_into().ok()?;
    let mut token = [0; TOKEN_LEN];
    let mut places = token.iter_mut();
    let (mut bits, mut count) = (0u16, 0u32);
    for &character in text {
        let value = match character {
            b'a'..=b'z' => character - b'a',
            b'A'..=b'Z' => character - b'A',
            b'2'..=b'7' => character - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u16::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            *places.next()? = (bits >> count) as u8;
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(token)
}
