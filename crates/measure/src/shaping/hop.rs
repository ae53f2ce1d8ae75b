//! Between which hops a class begins to be hit: pairs of probes whose TTL runs out at a hop, one of the class and one of best effort,
//! in the order of a coin. Before the place both are answered alike; behind it the class' answers thin out, come later, or
//! quote another mark.
//!
//! A router's own limit of ICMP errors takes from both what the coin gives it, so it is no evidence. What is tested are the places
//! themselves: "the class is hit between hop k and k+1" claims that hops up to k answer both alike (a fair coin), and that
//! hops beyond k hit the class with at least a known chance. The product of all hops' e-values against these claims is an
//! e-process against the place, so the places not refuted hold the true one with an error of at most alpha at any time, and a hop
//! that never answers just leaves the places before and behind it standing.

use super::evidence::LossEvidence;

/// How a packet that was hit shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Symptom {
    /// It is not answered: what lies behind a policer or a loss.
    Silence,
    /// Its answer comes later than the control's, by more than this.
    Lateness {
        beyond_ns: f64,
        /// A full queue also drops. Otherwise a probe without an answer says nothing.
        or_silence: bool,
    },
    /// The router quotes the mark that excess traffic gets.
    Remark,
}

/// What the class is known to suffer on the whole path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    pub symptom: Symptom,
    /// Behind the place a packet of the class is hit with at least this chance: 0 to 1, both excluded.
    pub least_share: f64,
}

/// How a router answered one probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    pub round_trip_ns: i64,
    /// It quoted the mark of excess traffic.
    pub remarked: bool,
}

/// Chances of a hit that stand against "at least `least_share`", as parts of it.
const LESS: [f64; 5] = [0.02, 0.1, 0.3, 0.6, 0.9];
/// Wealth is kept above this, as the logarithm of what `evidence` keeps.
const LEAST_LN: f64 = -690.0;

/// Against "a packet of the class is hit with at least this chance": a mixture over smaller chances.
#[derive(Clone, Debug)]
struct Spared {
    least_share: f64,
    ln: [f64; LESS.len()],
}

impl Spared {
    fn push(&mut self, hit: bool) {
        for (ln, less) in self.ln.iter_mut().zip(LESS) {
            let chance = self.least_share * less;
            let gain = if hit { less } else { (1.0 - chance) / (1.0 - self.least_share) };
            *ln = (*ln + gain.ln()).max(LEAST_LN);
        }
    }

    fn log10_e(&self) -> f64 {
        let logs = self.ln.map(|ln| ln / std::f64::consts::LN_10);
        log10_sum(&logs) - (LESS.len() as f64).log10()
    }
}

/// Of numbers given by their decimal logarithms.
fn log10_sum(log10: &[f64]) -> f64 {
    let largest = log10.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + log10.iter().map(|each| 10f64.powf(each - largest)).sum::<f64>().log10()
}

/// What one hop has shown.
#[derive(Clone, Debug)]
struct HopEvidence {
    /// Against "both are answered alike".
    alike: LossEvidence,
    spared: Spared,
    counts: Counts,
}

/// Pairs of one hop and their answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub pairs: u32,
    /// Of best effort.
    pub control: u32,
    /// Of the class.
    pub subject: u32,
    /// Pairs in which the class was hit while best effort was answered.
    pub hit: u32,
}

/// Why no place is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// Nothing that answers lies behind the place, or the class was not hit meanwhile.
    NotSeen,
    /// No single place explains the answers.
    Contradictory,
    /// Only this hop's own answers show it, so it may be how that router answers rather than how it passes packets on.
    Single(usize),
    /// These hops (by index) answered, but too little to tell on which side of the place they are.
    Undecided(Vec<usize>),
}

/// The search along one path. Hops are given by index, from near to far; only those that may answer belong in it.
#[derive(Clone, Debug)]
pub struct Search {
    symptom: Symptom,
    hops: Vec<HopEvidence>,
    /// Largest log10 of the e-process against each place: 0 before the first hop, `hops` behind the last.
    peaks: Vec<f64>,
    /// The same against "this hop answers the class otherwise, and passes it on as the rest".
    single: Vec<f64>,
    threshold: f64,
}

impl Search {
    /// `alpha`: the chance of refuting the true place.
    pub fn new(hops: usize, effect: Effect, alpha: f64) -> Search {
        let least_share = effect.least_share.clamp(1e-3, 0.98);
        let evidence = HopEvidence {
            alike: LossEvidence::default(),
            spared: Spared { least_share, ln: [0.0; LESS.len()] },
            counts: Counts::default(),
        };
        Search {
            symptom: effect.symptom,
            hops: vec![evidence; hops],
            peaks: vec![0.0; hops + 1],
            single: vec![0.0; hops],
            threshold: -alpha.clamp(1e-12, 0.5).log10(),
        }
    }

