//! Which of this process's connections is the gateway's: the library does not hand its socket out, so it is found by its
//! far end, and among several by which of them heard something last.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use net::OwnConnection;

use crate::rest::Endpoint;

pub(super) struct Sockets {
    endpoint: Endpoint,
    port: u16,
    /// What the gateway's names resolved to.
    addresses: Arc<Mutex<HashSet<IpAddr>>>,
}

/// Names that resolve elsewhere again and again do not make the set grow for ever.
const MOST: usize = 256;

impl Sockets {
    pub(super) fn new(endpoint: Endpoint) -> Sockets {
        Sockets { port: endpoint.port, endpoint, addresses: Arc::default() }
    }

    /// A connection stands, to `resume_url` if a session was resumed. Its name is looked up again, in the background.
    pub(super) fn connected(&mut self, resume_url: Option<&str>) {
        let endpoint = resume_url.and_then(|url| url.parse().ok()).unwrap_or_else(|| self.endpoint.clone());
        self.port = endpoint.port;
        let addresses = self.addresses.clone();
        tokio::spawn(async move {
            if let Ok(found) = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await {
                let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
                if addresses.len() > MOST {
                    addresses.clear();
                }
                addresses.extend(found.map(|address| address.ip().to_canonical()));
            }
        });
    }

    /// To be asked just after something was received.
    pub(super) fn find(&self) -> Option<OwnConnection> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut candidates = net::own_connections().ok()?;
        candidates.retain(|one| one.peer.port() == self.port && addresses.contains(&one.peer.ip()));
        candidates.into_iter().min_by_key(|one| one.info.idle)
    }
}
