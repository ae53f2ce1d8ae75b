//! The permanent worker: keeps the flows that its tasks ask for, for ever, whatever the server does.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::control::Uploaded;
use model::{Family, Kind, TaskId, TaskSpec};
use net::Clock;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admission::admit;
use crate::backoff::Backoff;
use crate::capture::Watcher;
use crate::config::Prepared;
use crate::credential;
use crate::duty::{self, Cycle};
use crate::error::WorkerError;
use crate::flow::FlowSpec;
use crate::flow::plan::Timeline;
use crate::handed::{self, Handed};
use crate::media;
use crate::outlook;
use crate::shaping::{self, Job};
use crate::spool::Spool;
use crate::station::{Entry, FlowKey, NotOpened, Privileged, Purpose, Station};
use crate::targets::Targets;

/// How long the last probes may take to settle, and the last batches to be uploaded; the rest stays in the spool.
const SETTLE: Duration = Duration::from_secs(8);
const LAST_UPLOAD: Duration = Duration::from_secs(3);
/// A kind this host or the server refused is asked for again after so long.
const REFUSED_AGAIN: Duration = Duration::from_secs(300);
/// Tasks are asked for so often while nothing is measured, since then no upload brings news.
const IDLE_POLL: Duration = Duration::from_secs(10);
/// And whether tasks came by another way so often.
const HANDED_POLL: Duration = Duration::from_secs(10);

/// Runs until `shutdown`, then ends its sessions in order. Comes back earlier only with an error that no waiting repairs.
pub async fn run(prepared: Prepared, shutdown: impl Future<Output = ()>) -> Result<(), WorkerError> {
    let Prepared { config, capture, echoes, tracer, watch, pings } = prepared;
    let _claimed = credential::claim(&config.data_dir)?;
    tokio::pin!(shutdown);
    let (uplink, name) = tokio::select! {
        admitted = admit(&config) => admitted?,
        () = &mut shutdown => return Ok(()),
    };
    let spool = Spool::open(&config.data_dir.join("spool"), config.spool_bytes)?;
    let privileged = Privileged { watcher: capture.map(Watcher::start).transpose()?, echoes };
    let station = Station::new(uplink, name.clone(), config.clock.clone(), privileged, spool)?;
    tracing::info!("worker {name} of {}", station.uplink.server());
    let (answers, heard) = mpsc::unbounded_channel();
    let jobs = Mutex::new(Vec::new());
    let handed = Handed::new(&config.data_dir);
    let mut manager = Manager::new(&station, &jobs, config.families.clone(), heard, handed);
    let error = tokio::select! {
        error = manager.manage() => Some(error),
        error = station.upload_forever(&answers) => Some(error),
        () = station.collect_forever() => None,
        () = shaping::trains_forever(&station, &jobs) => None,
        () = outlook::look_forever(&station, tracer) => None,
        error = media::run_forever(&station, watch, pings, config.media.as_ref()) => Some(error),
        () = &mut shutdown => None,
    };
    match error {
        // Kept for another start with another credential.
        Some(error) => {
            station.collect();
            Err(error)
        }
        None => {
            tracing::info!("ending: waiting for the last answers");
            if !station.finish(SETTLE, LAST_UPLOAD).await? {
                tracing::warn!("the server is away: what is left is uploaded at the next start");
            }
            Ok(())
        }
    }
}

/// A task as it is carried out here.
#[derive(Clone, Debug)]
struct Running {
    id: Option<TaskId>,
    spec: TaskSpec,
    begin_ns: u64,
    ended: bool,
}

impl Running {
    fn new(id: Option<TaskId>, spec: TaskSpec) -> Running {
        Running { id, spec, begin_ns: Clock::monotonic_ns(), ended: false }
    }

    /// Time left, `None` without end.
    fn left(&self) -> Option<Duration> {
        match self.spec.duration {
            model::Duration::Forever => None,
            model::Duration::Seconds(seconds) => {
                let end = self.begin_ns.saturating_add(u64::from(seconds) * 1_000_000_000);
                Some(Duration::from_nanos(end.saturating_sub(Clock::monotonic_ns())))
            }
        }
    }
}

struct Wanted {
    key: FlowKey,
    spec: FlowSpec,
    timeline: Timeline,
}

struct Manager<'a> {
    station: &'a Station,
    /// Tasks that send trains from time to time.
    jobs: &'a Mutex<Vec<Job>>,
    families: Vec<Family>,
    heard: mpsc::UnboundedReceiver<Uploaded>,
    /// Tasks that reach this host by another way than the server's API.
    handed: Handed,
    tasks: Option<Vec<Running>>,
    targets: Option<Targets>,
    revision: Option<u64>,
    stale: bool,
    backoff: Backoff,
    /// Flows not to be tried before their time.
    refused: HashMap<FlowKey, Instant>,
    /// What this host cannot do, said once.
    told: HashSet<String>,
    described: Option<String>,
    complained: bool,
}

