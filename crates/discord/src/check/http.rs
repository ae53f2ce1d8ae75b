//! REST: TCP, TLS and the first byte of answers on one kept connection, by hand, because the moment of the first byte is what is
//! wanted and a client gives whole answers.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_websockets::MaybeTlsStream;

use super::{CheckConfig, Row, Step};
use crate::rest::connection::Socket;
use crate::rest::{Endpoint, Trust};
use crate::secret::Token;

pub(super) type Stream = MaybeTlsStream<TcpStream>;

const TIMES: usize = 5;
const CONNECT: Duration = Duration::from_secs(4);
const ANSWER: Duration = Duration::from_secs(6);
/// Between requests, so that they are no burst.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_HEAD: usize = 32 << 10;
const LONGEST_BODY: usize = 1 << 20;

/// An open connection and what opening it took.
pub(super) struct Opened {
    pub stream: Stream,
    pub socket: Socket,
}

/// Connects some times, keeps the last and shakes hands; adds the rows of both. `None`: it did not come to that.
pub(super) async fn open(endpoint: &Endpoint, trust: &Trust, rows: &mut Vec<Row>) -> Option<Opened> {
    let target = endpoint.authority();
    let looked = timeout(CONNECT, tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))).await;
    let addresses: Vec<SocketAddr> = match looked {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            rows.push(Row::failed(Step::Tcp, &target, format!("the name does not resolve: {error}")));
            return None;
        }
        Err(_) => {
            rows.push(Row::failed(Step::Tcp, &target, "the name is not resolved in time"));
            return None;
        }
    };
    let mut times = Vec::new();
    let (mut kept, mut problem) = (None, None);
    'addresses: for address in addresses {
        for _ in 0..TIMES {
            let begun = Instant::now();
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    times.push(begun.elapsed());
                    kept = Some(stream);
                }
                Ok(Err(error)) => problem = Some(format!("{address}: {error}")),
                Err(_) => problem = Some(format!("{address}: no answer within {} s", CONNECT.as_secs())),
            }
            if problem.is_some() {
                break;
            }
        }
        if kept.is_some() {
            break 'addresses;
        }
    }
    let opened = kept.and_then(|stream| Some((Socket::of(&stream).ok()?, stream)));
    let Some((socket, stream)) = opened else {
        let problem = problem.unwrap_or_else(|| "the name has no address".to_owned());
        rows.push(Row::failed(Step::Tcp, &target, problem));
        return None;
    };
    let _ = stream.set_nodelay(true);
    let min_rtt = socket.info().and_then(|info| info.min_rtt);
    rows.push(Row { problem, ..Row::timed(Step::Tcp, &format!("{target} ({})", socket.peer), &times, min_rtt, 1) });
    if !endpoint.tls {
        return Some(Opened { stream: MaybeTlsStream::Plain(stream), socket });
    }
    let name = match ServerName::try_from(endpoint.host.clone()) {
        Ok(name) => name,
        Err(error) => {
            rows.push(Row::failed(Step::Tls, &target, error));
            return None;
        }
    };
    let begun = Instant::now();
    match timeout(CONNECT, trust.connector().connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let took = begun.elapsed();
            // One round trip in TLS 1.3 (RFC 8446 section 2), two before.
            let new = stream.get_ref().1.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
            let min_rtt = socket.info().and_then(|info| info.min_rtt);
            rows.push(Row::timed(Step::Tls, &target, &[took], min_rtt, if new { 1 } else { 2 }));
            Some(Opened { stream: MaybeTlsStream::Rustls(stream), socket })
        }
        Ok(Err(error)) => {
            let text = error.to_string();
            let hint = if text.contains("certificate") {
                ": somebody else answers (a captive portal, a proxy that opens TLS), or this host trusts other authorities (--ca)"
            } else {
                ""
            };
            rows.push(Row::failed(Step::Tls, &target, format!("{text}{hint}")));
            None
        }
        Err(_) => {
            rows.push(Row::failed(Step::Tls, &target, format!("no handshake within {} s", CONNECT.as_secs())));
            None
        }
    }
}

