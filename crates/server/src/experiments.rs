//! What the server has seen of each running experiment: a judge for every direction, fed with samples as they are joined, so that
//! whoever sends the probes can stop asking what is decided and go on to what is not. Endless watches have their verdicts kept.

use std::collections::{HashMap, VecDeque};

use measure::shaping::Observed;
use measure::shaping::judge::{PairJudge, judge_trains};
use measure::shaping::monitor::Monitor;
use model::control::SessionInfo;
use model::report::Verdict;
use model::shaping::{Design, DirectionStatus, Experiment, ExperimentStatus, TrainStatus};
use model::{Direction, Family, Sample, SessionId, UnixNanos, WorkerName};
use store::VerdictRow;

use crate::kept::Kept;

/// Ended experiments that may still be asked for.
const REMEMBERED: usize = 256;
/// Probes of trains kept in all: about 30 MB.
const MOST_PROBES: usize = 500_000;

#[derive(Debug, Default)]
pub(crate) struct Experiments {
    live: HashMap<SessionId, Running>,
    ended: VecDeque<(SessionId, WorkerName, ExperimentStatus)>,
    probes: usize,
    pub(crate) kept: Kept,
}

#[derive(Debug)]
struct Running {
    worker: WorkerName,
    family: Family,
    experiment: Experiment,
    directions: Vec<(Direction, u64, Evidence)>,
}

#[derive(Debug)]
enum Evidence {
    Pairs(Box<PairJudge>),
    Watch(Box<Monitor>),
    Trains(Vec<Observed>),
}

impl Experiments {
    /// Samples of one session, in order of sequence in each direction.
    pub(crate) fn push(&mut self, info: &SessionInfo, samples: impl Iterator<Item = Sample>) {
        let Some(experiment) = &info.experiment else { return };
        let running = self.live.entry(info.session).or_insert_with(|| Running {
            worker: info.worker.clone(),
            family: info.family,
            experiment: experiment.clone(),
            directions: Vec::new(),
        });
        for sample in samples {
            let found = running.directions.iter().position(|(direction, ..)| *direction == sample.direction);
            let index = found.unwrap_or_else(|| {
                let evidence = match &experiment.design {
                    Design::Pairs(design) if experiment.standard.false_changes_per_year.is_some() => {
                        let mut monitor = Monitor::new(design, &experiment.standard, experiment.seed);
                        self.kept.restore(&mut monitor, design, &info.worker, sample.direction, info.family);
                        Evidence::Watch(Box::new(monitor))
                    }
                    Design::Pairs(design) => {
                        Evidence::Pairs(Box::new(PairJudge::new(design, &experiment.standard, experiment.seed)))
                    }
                    // Transfers have no samples.
                    Design::Trains(_) | Design::Contest(_) | Design::Bulk(_) => Evidence::Trains(Vec::new()),
                };
                running.directions.push((sample.direction, 0, evidence));
                running.directions.len() - 1
            });
            let (_, count, evidence) = &mut running.directions[index];
            *count += 1;
            match evidence {
                Evidence::Pairs(judge) => drop(judge.push(&Observed::from(&sample))),
                Evidence::Watch(monitor) => {
                    if monitor.push(&Observed::from(&sample)) {
                        self.kept.changed.push((info.session, sample.direction));
                    }
                }
                Evidence::Trains(probes) if self.probes < MOST_PROBES => {
                    self.probes += 1;
                    probes.push(Observed::from(&sample));
                }
                Evidence::Trains(_) => {}
            }
        }
    }

    /// Nothing more comes of this session.
    pub(crate) fn end(&mut self, session: SessionId) {
        let Some(running) = self.live.remove(&session) else { return };
        let kept = |(_, _, evidence): &(Direction, u64, Evidence)| match evidence {
            Evidence::Trains(probes) => probes.len(),
            Evidence::Pairs(_) | Evidence::Watch(_) => 0,
        };
        self.probes -= running.directions.iter().map(kept).sum::<usize>();
        running.keep_limits(&mut self.kept);
        let status = ExperimentStatus { closed: true, ..running.status() };
        self.ended.push_back((session, running.worker, status));
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
    }

