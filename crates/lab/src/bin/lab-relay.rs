//! The relay by itself, for the lab's own tests; `netlat` has it as a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    match lab::relay::Relay::from_argument(&argument).and_then(|relay| lab::relay::run(&relay)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-relay: {error}");
            ExitCode::FAILURE
        }
    }
}
