//! The printed tables, and which targets were missed.

use std::time::Instant;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use model::report::LimitKind;

use crate::check::{Checked, check};
use crate::noise::Noise;
use crate::nulls::{self, KINDS};
use crate::parallel;
use crate::power;
use crate::rivals::{bucket, ks, wehe};
use crate::run;
use crate::scenario::Scenario;

const ALPHA: f64 = 0.001;
/// Of the runs of scenarios in which something is there, all of it must be called what it is.
const RECALL: f64 = 0.99;

/// What the rivals said in one run; `None`: not asked, or not answered.
#[derive(Clone, Copy, Debug, Default)]
struct Rivals {
    wehe_client: Option<bool>,
    wehe_server: Option<bool>,
    sequential_ks: Option<bool>,
    bucket: Option<bool>,
}

struct Row {
    checked: Checked,
    packets: u64,
    seconds: f64,
    rivals: Rivals,
}

fn seed_of(seed: u64, part: u64, run: usize) -> u64 {
    (seed ^ part.rotate_left(40)).wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(run as u64 * 7_919)
}

/// Seeds depend on the name, so that `--only` repeats what the whole printed.
fn part(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

pub fn scenarios(scenarios: &[Scenario], seed: u64, long: bool, explain: bool) -> Vec<String> {
    let repeats = if long { 100 } else { 8 };
    let begun = Instant::now();
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "scenario",
        "right",
        "false",
        "rate off",
        "burst off",
        "packets",
        "seconds",
        "Wehe client",
        "Wehe server",
        "seq. KS",
        "bucket",
    ]);
    let mut missed = Vec::new();
    let (mut there, mut there_right, mut not_there, mut not_there_false) = (0, 0, 0, 0);
    let mut totals = [(0, 0); 4];
    for scenario in scenarios.iter().filter(|scenario| scenario.kernel.is_none()) {
        let rows = parallel::map(repeats, |index| one(scenario, seed_of(seed, part(&scenario.name), index)));
        let right = rows.iter().filter(|row| row.checked.right).count();
        let false_ones = rows.iter().filter(|row| row.checked.named_falsely).count();
        if scenario.differs() || scenario.rate_limit.is_some() {
            there += repeats;
            there_right += right;
        } else {
            not_there += repeats;
            not_there_false += false_ones;
        }
        if (right as f64) < RECALL * repeats as f64 || false_ones > 0 {
            missed.push(format!("{}: {right} of {repeats} right, {false_ones} false", scenario.name));
        }
        let worst = |of: fn(&Checked) -> Option<f64>| rows.iter().filter_map(|row| of(&row.checked)).reduce(f64::max);
        let mean = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
        let answers: [fn(&Rivals) -> Option<bool>; 4] =
            [|r| r.wehe_client, |r| r.wehe_server, |r| r.sequential_ks, |r| r.bucket];
        let mut cells = vec![
            scenario.name.clone(),
            format!("{right}/{repeats}"),
            false_ones.to_string(),
            worst(|checked| checked.rate_error).map_or(String::new(), |error| format!("{:.2} %", error * 100.0)),
            worst(|checked| checked.burst_error).map_or(String::new(), |error| format!("{:.0} %", error * 100.0)),
            format!("{:.0}", mean(|row| row.packets as f64)),
            format!("{:.0}", mean(|row| row.seconds)),
        ];
        for (index, answer) in answers.into_iter().enumerate() {
            let given: Vec<bool> = rows.iter().filter_map(|row| answer(&row.rivals)).collect();
            let right = given.iter().filter(|right| **right).count();
            totals[index].0 += right;
            totals[index].1 += given.len();
            cells.push(if given.is_empty() { String::new() } else { format!("{right}/{}", given.len()) });
        }
        table.add_row(cells);
        if explain {
            let shown: Vec<&Row> = rows.iter().filter(|row| !row.checked.right).take(3).collect();
            println!("{}: {}", scenario.name, scenario.summary);
            for row in shown.iter().copied().chain(rows.first().filter(|_| shown.is_empty())) {
                println!("  {}: {}", if row.checked.right { "right" } else { "WRONG" }, row.checked.said);
            }
        }
    }
    println!(
        "Right of the runs. \"burst off\" is of what is allowed: 5 % or two packets. Others: who is right about the first class (bucket: about policing).\n{table}"
    );
    let share = |(right, of): (usize, usize)| 100.0 * right as f64 / of.max(1) as f64;
    println!(
        "recall {:.1} % of {there} runs with something to name, {not_there_false} false verdicts in {not_there} runs without; right: Wehe client {:.0} %, Wehe server {:.0} %, sequential KS {:.0} %, bucket {:.0} %; {:.0} s",
        share((there_right, there)),
        share(totals[0]),
        share(totals[1]),
        share(totals[2]),
        share(totals[3]),
        begun.elapsed().as_secs_f64(),
    );
    missed
}

