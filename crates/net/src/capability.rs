//! Privileges of this process: what it may do, and giving it all up once the sockets are open.

use std::fs;
use std::io;

use caps::{CapSet, Capability};

use crate::error::NetError;

const OPERATION: &str = "giving up the capabilities of";

/// Gives up every capability for good: also programs started later get none, were they setuid or run by root.
///
/// Capabilities belong to threads, and threads that exist keep theirs: so this must come before any thread starts. An
/// error if one has, or if any capability is left.
pub fn drop_all() -> Result<(), NetError> {
    let failed = |error: io::Error| NetError::new(OPERATION, "this process", error);
    let threads = fs::read_dir("/proc/self/task").map_err(failed)?.count();
    if threads != 1 {
        return Err(failed(io::Error::other(format!("{threads} threads run already, and each has its own"))));
    }
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, 0, 0, 0) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(|error| failed(io::Error::other(error.to_string())))?;
    }
    match first_left().map_err(failed)? {
        None => Ok(()),
        Some(line) => Err(failed(io::Error::other(format!("the kernel still shows {line}")))),
    }
}

/// The first set that is not empty, of any thread.
fn first_left() -> io::Result<Option<String>> {
    for task in fs::read_dir("/proc/self/task")? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let mut sets = status
            .lines()
            .filter(|line| ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"].iter().any(|set| line.starts_with(set)));
        if let Some(line) =
            sets.find(|line| !line.split_whitespace().nth(1).is_some_and(|set| set.bytes().all(|c| c == b'0')))
        {
            return Ok(Some(line.replace('\t', " ")));
        }
    }
    Ok(None)
}

/// Capture, raw ICMP.
pub fn has_net_raw() -> bool {
    has(Capability::CAP_NET_RAW)
}

/// Ports below 1024.
pub fn has_net_bind_service() -> bool {
    has(Capability::CAP_NET_BIND_SERVICE)
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}
