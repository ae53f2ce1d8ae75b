//! What becomes of a mark on its way, computed from the policies alone: the truth a measurement is compared with.
//! A pure function of scenario and mark; policers, shapers and delays are listed elsewhere ([`City::limits`],
//! [`City::relay`]), as their effect depends on the traffic.

use model::{Direction, Family};
use wire::{Dscp, Ecn, Tos};

use crate::policy::{Action, DscpSet, Policy, Protocol, Rewrite};
use crate::scenario::{City, Hop};

/// A kind of packet, as far as a policy can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traffic {
    /// [`Direction::RoundTrip`] is up and down again, the far end copying the mark, as an ICMP echo does.
    pub direction: Direction,
    pub protocol: Protocol,
    pub family: Family,
    /// The port at the server's end; `None` is a port that no policy names.
    pub server_port: Option<u16>,
}

impl Traffic {
    pub const fn new(direction: Direction, protocol: Protocol, family: Family) -> Traffic {
        Traffic { direction, protocol, family, server_port: None }
    }

    pub const fn on_port(self, port: u16) -> Traffic {
        Traffic { server_port: Some(port), ..self }
    }
}

/// With which marks packets that were sent alike arrive, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Marks in ascending order with their probabilities; what is missing to 1 is lost.
    received: Vec<(Tos, f64)>,
}

impl Outcome {
    fn certain(tos: Tos) -> Outcome {
        Outcome { received: vec![(tos, 1.0)] }
    }

    /// Each mark that can arrive, with its probability per packet sent.
    pub fn received(&self) -> &[(Tos, f64)] {
        &self.received
    }

    /// The mark of every packet that arrives, if there is exactly one.
    pub fn mark(&self) -> Option<Tos> {
        match self.received[..] {
            [(tos, _)] => Some(tos),
            _ => None,
        }
    }

    /// No packet arrives.
    pub fn is_dropped(&self) -> bool {
        self.received.is_empty()
    }

    /// Probability that a packet is lost, 0 to 1.
    pub fn loss(&self) -> f64 {
        (1.0 - self.received.iter().map(|(_, probability)| probability).sum::<f64>()).clamp(0.0, 1.0)
    }

    /// Whether one packet may have come out so; `None` is a packet that did not arrive.
    pub fn allows(&self, received: Option<Tos>) -> bool {
        match received {
            Some(tos) => self.received.iter().any(|(mark, _)| *mark == tos),
            None => self.loss() > 1e-9,
        }
    }

    /// Each mark goes on into `next`.
    fn then(self, mut next: impl FnMut(Tos) -> Outcome) -> Outcome {
        let mut received: Vec<(Tos, f64)> = Vec::new();
        for (tos, probability) in self.received {
            for (mark, share) in next(tos).received {
                match received.iter_mut().find(|(known, _)| *known == mark) {
                    Some((_, sum)) => *sum += probability * share,
                    None => received.push((mark, probability * share)),
                }
            }
        }
        received.retain(|(_, probability)| *probability > 0.0);
        received.sort_by_key(|(mark, _)| *mark);
        Outcome { received }
    }
}

impl Hop {
    /// What this hop makes of a mark in one direction. Round trips are the city's business.
    pub fn outcome(&self, traffic: &Traffic, sent: Tos) -> Outcome {
        let covering =
            || self.policies.iter().filter(|policy| policy.scope.covers(traffic)).map(|policy| &policy.action);
        let passed: f64 =
            covering().map(|action| 1.0 - action.drop_share(sent.dscp(), sent.ecn(), traffic.protocol)).product();
        let ecn = covering().find_map(|action| action.rewrite_ecn(sent.ecn())).unwrap_or(sent.ecn());
        let dscp = match covering().find_map(|action| action.rewrite_dscp(sent.dscp())) {
            None => vec![(sent.dscp(), 1.0)],
            Some(Rewrite::To(dscp)) => vec![(dscp, 1.0)],
            Some(Rewrite::Either { marks: [first, second], share }) => vec![(first, share), (second, 1.0 - share)],
        };
        Outcome { received: vec![(sent, passed)] }
            .then(|_| Outcome { received: dscp.iter().map(|(dscp, share)| (Tos::new(*dscp, ecn), *share)).collect() })
    }
}

