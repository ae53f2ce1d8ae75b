//! A trace as lines for people.

use model::Tos;

use super::{Change, Hop, PathReport};

pub(super) fn lines(report: &PathReport) -> Vec<String> {
    let trace = &report.trace;
    let mut lines = vec![format!(
        "path to {} ({}), UDP port {} from {}: {} probes, {} answers",
        trace.target, trace.family, trace.port, trace.from, trace.sent, trace.answered
    )];
    let rows: Vec<[String; 5]> = trace.hops.iter().map(row).collect();
    let head = ["hop", "address", "min ms", "p50 ms", "marks (sent>quoted)"].map(str::to_owned);
    lines.extend(table(head, rows));
    lines.push(String::new());
    if report.changes.is_empty() {
        lines.push(if trace.reached && trace.destination_hop.is_some() {
            "no mark is changed on this path".to_owned()
        } else {
            "no mark is changed as far as the path was seen".to_owned()
        });
    }
    lines.extend(grouped(&report.changes));
    for misquote in &report.misquotes {
        let why = if misquote.proven { "they cannot have been" } else { "or a box behind it restored them" };
        lines.push(format!("hop {} quotes marks that later hops do not show: not believed ({why})", misquote.hop));
    }
    lines.extend(trace.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn row(hop: &Hop) -> [String; 5] {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let addresses: Vec<String> = hop.addresses.iter().map(ToString::to_string).collect();
    [
        hop.hop.to_string(),
        if hop.silent { "*".to_owned() } else { addresses.join(" ") },
        ms(hop.rtt_ms.map(|rtt| rtt.min)),
        ms(hop.rtt_ms.map(|rtt| rtt.p50)),
        marks(hop),
    ]
}

fn marks(hop: &Hop) -> String {
    if hop.silent {
        return format!("no answer to {} probes", hop.sent);
    }
    let mut changed: Vec<String> = Vec::new();
    let mut unchanged = false;
    for mark in &hop.marks {
        if mark.sent == mark.quoted {
            unchanged = true;
        } else {
            let text = arrow(mark.sent, mark.quoted);
            if !changed.contains(&text) {
                changed.push(text);
            }
        }
    }
    let mut text = match (changed.is_empty(), unchanged) {
        (true, _) => "as sent".to_owned(),
        (false, true) => format!("{}, others as sent", changed.join(", ")),
        (false, false) => changed.join(", "),
    };
    for (flag, name) in [(hop.destination, "target"), (hop.refuses, "refuses"), (hop.translated, "behind NAT")] {
        if flag {
            text.push_str(" (");
            text.push_str(name);
            text.push(')');
        }
    }
    text
}

/// `EF>CS0`, with the ECN where one of them has one.
fn arrow(from: Tos, to: Tos) -> String {
    if from.ecn() == to.ecn() && from.ecn() == model::Ecn::NotEct {
        format!("{}>{}", from.dscp(), to.dscp())
    } else {
        format!("{from}>{to}")
    }
}

/// Changes at one place in one line.
fn grouped(changes: &[Change]) -> Vec<String> {
    let mut groups: Vec<(&Change, Vec<String>)> = Vec::new();
    for change in changes {
        let text = arrow(change.from_mark, change.to_mark);
        let same =
            |(first, _): &&mut (&Change, Vec<String>)| first.location == change.location && first.note == change.note;
        match groups.iter_mut().find(same) {
            Some((_, texts)) if texts.contains(&text) => {}
            Some((_, texts)) => texts.push(text),
            None => groups.push((change, vec![text])),
        }
    }
    groups.iter().map(|(change, texts)| format!("{}: {}{}", texts.join(", "), place(change), note(change))).collect()
}

fn place(change: &Change) -> String {
    let (after, by) = (change.location.after_hop, change.location.by_hop);
    let end = if change.at_destination { ", the target" } else { "" };
    match (after, by) {
        (0, 0) => "changed on this host".to_owned(),
        (0, by) => format!("changed between this host and hop {by}{end}"),
        (after, by) => format!("changed after hop {after}, by hop {by}{end}"),
    }
}

fn note(change: &Change) -> String {
    change.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"))
}

fn table(head: [String; 5], rows: Vec<[String; 5]>) -> Vec<String> {
    let mut widths = head.each_ref().map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [hop_width, address_width, min_width, p50_width, _] = widths;
    std::iter::once(head)
        .chain(rows)
        .map(|[hop, address, min, p50, marks]| {
            format!("{hop:>hop_width$}  {address:<address_width$}  {min:>min_width$}  {p50:>p50_width$}  {marks}")
        })
        .collect()
}
