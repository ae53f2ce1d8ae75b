//! `netlat path`: which hop changes the mark.

use std::io::{IsTerminal, Write};

use model::{Family, Tos};
use path::{PathReport, TraceConfig, Tracer};
use server::report::rfc3339;

use super::{parse_dscp, parse_ecn, print_json, resolve, runtime, stop_flag};
use crate::Outcome;
use crate::cli::PathArgs;

pub fn run(args: PathArgs) -> anyhow::Result<Outcome> {
    let target = resolve(&args.host, args.port)?;
    let clock = net::Clock::from_env()?;
    let ecn = parse_ecn(&args.ecn)?;
    let mut config = TraceConfig::new(target.ip(), clock.clone());
    config.port = args.port;
    config.max_hops = args.max_hops;
    config.classes =
        parse_dscp(&args.dscp)?.into_iter().flat_map(|dscp| ecn.iter().map(move |ecn| Tos::new(dscp, *ecn))).collect();
    let tracer = Tracer::open(&[Family::of(target.ip())])?;
    // The raw socket is open; nothing else needs a privilege. No thread runs yet.
    net::capability::drop_all()?;
    let runtime = runtime()?;
    let stop = stop_flag(&runtime)?;
    let terminal = std::io::stderr().is_terminal();
    let trace = tracer.trace(&config, &stop, &mut |progress| {
        if terminal {
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[Knetlat: {} sent, {} answered, as far as hop {}",
                progress.sent,
                progress.answered,
                progress.farthest_hop
            );
        }
    })?;
    if terminal {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let report = PathReport::new(rfc3339(clock.now()), trace);
    if args.json {
        print_json(&report)?;
    } else {
        let mut out = std::io::stdout().lock();
        for line in report.lines() {
            writeln!(out, "{line}")?;
        }
    }
    Ok(if args.fail_on_finding && !report.changes.is_empty() { Outcome::Found } else { Outcome::Done })
}
