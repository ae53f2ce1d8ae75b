//! A hop's shapers and bottlenecks as lines for `tc -batch`: htb classes, each with a queue of its own. `rules` puts packets
//! into classes; whatever no rule put into one passes unshaped.

use model::Direction;

use crate::policy::{Action, Policy};
use crate::rules::{REST_CLASS, shape_class};

/// Bytes a class may send in its turn: one full frame for each unit of weight.
const QUANTUM: u32 = 1514;
/// Of a bottleneck, what is left to the rest while the others are served first.
const LEAST_SHARE: u64 = 100;

pub(crate) fn lines(interface: &str, direction: Direction, policies: &[Policy]) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, policy) in policies.iter().enumerate().filter(|(_, policy)| policy.scope.covers_direction(direction)) {
        let class = shape_class(index);
        let classes = match policy.action {
            Action::Shape { bits_per_second, burst_bytes, queue_bytes, .. } => {
                shaper(interface, &class, bits_per_second, burst_bytes, queue_bytes)
            }
            Action::Share { bits_per_second, queue_bytes, weight, .. } => {
                bottleneck(interface, &class, bits_per_second, queue_bytes, weight)
            }
            _ => continue,
        };
        if lines.is_empty() {
            lines.push(format!("qdisc add dev {interface} root handle 1: htb"));
        }
        lines.extend(classes);
    }
    lines
}

fn shaper(interface: &str, class: &str, rate: u64, burst: u64, queue: u64) -> Vec<String> {
    vec![
        format!(
            "class add dev {interface} parent 1: classid {class} htb rate {rate}bit ceil {rate}bit burst {burst}b cburst {burst}b quantum {QUANTUM}"
        ),
        format!("qdisc add dev {interface} parent {class} bfifo limit {queue}b"),
    ]
}

/// Two classes below one of the bottleneck's rate. Each has its part for certain and borrows what the other leaves; the one with the
/// lower `prio` is offered it first.
fn bottleneck(interface: &str, class: &str, rate: u64, queue: u64, weight: Option<u32>) -> Vec<String> {
    let parts = u64::from(weight.map_or(LEAST_SHARE as u32 - 1, |weight| weight)) + 1;
    let rest = (rate / parts).max(1);
    let rest_prio = u8::from(weight.is_none());
    let quantum = QUANTUM * weight.unwrap_or(1);
    let leaf = |class: &str, own: u64, prio: u8, quantum: u32| {
        [
            format!(
                "class add dev {interface} parent 1:1 classid {class} htb rate {own}bit ceil {rate}bit prio {prio} quantum {quantum}"
            ),
            format!("qdisc add dev {interface} parent {class} bfifo limit {queue}b"),
        ]
    };
    let mut lines = vec![format!("class add dev {interface} parent 1: classid 1:1 htb rate {rate}bit ceil {rate}bit")];
    lines.extend(leaf(class, rate.saturating_sub(rest).max(1), 0, quantum));
    lines.extend(leaf(REST_CLASS, rest, rest_prio, QUANTUM));
    lines
}
