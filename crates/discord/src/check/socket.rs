//! The gateway: how soon it says Hello, and how soon it acknowledges this check's own heartbeats on its own connection. No identify: it
//! costs a bot nothing of its day's allowance, and needs no token.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::http::{ANSWER, Stream, open};
use super::{CheckConfig, Row, Step};
use crate::gateway::{self, Frame};
use crate::rest::connection::Socket;

const TIMES: usize = 5;
/// Far below 120 sends a minute.
const PAUSE: Duration = Duration::from_millis(400);
/// Slow acknowledgements are asked for less often: what is known by then is enough.
const ENOUGH: Duration = Duration::from_secs(4);
/// Where a bot is in large guilds, READY is large.
const LONGEST_FRAME: usize = 8 << 20;

/// A connection of this check's own to the gateway.
pub(super) struct GatewayConnection {
    stream: WebSocketStream<Stream>,
    pub socket: Socket,
}

impl GatewayConnection {
    pub(super) async fn send(&mut self, json: String) -> Result<(), String> {
        self.stream.send(Message::text(json)).await.map_err(|error| error.to_string())
    }

    /// What it says next. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        while let Some(message) = self.stream.next().await {
            let message = message.map_err(|error| error.to_string())?;
            if let Some((code, reason)) = message.as_close() {
                let reason: String = reason.chars().filter(|c| !c.is_control()).take(80).collect();
                return Err(format!("closed with {} {reason}", u16::from(code)));
            }
            if let Some(text) = message.as_text() {
                return Ok(gateway::read(text));
            }
        }
        Err("the connection ended".to_owned())
    }

    async fn until(&mut self, wanted: fn(&Frame) -> bool) -> Result<(), String> {
        while !wanted(&self.next().await?) {}
        Ok(())
    }

    /// Orderly, which ends a session.
    pub(super) async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.stream.close()).await;
    }
}

/// The connection, if it said Hello and acknowledged every heartbeat.
pub(super) async fn gateway(
    config: &CheckConfig,
    rows: &mut Vec<Row>,
    known: &mut Vec<SocketAddr>,
) -> Option<GatewayConnection> {
    let target = config.gateway.authority();
    let opened = open(&config.gateway, &config.trust, rows, known).await?;
    let begun = Instant::now();
    let hello = async {
        let uri = format!("{}/?v=10&encoding=json", config.gateway.websocket());
        let builder = ClientBuilder::new().uri(&uri).map_err(|error| error.to_string())?;
        let limits = Limits::default().max_payload_len(Some(LONGEST_FRAME));
        let connected = builder.limits(limits).connect_on(opened.stream).await;
        let (stream, _) = connected.map_err(|error| error.to_string())?;
        let mut connection = GatewayConnection { stream, socket: opened.socket };
        connection.until(|frame| matches!(frame, Frame::Hello { .. })).await?;
        Ok::<_, String>(connection)
    };
    let hello = timeout(ANSWER, hello).await;
    let hello = hello.unwrap_or_else(|_| Err(format!("no Hello within {} s", ANSWER.as_secs())));
    let mut connection = match hello {
        Ok(connection) => connection,
        Err(problem) => {
            rows.push(Row::failed(Step::GatewayHello, &target, problem));
            return None;
        }
    };
    let took = begun.elapsed();
    let min_rtt = connection.socket.info().and_then(|info| info.min_rtt);
    // The upgrade is one round trip; Hello follows it unasked.
    rows.push(Row::timed(Step::GatewayHello, &target, &[took], min_rtt, 1));
    let (mut times, mut problem) = (Vec::new(), None);
    let first = Instant::now();
    while times.len() < TIMES && first.elapsed() < ENOUGH {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let beat = async {
            connection.send("{\"op\":1,\"d\":null}".to_owned()).await?;
            connection.until(|frame| matches!(frame, Frame::HeartbeatAck)).await
        };
        match timeout(ANSWER, beat).await {
            Ok(Ok(())) => times.push(begun.elapsed()),
            Ok(Err(error)) => problem = Some(error),
            Err(_) => problem = Some(format!("no acknowledgement within {} s", ANSWER.as_secs())),
        }
        if problem.is_some() {
            break;
        }
    }
    let info = connection.socket.info();
    let row = Row::timed(Step::GatewayHeartbeat, &target, &times, info.and_then(|info| info.min_rtt), 1);
    let is_well = problem.is_none();
    rows.push(Row { retransmits: info.map(|info| info.retransmits), problem, ..row });
    is_well.then_some(connection)
}
