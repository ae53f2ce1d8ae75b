//! `/verdicts`: what running workers' comparisons say now, in words and with their evidence, and what has changed.

use axum::Json;
use axum::extract::State;
use model::report::{Differentiation, RateLimit, Subject, Verdict};
use model::{Direction, Family, WorkerName};
use serde::{Deserialize, Serialize};
use store::{Reader, Stated, StoreError, TimeQuery, VerdictRow};

use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, worker};

#[derive(Deserialize)]
pub(crate) struct Of {
    worker: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    range: Range,
    in_force: Vec<InForce>,
    rate_limits: Vec<Limit>,
    /// Within the range, newest first.
    changes: Vec<Change>,
}

#[derive(Serialize)]
pub(crate) struct InForce {
    worker: WorkerName,
    direction: Direction,
    family: Family,
    /// When it was first said, in seconds.
    at: i64,
    sentence: String,
    evidence: Vec<String>,
    entry: Differentiation,
}

#[derive(Serialize)]
pub(crate) struct Limit {
    worker: WorkerName,
    direction: Direction,
    family: Family,
    at: i64,
    sentence: String,
    limit: RateLimit,
}

#[derive(Serialize)]
pub(crate) struct Change {
    at: i64,
    worker: WorkerName,
    direction: Direction,
    family: Family,
    /// What is compared: `EF`.
    what: String,
    subject: Subject,
    control: Subject,
    from: Verdict,
    to: Verdict,
}

fn seconds(row: &VerdictRow) -> i64 {
    row.at.0.div_euclid(1_000_000_000)
}

pub(crate) fn changes(reader: &Reader, worker: Option<&WorkerName>, range: &Range) -> Result<Vec<Change>, StoreError> {
    const MOST: usize = 200;
    let query = TimeQuery { worker: worker.cloned(), since: Some(range.since_ns()), until: Some(range.until_ns()) };
    let change = |row: VerdictRow| {
        let at = seconds(&row);
        let Stated::Entry(entry) = row.stated else { return None };
        Some(Change {
            at,
            worker: row.worker,
            direction: row.direction,
            family: row.family,
            what: measure::words::what(&entry.subject, &entry.control),
            subject: entry.subject,
            control: entry.control,
            from: row.changed_from?,
            to: entry.verdict,
        })
    };
    Ok(reader.verdict_changes(&query)?.into_iter().rev().filter_map(change).take(MOST).collect())
}

/// Findings first.
pub(crate) fn in_force(reader: &Reader, worker: Option<&WorkerName>) -> Result<(Vec<InForce>, Vec<Limit>), StoreError> {
    let (mut entries, mut limits) = (Vec::new(), Vec::new());
    for row in reader.verdicts(worker)? {
        let at = seconds(&row);
        let (worker, direction, family) = (row.worker, row.direction, row.family);
        match row.stated {
            Stated::Entry(entry) => entries.push(InForce {
                sentence: measure::words::sentence(&worker, direction, &entry),
                evidence: measure::words::evidence(&entry),
                worker,
                direction,
                family,
                at,
                entry: *entry,
            }),
            Stated::RateLimit(Some(limit)) => {
                let sentence = measure::words::shared_limit(&limit);
                limits.push(Limit { worker, direction, family, at, sentence, limit });
            }
            Stated::RateLimit(None) => {}
        }
    }
    entries.sort_by_key(|one| (!one.entry.verdict.is_finding(), one.worker.clone(), one.direction, one.family));
    Ok((entries, limits))
}

impl InForce {
    pub(crate) fn is_finding(&self) -> bool {
        self.entry.verdict.is_finding()
    }

    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    pub(crate) fn worker(&self) -> &WorkerName {
        &self.worker
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.entry.verdict
    }

    pub(crate) fn labels(&self) -> (Direction, Family, String) {
        (self.direction, self.family, measure::words::what(&self.entry.subject, &self.entry.control))
    }
}

pub(crate) async fn verdicts(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Json<Answer>, Refusal> {
    let range = Range::new(asked, dashboard.0.parts.clock.now())?;
    let worker = of.worker.as_deref().map(worker).transpose()?;
    let answer = dashboard.read(move |reader| {
        let (in_force, rate_limits) = in_force(reader, worker.as_ref())?;
        Ok(Answer { range, in_force, rate_limits, changes: changes(reader, worker.as_ref(), &range)? })
    });
    Ok(Json(answer.await?))
}
