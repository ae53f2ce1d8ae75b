//! From a report's findings to the marks worth tracing, and from a trace to the findings' `where`. Pure.

use std::collections::BTreeMap;

use model::report::{Path, Remarking};
use model::{Dscp, Ecn, Family, Tos};
use serde::{Deserialize, Serialize};

use super::{Trace, common_location, locate};

/// Changed marks that are traced, besides best effort; more cost time and tell little more.
pub const CLASSES: usize = 4;

/// What a worker tells of its way to the server, and the server notes of its way to a worker: a trace, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceReport {
    pub family: Family,
    pub trace: Option<Trace>,
    /// One line for people.
    pub problem: Option<String>,
}

/// Most of what an honest trace holds: 64 hops and some parallel paths of [`CLASSES`] marks.
const MOST_HOPS: usize = 64;
const MOST_OF_HOP: usize = 64;
const MOST_NOTES: usize = 16;
const MOST_CHARACTERS: usize = 300;

impl TraceReport {
    /// False where it is more than any trace of ours: then it is not kept.
    pub fn is_plausible(&self) -> bool {
        let text = |text: &String| text.chars().count() <= MOST_CHARACTERS && !text.chars().any(char::is_control);
        let trace = |trace: &Trace| {
            trace.family == self.family
                && trace.hops.len() <= MOST_HOPS
                && trace.hops.iter().enumerate().all(|(index, hop)| {
                    usize::from(hop.hop) == index + 1
                        && hop.addresses.len() <= MOST_OF_HOP
                        && hop.marks.len() <= MOST_OF_HOP
                })
                && trace.left_with.len() <= MOST_OF_HOP
                && trace.notes.len() <= MOST_NOTES
                && trace.notes.iter().all(text)
        };
        self.trace.as_ref().is_none_or(trace)
            && self.problem.as_ref().is_none_or(text)
            && self.trace.is_some() != self.problem.is_some()
    }
}

/// Marks of a kind that were sent and arrived as another, each with its most frequent arrival: of the DSCP finding, or where
/// there is none, of the ECN finding.
pub fn changes(remarking: &Remarking) -> BTreeMap<Tos, Tos> {
    let rows: Vec<(Tos, Tos, u64)> = if remarking.pathology.is_finding() {
        let mark = |dscp: u8| Tos::new(Dscp::new(dscp).unwrap_or_default(), Ecn::NotEct);
        remarking.map.iter().map(|row| (mark(row.dscp_sent), mark(row.dscp_received), row.count)).collect()
    } else if remarking.ecn.is_finding() {
        let mark = |ecn: u8| Tos::new(Dscp::BEST_EFFORT, Ecn::from_bits(ecn));
        remarking.ecn_map.iter().map(|row| (mark(row.ecn_sent), mark(row.ecn_received), row.count)).collect()
    } else {
        Vec::new()
    };
    let mut most: BTreeMap<Tos, (Tos, u64)> = BTreeMap::new();
    for (sent, received, count) in rows {
        let entry = most.entry(sent).or_insert((received, count));
        if count > entry.1 {
            *entry = (received, count);
        }
    }
    most.into_iter().map(|(sent, (received, _))| (sent, received)).filter(|(sent, received)| sent != received).collect()
}

/// Those of the marks that a trace takes: some of the changed ones, and best effort to compare with.
pub fn classes(changed: impl IntoIterator<Item = Tos>) -> Vec<Tos> {
    let mut classes: Vec<Tos> = changed.into_iter().take(CLASSES).collect();
    if !classes.contains(&Tos::default()) {
        classes.push(Tos::default());
    }
    classes
}

/// Fills `where` of each finding of the path that has none, as far as the trace saw its marks.
pub fn place(path: &mut Path, trace: &Trace) {
    for remarking in path.remarking.iter_mut().filter(|remarking| remarking.location.is_none()) {
        let arrived = changes(remarking);
        let at_destination = |sent: Tos| Some(arrived.get(&sent).copied().unwrap_or(sent));
        let found = locate(trace, Some(&at_destination));
        // Of what this kind's probes lost; another kind's loss may lie elsewhere.
        remarking.location = common_location(found.iter().filter(|change| arrived.contains_key(&change.sent)));
    }
}
