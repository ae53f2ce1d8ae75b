//! The report's paths, built from the samples of one worker: two passes over them, the first for the clock.

mod class;
mod path;

use std::collections::BTreeMap;

use model::control::SessionInfo;
use model::report::Path;
use model::{Direction, Family, Kind, Sample, SampleFlags, SessionId, WorkerName};

use crate::clock::{ClockModel, Exchange};
use crate::remarking::RemarkingConfig;
use path::PathBuilder;

/// Why a source could not deliver its samples; passed through as it came.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Samples of one worker, in any order.
pub trait SampleSource {
    /// Calls `f` with every sample. Called twice for one report; samples that came to be in between are no harm.
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
    /// Share of a kind's received samples flagged `INTERCEPTED` from which on the kind counts as intercepted, 0..=1.
    pub intercepted_share: f64,
}

impl Default for ReportConfig {
    fn default() -> ReportConfig {
        ReportConfig { remarking: RemarkingConfig::default(), intercepted_share: 0.1 }
    }
}

/// Builds the paths of one worker, ordered by direction and family. `info` tells of a session where the samples come from
/// and what its worker noted. Needs memory for one number or two of every sample.
pub fn build_paths(
    worker: &WorkerName,
    source: &dyn SampleSource,
    info: &dyn Fn(SessionId) -> Option<SessionInfo>,
    config: &ReportConfig,
) -> Result<Vec<Path>, SourceError> {
    let exchanges = Exchanges::collect(source)?;
    let clock = ClockModel::fit(exchanges.usable());
    let mut builders: BTreeMap<(Direction, Family), PathBuilder> = BTreeMap::new();
    source.visit(&mut |sample| {
        if sample.kind == Kind::Clock {
            return;
        }
        let builder = builders.entry((sample.direction, sample.family)).or_insert_with(PathBuilder::new);
        builder.add(sample, clock.as_ref(), exchanges.round_trip(sample));
    })?;
    let build = |((direction, family), builder): ((Direction, Family), PathBuilder)| {
        builder.finish(worker, direction, family, clock.as_ref(), info, config)
    };
    Ok(builders.into_iter().map(build).collect())
}

/// Probes whose answer arrived as well, with all four times.
struct Exchanges {
    by_probe: BTreeMap<(SessionId, u32), Exchange>,
}

impl Exchanges {
    fn collect(source: &dyn SampleSource) -> Result<Exchanges, SourceError> {
        let user = SampleFlags::TX_USER.0 | SampleFlags::RX_USER.0;
        let (mut up, mut down) = (Vec::new(), Vec::new());
        source.visit(&mut |sample| {
            let Some(received) = sample.received_at.filter(|_| sample.flags.0 & user == 0) else { return };
            let row = ((sample.session, sample.sequence), sample.sent_at, received);
            match sample.direction {
                Direction::Up => up.push(row),
                Direction::Down => down.push(row),
                Direction::RoundTrip => {}
            }
        })?;
        up.sort_unstable_by_key(|row| row.0);
        let mut by_probe = BTreeMap::new();
        for (key, t3, t4) in down {
            if let Ok(index) = up.binary_search_by_key(&key, |row| row.0) {
                let (_, t1, t2) = up[index];
                by_probe.insert(key, Exchange { t1, t2, t3, t4 });
            }
        }
        Ok(Exchanges { by_probe })
    }

    fn usable(&self) -> impl Iterator<Item = Exchange> {
        self.by_probe.values().copied()
    }

    /// Nanoseconds in the network, both ways. An exchange belongs to its answer where there are two samples of it.
    fn round_trip(&self, sample: &Sample) -> Option<i64> {
        match sample.direction {
            Direction::RoundTrip => sample.received_at.map(|received| received.since(sample.sent_at)).filter(|ns| *ns >= 0),
            _ => crate::delay::round_trip_ns(self.by_probe.get(&(sample.session, sample.sequence))?),
        }
    }
}
