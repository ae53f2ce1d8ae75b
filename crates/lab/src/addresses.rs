//! The lab's address plan, a pure function of city and position.
//!
//! Segment `s` of city `c` joins position `s` (0 is the worker, 1 its first hop) and position `s + 1`. It is
//! `10.77.c.(4s)/30` and `fd77:c:s::/64`, with host 1 on the worker's side and 2 on the server's. On the last segment
//! the server has no address of its own: all cities see it as [`SERVER_V4`] and [`SERVER_V6`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Direction, Family};

use crate::scenario::City;

pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// The interface of a city's worker.
pub const WORKER_INTERFACE: &str = "eth0";

/// The server's address for every city.
pub const fn server(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(SERVER_V4),
        Family::Ipv6 => IpAddr::V6(SERVER_V6),
    }
}

/// Which end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Worker,
    Server,
}

pub(crate) fn on_segment(city: u8, segment: u8, end: End, family: Family) -> IpAddr {
    let host = if end == End::Worker { 1 } else { 2 };
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, 77, city, segment * 4 + host).into(),
        Family::Ipv6 => Ipv6Addr::new(0xfd77, city.into(), segment.into(), 0, 0, 0, 0, host.into()).into(),
    }
}

impl City {
    /// The address of the city's worker.
    pub fn worker_address(&self, family: Family) -> IpAddr {
        on_segment(self.number, 0, End::Worker, family)
    }

    /// The address from which the server sees the worker's packets: a masquerading hop's for IPv4, the nearest to the
    /// server if there are several.
    pub fn address_at_server(&self, family: Family) -> IpAddr {
        let is_nat = |hop: &crate::Hop| hop.policies.iter().any(|policy| policy.action == crate::Action::Nat);
        let last_nat = (1..).zip(&self.hops).filter(|(_, hop)| is_nat(hop)).last();
        match (family, last_nat) {
            (Family::Ipv4, Some((number, _))) => on_segment(self.number, number, End::Worker, family),
            _ => self.worker_address(family),
        }
    }

    /// The address from which a hop (from 1, counted from the worker) sends ICMP errors about packets of a direction:
    /// the one that faces their sender. `None` if there is no such hop.
    pub fn hop_address(&self, hop: u8, direction: Direction, family: Family) -> Option<IpAddr> {
        if hop == 0 || usize::from(hop) > self.hops.len() {
            return None;
        }
        Some(match direction {
            Direction::Down => on_segment(self.number, hop, End::Worker, family),
            Direction::Up | Direction::RoundTrip => on_segment(self.number, hop - 1, End::Server, family),
        })
    }
}
