//! The report's paths, built from the samples of one worker: one path per direction and address family, one class per kind
//! and mark, one finding about marks per kind. Everything else of a report (applications, media) is not of this crate.

mod classes;
mod marks;
mod pairs;
mod shaping;
mod transfers;

use std::collections::BTreeMap;

use model::control::SessionInfo;
use model::report::Path;
use model::{Direction, Family, Kind, Sample, SessionId, Tos, WorkerName};

use crate::remarking::RemarkingConfig;
use classes::ClassRows;
pub use marks::{KindMarks, MarkSums};
use pairs::Pairs;
use shaping::Experiments;
pub use transfers::add_transfers;

/// Why a source could not deliver its samples; passed through as it came.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Samples of one worker, in any order.
pub trait SampleSource {
    /// Calls `f` with every sample. Called twice for one report; samples that were added in between are no harm.
    fn visit(&self, f: &mut dyn FnMut(&Sample)) -> Result<(), SourceError>;
}

impl SampleSource for [Sample] {
    fn visit(&self, f: &mut dyn FnMut(&Sample)) -> Result<(), SourceError> {
        self.iter().for_each(f);
        Ok(())
    }
}

impl SampleSource for Vec<Sample> {
    fn visit(&self, f: &mut dyn FnMut(&Sample)) -> Result<(), SourceError> {
        self.as_slice().visit(f)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReportConfig {
    pub remarking: RemarkingConfig,
    /// From this share on, 0..=1, of a kind's samples that carry `INTERCEPTED` (or `LOCAL_REWRITE`) all of the kind
    /// counts as intercepted (or rewritten by its own host).
    pub intercepted_share: f64,
}

impl Default for ReportConfig {
    fn default() -> ReportConfig {
        ReportConfig { remarking: RemarkingConfig::default(), intercepted_share: 0.1 }
    }
}

/// Kind and mark within a path.
type ClassKey = (Kind, Tos);
type PathKey = (Direction, Family);

/// Builds the paths of one worker in the order of direction and family. The source is visited twice: for the clock, then for
/// the statistics, which need the clock. Takes about 40 bytes of memory per sample.
///
/// `info` tells what the catalogue knows of a session; without it a session's addresses are missing and its samples count
/// all the same.
pub fn build_paths(
    worker: &WorkerName,
    source: &dyn SampleSource,
    info: &dyn Fn(SessionId) -> Option<SessionInfo>,
    config: &ReportConfig,
) -> Result<Vec<Path>, SourceError> {
    let mut sessions: BTreeMap<SessionId, Option<SessionInfo>> = BTreeMap::new();
    let mut pairs = Pairs::new();
    source.visit(&mut |sample| {
        let session = sessions.entry(sample.session).or_insert_with(|| info(sample.session));
        if session.as_ref().is_none_or(|info| info.direction.up() && info.direction.down()) {
            pairs.add(sample);
        }
    })?;
    let (clocks, mut round_trips) = pairs.finish();

    let mut paths: BTreeMap<PathKey, PathRows> = BTreeMap::new();
    let mut experiments = Experiments::default();
    source.visit(&mut |sample| {
        let session = sessions.entry(sample.session).or_insert_with(|| info(sample.session));
        if session.as_ref().is_some_and(|info| info.experiment.is_some()) {
            // Trains are sent to be lost, and one session has probes of several kinds: neither belongs among the classes.
            paths.entry((sample.direction, sample.family)).or_default().see(sample.session);
            // An endless watch is judged as it goes, from its beginning and not from the window's.
            let standard = session.as_ref().and_then(|info| info.experiment.as_ref()).map(|one| one.standard);
            if standard.is_some_and(|standard| standard.false_changes_per_year.is_none()) {
                experiments.add(sample);
            }
        } else if sample.kind != Kind::Clock {
            paths.entry((sample.direction, sample.family)).or_default().add(sample);
        }
    })?;
    let intercepted: Vec<(Family, Kind)> = paths
        .iter()
        .flat_map(|((_, family), rows)| rows.marks.iter().map(|(kind, marks)| (*family, *kind, marks)))
        .filter(|(_, _, marks)| marks.intercepted(config))
        .map(|(family, kind, _)| (family, kind))
        .collect();

    let mut verdicts = experiments.judge(&|session| sessions.get(&session).cloned().flatten());
    let mut out = Vec::new();
    for ((direction, family), rows) in paths {
        let (from, to) = endpoints(direction, family, &rows.sessions, &sessions);
        let remarking = rows
            .marks
            .iter()
            .map(|(kind, marks)| {
                marks.finding(*kind, direction, family, intercepted.contains(&(family, *kind)), config)
            })
            .collect();
        let classes = rows
            .classes
            .into_iter()
            .map(|((kind, tos), rows)| {
                let round_trips = round_trips.remove(&(direction, family, kind, tos)).unwrap_or_default();
                rows.finish(kind, tos, direction, &clocks, round_trips)
            })
            .collect();
        let (differentiation, rate_limit) = verdicts.remove(&(direction, family)).unwrap_or_default();
        out.push(Path {
            worker: worker.clone(),
            direction,
            family,
            from,
            to,
            clock: if direction == Direction::RoundTrip { None } else { clocks.summary() },
            classes,
            remarking,
            differentiation,
            rate_limit,
        });
    }
    Ok(out)
}

/// Calls `f` with every sample and its one-way delay, corrected by the clock as the same samples show it (a round trip as it
/// is); `None` if it was lost or there is no clock. Visits the source twice.
pub fn visit_delays(
    source: &dyn SampleSource,
    f: &mut dyn FnMut(&Sample, Option<crate::Delay>),
) -> Result<(), SourceError> {
    let mut pairs = Pairs::new();
    source.visit(&mut |sample| pairs.add(sample))?;
    let (clocks, _) = pairs.finish();
    source.visit(&mut |sample| {
        let delay = sample.received_at.and_then(|at| match sample.direction {
            Direction::RoundTrip => {
                Some(crate::Delay { ns: at.since(sample.sent_at) as f64, uncertainty_ns: 0.0, ambiguous: false })
            }
            direction => clocks.delay(direction, sample.sent_at, at),
        });
        f(sample, delay.filter(|delay| !delay.ambiguous));
    })
}

#[derive(Default)]
struct PathRows {
    classes: BTreeMap<ClassKey, ClassRows>,
    marks: BTreeMap<Kind, KindMarks>,
    sessions: Vec<SessionId>,
}

impl PathRows {
    fn add(&mut self, sample: &Sample) {
        self.classes.entry((sample.kind, sample.tos_sent)).or_default().add(sample);
        self.marks.entry(sample.kind).or_default().add(sample);
        self.see(sample.session);
    }

    fn see(&mut self, session: SessionId) {
        if self.sessions.last() != Some(&session) && !self.sessions.contains(&session) {
            self.sessions.push(session);
        }
    }
}

/// Addresses of sender and receiver, from the session that started last; of http, tls and dns only if there is no other, since
/// a proxy's address is not the worker's.
fn endpoints(
    direction: Direction,
    family: Family,
    in_path: &[SessionId],
    sessions: &BTreeMap<SessionId, Option<SessionInfo>>,
) -> (Option<String>, Option<String>) {
    let known = in_path.iter().filter_map(|session| sessions.get(session)?.as_ref());
    let last = known
        .filter(|info| info.family == family)
        .max_by_key(|info| (!info.kind.is_tcp() && info.kind != Kind::Dns, info.started_at, info.session));
    let (worker, server) = last.map_or((None, None), |info| (info.from.clone(), info.to.clone()));
    if direction == Direction::Down { (server, worker) } else { (worker, server) }
}
