//! A finished run as a report of the shape that `netlat report --json` prints.

use measure::report::{ReportConfig, SourceError, build_paths};
use model::control::SessionInfo;
use model::report::{Class, EcnFinding, Path, Remarking, Report, SCHEMA};
use model::{BootId, Direction, DirectionChoice, Kind, Sample, SampleFlags, WorkerName};

use super::StampOutcome;

/// Why the map of marks that came back is not given a name.
const BOTH_WAYS: &str = "both ways together: a reflector without the Class of Service TLV commonly replies with the mark it received, or with none";

/// `generated_at`: RFC 3339, UTC.
pub fn report(worker: &WorkerName, generated_at: String, outcome: &StampOutcome) -> Result<Report, SourceError> {
    let info = SessionInfo {
        session: outcome.session,
        worker: worker.clone(),
        boot: BootId(outcome.session.0.into()),
        kind: Kind::Stamp,
        family: outcome.family,
        direction: DirectionChoice::Both,
        started_at: outcome.started_at,
        ended_at: Some(outcome.ended_at),
        from: Some(outcome.from.to_string()),
        to: Some(outcome.to.to_string()),
        notes: outcome.notes.clone(),
        experiment: None,
        local_queue: Vec::new(),
        transfers: Vec::new(),
    };
    let known = |session| (session == outcome.session).then(|| info.clone());
    let mut paths = build_paths(worker, &comparable(outcome), &known, &ReportConfig::default())?;
    paths.iter_mut().for_each(|path| explain(path, outcome));
    without_turnaround(&mut paths);
    Ok(Report {
        schema: SCHEMA.to_owned(),
        generated_at,
        paths,
        applications: Vec::new(),
        media: Vec::new(),
        untested: outcome.notes.clone(),
        changes: Vec::new(),
    })
}

/// A clock model wants times of which nobody knows better. Where no reply's transmit time is known there is nothing better
/// than T3, which is early, never late: the reflector's send delay then counts as delay of the way back, the offset still
/// lies within its bounds, and a note says so.
fn comparable(outcome: &StampOutcome) -> Vec<Sample> {
    let mut samples = outcome.samples.clone();
    if !outcome.reflector.follow_up {
        for sample in samples.iter_mut().filter(|sample| sample.direction == Direction::Down) {
            sample.flags = SampleFlags(sample.flags.0 & !SampleFlags::TX_USER.0);
        }
    }
    samples
}

/// Takes back what a reflector's silence does not support, and says why.
fn explain(path: &mut Path, outcome: &StampOutcome) {
    if path.direction == Direction::RoundTrip {
        if outcome.reflector.class_of_service {
            // Known of each direction by itself.
            path.remarking.clear();
        }
        for remarking in &mut path.remarking {
            remarking.reason = Some(BOTH_WAYS.to_owned());
        }
        return;
    }
    if !outcome.reflector.loss_by_direction && outcome.counters.answered < outcome.counters.sent {
        for class in &mut path.classes {
            add_reason(
                &mut class.reason,
                "answered probes only: the reflector does not tell in which direction one was lost; see round-trip",
            );
        }
    }
    for remarking in &mut path.remarking {
        if !outcome.reflector.class_of_service {
            add_reason(&mut remarking.reason, "the reflector does not answer the Class of Service TLV; see round-trip");
        } else if path.direction == Direction::Down && outcome.reply_ecn_unknown > 0 {
            withdraw_ecn(remarking);
        }
    }
}

/// From send to receive a round trip contains the reflector's own work. T2 and T3 tell how long that was, and the one-way
/// paths have it taken out.
fn without_turnaround(paths: &mut [Path]) {
    let network: Vec<Class> =
        paths.iter().filter(|p| p.direction == Direction::Up).flat_map(|p| p.classes.clone()).collect();
    let round_trips = paths.iter_mut().filter(|path| path.direction == Direction::RoundTrip);
    for class in round_trips.flat_map(|path| &mut path.classes) {
        match network.iter().find(|up| (up.dscp, up.ecn) == (class.dscp, class.ecn) && up.rtt_ms.is_some()) {
            Some(up) => class.rtt_ms = up.rtt_ms,
            None => add_reason(&mut class.reason, "with the time that the reflector took"),
        }
    }
}

fn withdraw_ecn(remarking: &mut Remarking) {
    remarking.ecn = EcnFinding::Inconclusive;
    remarking.ecn_map.clear();
    add_reason(&mut remarking.reason, "the reflector does not say which ECN its replies are sent with");
}

fn add_reason(reason: &mut Option<String>, text: &str) {
    match reason {
        Some(reason) if reason.contains(text) => {}
        Some(reason) => {
            reason.push_str("; ");
            reason.push_str(text);
        }
        None => *reason = Some(text.to_owned()),
    }
}
