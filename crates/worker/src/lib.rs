//! What runs on a city's host: probes of every kind, a spool on disk, and the uplink to the main server. Knows neither the
//! command line, nor storage, nor Discord.
//!
//! [`run`] is the permanent worker, [`probe`] a single measurement. Probes run on threads of their own with small stacks;
//! the async runtime only talks to the server.

mod admission;
mod backoff;
mod batch;
mod capture;
mod config;
mod credential;
pub mod duty;
mod error;
mod flow;
mod handed;
mod join;
mod media;
mod outlook;
mod pin;
mod probe;
mod run;
mod shaping;
mod spool;
pub mod stamp;
mod station;
mod targets;
mod uplink;

pub use config::{Prepared, SPOOL_BYTES, WorkerConfig, prepare};
pub use credential::Credential;
pub use error::WorkerError;
pub use flow::log::Totals;
pub use handed::{HANDED_ANSWER, HANDED_TASKS};
pub use join::{Fingerprint, InvalidJoin, JoinString, Secret, ServerAddress};
pub use media::{MEDIA_EVERY, MediaConfig, MediaHost};
pub use probe::{ProbeConfig, ProbeProgress, probe};
pub use run::run;
pub use shaping::{DEFAULT_BUDGET, Load, ShapingOptions, ShapingProgress};
pub use uplink::Uplink;
