//! One measurement without installing anything: an ephemeral worker that leaves nothing on disk and brings its report.

use std::path::PathBuf;
use std::time::Duration;

use model::{Family, Kind, Report, TaskSpec, WorkerName};
use net::Clock;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admission::{borrow, enroll};
use crate::capture::{self, Watcher};
use crate::config::host_name;
use crate::duty::Cycle;
use crate::error::WorkerError;
use crate::flow::FlowSpec;
use crate::flow::log::Totals;
use crate::flow::plan::Timeline;
use crate::join::JoinString;
use crate::shaping::{DEFAULT_SECONDS, ShapingOptions, ShapingProgress};
use crate::spool::{MEMORY_BYTES, Spool};
use crate::station::{FlowKey, NotOpened, Privileged, Purpose, Station};
use crate::targets::Targets;
use crate::uplink::Uplink;

/// Of a task without end.
const DEFAULT_S: u32 = 30;
/// The clock's quick exchanges come first, so that the first probes have delays too.
const CLOCK_LEAD: Duration = Duration::from_millis(500);
const SETTLE: Duration = Duration::from_secs(8);
const LAST_UPLOAD: Duration = Duration::from_secs(30);
const PROGRESS: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub struct ProbeConfig {
    pub join: Option<JoinString>,
    /// Where a worker's credential is stored; used if there is no join string.
    pub data_dir: Option<PathBuf>,
    /// `None`: made from the host's name.
    pub name: Option<WorkerName>,
    /// Its bytes a day are not looked at; without end it lasts 30 s.
    pub spec: TaskSpec,
    /// Passive capture on this interface, which needs CAP_NET_RAW (and capabilities stay as they are).
    pub interface: Option<String>,
    /// Compare classes instead of measuring each by itself.
    pub shaping: Option<ShapingOptions>,
    pub clock: Clock,
}

/// Where a measurement stands.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeProgress {
    Joining,
    /// Sessions opened so far, and asked for.
    Opening {
        opened: usize,
        of: usize,
    },
    Measuring {
        elapsed: Duration,
        of: Duration,
        totals: Totals,
    },
    /// Of a run that compares classes.
    Shaping(ShapingProgress),
    /// Waiting for the last answers.
    Settling {
        totals: Totals,
    },
    /// Waiting for the server's report.
    Reporting,
}

/// Measures, and brings the server's report of it. What could not be measured is in its `untested`.
pub async fn probe(config: ProbeConfig, mut progress: impl FnMut(ProbeProgress)) -> Result<Report, WorkerError> {
    config.spec.check()?;
    progress(ProbeProgress::Joining);
    let (credential, _claimed, since_ns) = match (&config.join, &config.data_dir) {
        (Some(join), _) => {
            let name = config.name.clone().unwrap_or_else(host_name);
            (enroll(join, name, true).await?, None, 0)
        }
        (None, Some(data_dir)) => match borrow(data_dir)? {
            // The worker's earlier measurements are not part of this one.
            Some((credential, claimed)) => (credential, Some(claimed), config.clock.now().0),
            None => return Err(WorkerError::NotJoined { data_dir: data_dir.clone() }),
        },
        (None, None) => return Err(WorkerError::NoJoin),
    };
    let uplink = Uplink::new(credential.server, credential.fingerprint, credential.secret)?;
    let watcher = config.interface.as_deref().map(capture::open).transpose()?.map(Watcher::start).transpose()?;
    let privileged = Privileged { watcher, ..Privileged::default() };
    // Nothing is on disk, so the memory must hold what a slow uplink leaves behind.
    let spool = Spool::in_memory(8 * MEMORY_BYTES);
    let station = Station::new(uplink, credential.name, config.clock.clone(), privileged, spool)?;
    let (answers, _unheard) = mpsc::unbounded_channel();
    let mut untested = Vec::new();
    let measured = tokio::select! {
        measured = async {
            match &config.shaping {
                Some(options) => shape(&station, &config.spec, options, &mut untested, &mut progress).await,
                None => measure(&station, &config.spec, &mut untested, &mut progress).await,
            }
        } => measured,
        error = station.upload_forever(&answers) => Err(error),
        () = station.collect_forever() => Ok(()),
    };
    measured?;
    progress(ProbeProgress::Settling { totals: station.totals() });
    let notes = notes(&station);
    if !station.finish(SETTLE, LAST_UPLOAD).await? {
        let server = station.uplink.server().clone();
        return Err(WorkerError::Unreachable { server, problem: "the measurement could not be uploaded".to_owned() });
    }
    progress(ProbeProgress::Reporting);
    let mut report = station.uplink.report(since_ns).await?;
    for line in untested.into_iter().chain(notes) {
        if !report.untested.contains(&line) {
            report.untested.push(line);
        }
    }
    Ok(report)
}

/// Of the flows that came to nothing: what they say of it.
fn notes(station: &Station) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in station.flows().iter() {
        let totals = entry.flow.log.totals();
        let answers = entry.flow.spec.direction.down();
        if totals.sent == 0 || (answers && totals.received == 0) {
            lines.extend(entry.flow.log.notes());
        }
    }
    lines
}

