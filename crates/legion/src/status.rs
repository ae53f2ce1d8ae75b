//! What is known of each bot right now: for the table on a terminal, and as JSON.

use std::collections::{BTreeMap, VecDeque};

use model::{Measurement, Metric};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "why", rename_all = "snake_case")]
pub enum State {
    /// Its turn has not come.
    Waiting,
    Starting,
    /// Its session stands.
    Running,
    /// It ended and is started again.
    Restarting(String),
    /// No waiting repairs it.
    Failed(String),
    Stopped,
}

/// Medians of the newest, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    pub samples: u64,
    /// Between the bot's own raw stamps.
    pub app_ms: Option<f64>,
    /// What the library calls its latency.
    pub library_ms: Option<f64>,
    pub network_ms: Option<f64>,
    pub overhead_ms: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BotStatus {
    pub library: String,
    pub language: String,
    /// The library's and the runtime's own, once the bot has said them.
    pub version: Option<String>,
    pub runtime: Option<String>,
    #[serde(flatten)]
    pub state: State,
    pub metrics: BTreeMap<Metric, Figures>,
    /// From its start to the session.
    pub start_ms: Option<f64>,
    /// Resident memory, the most that was seen, and processor time in per cent of one processor since its start.
    pub resident_mib: Option<f64>,
    pub most_resident_mib: Option<f64>,
    pub cpu_percent: Option<f64>,
    pub restarts: u64,
    /// Lines that were none of the contract.
    pub dropped_lines: u64,
    pub posted: u64,
    pub waiting_records: usize,
    #[serde(skip)]
    recent: BTreeMap<Metric, VecDeque<[Option<u64>; 3]>>,
}

const MOST_RECENT: usize = 100;

impl BotStatus {
    pub(crate) fn new(library: &str, language: &str) -> BotStatus {
        BotStatus {
            library: library.to_owned(),
            language: language.to_owned(),
            version: None,
            runtime: None,
            state: State::Waiting,
            metrics: BTreeMap::new(),
            start_ms: None,
            resident_mib: None,
            most_resident_mib: None,
            cpu_percent: None,
            restarts: 0,
            dropped_lines: 0,
            posted: 0,
            waiting_records: 0,
            recent: BTreeMap::new(),
        }
    }

    /// Adds one to the medians; what has no value has no part in them.
    pub(crate) fn add(&mut self, measured: &Measurement) {
        let recent = self.recent.entry(measured.metric).or_default();
        if recent.len() >= MOST_RECENT {
            recent.pop_front();
        }
        recent.push_back([measured.app_us, measured.library_us, measured.network_us]);
        let median = |of: &dyn Fn(&[Option<u64>; 3]) -> Option<f64>| {
            let mut values: Vec<f64> = recent.iter().filter_map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len().saturating_sub(1) / 2).copied()
        };
        let ms = |us: Option<u64>| us.map(|us| us as f64 / 1e3);
        let figures = self.metrics.entry(measured.metric).or_default();
        *figures = Figures {
            samples: figures.samples + 1,
            app_ms: median(&|one| ms(one[0])),
            library_ms: median(&|one| ms(one[1])),
            network_ms: median(&|one| ms(one[2])),
            overhead_ms: median(&|one| Some(ms(one[0])? - ms(one[2])?)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_newest_and_of_what_was_measured() {
        let mut status = BotStatus::new("x", "y");
        for app in 1..=300_u64 {
            let mut measured = Measurement::new(Metric::Rest, model::UnixNanos(1_790_000_000_000_000_000));
            measured.app_us = (app % 3 != 0).then_some(app * 1000);
            measured.network_us = Some(500);
            status.add(&measured);
        }
        let figures = status.metrics[&Metric::Rest];
        assert_eq!((figures.samples, figures.app_ms, figures.library_ms), (300, Some(250.0), None));
        assert_eq!((figures.network_ms, figures.overhead_ms), (Some(0.5), Some(249.5)));
    }
}
