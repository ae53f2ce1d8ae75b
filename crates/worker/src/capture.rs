//! Passive capture on the worker (`--interface`): what its own sockets do not show, namely the mark and TTL of the answers
//! on its http and tls connections over IPv4. A connection says what it waits for; nothing else is looked at.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Tos;
use net::capture::{Capture, CaptureOptions};
use net::filter::{Filter, Side};

use crate::error::WorkerError;

/// IP and TCP headers with their options.
const SNAPLEN: u32 = 160;
/// A block is handed over when it is full or this old.
const RETIRE: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_millis(200);
/// A busy host hands frames over late, and the connection's thread has nothing else to do than wait for its own.
const PATIENCE: Duration = Duration::from_secs(1);
/// After so many waits in vain the frames are not on this interface: no connection waits long for them any more.
const IN_VAIN: u32 = 8;
const SHORT_PATIENCE: Duration = Duration::from_millis(100);
const STACK: usize = 128 * 1024;

/// Opens the capture; needs CAP_NET_RAW.
pub(crate) fn open(interface: &str) -> Result<Capture, WorkerError> {
    let filter = Filter { tcp: true, side: Side::Incoming, ..Filter::default() };
    let options = CaptureOptions { filter, snaplen: SNAPLEN, block_size: 1 << 16, block_count: 8, retire: RETIRE };
    Ok(Capture::open(interface, &options)?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub tos: Tos,
    pub ttl: u8,
}

/// Peer and local port: the connection as an arriving packet names it.
type Key = (SocketAddr, u16);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<HashMap<Key, Option<Mark>>>,
    seen: Condvar,
    /// Waits in vain since the last answer that was seen.
    in_vain: AtomicU32,
    stop: AtomicBool,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Option<Mark>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience(&self) -> Duration {
        if self.in_vain.load(Ordering::Relaxed) < IN_VAIN { PATIENCE } else { SHORT_PATIENCE }
    }

    /// The first packet with data is the answer.
    fn look(&self, packet: &[u8]) {
        let Ok(packet) = wire::frame::IpPacket::parse(packet) else { return };
        let Ok(tcp) = packet.tcp() else { return };
        // The capture may have cut the data off, so its length is told by the headers.
        let headers = 20 + tcp.option_bytes.len();
        let carried = packet.payload.len().max(headers) > headers;
        if !carried {
            return;
        }
        let key = (SocketAddr::new(packet.source, tcp.source_port), tcp.destination_port);
        if let Some(mark) = self.waiting().get_mut(&key).filter(|mark| mark.is_none()) {
            *mark = Some(Mark { tos: packet.tos, ttl: packet.ttl });
            self.seen.notify_all();
        }
    }
}

/// Shared by all flows; the thread ends when the last is gone.
#[derive(Clone, Debug)]
pub(crate) struct Watcher(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Watcher {
    pub(crate) fn start(mut capture: Capture) -> Result<Watcher, WorkerError> {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        let body = move || {
            while !own.stop.load(Ordering::Relaxed) {
                match capture.next_block(Some(TICK)) {
                    Ok(Some(block)) => block.frames().for_each(|frame| own.look(frame.packet)),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!("the capture ended: {error}");
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("capture".to_owned())
            .stack_size(STACK)
            .spawn(body)
            .map_err(|error| WorkerError::Start(format!("the capture's thread: {error}")))?;
        Ok(Watcher(Arc::new(Handle(shared))))
    }

    /// Expects an answer on this connection.
    pub(crate) fn watch(&self, local: SocketAddr, peer: SocketAddr) -> Watch {
        let shared = self.0.0.clone();
        let key = (peer, local.port());
        shared.waiting().insert(key, None);
        Watch { shared, key }
    }
}

#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    key: Key,
}

impl Watch {
    /// The answer's mark; waits a little, because the capture hands packets over in blocks.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let unseen = |waiting: &mut HashMap<Key, Option<Mark>>| waiting.get(&self.key).is_some_and(Option::is_none);
        let waited = self.shared.seen.wait_timeout_while(self.shared.waiting(), self.shared.patience(), unseen);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mark = waiting.get(&self.key).copied().flatten();
        let in_vain = if mark.is_some() { 0 } else { self.shared.in_vain.load(Ordering::Relaxed).saturating_add(1) };
        self.shared.in_vain.store(in_vain, Ordering::Relaxed);
        mark
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet with TCP data, marked EF, TTL 61.
    fn packet(data: &[u8]) -> Vec<u8> {
        let length = (40 + data.len()) as u8;
        let mut bytes = vec![0x45, 0xb8, 0, length, 0, 0, 0, 0, 61, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        bytes.extend_from_slice(&[0x21, 0xac, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn the_first_packet_with_data_on_a_watched_connection_gives_its_mark() {
        let watcher = Watcher(Arc::new(Handle(Arc::default())));
        let shared = watcher.0.0.clone();
        let (local, peer) = ("192.0.2.2:40000".parse().unwrap(), "192.0.2.1:8620".parse().unwrap());
        let watch = watcher.watch(local, peer);
        let other = watcher.watch("192.0.2.2:40001".parse().unwrap(), peer);
        shared.look(&packet(b""));
        assert_eq!(shared.waiting()[&watch.key], None, "a handshake is not the answer");
        shared.look(&packet(b"HTTP"));
        assert_eq!(watch.mark(), Some(Mark { tos: Tos::from_byte(0xb8), ttl: 61 }));
        assert_eq!(shared.waiting()[&other.key], None);
        drop((watch, other));
        assert!(shared.waiting().is_empty());
    }

    #[test]
    fn waits_grow_short_where_nothing_is_ever_seen_and_long_again_with_the_first_answer() {
        let watcher = Watcher(Arc::new(Handle(Arc::default())));
        let shared = watcher.0.0.clone();
        let (local, peer) = ("192.0.2.2:40000".parse().unwrap(), "192.0.2.1:8620".parse().unwrap());
        assert_eq!(shared.patience(), PATIENCE);
        shared.in_vain.store(IN_VAIN - 1, Ordering::Relaxed);
        let watch = watcher.watch(local, peer);
        assert_eq!(watch.mark(), None);
        assert_eq!(shared.patience(), SHORT_PATIENCE);
        shared.look(&packet(b"HTTP"));
        assert!(watch.mark().is_some());
        assert_eq!(shared.patience(), PATIENCE);
    }
}
