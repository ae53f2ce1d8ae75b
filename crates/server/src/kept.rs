//! Verdicts of endless watches as they are kept: what is in force, what trains have shown of limits, and what is to be written.

use std::collections::{HashMap, VecDeque};

use measure::shaping::combine::{Verdicts, combine};
use measure::shaping::judge::{ArmLimit, Judged};
use measure::shaping::monitor::Monitor;
use model::report::{Subject, Verdict};
use model::shaping::{PairDesign, Purpose, Standard};
use model::{Direction, Family, SessionId, UnixNanos, WorkerName};
use store::{Stated, VerdictRow};

/// Evidence of verdicts that did not change is written again after so long.
const REFRESH_NS: i64 = 60_000_000_000;
/// Sessions of trains of one path that limits are drawn from: about two searches with their measurements.
const TRAINS: usize = 10;

/// Worker, direction and family.
pub(crate) type Path = (WorkerName, Direction, Family);

#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Watches of which a verdict changed since the last look.
    pub changed: Vec<(SessionId, Direction)>,
    in_force: HashMap<(Path, Subject, Subject), Verdict>,
    limited: HashMap<Path, bool>,
    limits: HashMap<Path, VecDeque<Vec<ArmLimit>>>,
    refreshed: Option<UnixNanos>,
}

impl Kept {
    /// From the store, at the start.
    pub(crate) fn load(&mut self, rows: Vec<VerdictRow>) {
        for row in rows {
            let path = (row.worker, row.direction, row.family);
            match row.stated {
                Stated::Entry(entry) => {
                    self.in_force.insert((path, entry.subject, entry.control), entry.verdict);
                }
                Stated::RateLimit(limit) => {
                    self.limited.insert(path, limit.is_some());
                }
            }
        }
    }

    /// What an earlier session had named is in force in the next. What trains found is found again by trains.
    pub(crate) fn restore(
        &self,
        monitor: &mut Monitor,
        design: &PairDesign,
        worker: &WorkerName,
        direction: Direction,
        family: Family,
    ) {
        for (index, hypothesis) in design.hypotheses.iter().enumerate() {
            let key = (
                (worker.clone(), direction, family),
                Subject::from(hypothesis.subject),
                Subject::from(hypothesis.control),
            );
            match self.in_force.get(&key) {
                Some(
                    verdict
                    @ (Verdict::None | Verdict::Delayed | Verdict::Lossy | Verdict::Blocked | Verdict::Favoured),
                ) if hypothesis.purpose == Purpose::Difference => {
                    monitor.restore(index as u16, *verdict);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn limits(&mut self, path: Path, limits: Vec<ArmLimit>) {
        let kept = self.limits.entry(path).or_default();
        kept.push_back(limits);
        if kept.len() > TRAINS {
            kept.pop_front();
        }
        // Said with the next look at all.
        self.refreshed = None;
    }

    /// Whether everything is to be looked at; it is noted as done.
    pub(crate) fn due(&mut self, now: UnixNanos) -> bool {
        let due = self.refreshed.is_none_or(|at| now.since(at) >= REFRESH_NS);
        if due {
            self.refreshed = Some(now);
        }
        due
    }

    /// Rows for what one watch says now.
    pub(crate) fn rows(
        &mut self,
        path: Path,
        judged: &[Judged],
        standard: &Standard,
        now: UnixNanos,
    ) -> Vec<VerdictRow> {
        let limits: Vec<ArmLimit> = self.limits.get(&path).into_iter().flatten().flatten().cloned().collect();
        let Verdicts { differentiation, rate_limit } = combine(judged, &limits, standard);
        let row = |changed_from, stated| VerdictRow {
            worker: path.0.clone(),
            direction: path.1,
            family: path.2,
            at: now,
            changed_from,
            stated,
        };
        let mut rows = Vec::new();
        for entry in differentiation {
            let key = (path.clone(), entry.subject.clone(), entry.control.clone());
            let before = self.in_force.insert(key, entry.verdict).filter(|before| *before != entry.verdict);
            // From "not known yet" to `none` nothing has happened on the path.
            let changed = before.filter(|before| *before != Verdict::Inconclusive || entry.verdict.is_finding());
            if let Some(before) = changed {
                tracing::info!(
                    worker = %path.0, direction = %path.1, family = %path.2,
                    "verdict of {} {} port {}: {} -> {}",
                    entry.subject.payload, entry.subject.dscp, entry.subject.port, before.name(), entry.verdict.name()
                );
            }
            rows.push(row(changed, Stated::Entry(Box::new(entry))));
        }
        let was_limited = self.limited.insert(path.clone(), rate_limit.is_some()).unwrap_or(false);
        if was_limited || rate_limit.is_some() {
            rows.push(row(None, Stated::RateLimit(rate_limit)));
        }
        rows
    }
}
