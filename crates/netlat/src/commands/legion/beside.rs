//! The discord.py bot that a main bot brings along where Python is: on a thread and loop of its own, so that neither disturbs what the
//! other measures.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use discord::rest::Rest;
use legion::{Kind, LegionConfig};
use tokio::sync::oneshot;

const LIBRARY: &str = "discord.py";
/// A main bot that cannot work ends before; and Discord takes one identify in five seconds of one token.
const AFTER: Duration = Duration::from_secs(10);

/// Ends its bot when it is ended or dropped.
pub struct Python {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Where the bot is to be, before anything of it is started.
pub struct Plan {
    pub config: LegionConfig,
    pub rest: Rest,
}

pub fn kinds() -> anyhow::Result<Vec<&'static Kind>> {
    Ok(vec![legion::named(LIBRARY)?])
}

impl Python {
    pub fn start(plan: Plan) -> anyhow::Result<Python> {
        let (stop, stopped) = oneshot::channel();
        let runtime = super::super::bot::runtime()?;
        let body = move || {
            runtime.block_on(async {
                let stopped = async {
                    // An error says that the main bot is gone, which is the same.
                    let _ = stopped.await;
                };
                if let Err(error) = run(plan, stopped).await {
                    tracing::warn!("{error:#}; everything else is measured");
                }
            });
        };
        let thread = std::thread::Builder::new().name("legion".to_owned()).spawn(body);
        Ok(Python { stop, thread: thread.context("cannot start a thread for the Legion")? })
    }

    pub fn end(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn run(plan: Plan, stopped: impl Future<Output = ()>) -> anyhow::Result<()> {
    tokio::pin!(stopped);
    let Some(kind) = plan.config.kinds.first() else { return Ok(()) };
    tokio::select! {
        () = tokio::time::sleep(AFTER) => {}
        () = &mut stopped => return Ok(()),
    }
    if let Err(error) = legion::runtime(kind).await {
        tracing::info!("{error}: {LIBRARY} is not measured (--no-python says that this is wanted)");
        return Ok(());
    }
    let root: PathBuf = plan.config.root.clone();
    let mut progress = |step: &str| tracing::info!("{LIBRARY}: {step}");
    tokio::select! {
        installed = legion::install(kind, &root, &mut progress) => installed?,
        () = &mut stopped => return Ok(()),
    }
    legion::run(plan.config, &plan.rest, Box::new(|_| {}), &mut |_| {}, stopped).await?;
    Ok(())
}
