//! E-processes for exactly zero difference between two classes.
//!
//! Each unit (a pair, or a block of pairs) has its labels by the toss of a fair coin. If the network ignores the labels, then
//! given everything it did (the sizes of all differences, whatever their order and correlation) the signs are independent
//! fair coins. Wealth that bets on them at fair odds is a martingale, and exceeds K/alpha with a probability of at most alpha/K
//! at any time (Ville 1939; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024).

/// Units whose sizes set the scale. Signs are fair given the sizes, so these units are bet on as well, afterwards.
const SCALE_PAIRS: usize = 30;
/// The same where a unit is a block of pairs, of which there are few.
const SCALE_BLOCKS: usize = 10;
/// Of a difference where all are (nearly) zero: what a kernel's stamps resolve.
const LEAST_SCALE_NS: f64 = 2_000.0;
/// Wealth is kept within these. What is lent at the lower end is nothing to any threshold, what is lost at the upper end no one misses.
const WEALTH: (f64, f64) = (1e-300, 1e300);

/// A constant bet on one sign of the difference.
#[derive(Clone, Copy, Debug)]
struct Bet {
    /// Of the wealth, on a difference of `scales`.
    stake: f64,
    /// Beyond so many scales a difference counts as that.
    scales: f64,
    /// Of the wealth at the start.
    weight: f64,
}

/// For each sign alike, so the weights are half of all. A mixture needs no estimate of the effect and costs at most the logarithm of
/// the best bet's weight. Most has one somewhat below the stake that grows fastest at a shift of a third of a standard
/// deviation: it reaches the threshold a tenth later in the median, and as much earlier in the slowest runs. The widest
/// is for a few packets that are very late, the narrowest for shifts above the spread.
const BETS: [Bet; 6] = [
    Bet { stake: 0.75, scales: 2.2, weight: 0.27 },
    Bet { stake: 0.4, scales: 2.2, weight: 0.11 },
    Bet { stake: 0.12, scales: 2.2, weight: 0.03 },
    Bet { stake: 0.9, scales: 1.0, weight: 0.04 },
    Bet { stake: 0.8, scales: 8.0, weight: 0.03 },
    Bet { stake: 0.3, scales: 8.0, weight: 0.02 },
];

impl Bet {
    /// The gain (or loss) per unit of wealth from a difference of `x` scales; the bet on the other sign has its opposite.
    fn gain(self, x: f64) -> f64 {
        self.stake * (x / self.scales).clamp(-1.0, 1.0)
    }
}

/// What the bets on each sign have become.
type Wealths = [[f64; 2]; BETS.len()];

fn at_start() -> Wealths {
    BETS.map(|bet| [bet.weight; 2])
}

fn total(wealths: &Wealths) -> f64 {
    wealths.iter().flatten().sum()
}

/// Against "the subject is as fast as the control". Differences are subject minus control.
#[derive(Clone, Debug)]
pub struct DelayEvidence {
    first: Vec<f64>,
    scale_units: usize,
    scale: Option<f64>,
    wealths: Wealths,
    peak: f64,
    count: u64,
}

impl DelayEvidence {
    /// Units are pairs.
    pub fn of_pairs() -> DelayEvidence {
        DelayEvidence::new(SCALE_PAIRS)
    }

    /// Units are blocks of pairs.
    pub fn of_blocks() -> DelayEvidence {
        DelayEvidence::new(SCALE_BLOCKS)
    }

    fn new(scale_units: usize) -> DelayEvidence {
        DelayEvidence { first: Vec::new(), scale_units, scale: None, wealths: at_start(), peak: 1.0, count: 0 }
    }

    pub fn push(&mut self, difference_ns: f64) {
        if difference_ns.is_nan() {
            return;
        }
        self.count += 1;
        match self.scale {
            Some(scale) => self.bet(difference_ns / scale),
            None => {
                self.first.push(difference_ns);
                if self.first.len() == self.scale_units {
                    let scale = scale_of(&self.first);
                    self.scale = Some(scale);
                    for difference in std::mem::take(&mut self.first) {
                        self.bet(difference / scale);
                    }
                }
            }
        }
    }

    fn bet(&mut self, x: f64) {
        for (wealth, bet) in self.wealths.iter_mut().zip(BETS) {
            let gain = bet.gain(x);
            wealth[0] = (wealth[0] * (1.0 + gain)).clamp(WEALTH.0, WEALTH.1);
            wealth[1] = (wealth[1] * (1.0 - gain)).clamp(WEALTH.0, WEALTH.1);
        }
        self.peak = self.peak.max(self.e_value());
    }

    /// As it stands. Until the scale is known nothing is bet, and 0 stands for what the first units' bets may turn out to be: a mean
    /// of this and another e-process is then never more than the mean of two martingales.
    pub fn e_value(&self) -> f64 {
        if self.scale.is_some() { total(&self.wealths) } else { 0.0 }
    }

