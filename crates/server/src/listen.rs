//! Puts a server together: opens what it listens on, then (privileges dropped by the caller) starts its threads.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use alerts::Alerts;
use dashboard::{Dashboard, Entrance, Gate, Role};
use model::Task;
use model::control::ProbePorts;
use net::capture::Capture;
use net::tcp::TcpProbeListener;
use net::{UdpOptions, UdpProbeSocket};
use path::Tracer;
use serde::{Deserialize, Serialize};
use store::{Store, StoreOptions};
use tokio::sync::watch;
use wire::MaskKey;

use crate::ServerError;
use crate::coordinator::{Coordinator, Parts};
use crate::counters::Counters;
use crate::error::bind_hint;
use crate::ingest::{Ingest, Message};
use crate::observe::Observer;
use crate::outlook::Outlook;
use crate::pages::{self, ByCoordinator, DashboardAddress};
use crate::secrets;
use crate::sessions::SessionTable;
use crate::tls::Identity;
use crate::trigger::{AnyPort, Trigger};
use crate::udp::{Protocol, Shared, VoicePort};

pub struct ServerConfig {
    /// Control plane. An unspecified address means every address, and the probe ports follow it.
    pub listen: SocketAddr,
    /// UDP P and TCP P; UDP P+1 for dns.
    pub probe_port: u16,
    pub data_dir: PathBuf,
    /// How workers reach this server: the first goes into join strings (guessed from the interfaces if none is given),
    /// every address among them is given to workers to probe.
    pub advertise: Vec<String>,
    /// Also read the probes by passive capture of this interface.
    pub interface: Option<String>,
    /// Further ports, UDP and TCP, that take probes of every kind. One that cannot be opened is said and left out.
    pub trigger_ports: Vec<u16>,
    /// Expected number of false changes of running workers' verdicts a year, over the whole deployment.
    pub false_changes_per_year: f64,
    /// Certificate chain and key, PEM; made if not given.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub store: StoreOptions,
    /// Tasks of the configuration; they replace those of the same id.
    pub tasks: Vec<Task>,
    pub clock: net::Clock,
    pub dashboard: DashboardAddress,
    /// The city that a media host's name tells of.
    pub media_city: fn(&str) -> Option<String>,
    /// What is worth a message to a webhook.
    pub alerts: Vec<alerts::Rule>,
}

/// `DATA-DIR/server.json`: how commands on the same host reach the running server. Not secret; the token is in `admin.token`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announcement {
    pub control: SocketAddr,
    pub fingerprint: String,
}

impl Announcement {
    pub const FILE: &'static str = "server.json";
    pub const TOKEN_FILE: &'static str = "admin.token";
}

/// A server whose sockets are open and whose threads are not started yet.
pub struct Server {
    config: ServerConfig,
    store: Store,
    control: std::net::TcpListener,
    voice: Vec<Arc<UdpProbeSocket>>,
    tracer: Option<Tracer>,
    dns: Vec<Arc<UdpProbeSocket>>,
    tcp: Vec<TcpProbeListener>,
    triggers: Vec<Trigger>,
    trigger_ports: Vec<u16>,
    capture: Option<Capture>,
    tls: Arc<rustls::ServerConfig>,
    fingerprint: String,
    admin_hash: [u8; 32],
    mask_key: [u8; 32],
    gate: Arc<Gate>,
    pages: Option<std::net::TcpListener>,
    alerts: Arc<Alerts>,
}

/// Kernel buffer of a probe socket: a quarter second of 10,000 probes a second.
const RECEIVE_BUFFER: usize = 4 << 20;
const STACK: usize = 256 * 1024;
/// SQLite and the Parquet writer want more.
const INGEST_STACK: usize = 2 << 20;
const OUTLOOK_STACK: usize = 1 << 20;
/// Messages to the ingest thread in flight; a batch of observations is one message.
const CHANNEL: usize = 1024;