fn one(scenario: &Scenario, seed: u64) -> Row {
    let outcome = run::scenario(&scenario.path, &scenario.plan, ALPHA, seed);
    let record = &outcome.record;
    let differs = scenario.differs();
    let mut noise = Noise::new(seed ^ 3);
    let [subject, control] = [0, 1].map(|arm| record.trains[arm].last());
    let by_wehe =
        |thresholds, noise: &mut Noise| Some(wehe::differs(subject?, control?, thresholds, noise)? == differs);
    let by_marks = subject.is_some() && scenario.plan.subjects.first().is_some_and(|first| first.dscp.is_some());
    let policer = scenario.rate_limit.is_some_and(|limit| limit.kind == LimitKind::Policer)
        || scenario.truth.iter().any(|truth| truth.verdict.contains(&model::report::Verdict::Policed));
    let rivals = Rivals {
        wehe_client: by_wehe(wehe::CLIENT, &mut noise).filter(|_| by_marks),
        wehe_server: by_wehe(wehe::SERVER, &mut noise).filter(|_| by_marks),
        sequential_ks: (!record.pairs.is_empty() && by_marks).then(|| ks::differs(&record.pairs, ALPHA) == differs),
        bucket: subject.filter(|_| by_marks).map(|train| bucket::policed(train).is_some() == policer),
    };
    Row { checked: check(scenario, &outcome.verdicts), packets: outcome.packets, seconds: outcome.seconds, rivals }
}

pub fn powers(seed: u64, long: bool) -> Vec<String> {
    let begun = Instant::now();
    let runs = if long { 2_000 } else { 400 };
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["goal", "target", "measured", "pairs: median", "99 %", "at best"]);
    let mut missed = Vec::new();
    for goal in power::goals() {
        let results = parallel::map(runs, |index| power::run(&goal, seed_of(seed, part(goal.name), index)));
        let mut needed: Vec<u64> = results.into_iter().map(|pairs| pairs.unwrap_or(u64::MAX)).collect();
        needed.sort_unstable();
        let share = needed.iter().filter(|pairs| **pairs < u64::MAX).count() as f64 / runs as f64;
        let at = |share: f64| match needed[((runs - 1) as f64 * share) as usize] {
            u64::MAX => "later".to_owned(),
            pairs => pairs.to_string(),
        };
        // Three standard deviations of the count.
        let slack = 3.0 * (goal.least * (1.0 - goal.least) / runs as f64).sqrt();
        if share < goal.least - slack && goal.bound.is_none() {
            missed.push(format!("{}: {:.1} % instead of {:.0} %", goal.name, share * 100.0, goal.least * 100.0));
        }
        table.add_row([
            goal.name.to_owned(),
            format!(">= {:.0} %", goal.least * 100.0),
            format!("{:.1} %", share * 100.0),
            at(0.5),
            at(0.99),
            goal.bound.unwrap_or("").to_owned(),
        ]);
    }
    println!("\nOne hypothesis of twelve, {runs} runs each.\n{table}\n{:.0} s", begun.elapsed().as_secs_f64());
    missed
}

pub fn nulls(seed: u64, long: bool) -> Vec<String> {
    const RUNS: usize = 3_000;
    let repeats = if long { 3 } else { 1 };
    let mut missed = Vec::new();
    for repeat in 0..repeats {
        let begun = Instant::now();
        let seed = seed.wrapping_add(repeat);
        let runs = parallel::map(RUNS, |index| nulls::run(index % KINDS.len(), seed_of(seed, 0x9011, index)));
        let count = |alpha: usize| runs.iter().filter(|run| run.false_at[alpha]).count();
        let packets: u64 = runs.iter().map(|run| run.packets).sum();
        println!(
            "\n{RUNS} runs of 12 hypotheses and 4 trains on networks that treat all alike (seed {seed}, {:.1} M packets, {:.0} s): {} false at alpha 0.001 (at most 7), {} at alpha 0.05 (1 to 150)",
            packets as f64 / 1e6,
            begun.elapsed().as_secs_f64(),
            count(0),
            count(1)
        );
        for (index, kind) in KINDS.iter().enumerate() {
            let of_kind = || runs.iter().enumerate().filter(|(run, _)| run % KINDS.len() == index).map(|(_, run)| run);
            let by = |alpha: usize| of_kind().filter(|run| run.false_at[alpha]).count();
            if by(1) > 0 {
                println!(
                    "  {kind}: {} and {} of {}; {}",
                    by(0),
                    by(1),
                    of_kind().count(),
                    of_kind().find(|run| run.false_at[0]).map_or("", |run| &run.said)
                );
            }
        }
        if count(0) > 7 {
            missed.push(format!("{} false verdicts in {RUNS} null runs at alpha 0.001", count(0)));
        }
        if !(1..=RUNS / 20).contains(&count(1)) {
            missed.push(format!("{} false verdicts in {RUNS} null runs at alpha 0.05", count(1)));
        }
    }
    missed
}
