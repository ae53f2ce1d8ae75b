//! Where Discord is: the real one, or an emulator. `https` and `wss` trust what the system trusts, or the file that
//! `SSL_CERT_FILE` names; `http` and `ws` are for loopback addresses only, so that a token never travels in clear.

use std::fmt;
use std::str::FromStr;

/// A base address, without a path's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Path before every route, such as `/api/v10`; empty or with a leading and no trailing slash.
    pub prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is no address of Discord: {problem}")]
pub struct InvalidEndpoint {
    given: String,
    problem: &'static str,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// `https://discord.com/api/v10`, `wss://gateway.discord.gg`, `http://127.0.0.1:8080/api/v10`.
    fn from_str(text: &str) -> Result<Endpoint, InvalidEndpoint> {
        let wrong = |problem| InvalidEndpoint { given: text.chars().take(200).collect(), problem };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it begins with https:// or wss://"))?;
        let (tls, default_port) = match scheme {
            "https" | "wss" => (true, 443),
            "http" | "ws" => (false, 80),
            _ => return Err(wrong("it begins with https:// or wss://")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let path = path.trim_end_matches('/');
        if authority.contains('@') || path.contains(['?', '#', ' ']) {
            return Err(wrong("it has a host, perhaps a port and a path, and nothing else"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("its port is no number"))?)
            }
            _ => (authority, default_port),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(allowed) {
            return Err(wrong("its host is missing or misspelt"));
        }
        let is_loopback =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if !tls && !is_loopback {
            return Err(wrong("without TLS the token would be readable on the way, so only loopback addresses may do"));
        }
        Ok(Endpoint { tls, host: host.to_owned(), port, prefix: path.to_owned() })
    }
}

impl Endpoint {
    pub fn discord_api() -> Endpoint {
        Endpoint { tls: true, host: "discord.com".to_owned(), port: 443, prefix: "/api/v10".to_owned() }
    }

    pub fn discord_gateway() -> Endpoint {
        Endpoint { tls: true, host: "gateway.discord.gg".to_owned(), port: 443, prefix: String::new() }
    }

    /// `HOST` or `HOST:PORT` as a `Host` header and a URL write it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// As an HTTP address, with its prefix.
    pub fn http(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.prefix)
    }

    /// As a WebSocket's address.
    pub fn websocket(&self) -> String {
        format!("{}://{}{}", if self.tls { "wss" } else { "ws" }, self.authority(), self.prefix)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let api: Endpoint = "https://discord.com/api/v10/".parse().unwrap();
        assert_eq!(api, Endpoint::discord_api());
        assert_eq!(api.to_string(), "https://discord.com/api/v10");
        let local: Endpoint = "ws://[::1]:8080".parse().unwrap();
        assert_eq!((local.host.as_str(), local.port, local.websocket().as_str()), ("::1", 8080, "ws://[::1]:8080"));
    }

    #[test]
    fn a_token_is_never_sent_in_clear_over_a_network() {
        for bad in [
            "http://discord.com/api",
            "ws://192.0.2.1",
            "ftp://discord.com",
            "discord.com",
            "https://u@h/",
            "https:///x",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
        assert!("http://127.0.0.1:80/api".parse::<Endpoint>().is_ok());
    }
}
