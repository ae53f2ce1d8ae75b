//! From the probes of an experiment to what each of its hypotheses says, one direction at a time.

mod course;
mod trains;

use model::report::{Differentiation, ErrorRate, ErrorRateKind, Estimate, Log10E, Subject, Trigger, Verdict};
use model::shaping::{Arm, Hypothesis, PairDesign, Ports, Purpose, Standard};

use super::Observed;
use super::confidence::{Interval, LossDifference, MedianShift, TailShift};
use super::evidence::{Combined, DelayEvidence, LossEvidence};
use super::plan::{PairPlan, Turn};

use course::Course;
pub use trains::{ArmLimit, judge_trains};

/// Flag of comparisons whose packets may take different paths by port.
pub const PATH_DIVERSITY: &str = "path-diversity";
/// Flag of a difference that is real and smaller than what matters.
pub const TOO_SMALL: &str = "too-small-to-matter";

/// Share of losses from which a class counts as blocked, and below which its control still works.
const BLOCKED: f64 = 0.99;
const WORKING: f64 = 0.5;
/// Without this many pairs nothing is named, whatever the e-value: a flow's opening is not its treatment.
const LEAST_PAIRS: u64 = 20;

/// One hypothesis and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub hypothesis: u16,
    pub ports: Ports,
    pub purpose: Purpose,
    pub finding: Differentiation,
}

/// What the e-processes take as one observation: a pair, or a block of pairs where the ports change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    pub hypothesis: u16,
    /// Subject minus control, nanoseconds; `None` where one was lost.
    pub difference_ns: Option<f64>,
    /// More of the subject was lost, and more of the control.
    pub lost: [bool; 2],
}

/// Judges one direction of a [`PairDesign`]. Takes probes in order of sequence; time and memory per probe are bounded.
#[derive(Clone, Debug)]
pub struct PairJudge {
    plan: PairPlan,
    standard: Standard,
    cases: Vec<Case>,
}

impl PairJudge {
    pub fn new(design: &PairDesign, standard: &Standard, seed: u64) -> PairJudge {
        let cases = design
            .hypotheses
            .iter()
            .map(|hypothesis| Case::new(*hypothesis, design.block_rounds / 2, standard))
            .collect();
        PairJudge { plan: PairPlan::new(design.clone(), seed), standard: *standard, cases }
    }

    /// Returns the unit that this probe completed, if it did.
    pub fn push(&mut self, observed: &Observed) -> Option<Unit> {
        let turn = self.plan.turn(observed.sequence)?;
        let case = self.cases.get_mut(usize::from(turn.hypothesis))?;
        case.push(&turn, observed);
        let (difference_ns, lost) = case.completed.take()?;
        Some(Unit { hypothesis: turn.hypothesis, difference_ns, lost })
    }

    /// Forgets this hypothesis' evidence: what comes is judged by itself.
    pub fn restart(&mut self, hypothesis: u16) {
        let index = usize::from(hypothesis);
        let half_block = self.plan.design().block_rounds / 2;
        if let Some((case, of)) = self.cases.get_mut(index).zip(self.plan.design().hypotheses.get(index)) {
            *case = Case::new(*of, half_block, &self.standard);
        }
    }

    /// Pairs since the beginning or the last restart.
    pub fn pairs(&self, hypothesis: u16) -> u64 {
        self.cases.get(usize::from(hypothesis)).map_or(0, |case| case.pairs)
    }

    /// Cheap.
    pub fn verdict(&self, hypothesis: u16) -> Verdict {
        let case = self.cases.get(usize::from(hypothesis));
        case.map_or(Verdict::Inconclusive, |case| case.verdict(&self.standard, self.is_diverse()).0)
    }

    /// By index of hypothesis; cheap.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let diverse = self.is_diverse();
        self.cases.iter().map(|case| case.verdict(&self.standard, diverse).0).collect()
    }

    /// Named or `none`: more pairs would not change it, except to refine. Cheap enough to be asked every second.
    pub fn is_decided(&self, hypothesis: u16) -> bool {
        self.verdict(hypothesis) != Verdict::Inconclusive
    }

    /// The path is chosen by port.
    fn is_diverse(&self) -> bool {
        self.cases.iter().any(|case| case.hypothesis.purpose == Purpose::PathDiversity && case.fired(&self.standard))
    }

    /// By index of hypothesis.
    pub fn findings(&self) -> Vec<Judged> {
        let diverse = self.is_diverse();
        let judged = |(index, case): (usize, &Case)| Judged {
            hypothesis: index as u16,
            ports: case.hypothesis.ports,
            purpose: case.hypothesis.purpose,
            finding: case.finding(&self.standard, diverse),
        };
        self.cases.iter().enumerate().map(judged).collect()
    }
}

