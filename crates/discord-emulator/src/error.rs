//! What can keep an emulator from starting. What it refuses to a client is `state::Refusal`.

use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    /// The text names the field and what is expected there.
    #[error("{origin}: {problem}")]
    Config { origin: String, problem: String },
    #[error("cannot listen on {address} for {purpose}: {source}")]
    Bind { purpose: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("cannot make certificates: {0}")]
    Certificate(String),
    #[error("the system gives no random bytes")]
    Random,
}
