//! Records as a message of a worker's channel: a line that a person reads, then the same as versioned JSON. Discord bounds
//! a message at 2,000 characters, so a batch holds what fits.

use std::fmt::Write;

use model::record::{InvalidRecord, hex_boot};
use model::{BootId, Instrument, Measurement, Metric, Record, RecordId, WorkerName};
use serde::{Deserialize, Serialize};

/// The marker and version of a batch's JSON.
pub const SCHEMA: &str = "record/1";
pub const LONGEST_MESSAGE: usize = 2_000;

/// One message's records, all of one worker, boot and program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub netlat: String,
    pub worker: WorkerName,
    #[serde(with = "hex_boot")]
    pub boot: BootId,
    /// When that boot began, on the worker's clock: of two main bots for one worker the later one gives way.
    #[serde(default)]
    pub started_us: i64,
    #[serde(flatten)]
    pub instrument: Instrument,
    pub records: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub counter: u64,
    #[serde(flatten)]
    pub measured: Measurement,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABatch {
    /// An ordinary message.
    #[error("not a batch of records")]
    Unmarked,
    #[error("a batch of another version: {0}")]
    OtherVersion(String),
    #[error("a batch whose JSON is broken at column {0}")]
    Broken(usize),
    #[error(transparent)]
    Invalid(#[from] InvalidRecord),
}

impl Batch {
    /// As many of the records, in their order and from the front, as are of one boot and program and fit into a message;
    /// answers with the message's text and with their number. `None` of no records.
    pub fn compose(records: &[Record], started_us: i64) -> Option<(String, usize)> {
        let first = records.first()?;
        let alike = |record: &&Record| {
            record.id.worker == first.id.worker
                && record.id.boot == first.id.boot
                && record.instrument == first.instrument
        };
        let records: Vec<&Record> = records.iter().take_while(alike).collect();
        // The text grows with every record, so the number that fits is found by halving.
        let (mut fits, mut too_many) = (0, records.len().min(100) + 1);
        let mut text = None;
        while too_many - fits > 1 {
            let tried = (fits + too_many) / 2;
            let candidate = text_of(&records[..tried], started_us);
            if candidate.chars().count() <= LONGEST_MESSAGE {
                (fits, text) = (tried, Some(candidate));
            } else {
                too_many = tried;
            }
        }
        text.map(|text| (text, fits))
    }

    /// Reads a message's text. Everything in it is checked.
    pub fn read(content: &str) -> Result<Batch, NotABatch> {
        let json = fenced(content).ok_or(NotABatch::Unmarked)?;
        if !json.contains("\"netlat\"") {
            return Err(NotABatch::Unmarked);
        }
        #[derive(Deserialize)]
        struct Marked {
            netlat: String,
        }
        let marked: Marked = serde_json::from_str(json).map_err(|error| NotABatch::Broken(error.column()))?;
        match marked.netlat.as_str() {
            SCHEMA => {}
            other if other.starts_with("record/") => {
                return Err(NotABatch::OtherVersion(other.chars().filter(|c| !c.is_control()).take(20).collect()));
            }
            _ => return Err(NotABatch::Unmarked),
        }
        let batch: Batch = serde_json::from_str(json).map_err(|error| NotABatch::Broken(error.column()))?;
        batch.instrument.check()?;
        for record in batch.clone().into_records() {
            record.check()?;
        }
        Ok(batch)
    }

    pub fn into_records(self) -> Vec<Record> {
        let Batch { worker, boot, instrument, records, .. } = self;
        let record = |entry: Entry| Record {
            id: RecordId { worker: worker.clone(), boot, counter: entry.counter },
            instrument: instrument.clone(),
            measured: entry.measured,
        };
        records.into_iter().map(record).collect()
    }
}

/// The JSON of a message: its first fenced block, or the whole message where it is nothing else.
pub(crate) fn fenced(content: &str) -> Option<&str> {
    let content = content.trim();
    if content.starts_with('{') {
        return Some(content);
    }
    let (_, after) = content.split_once("```")?;
    let after = after.strip_prefix("json").unwrap_or(after);
    let (inside, _) = after.split_once("```")?;
    let inside = inside.trim();
    inside.starts_with('{').then_some(inside)
}

fn text_of(records: &[&Record], started_us: i64) -> String {
    let Some(first) = records.first() else { return String::new() };
    let batch = Batch {
        netlat: SCHEMA.to_owned(),
        worker: first.id.worker.clone(),
        boot: first.id.boot,
        started_us,
        instrument: first.instrument.clone(),
        records: records
            .iter()
            .map(|record| Entry { counter: record.id.counter, measured: record.measured.clone() })
            .collect(),
    };
    // Plain data with string keys: writing it cannot fail.
    let json = serde_json::to_string(&batch).unwrap_or_default();
    format!("{}\n```json\n{json}\n```", line(records))
}

/// `nyc1 22:30:05 UTC: REST 182 ms (network 21 ms), gateway 96 ms (network 22 ms), 2 without an answer`.
fn line(records: &[&Record]) -> String {
    let Some(last) = records.last() else { return String::new() };
    let seconds = last.measured.at_us.div_euclid(1_000_000).rem_euclid(86_400);
    let mut line =
        format!("`{}` {:02}:{:02}:{:02} UTC:", last.id.worker, seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut separator = " ";
    for metric in Metric::ALL {
        let of: Vec<&Measurement> =
            records.iter().map(|record| &record.measured).filter(|measured| measured.metric == metric).collect();
        let Some(app) = median(of.iter().filter_map(|measured| measured.app_us)) else { continue };
        let _ = write!(line, "{separator}{} {}", short(metric), ms(app));
        if let Some(network) = median(of.iter().filter_map(|measured| measured.network_us.or(measured.connect_us))) {
            let _ = write!(line, " (network {})", ms(network));
        }
        separator = ", ";
    }
    let silent = |record: &&&Record| record.measured.metric.is_application() && record.measured.app_us.is_none();
    let silent = records.iter().filter(silent).count();
    if silent > 0 {
        let _ = write!(line, "{separator}{silent} without an answer");
    }
    line
}

fn short(metric: Metric) -> &'static str {
    match metric {
        Metric::GatewayHeartbeat => "gateway",
        Metric::Rest => "REST",
        Metric::MessageEcho => "message echo",
        Metric::Interaction => "interaction",
        Metric::VoiceHeartbeat => "voice",
        Metric::MediaDns => "media DNS",
        Metric::MediaPing => "media",
    }
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

pub(crate) fn ms(us: u64) -> String {
    match us {
        0..10_000 => format!("{:.1} ms", us as f64 / 1000.0),
        _ => format!("{:.0} ms", us as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use model::UnixNanos;

    use super::*;

    fn record(counter: u64) -> Record {
        let at = UnixNanos(1_790_000_000_000_000_000 + counter as i64 * 1_000_000_000);
        let mut measured = Measurement::new(Metric::Rest, at);
        measured.app_us = Some(182_000 + counter);
        measured.network_us = Some(21_000);
        measured.target = "GET /channels/{}".to_owned();
        Record {
            id: RecordId { worker: WorkerName::new("nyc1").unwrap(), boot: BootId(3), counter },
            instrument: Instrument {
                library: "twilight 0.18".into(),
                language: "rust".into(),
                version: "0.1.0".into(),
            },
            measured,
        }
    }

    #[test]
    fn a_message_is_for_people_and_programs_and_fits() {
        let records: Vec<Record> = (1..=200).map(record).collect();
        let (text, included) = Batch::compose(&records, 5).unwrap();
        assert!(text.starts_with("`nyc1` 14:13:3"), "{text}");
        assert!(text.contains(" UTC: REST 182 ms (network 21 ms)\n```json\n{\"netlat\":\"record/1\""), "{text}");
        assert!(text.chars().count() <= LONGEST_MESSAGE && included >= 8, "{included}");
        let batch = Batch::read(&text).unwrap();
        assert_eq!((batch.started_us, batch.clone().into_records().as_slice()), (5, &records[..included]));
        // One more would not have fitted.
        let more: Vec<&Record> = records[..=included].iter().collect();
        assert!(text_of(&more, 5).chars().count() > LONGEST_MESSAGE);
    }

    #[test]
    fn a_batch_is_of_one_boot() {
        let mut records: Vec<Record> = (1..=3).map(record).collect();
        records[2].id.boot = BootId(4);
        assert_eq!(Batch::compose(&records, 0).unwrap().1, 2);
        assert_eq!(Batch::compose(&[], 0), None);
    }

    #[test]
    fn what_is_no_batch_says_why() {
        assert_eq!(Batch::read("hello"), Err(NotABatch::Unmarked));
        assert_eq!(Batch::read("```json\n{\"a\":1}\n```"), Err(NotABatch::Unmarked));
        assert!(matches!(Batch::read("{\"netlat\":\"record/1\"}"), Err(NotABatch::Broken(_))));
        assert!(matches!(Batch::read("{\"netlat\":\"record/2\"}"), Err(NotABatch::OtherVersion(_))));
        assert_eq!(Batch::read("{\"netlat\":\"slot/1\"}"), Err(NotABatch::Unmarked));
        let text = Batch::compose(&[record(1)], 0).unwrap().0;
        assert!(matches!(Batch::read(&text.replace("\"counter\":1", "\"counter\":0")), Err(NotABatch::Invalid(_))));
        assert!(matches!(Batch::read(&text.replace("nyc1\",\"boot", "NYC\",\"boot")), Err(NotABatch::Broken(_))));
    }
}
