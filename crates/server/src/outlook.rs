//! The way back, looked at: traces toward workers whose marks are changed on the way down. Needs CAP_NET_RAW; without it a
//! note says so.
//!
//! Only an address is traced from which an authentic probe of a live session has just come, from the very socket and port that
//! answers it, so that boxes on the way take the trace for that flow. One trace at a time, and each path seldom.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use model::control::ChangedMarks;
use model::{Direction, Family, Tos, WorkerName};
use net::{Clock, UdpProbeSocket};
use path::{TraceConfig, TraceReport, Tracer};
use store::{Reader, TraceRow};

use crate::ServerError;
use crate::changed::changed_marks;
use crate::ingest::Message;
use crate::udp::Shared;

const LOOK: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);
/// A worker that was silent for so long is not traced.
const ALIVE_NS: u64 = 15_000_000_000;
/// The same finding is traced again after so long: some 100 kB of probes a day and path at most.
const AGAIN_NS: u64 = 3_600_000_000_000;
const LIMIT: Duration = Duration::from_secs(45);
const RATE_PPS: f64 = 20.0;
const NO_RIGHT: &str = "the server has no CAP_NET_RAW (setcap cap_net_raw+ep), which reading quoted marks needs";

pub(crate) struct Outlook {
    pub tracer: Option<Tracer>,
    pub sockets: Vec<Arc<UdpProbeSocket>>,
    pub shared: Shared,
    pub ingest: SyncSender<Message>,
    pub data_dir: std::path::PathBuf,
}

/// When a path was traced, and for which marks.
type Traced = HashMap<(WorkerName, Family), (u64, Vec<(Tos, Tos)>)>;

/// Runs until `shared.stop`.
pub(crate) fn run(outlook: &Outlook) {
    let mut traced = Traced::new();
    let mut looked_ns = Clock::monotonic_ns();
    while !outlook.shared.stopping() {
        std::thread::sleep(PAUSE);
        let now_ns = Clock::monotonic_ns();
        if u128::from(now_ns.saturating_sub(looked_ns)) < LOOK.as_nanos() {
            continue;
        }
        looked_ns = now_ns;
        traced.retain(|_, (at, _)| now_ns.saturating_sub(*at) < AGAIN_NS);
        if let Err(error) = outlook.look(&mut traced) {
            tracing::debug!(%error, "cannot look at the ways back");
        }
        // The rollups of many workers are megabytes for a moment.
        net::memory::give_back();
    }
}

impl Outlook {
    fn look(&self, traced: &mut Traced) -> Result<(), ServerError> {
        let peers = self.shared.sessions.live_peers(Clock::monotonic_ns(), ALIVE_NS);
        if peers.is_empty() {
            return Ok(());
        }
        let reader = Reader::open(Path::new(&self.data_dir))?;
        for (worker, family, peer) in peers {
            if self.shared.stopping() {
                break;
            }
            let changed = changed_marks(&reader, &worker, Direction::Down, self.shared.clock.now())?;
            let Some(ChangedMarks { marks, .. }) = changed.into_iter().find(|changed| changed.family == family) else {
                continue;
            };
            let key = (worker.clone(), family);
            if traced.get(&key).is_some_and(|(_, known)| *known == marks) {
                continue;
            }
            let report = self.trace(family, peer, &marks);
            traced.insert(key, (Clock::monotonic_ns(), marks));
            self.keep(worker, report);
        }
        Ok(())
    }

    fn trace(&self, family: Family, peer: SocketAddr, marks: &[(Tos, Tos)]) -> TraceReport {
        let told = |problem: String| TraceReport { family, trace: None, problem: Some(problem) };
        let Some(tracer) = &self.tracer else { return told(NO_RIGHT.to_owned()) };
        let of_family = |socket: &&Arc<UdpProbeSocket>| {
            socket.local_addr().is_ok_and(|local| local.is_ipv4() == (family == Family::Ipv4))
        };
        let Some(socket) = self.sockets.iter().find(of_family) else {
            return told(format!("the server has no {family} probe socket of its own"));
        };
        let config = TraceConfig {
            port: peer.port(),
            classes: path::classes(marks.iter().map(|(sent, _)| *sent)),
            limit: LIMIT,
            rate_pps: RATE_PPS,
            ..TraceConfig::new(peer.ip(), self.shared.clock.clone())
        };
        match tracer.trace_from(&config, socket, &self.shared.stop, &mut |_| {}) {
            Ok(trace) => TraceReport { family, trace: Some(trace), problem: None },
            Err(error) => told(error.to_string()),
        }
    }

    fn keep(&self, worker: WorkerName, report: TraceReport) {
        let at = self.shared.clock.now();
        let Ok(body) = serde_json::to_string(&report) else { return };
        let row = TraceRow { worker, direction: Direction::Down, family: report.family, at, body };
        // A full channel: the store is stuck, and the next look comes.
        let _ = self.ingest.try_send(Message::Call(Box::new(move |ingest| {
            if let Err(error) = ingest.store.put_trace(&row) {
                tracing::debug!(%error, "cannot keep a trace");
            }
        })));
    }
}
