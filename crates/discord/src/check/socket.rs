//! The gateway: how soon it says Hello, and how soon it acknowledges this check's own heartbeats on its own connection. No identify: it
//! costs a bot nothing of its day's allowance, and needs no token.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::http::{ANSWER, Stream, open};
use super::{CheckConfig, Row, Step};

const TIMES: usize = 5;
/// Far below 120 sends a minute.
const PAUSE: Duration = Duration::from_millis(400);
/// Slow acknowledgements are asked for less often: what is known by then is enough.
const ENOUGH: Duration = Duration::from_secs(4);
const LONGEST_FRAME: usize = 64 << 10;

pub(super) async fn gateway(config: &CheckConfig, rows: &mut Vec<Row>, known: &mut Vec<SocketAddr>) {
    let target = config.gateway.authority();
    let Some(opened) = open(&config.gateway, &config.trust, rows, known).await else { return };
    let begun = Instant::now();
    let hello = async {
        let uri = format!("{}/?v=10&encoding=json", config.gateway.websocket());
        let builder = ClientBuilder::new().uri(&uri).map_err(|error| error.to_string())?;
        let limits = Limits::default().max_payload_len(Some(LONGEST_FRAME));
        let connected = builder.limits(limits).connect_on(opened.stream).await;
        let (mut stream, _) = connected.map_err(|error| error.to_string())?;
        until(&mut stream, 10).await?;
        Ok::<_, String>(stream)
    };
    let min_rtt = || opened.socket.info().and_then(|info| info.min_rtt);
    let mut stream = match timeout(ANSWER, hello).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return rows.push(Row::failed(Step::GatewayHello, &target, error)),
        Err(_) => {
            let problem = format!("no Hello within {} s", ANSWER.as_secs());
            return rows.push(Row::failed(Step::GatewayHello, &target, problem));
        }
    };
    let took = begun.elapsed();
    // The upgrade is one round trip; Hello follows it unasked.
    rows.push(Row::timed(Step::GatewayHello, &target, &[took], min_rtt(), 1));
    let (mut times, mut problem) = (Vec::new(), None);
    let first = Instant::now();
    while times.len() < TIMES && first.elapsed() < ENOUGH {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let beat = async {
            let sent = stream.send(Message::text("{\"op\":1,\"d\":null}")).await;
            sent.map_err(|error| error.to_string())?;
            until(&mut stream, 11).await
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
    let info = opened.socket.info();
    let row = Row::timed(Step::GatewayHeartbeat, &target, &times, info.and_then(|info| info.min_rtt), 1);
    rows.push(Row { retransmits: info.map(|info| info.retransmits), problem, ..row });
    let _ = timeout(Duration::from_secs(1), stream.close()).await;
}

/// The next message with this op.
async fn until(stream: &mut WebSocketStream<Stream>, op: u64) -> Result<(), String> {
    while let Some(message) = stream.next().await {
        let message = message.map_err(|error| error.to_string())?;
        if let Some((code, reason)) = message.as_close() {
            let reason: String = reason.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(format!("closed with {} {reason}", u16::from(code)));
        }
        let told = message.as_text().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if told.is_some_and(|told| told["op"].as_u64() == Some(op)) {
            return Ok(());
        }
    }
    Err("the connection ended".to_owned())
}
