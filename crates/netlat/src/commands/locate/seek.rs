//! The hop of what is lost, limited or delayed on the way up: one search for each class, within the part of the budget that was set
//! aside for it. What cannot be found says why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::Direction;
use model::report::{Differentiation, Report, Verdict};
use path::{Contrast, ContrastProgress, Sighting, Sought};

use super::Locator;

/// Of one search.
const LIMIT: Duration = Duration::from_secs(180);
/// More classes than this are not searched for.
const MOST: usize = 3;
/// Of the budget, where searches are possible.
const SHARE: u64 = 12;

const NOT_PERMITTED: &str = "finding it needs CAP_NET_RAW";
const DOWN: &str = "the way down begins at the server, and this end does not see it";

/// What searches of one run may cost.
pub struct Search<'a> {
    /// Layer 3, of all.
    pub budget_bytes: u64,
    /// UDP payload bytes of the packets that limits were measured with.
    pub size: u16,
    pub clock: &'a net::Clock,
    pub stop: &'a AtomicBool,
}

impl Locator {
    /// Of a budget, what is kept for searches.
    pub fn set_aside(&self, budget_bytes: u64) -> u64 {
        if self.can_trace() { budget_bytes / SHARE } else { 0 }
    }

    /// In words, what searches may send, before anything is.
    pub fn plan(&self, bytes: u64) -> String {
        format!(
            "keeps {:.1} MB of the budget, and up to {} s for each of {MOST} classes, to find the hop of what it finds",
            bytes as f64 / 1e6,
            LIMIT.as_secs(),
        )
    }

    /// Looks for the hop of each finding that has none.
    pub fn seek(&self, report: &mut Report, search: &Search<'_>, progress: &mut dyn FnMut(&str, ContrastProgress)) {
        let mut left = search.budget_bytes;
        let mut not_permitted = false;
        for path in &mut report.paths {
            let target = (path.direction == Direction::Up).then(|| self.target(path)).flatten();
            let mut found: Vec<(Sought, Sighting)> = Vec::new();
            for entry in path.differentiation.iter_mut().filter(|entry| is_open(entry)) {
                let outcome = match (path.direction, path::sought(entry), target) {
                    (Direction::Up, Ok(_), _) if !self.can_trace() => {
                        not_permitted = true;
                        Err(NOT_PERMITTED)
                    }
                    (Direction::Up, Ok(sought), Some(target)) => Ok((sought, target)),
                    (Direction::Up, Ok(_), None) => Err("the server's address is not known"),
                    (Direction::Up, Err(reason), _) => Err(reason),
                    _ => Err(DOWN),
                };
                let (sought, target) = match outcome {
                    Ok(asked) => asked,
                    Err(reason) => {
                        entry.where_note = Some(reason.to_owned());
                        continue;
                    }
                };
                // The same class on other payloads was hit at the same place.
                let known =
                    found.iter().find(|(earlier, _)| same(earlier, &sought)).map(|(_, sighting)| sighting.clone());
                let sighting = match known {
                    Some(sighting) => sighting,
                    None if found.len() == MOST => {
                        entry.where_note = Some(format!("only {MOST} classes are looked for"));
                        continue;
                    }
                    None if search.stop.load(Ordering::Relaxed) => {
                        entry.where_note = Some("it was stopped before it was looked for".to_owned());
                        continue;
                    }
                    None => {
                        let contrast = Contrast {
                            target,
                            port: entry.subject.port,
                            sought,
                            size: search.size,
                            alpha: entry.error_rate.value.clamp(1e-9, 0.5),
                            limit: LIMIT,
                            budget_bytes: left,
                            clock: search.clock.clone(),
                        };
                        let sighting = self.contrast(&contrast, search, &mut |shown| {
                            progress(&measure::words::what(&entry.subject, &entry.control), shown);
                        });
                        left = left.saturating_sub(sighting.bytes);
                        found.push((sought, sighting.clone()));
                        sighting
                    }
                };
                match sighting.place {
                    Ok(place) => {
                        entry.location = Some(place);
                        entry.where_note = Some(sighting.evidence.join("; "));
                    }
                    Err(reason) => entry.where_note = Some(reason),
                }
            }
        }
        let line = "where: finding the hops between which a class is limited, lost or delayed needs CAP_NET_RAW (sudo, or setcap cap_net_raw+ep)";
        if not_permitted && !report.untested.iter().any(|known| known == line) {
            report.untested.push(line.to_owned());
        }
    }

    fn contrast(
        &self,
        contrast: &Contrast,
        search: &Search<'_>,
        progress: &mut dyn FnMut(ContrastProgress),
    ) -> Sighting {
        let none = |reason: String| Sighting { place: Err(reason), evidence: Vec::new(), bytes: 0 };
        let Some(tracer) = &self.tracer else { return none(NOT_PERMITTED.to_owned()) };
        tracer.contrast(contrast, search.stop, progress).unwrap_or_else(|problem| none(problem.to_string()))
    }
}

/// A blocked class ends where a trace says (`vanishes`).
fn is_open(entry: &Differentiation) -> bool {
    entry.verdict.is_finding() && entry.verdict != Verdict::Blocked && entry.location.is_none()
}

fn same(a: &Sought, b: &Sought) -> bool {
    a.subject == b.subject
        && a.control == b.control
        && std::mem::discriminant(&a.suffers) == std::mem::discriminant(&b.suffers)
}