    /// A pair to the hop with this index, once neither answer can come any more.
    pub fn push(&mut self, index: usize, subject: Option<Answer>, control: Option<Answer>) {
        let Some(hop) = self.hops.get_mut(index) else { return };
        hop.counts.pairs += 1;
        hop.counts.control += u32::from(control.is_some());
        hop.counts.subject += u32::from(subject.is_some());
        // Of the subject and of the control; `None`: this pair says nothing about it.
        let (worse, hit): (Option<(bool, bool)>, Option<bool>) = match (self.symptom, subject, control) {
            (_, None, None) => (None, None),
            (Symptom::Silence | Symptom::Lateness { or_silence: true, .. }, None, Some(_)) => {
                (Some((true, false)), Some(true))
            }
            (Symptom::Silence | Symptom::Lateness { or_silence: true, .. }, Some(_), None) => {
                (Some((false, true)), None)
            }
            (_, None, _) | (_, _, None) => (None, None),
            (Symptom::Silence, Some(_), Some(_)) => (None, Some(false)),
            (Symptom::Lateness { beyond_ns, or_silence }, Some(subject), Some(control)) => {
                let later = (subject.round_trip_ns - control.round_trip_ns) as f64;
                // A constant shift below the spread shows in the sign only.
                let least = if or_silence { beyond_ns } else { 0.0 };
                (Some((later > least, later < -least)), Some(later > beyond_ns))
            }
            (Symptom::Remark, Some(subject), Some(control)) => {
                (Some((subject.remarked, control.remarked)), Some(subject.remarked))
            }
        };
        if let Some((subject_worse, control_worse)) = worse {
            hop.alike.push(subject_worse, control_worse);
        }
        if let Some(hit) = hit {
            hop.counts.hit += u32::from(hit);
            hop.spared.push(hit);
        }
        self.weigh();
    }

    /// Against each place bets every other one, on the hops between the two, about which they differ; the mean of these bets is an
    /// e-process again.
    fn weigh(&mut self) {
        let sums = |log10_e: fn(&HopEvidence) -> f64| {
            let mut sum = 0.0;
            let running = self.hops.iter().map(move |hop| {
                sum += log10_e(hop);
                sum
            });
            std::iter::once(0.0).chain(running).collect::<Vec<f64>>()
        };
        let alike = sums(|hop| hop.alike.e_value().log10());
        let spared = sums(|hop| hop.spared.log10_e());
        let others = (self.hops.len() as f64).log10();
        for (place, peak) in self.peaks.iter_mut().enumerate() {
            let bet = |other: usize| if other < place { (&alike, other, place) } else { (&spared, place, other) };
            let bets = (0..alike.len()).filter(|other| *other != place).map(bet);
            let bets = bets.map(|(sums, from, to)| sums[to] - sums[from]);
            *peak = peak.max(log10_sum(&bets.collect::<Vec<f64>>()) - others);
        }
        for (hop, peak) in self.single.iter_mut().enumerate() {
            let bets: Vec<f64> = (hop + 2..alike.len()).map(|to| alike[to] - alike[hop + 1]).collect();
            if !bets.is_empty() {
                *peak = peak.max(log10_sum(&bets) - (bets.len() as f64).log10());
            }
        }
    }

    /// The last hop is the whole path's end: there it is known to be hit.
    fn may_be_single(&self, hop: usize) -> bool {
        hop + 1 < self.hops.len() && self.single.get(hop).is_some_and(|peak| *peak < self.threshold)
    }

    fn possible(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.peaks.iter().enumerate().filter(|(_, peak)| **peak < self.threshold).map(|(place, _)| place)
    }

    /// The first and the last place that is possible.
    fn between(&self) -> Option<(usize, usize)> {
        let mut possible = self.possible();
        let first = possible.next()?;
        Some((first, possible.next_back().unwrap_or(first)))
    }

    /// Hops whose answers can still tell something, by index: those between the first and the last place that is possible, and those
    /// behind a hop of which it is not known that it does not speak for itself alone.
    pub fn open(&self) -> Vec<usize> {
        let Some((first, last)) = self.between() else { return Vec::new() };
        let behind = if self.may_be_single(last) { last + 1..self.hops.len() } else { 0..0 };
        (first..last).chain(behind).collect()
    }

    pub fn counts(&self, index: usize) -> Counts {
        self.hops.get(index).map_or(Counts::default(), |hop| hop.counts)
    }

