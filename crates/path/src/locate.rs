//! Between which hops a mark changes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use model::Tos;
use model::report::Where;

use super::{Change, Mark, Misquote, Trace};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located {
    pub changes: Vec<Change>,
    pub misquotes: Vec<Misquote>,
}

/// The changes along the path, class by class and from near to far.
///
/// `arrived`: the mark with which the destination received what was sent with this one, if a measurement knows it; `None`
/// from it: not known for this class.
pub fn locate(trace: &Trace, arrived: Option<&dyn Fn(Tos) -> Option<Tos>>) -> Vec<Change> {
    locate_all(trace, arrived).changes
}

/// With the hops whose quotes were not believed.
pub fn locate_all(trace: &Trace, arrived: Option<&dyn Fn(Tos) -> Option<Tos>>) -> Located {
    let mut courses: Vec<Course> = classes(trace).into_iter().map(|sent| Course::of(trace, sent, arrived)).collect();
    let collapsed = collapsed_hops(&courses);
    let mut misquotes: BTreeMap<u8, bool> = BTreeMap::new();
    for course in &mut courses {
        for hop in course.drop_misquotes(&collapsed) {
            *misquotes.entry(hop).or_default() |= collapsed.contains(&hop);
        }
    }
    Located {
        changes: courses.iter().flat_map(|course| course.changes(trace)).collect(),
        misquotes: misquotes.into_iter().map(|(hop, proven)| Misquote { hop, proven }).collect(),
    }
}

/// One place for all of these changes: the smallest interval that holds every one of them. `None` if there are none.
pub fn common_location<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Option<Where> {
    changes
        .into_iter()
        .map(|change| change.location)
        .reduce(|a, b| Where { after_hop: a.after_hop.min(b.after_hop), by_hop: a.by_hop.max(b.by_hop) })
}

fn classes(trace: &Trace) -> BTreeSet<Tos> {
    let quoted = trace.hops.iter().flat_map(|hop| &hop.marks);
    quoted.chain(&trace.left_with).map(|mark| mark.sent).collect()
}

/// The mark of one class at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    hop: u8,
    mark: Tos,
    count: u32,
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// What was asked of this host's socket.
    Asked,
    /// The frame as it left this host.
    Left,
    Quote,
    /// The measurement at the destination.
    Arrival,
}

/// How one class's mark fares along the path.
#[derive(Clone, Debug)]
struct Course {
    sent: Tos,
    seen: Vec<Seen>,
    /// Hops that answered for the class, but not with one voice.
    divided: Vec<u8>,
}

impl Course {
    fn of(trace: &Trace, sent: Tos, arrived: Option<&dyn Fn(Tos) -> Option<Tos>>) -> Course {
        let mut seen = vec![Seen { hop: 0, mark: sent, count: 0, source: Source::Asked }];
        let mut divided = Vec::new();
        if let Ok((mark, count)) = opinion(&trace.left_with, sent) {
            seen.push(Seen { hop: 0, mark, count, source: Source::Left });
        }
        for hop in &trace.hops {
            match opinion(&hop.marks, sent) {
                Ok((mark, count)) => seen.push(Seen { hop: hop.hop, mark, count, source: Source::Quote }),
                Err(Opinion::None) => {}
                Err(Opinion::Divided) => divided.push(hop.hop),
            }
        }
        if let Some(mark) = arrived.and_then(|arrived| arrived(sent)) {
            let farthest = trace.hops.last().map_or(0, |hop| hop.hop);
            let hop = trace.destination_hop.unwrap_or(farthest.saturating_add(1));
            seen.push(Seen { hop, mark, count: 1, source: Source::Arrival });
        }
        Course { sent, seen, divided }
    }

    /// Stretches of sightings that end with the mark they began from, as index ranges.
    fn excursions(&self) -> Vec<std::ops::Range<usize>> {
        let mut found = Vec::new();
        let mut at = 1usize;
        while let (Some(before), Some(here)) = (at.checked_sub(1).and_then(|i| self.seen.get(i)), self.seen.get(at)) {
            if here.mark != before.mark && here.source == Source::Quote {
                let back = self.seen.iter().skip(at).position(|later| later.mark == before.mark);
                if let Some(length) = back {
                    found.push(at..at + length);
                    at += length;
                    continue;
                }
            }
            at += 1;
        }
        found
    }

