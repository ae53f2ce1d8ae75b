//! A worker that is admitted: its live flows, its spool and its uplink, and the two loops that connect them. What to
//! measure is decided elsewhere ([`crate::run`], [`crate::probe`]).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use model::control::{ProbePorts, ReceivedColumns, SentColumns, SessionRequest, SynFingerprint, Uploaded, WatchCounts};
use model::{
    BootId, Family, Instrument, Kind, Measurement, Record, RecordId, SessionId, SessionUpload, TaskId, WorkerName,
};
use net::Clock;
use tokio::sync::{Notify, mpsc};

use crate::backoff::Backoff;
use crate::batch;
use crate::capture::Watcher;
use crate::config::EchoSockets;
use crate::duty::{AFTERGLOW_S, PAUSE_UPLOAD_S};
use crate::error::WorkerError;
use crate::flow::log::Totals;
use crate::flow::nearest::Nearest;
use crate::flow::plan::{Activity, Timeline};
use crate::flow::{Flow, FlowSpec, Surroundings};
use crate::spool::Spool;
use crate::targets::Targets;
use crate::uplink::Uplink;

/// Records of media hosts between two collections: hours of them.
const MOST_RECORDS: usize = 4096;
const SECOND: u64 = 1_000_000_000;

/// Whose flow it is. The clock's belong to no task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    pub task: Option<TaskId>,
    pub kind: Kind,
    pub family: Family,
    pub purpose: Purpose,
}

/// What a flow of a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Each class by itself.
    Measure,
    /// Classes in pairs, without end.
    Watch,
    /// One step of a run that looks after its flows itself.
    Step,
}

pub(crate) struct Entry {
    pub key: FlowKey,
    pub timeline: Timeline,
    pub flow: Flow,
}

/// Why a flow could not be opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// The server's refusal, or its absence.
    Server(WorkerError),
    /// What this host cannot do.
    Host(String),
}

#[derive(Default)]
struct Collected {
    /// Sessions that ended without a flow, or whose last words could not be said otherwise.
    farewells: Vec<SessionUpload>,
    next_batch: u64,
    /// Batches lost that no note tells of yet.
    lost: u64,
    /// Of media hosts.
    records: Vec<Record>,
    /// Records kept since this start.
    counted: u64,
    watched: WatchCounts,
}

/// What was opened with privileges, if anything was.
#[derive(Default)]
pub(crate) struct Privileged {
    pub watcher: Option<Watcher>,
    pub echoes: EchoSockets,
}

pub(crate) struct Station {
    pub uplink: Uplink,
    pub boot: BootId,
    pub clock: Clock,
    pub activity: Arc<Activity>,
    privileged: Privileged,
    /// Of IPv4 and IPv6.
    nearest: [Arc<Nearest>; 2],
    own_syn: OnceLock<Option<SynFingerprint>>,
    flows: Mutex<Vec<Entry>>,
    ports: Mutex<Option<ProbePorts>>,
    addresses: Mutex<Vec<IpAddr>>,
    /// Where the server takes UDP probes, per family that has a flow.
    probe_addresses: Mutex<HashMap<Family, SocketAddr>>,
    spool: Mutex<Spool>,
    collected: Mutex<Collected>,
    instrument: Instrument,
    name: WorkerName,
    appended: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Station {
    pub(crate) fn new(
        uplink: Uplink,
        name: WorkerName,
        clock: Clock,
        privileged: Privileged,
        spool: Spool,
    ) -> Result<Station, WorkerError> {
        let mut boot = [0; 8];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut boot)
            .map_err(|_| WorkerError::Start("the system has no random numbers".to_owned()))?;
        Ok(Station {
            uplink,
            // JSON numbers above 2^53 are not safe with every reader.
            boot: BootId(u64::from_le_bytes(boot) >> 11),
            clock,
            activity: Arc::default(),
            privileged,
            nearest: Default::default(),
            own_syn: OnceLock::new(),
            flows: Mutex::default(),
            ports: Mutex::default(),
            addresses: Mutex::default(),
            probe_addresses: Mutex::default(),
            spool: Mutex::new(spool),
            collected: Mutex::new(Collected { next_batch: 1, ..Collected::default() }),
            instrument: Instrument {
                library: model::record::WORKER_LIBRARY.to_owned(),
                language: "rust".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            name,
            appended: Notify::new(),
        })
    }

    pub(crate) fn flows(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.flows)
    }

