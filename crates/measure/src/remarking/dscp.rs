//! Names for what happened to the DSCP: RFC 9435, section 4, and what these names leave.

use std::collections::{BTreeMap, BTreeSet};

use model::Dscp;
use model::report::Pathology;

use super::RemarkingConfig;
use super::counts::MarkCounts;

pub(super) struct Finding {
    pub(super) pathology: Pathology,
    pub(super) notes: Vec<String>,
}

/// One way in which RFC 9435 says DSCPs are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    BleachDscp,
    BleachTosPrecedence,
    BleachSomeTos,
    /// The new precedence, 1..=7.
    RemarkTos(u8),
    BleachLow,
    BleachSomeLow,
    /// The constant, 1..=63.
    RemarkDscp(u8),
}

impl Rule {
    /// What a DSCP becomes.
    fn apply(self, sent: u8) -> u8 {
        // The "some" rules leave alone what has both of its top bits set: CS6, CS7 and their neighbours.
        let control = sent & 0b11_0000 == 0b11_0000;
        match self {
            Rule::BleachDscp => 0,
            Rule::BleachSomeTos | Rule::BleachSomeLow if control => sent,
            Rule::BleachTosPrecedence | Rule::BleachSomeTos => sent & 0b00_0111,
            Rule::BleachLow | Rule::BleachSomeLow => sent & 0b11_1000,
            Rule::RemarkTos(precedence) => precedence << 3 | sent & 0b00_0111,
            Rule::RemarkDscp(constant) => constant,
        }
    }

    fn pathology(self) -> Pathology {
        match self {
            Rule::BleachDscp => Pathology::BleachDscp,
            Rule::BleachTosPrecedence => Pathology::BleachTosPrecedence,
            Rule::BleachSomeTos => Pathology::BleachSomeTos,
            Rule::RemarkTos(_) => Pathology::RemarkTos,
            Rule::BleachLow => Pathology::BleachLow,
            Rule::BleachSomeLow => Pathology::BleachSomeLow,
            Rule::RemarkDscp(_) => Pathology::RemarkDscp,
        }
    }

    fn describe(self) -> String {
        let name = self.pathology().name();
        match self {
            Rule::RemarkTos(precedence) => format!("{name} (precedence {precedence})"),
            Rule::RemarkDscp(constant) => format!("{name} (to {})", label(constant)),
            _ => name.to_owned(),
        }
    }

    /// In order of preference where several explain the same: what does most in the fewest words first. A constant comes
    /// last, for any other rule explains one code point's change by chance only one time in eight.
    fn all() -> impl Iterator<Item = Rule> {
        let bleach = [Rule::BleachDscp, Rule::BleachTosPrecedence, Rule::BleachSomeTos];
        let low = [Rule::BleachLow, Rule::BleachSomeLow];
        bleach.into_iter().chain((1..8).map(Rule::RemarkTos)).chain(low).chain((1..64).map(Rule::RemarkDscp))
    }
}

/// `EF (46)`, or `54` where the code point has no name.
fn label(dscp: u8) -> String {
    match Dscp::new(dscp).and_then(Dscp::name) {
        Some(name) => format!("{name} ({dscp})"),
        None => dscp.to_string(),
    }
}

/// A few items by name, the rest by number.
fn list(items: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let items: Vec<String> = items.into_iter().collect();
    match items.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", items[..SHOWN].join(", ")),
        _ => items.join(", "),
    }
}

pub(super) fn judge(counts: &MarkCounts, config: &RemarkingConfig) -> Finding {
    let pairs = counts.dscp_pairs();
    let mut map: BTreeMap<u8, u8> = BTreeMap::new();
    let mut unstable: Vec<String> = Vec::new();
    let (mut gone, mut thin) = (Vec::new(), Vec::new());
    for (sent, fate) in counts.by_dscp() {
        let received = pairs.get(&sent);
        let total: u64 = received.map_or(0, |received| received.values().sum());
        if total < config.min_per_class {
            if fate.arrived == 0 && fate.sent() >= config.min_per_class {
                gone.push(format!("{} (0 of {} arrived)", label(sent.get()), fate.sent()));
            } else {
                thin.push(label(sent.get()));
            }
            continue;
        }
        let enough = |count: u64| count >= config.min_packets && count as f64 >= config.min_share * total as f64;
        let values = received.into_iter().flatten().filter(|(_, count)| enough(**count));
        let values: Vec<(u8, u64)> = values.map(|(got, count)| (got.get(), *count)).collect();
        if let [(only, _)] = values[..] {
            map.insert(sent.get(), only);
        } else {
            let seen = list(values.iter().map(|(got, count)| format!("{} x{count}", label(*got))));
            let seen = if seen.is_empty() { "no value twice".to_owned() } else { seen };
            unstable.push(format!("{} -> {seen}", label(sent.get())));
        }
    }
    let mut finding = if unstable.is_empty() {
        name(&map)
    } else {
        Finding { pathology: Pathology::Unstable, notes: vec![format!("several values received: {}", list(unstable))] }
    };
    if !gone.is_empty() {
        finding.notes.push(format!("lost altogether: {}", list(gone)));
    }
    if !thin.is_empty() {
        let least = config.min_per_class;
        finding.notes.push(format!("fewer than {least} marks received, no evidence: {}", list(thin)));
    }
    finding
}

