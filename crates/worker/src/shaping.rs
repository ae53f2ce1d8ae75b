//! One run of comparisons within a budget: pairs first, then trains, each session as what was seen so far asks for. The plan is
//! `measure`'s, the verdict the server's.

mod options;
mod plan;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use measure::shaping::campaign::{self, Ask, BulkSession, PairSession, Trains};
use model::shaping::{Arm, Design, Experiment, ExperimentStatus, Standard, TrainDesign};
use model::{Family, SessionId, TaskSpec};
use net::Clock;
use tokio::time::Instant;

use crate::duty::datagram_overhead;
use crate::error::WorkerError;
use crate::flow::FlowSpec;
use crate::flow::experiment::Course;
use crate::flow::plan::Timeline;
use crate::station::{FlowKey, NotOpened, Purpose, Station};
use crate::targets::Targets;

pub use options::{DEFAULT_BUDGET, DEFAULT_SECONDS, Load, ShapingOptions, ShapingProgress};
pub(crate) use plan::{ask, describe};
pub(crate) use watch::{Job, trains_forever, watch};

/// So often the server is asked what is decided.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// A train's last packets are settled and joined after so long.
const TRAIN_SETTLES: Duration = Duration::from_millis(3_500);
const POLL: Duration = Duration::from_millis(100);

/// Everything that the run's parts share.
pub(crate) struct Run<'a> {
    pub station: &'a Station,
    pub spec: &'a TaskSpec,
    pub options: &'a ShapingOptions,
    pub family: Family,
    pub timeline: Timeline,
    pub seconds: u32,
}

fn random() -> Result<u64, WorkerError> {
    let mut seed = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)
        .map_err(|_| WorkerError::Start("the system has no random numbers".to_owned()))?;
    Ok(u64::from_le_bytes(seed))
}

