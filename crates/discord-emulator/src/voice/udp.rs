//! The voice server's UDP port: answers IP discovery of known sources, echoes keep-alives, counts the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use super::discovery;
use crate::clock::system_ns;
use crate::faults::{Effect, Point, Surface};
use crate::hub::Hub;
use crate::stamps::{Exchange, ExchangeKind};

/// Answers waiting for their time; datagrams that come while there are more are dropped.
const WAITING: usize = 4096;
const KEEPALIVE: usize = 8;

/// Serves until the task is aborted.
pub async fn serve(socket: UdpSocket, hub: Arc<Hub>) {
    let socket = Arc::new(socket);
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = [0; 2048];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error of an earlier answer.
            Err(_) => continue,
        };
        let received_ns = system_ns();
        if hub.faults.is_away() {
            continue;
        }
        let Some(answer) = answer(&hub, &buffer[..length], peer, received_ns) else { continue };
        let point =
            Point { event: Some(answer.event), region: answer.exchange.region.as_deref(), ..Point::new(Surface::Udp) };
        let decision = hub.faults.decide(&point);
        if matches!(decision.effect, Some(Effect::Drop)) {
            hub.stamps.record(answer.exchange);
            continue;
        }
        if decision.delay.is_zero() {
            send(&socket, &hub, answer).await;
            continue;
        }
        let Ok(permit) = waiting.clone().try_acquire_owned() else { continue };
        let (socket, hub) = (socket.clone(), hub.clone());
        tokio::spawn(async move {
            tokio::time::sleep(decision.delay).await;
            send(&socket, &hub, answer).await;
            drop(permit);
        });
    }
}

struct Answer {
    event: &'static str,
    bytes: Vec<u8>,
    exchange: Exchange,
}

fn answer(hub: &Hub, datagram: &[u8], peer: SocketAddr, received_ns: u64) -> Option<Answer> {
    let mut world = hub.world();
    if let Some(ssrc) = discovery::parse_request(datagram) {
        let connection = world.voice_connections.get_mut(&ssrc)?;
        connection.peer = Some(peer);
        let mut exchange = Exchange::new(ExchangeKind::IpDiscovery, peer, 0, received_ns);
        exchange.user = Some(connection.user);
        exchange.region = Some(connection.region.clone());
        return Some(Answer { event: "IP_DISCOVERY", bytes: discovery::response(ssrc, peer).to_vec(), exchange });
    }
    // Only to those who discovered their address: nothing is ever sent to a forged one.
    let connection = world.voice_connections.values_mut().find(|connection| connection.peer == Some(peer));
    let Some(connection) = connection else {
        world.stray_datagrams += 1;
        return None;
    };
    if datagram.len() != KEEPALIVE {
        connection.datagrams += 1;
        return None;
    }
    if !hub.config.voice.keepalive_echo {
        return None;
    }
    let mut exchange = Exchange::new(ExchangeKind::VoiceKeepalive, peer, 0, received_ns);
    exchange.user = Some(connection.user);
    exchange.region = Some(connection.region.clone());
    Some(Answer { event: "KEEPALIVE", bytes: datagram.to_vec(), exchange })
}

async fn send(socket: &UdpSocket, hub: &Hub, answer: Answer) {
    let sent_ns = system_ns();
    let sent = socket.send_to(&answer.bytes, answer.exchange.peer).await.is_ok();
    hub.stamps.record(Exchange { sent_ns: sent.then_some(sent_ns), ..answer.exchange });
}