    /// Verdicts that are new or whose evidence is to be written again.
    pub(crate) fn verdicts(&mut self, now: UnixNanos) -> Vec<VerdictRow> {
        let hypotheses = self.live.values().map(Running::watched_hypotheses).sum();
        let due = self.kept.due(now);
        let changed = std::mem::take(&mut self.kept.changed);
        let mut rows = Vec::new();
        for (session, running) in &mut self.live {
            for (direction, _, evidence) in &mut running.directions {
                let Evidence::Watch(monitor) = evidence else { continue };
                if !due && !changed.contains(&(*session, *direction)) {
                    continue;
                }
                monitor.share(hypotheses);
                let path = (running.worker.clone(), *direction, running.family);
                rows.extend(self.kept.rows(path, &monitor.findings(), &running.experiment.standard, now));
            }
        }
        rows
    }

    /// `None`: this worker has no such experiment.
    pub(crate) fn status(&self, session: SessionId, worker: &WorkerName) -> Option<ExperimentStatus> {
        if let Some(running) = self.live.get(&session) {
            return (running.worker == *worker).then(|| running.status());
        }
        let ended = self.ended.iter().rev().find(|(id, of, _)| *id == session && of == worker);
        ended.map(|(_, _, status)| status.clone())
    }
}

impl Running {
    /// Of an endless watch, in all directions.
    fn watched_hypotheses(&self) -> u32 {
        let of = |(_, _, evidence): &(Direction, u64, Evidence)| matches!(evidence, Evidence::Watch(_));
        let directions = self.directions.iter().filter(|direction| of(direction)).count();
        match &self.experiment.design {
            Design::Pairs(design) => (directions * design.hypotheses.len()) as u32,
            Design::Trains(_) | Design::Contest(_) | Design::Bulk(_) => 0,
        }
    }

    /// What the trains of a watch showed, for its verdicts.
    fn keep_limits(&self, kept: &mut Kept) {
        let Design::Trains(design) = &self.experiment.design else { return };
        if self.experiment.standard.false_changes_per_year.is_none() {
            return;
        }
        for (direction, _, evidence) in &self.directions {
            let Evidence::Trains(observed) = evidence else { continue };
            let limits = judge_trains(design, self.experiment.seed, observed);
            kept.limits((self.worker.clone(), *direction, self.family), limits);
        }
    }

    fn status(&self) -> ExperimentStatus {
        let of = |(direction, probes, evidence): &(Direction, u64, Evidence)| {
            let (verdicts, trains) = match evidence {
                Evidence::Pairs(judge) => (judge.verdicts(), Vec::new()),
                Evidence::Watch(monitor) => {
                    (monitor.findings().into_iter().map(|judged| judged.finding.verdict).collect(), Vec::new())
                }
                Evidence::Trains(observed) => (Vec::new(), self.trains(observed)),
            };
            let decided = verdicts.iter().map(|verdict| *verdict != Verdict::Inconclusive).collect();
            DirectionStatus { direction: *direction, probes: *probes, decided, verdicts, trains }
        };
        ExperimentStatus { directions: self.directions.iter().map(of).collect(), closed: false }
    }

    fn trains(&self, observed: &[Observed]) -> Vec<TrainStatus> {
        let Design::Trains(design) = &self.experiment.design else { return Vec::new() };
        let mut all = Vec::new();
        for (index, arm) in judge_trains(design, self.experiment.seed, observed).into_iter().enumerate() {
            all.extend(arm.trains.iter().map(|train| TrainStatus {
                arm: index as u16,
                sent_bps: train.sent_bps,
                sent: train.sent,
                lost: train.lost,
                limit: train.limit.as_ref().map(|limit| (limit.rate_bps.estimate, limit.burst_bytes.high)),
            }));
        }
        all
    }
}
