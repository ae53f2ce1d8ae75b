//! A report as tables for people, with units.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use measure::words::{self, class_name};
use model::report::{Application, Class, Media, MediaSource, Path, Remarking, Report};

pub fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table
}

pub fn right(table: &mut Table, from: usize) {
    for index in from..table.column_count() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// `explain`: the evidence of each verdict as well.
pub fn report(report: &Report, explain: bool) -> String {
    let mut out = String::new();
    if report.paths.is_empty() && report.applications.is_empty() && report.media.is_empty() {
        out.push_str("No samples in this window: is a worker connected, and does --since reach back far enough?\n");
    }
    for path in &report.paths {
        write_path(&mut out, path, explain);
    }
    for change in &report.changes {
        let _ = writeln!(
            out,
            "changed {}: {} {} {}: {} -> {}",
            change.at,
            change.worker,
            change.direction,
            words::what(&change.subject, &change.control),
            change.from.name(),
            change.to.name()
        );
    }
    if !report.applications.is_empty() {
        let _ = writeln!(out, "applications\n{}", indent(&applications(&report.applications)));
    }
    if !report.media.is_empty() {
        let _ = writeln!(out, "media hosts, medians in ms\n{}", indent(&media(&report.media)));
    }
    for line in &report.untested {
        let _ = writeln!(out, "not tested: {line}");
    }
    out
}

fn write_path(out: &mut String, path: &Path, explain: bool) {
    let ends = match (&path.from, &path.to) {
        (Some(from), Some(to)) => format!("  ({from} -> {to})"),
        _ => String::new(),
    };
    let _ = writeln!(out, "{} {} {}{ends}", path.worker, path.direction, path.family);
    if let Some(clock) = &path.clock {
        let _ = writeln!(
            out,
            "  clock: offset {:+.3} ms, uncertain by {:.3} ms, skew {:+.2} ppm, {} step(s)",
            clock.offset_ms, clock.uncertainty_ms, clock.skew_ppm, clock.steps
        );
    }
    if !path.classes.is_empty() {
        out.push_str(&indent(&classes(&path.classes)));
    }
    for remarking in &path.remarking {
        let _ = writeln!(out, "  {}", remarking_line(remarking));
    }
    for line in words::lines(path, explain) {
        let _ = writeln!(out, "  {line}");
    }
    out.push('\n');
}

fn classes(classes: &[Class]) -> String {
    let mut table = new(&[
        "kind",
        "class",
        "sent",
        "lost",
        "dup",
        "reord",
        "delay ms min",
        "p50",
        "p95",
        "p99",
        "+-",
        "ipdv p50",
        "rtt p50",
    ]);
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    for class in classes {
        let delay = class.owd_ms;
        table.add_row([
            class.kind.to_string(),
            class_name(class.dscp, class.ecn),
            class.sent.to_string(),
            loss(class.lost, class.sent),
            class.duplicated.to_string(),
            class.reordered.to_string(),
            ms(delay.map(|q| q.min)),
            ms(delay.map(|q| q.p50)),
            ms(delay.map(|q| q.p95)),
            ms(delay.map(|q| q.p99)),
            ms(class.owd_uncertainty_ms),
            ms(class.ipdv_ms.map(|ipdv| ipdv.p50)),
            ms(class.rtt_ms.map(|q| q.p50)),
        ]);
    }
    right(&mut table, 2);
    table.to_string()
}

/// Each library's latency beside the network's on the same connections.
pub fn applications(applications: &[Application]) -> String {
    let mut table =
        new(&["worker", "library", "metric", "app ms p50", "p95", "network p50", "min", "overhead p50", "n", "flags"]);
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    for application in applications {
        table.add_row([
            application.worker.to_string(),
            application.library.clone(),
            application.metric.to_string(),
            ms(application.app_ms.map(|app| app.p50)),
            ms(application.app_ms.map(|app| app.p95)),
            ms(application.network_ms.map(|network| network.p50)),
            ms(application.network_ms.map(|network| network.min)),
            ms(application.overhead_ms.map(|overhead| overhead.p50)),
            application.samples.to_string(),
            application.flags.join(" "),
        ]);
    }
    right(&mut table, 3);
    table.to_string()
}

/// How far each worker's media hosts are.
fn media(hosts: &[Media]) -> String {
    let mut table = new(&["worker", "host", "city", "source", "DNS", "ICMP", "TCP", "UDP", "n", "flags"]);
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    for host in hosts {
        let source = match host.source {
            MediaSource::Dns => "seen in DNS",
            MediaSource::VoiceServerUpdate => "own bot",
            MediaSource::Configured => "configured",
        };
        table.add_row([
            host.worker.to_string(),
            host.host.clone(),
            host.city.clone().unwrap_or_else(|| "-".to_owned()),
            source.to_owned(),
            ms(host.dns_ms),
            ms(host.icmp_ms),
            ms(host.tcp_ms),
            ms(host.udp_ms),
            host.samples.to_string(),
            host.flags.join(" "),
        ]);
    }
    right(&mut table, 4);
    table.to_string()
}

pub fn loss(lost: u64, sent: u64) -> String {
    if sent == 0 { "-".to_owned() } else { format!("{lost} ({:.1} %)", lost as f64 * 100.0 / sent as f64) }
}

/// What happened to the marks of one kind, in one line.
pub fn remarking_line(remarking: &Remarking) -> String {
    let mut line = format!("{} marks: {}", remarking.kind, remarking.pathology.name());
    let changed: Vec<String> = remarking
        .map
        .iter()
        .filter(|row| row.dscp_sent != row.dscp_received)
        .take(6)
        .map(|row| format!("{}->{}", class_name(row.dscp_sent, 0), class_name(row.dscp_received, 0)))
        .collect();
    if !changed.is_empty() {
        let _ = write!(line, " [{}]", changed.join(", "));
    }
    let _ = write!(line, "; ECN: {}", remarking.ecn.name());
    if let Some(place) = remarking.location {
        let _ = write!(line, "; after hop {}, by hop {}", place.after_hop, place.by_hop);
    }
    for flag in &remarking.flags {
        let _ = write!(line, "; {flag}");
    }
    if let Some(reason) = &remarking.reason {
        let _ = write!(line, " ({reason})");
    }
    line
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |out, line| out + "  " + line.trim_end() + "\n")
}