pub(super) async fn rest(
    config: &CheckConfig,
    rows: &mut Vec<Row>,
    known: &mut Vec<SocketAddr>,
    notes: &mut Vec<String>,
) {
    let Some(mut opened) = open(&config.api, &config.trust, rows).await else { return };
    known.push(opened.socket.peer);
    let route = if config.token.is_some() { "/users/@me" } else { "/gateway" };
    let target = format!("GET {route}");
    let (mut times, mut problem) = (Vec::new(), None);
    for _ in 0..TIMES {
        match timeout(ANSWER, exchange(&mut opened.stream, &config.api, route, config.token.as_ref())).await {
            Ok(Ok(answer)) => {
                times.push(answer.first_byte);
                if let Some(edge) = answer.edge.filter(|_| times.len() == 1) {
                    notes.push(format!("Discord's edge that answers here: {edge}"));
                }
                problem = match answer.status {
                    200 => None,
                    429 => {
                        let wait = answer.retry_after.map(|s| format!(", wait {s} s")).unwrap_or_default();
                        Some(format!(
                            "429: rate-limited ({}{wait})",
                            answer.scope.unwrap_or_else(|| "no scope named".to_owned())
                        ))
                    }
                    401 => Some("401: the token is not valid".to_owned()),
                    300..=399 => {
                        Some(format!("{}: sent elsewhere; a captive portal does that, Discord does not", answer.status))
                    }
                    status => Some(format!("answered {status}")),
                };
            }
            Ok(Err(error)) => problem = Some(error.to_string()),
            Err(_) => problem = Some(format!("no answer within {} s", ANSWER.as_secs())),
        }
        if problem.is_some() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let info = opened.socket.info();
    let row = Row::timed(Step::Rest, &target, &times, info.and_then(|info| info.min_rtt), 1);
    rows.push(Row { retransmits: info.map(|info| info.retransmits), problem, ..row });
}

#[derive(Debug, Default, PartialEq)]
struct Answer {
    first_byte: Duration,
    status: u16,
    length: usize,
    chunked: bool,
    retry_after: Option<String>,
    scope: Option<String>,
    edge: Option<String>,
}

async fn exchange(
    stream: &mut Stream,
    endpoint: &Endpoint,
    route: &str,
    token: Option<&Token>,
) -> std::io::Result<Answer> {
    let mut request = format!(
        "GET {}{route} HTTP/1.1\r\nHost: {}\r\nUser-Agent: DiscordBot (https://github.com/, {})\r\nAccept: application/json\r\n",
        endpoint.prefix,
        endpoint.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    if let Some(token) = token {
        request.push_str(&format!("Authorization: Bot {}\r\n", token.reveal()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let begun = Instant::now();
    let mut bytes = Vec::new();
    let mut first = None;
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > LONGEST_HEAD {
            return Err(std::io::Error::other("the answer's head is longer than any of Discord's"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        first.get_or_insert(begun.elapsed());
    };
    let mut answer = head(&String::from_utf8_lossy(&bytes[..end]))
        .ok_or_else(|| std::io::Error::other("what answers speaks no HTTP"))?;
    answer.first_byte = first.unwrap_or_default();
    // The rest is read so that the connection can be asked again.
    let mut body = bytes.split_off(end);
    let whole = |body: &[u8]| match answer.chunked {
        true => body.ends_with(b"0\r\n\r\n"),
        false => body.len() >= answer.length,
    };
    while !whole(&body) {
        if body.len() > LONGEST_BODY {
            return Err(std::io::Error::other("the answer is longer than any of Discord's"));
        }
        if stream.read_buf(&mut body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer)
}

fn head(text: &str) -> Option<Answer> {
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, ..Answer::default() };
    // Shown to people: printable, and no more than anybody wants to read.
    let word =
        |value: &str| Some(value.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(40).collect::<String>());
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => answer.length = value.parse().ok()?,
            "transfer-encoding" => answer.chunked = value.eq_ignore_ascii_case("chunked"),
            "retry-after" => answer.retry_after = word(value),
            "x-ratelimit-scope" => answer.scope = word(value),
            "cf-ray" => answer.edge = value.rsplit_once('-').and_then(|(_, place)| word(place)),
            _ => {}
        }
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_is_needed_and_nothing_that_is_not_printable() {
        let text = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 12\r\nRetry-After: 3\r\nX-RateLimit-Scope: user\u{7}\r\ncf-ray: 9a-AMS\r\n\r\n";
        let answer = head(text).unwrap();
        assert_eq!((answer.status, answer.length, answer.chunked), (429, 12, false));
        assert_eq!((answer.retry_after.as_deref(), answer.scope.as_deref()), (Some("3"), Some("user")));
        assert_eq!(answer.edge.as_deref(), Some("AMS"));
        for text in ["", "SSH-2.0-OpenSSH", "HTTP/1.1", "HTTP/1.1 abc", "HTTP/1.1 200\r\ncontent-length: -1\r\n"] {
            assert_eq!(head(text), None, "{text}");
        }
    }
}
