//! E-processes for exactly zero difference between two classes.
//!
//! Each unit (a pair, or a block of pairs) has its labels by the toss of a fair coin. If the network ignores the labels, then
//! given everything it did (the sizes of all differences, whatever their order and correlation) the signs are independent
//! fair coins. Wealth that bets on them at fair odds is a martingale, and exceeds K/alpha with a probability of at most alpha/K
//! at any time (Ville 1939; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024).

/// Units whose sizes set the scale. Signs are fair given the sizes, so these units are bet on as well, afterwards.
const SCALE_UNITS: usize = 30;
/// Of a difference where all are (nearly) zero: what a kernel's stamps resolve.
const LEAST_SCALE_NS: f64 = 2_000.0;
/// A constant bet on one sign of the difference.
#[derive(Clone, Copy, Debug)]
struct Bet {
    /// Per unit, of the wealth.
    stake: f64,
    /// So many scales count as one unit.
    scales: f64,
    /// Of the wealth at the start.
    weight: f64,
}

/// For each sign alike. A mixture needs no estimate of the effect and costs at most the logarithm of the best bet's weight: most has
/// the one that finds a shift of half a standard deviation, as fast as anything can; the widest are for a few packets
/// that are very late.
const BETS: [Bet; 6] = [
    Bet { stake: 0.85, scales: 1.8, weight: 0.24 },
    Bet { stake: 0.45, scales: 2.0, weight: 0.11 },
    Bet { stake: 0.15, scales: 2.0, weight: 0.04 },
    Bet { stake: 0.85, scales: 1.0, weight: 0.04 },
    Bet { stake: 0.8, scales: 8.0, weight: 0.04 },
    Bet { stake: 0.3, scales: 8.0, weight: 0.03 },
];
const SIDES: usize = 2 * BETS.len();

/// Stake with its sign, scales and weight of every bet.
fn bets() -> impl Iterator<Item = Bet> {
    BETS.into_iter().flat_map(|bet| [bet, Bet { stake: -bet.stake, ..bet }])
}

impl Bet {
    /// What is left of one after a difference of `x` scales.
    fn factor(self, x: f64) -> f64 {
        1.0 + self.stake * (x / self.scales).clamp(-1.0, 1.0)
    }
}

/// Wealth of one stake, as a mantissa and a logarithm, so that a product of millions neither overflows nor costs a logarithm each.
#[derive(Clone, Copy, Debug)]
struct Wealth {
    mantissa: f64,
    ln: f64,
}

impl Wealth {
    const ONE: Wealth = Wealth { mantissa: 1.0, ln: 0.0 };

    fn times(&mut self, factor: f64) {
        self.mantissa *= factor;
        if !(1e-100..1e100).contains(&self.mantissa) {
            self.ln += self.mantissa.max(f64::MIN_POSITIVE).ln();
            self.mantissa = 1.0;
        }
    }

    fn ln(self) -> f64 {
        self.ln + self.mantissa.ln()
    }
}

/// ln of the sum of numbers given by their logarithms.
fn ln_sum<const N: usize>(logarithms: [f64; N]) -> f64 {
    let largest = logarithms.into_iter().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return largest;
    }
    largest + logarithms.into_iter().map(|ln| (ln - largest).exp()).sum::<f64>().ln()
}

/// Against "the subject is as fast as the control". Differences are subject minus control.
#[derive(Clone, Debug)]
pub struct DelayEvidence {
    first: Vec<f64>,
    scale: Option<f64>,
    wealth: [Wealth; SIDES],
    count: u64,
    peak: f64,
}

impl Default for DelayEvidence {
    fn default() -> DelayEvidence {
        DelayEvidence::new()
    }
}

