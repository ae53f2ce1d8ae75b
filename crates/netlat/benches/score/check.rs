//! A run's verdicts against what is true.

use measure::shaping::combine::Verdicts;
use model::report::{Differentiation, Verdict};

use crate::run::SIZE_L3;
use crate::scenario::{LimitTruth, Scenario, SubjectSpec, Truth};

/// Of a rate; a burst may be off by [`BURST`] or two packets.
pub const RATE: f64 = 0.01;
pub const BURST: f64 = 0.05;

#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Everything is called what it is.
    pub right: bool,
    /// Something is named that is not there.
    pub named_falsely: bool,
    /// Shares of the truth.
    pub rate_error: Option<f64>,
    /// Beyond what is allowed is above 1: the error over max(5 %, two packets).
    pub burst_error: Option<f64>,
    /// What was said, in short.
    pub said: String,
}

/// `differentiation` and `rate_limit` of one direction.
pub fn check(scenario: &Scenario, verdicts: &Verdicts) -> Checked {
    let mut checked = Checked { right: true, ..Checked::default() };
    let mut said = Vec::new();
    for entry in &verdicts.differentiation {
        said.push(format!("{}: {}", name(entry), in_words(entry)));
        let truth = scenario.truth.iter().find(|truth| is_about(&truth.subject, entry));
        match truth {
            Some(truth) => entry_is_right(truth, entry, &mut checked),
            None => {
                checked.named_falsely |= entry.verdict.is_finding();
                checked.right &= !entry.verdict.is_finding();
            }
        }
    }
    let missing = |truth: &&Truth| !verdicts.differentiation.iter().any(|entry| is_about(&truth.subject, entry));
    checked.right &= !scenario.truth.iter().any(|truth| missing(&truth));
    match (&verdicts.rate_limit, scenario.rate_limit) {
        (Some(found), truth) => {
            said.push(format!(
                "limit: {:?} {:.0} bit/s {:.0} B {:?}",
                found.kind, found.rate_bps.estimate, found.burst_bytes.estimate, found.limit_after
            ));
            match truth.filter(|truth| truth.kind == found.kind) {
                Some(LimitTruth { bps, burst_bytes, .. }) => {
                    numbers(
                        &mut checked,
                        bps.zip(Some(found.rate_bps.estimate)),
                        burst_bytes.zip(Some(found.burst_bytes.estimate)),
                    );
                }
                None => {
                    checked.named_falsely |= truth.is_none();
                    checked.right = false;
                }
            }
        }
        (None, Some(_)) => checked.right = false,
        (None, None) => {}
    }
    checked.right &=
        checked.rate_error.is_none_or(|error| error <= RATE) && checked.burst_error.is_none_or(|error| error <= 1.0);
    checked.said = said.join(", ");
    checked
}

fn is_about(subject: &SubjectSpec, entry: &Differentiation) -> bool {
    let arm = subject.arm();
    entry.subject.dscp == arm.dscp.get() && entry.subject.port == arm.port && entry.subject.payload == arm.payload
}

fn entry_is_right(truth: &Truth, entry: &Differentiation, checked: &mut Checked) {
    if !truth.verdict.contains(&entry.verdict) {
        checked.right = false;
        checked.named_falsely |= entry.verdict.is_finding();
        return;
    }
    let same = |truth: Option<_>, found: Option<_>| truth.is_none() || truth == found;
    checked.right &= truth.trigger.is_none() || truth.trigger == entry.trigger;
    checked.right &= truth.flow_rule.is_none() || truth.flow_rule == entry.flow_rule;
    checked.right &= same(truth.excess_dscp, entry.excess_dscp);
    if entry.verdict == Verdict::Void || !entry.verdict.is_finding() {
        return;
    }
    if let (Some(truth), Some(found)) = (truth.shift_ms, entry.delay_shift_ms) {
        checked.right &= (found.low..=found.high).contains(&truth);
    }
    let after = entry.limit_after.map(|after| after.bytes as f64);
    checked.right &= match (truth.after_bytes, after) {
        (Some(truth), Some(found)) => (found - truth).abs() <= (BURST * truth).max(2.0 * f64::from(SIZE_L3)),
        (None, None) => true,
        _ => false,
    };
    let rate = entry.rate_bps.map(|rate| rate.estimate);
    let burst = entry.burst_bytes.map(|burst| burst.estimate);
    checked.right &= (truth.bps.is_none() || rate.is_some()) && (truth.burst_bytes.is_none() || burst.is_some());
    numbers(checked, truth.bps.zip(rate), truth.burst_bytes.zip(burst));
}

fn numbers(checked: &mut Checked, rate: Option<(f64, f64)>, burst: Option<(f64, f64)>) {
    if let Some((truth, found)) = rate {
        checked.rate_error = Some((found / truth - 1.0).abs().max(checked.rate_error.unwrap_or(0.0)));
    }
    if let Some((truth, found)) = burst {
        let allowed = (BURST * truth).max(2.0 * f64::from(SIZE_L3));
        checked.burst_error = Some(((found - truth).abs() / allowed).max(checked.burst_error.unwrap_or(0.0)));
    }
}

fn name(entry: &Differentiation) -> String {
    if entry.subject.port != entry.control.port {
        format!("port {}", entry.subject.port)
    } else if entry.subject.payload != entry.control.payload {
        entry.subject.payload.to_string()
    } else {
        format!("dscp {}", entry.subject.dscp)
    }
}

fn in_words(entry: &Differentiation) -> String {
    let mut words = entry.verdict.name().to_owned();
    if let Some(rule) = entry.flow_rule {
        words += &format!(" {rule:?}");
    }
    if let (Some(rate), Some(burst)) = (entry.rate_bps, entry.burst_bytes) {
        words += &format!(" {:.0} bit/s {:.0} B", rate.estimate, burst.estimate);
    }
    if let Some(after) = entry.limit_after {
        words += &format!(" after {} B", after.bytes);
    }
    if entry.verdict == Verdict::Inconclusive {
        words += &format!(" ({}; {:?})", entry.note, entry.flags);
    }
    if entry.verdict.is_finding() && entry.rate_bps.is_none() {
        let shift = entry.delay_shift_ms.map_or(0.0, |shift| shift.estimate);
        words += &format!(" {shift:+.2} ms {:+.2} pp", entry.loss_shift.map_or(0.0, |shift| shift.estimate * 100.0));
    }
    words
}
