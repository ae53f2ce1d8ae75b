//! Watching for ever: verdicts that stay until the path changes. An alpha of every run would allow hundreds of false verdicts a year;
//! here each hypothesis has an e-detector, whose threshold bounds the expected number of false alarms a year.
//!
//! `none` stands until the detector alarms; then evidence is gathered anew, from what comes after the alarm, and only a finding of
//! that is named. A finding stands until the evidence since says `none`, or another finding.

use model::report::Verdict;
use model::shaping::{PairDesign, Purpose, Standard};

use super::Observed;
use super::evidence::{Detector, detector_threshold_log10};
use super::judge::{Judged, PairJudge};

/// Evidence older than so many pairs says little of the path as it is: it begins again.
const EPOCH_PAIRS: u64 = 20_000;
/// Verdicts are looked at after so many units.
const LOOK_EVERY: u32 = 16;
const YEAR_S: f64 = 365.25 * 86_400.0;

#[derive(Clone, Debug)]
struct Watched {
    detector: Detector,
    /// Since the alarm the judge has only seen what came after it.
    alarmed: bool,
    in_force: Verdict,
    units: u32,
}

/// The watch of one direction of a [`PairDesign`].
#[derive(Clone, Debug)]
pub struct Monitor {
    judge: PairJudge,
    watched: Vec<Watched>,
    purposes: Vec<Purpose>,
    threshold_log10: f64,
    units_per_year: f64,
    false_changes_per_year: f64,
}

impl Monitor {
    /// `standard.hypotheses`: of the whole deployment, as far as is known; [`Monitor::share`] corrects it.
    pub fn new(design: &PairDesign, standard: &Standard, seed: u64) -> Monitor {
        // Counted by pairs, of which blocks have several: the threshold errs on the high side.
        let units_per_year = design.rounds_per_second * YEAR_S;
        let false_changes_per_year = standard.false_changes_per_year.unwrap_or(0.1);
        let watched =
            Watched { detector: Detector::default(), alarmed: false, in_force: Verdict::Inconclusive, units: 0 };
        let mut monitor = Monitor {
            judge: PairJudge::new(design, standard, seed),
            watched: vec![watched; design.hypotheses.len()],
            purposes: design.hypotheses.iter().map(|hypothesis| hypothesis.purpose).collect(),
            threshold_log10: f64::INFINITY,
            units_per_year,
            false_changes_per_year,
        };
        monitor.share(standard.hypotheses);
        monitor
    }

    /// So many hypotheses share the deployment's rate of false changes.
    pub fn share(&mut self, hypotheses: u32) {
        self.threshold_log10 =
            detector_threshold_log10(self.false_changes_per_year, hypotheses.max(1), self.units_per_year);
    }

    /// What an earlier start of the server or the worker had named.
    pub fn restore(&mut self, hypothesis: u16, verdict: Verdict) {
        if let Some(watched) = self.watched.get_mut(usize::from(hypothesis)) {
            watched.in_force = verdict;
        }
    }

    /// Takes probes in order of sequence. True if a verdict changed.
    pub fn push(&mut self, observed: &Observed) -> bool {
        let Some(unit) = self.judge.push(observed) else { return false };
        let index = usize::from(unit.hypothesis);
        if self.purposes.get(index) != Some(&Purpose::Difference) {
            return false;
        }
        let Some(watched) = self.watched.get_mut(index) else { return false };
        let is_finding = watched.in_force.is_finding();
        if !watched.alarmed && !is_finding {
            watched.detector.push(unit.difference_ns, unit.lost[0], unit.lost[1]);
            if watched.detector.log10() >= self.threshold_log10 {
                watched.alarmed = true;
                watched.detector.reset();
                self.judge.restart(unit.hypothesis);
                return false;
            }
        }
        watched.units += 1;
        if !watched.units.is_multiple_of(LOOK_EVERY) {
            return false;
        }
        let verdict = self.judge.verdict(unit.hypothesis);
        let named = match verdict {
            Verdict::None => watched.in_force != Verdict::None,
            // What is in force may be refined without another alarm: delayed and then lossy as well is one story.
            finding if finding.is_finding() => (watched.alarmed || is_finding) && watched.in_force != finding,
            _ => false,
        };
        if named {
            watched.in_force = verdict;
            watched.alarmed = false;
        } else if self.judge.pairs(unit.hypothesis) >= EPOCH_PAIRS && (watched.alarmed || is_finding) {
            watched.alarmed = false;
            self.judge.restart(unit.hypothesis);
        }
        named
    }