impl DelayEvidence {
    pub fn new() -> DelayEvidence {
        DelayEvidence { first: Vec::new(), scale: None, wealth: [Wealth::ONE; SIDES], count: 0, peak: 0.0 }
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
                if self.first.len() == SCALE_UNITS {
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
        for (wealth, bet) in self.wealth.iter_mut().zip(bets()) {
            wealth.times(bet.factor(x));
        }
        self.peak = self.peak.max(self.log10_e());
    }

    /// Decimal logarithm of the e-value as it stands.
    pub fn log10_e(&self) -> f64 {
        let mut logarithms = [f64::NEG_INFINITY; SIDES];
        for ((ln, wealth), bet) in logarithms.iter_mut().zip(&self.wealth).zip(bets()) {
            *ln = wealth.ln() + bet.weight.ln();
        }
        ln_sum(logarithms) / std::f64::consts::LN_10
    }

    /// The largest it has been.
    pub fn peak_log10_e(&self) -> f64 {
        self.peak
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
#[derive(Clone, Copy, Debug, Default)]
pub struct LossEvidence {
    ln: f64,
    peak_ln: f64,
    subject: u64,
    control: u64,
    count: u64,
}

impl LossEvidence {
    pub fn new() -> LossEvidence {
        LossEvidence::default()
    }

    pub fn push(&mut self, subject_lost: bool, control_lost: bool) {
        self.count += 1;
        if subject_lost == control_lost {
            return;
        }
        let own = if subject_lost { &mut self.subject } else { &mut self.control };
        let chance = *own as f64 + 0.5;
        *own += 1;
        // The ratio of successive e-values: twice the probability that the mixture gave to what happened.
        self.ln += (2.0 * chance / (self.subject + self.control) as f64).ln();
        self.peak_ln = self.peak_ln.max(self.ln);
    }

    pub fn log10_e(&self) -> f64 {
        self.ln / std::f64::consts::LN_10
    }

    pub fn peak_log10_e(&self) -> f64 {
        self.peak_ln / std::f64::consts::LN_10
    }

    /// Units in which only the subject was lost, and only the control.
    pub fn discordant(&self) -> (u64, u64) {
        (self.subject, self.control)
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The mean of the delay's and the loss's e-value, which is an e-value whatever they have to do with each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Combined {
    peak: f64,
}

impl Combined {
    /// Both as they stand after the same unit.
    pub fn push(&mut self, delay_log10: f64, loss_log10: f64) {
        let halves = [delay_log10, loss_log10].map(|log10| (log10 - 2f64.log10()) * std::f64::consts::LN_10);
        self.peak = self.peak.max(ln_sum(halves) / std::f64::consts::LN_10);
    }

    pub fn peak_log10_e(&self) -> f64 {
        self.peak
    }
}

/// An e-detector for endless monitoring: the sum of e-processes begun at every unit, in Shiryaev's and Roberts' recursion
/// M <- (M + 1) L (Shin, Ramdas and Rinaldo, "E-detectors", 2024). Without a change the mean time to `M >= c` is at least c units.
#[derive(Clone, Debug)]
pub struct Detector {
    first: Vec<f64>,
    scale: Option<f64>,
    delay: [f64; SIDES],
    loss: [f64; SIDES],
}

impl Default for Detector {
    fn default() -> Detector {
        Detector { first: Vec::new(), scale: None, delay: [0.0; SIDES], loss: [0.0; SIDES] }
    }
}

impl Detector {
    /// `difference_ns`: where both arrived.
    pub fn push(&mut self, difference_ns: Option<f64>, subject_lost: bool, control_lost: bool) {
        if let Some(difference) = difference_ns.filter(|difference| !difference.is_nan()) {
            let scale = self.scale.or_else(|| {
                self.first.push(difference);
                (self.first.len() == SCALE_UNITS).then(|| scale_of(&std::mem::take(&mut self.first)))
            });
            self.scale = scale;
            if let Some(scale) = scale {
                step(&mut self.delay, difference / scale);
            }
        }
        if subject_lost != control_lost {
            // A whole scale of every bet.
            step(&mut self.loss, if subject_lost { 8.0 } else { -8.0 });
        }
    }

    /// Decimal logarithm of the detector.
    pub fn log10(&self) -> f64 {
        let weighted = |sums: &[f64; SIDES]| sums.iter().zip(bets()).map(|(sum, bet)| sum * bet.weight).sum::<f64>();
        ((weighted(&self.delay) + weighted(&self.loss)) / 2.0).max(f64::MIN_POSITIVE).log10()
    }

    /// A change was taken note of: watch for the next.
    pub fn reset(&mut self) {
        self.delay = [0.0; SIDES];
        self.loss = [0.0; SIDES];
    }
}

fn step(sums: &mut [f64; SIDES], x: f64) {
    for (sum, bet) in sums.iter_mut().zip(bets()) {
        *sum = ((*sum + 1.0) * bet.factor(x)).min(1e300);
    }
}

/// The threshold (its decimal logarithm) at which `hypotheses` detectors with so many units a year each raise at most
/// `false_changes_per_year` alarms a year in all, in expectation, where nothing changes.
pub fn detector_threshold_log10(false_changes_per_year: f64, hypotheses: u32, units_per_year: f64) -> f64 {
    (f64::from(hypotheses.max(1)) * units_per_year.max(1.0) / false_changes_per_year.max(1e-9)).log10()
}