impl Server {
    /// Opens the data directory and all sockets.
    pub fn bind(mut config: ServerConfig) -> Result<Server, ServerError> {
        let alerts = Arc::new(Alerts::new(std::mem::take(&mut config.alerts), &config.data_dir)?);
        let mut store = Store::open(&config.data_dir, config.store.clone())?;
        let identity = identity(&mut store, config.certificate.as_ref())?;
        let fingerprint = identity.fingerprint();
        let tls = identity.server_config()?;
        let fresh_mask: [u8; 32] = secrets::random()?;
        let mask_key = fixed(store.secret("mask_key", || fresh_mask.to_vec())?)?;
        let admin_hash = admin_token(&config.data_dir)?;
        let fresh_key: [u8; 32] = secrets::random()?;
        let cookie_key = fixed(store.secret("cookie_key", || fresh_key.to_vec())?)?;
        let gate = Arc::new(Gate::new(&cookie_key, Some(admin_hash)));
        for task in &config.tasks {
            store.add_task(task)?;
        }
        let control = control_listener(config.listen)?;
        let pages = pages::listener(config.dashboard)?;
        let options = UdpOptions {
            timestamps: true,
            pktinfo: config.listen.ip().is_unspecified(),
            receive_buffer: RECEIVE_BUFFER,
            ..UdpOptions::default()
        };
        let (mut voice, mut dns, mut tcp) = (Vec::new(), Vec::new(), Vec::new());
        for address in probe_addresses(config.listen.ip()) {
            voice.push(Arc::new(UdpProbeSocket::bind(SocketAddr::new(address, config.probe_port), &options)?));
            let dns_address = SocketAddr::new(address, config.probe_port.wrapping_add(1));
            dns.push(Arc::new(UdpProbeSocket::bind(dns_address, &options)?));
            tcp.push(TcpProbeListener::bind(SocketAddr::new(address, config.probe_port))?);
        }
        let own = [config.probe_port, config.probe_port.wrapping_add(1)];
        let wanted: Vec<u16> = config.trigger_ports.iter().copied().filter(|port| !own.contains(port)).collect();
        let addresses = probe_addresses(config.listen.ip());
        let (triggers, trigger_ports, problems) = crate::trigger::open(&addresses, &wanted, &options);
        for problem in problems {
            tracing::warn!("{problem}");
        }
        let opened = config.interface.as_deref().map(|interface| crate::capture::open(interface, config.probe_port));
        let capture = opened.transpose()?;
        Ok(Server {
            config,
            store,
            control,
            voice,
            // Without the right there is none, and reports say so.
            tracer: Tracer::open_usable().ok(),
            dns,
            tcp,
            triggers,
            trigger_ports,
            capture,
            tls,
            fingerprint,
            admin_hash,
            mask_key,
            gate,
            pages,
            alerts,
        })
    }

    /// Where the dashboard is served as plain HTTP, if it is.
    pub fn dashboard_address(&self) -> Option<SocketAddr> {
        self.pages.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// A link that logs one browser in, once, to look.
    pub fn login_link(&self) -> Result<String, ServerError> {
        login_link(&self.gate, Role::Viewer, &self.authority()?, self.config.clock.now())
    }

    /// SHA-256 of the control plane's certificate.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub fn control_address(&self) -> Result<SocketAddr, ServerError> {
        let listen = self.config.listen;
        self.control.local_addr().map_err(|source| ServerError::Listen { address: listen, source, hint: "" })
    }

    /// `HOST:PORT` as workers reach it.
    pub fn authority(&self) -> Result<String, ServerError> {
        let address = self.control_address()?;
        let host = match self.config.advertise.first() {
            Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            Some(host) => host.clone(),
            None => match if address.ip().is_unspecified() { guess_address() } else { address.ip() } {
                IpAddr::V6(v6) => format!("[{v6}]"),
                IpAddr::V4(v4) => v4.to_string(),
            },
        };
        Ok(format!("{host}:{}", address.port()))
    }

    /// A join string that is written to the store before it is returned. `many`: for any number of workers, until revoked.
    pub fn join_string(&mut self, many: bool) -> Result<String, ServerError> {
        let token = secrets::token()?;
        let expires = (!many).then(|| self.config.clock.now().plus(24 * 3600 * 1_000_000_000));
        self.store.add_join_token(secrets::hash(&token), if many { None } else { Some(1) }, expires)?;
        Ok(format!("netlat://{}/{token}#{}", self.authority()?, self.fingerprint))
    }

