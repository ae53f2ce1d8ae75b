//! Fills `where` of a probe's report: traces toward the server with the marks that were changed on the way up.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::report::{Path, Remarking, Report};
use model::{Direction, Dscp, Ecn, Family, Tos};
use worker::path::{TraceConfig, Tracer, common_location, locate};

/// Changed code points that are traced, besides best effort; more cost time and tell little more.
const CLASSES: usize = 4;
const LIMIT: Duration = Duration::from_secs(30);

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
        Locator { tracer: Tracer::open(&Family::ALL).ok(), host, port }
    }

    /// Traces once for each path up that has a finding. Without the right, one line in `untested` says so.
    pub fn fill(&self, report: &mut Report, clock: &net::Clock) {
        let changed = |path: &Path| {
            path.direction == Direction::Up && path.remarking.iter().any(|remarking| !changes(remarking).is_empty())
        };
        if !report.paths.iter().any(changed) {
            return;
        }
        let Some(tracer) = &self.tracer else {
            let line = "where: finding the hops between which a mark changes needs CAP_NET_RAW (sudo, or setcap cap_net_raw+ep)";
            return report.untested.push(line.to_owned());
        };
        let mut failures = Vec::new();
        for path in report.paths.iter_mut().filter(|path| changed(path)) {
            let Some(target) = self.target(path) else { continue };
            if let Err(problem) = locate_path(tracer, path, target, self.port, clock) {
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

/// Marks of a kind that were sent and arrived as another, each with its most frequent arrival: of the DSCP finding, or where
/// there is none, of the ECN finding.
fn changes(remarking: &Remarking) -> BTreeMap<Tos, Tos> {
    let rows: Vec<(Tos, Tos, u64)> = if remarking.pathology.is_finding() {
        let mark = |dscp: u8| Tos::new(Dscp::new(dscp).unwrap_or_default(), Ecn::NotEct);
        remarking.map.iter().map(|row| (mark(row.dscp_sent), mark(row.dscp_received), row.count)).collect()
    } else if remarking.ecn.is_finding() {
        let mark = |ecn: u8| Tos::new(Dscp::BEST_EFFORT, Ecn::from_bits(ecn));
        remarking.ecn_map.iter().map(|row| (mark(row.ecn_sent), mark(row.ecn_received), row.count)).collect()
    } else {
        Vec::new()
    };
    let mut most: BTreeMap<Tos, (Tos, u64)> = BTreeMap::new();
    for (sent, received, count) in rows {
        let entry = most.entry(sent).or_insert((received, count));
        if count > entry.1 {
            *entry = (received, count);
        }
    }
    most.into_iter().map(|(sent, (received, _))| (sent, received)).filter(|(sent, received)| sent != received).collect()
}

/// One trace for all kinds of the path: the changes of the first that has any stand for the others.
fn locate_path(
    tracer: &Tracer,
    path: &mut Path,
    target: IpAddr,
    port: u16,
    clock: &net::Clock,
) -> Result<(), worker::path::PathError> {
    let Some(arrived) = path.remarking.iter().map(changes).find(|changes| !changes.is_empty()) else { return Ok(()) };
    let mut config = TraceConfig::new(target, clock.clone());
    config.port = port;
    config.limit = LIMIT;
    config.classes = arrived.keys().copied().take(CLASSES).collect();
    if !config.classes.contains(&Tos::default()) {
        config.classes.push(Tos::default());
    }
    let trace = tracer.trace(&config, &AtomicBool::new(false), &mut |_| {})?;
    let at_server = |sent: Tos| Some(arrived.get(&sent).copied().unwrap_or(sent));
    let place = common_location(&locate(&trace, Some(&at_server)));
    for remarking in path.remarking.iter_mut().filter(|remarking| !changes(remarking).is_empty()) {
        remarking.location = place;
    }
    Ok(())
}
