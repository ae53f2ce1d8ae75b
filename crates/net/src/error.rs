//! The one error of this crate: which operation failed, on what, and what to do about it.

use std::fmt;
use std::io;

/// An operation of the system failed. Displays as one line.
#[derive(Debug)]
pub struct NetError {
    /// What was tried, as a gerund: `binding the UDP socket to`.
    pub operation: &'static str,
    /// On what: an address, an interface, a file.
    pub target: String,
    pub source: io::Error,
    /// What to do, where that is known.
    pub hint: Option<&'static str>,
}

impl NetError {
    pub(crate) fn new(operation: &'static str, target: impl fmt::Display, source: io::Error) -> NetError {
        NetError { operation, target: target.to_string(), source, hint: None }
    }

    /// The same with `errno` as the source.
    pub(crate) fn last(operation: &'static str, target: impl fmt::Display) -> NetError {
        NetError::new(operation, target, io::Error::last_os_error())
    }

    pub(crate) fn with_hint(mut self, hint: Option<&'static str>) -> NetError {
        self.hint = hint;
        self
    }

    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The time given to the operation was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
    }

    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.target, self.source)?;
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The line above already says it; a caller that prints the chain would repeat it.
        None
    }
}

/// The hint for an error of bind, where it is known.
pub(crate) fn bind_hint(error: &io::Error, port: u16) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EACCES) if port < 1024 => Some("a port below 1024 needs CAP_NET_BIND_SERVICE"),
        Some(libc::EADDRINUSE) => Some("the port is taken by another program"),
        Some(libc::EADDRNOTAVAIL) => Some("no interface of this host has the address"),
        Some(libc::EAFNOSUPPORT) => Some("this host has no such address family"),
        _ => None,
    }
}
