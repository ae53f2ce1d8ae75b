//! What a run asks of `measure`'s campaign: classes, ports and bytes; and in words, before anything is sent.

use measure::shaping::campaign::Ask;
use model::control::ProbePorts;
use model::shaping::Payload;
use model::{Family, Kind, TaskSpec};

use super::ShapingOptions;
use crate::duty::datagram_overhead;

/// What the control plane and the clock sessions take of the budget.
const FIXED_BYTES: u64 = 150_000;
const FIXED_BYTES_PER_SECOND: f64 = 1_600.0;

/// What a task asks, on these ports of the server; and what it cannot have.
pub(crate) fn ask(
    spec: &TaskSpec,
    options: &ShapingOptions,
    ports: &ProbePorts,
    family: Family,
    seconds: u32,
) -> (Ask, Vec<String>) {
    let mut untested = Vec::new();
    let open = |port: &u16| {
        let is_open = ports.trigger.contains(port) || *port == ports.udp || *port == ports.dns;
        if !is_open {
            untested
                .push(format!("port {port}: the server does not listen there; start it with --trigger-port {port}"));
        }
        is_open
    };
    let compared: Vec<u16> = options.ports.iter().copied().filter(open).collect();
    let payload = |kind: &Kind| match kind {
        Kind::Rtp => Some(Payload::Rtp),
        Kind::Dns => Some(Payload::Dns),
        Kind::Http => Some(Payload::Http),
        Kind::Tls => Some(Payload::Tls),
        _ => None,
    };
    let base = [Kind::Udp, Kind::Rtp].into_iter().find(|kind| spec.kinds.contains(kind));
    let ask = Ask {
        dscp: spec.dscp.clone(),
        payloads: spec.kinds.iter().filter_map(payload).collect(),
        ports: compared,
        base: if base == Some(Kind::Rtp) { Payload::Rtp } else { Payload::Random },
        udp_port: ports.udp,
        dns_port: ports.dns,
        tcp_port: ports.tcp,
        direction: spec.direction,
        size: spec.size,
        headers: datagram_overhead(family),
        budget_bytes: budget(options.budget_bytes, seconds),
        seconds: f64::from(seconds),
        transfers: true,
        alpha: options.alpha,
    };
    (ask, untested)
}

/// What is left for probes.
fn budget(all: u64, seconds: u32) -> u64 {
    all.saturating_sub(FIXED_BYTES + (FIXED_BYTES_PER_SECOND * f64::from(seconds)) as u64)
}

/// In words, what a run will send at most.
pub(crate) fn describe(ask: &Ask, options: &ShapingOptions, family: Family, seconds: u32) -> String {
    let pairs = ask.pairs();
    let mut parts = Vec::new();
    for session in &pairs {
        parts.push(format!(
            "up to {} pairs of each of {} comparisons at {:.1} pairs/s",
            session.rounds,
            session.design.hypotheses.len(),
            session.design.rounds_per_second
        ));
    }
    if let (Some(session), _) = ask.transfers() {
        let (design, directions) = (&session.design, u32::from(ask.direction.up()) + u32::from(ask.direction.down()));
        parts.push(format!(
            "up to {} pairs of TCP transfers of {:.0} kB of each of {} comparisons{} (at most {:.1} MB of it)",
            design.rounds,
            f64::from(design.bytes) / 1e3,
            design.hypotheses.len(),
            if directions > 1 { " each way" } else { "" },
            session.bytes as f64 / 1e6
        ));
    }
    format!(
        "will send at most {:.1} MB both ways over {family} within about {seconds} s: {}, then trains from 512 kbit/s upward as far as that allows",
        options.budget_bytes as f64 / 1e6,
        parts.join(", "),
    )
}
