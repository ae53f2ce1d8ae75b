//! Sockets that carry a ToS per packet and show the kernel's times and the received ToS and TTL; capture of an
//! interface; the process's clock, pacing and capabilities. Linux only, blocking, meant for plain threads.
//!
//! The only crate with `unsafe`. It knows sockets, not probes: what a packet means is `wire`'s and the caller's matter.
//!
//! Kernel times: a receive stamp may be missing. The kernel turns stamping on lazily, so the first packets after the
//! first such socket of a host was opened can come without one, and so does whatever a device driver does not stamp.
//! `None` means exactly that; it is never filled in from user space.

// libc's integer types differ between C libraries and word sizes: a cast that does nothing here does something there.
#![allow(clippy::useless_conversion, clippy::unnecessary_cast)]

#[cfg(not(target_os = "linux"))]
compile_error!("net uses Linux socket interfaces");

mod ancillary;
mod batch;
pub mod capability;
pub mod capture;
pub mod clock;
mod datagram;
pub mod diag;
pub mod error;
mod error_queue;
pub mod filter;
pub mod icmp;
pub mod interface;
pub mod memory;
pub mod namespace;
mod own_connections;
pub mod pacing;
pub mod packet_io;
pub mod process;
mod sys;
pub mod tcp;
pub mod tcp_info;
pub mod udp;

pub use clock::Clock;
pub use error::NetError;
pub use own_connections::{OwnConnection, own_connections};
pub use udp::{
    IcmpError, Outgoing, QueueEvent, Readiness, ReceiveBatch, Received, TransmitStamp, UdpOptions, UdpProbeSocket,
};
