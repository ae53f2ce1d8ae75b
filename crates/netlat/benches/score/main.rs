//! The score of the verdicts: networks whose truth is known (scenarios.toml, and thousands drawn at random that treat all classes
//! alike) against what the product's own plan and judge say of them, beside the targets and beside other published methods.
//!
//! `cargo bench -p netlat --bench score -- [--long] [--seed N] [--only TEXT] [--kernel] [--scenarios FILE] [--explain]`. Seeds are fresh and
//! printed. Exits 1 where a target is missed that can be reached.

mod check;
mod kernel;
mod noise;
mod nulls;
mod parallel;
mod path;
mod power;
mod rivals;
mod run;
mod scenario;
mod table;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a run of the bench is asked for.
struct Options {
    long: bool,
    seed: u64,
    only: Option<String>,
    explain: bool,
    kernel: bool,
    scenarios: Option<String>,
}

fn options() -> Result<Option<Options>, String> {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64) % 1_000_000_000;
    let mut options = Options { long: false, seed: fresh, only: None, explain: false, kernel: false, scenarios: None };
    let mut benching = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--bench" => benching = true,
            "--long" => options.long = true,
            "--explain" => options.explain = true,
            "--kernel" => options.kernel = true,
            "--only" => options.only = Some(value()?),
            "--scenarios" => options.scenarios = Some(value()?),
            "--seed" => options.seed = value()?.parse().map_err(|_| "--seed wants a whole number".to_owned())?,
            other => return Err(format!("{other}: no such option; see the head of benches/score/main.rs")),
        }
    }
    // `cargo test --benches` builds and starts this as well, and has nothing to measure.
    Ok(benching.then_some(options))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("score: {message}");
            return ExitCode::from(2);
        }
    };
    let text = match &options.scenarios {
        Some(file) => match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("score: cannot read {file}: {error}");
                return ExitCode::from(2);
            }
        },
        None => include_str!("scenarios.toml").to_owned(),
    };
    let mut scenarios = match scenario::parse(&text) {
        Ok(scenarios) => scenarios,
        Err(message) => {
            eprintln!("score: scenarios: {message}");
            return ExitCode::from(2);
        }
    };
    if let Some(only) = &options.only {
        scenarios.retain(|scenario| scenario.name.contains(only.as_str()));
    }
    println!("seed {} (--seed {} repeats this run)\n", options.seed, options.seed);
    let mut missed = table::scenarios(&scenarios, options.seed, options.long, options.explain);
    if options.kernel {
        missed.extend(kernel::scenarios(&scenarios));
    } else {
        println!("kernel scenarios: not run (--kernel)");
    }
    if options.only.is_none() {
        missed.extend(table::powers(options.seed, options.long));
        missed.extend(table::nulls(options.seed, options.long));
    }
    if missed.is_empty() {
        println!("\nscore: every target is met");
        return ExitCode::SUCCESS;
    }
    println!("\nscore: missed");
    missed.iter().for_each(|line| println!("  {line}"));
    ExitCode::FAILURE
}
