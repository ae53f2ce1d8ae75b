//! From transfers to what each comparison says, in both directions.

use model::report::{Estimate, Throughput, Verdict};
use model::shaping::{Arm, BulkDesign, Standard, Transfer};
use model::{Direction, DirectionChoice, Family};

use super::order::{median, middle};
use super::plan::{BulkPlan, BulkTurn};
use crate::shaping::evidence::LossEvidence;

/// Without this many pairs nothing is named, whatever the e-value.
const LEAST_PAIRS: u64 = 10;
/// Share of transfers that brought nothing from which a class counts as blocked, and below which its control still works.
const BLOCKED: f64 = 0.99;
const WORKING: f64 = 0.5;
/// A second half this much faster than the first is slow start, not a limit that was reached.
const STILL_GROWING: f64 = 1.5;
/// Half of the rates of all second halves lie within this share of their median where there is one limit.
const SAME_RATE: f64 = 0.35;
/// A policer has no queue: less than so many packets' time at its rate.
const QUEUED_PACKETS: f64 = 3.0;
/// The least share of segments sent again that speaks of loss.
const LOST: f64 = 0.005;
/// Stream bytes of a full segment with timestamps, on a path that takes 1500 bytes.
const SEGMENT: f64 = 1_448.0;
const FRAME_HEADER: f64 = 14.0;

/// One comparison in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkFinding {
    pub direction: Direction,
    pub subject: Arm,
    pub control: Arm,
    pub throughput: Throughput,
    /// Of the limit that the subject meets, layers 3 and 2.
    pub rate_bps: Option<Estimate>,
    pub rate_l2_bps: Option<Estimate>,
    /// That the transfers took, all of them.
    pub seconds: f64,
    pub note: String,
}

/// Judges the transfers of one session, in order of sequence.
#[derive(Clone, Debug)]
pub struct BulkJudge {
    plan: BulkPlan,
    standard: Standard,
    family: Family,
    cases: Vec<Case>,
}

#[derive(Clone, Debug, Default)]
struct Case {
    waiting: Option<(BulkTurn, Transfer)>,
    signs: LossEvidence,
    /// Logarithms of the subject's rate over the control's.
    ratios: Vec<f64>,
    pairs: Vec<[Transfer; 2]>,
}

impl BulkJudge {
    pub fn new(
        design: &BulkDesign,
        direction: DirectionChoice,
        family: Family,
        standard: &Standard,
        seed: u64,
    ) -> BulkJudge {
        let plan = BulkPlan::new(design.clone(), direction, seed);
        let cases = vec![Case::default(); plan.cells()];
        BulkJudge { plan, standard: *standard, family, cases }
    }

    pub fn push(&mut self, transfer: &Transfer) {
        let Some(turn) = self.plan.turn(transfer.sequence) else { return };
        let Some(case) = self.cases.get_mut(usize::from(turn.cell)) else { return };
        match case.waiting.take() {
            Some((other, earlier)) if other.pair == turn.pair && other.is_subject != turn.is_subject => {
                case.pair(if turn.is_subject { [*transfer, earlier] } else { [earlier, *transfer] });
            }
            _ => case.waiting = Some((turn, *transfer)),
        }
    }

    /// By cell: named or `none`, so that more pairs would not change it.
    pub fn is_decided(&self, cell: u16) -> bool {
        self.cases.get(usize::from(cell)).is_some_and(|case| case.verdict(&self.standard) != Verdict::Inconclusive)
    }

    /// How many cells are decided, and of how many.
    pub fn progress(&self) -> (usize, usize) {
        let decided = (0..self.cases.len()).filter(|cell| self.is_decided(*cell as u16)).count();
        (decided, self.cases.len())
    }

