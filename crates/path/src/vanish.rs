//! Between which hops a blocked class ends: routers before the block answer for it, routers behind it only for best effort. Pure.
//!
//! Silence of a hop that answers for neither says nothing. A loss of some packets in a hundred or a limit of rate takes many answers
//! of each hop, which `contrast` asks for.

use model::Tos;
use model::report::Where;

use super::Trace;

/// Answers for best effort without which a hop's silence for the class is no evidence.
const ANSWERS: u32 = 3;

/// Where packets of this class stop, given that they do not arrive and best effort does. `None` where the trace does not tell.
pub fn vanishes(trace: &Trace, class: Tos) -> Option<Where> {
    let answers = |hop: &super::Hop, class: Tos| {
        hop.marks.iter().filter(|mark| mark.sent == class).map(|mark| mark.count).sum::<u32>()
    };
    let heard = |class: Tos| trace.hops.iter().filter(move |hop| answers(hop, class) > 0);
    let last = heard(class).next_back().map_or(0, |hop| hop.hop);
    let behind = trace.hops.iter().find(|hop| hop.hop > last && answers(hop, Tos::default()) >= ANSWERS);
    let by_hop = match behind {
        Some(hop) => hop.hop,
        // Nobody answers behind the last that answers for the class: what is left is the way to the destination.
        None if last > 0 => trace.destination_hop.unwrap_or(trace.hops.last()?.hop.saturating_add(1)),
        None => return None,
    };
    Some(Where { after_hop: last, by_hop })
}
