//! The Legion as a table: live on a terminal, and once at the end.

use std::io::Write;
use std::time::{Duration, Instant};

use legion::{BotStatus, Figures, State};
use model::Metric;

use crate::table;

const EVERY: Duration = Duration::from_secs(2);
/// To the upper left, and nothing left below: log lines come between two pictures, so no count of lines tells where the last began.
const CLEAR: &str = "\x1b[H\x1b[J";

pub struct Table {
    is_live: bool,
    last: Option<Instant>,
}

impl Table {
    pub fn new(is_live: bool) -> Table {
        Table { is_live, last: None }
    }

    pub fn show(&mut self, statuses: &[BotStatus]) {
        if !self.is_live || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let mut out = std::io::stdout().lock();
        // A terminal that went away is no reason to stop measuring.
        let _ = write!(out, "{CLEAR}{}", picture(statuses)).and_then(|()| out.flush());
    }

    pub fn end(&mut self, statuses: &[BotStatus]) -> std::io::Result<()> {
        let clear = if self.is_live { CLEAR } else { "" };
        write!(std::io::stdout().lock(), "{clear}{}", picture(statuses))
    }
}

fn number(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms >= 100.0 => format!("{ms:.0}"),
        Some(ms) if ms >= 10.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.2}"),
    }
}

/// `31.2 (library 31.2, network 0.04)`, of medians.
fn cell(figures: Option<&Figures>) -> String {
    let Some(figures) = figures else { return "-".to_owned() };
    let library = figures.library_ms.map(|ms| format!("library {}, ", number(Some(ms)))).unwrap_or_default();
    format!("{} ({library}network {})", number(figures.app_ms), number(figures.network_ms))
}

pub fn picture(statuses: &[BotStatus]) -> String {
    let headings = [
        "library",
        "state",
        "heartbeat, ms",
        "REST, ms",
        "message echo, ms",
        "MiB",
        "CPU %",
        "start, s",
        "restarts",
        "posted",
    ];
    let mut table = table::new(&headings);
    table::right(&mut table, 5);
    for status in statuses {
        let version = status.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let of = |metric| cell(status.metrics.get(&metric));
        table.add_row([
            format!("{}{version}", status.library),
            state(&status.state).to_owned(),
            of(Metric::GatewayHeartbeat),
            of(Metric::Rest),
            of(Metric::MessageEcho),
            status.most_resident_mib.map_or("-".to_owned(), |mib| format!("{mib:.0}")),
            status.cpu_percent.map_or("-".to_owned(), |percent| format!("{percent:.1}")),
            status.start_ms.map_or("-".to_owned(), |ms| format!("{:.1}", ms / 1e3)),
            status.restarts.to_string(),
            status.posted.to_string(),
        ]);
    }
    let mut picture = format!("{table}\n");
    for status in statuses {
        if let State::Failed(why) | State::Restarting(why) = &status.state {
            picture.push_str(&format!("{}: {why}\n", status.library));
        }
    }
    picture
}

fn state(state: &State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Starting => "starting",
        State::Running => "in",
        State::Restarting(_) => "restarting",
        State::Failed(_) => "failed",
        State::Stopped => "stopped",
    }
}
