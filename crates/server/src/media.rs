//! What workers tell of media hosts: taken if it is about them and plausible.

use model::control::WatchCounts;
use model::{Metric, Record, WorkerName};

/// Of one upload; an honest worker sends some hundreds at most.
const MOST: usize = 1000;

/// Those that may be kept, and how many were left out.
pub(crate) fn plausible(worker: &WorkerName, records: Vec<Record>) -> (Vec<Record>, u64) {
    let offered = records.len();
    let own = |record: &Record| {
        let is_media = matches!(record.measured.metric, Metric::MediaDns | Metric::MediaPing);
        is_media && record.id.worker == *worker && record.check().is_ok()
    };
    let kept: Vec<Record> = records.into_iter().filter(own).take(MOST).collect();
    let left_out = (offered - kept.len()) as u64;
    (kept, left_out)
}

/// Names of the store's counters, and what is to be added.
pub(crate) fn counted(counts: &WatchCounts) -> impl Iterator<Item = (String, u64)> {
    // A worker may say any number: no more than a counter can hold in a lifetime.
    let bounded = |count: u64| count.min(u64::from(u32::MAX));
    [
        ("media_malformed", bounded(counts.malformed)),
        ("media_given_up", bounded(counts.given_up)),
        ("media_missed", bounded(counts.missed)),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| (name.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use model::{BootId, Instrument, Measurement, RecordId, UnixNanos};

    use super::*;

    #[test]
    fn a_worker_tells_of_media_hosts_in_its_own_name_only() {
        let own = WorkerName::new("nyc1").unwrap();
        let record = |worker: &str, metric, counter| {
            let at = UnixNanos(1_790_000_000_000_000_000);
            let measured = Measurement { icmp_us: Some(9), app_us: Some(9), ..Measurement::new(metric, at) };
            let instrument = Instrument { library: "x 1".into(), language: "rust".into(), version: "0".into() };
            let id = RecordId { worker: WorkerName::new(worker).unwrap(), boot: BootId(1), counter };
            Record { id, instrument, measured }
        };
        let (kept, left_out) = plausible(
            &own,
            vec![
                record("nyc1", Metric::MediaPing, 1),
                record("fra1", Metric::MediaPing, 2),
                record("nyc1", Metric::Rest, 3),
                record("nyc1", Metric::MediaDns, 0),
            ],
        );
        assert_eq!((kept.len(), left_out), (1, 3));
        let (kept, left_out) = plausible(&own, (1..=1500).map(|n| record("nyc1", Metric::MediaDns, n)).collect());
        assert_eq!((kept.len(), left_out), (MOST, 500));
        assert_eq!(counted(&WatchCounts { malformed: u64::MAX, given_up: 0, missed: 1 }).count(), 2);
    }
}
