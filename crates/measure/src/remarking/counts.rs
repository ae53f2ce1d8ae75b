//! How often each mark was sent, lost, and received as which mark.

use std::collections::BTreeMap;

use model::report::{DscpCount, EcnCount};
use model::{Dscp, Ecn, Tos};

/// Counts of whole ToS bytes; DSCP and ECN are judged apart from the same packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkCounts {
    sent: BTreeMap<Tos, Fate>,
    received: BTreeMap<(Tos, Tos), u64>,
}

/// What became of probes, whatever mark they arrived with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) arrived: u64,
    pub(super) lost: u64,
}

impl Fate {
    pub(super) fn sent(self) -> u64 {
        self.arrived + self.lost
    }
}

impl MarkCounts {
    pub fn new() -> MarkCounts {
        MarkCounts::default()
    }

    /// One probe was sent with the mark `sent` and never arrived.
    pub fn lost(&mut self, sent: Tos) {
        self.sent.entry(sent).or_default().lost += 1;
    }

    /// One probe was sent with the mark `sent` and arrived with `received`; `None` where the receiving socket does not show
    /// the mark.
    pub fn received(&mut self, sent: Tos, received: Option<Tos>) {
        self.sent.entry(sent).or_default().arrived += 1;
        if let Some(received) = received {
            *self.received.entry((sent, received)).or_default() += 1;
        }
    }

    /// Sums of many probes that were sent with the mark `sent`: by mark received, received without a visible one, lost.
    pub fn add(&mut self, sent: Tos, received: &BTreeMap<Tos, u64>, unseen: u64, lost: u64) {
        let fate = self.sent.entry(sent).or_default();
        fate.arrived += received.values().sum::<u64>() + unseen;
        fate.lost += lost;
        for (mark, count) in received {
            *self.received.entry((sent, *mark)).or_default() += count;
        }
    }

    /// Adds the counts of another time or session.
    pub fn merge(&mut self, other: &MarkCounts) {
        for (tos, fate) in &other.sent {
            let own = self.sent.entry(*tos).or_default();
            own.arrived += fate.arrived;
            own.lost += fate.lost;
        }
        for (pair, count) in &other.received {
            *self.received.entry(*pair).or_default() += count;
        }
    }

    /// Probes that arrived, with or without a visible mark.
    pub fn arrived(&self) -> u64 {
        self.sent.values().map(|fate| fate.arrived).sum()
    }

    /// Probes that arrived with a visible mark.
    pub fn visible(&self) -> u64 {
        self.received.values().sum()
    }

    pub(super) fn by_dscp(&self) -> BTreeMap<Dscp, Fate> {
        fates(self.sent.iter().map(|(tos, fate)| (tos.dscp(), *fate)))
    }

    pub(super) fn by_ecn(&self) -> BTreeMap<Ecn, Fate> {
        fates(self.sent.iter().map(|(tos, fate)| (tos.ecn(), *fate)))
    }

    pub(super) fn dscp_pairs(&self) -> BTreeMap<Dscp, BTreeMap<Dscp, u64>> {
        pairs(self.received.iter().map(|((sent, got), count)| (sent.dscp(), got.dscp(), *count)))
    }

    pub(super) fn ecn_pairs(&self) -> BTreeMap<Ecn, BTreeMap<Ecn, u64>> {
        pairs(self.received.iter().map(|((sent, got), count)| (sent.ecn(), got.ecn(), *count)))
    }

    pub(super) fn dscp_map(&self) -> Vec<DscpCount> {
        let row = |(sent, got, count): (Dscp, Dscp, u64)| DscpCount {
            dscp_sent: sent.get(),
            dscp_received: got.get(),
            count,
        };
        flat(self.dscp_pairs()).into_iter().map(row).collect()
    }

    pub(super) fn ecn_map(&self) -> Vec<EcnCount> {
        let row =
            |(sent, got, count): (Ecn, Ecn, u64)| EcnCount { ecn_sent: sent.bits(), ecn_received: got.bits(), count };
        flat(self.ecn_pairs()).into_iter().map(row).collect()
    }
}

fn fates<K: Ord>(items: impl Iterator<Item = (K, Fate)>) -> BTreeMap<K, Fate> {
    let mut out: BTreeMap<K, Fate> = BTreeMap::new();
    for (key, fate) in items {
        let sum = out.entry(key).or_default();
        sum.arrived += fate.arrived;
        sum.lost += fate.lost;
    }
    out
}

fn pairs<K: Ord>(items: impl Iterator<Item = (K, K, u64)>) -> BTreeMap<K, BTreeMap<K, u64>> {
    let mut out: BTreeMap<K, BTreeMap<K, u64>> = BTreeMap::new();
    for (sent, received, count) in items {
        *out.entry(sent).or_default().entry(received).or_default() += count;
    }
    out
}

fn flat<K: Ord + Copy>(pairs: BTreeMap<K, BTreeMap<K, u64>>) -> Vec<(K, K, u64)> {
    let row = |(sent, received): (K, BTreeMap<K, u64>)| received.into_iter().map(move |(got, n)| (sent, got, n));
    pairs.into_iter().flat_map(row).collect()
}
