//! The live sessions, as the packet paths see them: keys, rate, replay window, and where the worker's packets come from.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use model::control::{SessionInfo, SynFingerprint};
use model::{DirectionChoice, Family, Kind, SessionId, WorkerName};
use store::{SessionKeys, SessionPlan};
use wire::DirectionKey;

use crate::bulk::Allowed;
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
    /// Every connection of this session is a transfer.
    pub(crate) transfers: Option<Allowed>,
    pub(crate) key_up: DirectionKey,
    pub(crate) key_down: DirectionKey,
    /// How the worker's own kernel opens connections, if it told.
    syn: Option<SynFingerprint>,
    guard: Mutex<Guard>,
    origin: Arc<Mutex<Origin>>,
}

struct Guard {
    window: ReplayWindow,
    bucket: Bucket,
    openings: Bucket,
    peer: Option<SocketAddr>,
    /// Monotonic time of the last fresh probe.
    heard_ns: u64,
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
                guard.heard_ns = now_ns;
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

    /// The connection was opened by another TCP than the worker's. `saved_syn`: its IP and TCP header; empty where unknown. The
    /// segment size is not compared: routers clamp it in passing.
    pub(crate) fn opened_by_another(&self, saved_syn: &[u8]) -> bool {
        let (Some(own), Ok((_, seen))) = (&self.syn, wire::frame::tcp_in_frame(saved_syn)) else { return false };
        !seen.option_kinds().eq(own.options.iter().copied()) || seen.window_scale() != own.window_scale
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

    pub fn insert(&self, info: &SessionInfo, keys: &SessionKeys, plan: &SessionPlan, now_ns: u64) {
        let origin = lock(&self.origins).entry((info.worker.clone(), info.family)).or_default().clone();
        let session = LiveSession {
            id: info.session,
            worker: info.worker.clone(),
            family: info.family,
            direction: info.direction,
            kinds: kinds(info),
            is_experiment: info.experiment.is_some(),
            transfers: Allowed::of(info),
            key_up: DirectionKey::new(&keys.up),
            key_down: DirectionKey::new(&keys.down),
            syn: plan.syn.clone(),
            guard: Mutex::new(Guard {
                window: ReplayWindow::default(),
                bucket: Bucket::new(plan.rate_pps * 2.0, BURST + plan.rate_pps, now_ns),
                openings: Bucket::new(OPENINGS, 2.0 * OPENINGS, now_ns),
                peer: None,
                heard_ns: now_ns,
            }),
            origin,
        };
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(info.session.0, Arc::new(session));
    }

    /// Per worker and family the address and port from which an authentic probe of the UDP port came within the last
    /// `within_ns`: of rtp where there is some, else of udp, else of the clock.
    pub(crate) fn live_peers(&self, now_ns: u64, within_ns: u64) -> Vec<(WorkerName, Family, SocketAddr)> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let mut peers: HashMap<(WorkerName, Family), (Kind, SocketAddr)> = HashMap::new();
        for session in sessions.values().filter(|session| !session.is_experiment) {
            let of_port = |kind: &&Kind| matches!(kind, Kind::Rtp | Kind::Udp | Kind::Clock);
            let Some(kind) = session.kinds.iter().find(of_port) else { continue };
            let guard = lock(&session.guard);
            let Some(peer) = guard.peer.filter(|_| now_ns.saturating_sub(guard.heard_ns) <= within_ns) else {
                continue;
            };
            let of_kind = (*kind, peer);
            let best = peers.entry((session.worker.clone(), session.family)).or_insert(of_kind);
            *best = of_kind.min(*best);
        }
        peers.into_iter().map(|((worker, family), (_, peer))| (worker, family, peer)).collect()
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

    /// IP and TCP header of a SYN with these options, padded to words.
    fn syn(options: &[u8]) -> Vec<u8> {
        let length = 40 + options.len() as u8;
        let mut packet = vec![0x45, 0, 0, length, 0, 0, 0x40, 0, 62, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
        packet.extend([
            0x9c,
            0x40,
            0x21,
            0xac,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            (5 + options.len() as u8 / 4) << 4,
            2,
            0xfa,
            0xf0,
        ]);
        packet.extend([0, 0, 0, 0]);
        packet.extend(options);
        packet
    }

    fn info(id: u32, kind: Kind, family: Family) -> SessionInfo {
        SessionInfo {
            session: SessionId(id),
            worker: WorkerName::new("nyc1").unwrap(),
            boot: model::BootId(1),
            kind,
            family,
            direction: DirectionChoice::Both,
            started_at: model::UnixNanos(0),
            ended_at: None,
            from: None,
            to: None,
            notes: Vec::new(),
            experiment: None,
            local_queue: Vec::new(),
            transfers: Vec::new(),
        }
    }

    #[test]
    fn another_tcp_than_the_workers_shows_in_its_syn() {
        let session = |syn| {
            let table = SessionTable::default();
            let keys = SessionKeys { up: [1; 32], down: [2; 32] };
            table.insert(&info(7, Kind::Http, Family::Ipv4), &keys, &SessionPlan { syn, ..SessionPlan::default() }, 0);
            table.get(7).unwrap()
        };
        let linux = SynFingerprint { options: vec![2, 4, 8, 1, 3], window_scale: Some(7) };
        let known = session(Some(linux));
        let of_linux = |mss: u8, scale: u8| syn(&[2, 4, 5, mss, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, scale]);
        assert!(!known.opened_by_another(&of_linux(0xb4, 7)));
        assert!(!known.opened_by_another(&of_linux(0x50, 7)), "a clamped segment size is no proxy");
        assert!(known.opened_by_another(&of_linux(0xb4, 8)));
        // Windows and macOS, as p0f knows them.
        assert!(known.opened_by_another(&syn(&[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2])));
        assert!(
            known
                .opened_by_another(&syn(&[2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 4, 2, 0, 0]))
        );
        assert!(!known.opened_by_another(&[]), "the kernel kept none");
        assert!(!session(None).opened_by_another(&of_linux(0xb4, 8)), "the worker told nothing");
    }

    #[test]
    fn only_a_live_workers_own_address_is_given_out() {
        let table = SessionTable::default();
        assert_eq!(table.live_peers(0, 15), []);
        let keys = SessionKeys { up: [1; 32], down: [2; 32] };
        for (id, kind, family) in [(1, Kind::Clock, 4), (2, Kind::Rtp, 4), (3, Kind::Http, 4), (4, Kind::Clock, 6)] {
            let family = if family == 4 { Family::Ipv4 } else { Family::Ipv6 };
            let info = info(id, kind, family);
            table.insert(&info, &keys, &SessionPlan { rate_pps: 10.0, ..SessionPlan::default() }, 0);
        }
        assert_eq!(table.live_peers(1, 15), [], "nothing authentic has come yet");
        let from = |id: u16| SocketAddr::from(([192, 0, 2, 1], 40_000 + id));
        for id in 1..=3 {
            table.get(id).unwrap().admit(0, from(id as u16), 10);
        }
        let worker = WorkerName::new("nyc1").unwrap();
        assert_eq!(table.live_peers(20, 15), [(worker, Family::Ipv4, from(2))], "of rtp, and never of TCP");
        assert_eq!(table.live_peers(40, 15), [], "silent for too long");
    }

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
