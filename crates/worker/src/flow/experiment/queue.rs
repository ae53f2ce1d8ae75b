//! This host's own queue as a suspect: how long the two arms of a comparison wait between the program and the kernel's transmit
//! stamp, and which of them the kernel refuses. Linux maps a ToS to bands of pfifo_fast, so a busy host delays classes by itself.

use std::collections::BTreeMap;

use measure::shaping::confidence::MedianShift;
use measure::shaping::evidence::{Combined, DelayEvidence, LossEvidence};
use measure::shaping::plan::PairPlan;
use model::DirectionChoice;
use model::shaping::{Design, Experiment, Purpose};

/// Pairs of which one half's stamp has not come.
const WAITING: usize = 256;

#[derive(Debug)]
struct Case {
    delay: DelayEvidence,
    loss: LossEvidence,
    both: Combined,
    shift: MedianShift,
    pairs: u64,
    refused: [u64; 2],
}

/// What became of one probe: nanoseconds that it waited, or `None` if the kernel refused it.
type Wait = Option<i64>;

#[derive(Debug)]
pub(super) struct LocalQueue {
    plan: Option<PairPlan>,
    cases: Vec<Option<Case>>,
    waiting: BTreeMap<(u32, u16), (bool, Wait)>,
    threshold: f64,
    least_delay_ns: f64,
    least_loss: f64,
}

impl LocalQueue {
    /// Watches the way up only: what the other direction's sender does to its packets is seen there.
    pub(super) fn new(experiment: &Experiment, direction: DirectionChoice) -> LocalQueue {
        let standard = &experiment.standard;
        let (plan, cases) = match &experiment.design {
            Design::Pairs(pairs) if direction.up() => {
                let case = |purpose| {
                    (purpose == Purpose::Difference).then(|| Case {
                        delay: DelayEvidence::of_pairs(),
                        loss: LossEvidence::default(),
                        both: Combined::default(),
                        shift: MedianShift::new(standard.alpha_none),
                        pairs: 0,
                        refused: [0; 2],
                    })
                };
                let cases = pairs.hypotheses.iter().map(|hypothesis| case(hypothesis.purpose)).collect();
                (Some(PairPlan::new(pairs.clone(), experiment.seed)), cases)
            }
            _ => (None, Vec::new()),
        };
        let hypotheses = f64::from(standard.hypotheses.max(1));
        LocalQueue {
            plan,
            cases,
            waiting: BTreeMap::new(),
            threshold: (hypotheses / standard.alpha.clamp(1e-12, 1.0)).log10(),
            least_delay_ns: standard.least_delay_ms * 1e6,
            least_loss: standard.least_loss,
        }
    }

    /// A probe's wait. Returns the hypothesis if its arms are now known to be told apart by this host.
    pub(super) fn push(&mut self, sequence: u32, wait: Wait) -> Option<u16> {
        let turn = self.plan.as_mut()?.turn(sequence)?;
        let key = (turn.pair, turn.hypothesis);
        let Some((other_is_subject, other)) = self.waiting.remove(&key) else {
            self.waiting.insert(key, (turn.is_subject, wait));
            if self.waiting.len() > WAITING {
                self.waiting.pop_first();
            }
            return None;
        };
        if other_is_subject == turn.is_subject {
            return None;
        }
        let (subject, control) = if turn.is_subject { (wait, other) } else { (other, wait) };
        let case = self.cases.get_mut(usize::from(turn.hypothesis))?.as_mut()?;
        case.pairs += 1;
        case.refused[0] += u64::from(subject.is_none());
        case.refused[1] += u64::from(control.is_none());
        if let (Some(subject), Some(control)) = (subject, control) {
            let difference = subject.saturating_sub(control) as f64;
            case.delay.push(difference);
            case.shift.push(difference);
        }
        case.loss.push(subject.is_none(), control.is_none());
        case.both.push(&case.delay, &case.loss);
        if case.both.peak_log10_e() < self.threshold {
            return None;
        }
        let share = |refused: u64| refused as f64 / case.pairs as f64;
        let by_loss = (share(case.refused[0]) - share(case.refused[1])).abs() >= self.least_loss;
        let by_delay = case.shift.estimate().is_some_and(|shift| shift.abs() >= self.least_delay_ns);
        (by_loss || by_delay).then_some(turn.hypothesis)
    }
}
