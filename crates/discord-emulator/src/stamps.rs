//! The truth about every exchange: when a request was received and its answer sent, by this machine's clock.
//! A bounded ring; readers ask from a number on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use serde::Serialize;

use crate::id::Snowflake;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// Request received (its head complete) to answer sent (its last byte handed to the socket).
    Rest,
    Identify,
    Resume,
    /// Op 1 received to op 11 sent.
    Heartbeat,
    /// Something happened here, to its dispatch sent to one session.
    Dispatch,
    VoiceIdentify,
    /// Op 3 received to op 6 sent.
    VoiceHeartbeat,
    IpDiscovery,
    /// Datagram of 8 bytes, echoed.
    VoiceKeepalive,
    Dns,
}

#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    /// Ascends by one over all kinds, in the order of completion.
    pub number: u64,
    pub kind: ExchangeKind,
    /// `POST /channels/{channel_id}/messages`, `MESSAGE_CREATE`, a DNS name; empty where the kind says it all.
    pub name: String,
    pub user: Option<Snowflake>,
    pub peer: SocketAddr,
    /// TCP connection it went over; 0 for datagrams.
    pub connection: u64,
    /// HTTP status or close code.
    pub status: Option<u16>,
    /// Message, channel or interaction it was about.
    pub subject: Option<Snowflake>,
    /// Voice region.
    pub region: Option<String>,
    /// Nanoseconds since 1970, system clock (never the shifted one).
    pub received_ns: u64,
    /// `None`: never answered (dropped, or the connection ended).
    pub sent_ns: Option<u64>,
}

impl Exchange {
    pub fn new(kind: ExchangeKind, peer: SocketAddr, connection: u64, received_ns: u64) -> Exchange {
        Exchange {
            number: 0,
            kind,
            name: String::new(),
            user: None,
            peer,
            connection,
            status: None,
            subject: None,
            region: None,
            received_ns,
            sent_ns: None,
        }
    }
}

pub struct Stamps {
    ring: Mutex<Ring>,
    capacity: usize,
}

#[derive(Default)]
struct Ring {
    next: u64,
    kept: VecDeque<Exchange>,
}

impl Stamps {
    pub fn new(capacity: usize) -> Stamps {
        Stamps { ring: Mutex::default(), capacity: capacity.max(1) }
    }

    pub fn record(&self, mut exchange: Exchange) {
        let mut ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        exchange.number = ring.next;
        ring.next += 1;
        ring.kept.push_back(exchange);
        while ring.kept.len() > self.capacity {
            ring.kept.pop_front();
        }
    }

    /// Number the next exchange will have.
    pub fn next_number(&self) -> u64 {
        self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next
    }

    /// At most `limit` kept exchanges from `number` on that `wanted` accepts, oldest first.
    pub fn since(&self, number: u64, limit: usize, wanted: impl Fn(&Exchange) -> bool) -> Vec<Exchange> {
        let ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = ring.kept.front().map_or(0, |exchange| exchange.number);
        let skip = number.saturating_sub(first) as usize;
        ring.kept.iter().skip(skip).filter(|exchange| wanted(exchange)).take(limit).cloned().collect()
    }
}