/// Names a map of sent to received DSCP.
fn name(map: &BTreeMap<u8, u8>) -> Finding {
    let finding = |pathology, notes| Finding { pathology, notes };
    let changed: Vec<(u8, u8)> = map.iter().filter(|(sent, got)| sent != got).map(|(s, g)| (*s, *g)).collect();
    if map.is_empty() {
        return finding(Pathology::Inconclusive, vec!["too few marks received".to_owned()]);
    }
    if changed.is_empty() {
        if map.keys().all(|sent| *sent == 0) {
            let note = "only DSCP 0 has evidence, and bleaching does not change it".to_owned();
            return finding(Pathology::Inconclusive, vec![note]);
        }
        let hidden: BTreeSet<&str> = consistent(map).map(|rule| rule.pathology().name()).collect();
        let note = |hidden: BTreeSet<&str>| {
            let names = list(hidden.into_iter().map(str::to_owned));
            format!("the code points sent would not show {names}")
        };
        return finding(Pathology::None, if hidden.is_empty() { Vec::new() } else { vec![note(hidden)] });
    }
    if let Some(found) = named(map) {
        return found;
    }
    let bleached = changed.iter().all(|(_, got)| *got == 0);
    if !bleached && let Some(found) = grouped(map) {
        return found;
    }
    partial(map, &changed)
}

/// Rules that explain every code point.
fn consistent(map: &BTreeMap<u8, u8>) -> impl Iterator<Item = Rule> {
    Rule::all().filter(move |rule| map.iter().all(|(sent, got)| rule.apply(*sent) == *got))
}

fn named(map: &BTreeMap<u8, u8>) -> Option<Finding> {
    let mut fitting: Vec<Rule> = consistent(map).collect();
    if map.len() == 1 && map.contains_key(&0) {
        // Of DSCP 0 alone no bit is seen to survive: the constant says no more than was seen.
        fitting.reverse();
    }
    let (best, others) = fitting.split_first()?;
    let mut notes = Vec::new();
    if matches!(best, Rule::RemarkTos(_) | Rule::RemarkDscp(_)) {
        notes.push(best.describe());
    }
    if !others.is_empty() {
        let names = list(others.iter().map(|rule| rule.describe()));
        notes.push(format!("with the code points sent, {names} would look the same"));
    }
    Some(Finding { pathology: best.pathology(), notes })
}

/// Constants that a few groups of code points may have.
const MOST_GROUPS: usize = 4;

/// Few constants: every code point becomes one of at most two values, or one in eight of those sent, and no rule explains
/// three quarters of them better.
fn grouped(map: &BTreeMap<u8, u8>) -> Option<Finding> {
    let mut groups: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for (sent, got) in map {
        groups.entry(*got).or_default().push(*sent);
    }
    // One code point left alone among few is an exception, not a group.
    let exception = map.len() < 16 && groups.iter().any(|(got, sent)| *got != 0 && sent == &[*got]);
    let explained = |rule: &Rule| map.iter().filter(|(sent, got)| rule.apply(**sent) == **got).count();
    let ruled = Rule::all().any(|rule| explained(&rule) * 4 >= map.len() * 3);
    if exception || ruled || groups.len() > (map.len() / 8).clamp(2, MOST_GROUPS) {
        return None;
    }
    let group =
        |(got, sent): (&u8, &Vec<u8>)| format!("{} -> {}", list(sent.iter().map(|sent| label(*sent))), label(*got));
    let notes = vec![format!("constants by group: {}", groups.iter().map(group).collect::<Vec<_>>().join("; "))];
    Some(Finding { pathology: Pathology::RemarkDscp, notes })
}

/// A rule, or none at all, with the fewest exceptions.
fn partial(map: &BTreeMap<u8, u8>, changed: &[(u8, u8)]) -> Finding {
    let exceptions = |rule: &Rule| map.iter().filter(|(sent, got)| rule.apply(**sent) != **got).count();
    let best = Rule::all().min_by_key(exceptions);
    let arrow = |(sent, got): (u8, u8)| format!("{} -> {}", label(sent), label(got));
    let note = match best {
        Some(rule) if exceptions(&rule) < changed.len() => {
            let odd = map.iter().filter(|(sent, got)| rule.apply(**sent) != **got).map(|(s, g)| (*s, *g));
            let odd = odd.map(
                |(sent, got)| {
                    if sent == got { format!("{} unchanged", label(sent)) } else { arrow((sent, got)) }
                },
            );
            format!("{} except {}", rule.describe(), list(odd))
        }
        _ => {
            let unchanged = map.len() - changed.len();
            format!(
                "{}; {unchanged} other{} unchanged",
                list(changed.iter().copied().map(arrow)),
                if unchanged == 1 { "" } else { "s" }
            )
        }
    };
    Finding { pathology: Pathology::Partial, notes: vec![note] }
}
