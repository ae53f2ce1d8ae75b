//! Numbers measurements, completes them with what the process knows of itself and of the network, and keeps them until
//! they are posted.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{BootId, Instrument, Measurement, Metric, Record, RecordId, UnixNanos, WorkerName};
use tokio::time::Instant;

use crate::gateway::{Beat, LIBRARY};
use crate::journal::Journal;
use crate::rest::{RestError, Timing};
use crate::stall::Stalls;

pub struct Recorder {
    pub worker: WorkerName,
    pub boot: BootId,
    instrument: Instrument,
    counter: AtomicU64,
    journal: Mutex<Journal>,
    pub stalls: Stalls,
    /// Told to measure nothing.
    paused: AtomicBool,
    /// This host's clock was off when last compared.
    clock_off: AtomicBool,
    /// The latest own TCP connect to each far end.
    connects: Mutex<HashMap<SocketAddr, Duration>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A latency this close to the heartbeat interval is a library's mistake more often than a latency: it counted from the
/// beat before.
pub fn near_interval(app: Duration, interval: Duration) -> bool {
    !interval.is_zero() && app.abs_diff(interval) < interval / 20
}

/// What is remembered of far ends; an edge has some addresses, not thousands.
const MOST_PEERS: usize = 64;

impl Recorder {
    pub fn new(worker: WorkerName, boot: BootId, journal: Journal, stalls: Stalls) -> Recorder {
        Recorder {
            worker,
            boot,
            instrument: instrument(),
            counter: AtomicU64::new(0),
            journal: Mutex::new(journal),
            stalls,
            paused: AtomicBool::new(false),
            clock_off: AtomicBool::new(false),
            connects: Mutex::default(),
        }
    }

    pub fn set_clock_off(&self, off: bool) -> bool {
        self.clock_off.swap(off, Ordering::Relaxed)
    }

    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub fn connected(&self, peer: SocketAddr, took: Option<Duration>) {
        let mut connects = lock(&self.connects);
        if connects.len() >= MOST_PEERS && !connects.contains_key(&peer) {
            connects.clear();
        }
        match took {
            Some(took) => connects.insert(peer, took),
            None => connects.remove(&peer),
        };
    }

    fn connect_us(&self, peer: Option<SocketAddr>) -> Option<u64> {
        lock(&self.connects).get(&peer?).copied().map(micros)
    }

    /// `began` is when the exchange began on this process's monotonic clock; it ends now.
    pub fn keep(&self, mut measured: Measurement, began: Instant) {
        if self.is_paused() {
            return;
        }
        if self.stalls.overlap(began, Instant::now()) {
            measured.flag("event-loop-stall");
        }
        if self.clock_off.load(Ordering::Relaxed) {
            measured.flag("clock-off");
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let record = Record {
            id: RecordId { worker: self.worker.clone(), boot: self.boot, counter },
            instrument: self.instrument.clone(),
            measured,
        };
        if let Err(error) = record.check() {
            tracing::warn!(%error, "a measurement made no sense and was left out");
        } else if let Err(error) = lock(&self.journal).push(record) {
            tracing::warn!(%error, "cannot write the journal; what is not posted before the bot ends is lost");
        }
    }

    pub fn beat(&self, beat: &Beat, target: &str) {
        let mut measured = Measurement::new(Metric::GatewayHeartbeat, beat.sent_at);
        stamps(&mut measured, beat.sent_at, beat.received_at);
        measured.app_us = Some(micros(beat.app));
        measured.library_us = measured.app_us;
        measured.network_us = beat.network.map(micros);
        measured.connect_us = self.connect_us(beat.peer);
        measured.target = target.to_owned();
        if near_interval(beat.app, beat.interval) {
            measured.flag("near-interval");
        }
        self.keep(measured, Instant::now().checked_sub(beat.app).unwrap_or_else(Instant::now));
    }

    pub fn rest(&self, target: &str, began: Instant, at: UnixNanos, outcome: &Result<Timing, RestError>) {
        let mut measured = Measurement::new(Metric::Rest, at);
        measured.target = target.to_owned();
        match outcome {
            Ok(timing) => {
                self.timed(&mut measured, timing);
                measured.app_us = Some(micros(timing.app));
                let began = Instant::now().checked_sub(timing.app).unwrap_or(began);
                self.keep(measured, began);
            }
            Err(error) => {
                measured.flag(&error.word());
                self.keep(measured, began);
            }
        }
    }

    /// Everything of a timing but the latency itself.
    pub fn timed(&self, measured: &mut Measurement, timing: &Timing) {
        stamps(measured, timing.sent_at, timing.received_at);
        measured.wait_us = micros(timing.wait);
        measured.network_us = timing.network.map(micros);
        measured.connect_us = self.connect_us(Some(timing.peer));
        if let Some(edge) = &timing.edge {
            measured.flag(&format!("edge-{edge}"));
        }
    }

    pub fn waiting(&self, limit: usize) -> Vec<Record> {
        lock(&self.journal).oldest(limit)
    }

    pub fn backlog(&self) -> usize {
        lock(&self.journal).len()
    }

    pub fn dropped(&self) -> u64 {
        lock(&self.journal).dropped()
    }

    pub fn posted(&self, ids: &HashSet<RecordId>) {
        if let Err(error) = lock(&self.journal).posted(ids) {
            tracing::warn!(%error, "cannot write the journal; a restarted bot may read the channel to learn what it posted");
        }
    }
}

/// What measures here.
pub fn instrument() -> Instrument {
    Instrument {
        library: LIBRARY.to_owned(),
        language: "rust".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Raw stamps; a clock that was set back between the two leaves none.
pub(crate) fn stamps(measured: &mut Measurement, sent: UnixNanos, received: UnixNanos) {
    if received >= sent {
        measured.at_us = model::record::micros(sent);
        measured.sent_us = Some(model::record::micros(sent));
        measured.received_us = Some(model::record::micros(received));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_of_a_whole_interval_is_suspect() {
        let s = Duration::from_millis;
        assert!(near_interval(s(41_250), s(41_250)) && near_interval(s(40_500), s(41_250)));
        assert!(!near_interval(s(30), s(41_250)) && !near_interval(s(30), s(0)));
    }
}
