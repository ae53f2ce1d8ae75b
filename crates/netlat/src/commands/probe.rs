//! `netlat probe`: one measurement by an ephemeral worker.

use std::io::{IsTerminal, Write};

use worker::{ProbeConfig, ProbeProgress, ShapingOptions, ShapingProgress};

use super::locate::{Locator, Search};
use super::{join_string, runtime, show, spec, stop_flag};
use crate::Outcome;
use crate::cli::{ProbeArgs, ShapingArgs};
use crate::config::{Config, data_dir};

pub fn run(args: ProbeArgs, config: &Config) -> anyhow::Result<Outcome> {
    let mut spec = spec(&args.spec, args.duration)?;
    let shaping = args.shaping.shaping.then(|| options(&args.shaping));
    if shaping.is_some() {
        modest(&mut spec, &args);
    }
    let join = match &args.join.join {
        Some(given) => Some(join_string(given)?),
        None => None,
    };
    // Routers quote whatever port; the default one is as good as the server's own, which only its sessions know.
    let locator = join.as_ref().map(|join| Locator::open(join.server.host.clone(), PROBE_PORT));
    let mut line = Line::new();
    let (mut shaping, mut aside) = (shaping, 0);
    if let (Some(options), Some(locator)) = (&mut shaping, &locator)
        && spec.direction.up()
    {
        aside = locator.set_aside(options.budget_bytes);
        options.budget_bytes -= aside;
        if aside > 0 {
            line.say(&locator.plan(aside));
        }
    }
    let size = spec.size;
    let probe = ProbeConfig {
        join,
        data_dir: Some(data_dir(args.data_dir, config.worker.data_dir.as_ref(), "worker")?),
        name: args.name,
        spec,
        interface: args.interface,
        shaping,
        clock: net::Clock::from_env()?,
    };
    let clock = probe.clock.clone();
    let runtime = runtime()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = worker::probe(probe, |progress| line.show(&progress)) => report.map_err(anyhow::Error::from),
            () = super::stop_signal()? => anyhow::bail!("interrupted: no report was made"),
        }
    });
    line.end();
    let mut report = report?;
    if let Some(locator) = locator {
        // From here on a signal ends the search, and what was measured is shown.
        let stop = stop_flag(&runtime)?;
        locator.fill(&mut report, &clock, &stop);
        let search = Search { budget_bytes: aside, size, clock: &clock, stop: &stop };
        locator.seek(&mut report, &search, &mut |class, shown| line.search(class, shown));
        line.end();
    }
    show(&report, args.json, args.fail_on_finding, args.shaping.explain)
}

/// What nobody asked for is left out, so that the budget answers what was asked: two classes and voice's bytes.
fn modest(spec: &mut model::TaskSpec, args: &ProbeArgs) {
    if args.duration.is_none() {
        spec.duration = model::Duration::Forever;
    }
    if args.spec.dscp.is_none() {
        spec.dscp = [0, 34, 46].into_iter().filter_map(model::Dscp::new).collect();
    }
    if args.spec.kind.is_empty() {
        spec.kinds = vec![model::Kind::Rtp, model::Kind::Udp];
    }
}

fn options(args: &ShapingArgs) -> ShapingOptions {
    ShapingOptions {
        ports: args.ports.iter().flat_map(|range| range.0.iter().copied()).collect(),
        load: args.load,
        budget_bytes: args.budget.unwrap_or(worker::DEFAULT_BUDGET),
        alpha: args.alpha,
        alpha_none: args.alpha_none,
        least_delay_ms: args.least_delay,
        least_loss: args.least_loss / 100.0,
        least_throughput: args.least_throughput / 100.0,
    }
}

const PROBE_PORT: u16 = 8620;

/// Progress on stderr: one line painted over on a terminal, a line per phase elsewhere.
struct Line {
    terminal: bool,
    last: String,
}

impl Line {
    fn new() -> Line {
        Line { terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    fn show(&mut self, progress: &ProbeProgress) {
        let (phase, detail) = match progress {
            ProbeProgress::Joining => ("joining", String::new()),
            ProbeProgress::Opening { opened, of } => ("opening sessions", format!(" {opened}/{of}")),
            ProbeProgress::Measuring { elapsed, of, totals } => (
                "measuring",
                format!(
                    " {}/{} s, {} sent, {} answered",
                    elapsed.as_secs(),
                    of.as_secs(),
                    totals.sent,
                    totals.received
                ),
            ),
            ProbeProgress::Shaping(ShapingProgress::Plan(plan)) => return self.say(plan),
            ProbeProgress::Shaping(ShapingProgress::Pairs { decided, of, elapsed, at_most }) => (
                "comparing in pairs",
                format!(" {}/{} s at most, {decided} of {of} decided", elapsed.as_secs(), at_most.as_secs()),
            ),
            ProbeProgress::Shaping(ShapingProgress::Transfers { done, of }) => {
                ("transferring in pairs", format!(" {done} of {of} at most"))
            }
            ProbeProgress::Shaping(ShapingProgress::Contest { kbps }) => {
                return self.say(&format!("filling the path with two classes, {kbps} kbit/s"));
            }
            ProbeProgress::Shaping(ShapingProgress::Train { classes, kbps }) => {
                return self.say(&format!("trains of {classes} classes at {kbps} kbit/s"));
            }
            ProbeProgress::Settling { .. } => ("waiting for the last answers", String::new()),
            ProbeProgress::Reporting => ("waiting for the report", String::new()),
        };
        let mut err = std::io::stderr().lock();
        if self.terminal {
            let _ = write!(err, "\r\x1b[Knetlat: {phase}{detail}");
            let _ = err.flush();
        } else if self.last != phase {
            let _ = writeln!(err, "netlat: {phase}");
        }
        self.last = phase.to_owned();
    }

    fn search(&mut self, class: &str, shown: path::ContrastProgress) {
        let text = format!("looking for the hop of {class}");
        if self.terminal {
            let (seconds, pairs) = (shown.elapsed.as_secs(), shown.pairs);
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[Knetlat: {text}, {seconds} s, {pairs} pairs, {} hops left",
                shown.open_hops
            );
            self.last = text;
        } else if self.last != text {
            let _ = writeln!(std::io::stderr(), "netlat: {text}");
            self.last = text;
        }
    }

    /// A line that stays.
    fn say(&mut self, text: &str) {
        self.end();
        let _ = writeln!(std::io::stderr(), "netlat: {text}");
        self.last.clear();
    }

    fn end(&self) {
        if self.terminal && !self.last.is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
