//! Puts an emulator together and runs it until it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::dns::{self, Zones};
use crate::error::EmulatorError;
use crate::handle::Handle;
use crate::hub::Hub;
use crate::state::VoiceAddress;
use crate::tls::Authority;
use crate::{admin, gateway, listen, rest, voice};

/// Where it listens, with real ports.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub api: Vec<SocketAddr>,
    pub voice: Vec<SocketAddr>,
    pub dns: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

/// A running emulator. Dropping it closes its ports.
pub struct Emulator {
    handle: Handle,
    addresses: Addresses,
    /// Aborted on drop.
    tasks: JoinSet<()>,
}

impl Emulator {
    /// Opens all ports, or none.
    pub async fn start(config: Config) -> Result<Emulator, EmulatorError> {
        let authority = Authority::new(&config.tls.names, config.listen_addresses())?;
        let tls = Some(authority.server.clone());
        let ca_file = config.tls.ca_file.clone();
        let hub = Arc::new(Hub::new(config)?);
        let handle = Handle::new(hub.clone(), authority.certificate.as_str().into());
        let mut addresses = Addresses::default();
        let mut tasks = JoinSet::new();
        let api =
            Router::new().route("/", any(gateway::connect)).merge(rest::router(hub.clone())).with_state(hub.clone());
        for address in &hub.config.listen.api {
            let listener = listen::bind("the API", *address)?;
            addresses.api.push(listener.local_addr().unwrap_or(*address));
            tasks.spawn(listen::serve(listener, hub.clone(), api.clone(), tls.clone()));
        }
        for address in &hub.config.listen.voice {
            let listener = listen::bind("voice", *address)?;
            let local = listener.local_addr().unwrap_or(*address);
            let failed = |source| EmulatorError::Bind { purpose: "voice (UDP)", address: *address, source };
            let socket = UdpSocket::bind(address).await.map_err(failed)?;
            let port = socket.local_addr().map_err(failed)?.port();
            let router = Router::new().route("/", any(voice::connect)).with_state((hub.clone(), port));
            addresses.voice.push(local);
            tasks.spawn(listen::serve(listener, hub.clone(), router, tls.clone()));
            tasks.spawn(voice::serve_udp(socket, hub.clone()));
        }
        let zones = Arc::new(Zones::new(&hub.config.dns));
        for address in &hub.config.listen.dns {
            let (udp, tcp) = dns::bind(*address).await?;
            addresses.dns.push(udp.local_addr().unwrap_or(*address));
            tasks.spawn(dns::serve_udp(udp, hub.clone(), zones.clone()));
            tasks.spawn(dns::serve_tcp(tcp, hub.clone(), zones.clone()));
        }
        if let Some(address) = hub.config.listen.admin {
            let listener = listen::bind("the admin port", address)?;
            addresses.admin = Some(listener.local_addr().unwrap_or(address));
            tasks.spawn(listen::serve(listener, hub.clone(), admin::router(handle.clone()), None));
        }
        hub.world().voice_address = voice_address(&hub.config, &addresses);
        if let Some(path) = ca_file {
            std::fs::write(&path, &authority.certificate).map_err(|source| EmulatorError::Write { path, source })?;
        }
        Ok(Emulator { handle, addresses, tasks })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The private CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.handle.ca_pem()
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Until it is dropped: its tasks end only with it.
    pub async fn run(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.handle.hub().connections.reset_all();
    }
}

fn voice_address(config: &Config, addresses: &Addresses) -> VoiceAddress {
    let Some(first) = addresses.voice.first() else { return VoiceAddress::Names(443) };
    match config.voice.endpoint.as_deref() {
        Some("names") => VoiceAddress::Names(first.port()),
        None if !addresses.dns.is_empty() => VoiceAddress::Names(first.port()),
        None | Some("address") => VoiceAddress::Fixed(first.to_string()),
        Some(other) => VoiceAddress::Fixed(other.to_owned()),
    }
}
