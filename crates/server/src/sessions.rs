//! The live sessions, as the packet paths see them: keys, rate, replay window, and where the worker's packets come from.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use model::control::SessionInfo;
use model::shaping::Payload;
use model::{DirectionChoice, Family, Kind, SessionId, WorkerName};
use wire::DirectionKey;

use crate::limits::{Bucket, Freshness, ReplayWindow};

/// Takes a lock whether or not another thread panicked while holding it: the data is counters and windows, valid at any point.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Source address and hop count of a worker's packets of one family, by which middleboxes that speak for it are told.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    address: Option<IpAddr>,
    ttl: Option<u8>,
    /// Packets in a row that had this address and TTL.
    steady: u32,
}

/// Authenticated rtp, udp and clock packets in a row from one address with one hop count before another protocol is judged by them.
const STEADY: u32 = 10;

impl Origin {
    fn learn(&mut self, address: IpAddr, ttl: Option<u8>) {
        if self.address == Some(address) && self.ttl == ttl {
            self.steady = self.steady.saturating_add(1);
        } else {
            *self = Origin { address: Some(address), ttl, steady: 1 };
        }
    }

    /// A packet that differs in source or hop count from the worker's own was sent by somebody else.
    fn differs(&self, address: IpAddr, ttl: Option<u8>) -> bool {
        self.steady >= STEADY
            && (self.address != Some(address) || (ttl.is_some() && self.ttl.is_some() && self.ttl != ttl))
    }
}

/// One live session.
pub struct LiveSession {
    pub id: SessionId,
    pub worker: WorkerName,
    pub kind: Kind,
    pub family: Family,
    pub direction: DirectionChoice,
    /// Whether its flows open with IP discovery.
    pub(crate) discovers: bool,
    pub(crate) key_up: DirectionKey,
    pub(crate) key_down: DirectionKey,
    guard: Mutex<Guard>,
    origin: Arc<Mutex<Origin>>,
}

struct Guard {
    window: ReplayWindow,
    bucket: Bucket,
    peer: Option<SocketAddr>,
}

/// What to do with an authenticated probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// First copy, within its rate. `moved`: the worker's address is new or has changed.
    Fresh {
        moved: bool,
    },
    Duplicate,
    TooOld,
    TooFast,
}

impl LiveSession {
    pub(crate) fn admit(&self, sequence: u32, from: SocketAddr, now_ns: u64) -> Admission {
        let mut guard = lock(&self.guard);
        match guard.window.check(sequence) {
            Freshness::TooOld => Admission::TooOld,
            Freshness::Duplicate => Admission::Duplicate,
            Freshness::New if !guard.bucket.take(now_ns) => Admission::TooFast,
            Freshness::New => {
                let moved = guard.peer.map(|peer| peer.ip()) != Some(from.ip());
                guard.peer = Some(from);
                Admission::Fresh { moved }
            }
        }
    }

    /// Notes where this worker's plain UDP comes from.
    pub(crate) fn learn_origin(&self, from: IpAddr, ttl: Option<u8>) {
        lock(&self.origin).learn(from, ttl);
    }

    pub(crate) fn intercepted(&self, from: IpAddr, ttl: Option<u8>) -> bool {
        lock(&self.origin).differs(from, ttl)
    }
}

/// One for each worker and family, shared by its sessions.
type Origins = HashMap<(WorkerName, Family), Arc<Mutex<Origin>>>;

/// All live sessions. Reading takes a shared lock for the time of one look-up.
#[derive(Default)]
pub struct SessionTable {
    sessions: RwLock<HashMap<u32, Arc<LiveSession>>>,
    origins: Mutex<Origins>,
}

/// Rate of IP-discovery answers and TCP kinds beside the granted one, and the burst every session may have.
const BURST: f64 = 200.0;

impl SessionTable {
    pub fn get(&self, id: u32) -> Option<Arc<LiveSession>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub fn insert(&self, info: &SessionInfo, key_up: &[u8; 32], key_down: &[u8; 32], rate_pps: f64, now_ns: u64) {
        let origin = lock(&self.origins).entry((info.worker.clone(), info.family)).or_default().clone();
        let session = LiveSession {
            id: info.session,
            worker: info.worker.clone(),
            kind: info.kind,
            family: info.family,
            direction: info.direction,
            discovers: info.kind == Kind::Rtp
                || info.experiment.as_ref().is_some_and(|e| e.arms().any(|arm| arm.payload == Payload::Rtp)),
            key_up: DirectionKey::new(key_up),
            key_down: DirectionKey::new(key_down),
            guard: Mutex::new(Guard {
                window: ReplayWindow::default(),
                bucket: Bucket::new(rate_pps * 2.0, BURST + rate_pps, now_ns),
                peer: None,
            }),
            origin,
        };
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(info.session.0, Arc::new(session));
    }

    pub fn remove(&self, id: SessionId) {
        let removed = self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&id.0);
        if let Some(session) = removed {
            let mut origins = lock(&self.origins);
            let unused = |origin: &Arc<Mutex<Origin>>| Arc::strong_count(origin) <= 2;
            let key = (session.worker.clone(), session.family);
            if origins.get(&key).is_some_and(unused) {
                origins.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_steady_origin_convicts_another_protocol() {
        let (worker, proxy) = ("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap());
        let mut origin = Origin::default();
        assert!(!origin.differs(proxy, Some(64)), "nothing is known yet");
        for _ in 0..STEADY {
            origin.learn(worker, Some(62));
        }
        assert!(!origin.differs(worker, Some(62)));
        assert!(!origin.differs(worker, None), "an unreadable TTL proves nothing");
        assert!(origin.differs(worker, Some(63)));
        assert!(origin.differs(proxy, Some(62)));
        origin.learn(worker, Some(61));
        assert!(!origin.differs(proxy, Some(62)), "a path that just changed convicts nobody");
    }
}
