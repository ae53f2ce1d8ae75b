//! The part of a report that compares classes: gathers each experiment's probes and has them judged.

use std::collections::BTreeMap;

use model::control::SessionInfo;
use model::report::{Differentiation, RateLimit, UnderLoad, Verdict};
use model::shaping::{Arm, Design, Experiment, Standard};
use model::{Direction, Family, Sample, SampleFlags, SessionId};

use crate::shaping::combine::{Verdicts, combine};
use crate::shaping::judge::{PairJudge, judge_trains};
use crate::shaping::plan::PairPlan;
use crate::shaping::{Observed, contest};

/// From this share of rewritten packets of an arm on, what differs may be the host's own doing.
const LOCAL_SHARE: f64 = 0.1;

/// The probes of all experiments of one worker.
#[derive(Debug, Default)]
pub(super) struct Experiments(BTreeMap<(SessionId, Direction), Gathered>);

#[derive(Debug)]
struct Gathered {
    family: Family,
    probes: Vec<(Observed, bool)>,
}

impl Experiments {
    pub(super) fn add(&mut self, sample: &Sample) {
        let key = (sample.session, sample.direction);
        let gathered = self.0.entry(key).or_insert_with(|| Gathered { family: sample.family, probes: Vec::new() });
        gathered.probes.push((Observed::from(sample), sample.flags.has(SampleFlags::LOCAL_REWRITE)));
    }

    /// By direction and address family.
    pub(super) fn judge(
        mut self,
        info: &dyn Fn(SessionId) -> Option<SessionInfo>,
    ) -> BTreeMap<(Direction, Family), (Vec<Differentiation>, Option<RateLimit>)> {
        let mut runs: BTreeMap<(Direction, Family), Run> = BTreeMap::new();
        for ((session, direction), gathered) in &mut self.0 {
            let Some((info, experiment)) = info(*session).and_then(|info| Some((info.clone(), info.experiment?)))
            else {
                continue;
            };
            gathered.probes.sort_unstable_by_key(|(observed, _)| observed.sequence);
            runs.entry((*direction, gathered.family)).or_default().judge(&info, &experiment, &gathered.probes);
        }
        let finish = |run: Run| {
            let Verdicts { mut differentiation, rate_limit } = combine(&run.judged, &run.limits, &run.standard);
            for (subject, control, seen) in &run.contests {
                contest::apply(&mut differentiation, *subject, *control, seen);
            }
            (differentiation, rate_limit)
        };
        runs.into_iter().map(|(key, run)| (key, finish(run))).collect()
    }
}

#[derive(Default)]
struct Run {
    judged: Vec<crate::shaping::judge::Judged>,
    limits: Vec<crate::shaping::judge::ArmLimit>,
    contests: Vec<(Arm, Arm, UnderLoad)>,
    standard: Standard,
}

impl Run {
    fn judge(&mut self, info: &SessionInfo, experiment: &Experiment, probes: &[(Observed, bool)]) {
        self.standard = experiment.standard;
        match &experiment.design {
            Design::Pairs(design) => {
                let mut judge = PairJudge::new(design, &experiment.standard, experiment.seed);
                for (observed, _) in probes {
                    judge.push(observed);
                }
                let mut judged = judge.findings();
                let mut rewritten = vec![[0u64; 2]; judged.len()];
                let mut plan = PairPlan::new(design.clone(), experiment.seed);
                for (observed, local) in probes {
                    let Some(turn) = plan.turn(observed.sequence) else { continue };
                    if let Some([all, changed]) = rewritten.get_mut(usize::from(turn.hypothesis)) {
                        *all += 1;
                        *changed += u64::from(*local);
                    }
                }
                for (one, [all, changed]) in judged.iter_mut().zip(rewritten) {
                    if changed as f64 > LOCAL_SHARE * all as f64 {
                        one.finding.flags.push("local".to_owned());
                        void(&mut one.finding, "this host puts another mark on the wire than it was asked for");
                    }
                    if info.local_queue.contains(&one.hypothesis) {
                        one.finding.flags.push("local-queue".to_owned());
                        void(&mut one.finding, "the classes wait differently long in this host's own queue");
                    }
                }
                self.judged.extend(judged);
            }
            // Transfers have no samples: `report::transfers`.
            Design::Bulk(_) => {}
            Design::Contest(design) => {
                let probes: Vec<Observed> = probes.iter().map(|(observed, _)| *observed).collect();
                let seen = contest::judge(design, experiment.seed, &probes, &experiment.standard);
                self.contests.extend(seen.map(|seen| (design.subject, design.control, seen)));
            }
            Design::Trains(design) => {
                let probes: Vec<Observed> = probes.iter().map(|(observed, _)| *observed).collect();
                self.limits.extend(judge_trains(design, experiment.seed, &probes));
            }
        }
    }
}

/// Nothing that differs can be laid to the path.
fn void(finding: &mut Differentiation, reason: &str) {
    finding.verdict = Verdict::Void;
    finding.trigger = None;
    finding.note = if finding.note.is_empty() { reason.to_owned() } else { format!("{reason}; {}", finding.note) };
}
