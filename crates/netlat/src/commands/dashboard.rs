//! `netlat dashboard`: shows an existing data directory in the browser, read-only, whether its server runs or not.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use dashboard::{Dashboard, Entrance, Gate};
use tokio::sync::watch;

use super::{runtime, stop_signal};
use crate::Outcome;
use crate::cli::DashboardArgs;
use crate::config::{Config, data_dir};
use crate::usage::mistake;

pub fn run(args: DashboardArgs, config: &Config) -> anyhow::Result<Outcome> {
    let dir = data_dir(args.data_dir, config.server.data_dir.as_ref(), "server")?;
    if !args.listen.ip().is_loopback() {
        return Err(mistake(anyhow!(
            "--listen {}: plain HTTP is for this host alone; give 127.0.0.1 or [::1], and forward the port by ssh -L",
            args.listen
        )));
    }
    // Says what is wrong with the directory now, not in the browser.
    store::Reader::open(&dir)?;
    let listener = std::net::TcpListener::bind(args.listen)
        .with_context(|| format!("cannot listen on {}: give another --listen ADDR:PORT", args.listen))?;
    listener.set_nonblocking(true).context("cannot set the socket up")?;
    println!("dashboard: http://{}/", listener.local_addr().context("cannot read the socket's address")?);
    runtime()?.block_on(async {
        let (stopping, stopped) = watch::channel(false);
        let dashboard = Dashboard::new(dashboard::Parts {
            data_dir: dir,
            clock: net::Clock::identity(),
            // Nobody logs in here: nothing is ever signed.
            gate: Arc::new(Gate::new(&server::secrets::random()?, None)),
            control: None,
            media_city: discord::media::city,
            stop: stopped.clone(),
        });
        let stop = stop_signal()?;
        tokio::spawn(async move {
            stop.await;
            let _ = stopping.send(true);
        });
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot use the socket")?;
        dashboard::serve(listener, dashboard.router(Entrance::Loopback), stopped).await.context("cannot serve")
    })?;
    Ok(Outcome::Done)
}
