//! `netlat worker`.

use worker::WorkerConfig;

use super::{join_string, runtime, stop_signal};
use crate::Outcome;
use crate::cli::WorkerArgs;
use crate::config::{Config, data_dir};

pub fn run(args: WorkerArgs, config: &Config) -> anyhow::Result<Outcome> {
    let section = &config.worker;
    let dir = data_dir(args.data_dir, section.data_dir.as_ref(), "worker")?;
    let given = match (args.join.join, &section.join_file) {
        (Some(join), _) => Some(join),
        // Named in the configuration for the first start; later ones have a credential and may have no such file any more.
        (None, Some(file)) if file.exists() => Some(format!("@{}", file.display())),
        (None, _) => None,
    };
    let join = match given {
        Some(given) => Some(join_string(&given)?),
        None => None,
    };
    let prepared = worker::prepare(WorkerConfig {
        join,
        name: args.name.or(section.name.clone()),
        interface: args.interface.or(section.interface.clone()),
        spool_bytes: section.spool_bytes.unwrap_or(worker::SPOOL_BYTES),
        ..WorkerConfig::new(dir, net::Clock::from_env()?)
    })?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        worker::run(prepared, stop).await.map_err(anyhow::Error::from)
    })?;
    Ok(Outcome::Done)
}
