//! The one thread that owns the store: joins halves into samples, follows the workers' clocks, commits a few times a second.
//!
//! Everything a tick learned goes into one transaction: finished samples, halves still waiting for their other half, how far
//! each stream is resolved, and which batches of workers were taken. So a kill at any moment loses at most what came after
//! the last commit, and counts nothing twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use model::control::{SessionUpload, Upload, Uploaded};
use model::{BootId, ReceivedHalf, SentHalf, SessionId, UnixNanos, WorkerName};
use store::{Commit, Seen, SessionNote, Store, WorkerSamples};
use tokio::sync::oneshot;

use crate::ServerError;
use crate::bulk::plausible_transfers;
use crate::counters::{self, Counters};
use crate::experiments::Experiments;
use crate::media;
use crate::observe::Observation;
use crate::sessions::SessionTable;
use crate::stream::SessionStreams;

const TICK: Duration = Duration::from_millis(250);
/// The longest that an upload waits for its commit to begin.
const WAITING: Duration = Duration::from_millis(50);
/// Observations kept in memory while nothing can be stored: about 10 MB of them.
const MOST_WHILE_HELD: usize = 200_000;
/// A session whose worker has not been heard of for so long is given up.
const FORSAKEN: Duration = Duration::from_secs(2 * 24 * 3600);
const MAINTENANCE: Duration = Duration::from_secs(30);
const CLOCK_ROWS: Duration = Duration::from_secs(10);

/// Answer to an upload: taken, or why not.
pub(crate) type UploadAnswer = oneshot::Sender<Result<Uploaded, UploadRefused>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadRefused {
    /// The message contradicts itself.
    Malformed,
    /// Nothing can be stored now.
    Unavailable,
}

pub(crate) enum Message {
    Observed(Vec<Observation>),
    Upload {
        worker: WorkerName,
        upload: Upload,
        /// What the worker holds behind it.
        waiting_bytes: Option<u64>,
        answer: UploadAnswer,
    },
    /// Something to be done with the store, in order with all the rest.
    Call(Box<dyn FnOnce(&mut Ingest) + Send>),
    Stop,
}

/// A commit that the store refused, kept to be tried again, and who waits for it.
#[derive(Default)]
struct Batch {
    commit: Commit,
    waiting: Vec<(UploadAnswer, Uploaded)>,
}

pub(crate) struct Ingest {
    pub(crate) store: Store,
    pub(crate) sessions: Arc<SessionTable>,
    pub(crate) streams: HashMap<SessionId, SessionStreams>,
    pub(crate) task_revision: u64,
    pub(crate) experiments: Experiments,
    counters: Arc<Counters>,
    clock: net::Clock,
    clocks: HashMap<(WorkerName, BootId), measure::clock::ClockTracker>,
    last_batch: HashMap<(WorkerName, BootId), u64>,
    next: Batch,
    held: Option<Batch>,
    observed_while_held: usize,
    complained: bool,
    maintained: Instant,
    seal_failed: Option<Instant>,
    clock_rows: Instant,
}

impl Ingest {
    /// Takes up what an earlier run of the server left: open sessions and halves that had not met.
    pub(crate) fn new(
        store: Store,
        sessions: Arc<SessionTable>,
        counters: Arc<Counters>,
        clock: net::Clock,
    ) -> Result<Ingest, ServerError> {
        let mut ingest = Ingest {
            task_revision: store.task_revision()?,
            store,
            sessions,
            streams: HashMap::new(),
            experiments: Experiments::default(),
            counters,
            clock,
            clocks: HashMap::new(),
            last_batch: HashMap::new(),
            next: Batch::default(),
            held: None,
            observed_while_held: 0,
            complained: false,
            maintained: Instant::now(),
            seal_failed: None,
            clock_rows: Instant::now(),
        };
        ingest.experiments.kept.load(ingest.store.verdicts()?);
        ingest.restore()?;
        Ok(ingest)
    }

