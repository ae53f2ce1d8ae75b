//! The server's addresses, one per family, and whether this host has a route to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use model::Family;

use crate::error::WorkerError;
use crate::join::ServerAddress;

#[derive(Debug)]
pub(crate) struct Targets {
    server: ServerAddress,
    addresses: Vec<IpAddr>,
}

impl Targets {
    /// Asks the system's resolver; addresses need none.
    pub(crate) async fn resolve(server: &ServerAddress) -> Result<Targets, WorkerError> {
        let addresses = match server.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => tokio::net::lookup_host((server.host.as_str(), server.port))
                .await
                .map_err(|error| WorkerError::Unreachable {
                    server: server.clone(),
                    problem: format!("its name is not resolved: {error}"),
                })?
                .map(|address| address.ip())
                .collect(),
        };
        let mut targets = Targets { server: server.clone(), addresses: Vec::new() };
        targets.learn(&addresses);
        Ok(targets)
    }

    /// Further addresses of the server's probe sockets. True if there is a new one.
    pub(crate) fn learn(&mut self, addresses: &[IpAddr]) -> bool {
        let before = self.addresses.len();
        for address in addresses.iter().map(IpAddr::to_canonical) {
            let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            // A granted list is the server's word; it is bounded like every list from outside.
            if !address.is_unspecified() && !link_local && !self.addresses.contains(&address) && before < 16 {
                self.addresses.push(address);
            }
        }
        self.addresses.len() > before
    }

    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Where to send probes of this family, or why not.
    pub(crate) fn of(&self, family: Family) -> Result<IpAddr, String> {
        let mut problem = None;
        for address in self.addresses.iter().filter(|address| Family::of(**address) == family) {
            match route(*address) {
                Ok(()) => return Ok(*address),
                Err(error) => problem = Some(format!("{family}: this host cannot reach {address}: {error}")),
            }
        }
        Err(problem.unwrap_or_else(|| format!("{family}: the server {} has no such address", self.server.host)))
    }

    /// The families among these (or all, if there are none) that can be used.
    pub(crate) fn usable(&self, wanted: &[Family]) -> Vec<Family> {
        let wanted = if wanted.is_empty() { &Family::ALL[..] } else { wanted };
        wanted.iter().copied().filter(|family| self.of(*family).is_ok()).collect()
    }
}

/// Connecting a UDP socket sends nothing and asks the routing table.
fn route(address: IpAddr) -> std::io::Result<()> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind(SocketAddr::new(any, 0))?.connect(SocketAddr::new(address, 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_family_without_address_or_route_has_a_reason() {
        let server: ServerAddress = "127.0.0.1:8443".parse().unwrap();
        let mut targets = Targets::resolve(&server).await.unwrap();
        assert_eq!(targets.of(Family::Ipv4), Ok("127.0.0.1".parse().unwrap()));
        assert!(targets.of(Family::Ipv6).unwrap_err().contains("no such address"));
        assert_eq!(targets.usable(&[]), [Family::Ipv4]);
        let useless: Vec<IpAddr> = ["::", "fe80::1", "127.0.0.1"].iter().map(|text| text.parse().unwrap()).collect();
        assert!(!targets.learn(&useless));
    }
}
