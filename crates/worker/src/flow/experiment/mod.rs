//! An experiment's flow: one session whose probes are of several classes, on many source ports, by a plan that the server knows
//! as well. What a probe is for is its sequence number's matter; nothing is judged here but this host's own queue.

mod bulk;
mod queue;
mod receive;
mod send;
mod sockets;
mod streams;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use measure::shaping::plan::{PairPlan, SocketId, Turn};
use model::DirectionChoice;
use model::shaping::{Arm, Design, Experiment, PairDesign, Payload};
use net::{NetError, UdpProbeSocket};

use super::link::Link;
use queue::LocalQueue;

pub(super) use bulk::transfer_all;
pub(super) use receive::receive;
pub(super) use send::{send_contest, send_pairs, send_trains};
pub(super) use streams::dispatch;

/// How far an experiment is, and what need not be asked any more.
#[derive(Debug)]
pub(crate) struct Course {
    /// Of pairs.
    rounds: u32,
    decided: Mutex<Vec<bool>>,
    transfers: AtomicU32,
    finished: AtomicBool,
}

impl Course {
    pub(super) fn new(rounds: Option<u32>) -> Course {
        Course {
            rounds: rounds.unwrap_or(u32::MAX),
            decided: Mutex::default(),
            transfers: AtomicU32::default(),
            finished: AtomicBool::default(),
        }
    }

    /// The sequence after the last one of a plan with so many probes a round.
    fn end(&self, round_len: u32) -> u32 {
        self.rounds.saturating_mul(round_len).min(wire::OPENING_MIN)
    }

    /// By index of hypothesis: no more pairs of those that are true.
    pub(crate) fn decide(&self, decided: Vec<bool>) {
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = decided;
    }

    fn is_decided(&self, hypothesis: u16) -> bool {
        let decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.get(usize::from(hypothesis)).copied().unwrap_or(false)
    }

    /// The last probe of the plan was sent.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// TCP transfers that were carried out.
    pub(crate) fn transfers(&self) -> u32 {
        self.transfers.load(Ordering::Relaxed)
    }

    fn note_transfer(&self) {
        self.transfers.fetch_add(1, Ordering::Relaxed);
    }

    fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }
}

/// The probes of a plan of pairs that are still asked for. Ends with the plan, or after a round in which all was decided.
struct Undecided<'a> {
    course: &'a Course,
    plan: PairPlan,
    next: u32,
    round_has_work: bool,
}

impl<'a> Undecided<'a> {
    fn new(bench: &'a Bench, design: &PairDesign) -> Undecided<'a> {
        let plan = PairPlan::new(design.clone(), bench.experiment.seed);
        Undecided { course: &bench.course, plan, next: 0, round_has_work: true }
    }
}

impl Iterator for Undecided<'_> {
    type Item = (u32, Turn);

    fn next(&mut self) -> Option<(u32, Turn)> {
        let round_len = self.plan.round_len();
        while self.next < self.course.end(round_len) {
            let sequence = self.next;
            self.next += 1;
            let turn = self.plan.turn(sequence)?;
            if sequence.is_multiple_of(round_len) && !std::mem::take(&mut self.round_has_work) {
                return None;
            }
            if !self.course.is_decided(turn.hypothesis) {
                self.round_has_work = true;
                return Some((sequence, turn));
            }
        }
        None
    }
}

/// A source port and what is sent from it.
struct Port {
    socket: UdpProbeSocket,
    link: Arc<Link>,
    /// Monotonic; of the last probe.
    used_ns: std::sync::atomic::AtomicU64,
    /// Lasts as long as the experiment.
    lasting: bool,
}

impl AsRef<UdpProbeSocket> for Port {
    fn as_ref(&self) -> &UdpProbeSocket {
        &self.socket
    }
}

/// What the threads of an experiment share.
pub(super) struct Bench {
    pub experiment: Experiment,
    direction: DirectionChoice,
    pub course: Arc<Course>,
    /// How each arm's packets are dressed. Keys, log and clock are the session's.
    links: BTreeMap<Arm, Arc<Link>>,
    ports: Mutex<BTreeMap<SocketId, Arc<Port>>>,
    queue: Mutex<LocalQueue>,
}

impl Bench {
    /// `link`: makes the link of an arm of this payload toward this address; `random_stream` as in [`Link`].
    pub(super) fn new(
        experiment: Experiment,
        course: Arc<Course>,
        direction: DirectionChoice,
        server: std::net::IpAddr,
        link: impl Fn(Payload, SocketAddr, Option<usize>) -> Link,
    ) -> Result<Bench, String> {
        let mut links = BTreeMap::new();
        for arm in experiment.arms() {
            let peer = SocketAddr::new(server, arm.port);
            let partner = partner(&experiment, arm);
            let length = match (arm.payload, partner) {
                (Payload::RandomStream, Some(partner)) => {
                    let model = link(partner.payload, peer, None);
                    let mut request = Vec::new();
                    super::connect::build(&model, &mut request, &[0; wire::token::TOKEN_LEN])?;
                    Some(request.len())
                }
                (Payload::RandomStream, None) => Some(wire::bulk::STREAM_OPENING_LEN),
                _ => None,
            };
            let mut made = link(arm.payload, peer, length);
            if arm.payload == Payload::Random && partner.is_some_and(|partner| partner.payload == Payload::Dns) {
                // As long as the query it is compared with.
                let model = link(Payload::Dns, peer, None);
                let mut query = Vec::new();
                let header = model.header(0, wire::Tos::default(), model::UnixNanos(0));
                model.build(&mut query, &header).map_err(|error| format!("a query cannot be built: {error}"))?;
                made.size = query.len() as u16;
            }
            links.entry(arm).or_insert_with(|| Arc::new(made));
        }
        let queue = Mutex::new(LocalQueue::new(&experiment, direction));
        Ok(Bench { experiment, direction, course, links, ports: Mutex::default(), queue })
    }

    fn link(&self, arm: Arm) -> Option<&Arc<Link>> {
        self.links.get(&arm)
    }

    fn port(&self, id: SocketId) -> Option<Arc<Port>> {
        sockets::lock(&self.ports).get(&id).cloned()
    }

    fn open(&self, id: SocketId, link: &Arc<Link>) -> Result<Arc<Port>, NetError> {
        let port = Arc::new(sockets::open(id, link)?);
        sockets::lock(&self.ports).insert(id, port.clone());
        Ok(port)
    }
}

/// The other arm of the first comparison of payloads that has this one. Arms of one payload on both sides need no disguise.
fn partner(experiment: &Experiment, arm: Arm) -> Option<Arm> {
    let Design::Pairs(pairs) = &experiment.design else { return None };
    pairs.hypotheses.iter().find_map(|hypothesis| {
        let other = if hypothesis.subject == arm {
            hypothesis.control
        } else if hypothesis.control == arm {
            hypothesis.subject
        } else {
            return None;
        };
        (other.payload != arm.payload).then_some(other)
    })
}
