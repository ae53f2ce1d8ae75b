//! The join string, `netlat://HOST:PORT/TOKEN#FINGERPRINT`: where the server is, what admits this worker, and which
//! certificate the server must show. Its token is a secret and appears in no message.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

const SCHEME: &str = "netlat://";
/// 128 bits of base32.
const TOKEN_LEN: usize = 26;

/// Text that grants something. Debug does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// For the one place that has to send or store it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// SHA-256 of a certificate's DER form; written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub fn of_certificate(der: &[u8]) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, der).as_ref());
        Fingerprint(bytes)
    }

    /// The first digits, enough for people to compare two.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..8])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidJoin;
    fn from_str(text: &str) -> Result<Fingerprint, InvalidJoin> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| InvalidJoin::Fingerprint)?;
        bytes.try_into().map(Fingerprint).map_err(|_| InvalidJoin::Fingerprint)
    }
}

/// Host and port of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl ServerAddress {
    /// The host as URLs write it.
    pub fn url_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.url_host(), self.port)
    }
}

impl FromStr for ServerAddress {
    type Err = InvalidJoin;
    fn from_str(text: &str) -> Result<ServerAddress, InvalidJoin> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or(InvalidJoin::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| InvalidJoin::Host)?;
                (address.to_string(), rest.strip_prefix(':').ok_or(InvalidJoin::Port)?)
            }
            None => {
                let (host, port) = text.rsplit_once(':').ok_or(InvalidJoin::Port)?;
                (host.to_owned(), port)
            }
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(InvalidJoin::Port)?;
        let named = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
        let is_name = (1..=253).contains(&host.len()) && host.bytes().all(named);
        if !text.starts_with('[') && !is_name {
            return Err(InvalidJoin::Host);
        }
        Ok(ServerAddress { host, port })
    }
}

/// What a server prints as `join: ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinString {
    pub server: ServerAddress,
    pub token: Secret,
    pub fingerprint: Fingerprint,
}

/// Which part of a join string is wrong. Shows nothing of what was given, because the token is a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJoin {
    #[error("a join string looks like netlat://HOST:PORT/TOKEN#FINGERPRINT; this one does not begin with netlat://")]
    Scheme,
    #[error("the join string's host is neither a name nor an address (IPv6 goes in brackets)")]
    Host,
    #[error("the join string has no port between 1 and 65535 behind its host")]
    Port,
    #[error(
        "the join string's token, behind the slash, is not 26 characters of a-z and 2-7: was it cut off when copied?"
    )]
    Token,
    #[error(
        "the join string's fingerprint, behind '#', is not 64 hexadecimal digits: quote the string, '#' begins a comment in shells"
    )]
    Fingerprint,
}

impl FromStr for JoinString {
    type Err = InvalidJoin;
    fn from_str(text: &str) -> Result<JoinString, InvalidJoin> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or(InvalidJoin::Scheme)?;
        let (address, rest) = rest.split_once('/').ok_or(InvalidJoin::Token)?;
        let server = address.parse()?;
        let (token, fingerprint) = match rest.split_once('#') {
            Some((token, fingerprint)) => (token, Some(fingerprint)),
            None => (rest, None),
        };
        if token.len() != TOKEN_LEN || !token.bytes().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7')) {
            return Err(InvalidJoin::Token);
        }
        let fingerprint = fingerprint.ok_or(InvalidJoin::Fingerprint)?.parse()?;
        Ok(JoinString { server, token: Secret(token.to_owned()), fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz";
    const PRINT: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    #[test]
    fn names_and_both_families_parse() {
        for (host, shown) in [
            ("example.org", "example.org:8443"),
            ("192.0.2.1", "192.0.2.1:8443"),
            ("[2001:db8::1]", "[2001:db8::1]:8443"),
        ] {
            let join: JoinString = format!(" netlat://{host}:8443/{TOKEN}#{PRINT}\n").parse().unwrap();
            assert_eq!(join.server.to_string(), shown);
            assert_eq!(join.token.reveal(), TOKEN);
            assert_eq!(join.fingerprint.to_string(), PRINT.to_ascii_lowercase());
        }
    }

    #[test]
    fn the_wrong_part_is_named_and_the_token_never_shown() {
        let cases = [
            (format!("https://h:1/{TOKEN}#{PRINT}"), InvalidJoin::Scheme),
            (format!("netlat://h/{TOKEN}#{PRINT}"), InvalidJoin::Port),
            (format!("netlat://h:0/{TOKEN}#{PRINT}"), InvalidJoin::Port),
            (format!("netlat://2001:db8::1:80/{TOKEN}#{PRINT}"), InvalidJoin::Host),
            (format!("netlat://a b:80/{TOKEN}#{PRINT}"), InvalidJoin::Host),
            (format!("netlat://[::1]/{TOKEN}#{PRINT}"), InvalidJoin::Port),
            (format!("netlat://h:1/{}#{PRINT}", &TOKEN[1..]), InvalidJoin::Token),
            (format!("netlat://h:1/{}1#{PRINT}", &TOKEN[1..]), InvalidJoin::Token),
            ("netlat://h:1".to_owned(), InvalidJoin::Token),
            (format!("netlat://h:1/{TOKEN}"), InvalidJoin::Fingerprint),
            (format!("netlat://h:1/{TOKEN}#{}", &PRINT[1..]), InvalidJoin::Fingerprint),
        ];
        for (text, expected) in cases {
            let error = text.parse::<JoinString>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains(&TOKEN[1..]));
        }
        let join: JoinString = format!("netlat://h:1/{TOKEN}#{PRINT}").parse().unwrap();
        assert!(!format!("{join:?}").contains(TOKEN));
    }
}