/// A rate limit on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit<'a> {
    /// Counted from the worker's end, from 1.
    pub hop: u8,
    /// [`Action::Police`], [`Action::Shape`] or [`Action::Share`].
    pub action: &'a Action,
}

impl City {
    /// What becomes of packets that are sent with this mark, on a port that no policy names.
    pub fn truth(&self, direction: Direction, protocol: Protocol, family: Family, sent: Tos) -> Outcome {
        self.truth_of(&Traffic::new(direction, protocol, family), sent)
    }

    /// The same, on the port the traffic names. Losses of the relay are part of it.
    pub fn truth_of(&self, traffic: &Traffic, sent: Tos) -> Outcome {
        self.legs(traffic).into_iter().fold(Outcome::certain(sent), |outcome, leg| {
            let outcome =
                self.path(leg.direction).fold(outcome, |outcome, (_, hop)| outcome.then(|tos| hop.outcome(&leg, tos)));
            let passed = self.relay.as_ref().map_or(1.0, |relay| 1.0 - relay.line(leg.direction).loss);
            outcome.then(|tos| Outcome { received: vec![(tos, passed)] })
        })
    }

    /// What becomes of the DSCP alone: the 64 outcomes in order.
    pub fn dscp_truth(&self, traffic: &Traffic) -> Vec<(Dscp, Outcome)> {
        Dscp::all().map(|dscp| (dscp, self.truth_of(traffic, Tos::new(dscp, Ecn::NotEct)))).collect()
    }

    /// What becomes of the four ECN code points of a best-effort packet.
    pub fn ecn_truth(&self, traffic: &Traffic) -> Vec<(Ecn, Outcome)> {
        Ecn::ALL.into_iter().map(|ecn| (ecn, self.truth_of(traffic, Tos::new(Dscp::BEST_EFFORT, ecn)))).collect()
    }

    /// The policers and shapers that packets with this mark meet, in the order in which they meet them.
    pub fn limits(&self, traffic: &Traffic, sent: Tos) -> Vec<Limit<'_>> {
        let mut limits = Vec::new();
        let mut outcome = Outcome::certain(sent);
        for leg in self.legs(traffic) {
            for (number, hop) in self.path(leg.direction) {
                let meets = |policy: &&Policy| {
                    let limited = match policy.action {
                        Action::Police { dscp, .. } | Action::Shape { dscp, .. } => dscp,
                        // Who goes first matters to all.
                        Action::Share { .. } => DscpSet::ALL,
                        _ => return false,
                    };
                    policy.scope.covers(&leg) && outcome.received.iter().any(|(mark, _)| limited.contains(mark.dscp()))
                };
                limits.extend(
                    hop.policies.iter().filter(meets).map(|policy| Limit { hop: number, action: &policy.action }),
                );
                outcome = outcome.then(|tos| hop.outcome(&leg, tos));
            }
        }
        limits
    }

    /// The hops in the order in which a packet meets them, with their numbers from the worker's end.
    pub(crate) fn path(&self, direction: Direction) -> Box<dyn Iterator<Item = (u8, &Hop)> + '_> {
        let hops = (1..).zip(&self.hops);
        if direction == Direction::Down { Box::new(hops.collect::<Vec<_>>().into_iter().rev()) } else { Box::new(hops) }
    }

    fn legs(&self, traffic: &Traffic) -> Vec<Traffic> {
        match traffic.direction {
            Direction::RoundTrip => vec![
                Traffic { direction: Direction::Up, ..*traffic },
                Traffic { direction: Direction::Down, ..*traffic },
            ],
            Direction::Up | Direction::Down => vec![*traffic],
        }
    }
}
