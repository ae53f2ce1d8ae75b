//! What can end a worker, each as one line that says what failed, on what, and what to do.

use std::io;
use std::path::PathBuf;

use crate::join::{Fingerprint, ServerAddress};

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("cannot reach the server at {server}: {problem}")]
    Unreachable { server: ServerAddress, problem: String },
    #[error(
        "the server at {server} shows certificate {}.., the join string says {}..: wrong server or somebody in between",
        shown.short(), expected.short()
    )]
    WrongFingerprint { server: ServerAddress, shown: Fingerprint, expected: Fingerprint },
    #[error(
        "the server at {server} does not accept the join token (used, expired or unknown): get a fresh join string with `netlat server join`"
    )]
    BadToken { server: ServerAddress },
    #[error(
        "the server at {server} does not know this worker's credential (any more): join again with a fresh join string"
    )]
    Revoked { server: ServerAddress },
    #[error("the server at {server} refuses this version: {message}")]
    VersionMismatch { server: ServerAddress, message: String },
    /// Any other refusal, in the server's own words.
    #[error("the server at {server} answered {status} {word}: {message}")]
    Refused { server: ServerAddress, status: u16, word: String, message: String },
    #[error("no credential is stored in {}: give a join string (netlat server join prints one) with --join or NETLAT_JOIN", data_dir.display())]
    NotJoined { data_dir: PathBuf },
    #[error("no join string was given: netlat server join prints one")]
    NoJoin,
    #[error("{operation} {}: {source}", path.display())]
    DataDir { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is in use by another worker: give each its own data directory", path.display())]
    Locked { path: PathBuf },
    #[error("the stored credential {} is unreadable ({problem}): delete it and join again", path.display())]
    BadCredentialFile { path: PathBuf, problem: String },
    #[error("{0}")]
    Task(#[from] model::task::InvalidTask),
    #[error("{0}")]
    Net(#[from] net::NetError),
    /// Nothing that was asked for could be measured.
    #[error("nothing could be measured: {0}")]
    Untestable(String),
    #[error("cannot start: {0}")]
    Start(String),
}

impl WorkerError {
    pub(crate) fn data(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> WorkerError {
        WorkerError::DataDir { operation, path: path.into(), source }
    }

    /// Worth another try later: the server is away, overloaded or shutting down.
    pub fn is_transient(&self) -> bool {
        match self {
            WorkerError::Unreachable { .. } => true,
            WorkerError::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}