    /// Removes sightings that cannot have been; returns their hops.
    fn drop_misquotes(&mut self, collapsed: &BTreeSet<u8>) -> Vec<u8> {
        let seen = &self.seen;
        let hop_at = |index: usize| seen.get(index).map_or(0, |seen| seen.hop);
        let wrong: BTreeSet<usize> = self
            .excursions()
            .into_iter()
            .filter(|range| range.len() == 1 || range.clone().all(|index| collapsed.contains(&hop_at(index))))
            .flatten()
            .collect();
        let hops = wrong.iter().map(|index| hop_at(*index)).collect();
        let mut index = 0;
        self.seen.retain(|_| {
            index += 1;
            !wrong.contains(&(index - 1))
        });
        hops
    }

    fn changes(&self, trace: &Trace) -> Vec<Change> {
        let pairs = self.seen.windows(2).filter_map(|pair| match pair {
            [before, after] if before.mark != after.mark => Some((before, after)),
            _ => None,
        });
        pairs.map(|(before, after)| self.change(trace, before, after)).collect()
    }

    fn change(&self, trace: &Trace, before: &Seen, after: &Seen) -> Change {
        let unseen: Vec<u8> = (before.hop.saturating_add(1)..after.hop).collect();
        let arrival = after.source == Source::Arrival;
        let note = if after.source == Source::Left {
            Some("this host rewrites it: the frame left with the new mark".to_owned())
        } else if arrival && trace.destination_hop.is_none() {
            Some(format!("by the destination, which does not answer itself and is hop {} or farther", after.hop))
        } else if arrival && trace.destination_hop == Some(before.hop) {
            Some("the destination quotes another mark than measured packets arrive with: probes are treated differently, or it rewrites them itself".to_owned())
        } else {
            self.unseen_note(trace, &unseen)
        };
        Change {
            sent: self.sent,
            from_mark: before.mark,
            to_mark: after.mark,
            location: Where { after_hop: before.hop, by_hop: after.hop },
            unseen,
            at_destination: arrival || trace.destination_hop == Some(after.hop),
            count: after.count,
            note,
        }
    }

    fn unseen_note(&self, trace: &Trace, unseen: &[u8]) -> Option<String> {
        let list = |hops: Vec<u8>| hops.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let silent = |hop: &u8| trace.hops.iter().any(|h| h.hop == *hop && h.silent);
        let (quiet, rest): (Vec<u8>, Vec<u8>) = unseen.iter().copied().partition(silent);
        let (divided, other): (Vec<u8>, Vec<u8>) = rest.into_iter().partition(|hop| self.divided.contains(hop));
        let texts = [
            (quiet, "does not answer"),
            (divided, "quotes different marks"),
            (other, "does not answer for this class, or quotes wrongly"),
        ];
        let texts: Vec<String> = texts
            .into_iter()
            .filter(|(hops, _)| !hops.is_empty())
            .map(|(hops, text)| format!("hop {} {text}", list(hops)))
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

enum Opinion {
    None,
    Divided,
}

/// What at least two thirds of the quotes say: congestion may mark a packet CE now and then, and that is no rule.
fn opinion(marks: &[Mark], sent: Tos) -> Result<(Tos, u32), Opinion> {
    let mut votes: BTreeMap<Tos, u32> = BTreeMap::new();
    for mark in marks.iter().filter(|mark| mark.sent == sent) {
        *votes.entry(mark.quoted).or_default() += mark.count;
    }
    let all: u32 = votes.values().sum();
    let (mark, count) = votes.into_iter().max_by_key(|(_, count)| *count).ok_or(Opinion::None)?;
    if 3 * count >= 2 * all { Ok((mark, count)) } else { Err(Opinion::Divided) }
}

/// Hops that quote the same for two classes which differ before and behind: information that was lost cannot come back, so
/// the quotes are wrong.
fn collapsed_hops(courses: &[Course]) -> BTreeSet<u8> {
    let mut at_hop: BTreeMap<u8, Vec<(Tos, Tos)>> = BTreeMap::new();
    for course in courses {
        for range in course.excursions() {
            let Some(origin) = range.start.checked_sub(1).and_then(|index| course.seen.get(index)) else { continue };
            for seen in course.seen.get(range).unwrap_or(&[]) {
                at_hop.entry(seen.hop).or_default().push((origin.mark, seen.mark));
            }
        }
    }
    at_hop
        .into_iter()
        .filter(|(_, marks)| {
            marks.iter().any(|(origin, quoted)| marks.iter().any(|(other, same)| quoted == same && origin != other))
        })
        .map(|(hop, _)| hop)
        .collect()
}
