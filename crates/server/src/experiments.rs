//! What the server has seen of each running experiment: a judge for every direction, fed with samples as they are joined, so that
//! whoever sends the probes can stop asking what is decided and go on to what is not.

use std::collections::{HashMap, VecDeque};

use measure::shaping::Observed;
use measure::shaping::judge::{PairJudge, judge_trains};
use model::control::SessionInfo;
use model::report::Verdict;
use model::shaping::{Design, DirectionStatus, Experiment, ExperimentStatus, TrainStatus};
use model::{Direction, Sample, SessionId, WorkerName};

/// Ended experiments that may still be asked for.
const REMEMBERED: usize = 256;
/// Probes of trains kept in all: about 30 MB.
const MOST_PROBES: usize = 500_000;

#[derive(Debug, Default)]
pub(crate) struct Experiments {
    live: HashMap<SessionId, Running>,
    ended: VecDeque<(SessionId, WorkerName, ExperimentStatus)>,
    probes: usize,
}

#[derive(Debug)]
struct Running {
    worker: WorkerName,
    experiment: Experiment,
    directions: Vec<(Direction, u64, Evidence)>,
}

#[derive(Debug)]
enum Evidence {
    Pairs(Box<PairJudge>),
    Trains(Vec<Observed>),
}

impl Experiments {
    /// Samples of one session, in order of sequence in each direction.
    pub(crate) fn push(&mut self, info: &SessionInfo, samples: impl Iterator<Item = Sample>) {
        let Some(experiment) = &info.experiment else { return };
        let running = self.live.entry(info.session).or_insert_with(|| Running {
            worker: info.worker.clone(),
            experiment: experiment.clone(),
            directions: Vec::new(),
        });
        for sample in samples {
            let found = running.directions.iter().position(|(direction, ..)| *direction == sample.direction);
            let index = found.unwrap_or_else(|| {
                let evidence = match &experiment.design {
                    Design::Pairs(design) => {
                        Evidence::Pairs(Box::new(PairJudge::new(design, &experiment.standard, experiment.seed)))
                    }
                    Design::Trains(_) => Evidence::Trains(Vec::new()),
                };
                running.directions.push((sample.direction, 0, evidence));
                running.directions.len() - 1
            });
            let (_, count, evidence) = &mut running.directions[index];
            *count += 1;
            match evidence {
                Evidence::Pairs(judge) => judge.push(&Observed::from(&sample)),
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
            Evidence::Pairs(_) => 0,
        };
        self.probes -= running.directions.iter().map(kept).sum::<usize>();
        let status = ExperimentStatus { closed: true, ..running.status() };
        self.ended.push_back((session, running.worker, status));
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
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
    fn status(&self) -> ExperimentStatus {
        let of = |(direction, probes, evidence): &(Direction, u64, Evidence)| {
            let (verdicts, trains) = match evidence {
                Evidence::Pairs(judge) => {
                    (judge.findings().into_iter().map(|judged| judged.finding.verdict).collect(), Vec::new())
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
