//! Verdicts in words: one sentence each, and with `--explain` the evidence.

use std::fmt::Write;

use model::report::{
    Differentiation, ErrorRateKind, Estimate, FlowRule, LimitKind, Path, RateLimit, Sharing, Subject, Throughput,
    UnderLoad, Verdict,
};
use model::{Direction, Dscp, Ecn, WorkerName};

/// All of a path's verdicts, a line or more each; empty where nothing was compared.
pub fn lines(path: &Path, explain: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(limit) = &path.rate_limit {
        lines.push(shared_limit(limit));
    }
    for entry in &path.differentiation {
        lines.push(sentence(&path.worker, path.direction, entry));
        if explain {
            lines.extend(evidence(entry).into_iter().map(|line| format!("    {line}")));
        }
    }
    if !lines.is_empty() {
        lines.push("these verdicts speak of the path to this server, not to Discord".to_owned());
    }
    lines
}

/// `EF`, `54`, `AF41+ECT(0)`.
pub fn class_name(dscp: u8, ecn: u8) -> String {
    let dscp = Dscp::new(dscp).unwrap_or_default();
    match Ecn::from_bits(ecn) {
        Ecn::NotEct => dscp.to_string(),
        ecn => format!("{dscp}+{ecn}"),
    }
}

/// `EF toward nyc1 is policed at 300 kbit/s with a 10 kB bucket between hop 3 and 4 (alpha 0.001, 412 pairs, 9 s)`.
pub fn sentence(worker: &WorkerName, direction: Direction, entry: &Differentiation) -> String {
    let way = match direction {
        Direction::Up => format!("from {worker}"),
        Direction::Down => format!("toward {worker}"),
        Direction::RoundTrip => format!("from {worker} and back"),
    };
    let mut line = format!("{} {way} {}", what(&entry.subject, &entry.control), outcome(entry));
    match entry.location {
        Some(place) => {
            let _ = write!(line, " between hop {} and {}", place.after_hop, place.by_hop);
        }
        None if entry.verdict.is_finding() => {
            line.push_str(", at a hop that is not localised");
            if let Some(reason) = &entry.where_note {
                let _ = write!(line, " ({reason})");
            }
        }
        None => {}
    }
    let (name, value) = match entry.error_rate.kind {
        ErrorRateKind::PerRun => ("alpha", format!("{}", entry.error_rate.value)),
        ErrorRateKind::PerYear => ("false changes a year", format!("{}", entry.error_rate.value)),
    };
    let _ = write!(line, " ({name} {value}, {} pairs, {:.0} s)", entry.pairs, entry.seconds);
    for flag in &entry.flags {
        let _ = write!(line, "; {flag}");
    }
    if let Some(seen) = &entry.throughput {
        let _ = write!(line, "; {}", throughput(seen));
    }
    if let Some(load) = &entry.under_load {
        let _ = write!(line, "; under {} of load: {}", bit_rate(load.load_bps), sharing(load));
    }
    line
}

/// `TCP carries it at 1.93 Mbit/s, its control at 94.1 Mbit/s (24 pairs of 131.1 kB)`.
fn throughput(seen: &Throughput) -> String {
    let rate = |estimate: Option<Estimate>| {
        estimate.map_or_else(|| "a rate not known yet".to_owned(), |rate| bit_rate(rate.estimate))
    };
    let of = format!("({} pairs of {})", seen.pairs, bytes(f64::from(seen.bytes)));
    format!("TCP carries it at {}, its control at {} {of}", rate(seen.subject_bps), rate(seen.control_bps))
}

fn sharing(load: &UnderLoad) -> String {
    match load.sharing {
        Sharing::Equal => "both are lost alike".to_owned(),
        Sharing::StrictPriority => "strict priority (or nine to one and more)".to_owned(),
        Sharing::StrictlyLast => "strictly last, after best effort".to_owned(),
        Sharing::Weighted => format!("weighted sharing, {:.2} to 1", load.weight),
        Sharing::NotLoaded => "the path was not filled".to_owned(),
    }
}