impl Run<'_> {
    pub(crate) async fn carry_out(
        &self,
        ask: &Ask,
        targets: &mut Targets,
        untested: &mut Vec<String>,
        progress: &mut impl FnMut(ShapingProgress),
    ) -> Result<(), WorkerError> {
        let begin = Instant::now();
        let mut seed = random()?;
        let standard = Standard {
            alpha: self.options.alpha,
            alpha_none: self.options.alpha_none,
            least_delay_ms: self.options.least_delay_ms,
            least_loss: self.options.least_loss,
            least_throughput: self.options.least_throughput,
            hypotheses: ask.hypothesis_count().max(1),
            false_changes_per_year: None,
        };
        progress(ShapingProgress::Plan(describe(ask, self.options, self.family, self.seconds)));
        let pairs = ask.pairs();
        let (transfers, too_little) = ask.transfers();
        untested.extend(too_little);
        let aside = transfers.as_ref().map_or(0, |session| session.bytes);
        let mut left = ask.budget_bytes.saturating_sub(aside);
        let mut opened = Vec::new();
        for session in &pairs {
            let experiment = Experiment { design: Design::Pairs(session.design.clone()), standard, seed };
            seed = seed.wrapping_add(1);
            match self.open(experiment, Some(session.rounds), targets).await? {
                Ok((id, course)) => {
                    left = left.saturating_sub(ask.pair_bytes(session));
                    opened.push((id, course, session));
                }
                Err(problem) => untested.push(problem),
            }
        }
        if opened.is_empty() {
            return Err(WorkerError::Untestable(untested.join("; ")));
        }
        let blocked = self.follow_pairs(ask, &opened, &mut left, progress).await?;
        if let Some(session) = transfers {
            // Not on the path while pairs are: their packets would wait behind a transfer's.
            self.transfer(session, standard, seed ^ 0xb01c, targets, untested, progress).await?;
        }
        let left_s = (f64::from(self.seconds) - begin.elapsed().as_secs_f64()).max(8.0);
        // Contests come last, so their time is set aside first.
        let aside_s = if self.options.load.is_some() { Trains::contest_seconds(ask).min(left_s / 2.0) } else { 0.0 };
        let mut trains = Trains::new(ask, left, left_s - aside_s);
        trains.leave_out(&blocked);
        self.send_trains(ask, &mut trains, standard, seed, targets, untested, progress).await?;
        if let Some(load) = self.options.load {
            trains.spend_time(-aside_s);
            let path_bps = match load {
                Load::AsMet => trains.shared_limit_bps(),
                Load::BitsPerSecond(bps) => Some(bps),
            };
            self.contend(path_bps, &mut trains, standard, seed ^ 0x10ad, targets, untested, progress).await?;
        }
        Ok(())
    }

    /// Pairs of whole TCP transfers, within their share of the time.
    async fn transfer(
        &self,
        session: BulkSession,
        standard: Standard,
        seed: u64,
        targets: &mut Targets,
        untested: &mut Vec<String>,
        progress: &mut impl FnMut(ShapingProgress),
    ) -> Result<(), WorkerError> {
        let directions = u32::from(self.spec.direction.up()) + u32::from(self.spec.direction.down());
        let of = 2 * session.design.hypotheses.len() as u32 * directions * session.design.rounds;
        let at_most = Duration::from_secs_f64(session.seconds);
        let experiment = Experiment { design: Design::Bulk(session.design), standard, seed };
        let (id, course) = match self.open(experiment, None, targets).await? {
            Ok(opened) => opened,
            Err(problem) => {
                untested.push(format!("TCP throughput: {problem}"));
                return Ok(());
            }
        };
        let begin = Instant::now();
        while !course.is_finished() && begin.elapsed() < at_most {
            progress(ShapingProgress::Transfers { done: course.transfers(), of });
            tokio::time::sleep(POLL).await;
        }
        if !course.is_finished() {
            let done = course.transfers();
            untested.push(format!(
                "TCP throughput: its time was over after {done} of at most {of} transfers; --duration gives more"
            ));
        }
        self.stop(id);
        Ok(())
    }

    /// Loads the path with each class and best effort at once.
    #[allow(clippy::too_many_arguments)]
    async fn contend(
        &self,
        path_bps: Option<f64>,
        trains: &mut Trains,
        standard: Standard,
        mut seed: u64,
        targets: &mut Targets,
        untested: &mut Vec<String>,
        progress: &mut impl FnMut(ShapingProgress),
    ) -> Result<(), WorkerError> {
        let Some(path_bps) = path_bps else {
            untested.push("load: the trains met no limit to fill; give the path's rate with --load RATE".to_owned());
            return Ok(());
        };
        let designs = trains.contests(path_bps);
        if designs.is_empty() {
            untested.push("load: the rest of budget or time is too little to fill the path".to_owned());
        }
        for design in designs {
            let wire = f64::from(design.size + datagram_overhead(self.family)) * 8.0;
            progress(ShapingProgress::Contest { kbps: (2.0 * design.rate_pps * wire / 1e3) as u64 });
            let at_most = Duration::from_secs_f64(f64::from(design.slots) / design.rate_pps + 5.0);
            let experiment = Experiment { design: Design::Contest(design), standard, seed };
            seed = seed.wrapping_add(1);
            match self.open(experiment, None, targets).await? {
                Ok((id, course)) => {
                    let begin = Instant::now();
                    while !course.is_finished() && begin.elapsed() < at_most {
                        tokio::time::sleep(POLL).await;
                    }
                    tokio::time::sleep(TRAIN_SETTLES).await;
                    self.stop(id);
                }
                Err(problem) => untested.push(problem),
            }
        }
        Ok(())
    }

    /// Trains until enough is known, or neither bytes nor time are left. Whether any were sent.
    #[allow(clippy::too_many_arguments)]
    async fn send_trains(
        &self,
        ask: &Ask,
        trains: &mut Trains,
        standard: Standard,
        mut seed: u64,
        targets: &mut Targets,
        untested: &mut Vec<String>,
        progress: &mut impl FnMut(ShapingProgress),
    ) -> Result<bool, WorkerError> {
        let mut sent = false;
        while let Some(design) = trains.next_design() {
            let begin = Instant::now();
            let classes = design.arms.len();
            let bytes = f64::from(design.size + ask.headers) * 8.0;
            progress(ShapingProgress::Train { classes, kbps: (design.rate_pps * bytes / 1e3) as u64 });
            let experiment = Experiment { design: Design::Trains(design.clone()), standard, seed };
            seed = seed.wrapping_add(1);
            let status = match self.open(experiment, None, targets).await? {
                Ok((id, course)) => self.follow_train(id, &course, &design).await?,
                Err(problem) => {
                    untested.push(problem);
                    break;
                }
            };
            sent = true;
            trains.forget_unseen(&design, &status.directions);
            trains.learn(&design, &status.directions);
            let sending = f64::from(design.packets) / design.rate_pps + f64::from(design.idle_ms) / 1e3;
            trains.spend_time((begin.elapsed().as_secs_f64() - sending * classes as f64).max(0.0));
        }
        Ok(sent)
    }

    /// The session and its course; or in words why it is not tested.
    async fn open(
        &self,
        experiment: Experiment,
        rounds: Option<u32>,
        targets: &mut Targets,
    ) -> Result<Result<(SessionId, Arc<Course>), String>, WorkerError> {
        let flow = FlowSpec::experiment(experiment, rounds, self.family, self.spec.direction, &self.spec.sni);
        let key = FlowKey { task: None, kind: flow.kind, family: self.family, purpose: Purpose::Step };
        match self.station.open(key, flow, self.timeline, targets).await {
            Ok(_) => {
                let flows = self.station.flows();
                let newest = flows.last().ok_or_else(|| WorkerError::Untestable("the flow is gone".to_owned()))?;
                Ok(Ok((newest.flow.log.session(), newest.flow.course.clone())))
            }
            Err(NotOpened::Host(problem)) => Ok(Err(problem)),
            Err(NotOpened::Server(error @ WorkerError::Refused { .. })) => Ok(Err(error.to_string())),
            Err(NotOpened::Server(error)) => Err(error),
        }
    }

    /// Until all rounds are sent or all is decided. What is saved goes back to `left`. Returns which classes are blocked.
    async fn follow_pairs(
        &self,
        ask: &Ask,
        opened: &[(SessionId, Arc<Course>, &PairSession)],
        left: &mut u64,
        progress: &mut impl FnMut(ShapingProgress),
    ) -> Result<Vec<Arm>, WorkerError> {
        let begin = Instant::now();
        let of = opened.iter().map(|(.., session)| session.design.hypotheses.len()).sum();
        let longest = |(.., session): &(SessionId, Arc<Course>, &PairSession)| {
            f64::from(session.rounds) / session.design.rounds_per_second
        };
        let at_most = Duration::from_secs_f64(opened.iter().map(longest).fold(0.0, f64::max) + 1.0);
        let mut asked = Instant::now();
        let mut decided = 0;
        let mut spared = 0.0;
        loop {
            progress(ShapingProgress::Pairs { decided, of, elapsed: begin.elapsed().min(at_most), at_most });
            let finished = opened.iter().all(|(_, course, _)| course.is_finished());
            if finished || begin.elapsed() > at_most + Duration::from_secs(2) {
                break;
            }
            tokio::time::sleep(POLL).await;
            if asked.elapsed() < ASK_AGAIN {
                continue;
            }
            asked = Instant::now();
            decided = 0;
            for (id, course, session) in opened {
                let status = self.station.uplink.experiment(*id).await.unwrap_or_default();
                let Some(done) = campaign::decided(ask.direction, &status.directions) else { continue };
                decided += done.iter().filter(|done| **done).count();
                let share = done.iter().filter(|done| **done).count() as f64 / done.len().max(1) as f64;
                let rest = 1.0 - begin.elapsed().as_secs_f64() / longest(&(*id, course.clone(), session)).max(1e-9);
                spared = share * rest.clamp(0.0, 1.0) * ask.pair_bytes(session) as f64;
                course.decide(done);
            }
        }
        *left += (spared * 0.8) as u64;
        tokio::time::sleep(TRAIN_SETTLES).await;
        let mut blocked = Vec::new();
        for (id, _, session) in opened {
            self.stop(*id);
            let status = self.station.uplink.experiment(*id).await.unwrap_or_default();
            blocked.extend(campaign::blocked(&session.design, &status.directions));
        }
        Ok(blocked)
    }

    /// Until it is sent, settled and joined.
    async fn follow_train(
        &self,
        id: SessionId,
        course: &Course,
        design: &TrainDesign,
    ) -> Result<ExperimentStatus, WorkerError> {
        let each = f64::from(design.packets) / design.rate_pps + f64::from(design.idle_ms) / 1e3;
        let at_most = Duration::from_secs_f64(each * design.arms.len() as f64 * f64::from(design.rounds) + 5.0);
        let begin = Instant::now();
        while !course.is_finished() && begin.elapsed() < at_most {
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(TRAIN_SETTLES).await;
        let status = self.station.uplink.experiment(id).await;
        self.stop(id);
        match status {
            Ok(status) => Ok(status),
            // Nothing has arrived and nothing is known.
            Err(WorkerError::Refused { status: 404, .. }) => Ok(ExperimentStatus::default()),
            Err(error) => Err(error),
        }
    }

    fn stop(&self, id: SessionId) {
        let now_ns = Clock::monotonic_ns();
        let mut flows = self.station.flows();
        flows.iter_mut().filter(|entry| entry.flow.log.session() == id).for_each(|entry| entry.flow.stop(now_ns));
    }
}
