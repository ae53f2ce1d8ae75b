//! What a worker is told at its start, and what must be done before any thread runs.

use std::path::PathBuf;
use std::sync::Arc;

use model::{Family, WorkerName};
use net::Clock;
use net::capture::Capture;
use net::icmp::EchoSocket;
use path::Tracer;

use crate::capture;
use crate::error::WorkerError;
use crate::join::JoinString;
use crate::media::{self, Echoes, MediaConfig};

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
    /// `None`: media hosts are neither looked for nor pinged.
    pub media: Option<MediaConfig>,
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
            media: None,
        }
    }
}

/// A configuration whose privileged sockets are open and whose capabilities are gone.
pub struct Prepared {
    pub(crate) config: WorkerConfig,
    pub(crate) capture: Option<Capture>,
    pub(crate) echoes: EchoSockets,
    pub(crate) tracer: Option<Tracer>,
    /// Of the DNS.
    pub(crate) watch: Option<Capture>,
    /// To ping media hosts, where any are known or may be seen.
    pub(crate) pings: Option<Echoes>,
}

/// ICMP sockets that took CAP_NET_RAW to open, for hosts whose sysctl closes unprivileged ones. Each serves one flow at a
/// time.
#[derive(Default)]
pub(crate) struct EchoSockets(Vec<(Family, Arc<EchoSocket>)>);

impl EchoSockets {
    fn open() -> EchoSockets {
        let opened = Family::ALL.into_iter().filter_map(|family| Some((family, EchoSocket::open(family).ok()?)));
        EchoSockets(opened.filter(|(_, socket)| socket.is_raw()).map(|(of, socket)| (of, Arc::new(socket))).collect())
    }

    /// One that no flow has.
    pub(crate) fn free(&self, family: Family) -> Option<Arc<EchoSocket>> {
        let free = |(of, socket): &&(Family, Arc<EchoSocket>)| *of == family && Arc::strong_count(socket) == 1;
        self.0.iter().find(free).map(|(_, socket)| socket.clone())
    }
}

/// Opens what needs privileges, then drops all capabilities. They are a thread's own: call it before any other thread is
/// started.
pub fn prepare(config: WorkerConfig) -> Result<Prepared, WorkerError> {
    let capture = config.interface.as_deref().map(capture::open).transpose()?;
    let echoes = if capture.is_some() { EchoSockets::open() } else { EchoSockets::default() };
    let watched = config.interface.as_deref().filter(|_| config.media.is_some());
    let watch = watched.map(media::open).transpose()?;
    let any_host = config.media.as_ref().is_some_and(|media| !media.hosts.is_empty());
    let pings = (watch.is_some() || any_host).then(Echoes::open);
    // Without the right there is none, and the server is told when it matters.
    let tracer = Tracer::open_usable().ok();
    net::capability::drop_all()?;
    Ok(Prepared { config, capture, echoes, tracer, watch, pings })
}

/// The host's name as the kernel knows it.
pub(crate) fn host_name() -> WorkerName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    WorkerName::from_host_name(name.trim())
}