    /// Serves until `stop` is done, then ends cleanly: no new probes, last commit, connections closed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let authority = self.authority()?;
        let announcement =
            Announcement { control: loopback(self.control_address()?), fingerprint: self.fingerprint.clone() };
        write_private(
            &self.config.data_dir.join(Announcement::FILE),
            &serde_json::to_vec(&announcement).unwrap_or_default(),
        )?;
        let counters = Arc::new(Counters::default());
        let sessions = Arc::new(SessionTable::default());
        let clock = self.config.clock.clone();
        let ingest = Ingest::new(self.store, sessions.clone(), counters.clone(), clock.clone())?;
        let (sender, messages) = sync_channel(CHANNEL);
        let ingesting = spawn("ingest", INGEST_STACK, move || ingest.run(&messages))?;

        let shared = Shared {
            sessions,
            counters,
            mask: Arc::new(MaskKey::new(&self.mask_key)),
            clock: clock.clone(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let mut threads = Vec::new();
        let outlook = Outlook {
            tracer: self.tracer,
            sockets: self.voice.clone(),
            shared: shared.clone(),
            ingest: sender.clone(),
            data_dir: self.config.data_dir.clone(),
        };
        threads.push(spawn("outlook", OUTLOOK_STACK, move || crate::outlook::run(&outlook))?);
        for socket in self.voice {
            threads.push(probe_thread("probe-udp", socket, VoicePort::new(), &shared, &sender)?);
        }
        for socket in self.dns {
            threads.push(probe_thread("probe-dns", socket, AnyPort::new(), &shared, &sender)?);
        }
        for listener in self.tcp {
            let (own, channel) = (shared.clone(), sender.clone());
            threads.push(spawn("probe-tcp", STACK, move || crate::tcp::run(&listener, &own, &channel))?);
        }

        for trigger in self.triggers {
            threads.push(probe_thread("trigger-udp", Arc::new(trigger.udp), AnyPort::new(), &shared, &sender)?);
            let (own, channel) = (shared.clone(), sender.clone());
            threads.push(spawn("trigger-tcp", STACK, move || crate::tcp::run(&trigger.tcp, &own, &channel))?);
        }

        let port = self.config.probe_port;
        if let Some(capture) = self.capture {
            let (own, observer) = (shared.clone(), Observer::new(sender.clone(), shared.counters.clone()));
            threads.push(spawn("capture", STACK, move || crate::capture::run(capture, port, &own, observer))?);
        }
        let has_pages = self.config.dashboard != DashboardAddress::Nowhere;
        let coordinator = Arc::new(Coordinator::new(Parts {
            ingest: sender.clone(),
            data_dir: self.config.data_dir.clone(),
            admin_hash: self.admin_hash,
            mask_key: self.mask_key,
            ports: ProbePorts { udp: port, dns: port.wrapping_add(1), tcp: port, trigger: self.trigger_ports },
            advertised: self.config.advertise.iter().filter_map(|host| host.parse().ok()).collect(),
            authority,
            fingerprint: self.fingerprint,
            clock: clock.clone(),
            false_changes_per_year: self.config.false_changes_per_year,
            gate: has_pages.then(|| self.gate.clone()),
            alerts: self.alerts.clone(),
        }));
        let (stopping, stopped) = watch::channel(false);
        let alerting = {
            let (keep, clock) = (Arc::new(coordinator.keeper()), clock.clone());
            let now_s = move || clock.now().0.div_euclid(1_000_000_000);
            tokio::spawn(self.alerts.run(keep, now_s, stopped.clone()))
        };
        let dashboard = Dashboard::new(dashboard::Parts {
            data_dir: self.config.data_dir.clone(),
            clock,
            gate: self.gate,
            control: Some(Arc::new(ByCoordinator(coordinator.clone()))),
            media_city: self.config.media_city,
            stop: stopped.clone(),
        });
        let showing = match self.pages {
            None => None,
            Some(listener) => {
                let router = dashboard.router(Entrance::Loopback);
                Some(tokio::spawn(dashboard::serve(pages::in_runtime(listener)?, router, stopped.clone())))
            }
        };
        let listen = self.config.listen;
        let listener = tokio::net::TcpListener::from_std(self.control).map_err(|source| ServerError::Listen {
            address: listen,
            source,
            hint: "",
        })?;
        let mut router = crate::api::router(coordinator);
        if has_pages {
            router = router.merge(dashboard.router(Entrance::Tls));
        }
        let serving = tokio::spawn(crate::http::serve(listener, self.tls, router, stopped));
        stop.await;

        let _ = stopping.send(true);
        shared.stop.store(true, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
            let _ = sender.send(Message::Stop);
            ingesting.join().map_err(|_| ServerError::Ingest("it panicked".to_owned()))
        });
        let _ = serving.await;
        let _ = alerting.await;
        if let Some(showing) = showing {
            let _ = showing.await;
        }
        ended.await.map_err(|error| ServerError::Ingest(error.to_string()))?
    }
}

