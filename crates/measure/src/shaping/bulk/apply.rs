//! Puts what transfers said beside what pairs of small connections said of the same classes.

use model::report::{Differentiation, Subject, Verdict};
use model::shaping::Standard;

use super::judge::BulkFinding;
use crate::shaping::combine::{add, drop_blind_pairs, may_be_named, unknown};
use crate::shaping::judge::{TOO_SMALL, trigger};

/// Findings of one direction and family.
pub fn apply(entries: &mut Vec<Differentiation>, findings: &[BulkFinding], standard: &Standard) {
    for finding in findings {
        let (subject, control) = (Subject::from(finding.subject), Subject::from(finding.control));
        let same = |entry: &Differentiation| entry.subject == subject && entry.control == control;
        match entries.iter_mut().find(|entry| same(entry)) {
            Some(entry) => beside_pairs(entry, finding),
            None => {
                let mut entry = unknown(finding.subject, finding.control, standard);
                entry.note.clear();
                entry.pairs = finding.throughput.pairs;
                entry.seconds = finding.seconds;
                name(&mut entry, finding);
                entry.verdict = finding.throughput.verdict;
                entry.note = format!("{}; small packets were not compared", finding.note);
                entries.push(entry);
            }
        }
    }
}

fn beside_pairs(entry: &mut Differentiation, finding: &BulkFinding) {
    let verdict = finding.throughput.verdict;
    // A limit says more than the delay or loss that small connections met; of mere slowness those know more.
    let is_limit = !matches!(verdict, Verdict::Delayed | Verdict::Lossy);
    if verdict.is_finding() && may_be_named(entry.verdict) && (is_limit || !entry.verdict.is_finding()) {
        entry.note.clear();
        entry.flags.retain(|flag| flag != TOO_SMALL);
        name(entry, finding);
        entry.verdict = verdict;
    } else {
        entry.throughput = Some(finding.throughput);
        if verdict != Verdict::Inconclusive {
            drop_blind_pairs(&mut entry.note);
        }
    }
    add(&mut entry.note, finding.note.clone());
}

fn name(entry: &mut Differentiation, finding: &BulkFinding) {
    entry.throughput = Some(finding.throughput);
    if finding.throughput.verdict.is_finding() {
        entry.trigger = trigger(&finding.subject, &finding.control);
        entry.rate_bps = finding.rate_bps;
        entry.rate_l2_bps = finding.rate_l2_bps;
    }
}
