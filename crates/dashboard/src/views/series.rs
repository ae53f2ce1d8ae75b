//! `/series`: delay and loss of some classes of one city over time, bucket by bucket; also as CSV.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::{Direction, Dscp, Ecn, Family, Kind, Tos};
use serde::{Deserialize, Serialize};
use store::{RollupQuery, Tally};

use super::fine;
use super::sums::query;
use crate::Dashboard;
use crate::access::Viewer;
use crate::answer::{Ask, Refusal};
use crate::range::{Asked, Range, ms, worker};

/// More lines than these nobody tells apart.
const MOST_CLASSES: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    Csv,
}

#[derive(Deserialize)]
pub(crate) struct Of {
    worker: String,
    kind: Kind,
    direction: Direction,
    family: Family,
    /// `0,46`, or with ECN `46.1`; none: best effort.
    classes: Option<String>,
    format: Option<Format>,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    range: Range,
    /// Starts of the buckets, in seconds.
    times: Vec<i64>,
    series: Vec<Series>,
}

/// Columns as long as `times`; null where nothing was measured, so that gaps stay gaps.
#[derive(Serialize)]
struct Series {
    dscp: u8,
    ecn: u8,
    name: String,
    sent: Vec<u64>,
    lost: Vec<u64>,
    min: Vec<Option<f64>>,
    p5: Vec<Option<f64>>,
    p25: Vec<Option<f64>>,
    p50: Vec<Option<f64>>,
    p75: Vec<Option<f64>>,
    p95: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    uncertainty: Vec<Option<f64>>,
}

fn parse_classes(text: Option<&str>) -> Result<Vec<Tos>, Refusal> {
    let bad = || Refusal::bad(format!("classes are at most {MOST_CLASSES} of DSCP or DSCP.ECN, such as 0,46,46.1"));
    let one = |word: &str| {
        let (dscp, ecn) = word.split_once('.').unwrap_or((word, "0"));
        let dscp = dscp.parse().ok().and_then(Dscp::new)?;
        let ecn = ecn.parse::<u8>().ok().and_then(|bits| Ecn::try_from(bits).ok())?;
        Some(Tos::new(dscp, ecn))
    };
    let classes: Option<Vec<Tos>> = text.unwrap_or("0").split(',').map(one).collect();
    classes.filter(|classes| classes.len() <= MOST_CLASSES).ok_or_else(bad)
}

pub(crate) async fn series(
    State(dashboard): State<Dashboard>,
    _: Viewer,
    Ask(asked): Ask<Asked>,
    Ask(of): Ask<Of>,
) -> Result<Response, Refusal> {
    let range = Range::new(asked, dashboard.0.parts.clock.now())?;
    let query = RollupQuery {
        kinds: vec![of.kind],
        direction: Some(of.direction),
        family: Some(of.family),
        classes: parse_classes(of.classes.as_deref())?,
        ..query(&worker(&of.worker)?, &range)
    };
    let answer = dashboard.read(move |reader| {
        if let Some(fine) = range.fine()
            && let Some(found) = fine::series(reader, &query, &fine)?
        {
            return Ok(answer(fine, found));
        }
        let mut series = Buckets::new();
        reader.rollups(&query, &mut |rollup| {
            let buckets = series.entry(rollup.tos_sent).or_insert_with(|| vec![None; range.buckets()]);
            if let Some(bucket) = range.bucket(rollup.start) {
                match &mut buckets[bucket] {
                    Some(tally) => tally.merge(&rollup.tally),
                    empty => *empty = Some(rollup.tally),
                }
            }
        })?;
        Ok(answer(range, series))
    });
    let answer = answer.await?;
    Ok(match of.format {
        Some(Format::Csv) => {
            let name = format!("attachment; filename=\"{}-{}-{}.csv\"", of.worker, of.kind, of.direction);
            ([(header::CONTENT_TYPE, "text/csv".to_owned()), (header::CONTENT_DISPOSITION, name)], csv(&answer))
                .into_response()
        }
        _ => Json(answer).into_response(),
    })
}

pub(super) type Buckets = BTreeMap<Tos, Vec<Option<Tally>>>;

fn answer(range: Range, series: Buckets) -> Answer {
    let series = series.into_iter().map(|(tos, buckets)| columns(tos, &buckets)).collect();
    Answer { range, times: range.times(), series }
}

fn columns(tos: Tos, buckets: &[Option<Tally>]) -> Series {
    let count = |of: fn(&Tally) -> u64| buckets.iter().map(|tally| tally.as_ref().map_or(0, of)).collect();
    let value = |of: &dyn Fn(&Tally) -> Option<f64>| -> Vec<Option<f64>> {
        buckets.iter().map(|tally| tally.as_ref().and_then(of).map(ms)).collect()
    };
    let quantile = |q: f64| value(&|tally: &Tally| tally.delay.quantile(q));
    let (dscp, ecn) = (tos.dscp().get(), tos.ecn().bits());
    Series {
        dscp,
        ecn,
        name: measure::words::class_name(dscp, ecn),
        sent: count(|tally| tally.sent),
        lost: count(|tally| tally.lost),
        min: value(&|tally| tally.min_ns.map(|ns| ns as f64)),
        p5: quantile(0.05),
        p25: quantile(0.25),
        p50: quantile(0.5),
        p75: quantile(0.75),
        p95: quantile(0.95),
        max: value(&|tally| tally.max_ns.map(|ns| ns as f64)),
        uncertainty: value(&|tally| tally.uncertainty_ns.map(|ns| ns as f64)),
    }
}

fn csv(answer: &Answer) -> String {
    let mut out = String::from(
        "start_s,step_s,dscp,ecn,sent,lost,min_ms,p5_ms,p25_ms,p50_ms,p75_ms,p95_ms,max_ms,uncertainty_ms\n",
    );
    for series in &answer.series {
        for (index, start) in answer.times.iter().enumerate().filter(|(index, _)| series.sent[*index] > 0) {
            let step = answer.range.step_s;
            let _ = write!(out, "{start},{step},{},{},", series.dscp, series.ecn);
            let _ = write!(out, "{},{}", series.sent[index], series.lost[index]);
            let of = [&series.min, &series.p5, &series.p25, &series.p50, &series.p75, &series.p95, &series.max];
            for column in of.into_iter().chain([&series.uncertainty]) {
                out.push(',');
                if let Some(value) = column[index] {
                    let _ = write!(out, "{value}");
                }
            }
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_dscp_with_or_without_ecn() {
        let bytes = |text| parse_classes(Some(text)).map(|all| all.iter().map(|tos| tos.byte()).collect::<Vec<_>>());
        assert_eq!(bytes("0,46,46.1").map_err(|_| ()), Ok(vec![0, 0xb8, 0xb9]));
        for bad in ["", "64", "46.4", "EF", "0,0,0,0,0,0,0,0,0", "1."] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