    /// The hops between which the class begins to be hit, as how many hops lie before: `(k, m)` is behind hop k-1 and by hop m,
    /// by index; more than one apart only where those between never answered best effort.
    pub fn place(&self) -> Result<(usize, usize), Unplaced> {
        let (first, last) = self.between().ok_or(Unplaced::Contradictory)?;
        let undecided: Vec<usize> = (first..last).filter(|index| self.counts(*index).control > 0).collect();
        if !undecided.is_empty() {
            return Err(Unplaced::Undecided(undecided));
        }
        if last >= self.hops.len() {
            return Err(Unplaced::NotSeen);
        }
        if self.may_be_single(last) { Err(Unplaced::Single(last)) } else { Ok((first, last)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    const SILENT: Effect = Effect { symptom: Symptom::Silence, least_share: 0.5 };

    fn answer(random: &mut SplitMix64, chance: f64) -> Option<Answer> {
        let at = random.next() as f64 / u64::MAX as f64;
        (at < chance).then_some(Answer { round_trip_ns: 0, remarked: false })
    }

    /// Pairs to each open hop with these chances of an answer, until it is placed or 200 rounds are over.
    fn run(seed: u64, control: &[f64], subject: &[f64]) -> (Result<(usize, usize), Unplaced>, u32) {
        let mut random = SplitMix64::new(seed);
        let mut search = Search::new(control.len(), SILENT, 0.001);
        for round in 0..200 {
            for index in search.open() {
                let pair = [subject, control].map(|chances| answer(&mut random, chances[index]));
                search.push(index, pair[0], pair[1]);
            }
            if let Ok(place) = search.place() {
                return (Ok(place), round + 1);
            }
        }
        (search.place(), 200)
    }

    #[test]
    fn the_place_is_found_and_hardly_ever_a_wrong_one() {
        let (mut right, mut wrong, mut rounds) = (0, 0, Vec::new());
        for seed in 0..1_000 {
            let (place, used) = run(seed, &[1.0, 0.9, 0.5, 1.0], &[1.0, 0.9, 0.15, 0.3]);
            match place {
                Ok((2, 2)) => right += 1,
                Ok(_) => wrong += 1,
                Err(_) => {}
            }
            rounds.push(used);
        }
        rounds.sort_unstable();
        println!("right {right}, wrong {wrong} of 1000, rounds {} / {}", rounds[500], rounds[990]);
        assert!(right >= 990 && wrong <= 2, "{right} right, {wrong} wrong");
    }

    /// An ICMP limit that lets one answer of ten pass, and hops that never answer, are no evidence of anything.
    #[test]
    fn hops_that_answer_alike_are_never_named() {
        let mut named = 0;
        for seed in 0..1_000 {
            let chances = [1.0, 0.1, 0.0, 0.4];
            named += u32::from(run(seed, &chances, &chances).0.is_ok());
        }
        println!("{named} of 1000 named");
        assert!(named <= 2, "{named}");
    }

    #[test]
    fn a_silent_hop_widens_the_place_and_a_rare_one_leaves_it_open() {
        assert_eq!(run(1, &[1.0, 0.0, 1.0], &[1.0, 0.0, 0.2]).0, Ok((1, 2)));
        assert_eq!(run(1, &[1.0, 0.1, 1.0], &[1.0, 0.1, 0.2]).0, Err(Unplaced::Undecided(vec![1])));
        assert_eq!(run(1, &[1.0, 1.0, 0.0], &[1.0, 1.0, 0.0]).0, Err(Unplaced::NotSeen));
        // A router that answers the class seldom and passes it on.
        assert_eq!(run(1, &[1.0, 1.0, 1.0], &[1.0, 0.2, 1.0]).0, Err(Unplaced::Contradictory));
        assert_eq!(run(1, &[1.0, 1.0, 0.0], &[1.0, 0.2, 0.0]).0, Err(Unplaced::Single(1)));
    }

    /// Later answers behind a queue; a shift of a third of the spread; marks of excess traffic.
    #[test]
    fn lateness_and_remarking_are_symptoms_too() {
        let mut random = SplitMix64::new(5);
        let mut spread = || (0..4).map(|_| random.next() as f64 / u64::MAX as f64).sum::<f64>() * 6e6;
        let late = Effect { symptom: Symptom::Lateness { beyond_ns: 0.6e6, or_silence: false }, least_share: 0.5 };
        let remarked = Effect { symptom: Symptom::Remark, least_share: 0.5 };
        for (effect, shift) in [(late, 1.0e6), (remarked, 0.0)] {
            let mut search = Search::new(3, effect, 0.001);
            for _ in 0..4_000 {
                for index in search.open() {
                    let behind = index >= 1;
                    let one = |shift: f64, remarked| Some(Answer { round_trip_ns: shift as i64, remarked });
                    let subject = one(spread() + if behind { shift } else { 0.0 }, behind && effect == remarked);
                    let control = one(spread(), false);
                    search.push(index, subject, control);
                }
            }
            assert_eq!(search.place(), Ok((1, 1)), "{effect:?}");
        }
    }
}
