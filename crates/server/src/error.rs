//! What can go wrong when a server starts or serves, one clear line each.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Net(#[from] net::NetError),
    #[error("cannot listen on {address} for the control plane: {source}{hint}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error, hint: &'static str },
    #[error("cannot listen on {address} for the dashboard: {source}{hint}")]
    Dashboard { address: std::net::SocketAddr, source: std::io::Error, hint: &'static str },
    #[error(
        "the dashboard cannot listen on {0}: plain HTTP is for this host alone (127.0.0.1, [::1]); from elsewhere use the \
         HTTPS port with the link of `netlat server login`"
    )]
    DashboardNotLoopback(std::net::SocketAddr),
    #[error("standard input is no listening socket for the dashboard: {0}")]
    NoSocket(std::io::Error),
    #[error("cannot use the certificate {path}: {problem}")]
    Certificate { path: PathBuf, problem: String },
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(String),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Alerts(#[from] alerts::AlertError),
    #[error("the system gives no random bytes")]
    Random,
    #[error("cannot read the samples for a report: {0}")]
    Samples(measure::SourceError),
    #[error("the ingest thread ended; the server cannot go on: {0}")]
    Ingest(String),
}

/// Hint for the two errors of binding a socket that a person can mend.
pub(crate) fn bind_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            " (another program, perhaps another netlat server, has this port: stop it or choose another port)"
        }
        std::io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port)",
        std::io::ErrorKind::AddrNotAvailable => " (no interface of this host has this address)",
        _ => "",
    }
}