async fn measure(
    station: &Station,
    spec: &TaskSpec,
    untested: &mut Vec<String>,
    progress: &mut impl FnMut(ProbeProgress),
) -> Result<(), WorkerError> {
    let mut targets = Targets::resolve(station.uplink.server()).await?;
    let mut kinds = Vec::new();
    for kind in &spec.kinds {
        if *kind == Kind::Stamp {
            untested.push("stamp: it needs a reflector, not a session: use `netlat stamp HOST`".to_owned());
        } else if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    let timeline = Timeline { begin_ns: Clock::monotonic_ns(), cycle: Cycle::CONTINUOUS };
    station.activity.replace(vec![timeline]);
    let families = open_clocks(station, spec, timeline, &mut targets, untested).await?;
    tokio::time::sleep(CLOCK_LEAD).await;
    let of = kinds.len() * families.len();
    let mut opened = 0;
    for family in &families {
        for kind in &kinds {
            progress(ProbeProgress::Opening { opened, of });
            let key = FlowKey { task: None, kind: *kind, family: *family, purpose: Purpose::Measure };
            let flow = FlowSpec::of_task(spec, *kind, *family);
            match station.open(key, flow, timeline, &mut targets).await {
                Ok(_) => opened += 1,
                Err(error) => untested.push(refusal(error, *kind, *family)?),
            }
        }
    }
    if opened == 0 {
        return Err(WorkerError::Untestable(untested.join("; ")));
    }
    let seconds = match spec.duration {
        model::Duration::Seconds(seconds) => seconds,
        model::Duration::Forever => DEFAULT_S,
    };
    let (begin, of) = (Instant::now(), Duration::from_secs(seconds.into()));
    loop {
        let elapsed = begin.elapsed().min(of);
        progress(ProbeProgress::Measuring { elapsed, of, totals: station.totals() });
        if elapsed == of {
            return Ok(());
        }
        tokio::time::sleep(PROGRESS.min(of - elapsed)).await;
    }
}

/// Compares classes over the first family that can be used, because a budget is for one path.
async fn shape(
    station: &Station,
    spec: &TaskSpec,
    options: &ShapingOptions,
    untested: &mut Vec<String>,
    progress: &mut impl FnMut(ProbeProgress),
) -> Result<(), WorkerError> {
    let mut targets = Targets::resolve(station.uplink.server()).await?;
    let timeline = Timeline { begin_ns: Clock::monotonic_ns(), cycle: Cycle::CONTINUOUS };
    station.activity.replace(vec![timeline]);
    let first = targets.usable(&spec.families).first().copied();
    let clocked = TaskSpec { families: first.into_iter().collect(), ..spec.clone() };
    let families = open_clocks(station, &clocked, timeline, &mut targets, untested).await?;
    let (Some(family), Some(ports)) = (families.first().copied(), station.ports()) else {
        return Err(WorkerError::Untestable(untested.join("; ")));
    };
    for other in targets.usable(&spec.families).into_iter().filter(|other| *other != family) {
        untested.push(format!("{other}: a run compares classes over one family; ask again with --family for this one"));
    }
    let seconds = match spec.duration {
        model::Duration::Seconds(seconds) => seconds,
        model::Duration::Forever => DEFAULT_SECONDS,
    };
    let (ask, missing) = crate::shaping::ask(spec, options, &ports, family, seconds);
    untested.extend(missing);
    tokio::time::sleep(CLOCK_LEAD).await;
    let run = crate::shaping::Run { station, spec, options, family, timeline, seconds };
    run.carry_out(&ask, &mut targets, untested, &mut |step| progress(ProbeProgress::Shaping(step))).await
}

/// Opens a clock session for every family that can be used, and says which. The first grant may tell of another family.
async fn open_clocks(
    station: &Station,
    spec: &TaskSpec,
    timeline: Timeline,
    targets: &mut Targets,
    untested: &mut Vec<String>,
) -> Result<Vec<Family>, WorkerError> {
    let mut families: Vec<Family> = Vec::new();
    let mut refused: Vec<Family> = Vec::new();
    loop {
        let left = |family: &Family| !families.contains(family) && !refused.contains(family);
        let Some(family) = targets.usable(&spec.families).into_iter().find(left) else { break };
        let key = FlowKey { task: None, kind: Kind::Clock, family, purpose: Purpose::Measure };
        match station.open(key, FlowSpec::clock(family), timeline, targets).await {
            Ok(_) => families.push(family),
            Err(error) => {
                untested.push(refusal(error, Kind::Clock, family)?);
                refused.push(family);
            }
        }
    }
    // A family is missed only by who asked for it.
    for family in spec.families.iter().filter(|family| !families.contains(family) && !refused.contains(family)) {
        if let Err(problem) = targets.of(*family) {
            untested.push(problem);
        }
    }
    if families.is_empty() {
        let reasons = if untested.is_empty() {
            Family::ALL.iter().filter_map(|family| targets.of(*family).err()).collect()
        } else {
            std::mem::take(untested)
        };
        return Err(WorkerError::Untestable(reasons.join("; ")));
    }
    Ok(families)
}

/// The line for `untested`, or the error if there is no use in going on.
fn refusal(error: NotOpened, kind: Kind, family: Family) -> Result<String, WorkerError> {
    match error {
        NotOpened::Host(problem) => Ok(format!("{kind} over {family}: {problem}")),
        NotOpened::Server(error @ WorkerError::Refused { .. }) => Ok(format!("{kind} over {family}: {error}")),
        NotOpened::Server(error) => Err(error),
    }
}