/// The subject by what tells it from its control.
pub fn what(subject: &Subject, control: &Subject) -> String {
    let protocol = if subject.payload.is_stream() { "TCP" } else { "UDP" };
    if subject.dscp != control.dscp && subject.payload.is_stream() {
        format!("{} on TCP", class_name(subject.dscp, 0))
    } else if subject.dscp != control.dscp {
        class_name(subject.dscp, 0)
    } else if subject.port != control.port {
        format!("{protocol} to port {}", subject.port)
    } else if subject.payload != control.payload {
        format!("{} on {protocol} port {}", subject.payload, subject.port)
    } else {
        class_name(subject.dscp, 0)
    }
}

fn outcome(entry: &Differentiation) -> String {
    let shift = |estimate: Option<Estimate>| estimate.map_or(0.0, |shift| shift.estimate.abs());
    match entry.verdict {
        Verdict::None => "is treated like the rest".to_owned(),
        Verdict::Inconclusive => format!("is undecided: {}", entry.note),
        Verdict::Void => format!("cannot be judged: {}", entry.note),
        Verdict::Blocked => "is blocked".to_owned(),
        Verdict::Delayed if entry.delay_shift_ms.is_none() && entry.throughput.is_some() => "is slower".to_owned(),
        Verdict::Lossy if entry.loss_shift.is_none() => "is lost more often".to_owned(),
        Verdict::Delayed if shift(entry.delay_shift_ms) < shift(entry.p95_shift_ms) / 4.0 => {
            format!("is delayed: its slowest twentieth by {:.2} ms", shift(entry.p95_shift_ms))
        }
        Verdict::Delayed => format!("is delayed by {:.2} ms", shift(entry.delay_shift_ms)),
        Verdict::Lossy => format!("is lost more often, by {:.2} percentage points", 100.0 * shift(entry.loss_shift)),
        Verdict::Policed => format!("is policed{}", limit(entry)),
        Verdict::Shaped => format!("is shaped{}", limit(entry)),
        Verdict::Favoured if entry.rate_bps.is_some() => format!("is favoured: limited{}", limit(entry)),
        Verdict::Favoured => {
            let faster = entry.throughput.filter(|seen| seen.verdict == Verdict::Favoured).and_then(|seen| seen.ratio);
            if let Some(ratio) = faster {
                return format!("is favoured: TCP carries it {:.2} times as fast", ratio.estimate);
            }
            let loss = entry.loss_shift.filter(|loss| loss.high < 0.0).map(|loss| -loss.estimate * 100.0);
            let delay = entry.delay_shift_ms.filter(|delay| delay.high < 0.0).map(|delay| -delay.estimate);
            match (delay, loss) {
                (Some(ms), _) => format!("is favoured: {ms:.2} ms faster"),
                (None, Some(points)) => format!("is favoured: {points:.2} percentage points less lost"),
                (None, None) => "is favoured".to_owned(),
            }
        }
    }
}

fn limit(entry: &Differentiation) -> String {
    let mut text = String::new();
    if let Some(rate) = entry.rate_bps {
        let _ = write!(text, " at {}", bit_rate(rate.estimate));
    }
    if let Some(burst) = entry.burst_bytes {
        let _ = write!(text, " with a {} bucket", bytes(burst.estimate));
    }
    if let Some(after) = entry.limit_after {
        let _ = write!(text, " after {} or {:.1} s", bytes(after.bytes as f64), after.seconds);
    }
    if let Some(mark) = entry.excess_dscp {
        let _ = write!(text, ", excess is remarked to {}", class_name(mark, 0));
    }
    text
}

pub fn shared_limit(limit: &RateLimit) -> String {
    let kind = match limit.kind {
        LimitKind::Policer => "policed",
        LimitKind::Shaper => "shaped",
    };
    format!(
        "all classes alike are {kind} at {} ({} with Ethernet headers) with a {} bucket: the path's limit, no differentiation",
        bit_rate(limit.rate_bps.estimate),
        bit_rate(limit.rate_l2_bps.estimate),
        bytes(limit.burst_bytes.estimate)
    )
}