    /// What a SYN of this host looks like.
    fn own_syn(&self) -> Option<SynFingerprint> {
        let look = || {
            let headers = net::tcp::own_syn()?;
            let (_, syn) = wire::frame::tcp_in_frame(&headers).ok()?;
            Some(SynFingerprint { options: syn.option_kinds().collect(), window_scale: syn.window_scale() })
        };
        self.own_syn.get_or_init(look).clone()
    }

    pub(crate) fn probe_address(&self, family: Family) -> Option<SocketAddr> {
        lock(&self.probe_addresses).get(&family).copied()
    }

    /// Asks for a session and starts its flow. What the server tells of its addresses goes to `targets`; true if that is
    /// new.
    pub(crate) async fn open(
        &self,
        key: FlowKey,
        spec: FlowSpec,
        timeline: Timeline,
        targets: &mut Targets,
    ) -> Result<bool, NotOpened> {
        let server = targets.of(spec.family).map_err(NotOpened::Host)?;
        let request = SessionRequest {
            boot: self.boot,
            kind: spec.kind,
            family: spec.family,
            direction: spec.direction,
            classes: spec.classes.clone(),
            rate_pps: spec.rate_pps,
            size: spec.size,
            task: key.task.clone(),
            experiment: spec.experiment.clone(),
            syn: if spec.kind.is_tcp() { self.own_syn() } else { None },
        };
        let grant = self.uplink.open_session(&request).await.map_err(NotOpened::Server)?;
        *lock(&self.ports) = Some(grant.ports.clone());
        *lock(&self.addresses) = grant.addresses.clone();
        let learned = targets.learn(&grant.addresses);
        lock(&self.probe_addresses).insert(spec.family, SocketAddr::new(server, grant.ports.udp));
        let host = self.uplink.server().url_host();
        let around = Surroundings {
            clock: &self.clock,
            server,
            host: &host,
            timeline,
            activity: &self.activity,
            nearest: if spec.family == Family::Ipv4 { &self.nearest[0] } else { &self.nearest[1] },
            watcher: self.privileged.watcher.as_ref(),
            echoes: &self.privileged.echoes,
        };
        match Flow::start(spec, &grant, &around) {
            Ok(flow) => {
                tracing::debug!(session = %grant.session, kind = %key.kind, family = %key.family, "opened");
                self.flows().push(Entry { key, timeline, flow });
                Ok(learned)
            }
            Err(problem) => {
                let farewell = ended(grant.session, problem.clone());
                lock(&self.collected).farewells.push(farewell);
                Err(NotOpened::Host(problem))
            }
        }
    }