    /// One for each cell.
    pub fn findings(&self) -> Vec<BulkFinding> {
        let finding = |(index, case): (usize, &Case)| {
            let (hypothesis, direction) = self.plan.cell(index)?;
            let hypothesis = self.plan.design().hypotheses.get(usize::from(hypothesis))?;
            let verdict = case.verdict(&self.standard);
            let limited = matches!(verdict, Verdict::Policed | Verdict::Shaped);
            let rate = case.plateau(&self.standard).filter(|_| limited);
            let headers = if self.family == Family::Ipv4 { 52.0 } else { 72.0 };
            let segment = SEGMENT + 52.0 - headers;
            let at_layer = |more: f64| rate.map(|rate| scaled(rate, (segment + headers + more) / segment));
            Some(BulkFinding {
                direction,
                subject: hypothesis.subject,
                control: hypothesis.control,
                throughput: case.throughput(&self.standard, self.plan.design().bytes, verdict),
                rate_bps: at_layer(0.0),
                rate_l2_bps: at_layer(FRAME_HEADER),
                seconds: case.pairs.iter().flatten().map(|transfer| transfer.elapsed_ns as f64 / 1e9).sum(),
                note: case.note(&self.standard, self.plan.design(), verdict),
            })
        };
        self.cases.iter().enumerate().filter_map(finding).collect()
    }
}

impl Case {
    /// Subject, then control.
    fn pair(&mut self, pair: [Transfer; 2]) {
        self.pairs.push(pair);
        let [subject, control] = pair.map(|transfer| transfer.bits_per_second());
        if pair.iter().all(|transfer| transfer.bytes == 0) {
            return;
        }
        self.ratios.push((subject / control).ln());
        // Which of the two was slower is the coin.
        self.signs.push(subject < control, control < subject);
    }

    fn verdict(&self, standard: &Standard) -> Verdict {
        let threshold = (f64::from(standard.hypotheses.max(1)) / standard.alpha.clamp(1e-12, 1.0)).log10();
        let margin = standard.least_throughput.max(0.0).ln_1p();
        let interval = median(&self.ratios, standard.alpha_none);
        let is_alike = interval.is_some_and(|(_, low, high)| low > -margin && high < margin);
        let alike = || if is_alike { Verdict::None } else { Verdict::Inconclusive };
        if self.signs.peak_log10_e() < threshold || (self.pairs.len() as u64) < LEAST_PAIRS {
            return alike();
        }
        let mut ratios = self.ratios.clone();
        ratios.sort_by(f64::total_cmp);
        let shift = middle(&ratios).unwrap_or(0.0);
        if shift.abs() < margin {
            return alike();
        }
        if shift > 0.0 { Verdict::Favoured } else { self.slower(standard) }
    }

    /// What makes the subject slower.
    fn slower(&self, standard: &Standard) -> Verdict {
        let failed = [0, 1].map(|arm| {
            let failed = self.of(arm).filter(|transfer| transfer.bytes == 0).count();
            failed as f64 / self.pairs.len().max(1) as f64
        });
        if failed[0] >= BLOCKED && failed[1] < WORKING {
            return Verdict::Blocked;
        }
        let [subject, control] = [0, 1].map(|arm| self.resent_share(arm));
        let loses = subject > LOST + 2.0 * control;
        match self.plateau(standard) {
            Some(rate) => {
                let queued = self.queued_us(0).unwrap_or(0.0) - self.queued_us(1).unwrap_or(0.0);
                let packets = QUEUED_PACKETS * (SEGMENT + 66.0) * 8e6 / rate.estimate.max(1.0);
                if loses && queued < packets { Verdict::Policed } else { Verdict::Shaped }
            }
            None if loses => Verdict::Lossy,
            None => Verdict::Delayed,
        }
    }

