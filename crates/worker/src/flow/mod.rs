//! A flow: one session's threads, sockets and log. Dedicated threads with small stacks, because a timer of the async
//! runtime is late by milliseconds.

mod connect;
mod datagram;
mod echo;
pub(crate) mod experiment;
pub(crate) mod link;
pub(crate) mod log;
#[cfg(test)]
mod loopback;
#[cfg(test)]
mod loopback_transfers;
pub(crate) mod nearest;
pub(crate) mod plan;
pub(crate) mod stop;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use measure::Schedule;
use model::control::SessionGrant;
use model::shaping::{Design, Experiment};
use model::{DirectionChoice, Family, Kind, TaskSpec, Tos};
use net::Clock;

use crate::capture::Watcher;
use crate::config::EchoSockets;
use crate::duty::{self, CLOCK_PAYLOAD};
use experiment::{Bench, Course};
use link::{Keys, Link};
use log::{LogOptions, SETTLE_NS, SessionLog};
use nearest::Nearest;
use plan::{Activity, Plan, Timeline};
use stop::Flag;

/// Of every thread here: nothing recurses and packets live on the heap.
pub(crate) const STACK: usize = 128 * 1024;
/// Beyond settling: a connection that was just begun when the flow was stopped.
const CLOSE_PATIENCE_NS: u64 = SETTLE_NS + 4_500_000_000;

/// What a session measures, as the worker asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FlowSpec {
    pub kind: Kind,
    pub family: Family,
    pub direction: DirectionChoice,
    pub classes: Vec<Tos>,
    pub rate_pps: f64,
    pub size: u16,
    pub sni: String,
    /// What its probes are compared for; their kinds, classes and ports are those of its arms.
    pub experiment: Option<Experiment>,
    /// Of pairs, at most; a budget's bound.
    pub rounds: Option<u32>,
}

impl FlowSpec {
    pub(crate) fn of_task(spec: &TaskSpec, kind: Kind, family: Family) -> FlowSpec {
        FlowSpec {
            kind,
            family,
            direction: if kind == Kind::Icmp { DirectionChoice::Both } else { spec.direction },
            classes: spec.classes(kind),
            rate_pps: duty::rate_of(kind, spec),
            size: spec.size,
            sni: spec.sni.clone(),
            experiment: None,
            rounds: None,
        }
    }

    /// Pairs or trains; the arms of one experiment all go over UDP or all over TCP.
    pub(crate) fn experiment(
        experiment: Experiment,
        rounds: Option<u32>,
        family: Family,
        direction: DirectionChoice,
        sni: &str,
    ) -> FlowSpec {
        let is_stream = experiment.arms().any(|arm| arm.payload.is_stream());
        FlowSpec {
            kind: if is_stream { Kind::Http } else { Kind::Udp },
            family,
            direction,
            classes: experiment.classes(),
            rate_pps: experiment.rate_pps(),
            size: experiment.size(),
            sni: sni.to_owned(),
            experiment: Some(experiment),
            rounds,
        }
    }

    pub(crate) fn clock(family: Family) -> FlowSpec {
        FlowSpec {
            kind: Kind::Clock,
            family,
            direction: DirectionChoice::Both,
            classes: vec![Tos::default()],
            rate_pps: 20.0,
            size: CLOCK_PAYLOAD,
            sni: String::new(),
            experiment: None,
            rounds: None,
        }
    }
}

/// What a flow needs besides its grant.
pub(crate) struct Surroundings<'a> {
    pub clock: &'a Clock,
    pub server: IpAddr,
    /// The server as an HTTP request names it.
    pub host: &'a str,
    pub timeline: Timeline,
    pub activity: &'a Arc<Activity>,
    pub nearest: &'a Arc<Nearest>,
    pub watcher: Option<&'a Watcher>,
    pub echoes: &'a EchoSockets,
}

/// Dropped, it stops without settling.
#[derive(Debug)]
pub(crate) struct Flow {
    pub spec: FlowSpec,
    pub log: Arc<SessionLog>,
    pub course: Arc<Course>,
    stop_sending: Arc<Flag>,
    stop_receiving: Arc<Flag>,
    stopped_ns: Option<u64>,
}

