//! One direction's verdicts from all of its comparisons and trains: flow rule, limits of one class or of all, and what was not seen.

use model::report::{
    Differentiation, ErrorRate, ErrorRateKind, Estimate, FlowRule, LimitKind, Log10E, RateLimit, Subject, Verdict,
};
use model::shaping::{Arm, Ports, Purpose, Standard};

use super::judge::{ArmLimit, Judged, TOO_SMALL, trigger};
use super::limit::{self, Limit, TrainFinding};

/// Rates of two classes that differ by less are one limit: twice the error that an estimate may have on an unsteady path.
const SAME_RATE: f64 = 0.1;
/// A train this much faster than a limit that passed unharmed contradicts it.
const CONTRADICTS: f64 = 1.3;

/// What the report says of one direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdicts {
    pub differentiation: Vec<Differentiation>,
    pub rate_limit: Option<RateLimit>,
}

/// Puts together what belongs to one direction and address family of one run.
pub fn combine(judged: &[Judged], limits: &[ArmLimit], standard: &Standard) -> Verdicts {
    let mut verdicts = Verdicts { differentiation: by_comparison(judged), rate_limit: None };
    let limits = by_arm(limits);
    if !limits.is_empty() {
        apply_limits(&mut verdicts, &limits, standard);
    }
    verdicts
}

/// One entry for each pair of classes, from what it said on one flow and on fresh ports.
fn by_comparison(judged: &[Judged]) -> Vec<Differentiation> {
    let mut entries: Vec<Differentiation> = Vec::new();
    for first in judged.iter().filter(|judged| judged.purpose == Purpose::Difference) {
        let same =
            |other: &Differentiation| other.subject == first.finding.subject && other.control == first.finding.control;
        if entries.iter().any(same) {
            continue;
        }
        let of = |ports: Ports| {
            judged.iter().find(|one| one.purpose == Purpose::Difference && one.ports == ports && same(&one.finding))
        };
        entries.extend(merge(of(Ports::OneFlow), of(Ports::Fresh)));
    }
    entries
}

fn merge(one_flow: Option<&Judged>, fresh: Option<&Judged>) -> Option<Differentiation> {
    let (one_flow, fresh) = match (one_flow, fresh) {
        (Some(one_flow), Some(fresh)) => (one_flow, fresh),
        // Asked one way only: what it is classified by stays open.
        (one, other) => return one.or(other).map(|judged| judged.finding.clone()),
    };
    let (per_packet, by_flow) = (&one_flow.finding, &fresh.finding);
    let mut entry;
    if let Some(void) = [per_packet, by_flow].into_iter().find(|one| one.verdict == Verdict::Void) {
        // What this host does to a class it does on every port.
        entry = void.clone();
    } else if per_packet.verdict.is_finding() {
        entry = per_packet.clone();
        let more = by_flow.verdict.is_finding() && is_larger(by_flow, per_packet);
        entry.flow_rule = Some(if more { FlowRule::Both } else { FlowRule::PerPacket });
    } else if by_flow.verdict.is_finding() {
        entry = by_flow.clone();
        entry.flow_rule = (per_packet.verdict == Verdict::None).then_some(FlowRule::FirstPacket);
    } else {
        entry = per_packet.clone();
        if per_packet.verdict == Verdict::None && by_flow.verdict == Verdict::Inconclusive {
            entry.verdict = Verdict::Inconclusive;
            entry.note = format!("packet by packet: none; by a flow's first packet: {}", by_flow.note);
        }
    }
    for flag in &by_flow.flags {
        if !entry.flags.contains(flag) {
            entry.flags.push(flag.clone());
        }
    }
    entry.log10_e = Log10E {
        delay: per_packet.log10_e.delay.max(by_flow.log10_e.delay),
        loss: per_packet.log10_e.loss.max(by_flow.log10_e.loss),
    };
    entry.pairs = per_packet.pairs + by_flow.pairs;
    entry.seconds = per_packet.seconds.max(by_flow.seconds);
    Some(entry)
}

/// The effect on fresh ports exceeds the one within a flow, beyond both intervals.
fn is_larger(fresh: &Differentiation, one_flow: &Differentiation) -> bool {
    let above = |fresh: Option<Estimate>, one: Option<Estimate>| match (fresh, one) {
        (Some(fresh), Some(one)) if one.estimate >= 0.0 => fresh.low > one.high,
        (Some(fresh), Some(one)) => fresh.high < one.low,
        _ => false,
    };
    above(fresh.delay_shift_ms, one_flow.delay_shift_ms) || above(fresh.loss_shift, one_flow.loss_shift)
}

