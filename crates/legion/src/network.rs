//! The network's share of a bot's latency, without any change in the bot: the kernel's figures (INET_DIAG) of its own connections.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use discord::rest::Endpoint;
use net::diag::{TcpConnection, tcp_connections};
use net::process::socket_inodes;

/// Addresses of Discord's names, as they resolve here; they change seldom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub api: Place,
    pub gateway: Place,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    port: u16,
    addresses: HashSet<IpAddr>,
}

const LOOKUP: Duration = Duration::from_secs(10);
/// Names that resolve elsewhere again and again do not make the set grow for ever.
const MOST: usize = 256;

impl Place {
    pub(crate) async fn learn(&mut self, endpoint: &Endpoint) {
        self.port = endpoint.port;
        let looked = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
        if let Ok(Ok(found)) = tokio::time::timeout(LOOKUP, looked).await {
            if self.addresses.len() > MOST {
                self.addresses.clear();
            }
            self.addresses.extend(found.map(|address| address.ip().to_canonical()));
        }
    }

    fn holds(&self, connection: &TcpConnection) -> bool {
        connection.peer.port() == self.port && self.addresses.contains(&connection.peer.ip())
    }
}

/// The process's established connections.
fn connections(pid: u32) -> Vec<TcpConnection> {
    let Ok(inodes) = socket_inodes(pid) else { return Vec::new() };
    let mut all = tcp_connections().unwrap_or_default();
    all.retain(|connection| inodes.contains(&connection.inode));
    all
}

/// `min_rtt` of the one to this place that heard something last: an answer was just received on it. Where the process has none there
/// (a proxy, an address that the name has no more), of the one that heard something last at all.
pub(crate) fn min_rtt(pid: u32, place: &Place) -> Option<Duration> {
    let all = connections(pid);
    let last = |wanted: &dyn Fn(&TcpConnection) -> bool| {
        let infos = all.iter().filter(|connection| wanted(connection)).filter_map(|connection| connection.info);
        infos.min_by_key(|info| info.idle).and_then(|info| info.min_rtt)
    };
    last(&|connection| place.holds(connection)).or_else(|| last(&|connection| connection.peer.port() == place.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_connection_that_heard_something_last_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint: Endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut place = Place::default();
        place.learn(&endpoint).await;
        let own = std::process::id();
        assert_eq!(min_rtt(own, &place), None, "nothing is connected yet");
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut other, b"x").unwrap();
        std::io::Read::read_exact(&mut &stream, &mut [0]).unwrap();
        let seen = min_rtt(own, &place).unwrap();
        assert!(seen > Duration::ZERO && seen < Duration::from_secs(1), "{seen:?}");
    }
}