pub fn evidence(entry: &Differentiation) -> Vec<String> {
    let mut lines = vec![
        format!("compared with {}; {} hypotheses share the error rate", describe(&entry.control), entry.hypotheses),
        format!(
            "e-values: delay 10^{:.1}, loss 10^{:.1}{}",
            entry.log10_e.delay,
            entry.log10_e.loss,
            named_from(entry)
        ),
    ];
    let interval = |name: &str, estimate: Option<Estimate>, factor: f64, unit: &str| {
        estimate.map(|e| {
            let [estimate, low, high] = [e.estimate, e.low, e.high].map(|value| value * factor);
            format!("{name} {estimate:+.3} {unit}, within {low:+.3} to {high:+.3}")
        })
    };
    lines.extend(interval("delay", entry.delay_shift_ms, 1.0, "ms"));
    lines.extend(interval("slowest twentieth", entry.p95_shift_ms, 1.0, "ms"));
    lines.extend(interval("loss", entry.loss_shift, 100.0, "pp"));
    if let Some(seen) = &entry.throughput {
        lines.push(format!(
            "throughput: {} by itself, e-value 10^{:.1}; sent again {} segments, of the control {}",
            seen.verdict.name(),
            seen.log10_e,
            seen.subject_retransmits,
            seen.control_retransmits
        ));
        lines.extend(interval("throughput of the subject", seen.subject_bps, 1e-3, "kbit/s"));
        lines.extend(interval("throughput of the control", seen.control_bps, 1e-3, "kbit/s"));
        lines.extend(interval("ratio of the two", seen.ratio, 1.0, ""));
    }
    lines.extend(interval("rate", entry.rate_bps, 1e-3, "kbit/s (layer 3)"));
    lines.extend(interval("rate", entry.rate_l2_bps, 1e-3, "kbit/s (layer 2)"));
    lines.extend(interval("bucket", entry.burst_bytes, 1e-3, "kB"));
    if let Some(rule) = entry.flow_rule {
        let rule = match rule {
            FlowRule::PerPacket => "each packet's own mark decides",
            FlowRule::FirstPacket => "a flow's first packet decides for the whole flow",
            FlowRule::Both => "both each packet's mark and the flow's first packet decide",
        };
        lines.push(rule.to_owned());
    }
    if let Some(note) = entry.where_note.as_ref().filter(|_| entry.location.is_some()) {
        lines.push(format!("hops: {note}"));
    }
    for point in &entry.course {
        lines.push(format!(
            "after {} pairs: delay 10^{:.1}, loss 10^{:.1}",
            point.pairs, point.log10_e.delay, point.log10_e.loss
        ));
    }
    if !entry.note.is_empty() && !matches!(entry.verdict, Verdict::Inconclusive | Verdict::Void) {
        lines.push(entry.note.clone());
    }
    lines
}

fn named_from(entry: &Differentiation) -> String {
    match entry.error_rate.kind {
        ErrorRateKind::PerRun => {
            let hypotheses = f64::from(entry.hypotheses.max(1));
            format!("; named from 10^{:.1} on", (hypotheses / entry.error_rate.value.max(1e-12)).log10())
        }
        // Beside the detector's own, which counts all workers.
        ErrorRateKind::PerYear => ", since the detector's last alarm".to_owned(),
    }
}

fn describe(subject: &Subject) -> String {
    format!("{} {} on port {}", class_name(subject.dscp, 0), subject.payload, subject.port)
}

fn bit_rate(bps: f64) -> String {
    match bps {
        bps if bps >= 1e7 => format!("{:.1} Mbit/s", bps / 1e6),
        bps if bps >= 1e6 => format!("{:.2} Mbit/s", bps / 1e6),
        bps => format!("{:.0} kbit/s", bps / 1e3),
    }
}

fn bytes(bytes: f64) -> String {
    if bytes >= 1e6 { format!("{:.1} MB", bytes / 1e6) } else { format!("{:.1} kB", bytes / 1e3) }
}