/// All trains of one class, of all sessions, and the limit they agree on.
fn by_arm(limits: &[ArmLimit]) -> Vec<ArmLimit> {
    let mut arms: Vec<ArmLimit> = Vec::new();
    for one in limits {
        match arms.iter_mut().find(|known| known.arm == one.arm) {
            Some(known) => known.trains.extend(one.trains.iter().cloned()),
            None => arms.push(one.clone()),
        }
    }
    let mut in_order: Vec<&mut TrainFinding> = arms.iter_mut().flat_map(|arm| arm.trains.iter_mut()).collect();
    in_order.sort_by_key(|train| train.began_ns);
    limit::settle(&mut in_order);
    let all: Vec<TrainFinding> = arms.iter().flat_map(|arm| arm.trains.iter().cloned()).collect();
    for arm in &mut arms {
        arm.limit = agreed(&arm.trains, &all);
    }
    arms
}

/// The limit of those trains that were fast enough to meet it; none where a faster train met none.
fn agreed(trains: &[TrainFinding], all: &[TrainFinding]) -> Option<Limit> {
    let limited = || trains.iter().filter(|train| train.limit.is_some());
    let slowest = limited().map(|train| train.sent_bps).fold(f64::INFINITY, f64::min);
    let met: Vec<TrainFinding> = trains.iter().filter(|train| train.sent_bps >= slowest * 0.999).cloned().collect();
    let limit = limit::pool(&met, all)?;
    let burst_s = |train: &TrainFinding| limit.burst_bytes.high * 8.0 / train.sent_bps.max(1.0);
    let contradicted = met.iter().filter(|train| {
        train.limit.is_none()
            && train.sent_bps > limit.rate_bps.estimate * CONTRADICTS
            && train.duration_s > 2.0 * burst_s(train)
    });
    (2 * contradicted.count() < met.len()).then_some(limit)
}

fn apply_limits(verdicts: &mut Verdicts, arms: &[ArmLimit], standard: &Standard) {
    let is_subject = |arm: &&ArmLimit| {
        arm.arm.dscp.get() != 0 || verdicts.differentiation.iter().any(|entry| entry.subject == Subject::from(arm.arm))
    };
    let (subjects, controls): (Vec<&ArmLimit>, Vec<&ArmLimit>) = arms.iter().partition(is_subject);
    let Some(best_effort) = controls.first() else { return };
    for subject in subjects {
        let control = control_of(verdicts, subject.arm, &controls).unwrap_or(best_effort);
        let shared = control.limit.map(|limit| with_burst(limit, arms));
        let shared = shared.as_ref();
        let entry = entry_of(verdicts, subject.arm, control.arm, standard);
        let differs = match (&subject.limit, shared) {
            (Some(own), Some(shared)) => {
                let ratio = own.rate_bps.estimate / shared.rate_bps.estimate.max(1.0);
                if ratio < 1.0 - SAME_RATE {
                    Some((verdict_of(own.kind), own))
                } else if ratio > 1.0 + SAME_RATE {
                    Some((Verdict::Favoured, own))
                } else {
                    None
                }
            }
            (Some(own), None) if control.trains.iter().any(|train| shows(train, own)) => {
                add(&mut entry.note, format!("best effort met a limit of {} too, if not always", rate(own)));
                None
            }
            (Some(own), None) => Some((verdict_of(own.kind), own)),
            (None, Some(shared)) if was_fast_enough(subject, shared) => {
                if may_be_named(entry.verdict) {
                    entry.verdict = Verdict::Favoured;
                    entry.trigger = trigger(&subject.arm, &control.arm);
                    add(&mut entry.note, format!("best effort is limited to {}, this class is not", rate(shared)));
                }
                None
            }
            _ => None,
        };
        match differs {
            Some((verdict, limit)) if may_be_named(entry.verdict) => {
                entry.verdict = verdict;
                entry.flags.retain(|flag| flag != TOO_SMALL);
                entry.note.clear();
                entry.trigger = trigger(&subject.arm, &control.arm);
                entry.rate_bps = Some(limit.rate_bps);
                entry.rate_l2_bps = Some(limit.rate_l2_bps);
                entry.burst_bytes = Some(limit.burst_bytes);
                entry.limit_after = limit.after;
                entry.excess_dscp = limit.excess_dscp;
            }
            _ => {}
        }
        let seen = subject.trains.iter().max_by(|a, b| a.sent_bps.total_cmp(&b.sent_bps));
        match (&subject.limit, seen) {
            (None, Some(fastest)) => add(&mut entry.note, limit::blind_spot(fastest)),
            (Some(_), _) => drop_blind_pairs(&mut entry.note),
            _ => {}
        }
    }
    // A limit that hits all classes alike is of the path, and no class's own.
    let shared = best_effort.limit.map(|limit| with_burst(limit, arms));
    verdicts.rate_limit = shared.map(|limit| RateLimit {
        kind: limit.kind,
        rate_bps: limit.rate_bps,
        rate_l2_bps: limit.rate_l2_bps,
        burst_bytes: limit.burst_bytes,
        limit_after: limit.after,
        excess_dscp: limit.excess_dscp,
    });
}

