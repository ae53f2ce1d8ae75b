//! Series of a short range in buckets of seconds, from the samples: what sums of minutes are too coarse for.

use std::collections::BTreeSet;

use model::{Sample, SessionId};
use store::{CorrectedDelay, Reader, RollupQuery, SampleQuery, SessionQuery, Tally};

use super::series::Buckets;
use crate::answer::Refusal;
use crate::range::Range;

/// More samples than this are not read for a page.
const MOST_SAMPLES: usize = 300_000;

/// `None`: there are too many samples, or none any more; then sums do.
pub(super) fn series(reader: &Reader, query: &RollupQuery, range: &Range) -> Result<Option<Buckets>, Refusal> {
    let (worker, since, until) = (query.worker.clone(), Some(range.since_ns()), Some(range.until_ns()));
    let sessions = SessionQuery { worker: worker.clone(), since, until, open_only: false };
    // Trains are sent to be lost: their samples stand for nothing here.
    let experiments: BTreeSet<SessionId> = reader
        .sessions(&sessions)?
        .into_iter()
        .filter(|info| info.experiment.is_some())
        .map(|info| info.session)
        .collect();
    let mut samples: Vec<Sample> = Vec::new();
    let wanted = SampleQuery { worker, since, until, family: query.family, ..SampleQuery::default() };
    let found = reader.samples(&wanted, &mut |_, sample| {
        if samples.len() < MOST_SAMPLES && !experiments.contains(&sample.session) {
            samples.push(*sample);
        }
    })?;
    if samples.is_empty() || found > MOST_SAMPLES as u64 {
        return Ok(None);
    }
    let mut buckets = Buckets::new();
    // All kinds went into the clock; only the wanted ones are shown.
    let shown = |sample: &Sample| {
        query.kinds.contains(&sample.kind)
            && query.direction == Some(sample.direction)
            && query.classes.contains(&sample.tos_sent)
    };
    measure::report::visit_delays(&samples, &mut |sample, delay| {
        let Some(bucket) = range.bucket(store::time_of(sample)).filter(|_| shown(sample)) else { return };
        let all = buckets.entry(sample.tos_sent).or_insert_with(|| vec![None; range.buckets()]);
        let delay =
            delay.map(|delay| CorrectedDelay { ns: delay.ns as i64, uncertainty_ns: delay.uncertainty_ns as i64 });
        all[bucket].get_or_insert_with(Tally::default).add(sample, delay);
    })
    .map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(Some(buckets))
}
