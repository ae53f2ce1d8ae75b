//! REST: TCP, TLS and the first byte of answers on one kept connection, each step timed apart.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, header};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_websockets::MaybeTlsStream;

use super::{CheckConfig, Row, Step};
use crate::rest::answer::{edge, limits};
use crate::rest::client::{USER_AGENT, innermost};
use crate::rest::connection::{Connection, Socket};
use crate::rest::{Endpoint, Trust};

pub(super) type Stream = MaybeTlsStream<TcpStream>;

const TIMES: usize = 5;
const CONNECT: Duration = Duration::from_secs(3);
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Between requests, so that they are no burst.
const PAUSE: Duration = Duration::from_millis(200);
/// Slow answers are asked for less often: what is known by then is enough.
const ENOUGH: Duration = Duration::from_secs(4);
const LONGEST_BODY: usize = 1 << 20;

/// Discord's own names have no IPv6 addresses.
const NO_IPV4: &str =
    "; the name has IPv4 addresses only and this host has no route for them: it needs NAT64 with DNS64, or 464XLAT";

/// An open connection and what opening it took.
pub(super) struct Opened {
    pub stream: Stream,
    pub socket: Socket,
}

/// Connects some times, keeps the last and shakes hands; adds the rows of both. `None`: it did not come to that.
/// `known` gets every address the name has: a bot may be at another one.
pub(super) async fn open(
    endpoint: &Endpoint,
    trust: &Trust,
    rows: &mut Vec<Row>,
    known: &mut Vec<SocketAddr>,
) -> Option<Opened> {
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
    known.extend(&addresses);
    let only_ipv4 = addresses.iter().all(SocketAddr::is_ipv4);
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
                Ok(Err(error)) => {
                    let is_far = error.kind() == std::io::ErrorKind::NetworkUnreachable;
                    let hint = if is_far && only_ipv4 { NO_IPV4 } else { "" };
                    problem = Some(format!("{address}: {error}{hint}"));
                }
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

/// The connection, if REST answers on it as it should.
pub(super) async fn rest(
    config: &CheckConfig,
    rows: &mut Vec<Row>,
    known: &mut Vec<SocketAddr>,
    notes: &mut Vec<String>,
) -> Option<Connection> {
    let opened = open(&config.api, &config.trust, rows, known).await?;
    let route = if config.token.is_some() { "/users/@me" } else { "/gateway" };
    let target = format!("GET {route}");
    let mut connection = match Connection::over(opened.stream, opened.socket).await {
        Ok(connection) => connection,
        Err(error) => {
            rows.push(Row::failed(Step::Rest, &target, error));
            return None;
        }
    };
    let (mut times, mut problem) = (Vec::new(), None);
    let begun = Instant::now();
    while times.len() < TIMES && begun.elapsed() < ENOUGH {
        match timeout(ANSWER, exchange(&mut connection, config, Method::GET, route, None)).await {
            Ok(Ok(answer)) => {
                times.push(answer.first_byte);
                if let Some(edge) = answer.edge.as_ref().filter(|_| times.len() == 1) {
                    notes.push(format!("Discord's edge that answers here: {}", edge.to_uppercase()));
                }
                problem = answer.problem();
            }
            Ok(Err(error)) => problem = Some(error),
            Err(_) => problem = Some(format!("no answer within {} s", ANSWER.as_secs())),
        }
        if problem.is_some() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let info = connection.socket.info();
    let row = Row::timed(Step::Rest, &target, &times, info.and_then(|info| info.min_rtt), 1);
    let is_well = problem.is_none();
    rows.push(Row { retransmits: info.map(|info| info.retransmits), problem, ..row });
    is_well.then_some(connection)
}

pub(super) struct Answer {
    pub sent: Instant,
    /// Until its head was there, which comes in the first segment.
    pub first_byte: Duration,
    pub status: u16,
    retry_after: Option<Duration>,
    scope: Option<String>,
    edge: Option<String>,
    pub body: Bytes,
}

impl Answer {
    /// What is wrong with it, as a row says it; the judge knows how these lines begin.
    pub(super) fn problem(&self) -> Option<String> {
        match self.status {
            200..=299 => None,
            429 => {
                let wait =
                    self.retry_after.map(|wait| format!(", wait {:.1} s", wait.as_secs_f64())).unwrap_or_default();
                Some(format!("429: rate-limited ({}{wait})", self.scope.as_deref().unwrap_or("no scope named")))
            }
            401 => Some("401: the token is not valid".to_owned()),
            300..=399 => Some(format!("{}: sent elsewhere; a captive portal does that, Discord does not", self.status)),
            status => Some(format!("answered {status}")),
        }
    }
}

pub(super) async fn exchange(
    connection: &mut Connection,
    config: &CheckConfig,
    method: Method,
    route: &str,
    json: Option<&serde_json::Value>,
) -> Result<Answer, String> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{route}", config.api.prefix))
        .header(header::HOST, config.api.authority())
        .header(header::USER_AGENT, USER_AGENT);
    if let Some(token) = &config.token {
        request = request.header(header::AUTHORIZATION, format!("Bot {}", token.reveal()));
    }
    if json.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = json.map(|json| Full::from(json.to_string())).unwrap_or_default();
    let request = request.body(body).map_err(|error| error.to_string())?;
    connection.sender.ready().await.map_err(|error| innermost(&error))?;
    let sent = Instant::now();
    let response = connection.sender.send_request(request).await.map_err(|error| innermost(&error))?;
    let first_byte = sent.elapsed();
    let (head, body) = response.into_parts();
    let scope = head.headers.get("x-ratelimit-scope").and_then(|value| value.to_str().ok());
    let scope = scope.map(|text| text.chars().take(20).collect());
    // To the end, so that the connection can be asked again.
    let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Answer {
        sent,
        first_byte,
        status: head.status.as_u16(),
        retry_after: limits(&head.headers, Some(&body)).retry_after,
        scope,
        edge: edge(&head.headers),
        body,
    })
}