    /// The verdicts in force, with the evidence gathered at present.
    pub fn findings(&self) -> Vec<Judged> {
        let mut judged = self.judge.findings();
        for (one, watched) in judged.iter_mut().zip(&self.watched) {
            if one.purpose != Purpose::Difference {
                continue;
            }
            one.finding.error_rate.kind = model::report::ErrorRateKind::PerYear;
            one.finding.error_rate.value = self.false_changes_per_year;
            if one.finding.verdict == watched.in_force {
                continue;
            }
            if one.finding.verdict.is_finding() && !watched.in_force.is_finding() {
                one.finding.note = format!("a difference is suspected and not confirmed yet; {}", one.finding.note);
            }
            one.finding.verdict = watched.in_force;
            one.finding.trigger = super::judge::trigger_of(&one.finding);
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;
    use crate::shaping::plan::PairPlan;
    use model::shaping::{Arm, Hypothesis, Payload, Ports};
    use model::{Dscp, Ecn, Tos};

    fn design() -> PairDesign {
        let arm = |dscp| Arm { dscp: Dscp::new(dscp).unwrap(), port: 8620, payload: Payload::Random };
        let ports = Ports::OneFlow;
        let hypotheses = vec![Hypothesis { subject: arm(46), control: arm(0), ports, purpose: Purpose::Difference }];
        PairDesign { hypotheses, rounds_per_second: 1.0, gap_us: 1_500, block_rounds: 1, size: 192 }
    }

    fn uniform(random: &mut SplitMix64) -> f64 {
        (random.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Feeds pairs `from..to`; `late_ns` and `loss` are the subject's. Returns the pairs after which a verdict changed.
    fn feed(
        monitor: &mut Monitor,
        random: &mut SplitMix64,
        pairs: std::ops::Range<u32>,
        late_ns: f64,
        loss: f64,
    ) -> Vec<u32> {
        let mut plan = PairPlan::new(design(), 5);
        let mut changes = Vec::new();
        for sequence in pairs.start * 2..pairs.end * 2 {
            let turn = plan.turn(sequence).unwrap();
            let noise = (uniform(random) + uniform(random) + uniform(random)) * 1e6;
            let (late, loss) = if turn.is_subject { (late_ns, loss) } else { (0.0, 0.0) };
            let sent_ns = turn.at_ns as i64;
            let tos = Tos::new(turn.arm.dscp, Ecn::NotEct);
            let observed = Observed {
                sequence,
                sent_ns,
                received_ns: (uniform(random) >= loss).then_some(sent_ns + 10_000_000 + (noise + late) as i64),
                tos_sent: tos,
                tos_received: Some(tos),
                size: 220,
            };
            if monitor.push(&observed) {
                changes.push(turn.pair);
            }
        }
        changes
    }

    #[test]
    fn a_verdict_comes_with_a_change_stays_and_clears_by_none_only() {
        let standard = Standard { false_changes_per_year: Some(0.1), hypotheses: 400, ..Standard::default() };
        let mut monitor = Monitor::new(&design(), &standard, 5);
        let mut random = SplitMix64::new(11);
        let verdict = |monitor: &Monitor| monitor.findings()[0].finding.verdict;
        let changes = feed(&mut monitor, &mut random, 0..8_000, 0.0, 0.0);
        assert_eq!((changes.len(), verdict(&monitor)), (1, Verdict::None));
        // Two milliseconds more from pair 8,000 on.
        let changes = feed(&mut monitor, &mut random, 8_000..9_000, 2e6, 0.0);
        assert_eq!((changes.len(), verdict(&monitor)), (1, Verdict::Delayed), "{changes:?}");
        // It stays for as long as the path does, whatever epochs end in between.
        let changes = feed(&mut monitor, &mut random, 9_000..60_000, 2e6, 0.0);
        assert_eq!((changes.len(), verdict(&monitor)), (0, Verdict::Delayed), "{changes:?}");
        let changes = feed(&mut monitor, &mut random, 60_000..110_000, 0.0, 0.0);
        assert_eq!((changes.len(), verdict(&monitor)), (1, Verdict::None), "{changes:?}");
        let changes = feed(&mut monitor, &mut random, 110_000..113_000, 0.0, 0.2);
        assert_eq!((changes.len(), verdict(&monitor)), (1, Verdict::Lossy), "{changes:?}");
    }

    #[test]
    fn a_restored_verdict_is_in_force_until_it_is_cleared() {
        let standard = Standard { false_changes_per_year: Some(0.1), ..Standard::default() };
        let mut monitor = Monitor::new(&design(), &standard, 5);
        monitor.restore(0, Verdict::Lossy);
        assert_eq!(monitor.findings()[0].finding.verdict, Verdict::Lossy);
        let changes = feed(&mut monitor, &mut SplitMix64::new(3), 0..8_000, 0.0, 0.0);
        assert_eq!((changes.len(), monitor.findings()[0].finding.verdict), (1, Verdict::None));
    }
}
