//! The part of a report that compares TCP's throughput: transfers are told whole, by their sessions, and have no samples.

use std::collections::BTreeMap;

use model::control::SessionInfo;
use model::report::Path;
use model::shaping::{Design, Standard};
use model::{Direction, Family, WorkerName};

use crate::shaping::bulk::{self, BulkFinding, BulkJudge};

/// Adds what the transfers of this worker's sessions say to the paths built from its samples.
pub fn add_transfers(worker: &WorkerName, paths: &mut Vec<Path>, sessions: &[SessionInfo]) {
    let mut found: BTreeMap<(Direction, Family), (Vec<BulkFinding>, Standard)> = BTreeMap::new();
    for info in sessions.iter().filter(|info| info.worker == *worker) {
        let Some(experiment) = &info.experiment else { continue };
        let Design::Bulk(design) = &experiment.design else { continue };
        let standard = &experiment.standard;
        let mut judge = BulkJudge::new(design, info.direction, info.family, standard, experiment.seed);
        info.transfers.iter().for_each(|transfer| judge.push(transfer));
        for finding in judge.findings() {
            let key = (finding.direction, info.family);
            found.entry(key).or_insert_with(|| (Vec::new(), *standard)).0.push(finding);
        }
    }
    for ((direction, family), (findings, standard)) in found {
        let same = |path: &Path| path.direction == direction && path.family == family;
        let index = paths.iter().position(same).unwrap_or_else(|| {
            paths.push(empty(worker, direction, family));
            paths.len() - 1
        });
        if let Some(path) = paths.get_mut(index) {
            bulk::apply(&mut path.differentiation, &findings, &standard);
        }
    }
}

/// Of a direction in which nothing but transfers was seen.
fn empty(worker: &WorkerName, direction: Direction, family: Family) -> Path {
    Path {
        worker: worker.clone(),
        direction,
        family,
        from: None,
        to: None,
        clock: None,
        classes: Vec::new(),
        remarking: Vec::new(),
        differentiation: Vec::new(),
        rate_limit: None,
    }
}
