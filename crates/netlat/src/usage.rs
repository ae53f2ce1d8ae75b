//! What a user sees of an error: one line, and whether the command line was at fault (exit status 2) or the work (1).

use std::fmt;

/// A mistake in the command line that clap could not see. Found anywhere in an error's chain, it makes the status 2.
#[derive(Debug)]
pub struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Makes any error the user's mistake.
pub fn mistake(error: anyhow::Error) -> anyhow::Error {
    Usage(one_line(&error)).into()
}

/// What failed, on what, what to do. Libraries whose message already quotes its cause are not quoted twice.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    words(&line)
}

/// The message of clap's several lines, without the usage that `--help` shows.
pub fn of_clap(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let ends = ["\nUsage:", "\nFor more information"].map(|end| text.find(end).unwrap_or(text.len()));
    let message = &text[..ends[0].min(ends[1])];
    format!("{} (see --help)", words(message))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};
    use clap::Parser;

    use super::*;

    #[test]
    fn a_cause_is_said_once_and_always_on_one_line() {
        let error = anyhow!("No such\n file").context("cannot read x: No such\n file").context("in y");
        assert_eq!(one_line(&error), "in y: cannot read x: No such file");
    }

    #[test]
    fn claps_paragraphs_become_one_line() {
        for (words, expected) in [
            (&["netlat", "--nope"][..], "unexpected argument '--nope' found (see --help)"),
            (
                &["netlat", "frob"],
                "unrecognized subcommand 'frob' tip: a similar subcommand exists: 'probe' (see --help)",
            ),
            (
                &["netlat", "server", "--certificate", "x"],
                "the following required arguments were not provided: --key <FILE> (see --help)",
            ),
        ] {
            assert_eq!(of_clap(&crate::cli::Cli::try_parse_from(words).unwrap_err()), expected);
        }
    }

    #[test]
    fn a_mistake_is_found_below_its_context() {
        let error = Err::<(), _>(mistake(anyhow!("no"))).context("--dscp").unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some() || error.chain().any(|cause| cause.is::<Usage>()));
    }
}