    /// The steady rate of the subject's second halves, in stream bits per second, where they have one.
    fn plateau(&self, standard: &Standard) -> Option<Estimate> {
        // A bucket that was full has let the first transfers pass.
        let slow = self.pairs.iter().filter(|[subject, control]| subject.bits_per_second() < control.bits_per_second());
        let mut rates = Vec::new();
        let (mut steady, mut all) = (0, 0);
        for [subject, _] in slow {
            let (Some(head), Some(tail)) = (subject.head_bits_per_second(), subject.tail_bits_per_second()) else {
                continue;
            };
            all += 1;
            steady += usize::from(tail <= STILL_GROWING * head);
            rates.push(tail);
        }
        rates.sort_by(f64::total_cmp);
        let quarter = |share: usize| rates.get(rates.len() * share / 4).copied();
        let spread = quarter(3)? - quarter(1)?;
        let (estimate, low, high) = median(&rates, standard.alpha_none)?;
        (2 * steady >= all && spread <= SAME_RATE * estimate).then_some(Estimate { estimate, low, high })
    }

    fn of(&self, arm: usize) -> impl Iterator<Item = &Transfer> {
        self.pairs.iter().filter_map(move |pair| pair.get(arm))
    }

    fn resent(&self, arm: usize) -> u64 {
        self.of(arm).filter_map(|transfer| transfer.retransmits).map(u64::from).sum()
    }

    /// Of the segments of those transfers whose sender told.
    fn resent_share(&self, arm: usize) -> f64 {
        let told = self.of(arm).filter(|transfer| transfer.retransmits.is_some());
        self.resent(arm) as f64 / (told.map(|transfer| transfer.bytes as f64).sum::<f64>() / SEGMENT).max(1.0)
    }

    /// Median of the time that the sender's packets waited in queues.
    fn queued_us(&self, arm: usize) -> Option<f64> {
        let queued = |transfer: &Transfer| Some(f64::from(transfer.rtt_us?.saturating_sub(transfer.min_rtt_us?)));
        let mut times: Vec<f64> = self.of(arm).filter_map(queued).collect();
        times.sort_by(f64::total_cmp);
        middle(&times)
    }

    fn throughput(&self, standard: &Standard, bytes: u32, verdict: Verdict) -> Throughput {
        let estimate = |values: Vec<f64>| {
            median(&values, standard.alpha_none).map(|(estimate, low, high)| Estimate { estimate, low, high })
        };
        let rates = |arm| estimate(self.of(arm).map(Transfer::bits_per_second).collect());
        let ratio = estimate(self.ratios.clone());
        Throughput {
            verdict,
            subject_bps: rates(0),
            control_bps: rates(1),
            ratio: ratio.map(|ln| Estimate { estimate: ln.estimate.exp(), low: ln.low.exp(), high: ln.high.exp() }),
            subject_retransmits: self.resent(0),
            control_retransmits: self.resent(1),
            pairs: self.pairs.len() as u64,
            bytes,
            log10_e: self.signs.peak_log10_e(),
        }
    }

    fn note(&self, standard: &Standard, design: &BulkDesign, verdict: Verdict) -> String {
        let (pairs, kilobytes) = (self.pairs.len(), f64::from(design.bytes) / 1e3);
        let transfers = format!("TCP throughput, {pairs} pairs of transfers of {kilobytes:.0} kB");
        let margin = standard.least_throughput * 100.0;
        let blind =
            format!("a limit that begins after {kilobytes:.0} kB, or above what these reached, is invisible to them");
        let said = match verdict {
            Verdict::None => format!("alike within {margin:.0} %; {blind}"),
            Verdict::Inconclusive if pairs == 0 => "none of them ended".to_owned(),
            Verdict::Inconclusive => {
                format!("not known to within {margin:.0} %, more or larger transfers decide; {blind}")
            }
            Verdict::Delayed => "slower without loss, and no steady rate that would be a limit's".to_owned(),
            Verdict::Lossy => "slower by loss, and no steady rate that would be a limit's".to_owned(),
            _ => format!("sent again: {} segments, and {} of the control", self.resent(0), self.resent(1)),
        };
        format!("{transfers}: {said}")
    }
}

fn scaled(estimate: Estimate, factor: f64) -> Estimate {
    Estimate { estimate: estimate.estimate * factor, low: estimate.low * factor, high: estimate.high * factor }
}
