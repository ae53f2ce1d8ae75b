//! Names for what happened to the ECN bits. ECT becoming CE is a congested router doing its duty (RFC 3168, section 5);
//! every other change is a violation.

use std::collections::BTreeMap;

use model::Ecn;
use model::report::EcnFinding;

use super::RemarkingConfig;
use super::counts::{Fate, MarkCounts};

pub(super) struct Finding {
    pub(super) ecn: EcnFinding,
    pub(super) notes: Vec<String>,
}

const ECT: [Ecn; 2] = [Ecn::Ect0, Ecn::Ect1];

/// What is known of one sent code point.
struct Class<'a> {
    fate: Fate,
    received: Option<&'a BTreeMap<Ecn, u64>>,
    /// Received with a visible mark.
    visible: u64,
}

impl Class<'_> {
    fn share(&self, received: Ecn) -> f64 {
        self.count(received) as f64 / self.visible.max(1) as f64
    }

    fn count(&self, received: Ecn) -> u64 {
        self.received.and_then(|counts| counts.get(&received)).copied().unwrap_or(0)
    }
}

pub(super) fn judge(counts: &MarkCounts, config: &RemarkingConfig) -> Finding {
    let pairs = counts.ecn_pairs();
    let classes: BTreeMap<Ecn, Class<'_>> = counts
        .by_ecn()
        .into_iter()
        .map(|(sent, fate)| {
            let received = pairs.get(&sent);
            let visible = received.map_or(0, |counts| counts.values().sum());
            (sent, Class { fate, received, visible })
        })
        .collect();
    let evidence = |sent: Ecn| classes.get(&sent).filter(|class| class.visible >= config.min_per_class);
    // More than an odd packet: no router may do this, so some packets are enough.
    let became = |sent: Ecn, received: Ecn| {
        evidence(sent).is_some_and(|class| {
            class.count(received) >= config.min_packets && class.share(received) >= config.min_share
        })
    };
    let tested: Vec<Ecn> = Ecn::ALL.into_iter().filter(|sent| evidence(*sent).is_some()).collect();
    let marked: Vec<Ecn> = tested.iter().copied().filter(|sent| *sent != Ecn::NotEct).collect();

    if let Some(finding) = dropped(&classes, config) {
        return finding;
    }
    let change = |sent: Ecn, received: Ecn| {
        let share = evidence(sent).map_or(0.0, |class| class.share(received));
        format!("{sent} -> {received} on {:.0} %", 100.0 * share)
    };
    let violations = |changes: &[(Ecn, Ecn)]| -> Vec<String> {
        changes.iter().filter(|(sent, got)| became(*sent, *got)).map(|(sent, got)| change(*sent, *got)).collect()
    };
    let cleared = violations(&[(Ecn::Ect0, Ecn::NotEct), (Ecn::Ect1, Ecn::NotEct)]);
    let stripped = violations(&[(Ecn::Ce, Ecn::NotEct), (Ecn::Ce, Ecn::Ect0), (Ecn::Ce, Ecn::Ect1)]);
    let downgraded = violations(&[(Ecn::Ect1, Ecn::Ect0)]);
    let invented = violations(&[(Ecn::NotEct, Ecn::Ce)]);
    let unnamed = violations(&[(Ecn::NotEct, Ecn::Ect0), (Ecn::NotEct, Ecn::Ect1), (Ecn::Ect0, Ecn::Ect1)]);
    let ect_tested: Vec<Ecn> = ECT.into_iter().filter(|sent| evidence(*sent).is_some()).collect();
    let congested = |sent: &Ecn| evidence(*sent).is_some_and(|class| class.share(Ecn::Ce) >= config.nearly_all);
    let forced = !invented.is_empty() || (!ect_tested.is_empty() && ect_tested.iter().all(congested));
    let everywhere: Vec<String> =
        ect_tested.iter().filter(|sent| congested(sent)).map(|sent| change(*sent, Ecn::Ce)).collect();

    let ecn = if forced {
        EcnFinding::CeForced
    } else if !cleared.is_empty() {
        EcnFinding::Bleached
    } else if !downgraded.is_empty() {
        EcnFinding::Ect1ToEct0
    } else if !stripped.is_empty() {
        EcnFinding::CeStripped
    } else if !unnamed.is_empty() {
        EcnFinding::Remarked
    } else if marked.is_empty() {
        EcnFinding::Inconclusive
    } else {
        EcnFinding::None
    };
    let mut seen: Vec<String> = Vec::new();
    for changes in [invented, if forced { everywhere } else { Vec::new() }, cleared, downgraded, stripped, unnamed] {
        seen.extend(changes);
    }
    let mut notes = Vec::new();
    if !seen.is_empty() {
        notes.push(format!("ECN: {}", seen.join(", ")));
    }
    if marked.is_empty() && !forced {
        notes.push(untested(&classes, config));
    } else {
        let missing: Vec<String> = Ecn::ALL
            .iter()
            .filter(|sent| **sent != Ecn::NotEct && !marked.contains(sent))
            .map(Ecn::to_string)
            .collect();
        if !missing.is_empty() {
            notes.push(format!("ECN: no evidence for {}", missing.join(", ")));
        }
    }
    Finding { ecn, notes }
}

fn untested(classes: &BTreeMap<Ecn, Class<'_>>, config: &RemarkingConfig) -> String {
    if classes.keys().all(|sent| *sent == Ecn::NotEct) {
        "ECN: only Not-ECT was sent".to_owned()
    } else {
        format!("ECN: fewer than {} marks received of every code point but Not-ECT", config.min_per_class)
    }
}

/// ECN-capable packets that never arrive while others do.
fn dropped(classes: &BTreeMap<Ecn, Class<'_>>, config: &RemarkingConfig) -> Option<Finding> {
    let fate = |sent: Ecn| classes.get(&sent).map(|class| class.fate).unwrap_or_default();
    let gone: Vec<Ecn> = [Ecn::Ect0, Ecn::Ect1, Ecn::Ce]
        .into_iter()
        .filter(|sent| fate(*sent).sent() >= config.min_per_class && fate(*sent).arrived == 0)
        .collect();
    if gone.is_empty() {
        return None;
    }
    let list = gone.iter().map(|sent| format!("{sent} (0 of {})", fate(*sent).sent())).collect::<Vec<_>>().join(", ");
    let plain = fate(Ecn::NotEct);
    if plain.sent() < config.min_per_class {
        let note = format!("ECN: nothing arrived of {list}, and too little Not-ECT was sent to compare");
        return Some(Finding { ecn: EcnFinding::Inconclusive, notes: vec![note] });
    }
    let few = plain.lost as f64 <= config.few_lost * plain.sent() as f64;
    let compare = format!("{} of {} Not-ECT arrived", plain.arrived, plain.sent());
    let note = format!("ECN: nothing arrived of {list}, while {compare}");
    Some(Finding { ecn: if few { EcnFinding::EctDropped } else { EcnFinding::Inconclusive }, notes: vec![note] })
}