impl<'a> Manager<'a> {
    fn new(
        station: &'a Station,
        jobs: &'a Mutex<Vec<Job>>,
        families: Vec<Family>,
        heard: mpsc::UnboundedReceiver<Uploaded>,
        handed: Handed,
    ) -> Manager<'a> {
        Manager {
            station,
            jobs,
            families,
            heard,
            handed,
            tasks: None,
            targets: None,
            revision: None,
            stale: true,
            backoff: Backoff::default(),
            refused: HashMap::new(),
            told: HashSet::new(),
            described: None,
            complained: false,
        }
    }

    async fn manage(&mut self) -> WorkerError {
        loop {
            let wake = match self.step().await {
                Ok(wake) => {
                    self.backoff.reset();
                    self.complained = false;
                    wake
                }
                Err(error) if error.is_transient() || (self.tasks.is_some() && is_mistaken(&error)) => {
                    // The uploads say as well that the server is away; before the first one nobody else does.
                    if self.tasks.is_none() && !std::mem::replace(&mut self.complained, true) {
                        tracing::warn!("{error}; trying again until it answers");
                    }
                    self.backoff.next()
                }
                Err(error) => return error,
            };
            let sleep = tokio::time::sleep(wake.min(HANDED_POLL));
            tokio::select! {
                answer = self.heard.recv() => {
                    if let Some(answer) = answer {
                        self.hear(&answer);
                    }
                }
                () = sleep => {}
            }
            // The server's own list counts wherever it can be had.
            self.stale |= self.handed.has_changed();
        }
    }

    fn hear(&mut self, answer: &Uploaded) {
        if self.revision != Some(answer.task_revision) {
            // The first one tells nothing: the tasks were just asked for. But they may have changed in between.
            self.stale = true;
            self.revision = Some(answer.task_revision);
        }
        if !answer.unknown_sessions.is_empty() {
            tracing::debug!("the server does not know {} sessions (any more)", answer.unknown_sessions.len());
            self.station.forget(&answer.unknown_sessions);
        }
    }

    /// Brings what runs in line with what is asked for. Returns when to look again.
    async fn step(&mut self) -> Result<Duration, WorkerError> {
        if self.targets.is_none() || self.stale {
            let mut fresh = Targets::resolve(self.station.uplink.server()).await?;
            if let Some(known) = &self.targets {
                // What sessions told of further addresses still holds.
                fresh.learn(known.addresses());
            }
            self.targets = Some(fresh);
        }
        if self.stale {
            let tasks = match self.station.uplink.tasks().await {
                Ok(list) => {
                    // The server's own list counts wherever it can be had.
                    if self.handed.take().is_some_and(|tasks| !tasks.is_empty()) {
                        self.handed.answer(&format!("the server answers here; its {} task(s) count", list.tasks.len()));
                    }
                    list.tasks
                }
                Err(error) if error.is_transient() => match self.handed.take() {
                    Some(tasks) => {
                        tracing::info!("the server is away; {} task(s) came by another way", tasks.len());
                        self.adopt(tasks.clone());
                        // Asked for again until the server answers.
                        if let Some(mut targets) = self.targets.take() {
                            let _ = self.reconcile(&mut targets).await;
                            self.targets = Some(targets);
                        }
                        let line = handed::outcome(&tasks, &self.running(), &error.to_string());
                        tracing::info!("{line}");
                        self.handed.answer(&line);
                        return Err(error);
                    }
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            };
            self.stale = false;
            self.refused.clear();
            self.adopt(tasks);
        }
        let Some(mut targets) = self.targets.take() else { return Ok(IDLE_POLL) };
        let reconciled = self.reconcile(&mut targets).await;
        self.targets = Some(targets);
        reconciled
    }

    fn adopt(&mut self, list: Vec<model::Task>) {
        let before = self.tasks.take().unwrap_or_default();
        let mut tasks: Vec<Running> = list
            .into_iter()
            .filter(|task| match task.spec.check() {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!("task {}: {error}; it is left out", task.id);
                    false
                }
            })
            .map(|task| Running::new(Some(task.id), task.spec))
            .collect();
        if tasks.is_empty() {
            tasks.push(Running::new(None, TaskSpec::unattended()));
        }
        for task in &mut tasks {
            if let Some(same) = before.iter().find(|old| old.id == task.id && old.spec == task.spec) {
                *task = same.clone();
            } else if let Some(id) = &task.id {
                tracing::info!("task {id} begins");
            }
        }
        self.tasks = Some(tasks);
    }

    /// Tasks of which something is being measured.
    fn running(&self) -> HashSet<TaskId> {
        let flows = self.station.flows();
        flows.iter().filter(|entry| !entry.flow.is_stopped()).filter_map(|entry| entry.key.task.clone()).collect()
    }

    /// What should run now, clocks first.
    fn wanted(&mut self, targets: &Targets) -> Vec<Wanted> {
        let (mut clocks, mut flows, mut timelines) = (Vec::<Family>::new(), Vec::new(), Vec::new());
        let mut jobs = Vec::new();
        let ports = self.station.ports();
        let always = Timeline { begin_ns: 0, cycle: Cycle::CONTINUOUS };
        for task in self.tasks.iter_mut().flatten() {
            if !task.ended && task.left().is_some_and(|left| left.is_zero()) {
                task.ended = true;
                if let Some(id) = &task.id {
                    tracing::info!("task {id} is done");
                }
            }
            if task.ended {
                continue;
            }
            let asked = if task.spec.families.is_empty() { &self.families } else { &task.spec.families };
            let mut families = targets.usable(asked);
            families.retain(|family| self.families.is_empty() || self.families.contains(family));
            let cycle = duty::plan(&task.spec, &families);
            let timeline = Timeline { begin_ns: task.begin_ns, cycle };
            timelines.push(timeline);
            if task.id.is_none() {
                describe(&mut self.described, duty::describe_default(&task.spec, cycle));
            }
            let count = families.len();
            for family in families {
                // The ports are known with the clock's session, which comes first.
                if let Some(ports) = ports.as_ref().filter(|_| task.spec.shaping.is_some()) {
                    jobs.push(Job { task: task.id.clone(), spec: task.spec.clone(), family, families: count });
                    for spec in shaping::watch(&task.spec, ports, family, count, self.station.boot.0) {
                        let (id, kind) = (task.id.clone(), spec.kind);
                        let key = FlowKey { task: id, kind, family, purpose: Purpose::Watch };
                        flows.push(Wanted { key, spec, timeline: always });
                    }
                }
                if !clocks.contains(&family) {
                    clocks.push(family);
                }
                for kind in task.spec.kinds.iter().filter(|kind| **kind != Kind::Stamp) {
                    let key = FlowKey { task: task.id.clone(), kind: *kind, family, purpose: Purpose::Measure };
                    flows.push(Wanted { key, spec: FlowSpec::of_task(&task.spec, *kind, family), timeline });
                }
            }
        }
        self.station.activity.replace(timelines);
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = jobs;
        let clock = |family| Wanted {
            key: FlowKey { task: None, kind: Kind::Clock, family, purpose: Purpose::Measure },
            spec: FlowSpec::clock(family),
            timeline: always,
        };
        clocks.into_iter().map(clock).chain(flows).collect()
    }

    async fn reconcile(&mut self, targets: &mut Targets) -> Result<Duration, WorkerError> {
        let wanted = self.wanted(targets);
        let now_ns = Clock::monotonic_ns();
        let missing: Vec<Wanted> = {
            let mut flows = self.station.flows();
            let managed = |entry: &&mut Entry| !entry.flow.is_stopped() && entry.key.purpose != Purpose::Step;
            for entry in flows.iter_mut().filter(managed) {
                let same = |want: &Wanted| want.spec == entry.flow.spec && want.timeline == entry.timeline;
                if !wanted.iter().any(|want| want.key == entry.key && same(want)) {
                    entry.flow.stop(now_ns);
                }
            }
            let live = |want: &Wanted| flows.iter().any(|entry| entry.key == want.key && !entry.flow.is_stopped());
            wanted.into_iter().filter(|want| !live(want)).collect()
        };
        let knew_ports = self.station.ports().is_some();
        for want in missing {
            if self.refused.get(&want.key).is_some_and(|until| *until > Instant::now()) {
                continue;
            }
            let key = want.key.clone();
            match self.station.open(want.key, want.spec, want.timeline, targets).await {
                // Another family changes what the others may use of the bytes a day: think again before the next.
                Ok(true) => return Ok(Duration::ZERO),
                Ok(false) => {}
                Err(NotOpened::Server(error)) if error.is_transient() => return Err(error),
                Err(NotOpened::Server(error @ WorkerError::Refused { .. })) => {
                    tracing::warn!("{} over {}: {error}", key.kind, key.family);
                    self.refused.insert(key, Instant::now() + REFUSED_AGAIN);
                }
                Err(NotOpened::Server(error)) => return Err(error),
                Err(NotOpened::Host(problem)) => {
                    let line = format!("{} over {} is not measured: {problem}", key.kind, key.family);
                    if self.told.insert(line.clone()) {
                        tracing::warn!("{line}");
                    }
                    self.refused.insert(key, Instant::now() + REFUSED_AGAIN);
                }
            }
        }
        // What needs the server's ports to be known was left out.
        Ok(if knew_ports { self.next_look() } else { Duration::ZERO })
    }

    fn next_look(&mut self) -> Duration {
        let mut next = REFUSED_AGAIN;
        for task in self.tasks.iter().flatten().filter(|task| !task.ended) {
            next = next.min(task.left().unwrap_or(next));
        }
        if self.station.flows().is_empty() {
            let all_ended = self.tasks.iter().flatten().all(|task| task.ended);
            let line = if all_ended { "all tasks are done; waiting for others" } else { "nothing can be measured now" };
            describe(&mut self.described, line.to_owned());
            self.stale = true;
            next = next.min(IDLE_POLL);
        }
        next
    }
}

/// Says a line once, until another one was said.
fn describe(described: &mut Option<String>, line: String) {
    if described.as_ref() != Some(&line) {
        tracing::info!("{line}");
        *described = Some(line);
    }
}

/// The server was reached before, and now somebody else answers.
fn is_mistaken(error: &WorkerError) -> bool {
    matches!(error, WorkerError::WrongFingerprint { .. })
}
