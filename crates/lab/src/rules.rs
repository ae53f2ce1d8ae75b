//! A hop's policies as literal nftables text: one rule for each received value, as nft 1.0.6 can neither compute a DSCP
//! nor set it from a map.
//!
//! Rules work in the forward path. A chain for each direction drops, polices and marks for shaping by the mark as it
//! arrived, then jumps to a chain of DSCP rules and a chain of ECN rules; whichever rewrites returns, so that no later
//! rule of the chain sees its own hop's work.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::{Direction, Family};
use wire::{Dscp, Ecn};

use crate::policy::{Action, DscpSet, Policy, Protocol, Rate, Rewrite};
use crate::relay::{FAR, NEAR};
use crate::scenario::Hop;

/// Resolution of a share in nft's random numbers.
const SHARE_PARTS: u32 = 1_000_000;

/// tc's class of the shaping policy with this index; nft writes it into the packet's priority, htb obeys.
pub(crate) fn shape_class(policy: usize) -> String {
    format!("1:{:x}", 0x10 + policy)
}

/// tc's class of what shares a bottleneck with the marks that are told from it.
pub(crate) const REST_CLASS: &str = "1:ff";

/// The text for `nft -f -`; empty when there is nothing to do.
pub(crate) fn ruleset(hop: &Hop) -> String {
    if hop.policies.is_empty() {
        return String::new();
    }
    let mut limits = String::new();
    let mut directions = String::new();
    for direction in [Direction::Up, Direction::Down] {
        let early = early_rules(hop, direction, &mut limits);
        let dscp = rewriting_rules(hop, direction, dscp_rules);
        let ecn = rewriting_rules(hop, direction, ecn_rules);
        chain(&mut directions, &format!("{direction}_dscp"), &dscp);
        chain(&mut directions, &format!("{direction}_ecn"), &ecn);
        let jumps = [format!("jump {direction}_dscp"), format!("jump {direction}_ecn")];
        chain(&mut directions, direction.name(), &[early, jumps.to_vec()].concat());
    }
    let mut text = String::from("table inet netlat {\n");
    text.push_str(&limits);
    text.push_str(&directions);
    let forward = [
        "type filter hook forward priority filter; policy accept;".to_owned(),
        format!("iifname \"{NEAR}\" jump up"),
        format!("iifname \"{FAR}\" jump down"),
    ];
    chain(&mut text, "forward", &forward);
    let silent = silent_rules(hop);
    if !silent.is_empty() {
        let hook = vec!["type filter hook output priority filter; policy accept;".to_owned()];
        chain(&mut text, "output", &[hook, silent].concat());
    }
    text.push_str("}\n");
    if hop.policies.iter().any(|policy| policy.action == Action::Nat) {
        text.push_str("table ip netlat_nat {\n");
        let nat = [
            "type nat hook postrouting priority srcnat; policy accept;".to_owned(),
            format!("oifname \"{FAR}\" masquerade"),
        ];
        chain(&mut text, "postrouting", &nat);
        text.push_str("}\n");
    }
    text
}

