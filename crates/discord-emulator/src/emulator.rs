//! Puts an emulator together and runs it until it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::error::EmulatorError;
use crate::handle::Handle;
use crate::hub::Hub;
use crate::state::VoiceAddress;
use crate::tls::Authority;
use crate::{gateway, listen, rest};

/// Where it listens, with real ports.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub api: Vec<SocketAddr>,
    pub voice: Vec<SocketAddr>,
    pub dns: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

/// A running emulator. Dropping it closes everything.
pub struct Emulator {
    hub: Arc<Hub>,
    addresses: Addresses,
    ca: String,
    /// Aborted on drop.
    _tasks: JoinSet<()>,
}

impl Emulator {
    /// Opens all ports, or none.
    pub async fn start(config: Config) -> Result<Emulator, EmulatorError> {
        let authority = Authority::new(&config.tls.names, config.listen_addresses())?;
        if let Some(path) = &config.tls.ca_file {
            std::fs::write(path, &authority.certificate)
                .map_err(|source| EmulatorError::Write { path: path.clone(), source })?;
        }
        let hub = Arc::new(Hub::new(config)?);
        let mut addresses = Addresses::default();
        let mut tasks = JoinSet::new();
        let api =
            Router::new().route("/", any(gateway::connect)).merge(rest::router(hub.clone())).with_state(hub.clone());
        for address in &hub.config.listen.api {
            let listener = listen::bind("the API", *address)?;
            addresses.api.push(listener.local_addr().unwrap_or(*address));
            tasks.spawn(listen::serve(listener, hub.clone(), api.clone(), Some(authority.server.clone())));
        }
        hub.world().voice_address = VoiceAddress::Names(443);
        Ok(Emulator { hub, addresses, ca: authority.certificate, _tasks: tasks })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The private CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    pub fn handle(&self) -> Handle {
        Handle::new(self.hub.clone())
    }

    /// Until a task ends, which none does by itself.
    pub async fn run(&mut self) {
        while self._tasks.join_next().await.is_some() {}
    }
}
