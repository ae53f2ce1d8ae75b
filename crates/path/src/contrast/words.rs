//! What a search says: the place, or why there is none, and what each hop answered. Pure.

use measure::shaping::hop::{Search, Unplaced};
use model::report::Where;

use super::Sighting;
use super::plan::{End, Windows};

/// Where a probe ends that is answered. Near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// From 1; of the target as far as it is known.
    pub hop: u8,
    pub is_target: bool,
}

impl Spot {
    fn name(self) -> String {
        if self.is_target { "the server".to_owned() } else { format!("hop {}", self.hop) }
    }
}

/// `end`: `None` where it was stopped.
pub(crate) fn tell(windows: &Windows, spots: &[Spot], end: Option<End>) -> Sighting {
    let search = windows.search();
    let place = search.place().map(|(before, behind)| at(spots, before, behind));
    let place = place.map_err(|why| reason(search, spots, &why, end));
    let evidence = spots.iter().enumerate().map(|(index, spot)| {
        let counts = search.counts(index);
        format!(
            "{}: {} pairs, best effort answered {} times, the class {}, hit {}",
            spot.name(),
            counts.pairs,
            counts.control,
            counts.subject,
            counts.hit
        )
    });
    Sighting { place, evidence: evidence.collect(), bytes: windows.bytes() }
}

fn at(spots: &[Spot], before: usize, behind: usize) -> Where {
    let hop = |index: Option<usize>| index.and_then(|index| spots.get(index)).map_or(0, |spot| spot.hop);
    Where { after_hop: hop(before.checked_sub(1)), by_hop: hop(Some(behind)) }
}

fn reason(search: &Search, spots: &[Spot], why: &Unplaced, end: Option<End>) -> String {
    match why {
        Unplaced::Contradictory => "the hops' answers contradict one another".to_owned(),
        Unplaced::Single(index) => {
            let name = spots.get(*index).map_or_else(String::new, |spot| spot.name());
            let over = over(end);
            format!(
                "only {name}'s own answers show it, which may be how it answers and not how it passes packets on{over}"
            )
        }
        Unplaced::NotSeen => {
            let last = spots.iter().enumerate().rev().find(|(index, _)| search.counts(*index).control > 0);
            match last {
                None => "no hop answers".to_owned(),
                Some((_, spot)) if spot.is_target => "it did not show while it was looked for".to_owned(),
                Some((_, spot)) => format!("nothing answers behind {}, and up to there it does not show", spot.name()),
            }
        }
        Unplaced::Undecided(hops) => {
            let said = hops.iter().filter_map(|index| {
                let (spot, counts) = (spots.get(*index)?, search.counts(*index));
                Some(if 2 * counts.control < counts.pairs || end == Some(End::Told) {
                    format!("{} answers too rarely ({} of {})", spot.name(), counts.control, counts.pairs)
                } else {
                    format!("{} is undecided after {} pairs", spot.name(), counts.pairs)
                })
            });
            said.collect::<Vec<_>>().join(", ") + over(end)
        }
    }
}

fn over(end: Option<End>) -> &'static str {
    match end {
        Some(End::Bytes) => ", and the part of --budget set aside for this is spent",
        Some(End::Time) => ", and the time is over",
        Some(End::Told) => "",
        None => ", and it was stopped",
    }
}
