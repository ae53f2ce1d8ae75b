//! `netlat worker`.

use std::time::Duration;

use worker::{MediaConfig, WorkerConfig};

use super::{join_string, runtime, stop_signal};
use crate::Outcome;
use crate::cli::WorkerArgs;
use crate::config::{Config, data_dir};

/// Each takes up to nine seconds where nothing answers.
const MOST_MEDIA: usize = 16;

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
    let mut hosts = args.media;
    if hosts.is_empty() {
        let read =
            |text: &String| text.parse().map_err(|error| anyhow::anyhow!("worker.media in the configuration: {error}"));
        hosts = section.media.iter().map(read).collect::<anyhow::Result<_>>()?;
    }
    anyhow::ensure!(hosts.len() <= MOST_MEDIA, "{} media hosts are to be pinged; at most {MOST_MEDIA}", hosts.len());
    let every = args.media_every.or(section.media_every_s);
    anyhow::ensure!(
        every.is_none_or(|s| (1..=86_400).contains(&s)),
        "worker.media_every_s in the configuration is not within 1 and 86400"
    );
    let every = every.map_or(worker::MEDIA_EVERY, |s| Duration::from_secs(s.into()));
    let media = MediaConfig { is_media_host: |name| discord::media::city(name).is_some(), hosts, every };
    let prepared = worker::prepare(WorkerConfig {
        join,
        name: args.name.or(section.name.clone()),
        interface: args.interface.or(section.interface.clone()),
        media: Some(media),
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
