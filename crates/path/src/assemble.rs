//! From single answers to the hops of a trace. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::Tos;

use super::explore::Explorer;
use super::quote::Verdict;
use super::{Hop, Mark, RoundTrip};

/// One answer to one probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub ttl: u8,
    pub sent: Tos,
    pub address: IpAddr,
    pub quoted: Tos,
    pub verdict: Verdict,
    pub rtt_ns: Option<i64>,
    pub translated: bool,
}

/// Where the path ends, as far as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub destination_hop: Option<u8>,
    pub refused_at: Option<u8>,
}

/// The smallest TTL that reached the target, and the hop that refuses to pass probes on.
pub(super) fn end_of(heard: &[Heard]) -> End {
    let destination_hop = heard.iter().filter(|h| h.verdict == Verdict::Arrived).map(|h| h.ttl).min();
    let refused_at = heard
        .iter()
        .filter(|h| h.verdict == Verdict::Refused)
        .map(|h| refusing_hop(heard, h.address, h.ttl))
        .min()
        .filter(|refused| destination_hop.is_none_or(|destination| *refused < destination));
    End { destination_hop: destination_hop.filter(|_| refused_at.is_none()), refused_at }
}

/// A router looks at the TTL first and filters then: it refuses probes that would have got one hop farther.
pub(super) fn refusing_hop(heard: &[Heard], address: IpAddr, ttl: u8) -> u8 {
    let expired = heard.iter().filter(|h| h.verdict == Verdict::Expired && h.address == address && h.ttl <= ttl);
    expired.map(|h| h.ttl).max().unwrap_or(ttl)
}

/// From hop 1 to the end, or to the last hop that answered.
pub(super) fn hops(heard: &[Heard], explorer: &Explorer) -> Vec<Hop> {
    let end = end_of(heard);
    let farthest = heard.iter().filter(|h| h.verdict == Verdict::Expired).map(|h| h.ttl).max();
    let last = end.refused_at.or(end.destination_hop).or(farthest).unwrap_or(0);
    (1..=last).map(|hop| one_hop(heard, hop, end, explorer)).collect()
}

fn one_hop(heard: &[Heard], hop: u8, end: End, explorer: &Explorer) -> Hop {
    let belongs = |h: &&Heard| match h.verdict {
        Verdict::Expired => h.ttl == hop,
        // Whatever TTL was left.
        Verdict::Arrived => end.destination_hop == Some(hop),
        Verdict::Refused => end.refused_at == Some(hop),
    };
    let mut addresses = Vec::new();
    let mut marks: BTreeMap<(Tos, Tos, IpAddr), u32> = BTreeMap::new();
    let mut rtts = Vec::new();
    for h in heard.iter().filter(belongs) {
        if !addresses.contains(&h.address) {
            addresses.push(h.address);
        }
        *marks.entry((h.sent, h.quoted, h.address)).or_default() += 1;
        rtts.extend(h.rtt_ns.filter(|ns| *ns >= 0));
    }
    let (sent, answered) = explorer.counts(hop);
    Hop {
        hop,
        silent: addresses.is_empty(),
        addresses,
        rtt_ms: round_trip(rtts),
        marks: marks
            .into_iter()
            .map(|((sent, quoted, address), count)| Mark { sent, quoted, address, count })
            .collect(),
        sent,
        answered,
        destination: end.destination_hop == Some(hop),
        refuses: end.refused_at == Some(hop),
        translated: heard.iter().filter(belongs).any(|h| h.translated),
    }
}

/// Nearest rank.
fn round_trip(mut rtts: Vec<i64>) -> Option<RoundTrip> {
    rtts.sort_unstable();
    let ms = |ns: &i64| *ns as f64 / 1e6;
    let middle = rtts.len().div_ceil(2).checked_sub(1)?;
    Some(RoundTrip { min: rtts.first().map(ms)?, p50: rtts.get(middle).map(ms)? })
}
