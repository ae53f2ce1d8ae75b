//! The way up, looked at by a running worker: where marks of its probes arrive changed, it traces toward the server with them and
//! tells the hops. Needs CAP_NET_RAW at the start; without it the server is told so.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::control::ChangedMarks;
use model::{Family, Tos};
use path::{TraceConfig, TraceReport, Tracer};
use tokio::time::Instant;

use crate::error::WorkerError;
use crate::station::Station;

/// The server is asked for findings soon, and then less and less often.
const FIRST_LOOK: Duration = Duration::from_secs(15);
const SELDOM: Duration = Duration::from_secs(300);
/// The same finding is traced again after so long: some 100 kB of probes a day and path at most.
const AGAIN: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(45);
const RATE_PPS: f64 = 20.0;
const NO_RIGHT: &str = "the worker has no CAP_NET_RAW (setcap cap_net_raw+ep), which reading quoted marks needs";

/// When the marks of a family were last traced, and which: as sent and as arrived.
type Traced = HashMap<Family, (Instant, Vec<(Tos, Tos)>)>;

/// Tells a trace on its blocking thread to end when the worker does.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does not end. What fails is tried again at the next look: nothing of the measurement depends on it.
pub(crate) async fn look_forever(station: &Station, tracer: Option<Tracer>) {
    let tracer = tracer.map(Arc::new);
    let stop = Stop(Arc::default());
    let mut traced: Traced = HashMap::new();
    let mut wait = FIRST_LOOK;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(SELDOM);
        traced.retain(|_, (at, _)| at.elapsed() < AGAIN);
        if let Err(error) = look(station, tracer.as_ref(), &stop, &mut traced).await {
            tracing::debug!("the way to the server was not looked at: {error}");
        }
    }
}

async fn look(
    station: &Station,
    tracer: Option<&Arc<Tracer>>,
    stop: &Stop,
    traced: &mut Traced,
) -> Result<(), WorkerError> {
    let changed: Vec<ChangedMarks> = station.uplink.get("changed-marks").await?;
    for ChangedMarks { family, marks } in changed {
        if traced.get(&family).is_some_and(|(_, known)| *known == marks) {
            continue;
        }
        let Some(target) = station.probe_address(family) else { continue };
        let report = match tracer {
            None => TraceReport { family, trace: None, problem: Some(NO_RIGHT.to_owned()) },
            Some(tracer) => {
                let config = TraceConfig {
                    port: target.port(),
                    classes: path::classes(marks.iter().map(|(sent, _)| *sent)),
                    limit: LIMIT,
                    rate_pps: RATE_PPS,
                    ..TraceConfig::new(target.ip(), station.clock.clone())
                };
                let (tracer, stop) = (tracer.clone(), stop.0.clone());
                let traced = tokio::task::spawn_blocking(move || tracer.trace(&config, &stop, &mut |_| {}));
                match traced.await {
                    Ok(Ok(trace)) => TraceReport { family, trace: Some(trace), problem: None },
                    Ok(Err(error)) => TraceReport { family, trace: None, problem: Some(error.to_string()) },
                    // It panicked, or the runtime ends.
                    Err(_) => continue,
                }
            }
        };
        station.uplink.post::<()>("trace", &report).await?;
        traced.insert(family, (Instant::now(), marks));
    }
    Ok(())
}