    fn restore(&mut self) -> Result<(), ServerError> {
        let now_ns = net::Clock::monotonic_ns();
        let resolved = self.store.resolved()?;
        for open in self.store.open_sessions()? {
            self.sessions.insert(&open.info, &open.keys, &open.plan, now_ns);
            self.streams.insert(open.info.session, SessionStreams::restore(open.info, &resolved));
        }
        for pending in self.store.pending()? {
            if let Some(streams) = self.streams.get_mut(&pending.session) {
                streams.replay(&pending);
            }
        }
        for streams in self.streams.values_mut() {
            streams.end_of_replay();
        }
        if !self.streams.is_empty() {
            tracing::info!(sessions = self.streams.len(), "went on with the sessions of the earlier run");
        }
        Ok(())
    }

    /// Runs until told to stop or until nobody can send any more.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            match messages.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(Message::Observed(observations)) => self.observe(observations),
                Ok(Message::Upload { worker, upload, waiting_bytes, answer }) => {
                    self.upload(worker, upload, waiting_bytes, answer);
                }
                Ok(Message::Call(call)) => call(&mut self),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Somebody waits for an answer: the commit comes soon, with what else arrives until then.
            if !self.next.waiting.is_empty() {
                next_tick = next_tick.min(Instant::now() + WAITING);
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            }
        }
        // What the packet paths still had, then the last commit.
        while let Ok(message) = messages.try_recv() {
            if let Message::Observed(observations) = message {
                self.observe(observations);
            }
        }
        self.tick();
    }

    fn observe(&mut self, observations: Vec<Observation>) {
        if self.held.is_some() {
            self.observed_while_held += observations.len();
            if self.observed_while_held > MOST_WHILE_HELD {
                return counters::add(&self.counters.overflowed, observations.len() as u64);
            }
        }
        for observation in observations {
            match observation {
                Observation::Received(session, half) => {
                    if let Some(streams) = self.streams.get_mut(&session) {
                        streams.observed_received(half);
                    }
                }
                Observation::Sent(session, half) => {
                    if let Some(streams) = self.streams.get_mut(&session) {
                        streams.observed_sent(half);
                    }
                }
                Observation::Peer(session, from, to) => {
                    if let Some(streams) = self.streams.get_mut(&session) {
                        streams.info.from = Some(from.to_string());
                        streams.info.to = to.map(|to| to.to_string());
                        let (from, to) = (streams.info.from.clone(), streams.info.to.clone());
                        self.next.commit.notes.push(SessionNote {
                            session,
                            from,
                            to,
                            notes: Vec::new(),
                            local_queue: Vec::new(),
                            transfers: Vec::new(),
                        });
                    }
                }
            }
        }
    }

    fn upload(&mut self, worker: WorkerName, upload: Upload, waiting_bytes: Option<u64>, answer: UploadAnswer) {
        let key = (worker, upload.boot);
        let last = match self.last_batch.get(&key) {
            Some(last) => *last,
            None => match self.store.last_batch(&key.0, key.1) {
                Ok(last) => last.unwrap_or(0),
                Err(_) => return drop(answer.send(Err(UploadRefused::Unavailable))),
            },
        };
        let unknown = |streams: &HashMap<SessionId, SessionStreams>| {
            let own = |id: &SessionId| streams.get(id).is_some_and(|s| s.info.worker == key.0);
            upload.sessions.iter().map(|s| s.session).filter(|id| !own(id)).collect::<Vec<_>>()
        };
        let mut reply =
            Uploaded { batch: upload.batch, unknown_sessions: Vec::new(), task_revision: self.task_revision };
        if upload.batch <= last {
            // Taken before, perhaps not yet on disk: the answer waits for the commit that is under way.
            let batch = self.held.as_mut().unwrap_or(&mut self.next);
            return batch.waiting.push((answer, reply));
        }
        if self.held.is_some() {
            return drop(answer.send(Err(UploadRefused::Unavailable)));
        }
        let Some(told) = upload.sessions.iter().map(halves).collect::<Option<Vec<_>>>() else {
            return drop(answer.send(Err(UploadRefused::Malformed)));
        };
        reply.unknown_sessions = unknown(&self.streams);
        if last == 0 {
            self.close_earlier_boots(&key.0, key.1);
        }
        for (session, (sent, received)) in upload.sessions.iter().zip(told) {
            if let Some(streams) = self.streams.get_mut(&session.session).filter(|s| s.info.worker == key.0) {
                let implausible = streams.uploaded(session, sent, received, self.clock.now());
                counters::add(&self.counters.implausible, implausible);
                for note in session.notes.iter().take(16) {
                    let note: String = note.chars().filter(|c| !c.is_control()).take(300).collect();
                    if !streams.info.notes.contains(&note) && streams.info.notes.len() < 32 {
                        streams.info.notes.push(note.clone());
                        let notes = vec![note];
                        self.next.commit.notes.push(SessionNote {
                            session: session.session,
                            from: None,
                            to: None,
                            notes,
                            local_queue: Vec::new(),
                            transfers: Vec::new(),
                        });
                    }
                }
                if !session.local_queue.is_empty() {
                    let mut local_queue = session.local_queue.clone();
                    local_queue.truncate(256);
                    self.next.commit.notes.push(SessionNote {
                        session: session.session,
                        from: None,
                        to: None,
                        notes: Vec::new(),
                        local_queue,
                        transfers: Vec::new(),
                    });
                }
                let transfers = plausible_transfers(&streams.info, &session.transfers);
                if !transfers.is_empty() {
                    self.next.commit.notes.push(SessionNote {
                        session: session.session,
                        from: None,
                        to: None,
                        notes: Vec::new(),
                        local_queue: Vec::new(),
                        transfers,
                    });
                }
            }
        }
        let (records, implausible) = media::plausible(&key.0, upload.records);
        self.next.commit.records.extend(records);
        counters::add(&self.counters.implausible, implausible);
        self.next.commit.counters.extend(media::counted(&upload.watched));
        self.next.commit.batches.push((key.0.clone(), key.1, upload.batch));
        self.next.commit.seen.push(Seen { worker: key.0.clone(), at: self.clock.now(), waiting_bytes });
        self.last_batch.insert(key, upload.batch);
        self.next.waiting.push((answer, reply));
    }

    /// A worker uploads what an earlier start left before anything of the new one: nothing more comes of the earlier sessions.
    ///
    /// The first batch of a start may come after the next start has opened its sessions (the server was away in between), so
    /// only what was opened before this start's own sessions is closed.
    fn close_earlier_boots(&mut self, worker: &WorkerName, boot: BootId) {
        let own = |streams: &&SessionStreams| streams.info.worker == *worker && streams.info.boot == boot;
        let Some(begun) = self.streams.values().filter(own).map(|streams| streams.info.started_at).min() else {
            return;
        };
        let mut is_newest = true;
        for streams in self.streams.values_mut().filter(|s| s.info.worker == *worker && s.info.boot != boot) {
            if streams.info.started_at < begun {
                streams.forsake();
            } else {
                is_newest = false;
            }
        }
        if !is_newest {
            return;
        }
        self.clocks.retain(|(name, of), _| name != worker || *of == boot);
        self.last_batch.retain(|(name, of), _| name != worker || *of == boot);
    }

    fn tick(&mut self) {
        if let Some(mut held) = self.held.take()
            && !self.commit(&mut held)
        {
            self.held = Some(held);
            return;
        }
        if std::mem::take(&mut self.observed_while_held) > MOST_WHILE_HELD {
            // What was dropped was seen and not kept: such probes are unobserved, not lost.
            self.streams.values_mut().for_each(SessionStreams::end_of_replay);
        }
        let now = self.clock.now();
        self.harvest(now);
        for (name, count) in self.counters.take() {
            self.next.commit.counters.push((name, count));
        }
        if self.clock_rows.elapsed() >= CLOCK_ROWS {
            self.clock_rows = Instant::now();
            self.note_clocks(now);
            let verdicts = self.experiments.verdicts(now);
            self.next.commit.verdicts.extend(verdicts);
        }
        let mut batch = std::mem::take(&mut self.next);
        if (batch.commit != Commit::default() || !batch.waiting.is_empty()) && !self.commit(&mut batch) {
            self.held = Some(batch);
            return;
        }
        self.seal(now);
        if self.maintained.elapsed() >= MAINTENANCE {
            self.maintained = Instant::now();
            self.maintain(now);
        }
    }

    /// Takes what is finished out of every stream, with its corrected delay.
    fn harvest(&mut self, now: UnixNanos) {
        let mut ended = Vec::new();
        for (id, streams) in &mut self.streams {
            if streams.idle() > FORSAKEN {
                streams.forsake();
            }
            if !streams.take_dirty() {
                continue;
            }
            let tracker = self.clocks.entry((streams.info.worker.clone(), streams.info.boot)).or_default();
            let samples = streams.drain(tracker);
            self.experiments.push(&streams.info, samples.iter().map(|stored| stored.sample));
            if !samples.is_empty() {
                if streams.info.experiment.is_some() && !self.next.commit.not_summed.contains(id) {
                    self.next.commit.not_summed.push(*id);
                }
                self.next.commit.samples.push(WorkerSamples { worker: streams.info.worker.clone(), samples });
            }
            self.next.commit.resolved.extend(streams.watermarks());
            self.next.commit.pending_add.extend(streams.take_pending());
            let counted = streams.take_counters();
            counters::add(&self.counters.unmatched, counted.unmatched);
            counters::add(&self.counters.unobserved, counted.unobserved);
            counters::add(&self.counters.late, counted.late);
            if streams.is_closed() {
                ended.push(*id);
            }
        }
        for id in ended {
            self.streams.remove(&id);
            self.experiments.end(id);
            self.sessions.remove(id);
            self.next.commit.ended.push((id, now));
        }
    }

    fn note_clocks(&mut self, now: UnixNanos) {
        for ((worker, _), tracker) in &mut self.clocks {
            if let Some(model) = tracker.model() {
                let summary = model.summary();
                self.next.commit.clocks.push(store::ClockRow {
                    worker: worker.clone(),
                    at: now,
                    offset_ns: (summary.offset_ms * 1e6) as i64,
                    uncertainty_ns: (summary.uncertainty_ms * 1e6) as i64,
                    skew_ppm: summary.skew_ppm,
                    steps: summary.steps,
                });
            }
        }
    }

    /// True if the batch is on disk and everyone who waited knows.
    fn commit(&mut self, batch: &mut Batch) -> bool {
        match self.store.commit(&batch.commit) {
            Ok(()) => {
                if std::mem::take(&mut self.complained) {
                    tracing::info!("storing again");
                }
                for (answer, uploaded) in batch.waiting.drain(..) {
                    let _ = answer.send(Ok(uploaded));
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::error!(%error, "cannot store; workers keep their data and will send it again");
                }
                for (answer, _) in batch.waiting.drain(..) {
                    let _ = answer.send(Err(UploadRefused::Unavailable));
                }
                false
            }
        }
    }

    /// Looks every tick, so that a busy server's segments are no larger than an idle one's; after a failure less often.
    fn seal(&mut self, now: UnixNanos) {
        if self.seal_failed.is_some_and(|at| at.elapsed() < MAINTENANCE) {
            return;
        }
        self.seal_failed = None;
        match self.store.seal(now) {
            Ok(report) if report.samples > 0 => {
                // Sealing needs many megabytes for a moment.
                net::memory::give_back();
                tracing::debug!(samples = report.samples, "sealed a segment");
            }
            Ok(_) => {}
            Err(error) => {
                self.seal_failed = Some(Instant::now());
                tracing::error!(%error, "cannot seal samples into a segment");
            }
        }
    }

    fn maintain(&mut self, now: UnixNanos) {
        if let Err(error) = self.store.retain(now) {
            tracing::error!(%error, "cannot delete what is past its time");
        }
    }
}

/// `None` where the columns contradict each other.
fn halves(session: &SessionUpload) -> Option<(Vec<SentHalf>, Vec<ReceivedHalf>)> {
    Some((session.sent.halves().ok()?, session.received.halves().ok()?))
}
