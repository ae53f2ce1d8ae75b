//! The main server: gives sessions, receives and answers probes, joins what both sides saw, stores it, reports it.
//!
//! Probe sockets live on threads of their own, the control plane on tokio, the store on one thread (`ingest`).

mod answers;
pub mod api;
mod bulk;
mod capture;
mod changed;
mod coordinator;
mod counters;
mod dns;
mod error;
mod experiments;
mod http;
mod ingest;
mod kept;
mod limits;
mod listen;
mod media;
mod observe;
mod outlook;
mod pages;
pub mod reflect;
pub mod report;
pub mod secrets;
mod sessions;
mod stream;
mod tcp;
mod tls;
mod trigger;
mod udp;

pub use error::ServerError;
pub use listen::{Announcement, Server, ServerConfig, write_private};
pub use pages::DashboardAddress;