impl Flow {
    /// Opens the socket and starts the threads. The error says what this host cannot do.
    pub(crate) fn start(spec: FlowSpec, grant: &SessionGrant, around: &Surroundings<'_>) -> Result<Flow, String> {
        let keys = Keys::of(grant).map_err(|error| error.to_string())?;
        let port = match spec.kind {
            Kind::Rtp | Kind::Udp | Kind::Clock => grant.ports.udp,
            Kind::Dns => grant.ports.dns,
            Kind::Http | Kind::Tls => grant.ports.tcp,
            Kind::Icmp | Kind::Stamp => 0,
        };
        let options = LogOptions {
            answers_only: spec.direction == DirectionChoice::Down,
            await_answer: spec.kind == Kind::Dns && spec.direction.down(),
        };
        let log = Arc::new(SessionLog::new(grant.session, options));
        let keys = Arc::new(keys);
        let link = |kind: Kind, peer: SocketAddr, random_stream: Option<usize>| Link {
            kind,
            family: spec.family,
            direction: spec.direction,
            session: grant.session.0,
            keys: keys.clone(),
            seed: grant.seed,
            peer,
            size: spec.size,
            host: around.host.to_owned(),
            sni: spec.sni.clone(),
            random_stream,
            clock: around.clock.clone(),
            log: log.clone(),
            nearest: around.nearest.clone(),
        };
        let course = Arc::new(Course::new(spec.rounds));
        let bench = match &spec.experiment {
            Some(experiment) => Some(Bench::new(
                experiment.clone(),
                course.clone(),
                spec.direction,
                around.server,
                |payload, peer, random_stream| link(payload.kind(), peer, random_stream),
            )?),
            None => None,
        };
        let link = Arc::new(link(spec.kind, SocketAddr::new(around.server, port), None));
        let now_ns = Clock::monotonic_ns();
        let plan = match spec.kind {
            Kind::Clock => Plan::clock(around.activity.clone(), now_ns),
            _ => {
                let schedule = Schedule::new(spec.classes.clone(), spec.rate_pps, grant.seed);
                Plan::task(schedule, around.timeline, now_ns)
            }
        };
        let (stop_sending, stop_receiving) = (Arc::default(), Arc::default());
        let flow = Flow { spec, log, course, stop_sending, stop_receiving, stopped_ns: None };
        match bench {
            Some(bench) => flow.run_experiment(Arc::new(bench), around)?,
            None => flow.run(link, plan, around)?,
        }
        Ok(flow)
    }

    fn run_experiment(&self, bench: Arc<Bench>, around: &Surroundings<'_>) -> Result<(), String> {
        let (sending, receiving) = (self.stop_sending.clone(), self.stop_receiving.clone());
        match &bench.experiment.design {
            Design::Bulk(design) => {
                let design = design.clone();
                self.thread("bulk", move || experiment::transfer_all(&bench, &design, &sending))
            }
            Design::Pairs(design) if self.spec.kind.is_tcp() => {
                let (design, watcher) = (design.clone(), around.watcher.cloned());
                self.thread("pairs", move || experiment::dispatch(&bench, &design, watcher.as_ref(), &sending))
            }
            Design::Pairs(design) => {
                let (design, own) = (design.clone(), bench.clone());
                self.thread("recv", move || experiment::receive(&own, &receiving))?;
                self.thread("pairs", move || experiment::send_pairs(&bench, &design, &sending))
            }
            Design::Contest(design) => {
                let (design, own) = (design.clone(), bench.clone());
                self.thread("recv", move || experiment::receive(&own, &receiving))?;
                self.thread("contest", move || experiment::send_contest(&bench, &design, &sending))
            }
            Design::Trains(design) => {
                let (design, own) = (design.clone(), bench.clone());
                self.thread("recv", move || experiment::receive(&own, &receiving))?;
                self.thread("trains", move || experiment::send_trains(&bench, &design, &sending))
            }
        }
    }

    fn run(&self, link: Arc<Link>, plan: Plan, around: &Surroundings<'_>) -> Result<(), String> {
        let (sending, receiving) = (self.stop_sending.clone(), self.stop_receiving.clone());
        let describe = |error: net::NetError| error.to_string();
        match link.kind {
            Kind::Http | Kind::Tls => {
                let watcher = around.watcher.cloned();
                self.thread("send", move || connect::dispatch(&link, plan, watcher.as_ref(), &sending))
            }
            Kind::Icmp => {
                let socket = echo::open(&link, around.echoes).map_err(describe)?;
                let (own, shared) = (link.clone(), socket.clone());
                self.thread("recv", move || echo::receive(&own, &shared, &receiving))?;
                self.thread("send", move || echo::send(&link, &socket, plan, &sending))
            }
            _ => {
                let socket = Arc::new(datagram::open(&link).map_err(describe)?);
                let discovered = Arc::new(Flag::default());
                let (own, shared, found) = (link.clone(), socket.clone(), discovered.clone());
                self.thread("recv", move || datagram::receive(&own, &shared, &found, &receiving))?;
                self.thread("send", move || datagram::send(&link, &socket, plan, &discovered, &sending))
            }
        }
    }

    fn thread(&self, role: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let name = format!("{}-{role}", self.spec.kind);
        let spawned = std::thread::Builder::new().name(name).stack_size(STACK).spawn(body);
        spawned.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// No more probes; answers are still read. To be polled by [`Flow::is_settled`].
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.stop_sending.set();
        self.stopped_ns.get_or_insert(now_ns);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped_ns.is_some()
    }

    /// Stopped so long ago that nothing more is expected.
    pub(crate) fn is_settled(&self, now_ns: u64) -> bool {
        self.stopped_ns.is_some_and(|stopped| {
            let age = now_ns.saturating_sub(stopped);
            age >= CLOSE_PATIENCE_NS || (age >= SETTLE_NS + SETTLE_NS / 10 && self.log.is_settled(now_ns))
        })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // The threads end by themselves within a tick; joining them would hold up whoever drops.
        self.stop_sending.set();
        self.stop_receiving.set();
    }
}