    /// Decimal logarithm of the largest it has been.
    pub fn peak_log10_e(&self) -> f64 {
        self.peak.log10()
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

/// Twice the median absolute difference: what is beyond counts as no more than that.
pub(super) fn scale_of(differences: &[f64]) -> f64 {
    let mut sizes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    (2.0 * sizes.get(sizes.len() / 2).copied().unwrap_or(0.0)).max(LEAST_SCALE_NS)
}

/// Against "subject and control are lost alike". Only units in which exactly one was lost say anything; of m of them with x
/// losses of the subject the e-value is 2^m B(x+1/2, m-x+1/2) / B(1/2, 1/2), the mixture over all probabilities by Jeffreys' prior.
#[derive(Clone, Copy, Debug)]
pub struct LossEvidence {
    e: f64,
    peak: f64,
    subject: u64,
    control: u64,
    count: u64,
}

impl Default for LossEvidence {
    fn default() -> LossEvidence {
        LossEvidence { e: 1.0, peak: 1.0, subject: 0, control: 0, count: 0 }
    }
}

impl LossEvidence {
    pub fn push(&mut self, subject_lost: bool, control_lost: bool) {
        self.count += 1;
        if subject_lost == control_lost {
            return;
        }
        let own = if subject_lost { &mut self.subject } else { &mut self.control };
        let chance = *own as f64 + 0.5;
        *own += 1;
        // The ratio of successive e-values: twice the probability that the mixture gave to what happened.
        self.e = (self.e * 2.0 * chance / (self.subject + self.control) as f64).clamp(WEALTH.0, WEALTH.1);
        self.peak = self.peak.max(self.e);
    }

    pub fn e_value(&self) -> f64 {
        self.e
    }

    /// Decimal logarithm of the largest it has been.
    pub fn peak_log10_e(&self) -> f64 {
        self.peak.log10()
    }

    /// Units in which only the subject was lost, and only the control.
    pub fn discordant(&self) -> (u64, u64) {
        (self.subject, self.control)
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The mean of the delay's and the loss's e-value, which is an e-value whatever they have to do with each other: both bet on coins
/// that are fair given everything else, so both are martingales in one and the same history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Combined {
    peak: f64,
}

impl Combined {
    /// Both as they stand after the same unit.
    pub fn push(&mut self, delay: &DelayEvidence, loss: &LossEvidence) {
        self.peak = self.peak.max((delay.e_value() + loss.e_value()) / 2.0);
    }

    /// Minus infinity before the first unit.
    pub fn peak_log10_e(&self) -> f64 {
        self.peak.log10()
    }
}

/// An e-detector for endless monitoring: the sum of e-processes begun at every unit, in Shiryaev's and Roberts' recursion
/// M <- (M + 1) L (Shin, Ramdas and Rinaldo, "E-detectors", 2024). Without a change the mean time to `M >= c` is at least c units.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    first: Vec<f64>,
    scale: Option<f64>,
    delay: Wealths,
    loss: Wealths,
}

impl Detector {
    /// `difference_ns`: where both arrived.
    pub fn push(&mut self, difference_ns: Option<f64>, subject_lost: bool, control_lost: bool) {
        if let Some(difference) = difference_ns.filter(|difference| !difference.is_nan()) {
            match self.scale {
                Some(scale) => step(&mut self.delay, |bet| bet.gain(difference / scale)),
                None => {
                    self.first.push(difference);
                    if self.first.len() == SCALE_PAIRS {
                        self.scale = Some(scale_of(&std::mem::take(&mut self.first)));
                    }
                }
            }
        }
        if subject_lost != control_lost {
            let sign = if subject_lost { 1.0 } else { -1.0 };
            step(&mut self.loss, |bet| sign * bet.stake);
        }
    }

    /// Decimal logarithm of the detector.
    pub fn log10(&self) -> f64 {
        ((total(&self.delay) + total(&self.loss)) / 2.0).max(f64::MIN_POSITIVE).log10()
    }

    /// A change was taken note of: watch for the next.
    pub fn reset(&mut self) {
        self.delay = Wealths::default();
        self.loss = Wealths::default();
    }
}

fn step(sums: &mut Wealths, gain: impl Fn(Bet) -> f64) {
    for (sum, bet) in sums.iter_mut().zip(BETS) {
        let gain = gain(bet);
        sum[0] = ((sum[0] + bet.weight) * (1.0 + gain)).min(WEALTH.1);
        sum[1] = ((sum[1] + bet.weight) * (1.0 - gain)).min(WEALTH.1);
    }
}

/// The threshold (its decimal logarithm) at which `hypotheses` detectors with so many units a year each raise at most
/// `false_changes_per_year` alarms a year in all, in expectation, where nothing changes.
pub fn detector_threshold_log10(false_changes_per_year: f64, hypotheses: u32, units_per_year: f64) -> f64 {
    (f64::from(hypotheses.max(1)) * units_per_year.max(1.0) / false_changes_per_year.max(1e-9)).log10()
}