fn chain(text: &mut String, name: &str, rules: &[String]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  chain {name} {{");
    for rule in rules {
        let _ = writeln!(text, "    {rule}");
    }
    let _ = writeln!(text, "  }}");
}

/// The families in which a policy works in this direction.
fn families(policy: &Policy, direction: Direction) -> impl Iterator<Item = Family> {
    let covered = policy.scope.covers_direction(direction);
    Family::ALL.into_iter().filter(move |family| covered && policy.scope.covers_family(*family))
}

/// `ip` or `ip6`, as nft calls the header.
fn header(family: Family) -> &'static str {
    if family == Family::Ipv4 { "ip" } else { "ip6" }
}

/// Matches the family, protocol and ports of the policy.
fn selector(policy: &Policy, direction: Direction, family: Family) -> String {
    let mut text = format!("meta nfproto {family} ");
    match policy.scope.protocol {
        Some(Protocol::Udp) => text.push_str("meta l4proto udp "),
        Some(Protocol::Tcp) => text.push_str("meta l4proto tcp "),
        Some(Protocol::Icmp) if family == Family::Ipv4 => text.push_str("meta l4proto icmp "),
        Some(Protocol::Icmp) => text.push_str("meta l4proto icmpv6 "),
        None if !policy.scope.ports.is_empty() => text.push_str("meta l4proto { tcp, udp } "),
        None => {}
    }
    if !policy.scope.ports.is_empty() {
        let end = if direction == Direction::Up { "dport" } else { "sport" };
        let range =
            |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        let ports: Vec<String> = policy.scope.ports.iter().map(range).collect();
        let _ = write!(text, "th {end} {{ {} }} ", ports.join(", "));
    }
    text
}

/// Matches the code points; nothing where the set has all of them.
fn dscp_match(set: DscpSet, family: Family) -> String {
    if set == DscpSet::ALL {
        return String::new();
    }
    let points: Vec<String> = set.iter().map(|dscp| dscp.get().to_string()).collect();
    format!("{} dscp {{ {} }} ", header(family), points.join(", "))
}

fn random_share(share: f64) -> String {
    if share >= 1.0 {
        return String::new();
    }
    let parts = ((share * f64::from(SHARE_PARTS)).round() as u32).max(1);
    format!("numgen random mod {SHARE_PARTS} < {parts} ")
}

fn early_rules(hop: &Hop, direction: Direction, limits: &mut String) -> Vec<String> {
    let mut rules = Vec::new();
    for (index, policy) in hop.policies.iter().enumerate() {
        let limit = format!("police_{index}_{direction}");
        let mut limited = false;
        for family in families(policy, direction) {
            let selector = selector(policy, direction, family);
            let ip = header(family);
            match &policy.action {
                Action::Drop { dscp, share } => {
                    rules.push(format!("{selector}{}{}drop", dscp_match(*dscp, family), random_share(*share)));
                }
                Action::EcnDropEct => rules.push(format!("{selector}{ip} ecn {{ 1, 2 }} drop")),
                Action::NoIcmpPass => {
                    let icmp = if family == Family::Ipv4 { "icmp" } else { "icmpv6" };
                    rules.push(format!("{selector}meta l4proto {icmp} drop"));
                }
                Action::Police { dscp, rate } => {
                    if !limited {
                        limited = true;
                        let _ = writeln!(limits, "  limit {limit} {{ {} }}", rate_over(*rate));
                    }
                    rules.push(format!("{selector}{}limit name \"{limit}\" drop", dscp_match(*dscp, family)));
                }
                Action::Shape { dscp, .. } => {
                    let class = shape_class(index);
                    rules.push(format!("{selector}{}meta priority set {class}", dscp_match(*dscp, family)));
                }
                Action::Share { dscp, .. } => {
                    let class = shape_class(index);
                    rules.push(format!("{selector}meta priority set {REST_CLASS}"));
                    rules.push(format!("{selector}{}meta priority set {class}", dscp_match(*dscp, family)));
                }
                _ => {}
            }
        }
    }
    rules
}

fn rate_over(rate: Rate) -> String {
    match rate {
        Rate::Packets { per_second, burst } => format!("rate over {per_second}/second burst {burst} packets"),
        Rate::Bytes { per_second, burst } => format!("rate over {per_second} bytes/second burst {burst} bytes"),
    }
}

fn rewriting_rules(hop: &Hop, direction: Direction, rules: fn(&Action, Family, &str) -> Vec<String>) -> Vec<String> {
    let mut all = Vec::new();
    for policy in &hop.policies {
        for family in families(policy, direction) {
            all.extend(rules(&policy.action, family, &selector(policy, direction, family)));
        }
    }
    all
}

fn dscp_rules(action: &Action, family: Family, selector: &str) -> Vec<String> {
    let ip = header(family);
    let mut sent_by_received: BTreeMap<Dscp, Vec<Dscp>> = BTreeMap::new();
    let mut rules = Vec::new();
    for sent in Dscp::all() {
        match action.rewrite_dscp(sent) {
            None => {}
            Some(Rewrite::To(received)) => sent_by_received.entry(received).or_default().push(sent),
            Some(Rewrite::Either { marks: [first, second], share }) => {
                let sent = dscp_match(DscpSet::from_iter([sent]), family);
                let chance = random_share(share);
                rules.push(format!("{selector}{sent}{chance}{ip} dscp set {} return", first.get()));
                rules.push(format!("{selector}{sent}{ip} dscp set {} return", second.get()));
            }
        }
    }
    rules.extend(sent_by_received.into_iter().map(|(received, sent)| {
        let sent = dscp_match(sent.into_iter().collect(), family);
        format!("{selector}{sent}{ip} dscp set {} return", received.get())
    }));
    rules
}

fn ecn_rules(action: &Action, family: Family, selector: &str) -> Vec<String> {
    let ip = header(family);
    let rewritten = Ecn::ALL.into_iter().filter_map(|sent| action.rewrite_ecn(sent).map(|received| (sent, received)));
    rewritten
        .map(|(sent, received)| format!("{selector}{ip} ecn {} {ip} ecn set {} return", sent.bits(), received.bits()))
        .collect()
}

fn silent_rules(hop: &Hop) -> Vec<String> {
    let mut rules = Vec::new();
    for policy in hop.policies.iter().filter(|policy| policy.action == Action::Silent) {
        for (direction, back_through) in [(Direction::Up, NEAR), (Direction::Down, FAR)] {
            for family in families(policy, direction) {
                let icmp = if family == Family::Ipv4 { "icmp" } else { "icmpv6" };
                rules.push(format!("oifname \"{back_through}\" {icmp} type time-exceeded drop"));
            }
        }
    }
    rules
}