/// What a class's trains are to be compared with: the control of its pairs, or else the same without the mark.
fn control_of<'a>(verdicts: &Verdicts, subject: Arm, controls: &[&'a ArmLimit]) -> Option<&'a ArmLimit> {
    let by_pairs = verdicts.differentiation.iter().find(|entry| entry.subject == Subject::from(subject));
    let is_control = |arm: Arm| match by_pairs {
        Some(entry) => entry.control == Subject::from(arm),
        None => arm.port == subject.port && arm.payload == subject.payload,
    };
    controls.iter().copied().find(|control| is_control(control.arm))
}

/// The entry that compares these marks, or a new one if only trains asked.
fn entry_of<'a>(
    verdicts: &'a mut Verdicts,
    subject: Arm,
    control: Arm,
    standard: &Standard,
) -> &'a mut Differentiation {
    let (one, other) = (Subject::from(subject), Subject::from(control));
    let same = |entry: &Differentiation| entry.subject == one && entry.control == other;
    let index = verdicts.differentiation.iter().position(same).unwrap_or_else(|| {
        verdicts.differentiation.push(unknown(subject, control, standard));
        verdicts.differentiation.len() - 1
    });
    &mut verdicts.differentiation[index]
}

pub(super) fn unknown(subject: Arm, control: Arm, standard: &Standard) -> Differentiation {
    Differentiation {
        subject: subject.into(),
        control: control.into(),
        verdict: Verdict::Inconclusive,
        trigger: None,
        flow_rule: None,
        error_rate: ErrorRate { kind: ErrorRateKind::PerRun, value: standard.alpha },
        hypotheses: standard.hypotheses,
        log10_e: Log10E { delay: 0.0, loss: 0.0 },
        delay_shift_ms: None,
        p95_shift_ms: None,
        loss_shift: None,
        rate_bps: None,
        rate_l2_bps: None,
        burst_bytes: None,
        limit_after: None,
        excess_dscp: None,
        flags: Vec::new(),
        location: None,
        where_note: None,
        pairs: 0,
        seconds: 0.0,
        under_load: None,
        throughput: None,
        course: Vec::new(),
        note: "asked by trains only".to_owned(),
    }
}

/// What is blocked has no rate, and what this host does itself is not the path's limit.
pub(super) fn may_be_named(so_far: Verdict) -> bool {
    !matches!(so_far, Verdict::Blocked | Verdict::Void)
}

fn verdict_of(kind: LimitKind) -> Verdict {
    match kind {
        LimitKind::Policer => Verdict::Policed,
        LimitKind::Shaper => Verdict::Shaped,
    }
}

fn was_fast_enough(subject: &ArmLimit, shared: &Limit) -> bool {
    subject.trains.iter().any(|train| {
        train.sent_bps > shared.rate_bps.estimate * CONTRADICTS
            && train.sent_bytes as f64 > 2.0 * shared.burst_bytes.estimate
    })
}

/// The burst of a limit that classes share, from a class whose trains show it.
fn with_burst(limit: Limit, arms: &[ArmLimit]) -> Limit {
    let same = |other: &Limit| {
        other.burst_was_seen
            && other.kind == limit.kind
            && (other.rate_bps.estimate / limit.rate_bps.estimate.max(1.0) - 1.0).abs() <= SAME_RATE
    };
    match arms.iter().filter_map(|arm| arm.limit).find(same) {
        Some(other) if !limit.burst_was_seen => {
            Limit { burst_bytes: other.burst_bytes, burst_was_seen: true, after: other.after, ..limit }
        }
        _ => limit,
    }
}

/// About this limit, whether or not other trains agree.
fn shows(train: &TrainFinding, limit: &Limit) -> bool {
    train
        .limit
        .is_some_and(|own| (own.rate_bps.estimate / limit.rate_bps.estimate.max(1.0) - 1.0).abs() <= 2.0 * SAME_RATE)
}

fn rate(limit: &Limit) -> String {
    format!("{:.0} kbit/s", limit.rate_bps.estimate / 1e3)
}

pub(super) fn add(note: &mut String, text: String) {
    if !note.is_empty() {
        note.push_str("; ");
    }
    note.push_str(&text);
}

/// Trains have seen what the pairs could not.
pub(super) fn drop_blind_pairs(note: &mut String) {
    let kept: Vec<&str> = note.split("; ").filter(|part| !part.contains("invisible to them")).collect();
    *note = kept.join("; ");
}
