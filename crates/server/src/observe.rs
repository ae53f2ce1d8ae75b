//! What the packet paths tell the ingest thread: halves, gathered in batches so that a channel is crossed seldom.

use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, TrySendError};

use model::{ReceivedHalf, SentHalf, SessionId};

use crate::counters::{self, Counters};
use crate::ingest::Message;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// A probe of the worker's arrived (`Up`).
    Received(SessionId, ReceivedHalf),
    /// An answer of ours went out (`Down`).
    Sent(SessionId, SentHalf),
    /// The worker's packets come from another address than before.
    Peer(SessionId, IpAddr, Option<IpAddr>),
}

const BATCH: usize = 256;

/// One packet path's end of the channel.
pub struct Observer {
    batch: Vec<Observation>,
    flushed_ns: u64,
    channel: SyncSender<Message>,
    counters: std::sync::Arc<Counters>,
}

impl Observer {
    pub fn new(channel: SyncSender<Message>, counters: std::sync::Arc<Counters>) -> Observer {
        Observer { batch: Vec::with_capacity(BATCH), flushed_ns: 0, channel, counters }
    }

    pub fn push(&mut self, observation: Observation) {
        self.batch.push(observation);
    }

    /// Hands on what was gathered, if it is much or old. Call at least every 100 ms.
    pub fn flush(&mut self, now_ns: u64) {
        let old = now_ns.saturating_sub(self.flushed_ns) > 50_000_000;
        if self.batch.is_empty() || (self.batch.len() < BATCH && !old) {
            return;
        }
        self.flushed_ns = now_ns;
        let full = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        // A packet path must not wait for the disk: when the store is stuck the channel fills, and what does not fit is counted.
        let count = full.len() as u64;
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.channel.try_send(Message::Observed(full))
        {
            counters::add(&self.counters.overflowed, count);
        }
    }
}
