//! Source ports of an experiment: opened when first used, closed when nothing more can come.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use measure::shaping::plan::SocketId;
use model::Family;
use net::udp::{UdpOptions, UdpProbeSocket};
use net::{Clock, NetError};

use super::Port;
use crate::flow::link::Link;
use crate::flow::log::SETTLE_NS;

/// A train's answers and stamps fit.
const RECEIVE_BUFFER: usize = 1 << 20;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn open(id: SocketId, link: &Arc<Link>) -> Result<Port, NetError> {
    let any: IpAddr = match link.family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let options = UdpOptions { receive_buffer: RECEIVE_BUFFER, ..UdpOptions::default() };
    let socket = UdpProbeSocket::bind(SocketAddr::new(any, 0), &options)?;
    socket.connect(link.peer)?;
    let used_ns = AtomicU64::new(Clock::monotonic_ns());
    Ok(Port { socket, link: link.clone(), used_ns, lasting: id.block == 0 })
}

/// Those that are open, after closing those whose last probe is settled.
pub(super) fn live(ports: &Mutex<BTreeMap<SocketId, Arc<Port>>>, now_ns: u64) -> Vec<Arc<Port>> {
    let mut ports = lock(ports);
    ports.retain(|_, port| {
        port.lasting || now_ns.saturating_sub(port.used_ns.load(Ordering::Relaxed)) < SETTLE_NS + SETTLE_NS / 4
    });
    ports.values().cloned().collect()
}
