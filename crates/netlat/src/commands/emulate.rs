//! `netlat emulate`: an emulated service by itself, until Ctrl-C.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow};
use discord_emulator::{Config, Emulator};

use crate::Outcome;
use crate::cli::EmulateCommand;

pub fn run(command: EmulateCommand, config: Option<&Path>) -> anyhow::Result<Outcome> {
    let EmulateCommand::Discord { example } = command;
    if example {
        std::io::stdout().write_all(discord_emulator::EXAMPLE.as_bytes())?;
        return Ok(Outcome::Done);
    }
    let Some(path) = config else {
        return Err(crate::usage::mistake(anyhow!(
            "give --config FILE; `netlat emulate discord --example` prints one to start from"
        )));
    };
    let config = Config::load(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let emulator = Emulator::start(config).await?;
        let addresses = emulator.addresses();
        let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        eprintln!("REST and gateway: {}", list(&addresses.api));
        eprintln!("voice: {}", list(&addresses.voice));
        if !addresses.dns.is_empty() {
            eprintln!("DNS: {}", list(&addresses.dns));
        }
        if let Some(admin) = addresses.admin {
            eprintln!("admin: http://{admin}");
        }
        eprintln!("the emulated Discord runs; Ctrl-C ends it");
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
        Ok(Outcome::Done)
    })
}