/// One hypothesis.
#[derive(Clone, Debug)]
struct Case {
    hypothesis: Hypothesis,
    waiting: Option<(u32, bool, Observed)>,
    block: Block,
    /// Pairs of half a block.
    half_block: u32,
    /// The unit that the latest probe completed.
    completed: Option<(Option<f64>, [bool; 2])>,
    delay: DelayEvidence,
    loss: LossEvidence,
    combined: Combined,
    course: Course,
    median: MedianShift,
    tail: TailShift,
    loss_difference: LossDifference,
    pairs: u64,
    lost: [u64; 2],
    bytes: u64,
    first_ns: Option<i64>,
    last_ns: i64,
}

/// The pairs since the source ports last changed.
#[derive(Clone, Debug, Default)]
struct Block {
    number: Option<u32>,
    differences: Vec<f64>,
    /// More losses of the subject than of the control, by halves of the block's pairs.
    losses: [i64; 2],
    pairs: u32,
}

impl Case {
    fn new(hypothesis: Hypothesis, half_block: u32, standard: &Standard) -> Case {
        Case {
            hypothesis,
            waiting: None,
            block: Block::default(),
            half_block,
            completed: None,
            delay: if is_one_flow(&hypothesis) { DelayEvidence::of_pairs() } else { DelayEvidence::of_blocks() },
            loss: LossEvidence::default(),
            combined: Combined::default(),
            course: Course::default(),
            median: MedianShift::new(standard.alpha_none),
            tail: TailShift::new(standard.alpha_none),
            loss_difference: LossDifference::new(standard.alpha_none),
            pairs: 0,
            lost: [0; 2],
            bytes: 0,
            first_ns: None,
            last_ns: 0,
        }
    }

    fn push(&mut self, turn: &Turn, observed: &Observed) {
        self.first_ns.get_or_insert(observed.sent_ns);
        self.last_ns = observed.sent_ns;
        self.bytes += u64::from(observed.size);
        match self.waiting.take() {
            Some((pair, is_subject, other)) if pair == turn.pair && is_subject != turn.is_subject => {
                if turn.is_subject { self.pair(turn, observed, &other) } else { self.pair(turn, &other, observed) }
            }
            // The other half of an earlier pair was never sent, or nobody knows its fate.
            _ => self.waiting = Some((turn.pair, turn.is_subject, *observed)),
        }
    }

    fn pair(&mut self, turn: &Turn, subject: &Observed, control: &Observed) {
        self.pairs += 1;
        let (delays, lost) =
            (delay_of(subject).zip(delay_of(control)), [subject.received_ns.is_none(), control.received_ns.is_none()]);
        self.lost[0] += u64::from(lost[0]);
        self.lost[1] += u64::from(lost[1]);
        // Delays on two clocks overflow nothing and mean nothing; their difference within a pair needs no clock.
        let difference = delays.map(|(subject, control)| subject.saturating_sub(control) as f64);
        if self.hypothesis.purpose == Purpose::Difference {
            if let Some(difference) = difference {
                self.median.push(difference);
                self.tail.push(difference);
            }
            self.loss_difference.push(lost[0], lost[1]);
        }
        if is_one_flow(&self.hypothesis) {
            self.unit(difference, lost);
            return;
        }
        if self.block.number.is_some_and(|number| number != turn.block) {
            self.end_block();
        }
        self.block.number = Some(turn.block);
        self.block.differences.extend(difference);
        let half = usize::from(self.block.pairs >= self.half_block);
        self.block.losses[half] += i64::from(lost[0]) - i64::from(lost[1]);
        self.block.pairs += 1;
    }

    fn unit(&mut self, difference: Option<f64>, lost: [bool; 2]) {
        self.completed = Some((difference, lost));
        if let Some(difference) = difference {
            self.delay.push(difference);
        }
        self.loss.push(lost[0], lost[1]);
        self.combined.push(&self.delay, &self.loss);
        let log10 = |e_value: f64| e_value.max(1e-300).log10();
        let (delay, loss) = (self.delay.e_value(), self.loss.e_value());
        self.course.push(self.pairs, || Log10E { delay: log10(delay), loss: log10(loss) });
    }

