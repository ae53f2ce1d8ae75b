//! Which name of RFC 9435, section 4, fits a map of marks: the definitions, tried over all 64 values and all 4 code
//! points. Written from the RFC and kept apart from `measure`, which has to find the same from packets.

use model::report::{EcnFinding, Pathology, Where};
use model::{Direction, Family};
use wire::{Dscp, Ecn};

use crate::policy::Protocol;
use crate::scenario::City;
use crate::truth::{Outcome, Traffic};

/// What a measurement should find on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub pathology: Pathology,
    pub ecn: EcnFinding,
    /// The first hop on the packet's way that changes a DSCP; numbers count from the worker's end, from 1, whichever
    /// way the packet goes.
    pub dscp_hop: Option<u8>,
    /// The first hop on the way that changes an ECN code point or drops it.
    pub ecn_hop: Option<u8>,
}

impl City {
    /// What a measurement should find with packets on a port that no policy names.
    pub fn finding(&self, direction: Direction, protocol: Protocol, family: Family) -> Finding {
        self.finding_of(&Traffic::new(direction, protocol, family))
    }

    /// The same, on the port the traffic names.
    pub fn finding_of(&self, traffic: &Traffic) -> Finding {
        let dscp: Vec<_> = self.dscp_truth(traffic);
        let ecn: Vec<_> = self.ecn_truth(traffic);
        Finding {
            pathology: name_of_dscp_map(&dscp),
            ecn: name_of_ecn_map(&ecn),
            dscp_hop: self.first_hop_where(traffic, |hop_traffic, hop| {
                Dscp::all().any(|sent| {
                    let outcome = hop.outcome(hop_traffic, wire::Tos::new(sent, Ecn::NotEct));
                    outcome.received().iter().any(|(mark, _)| mark.dscp() != sent)
                })
            }),
            ecn_hop: self.first_hop_where(traffic, |hop_traffic, hop| {
                let sent_plain = hop.outcome(hop_traffic, wire::Tos::new(Dscp::BEST_EFFORT, Ecn::NotEct));
                Ecn::ALL.into_iter().any(|sent| {
                    let outcome = hop.outcome(hop_traffic, wire::Tos::new(Dscp::BEST_EFFORT, sent));
                    outcome.received().iter().any(|(mark, _)| mark.ecn() != sent)
                        || outcome.is_dropped() != sent_plain.is_dropped()
                })
            }),
        }
    }

    /// Where a hop's change shows, in a report's terms: hops counted from the sender; the number after the last hop is
    /// the receiver. Rules work in the forward path, so a hop's own ICMP quote still shows the mark as it arrived.
    pub fn location(&self, direction: Direction, hop: u8) -> Where {
        let hops = u8::try_from(self.hops.len()).unwrap_or(u8::MAX);
        let from_sender = if direction == Direction::Down { hops.saturating_sub(hop).saturating_add(1) } else { hop };
        Where { after_hop: from_sender, by_hop: from_sender.saturating_add(1) }
    }

    fn first_hop_where(&self, traffic: &Traffic, is_it: impl Fn(&Traffic, &crate::Hop) -> bool) -> Option<u8> {
        let one_way = |direction: Direction| {
            let traffic = Traffic { direction, ..*traffic };
            self.path(direction).find(|(_, hop)| is_it(&traffic, hop)).map(|(number, _)| number)
        };
        match traffic.direction {
            Direction::RoundTrip => one_way(Direction::Up).or_else(|| one_way(Direction::Down)),
            direction => one_way(direction),
        }
    }
}

/// The name for received DSCPs by sent DSCP; values that never arrive say nothing.
pub fn name_of_dscp_map(map: &[(Dscp, Outcome)]) -> Pathology {
    let marks = |outcome: &Outcome| {
        let mut marks: Vec<u8> = outcome.received().iter().map(|(mark, _)| mark.dscp().get()).collect();
        marks.dedup();
        marks
    };
    let mut pairs = Vec::new();
    for (sent, outcome) in map {
        match marks(outcome)[..] {
            [] => {}
            [received] => pairs.push((sent.get(), received)),
            _ => return Pathology::Unstable,
        }
    }
    let Some(&(first_sent, first_received)) = pairs.first() else { return Pathology::Inconclusive };
    let all = |definition: &dyn Fn(u8) -> u8| pairs.iter().all(|(sent, received)| definition(*sent) == *received);
    let top_two_set = |x: u8| x >> 4 == 0b11;
    let k = first_received >> 3;
    if all(&|x| x) {
        Pathology::None
    } else if all(&|_| 0) {
        Pathology::BleachDscp
    } else if all(&|x| x & 0x07) {
        Pathology::BleachTosPrecedence
    } else if all(&|x| if top_two_set(x) { x } else { x & 0x07 }) {
        Pathology::BleachSomeTos
    } else if k != 0 && first_received & 7 == first_sent & 7 && all(&|x| k << 3 | x & 0x07) {
        Pathology::RemarkTos
    } else if all(&|x| x & 0x38) {
        Pathology::BleachLow
    } else if all(&|x| if top_two_set(x) { x } else { x & 0x38 }) {
        Pathology::BleachSomeLow
    } else if all(&|_| first_received) {
        Pathology::RemarkDscp
    } else {
        Pathology::Partial
    }
}

/// The name for received ECN code points by sent code point, `Inconclusive` where none fits.
pub fn name_of_ecn_map(map: &[(Ecn, Outcome)]) -> EcnFinding {
    let of = |sent: Ecn| {
        let (_, outcome) = map.iter().find(|(point, _)| *point == sent)?;
        Some(outcome.received().first().map(|(mark, _)| mark.ecn()))
    };
    let received = [of(Ecn::NotEct), of(Ecn::Ect1), of(Ecn::Ect0), of(Ecn::Ce)];
    let [Some(not_ect), Some(ect1), Some(ect0), Some(ce)] = received else { return EcnFinding::Inconclusive };
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    match (not_ect, ect1, ect0, ce) {
        (Some(NotEct), Some(Ect1), Some(Ect0), Some(Ce)) => EcnFinding::None,
        (Some(NotEct), Some(NotEct), Some(NotEct), Some(NotEct)) => EcnFinding::Bleached,
        (Some(NotEct), Some(Ect0), Some(Ect0), Some(Ce)) => EcnFinding::Ect1ToEct0,
        (Some(Ce), Some(Ce), Some(Ce), Some(Ce)) => EcnFinding::CeForced,
        (Some(NotEct), Some(Ect1), Some(Ect0), Some(Ect0)) => EcnFinding::CeStripped,
        (Some(NotEct), None, None, Some(Ce)) => EcnFinding::EctDropped,
        _ => EcnFinding::Inconclusive,
    }
}
