//! What a worker is told at its start, and what must be done before any thread runs.

use std::path::PathBuf;

use model::{Family, WorkerName};
use net::Clock;
use net::capture::Capture;

use crate::capture;
use crate::error::WorkerError;
use crate::join::JoinString;

/// Bytes of the spool unless told otherwise.
pub const SPOOL_BYTES: u64 = 256 << 20;

#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Needed at the first start only; afterwards the stored credential serves.
    pub join: Option<JoinString>,
    /// `None`: made from the host's name.
    pub name: Option<WorkerName>,
    pub data_dir: PathBuf,
    /// Passive capture on this interface, which needs CAP_NET_RAW.
    pub interface: Option<String>,
    /// Empty: every family by which the server can be reached.
    pub families: Vec<Family>,
    pub spool_bytes: u64,
    pub clock: Clock,
}

impl WorkerConfig {
    pub fn new(data_dir: PathBuf, clock: Clock) -> WorkerConfig {
        WorkerConfig {
            join: None,
            name: None,
            data_dir,
            interface: None,
            families: Vec::new(),
            spool_bytes: SPOOL_BYTES,
            clock,
        }
    }
}

/// A configuration whose privileged sockets are open and whose capabilities are gone.
pub struct Prepared {
    pub(crate) config: WorkerConfig,
    pub(crate) capture: Option<Capture>,
}

/// Opens what needs privileges, then drops all capabilities. They are a thread's own: call it before any other thread is
/// started.
pub fn prepare(config: WorkerConfig) -> Result<Prepared, WorkerError> {
    let capture = config.interface.as_deref().map(capture::open).transpose()?;
    net::capability::drop_all()?;
    Ok(Prepared { config, capture })
}

/// The host's name as the kernel knows it.
pub(crate) fn host_name() -> WorkerName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    WorkerName::from_host_name(name.trim())
}
