//! `/classes`: delay, loss, reordering of each class of one city over the range.

use axum::Json;
use axum::extract::State;
use model::report::Quantiles;
use model::{Direction, Family, Kind};
use serde::{Deserialize, Serialize};

use super::sums::{quantiles, query, sums};
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, ms, worker};

#[derive(Deserialize)]
pub(crate) struct Of {
    pub worker: String,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    range: Range,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    direction: Direction,
    family: Family,
    kind: Kind,
    dscp: u8,
    ecn: u8,
    name: String,
    sent: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    intercepted: u64,
    rewritten: u64,
    /// Null where the clocks could not be compared, or nothing arrived.
    owd_ms: Option<Quantiles>,
    owd_uncertainty_ms: Option<f64>,
    rtt_ms: Option<Quantiles>,
}

pub(crate) async fn classes(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Json<Answer>, Refusal> {
    let range = Range::new(asked, dashboard.0.parts.clock.now())?;
    let worker = worker(&of.worker)?;
    let found = dashboard.read(move |reader| Ok(sums(reader, &query(&worker, &range))?)).await?;
    let class = |((direction, family, kind, tos), tally): ((Direction, Family, Kind, model::Tos), store::Tally)| {
        let round_trip = direction == Direction::RoundTrip;
        let delays = quantiles(&tally);
        let (dscp, ecn) = (tos.dscp().get(), tos.ecn().bits());
        Class {
            direction,
            family,
            kind,
            dscp,
            ecn,
            name: measure::words::class_name(dscp, ecn),
            sent: tally.sent,
            received: tally.received,
            lost: tally.lost,
            duplicated: tally.duplicated,
            reordered: tally.reordered,
            intercepted: tally.intercepted,
            rewritten: tally.rewritten,
            owd_ms: delays.filter(|_| !round_trip),
            owd_uncertainty_ms: tally.uncertainty_ns.filter(|_| !round_trip).map(|ns| ms(ns as f64)),
            rtt_ms: delays.filter(|_| round_trip),
        }
    };
    Ok(Json(Answer { range, classes: found.into_iter().map(class).collect() }))
}