    /// Further addresses of the server's probe sockets, as the latest grant told.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        lock(&self.addresses).clone()
    }

    /// Where the server takes probes, as the latest grant told.
    pub(crate) fn ports(&self) -> Option<ProbePorts> {
        lock(&self.ports).clone()
    }

    /// The server does not know these sessions: their flows end, and nothing of them is worth telling.
    pub(crate) fn forget(&self, sessions: &[SessionId]) {
        self.flows().retain(|entry| !sessions.contains(&entry.flow.log.session()));
    }

    pub(crate) fn stop_all(&self) {
        let now_ns = Clock::monotonic_ns();
        self.flows().iter_mut().for_each(|entry| entry.flow.stop(now_ns));
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut all = Totals::default();
        for entry in self.flows().iter().filter(|entry| entry.key.kind != Kind::Clock) {
            let totals = entry.flow.log.totals();
            all.sent += totals.sent;
            all.received += totals.received;
            all.send_failures += totals.send_failures;
            all.foreign += totals.foreign;
        }
        all
    }

    /// Takes what was measured of a media host; uploaded with the samples.
    pub(crate) fn keep(&self, measured: Measurement) {
        if let Err(error) = measured.check() {
            return tracing::warn!("a measurement of {} is left out: {error}", measured.target);
        }
        let mut collected = lock(&self.collected);
        if collected.records.len() >= MOST_RECORDS {
            collected.watched.missed += 1;
            return;
        }
        collected.counted += 1;
        let id = RecordId { worker: self.name.clone(), boot: self.boot, counter: collected.counted };
        collected.records.push(Record { id, instrument: self.instrument.clone(), measured });
    }

    pub(crate) fn count(&self, counts: &WatchCounts) {
        lock(&self.collected).watched.add(counts);
    }

    /// Moves what is new to the spool; ends the flows that are settled.
    pub(crate) fn collect(&self) {
        let now_ns = Clock::monotonic_ns();
        let mut sessions = Vec::new();
        self.flows().retain(|entry| {
            let close = entry.flow.is_settled(now_ns);
            sessions.extend(entry.flow.log.take(now_ns, close));
            !close
        });
        let (mut collected, mut spool) = (lock(&self.collected), lock(&self.spool));
        sessions.append(&mut collected.farewells);
        collected.lost += spool.take_dropped();
        if collected.lost > 0
            && let Some(first) = sessions.first_mut()
        {
            let lost = std::mem::take(&mut collected.lost);
            let line = format!("{lost} batches of this worker were lost: its spool was full or damaged");
            tracing::warn!("{line}");
            first.notes.push(line);
        }
        let mut uploads = batch::uploads(self.boot, &mut collected.next_batch, sessions);
        let (records, watched) = (std::mem::take(&mut collected.records), std::mem::take(&mut collected.watched));
        batch::add_records(self.boot, &mut collected.next_batch, &mut uploads, records, watched);
        for upload in uploads {
            match serde_json::to_vec(&upload) {
                Ok(bytes) => spool.append(bytes),
                Err(error) => tracing::error!("a batch cannot be written: {error}"),
            }
        }
        self.appended.notify_one();
    }

    /// Collects once a second; in pauses seldom, because uploads cost bytes as well. Does not end.
    pub(crate) async fn collect_forever(&self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut worked_ns, mut collected_ns) = (Clock::monotonic_ns(), 0);
        loop {
            ticks.tick().await;
            let now_ns = Clock::monotonic_ns();
            if self.activity.is_working(now_ns) || self.flows().iter().any(|entry| entry.flow.is_stopped()) {
                worked_ns = now_ns;
            }
            let busy = now_ns.saturating_sub(worked_ns) <= AFTERGLOW_S * SECOND;
            if busy || now_ns.saturating_sub(collected_ns) >= PAUSE_UPLOAD_S * SECOND {
                collected_ns = now_ns;
                self.collect();
            }
        }
    }

    /// Uploads whatever the spool holds, oldest first. Ends only with an error that no waiting repairs. What the server
    /// answers goes to `answers`.
    pub(crate) async fn upload_forever(&self, answers: &mpsc::UnboundedSender<Uploaded>) -> WorkerError {
        let mut backoff = Backoff::default();
        let mut away = false;
        loop {
            let (oldest, held) = {
                let mut spool = lock(&self.spool);
                (spool.oldest(), spool.bytes())
            };
            let Some((ticket, bytes)) = oldest else {
                self.appended.notified().await;
                continue;
            };
            let waiting = held.saturating_sub(bytes.len() as u64);
            match self.uplink.upload_of(bytes, waiting).await {
                Ok(answer) => {
                    lock(&self.spool).done(ticket);
                    if std::mem::take(&mut away) {
                        tracing::info!("the server is back");
                    }
                    backoff.reset();
                    // Nobody listens while the worker ends.
                    let _ = answers.send(answer);
                }
                // A changed certificate is somebody in between, or a mistake that will be repaired: nothing was told to
                // them, so it is waited out.
                Err(error) if error.is_transient() || matches!(error, WorkerError::WrongFingerprint { .. }) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!("{error}; measuring goes on and is kept for later");
                    }
                    tokio::time::sleep(backoff.next()).await;
                }
                Err(error @ WorkerError::Refused { .. }) => {
                    tracing::warn!("a batch was refused and is given up: {error}");
                    lock(&self.spool).done(ticket);
                    lock(&self.collected).lost += 1;
                }
                Err(error) => return error,
            }
        }
    }

    /// Collects until all flows have ended, then waits until all is uploaded; both at most so long. True if it is.
    pub(crate) async fn finish(&self, settle: Duration, upload: Duration) -> Result<bool, WorkerError> {
        self.stop_all();
        let (answers, _unheard) = mpsc::unbounded_channel();
        let settled = async {
            let end = tokio::time::Instant::now() + settle;
            while !self.flows().is_empty() && tokio::time::Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let now_ns = Clock::monotonic_ns();
                // An upload takes the server a while, and one batch as long as another: few of them.
                if self.flows().iter().all(|entry| entry.flow.is_settled(now_ns)) {
                    self.collect();
                }
            }
            self.collect();
            let end = tokio::time::Instant::now() + upload;
            while !lock(&self.spool).is_empty() && tokio::time::Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = settled => Ok(lock(&self.spool).is_empty() && self.flows().is_empty()),
            error = self.upload_forever(&answers) => Err(error),
        }
    }
}

fn ended(session: SessionId, note: String) -> SessionUpload {
    SessionUpload {
        session,
        sent: SentColumns::default(),
        received: ReceivedColumns::default(),
        settled_through: None,
        closed: true,
        send_failures: 0,
        foreign: 0,
        notes: vec![note],
        local_queue: Vec::new(),
        transfers: Vec::new(),
    }
}
