//! DNS for Discord's names, UDP and TCP. Every name in Discord's zones is here; every other does not exist.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use answer::{Answered, Zones};

use crate::clock::system_ns;
use crate::error::EmulatorError;
use crate::faults::{Effect, Point, Surface};
use crate::hub::Hub;
use crate::stamps::{Exchange, ExchangeKind};

const WAITING: usize = 4096;
const CONNECTIONS: usize = 256;
/// Of a TCP connection, between two queries.
const IDLE: Duration = Duration::from_secs(10);

/// Both sockets of one address, with the same port.
pub async fn bind(address: SocketAddr) -> Result<(UdpSocket, TcpListener), EmulatorError> {
    let failed = |source| EmulatorError::Bind { purpose: "DNS", address, source };
    // With any free port, the other protocol may have it taken: then another.
    let attempts = if address.port() == 0 { 20 } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        match crate::listen::bind("DNS", udp.local_addr().map_err(failed)?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(failed(std::io::ErrorKind::AddrInUse.into())))
}

pub async fn serve_udp(socket: UdpSocket, hub: Arc<Hub>, zones: Arc<Zones>) {
    let socket = Arc::new(socket);
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let received_ns = system_ns();
        let Some(answered) = zones.answer(&buffer[..length], true) else { continue };
        let Ok(permit) = waiting.clone().try_acquire_owned() else { continue };
        let (socket, hub) = (socket.clone(), hub.clone());
        tokio::spawn(async move {
            if let Some((bytes, exchange)) = treat(&hub, answered, peer, received_ns).await {
                let sent_ns = system_ns();
                let sent = socket.send_to(&bytes, peer).await.is_ok();
                hub.stamps.record(Exchange { sent_ns: sent.then_some(sent_ns), ..exchange });
            }
            drop(permit);
        });
    }
}

pub async fn serve_tcp(listener: TcpListener, hub: Arc<Hub>, zones: Arc<Zones>) {
    let open = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Ok(permit) = open.clone().try_acquire_owned() else { continue };
        let (hub, zones) = (hub.clone(), zones.clone());
        tokio::spawn(async move {
            let _ = connection(stream, peer, hub, zones).await;
            drop(permit);
        });
    }
}

/// Each message behind its length, two bytes big-endian (RFC 1035, section 4.2.2).
async fn connection(mut stream: TcpStream, peer: SocketAddr, hub: Arc<Hub>, zones: Arc<Zones>) -> std::io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let received_ns = system_ns();
        let Some(answered) = zones.answer(&query, false) else { return Ok(()) };
        let Some((bytes, exchange)) = treat(&hub, answered, peer, received_ns).await else { continue };
        let sent_ns = system_ns();
        let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
        framed.extend(bytes);
        timeout(IDLE, stream.write_all(&framed)).await??;
        hub.stamps.record(Exchange { sent_ns: Some(sent_ns), ..exchange });
    }
}

/// Delay and faults. `None`: no answer.
async fn treat(hub: &Hub, answered: Answered, peer: SocketAddr, received_ns: u64) -> Option<(Vec<u8>, Exchange)> {
    let mut exchange = Exchange::new(ExchangeKind::Dns, peer, 0, received_ns);
    exchange.name = format!("{} {}", answered.name, answered.kind);
    if hub.faults.is_away() {
        hub.stamps.record(exchange);
        return None;
    }
    let decision = hub.faults.decide(&Point { host: Some(&answered.name), ..Point::new(Surface::Dns) });
    if !decision.delay.is_zero() {
        tokio::time::sleep(decision.delay).await;
    }
    let bytes = match decision.effect {
        Some(Effect::Drop) => None,
        Some(Effect::ServFail) => answered.failed(false),
        Some(Effect::NxDomain) => answered.failed(true),
        _ => Some(answered.bytes),
    };
    match bytes {
        Some(bytes) => Some((bytes, exchange)),
        None => {
            hub.stamps.record(exchange);
            None
        }
    }
}