    /// Ports are what the coin was tossed for, so the block is the unit: a port on a slower path delays all of its packets.
    fn end_block(&mut self) {
        let mut block = std::mem::take(&mut self.block);
        match self.hypothesis.purpose {
            Purpose::Difference => {
                let more = block.losses[0] + block.losses[1];
                self.unit(median(&mut block.differences), [more > 0, more < 0]);
            }
            Purpose::PathDiversity => {
                // Do the ports differ in the same sense in both halves of the block? If the port means nothing, the halves'
                // signs are independent fair coins, and so is their product.
                let middle = block.differences.len() / 2;
                let (first, second) = block.differences.split_at_mut(middle);
                let delay = median(first).zip(median(second)).map(|(first, second)| {
                    let size = (first.abs() * second.abs()).sqrt();
                    if (first > 0.0) == (second > 0.0) { size } else { -size }
                });
                let loss = block.losses[0].signum() * block.losses[1].signum();
                self.unit(delay, [loss > 0, loss < 0]);
            }
        }
    }

    fn threshold(standard: &Standard) -> f64 {
        (f64::from(standard.hypotheses.max(1)) / standard.alpha.clamp(1e-12, 1.0)).log10()
    }

    fn fired(&self, standard: &Standard) -> bool {
        self.combined.peak_log10_e() >= Case::threshold(standard)
    }

    /// The verdict and flags that say more of it.
    fn verdict(&self, standard: &Standard, diverse: bool) -> (Verdict, Vec<&'static str>) {
        let pairs = self.pairs.max(1) as f64;
        let losses = self.lost.map(|lost| lost as f64 / pairs);
        let (delay, loss) = (standard.least_delay_ms * 1e6, standard.least_loss);
        let equivalent = || self.is_equivalent(standard, diverse);
        if !self.fired(standard) || self.pairs < LEAST_PAIRS {
            return (if equivalent() { Verdict::None } else { Verdict::Inconclusive }, Vec::new());
        }
        // The combined e-value is the mean of both: each may claim its half of it.
        let half = Case::threshold(standard) + 2f64.log10();
        let by_loss = self.loss.peak_log10_e() >= half;
        let by_delay = self.delay.peak_log10_e() >= half;
        // Fired together, and neither alone: the stronger one is what was seen.
        let neither = !by_loss && !by_delay;
        let by_loss = by_loss || neither && self.loss.peak_log10_e() > self.delay.peak_log10_e();
        let by_delay = by_delay || neither && !by_loss;
        let loss_shift = losses[0] - losses[1];
        if by_loss && loss_shift.abs() >= loss {
            let verdict = if losses[0] >= BLOCKED && losses[1] < WORKING {
                Verdict::Blocked
            } else if loss_shift > 0.0 {
                Verdict::Lossy
            } else {
                Verdict::Favoured
            };
            return (verdict, Vec::new());
        }
        if by_delay {
            let median = self.median.estimate().unwrap_or(0.0);
            let tail = || self.tail.interval().filter(|_| self.tail.is_beyond(delay));
            let shift = if median.abs() >= delay { median } else { tail().map_or(0.0, |interval| interval.estimate) };
            if shift.abs() >= delay {
                return (if shift > 0.0 { Verdict::Delayed } else { Verdict::Favoured }, Vec::new());
            }
        }
        (if equivalent() { Verdict::None } else { Verdict::Inconclusive }, vec![TOO_SMALL])
    }

    /// All three confidence sequences lie within the least differences that matter. They take pairs as units, which on fresh ports holds
    /// only as long as ports do not choose paths.
    fn is_equivalent(&self, standard: &Standard, diverse: bool) -> bool {
        let delay = standard.least_delay_ms * 1e6;
        self.hypothesis.purpose == Purpose::Difference
            && !(diverse && self.hypothesis.ports == Ports::Fresh)
            && self.loss_difference.is_within(standard.least_loss)
            && self.tail.is_within(delay)
            && self.median.is_within(delay)
    }