fn spawn(name: &str, stack: usize, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ServerError> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(work).map_err(ServerError::Thread)
}

fn probe_thread(
    name: &str,
    socket: Arc<UdpProbeSocket>,
    mut protocol: impl Protocol + Send + 'static,
    shared: &Shared,
    sender: &SyncSender<Message>,
) -> Result<JoinHandle<()>, ServerError> {
    let (shared, observer) = (shared.clone(), Observer::new(sender.clone(), shared.counters.clone()));
    spawn(name, STACK, move || crate::udp::run(&socket, &mut protocol, &shared, observer))
}

/// The token is behind the `#`, which browsers do not send: it stays out of logs.
pub(crate) fn login_link(
    gate: &Gate,
    role: Role,
    authority: &str,
    now: model::UnixNanos,
) -> Result<String, ServerError> {
    let token = gate.issue(role, now).ok_or(ServerError::Random)?;
    Ok(format!("https://{authority}/#login={token}"))
}

fn fixed(bytes: Vec<u8>) -> Result<[u8; 32], ServerError> {
    bytes.try_into().map_err(|_| ServerError::Random)
}

fn identity(store: &mut Store, files: Option<&(PathBuf, PathBuf)>) -> Result<Identity, ServerError> {
    if let Some((chain, key)) = files {
        return Identity::from_files(chain, key);
    }
    // Certificate and key are one secret, so that a crash cannot leave one without the other.
    let fresh = Identity::self_signed()?;
    let both = store.secret("certificate", || serde_json::to_vec(&fresh).unwrap_or_default())?;
    let (certificate, key) =
        serde_json::from_slice(&both).map_err(|error| ServerError::SelfSigned(error.to_string()))?;
    Ok(Identity::from_der(certificate, key))
}

/// The admin token in its file; made at the first start. Returns its hash.
fn admin_token(dir: &Path) -> Result<[u8; 32], ServerError> {
    let path = dir.join(Announcement::TOKEN_FILE);
    let token = match fs::read_to_string(&path) {
        Ok(token) if token.trim().len() >= 26 => token.trim().to_owned(),
        _ => {
            let token = secrets::token()?;
            write_private(&path, token.as_bytes())?;
            token
        }
    };
    Ok(secrets::hash(&token))
}

/// Writes aside and renames, mode 0600.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ServerError> {
    let failed = |source| ServerError::Write { path: path.to_owned(), source };
    let aside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&aside, path).map_err(failed)
}

fn control_listener(address: SocketAddr) -> Result<std::net::TcpListener, ServerError> {
    let failed = |source: std::io::Error| ServerError::Listen { address, hint: bind_hint(&source), source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// The default of both families where the control plane listens on every IPv6 address (which takes IPv4 as well).
fn probe_addresses(listen: IpAddr) -> Vec<IpAddr> {
    match listen {
        IpAddr::V6(v6) if v6.is_unspecified() => {
            vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        }
        other => vec![other],
    }
}

fn loopback(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(v6) if v6.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        IpAddr::V4(v4) if v4.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

/// The first address of this host that others may reach; loopback if there is none.
fn guess_address() -> IpAddr {
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let mut addresses: Vec<IpAddr> =
        net::interface::addresses().unwrap_or_default().into_iter().filter(usable).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
