//! Comparisons without end: the pairs of a task at the rate that its bytes an hour allow, and trains whenever enough is saved up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use measure::shaping::campaign::{Ask, Memory, PairSession, Trains};
use model::control::ProbePorts;
use model::shaping::{Design, Experiment, Standard};
use model::task::ShapingSpec;
use model::{Family, TaskSpec};
use net::Clock;
use tokio::time::Instant;

use super::{Run, ShapingOptions, ask, random};
use crate::duty::Cycle;
use crate::error::WorkerError;
use crate::flow::FlowSpec;
use crate::flow::plan::Timeline;
use crate::station::Station;
use crate::targets::Targets;

/// A watch looks so often whether it can afford trains.
const TRAINS_LOOK: Duration = Duration::from_secs(10);

/// Of a watch's bytes an hour, for trains.
const TRAIN_SHARE: f64 = 0.4;
/// One round of trains of a watch: what an hour brings, within these bounds.
const TRAIN_BYTES: (f64, f64) = (1e6, 10e6);
const TRAIN_SECONDS: f64 = 60.0;

/// The endless pairs of a task on one family, one flow for UDP and one for TCP.
pub(crate) fn watch(spec: &TaskSpec, ports: &ProbePorts, family: Family, families: usize, seed: u64) -> Vec<FlowSpec> {
    let Some(shaping) = &spec.shaping else { return Vec::new() };
    let ask = watch_ask(spec, shaping, ports, family, families);
    let standard = Standard {
        least_delay_ms: shaping.least_delay_ms,
        least_loss: shaping.least_loss,
        hypotheses: ask.hypothesis_count().max(1),
        false_changes_per_year: Some(0.1),
        ..Standard::default()
    };
    let flow = |(index, session): (usize, PairSession)| {
        let seed = seed ^ (index as u64 + 1) << 8 ^ family as u64;
        let experiment = Experiment { design: Design::Pairs(session.design), standard, seed };
        FlowSpec::experiment(experiment, None, family, spec.direction, &spec.sni)
    };
    ask.pairs().into_iter().enumerate().map(flow).collect()
}

fn watch_ask(spec: &TaskSpec, shaping: &ShapingSpec, ports: &ProbePorts, family: Family, families: usize) -> Ask {
    let options = ShapingOptions { ports: shaping.ports.clone(), ..ShapingOptions::default() };
    // Ports that the server lacks are left out, as a probe says.
    let (ask, _) = ask(spec, &options, ports, family, 0);
    let budget_bytes = shaping.bytes_per_hour / families.max(1) as u64;
    // Half of a run's time is for pairs: an hour of them.
    Ask { budget_bytes, seconds: 7_200.0, transfers: false, ..ask }
}

/// A task whose trains are due from time to time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub task: Option<model::TaskId>,
    pub spec: TaskSpec,
    pub family: Family,
    pub families: usize,
}

/// What a job has saved up, and what its trains have shown before.
struct Account {
    job: Job,
    bytes: f64,
    since: Instant,
    memory: Memory,
}

/// Sends the trains of all jobs whenever they can afford some. Does not end.
pub(crate) async fn trains_forever(station: &Station, jobs: &Mutex<Vec<Job>>) {
    let mut accounts: Vec<Account> = Vec::new();
    loop {
        tokio::time::sleep(TRAINS_LOOK).await;
        let wanted = jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        accounts.retain(|account| wanted.contains(&account.job));
        for job in wanted {
            if !accounts.iter().any(|account| account.job == job) {
                accounts.push(Account { job, bytes: 0.0, since: Instant::now(), memory: Memory::default() });
            }
        }
        for account in &mut accounts {
            let Some(shaping) = &account.job.spec.shaping else { continue };
            let hourly = shaping.bytes_per_hour as f64 * TRAIN_SHARE / account.job.families.max(1) as f64;
            let round = hourly.clamp(TRAIN_BYTES.0, TRAIN_BYTES.1);
            account.bytes = (account.bytes + hourly * account.since.elapsed().as_secs_f64() / 3_600.0).min(round);
            account.since = Instant::now();
            if account.bytes < round {
                continue;
            }
            account.bytes = 0.0;
            if let Err(error) = round_of_trains(station, account, round as u64).await {
                tracing::debug!("no trains this time: {error}");
            }
        }
    }
}

async fn round_of_trains(station: &Station, account: &mut Account, bytes: u64) -> Result<(), WorkerError> {
    let (Some(shaping), Some(ports)) = (&account.job.spec.shaping, station.ports()) else { return Ok(()) };
    let (job, families) = (&account.job, account.job.families);
    let ask = watch_ask(&job.spec, shaping, &ports, job.family, families);
    let mut targets = Targets::resolve(station.uplink.server()).await?;
    targets.learn(&station.addresses());
    let options = ShapingOptions::default();
    let timeline = Timeline { begin_ns: Clock::monotonic_ns(), cycle: Cycle::CONTINUOUS };
    let (spec, family, seconds) = (&job.spec, job.family, TRAIN_SECONDS as u32);
    let run = Run { station, spec, options: &options, family, timeline, seconds };
    let standard = Standard { false_changes_per_year: Some(0.1), ..Standard::default() };
    let mut trains = Trains::new(&ask, bytes, TRAIN_SECONDS);
    trains.resume(&account.memory);
    let sent =
        run.send_trains(&ask, &mut trains, standard, random()?, &mut targets, &mut Vec::new(), &mut |_| {}).await?;
    account.memory = trains.memory(sent);
    Ok(())
}