    fn finding(&self, standard: &Standard, diverse: bool) -> Differentiation {
        let (verdict, flags) = self.verdict(standard, diverse);
        let mut flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        if diverse && self.hypothesis.ports == Ports::Fresh {
            flags.push(PATH_DIVERSITY.to_owned());
        }
        let seconds = self.first_ns.map_or(0.0, |first| (self.last_ns - first) as f64 / 1e9);
        let (subject, control) = (self.hypothesis.subject, self.hypothesis.control);
        Differentiation {
            subject: subject.into(),
            control: control.into(),
            verdict,
            trigger: trigger(&subject, &control).filter(|_| verdict.is_finding()),
            flow_rule: None,
            error_rate: ErrorRate { kind: ErrorRateKind::PerRun, value: standard.alpha },
            hypotheses: standard.hypotheses,
            log10_e: Log10E { delay: self.delay.peak_log10_e(), loss: self.loss.peak_log10_e() },
            delay_shift_ms: self.median.interval().map(|interval| estimate(interval, 1e-6)),
            p95_shift_ms: self.tail.interval().map(|interval| estimate(interval, 1e-6)),
            loss_shift: (self.pairs > 0).then(|| estimate(self.loss_difference.interval(), 1.0)),
            rate_bps: None,
            rate_l2_bps: None,
            burst_bytes: None,
            limit_after: None,
            excess_dscp: None,
            flags,
            location: None,
            where_note: None,
            pairs: self.pairs,
            seconds,
            under_load: None,
            throughput: None,
            course: self.course.points.clone(),
            note: self.note(standard, verdict, seconds, diverse && self.hypothesis.ports == Ports::Fresh),
        }
    }

    fn note(&self, standard: &Standard, verdict: Verdict, seconds: f64, by_port: bool) -> String {
        let mut parts = Vec::new();
        if self.pairs == 0 {
            parts.push("no pair was seen".to_owned());
        } else if verdict == Verdict::Inconclusive && by_port {
            parts
                .push("the path is chosen by port, so that fresh ports cannot show the classes to be alike".to_owned());
        } else if verdict == Verdict::Inconclusive {
            let missing = self.missing(standard);
            parts.push(format!("not enough data: {missing}"));
        }
        if seconds > 0.0 {
            // Both arms pass through whatever limits either.
            let kbps = self.bytes as f64 * 8.0 / seconds / 1e3;
            parts
                .push(format!("at {kbps:.0} kbit/s of pairs a policer or shaper above that rate is invisible to them"));
        }
        parts.join("; ")
    }

    /// What would change `inconclusive`.
    fn missing(&self, standard: &Standard) -> String {
        let delay = standard.least_delay_ms * 1e6;
        let mut open = Vec::new();
        if !self.loss_difference.is_within(standard.least_loss) {
            open.push(format!("loss is not known to within {:.2} pp", standard.least_loss * 100.0));
        }
        if !self.median.is_within(delay) {
            open.push(format!("delay is not known to within {} ms", standard.least_delay_ms));
        }
        if !self.tail.is_within(delay) {
            open.push("the slowest packets are not known well enough".to_owned());
        }
        if open.is_empty() {
            open.push("the evidence for a difference is short of its threshold".to_owned());
        }
        format!("{}; more pairs decide", open.join(", "))
    }
}

/// The coin was tossed for each pair by itself; otherwise it was tossed for the ports of a block.
fn is_one_flow(hypothesis: &Hypothesis) -> bool {
    hypothesis.ports == Ports::OneFlow && hypothesis.purpose == Purpose::Difference
}

/// What a probe's time on the way seems to be across two clocks.
fn delay_of(observed: &Observed) -> Option<i64> {
    observed.received_ns.map(|received| received.saturating_sub(observed.sent_ns))
}

fn estimate(interval: Interval, unit: f64) -> Estimate {
    Estimate { estimate: interval.estimate * unit, low: interval.low * unit, high: interval.high * unit }
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| {
        let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
        let upper = *upper;
        match below.iter().copied().max_by(f64::total_cmp) {
            Some(lower) if values.len().is_multiple_of(2) => (lower + upper) / 2.0,
            _ => upper,
        }
    })
}

/// The factor that an entry's verdict lays the difference to.
pub(super) fn trigger_of(entry: &Differentiation) -> Option<Trigger> {
    let arm = |subject: &Subject| Arm {
        dscp: model::Dscp::new(subject.dscp).unwrap_or_default(),
        port: subject.port,
        payload: subject.payload,
    };
    trigger(&arm(&entry.subject), &arm(&entry.control)).filter(|_| entry.verdict.is_finding())
}

/// The one factor in which two arms differ.
pub fn trigger(subject: &Arm, control: &Arm) -> Option<Trigger> {
    match (subject.dscp != control.dscp, subject.port != control.port, subject.payload != control.payload) {
        (true, false, false) => Some(Trigger::Dscp),
        (false, true, false) => Some(Trigger::Port),
        (false, false, true) => Some(Trigger::Payload),
        _ => None,
    }
}
