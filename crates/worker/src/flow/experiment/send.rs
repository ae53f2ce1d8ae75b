//! The sending thread: pairs or trains by their plan, each probe from the source port that the plan names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use measure::shaping::contest;
use measure::shaping::plan::{SocketId, TrainPlan};
use model::shaping::{Arm, ContestDesign, PairDesign, Payload, TrainDesign};
use model::{SampleFlags, SentHalf, Tos};
use net::Clock;
use wire::Ecn;

use super::{Bench, Port, Undecided, partner, sockets};
use crate::flow::link::Link;
use crate::flow::stop::Flag;

const PACKET: usize = 1536;
/// The host stood still, rather than a thread being late.
const STALL_NS: u64 = 1_000_000_000;

/// Sends until the plan ends, all is decided, or `stop`.
pub(in crate::flow) fn send_pairs(bench: &Bench, design: &PairDesign, stop: &Flag) {
    let _ = net::pacing::set_timer_slack(1_000);
    let mut sender = Sender::new(bench);
    for (sequence, turn) in Undecided::new(bench, design) {
        let Some(port) = sender.port(turn.socket, turn.arm) else { continue };
        if !sender.pace(turn.at_ns, stop) {
            return;
        }
        sender.probe(&port, sequence, turn.arm);
    }
    bench.course.finish();
}

/// Sends all trains, or until `stop`.
pub(in crate::flow) fn send_trains(bench: &Bench, design: &TrainDesign, stop: &Flag) {
    let _ = net::pacing::set_timer_slack(1_000);
    let plan = TrainPlan::new(design.clone(), bench.experiment.seed);
    let mut sender = Sender::new(bench);
    for sequence in 0..wire::OPENING_MIN {
        let Some(turn) = plan.turn(sequence) else { break };
        // A new source port for every train: a limit of each flow's own starts with a full bucket.
        let id = SocketId { hypothesis: turn.arm_index, block: turn.train + 1, second: false };
        let Some(port) = sender.port(id, turn.arm) else { continue };
        if !sender.pace(turn.at_ns, stop) {
            return;
        }
        sender.probe(&port, sequence, turn.arm);
    }
    bench.course.finish();
}

/// Sends both classes at once, each from a source port of its own, until the plan ends or `stop`.
pub(in crate::flow) fn send_contest(bench: &Bench, design: &ContestDesign, stop: &Flag) {
    let _ = net::pacing::set_timer_slack(1_000);
    let mut sender = Sender::new(bench);
    for sequence in 0..wire::OPENING_MIN {
        let Some(turn) = contest::turn(design, bench.experiment.seed, sequence) else { break };
        let id = SocketId { hypothesis: 0, block: 1, second: turn.is_subject };
        let Some(port) = sender.port(id, turn.arm) else { continue };
        if !sender.pace(turn.at_ns, stop) {
            return;
        }
        sender.probe(&port, sequence, turn.arm);
    }
    bench.course.finish();
}

struct Sender<'a> {
    bench: &'a Bench,
    begin_ns: u64,
    packet: Vec<u8>,
    openings: u32,
}

impl<'a> Sender<'a> {
    fn new(bench: &'a Bench) -> Sender<'a> {
        // The first port is opened and its flow begun before the first probe is due.
        let begin_ns = Clock::monotonic_ns() + 20_000_000;
        Sender { bench, begin_ns, packet: Vec::with_capacity(PACKET), openings: 0 }
    }

    /// The port that is open under this id, or a new one.
    fn port(&mut self, id: SocketId, arm: Arm) -> Option<Arc<Port>> {
        if let Some(port) = self.bench.port(id) {
            return Some(port);
        }
        let link = self.bench.link(arm)?;
        match self.bench.open(id, link) {
            Ok(port) => {
                self.open_flow(&port, arm);
                Some(port)
            }
            Err(error) => {
                link.log.note(format!("{} over {}: {error}", link.kind, link.family));
                None
            }
        }
    }

    /// Voice opens its flow with IP discovery; what is compared with voice opens it with as many bytes.
    fn open_flow(&mut self, port: &Port, arm: Arm) {
        let link = &port.link;
        let class = Tos::new(arm.dscp, Ecn::NotEct);
        let like_voice = partner(&self.bench.experiment, arm).is_some_and(|partner| partner.payload == Payload::Rtp);
        if arm.payload == Payload::Rtp {
            let request = wire::discovery::build_discovery_request(link.session);
            self.open_with(&port.link, port, &request, class);
        } else if like_voice && arm.payload == Payload::Random {
            let mut opening = Vec::new();
            if link.build_opening(&mut opening, self.openings, class).is_ok() {
                self.openings += 1;
                self.open_with(&port.link, port, &opening, class);
            }
        }
    }

    fn open_with(&self, link: &Link, port: &Port, packet: &[u8], class: Tos) {
        if let Err(error) = port.socket.send_to(packet, None, link.mark(class), None) {
            link.log.note(format!("{} over {}: a flow was not opened: {error}", link.kind, link.family));
        }
    }

    /// Sleeps until a plan's time. False: told to stop.
    fn pace(&mut self, at_ns: u64, stop: &Flag) -> bool {
        let due_ns = self.begin_ns.saturating_add(at_ns);
        if !stop.sleep_until(due_ns) {
            return false;
        }
        let late_ns = Clock::monotonic_ns().saturating_sub(due_ns);
        if late_ns > STALL_NS {
            self.begin_ns = self.begin_ns.saturating_add(late_ns);
        }
        true
    }

    fn probe(&mut self, port: &Port, sequence: u32, arm: Arm) {
        let link = &port.link;
        let class = Tos::new(arm.dscp, Ecn::NotEct);
        let user_time = link.clock.now();
        let header = link.header(sequence, class, user_time);
        if let Err(error) = link.build(&mut self.packet, &header) {
            return link.log.note(format!("{}: cannot build probes: {error}", link.kind));
        }
        let half = SentHalf {
            sequence,
            sent_at: user_time,
            tos: header.tos,
            size: link.layer3(self.packet.len()),
            flags: SampleFlags::default(),
        };
        let now_ns = Clock::monotonic_ns();
        port.used_ns.store(now_ns, Ordering::Relaxed);
        // Before the send: the stamp may be read by the other thread before send returns.
        link.log.sending(now_ns, half);
        if let Err(error) = port.socket.send_to(&self.packet, None, header.tos, None) {
            link.log.retract(sequence);
            link.log.note(format!("{} over {}: not sent: {error}", link.kind, link.family));
            if let Some(hypothesis) = sockets::lock(&self.bench.queue).push(sequence, None) {
                link.log.local_queue(hypothesis);
            }
        }
    }
}
