//! The live sessions, as the packet paths see them: keys, rate, replay window, and where the worker's packets come from.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use model::control::SessionInfo;
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
    pub family: Family,
    pub direction: DirectionChoice,
    /// Kinds its probes may have: its own, and those that its experiment compares.
    kinds: Vec<Kind>,
    /// Compares classes, and so opens new flows all the time.
    is_experiment: bool,
    pub(crate) key_up: DirectionKey,
    pub(crate) key_down: DirectionKey,
    guard: Mutex<Guard>,
    origin: Arc<Mutex<Origin>>,
}

struct Guard {
    window: ReplayWindow,
    bucket: Bucket,
    openings: Bucket,
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

    pub(crate) fn takes(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether a flow may be opened from there: experiments open many, but only from where their probes come from.
    pub(crate) fn admit_opening(&self, from: SocketAddr, now_ns: u64) -> bool {
        let mut guard = lock(&self.guard);
        self.is_experiment && guard.peer.is_none_or(|peer| peer.ip() == from.ip()) && guard.openings.take(now_ns)
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

/// New flows a second that an experiment may open.
const OPENINGS: f64 = 200.0;

fn kinds(info: &SessionInfo) -> Vec<Kind> {
    let compared = info.experiment.iter().flat_map(|experiment| experiment.arms().map(|arm| arm.payload.kind()));
    let mut kinds: Vec<Kind> = std::iter::once(info.kind).chain(compared).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

impl SessionTable {
    pub fn get(&self, id: u32) -> Option<Arc<LiveSession>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub fn insert(&self, info: &SessionInfo, key_up: &[u8; 32], key_down: &[u8; 32], rate_pps: f64, now_ns: u64) {
        let origin = lock(&self.origins).entry((info.worker.clone(), info.family)).or_default().clone();
        let session = LiveSession {
            id: info.session,
            worker: info.worker.clone(),
            family: info.family,
            direction: info.direction,
            kinds: kinds(info),
            is_experiment: info.experiment.is_some(),
            key_up: DirectionKey::new(key_up),
            key_down: DirectionKey::new(key_down),
            guard: Mutex::new(Guard {
                window: ReplayWindow::default(),
                bucket: Bucket::new(rate_pps * 2.0, BURST + rate_pps, now_ns),
                openings: Bucket::new(OPENINGS, 2.0 * OPENINGS, now_ns),
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
