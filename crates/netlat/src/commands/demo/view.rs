//! The demo's live tables: one line per city, direction, family and kind; and one per city and latency of Discord.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use model::report::{Class, Path, Report};

use crate::table;

pub struct View {
    quiet: bool,
    terminal: bool,
    /// Lines of the last picture, to be painted over.
    painted: usize,
    shown: Duration,
}

const PLAIN_EVERY: Duration = Duration::from_secs(5);

impl View {
    /// `quiet`: stdout belongs to the JSON document; progress is a plain line on stderr.
    pub fn new(quiet: bool) -> View {
        let terminal = std::io::stdout().is_terminal() && !quiet;
        View { quiet, terminal, painted: 0, shown: Duration::ZERO }
    }

    /// Redrawn every second on a terminal, a line every five elsewhere.
    pub fn wants(&self, elapsed: Duration) -> bool {
        self.terminal || elapsed.saturating_sub(self.shown) >= PLAIN_EVERY
    }

    pub fn show(&mut self, report: &Report, elapsed: Duration, duration: Option<Duration>) -> std::io::Result<()> {
        self.shown = elapsed;
        let sent: u64 = report.paths.iter().flat_map(|path| &path.classes).map(|class| class.sent).sum();
        let of = duration.map_or("until Ctrl-C".to_owned(), |duration| format!("of {} s", duration.as_secs()));
        let records: u64 = report.applications.iter().map(|application| application.samples).sum();
        let seconds = elapsed.as_secs();
        let line = format!("{seconds} s {of}: {} paths, {sent} probes, {records} records of bots", report.paths.len());
        if !self.terminal || self.quiet {
            return writeln!(std::io::stderr(), "netlat demo: {line}");
        }
        let applications = match report.applications.as_slice() {
            [] => String::new(),
            applications => format!("\n{}", table::applications(applications)),
        };
        let picture = format!("{}{applications}\n{line}\n", picture(report));
        let mut out = std::io::stdout().lock();
        if self.painted > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.painted)?;
        }
        self.painted = picture.lines().count();
        out.write_all(picture.as_bytes())?;
        out.flush()
    }
}

/// One-way delay, loss and received marks per city and kind.
pub fn picture(report: &Report) -> String {
    let mut table = table::new(&["city", "way", "ip", "kind", "sent", "lost", "delay ms p50", "+-", "marks", "ECN"]);
    for path in &report.paths {
        for remarking in &path.remarking {
            let of_kind: Vec<&Class> = path.classes.iter().filter(|class| class.kind == remarking.kind).collect();
            let sent: u64 = of_kind.iter().map(|class| class.sent).sum();
            let lost: u64 = of_kind.iter().map(|class| class.lost).sum();
            table.add_row([
                path.worker.to_string(),
                path.direction.to_string(),
                path.family.to_string(),
                remarking.kind.to_string(),
                sent.to_string(),
                table::loss(lost, sent),
                delay(path, &of_kind),
                ms(of_kind.iter().filter_map(|class| class.owd_uncertainty_ms).reduce(f64::max)),
                remarking.pathology.name().to_owned(),
                remarking.ecn.name().to_owned(),
            ]);
        }
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The median of the classes' medians; of round trips where there is no one-way delay.
fn delay(path: &Path, classes: &[&Class]) -> String {
    let mut medians: Vec<f64> = match path.direction {
        model::Direction::RoundTrip => classes.iter().filter_map(|class| class.rtt_ms).map(|q| q.p50).collect(),
        _ => classes.iter().filter_map(|class| class.owd_ms).map(|q| q.p50).collect(),
    };
    medians.sort_by(f64::total_cmp);
    ms(medians.get(medians.len() / 2).copied())
}

fn ms(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.3}"))
}
