//! Network namespaces: what a thread opens after it entered one belongs there.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::error::NetError;

/// Brings the calling thread, and no other, into the network namespace that a file stands for (`/run/netns/NAME`,
/// `/proc/PID/ns/net`). Needs CAP_SYS_ADMIN there. Sockets stay in the namespace in which they were opened.
pub fn enter(file: &Path) -> Result<(), NetError> {
    let failed = |source| NetError::new("entering the network namespace", file.display(), source);
    let namespace = File::open(file).map_err(failed)?;
    // SAFETY: the descriptor is open for the whole call; the kernel only reads it.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(failed(std::io::Error::last_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_named() {
        let error = enter(Path::new("/proc/self/status")).expect_err("not a namespace").to_string();
        assert!(error.starts_with("entering the network namespace /proc/self/status: "), "{error}");
        assert!(enter(Path::new("/run/netns/nowhere")).is_err());
    }
}
