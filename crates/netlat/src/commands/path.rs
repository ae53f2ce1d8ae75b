//! `netlat path`.
use crate::{Outcome, cli::PathArgs};
pub fn run(_: PathArgs) -> anyhow::Result<Outcome> { anyhow::bail!("later") }
