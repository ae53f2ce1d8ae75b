//! Fills `where` of a probe's report: traces toward the server with the marks that were changed or blocked on the way up, and
//! searches (`seek`) for the hop of what is lost, limited or delayed.

mod seek;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::report::{Differentiation, Path, Report, Trigger, Verdict};
use model::{Direction, Dscp, Ecn, Family, Tos};
use path::{TraceConfig, Tracer};

const LIMIT: Duration = Duration::from_secs(30);

pub use seek::Search;

/// Opened while the process still has CAP_NET_RAW; `None` without it.
pub struct Locator {
    tracer: Option<Tracer>,
    /// The server's host as the join string names it.
    host: String,
    port: u16,
}

impl Locator {
    /// `port`: the server's UDP probe port, so that boxes which look at ports see the same flow's destination.
    pub fn open(host: String, port: u16) -> Locator {
        Locator { tracer: Tracer::open_usable().ok(), host, port }
    }

    /// Traces and searches are possible.
    pub fn can_trace(&self) -> bool {
        self.tracer.is_some()
    }

    /// Traces once for each path up that has a finding. Without the right, one line in `untested` says so.
    pub fn fill(&self, report: &mut Report, clock: &net::Clock, stop: &AtomicBool) {
        let changed = |path: &Path| {
            path.direction == Direction::Up
                && (path.remarking.iter().any(|remarking| !path::changes(remarking).is_empty())
                    || !blocked(path).is_empty())
        };
        if !report.paths.iter().any(changed) {
            return;
        }
        let Some(tracer) = &self.tracer else {
            let line = "where: finding the hops between which a mark changes or a class ends needs CAP_NET_RAW (sudo, or setcap cap_net_raw+ep)";
            return report.untested.push(line.to_owned());
        };
        let mut failures = Vec::new();
        for path in report.paths.iter_mut().filter(|path| changed(path)) {
            let Some(target) = self.target(path) else { continue };
            if let Err(problem) = locate_path(tracer, path, target, self.port, clock, stop) {
                failures.push(format!("where, {} {}: {problem}", path.direction, path.family));
            }
        }
        report.untested.extend(failures);
    }

    fn target(&self, path: &Path) -> Option<IpAddr> {
        let resolved = (self.host.as_str(), self.port).to_socket_addrs().ok()?;
        resolved
            .map(|address| address.ip())
            .find(|address| Family::of(*address) == path.family)
            .or_else(|| path.to.as_ref()?.parse().ok())
    }
}

/// One trace for all kinds of the path.
fn locate_path(
    tracer: &Tracer,
    path: &mut Path,
    target: IpAddr,
    port: u16,
    clock: &net::Clock,
    stop: &AtomicBool,
) -> Result<(), path::PathError> {
    let changed = path.remarking.iter().map(path::changes).flat_map(BTreeMap::into_keys).chain(blocked(path));
    let mut config = TraceConfig::new(target, clock.clone());
    config.port = port;
    config.limit = LIMIT;
    config.classes = path::classes(changed.collect::<BTreeSet<_>>());
    let trace = tracer.trace(&config, stop, &mut |_| {})?;
    path::place(path, &trace);
    for entry in path.differentiation.iter_mut().filter(|entry| is_blocked(entry)) {
        entry.location = path::vanishes(&trace, mark(entry));
    }
    Ok(())
}

/// Classes of datagrams that do not get through for their mark.
fn blocked(path: &Path) -> Vec<Tos> {
    path.differentiation.iter().filter(|entry| is_blocked(entry)).map(mark).collect()
}

fn is_blocked(entry: &Differentiation) -> bool {
    entry.verdict == Verdict::Blocked && entry.trigger == Some(Trigger::Dscp) && !entry.subject.payload.is_stream()
}

fn mark(entry: &Differentiation) -> Tos {
    Tos::new(Dscp::new(entry.subject.dscp).unwrap_or_default(), Ecn::NotEct)
}
