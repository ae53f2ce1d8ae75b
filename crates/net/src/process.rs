//! Other processes as `/proc` shows them: which sockets are theirs, what state they are in, what they cost.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a process was not looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("there is no process {0} (any more)")]
    Gone(u32),
    #[error("may not look into process {0}: run as its user or as root (CAP_SYS_PTRACE)")]
    NotAllowed(u32),
    #[error("no running process is called '{0}'")]
    Unknown(String),
    #[error("{} processes are called '{name}': give one of their numbers ({})", .numbers.len(), list(.numbers))]
    Several { name: String, numbers: Vec<u32> },
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
}

fn list(numbers: &[u32]) -> String {
    let shown: Vec<String> = numbers.iter().take(8).map(u32::to_string).collect();
    format!("{}{}", shown.join(", "), if numbers.len() > 8 { ", ..." } else { "" })
}

fn failed(pid: u32, path: &Path) -> impl FnOnce(io::Error) -> ProcessError + '_ {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => ProcessError::Gone(pid),
        io::ErrorKind::PermissionDenied => ProcessError::NotAllowed(pid),
        // The process ended between opening and reading.
        _ if source.raw_os_error() == Some(libc::ESRCH) => ProcessError::Gone(pid),
        _ => ProcessError::Read { path: path.to_owned(), source },
    }
}

/// Inodes of the process's sockets.
pub fn socket_inodes(pid: u32) -> Result<HashSet<u64>, ProcessError> {
    let dir = PathBuf::from(format!("/proc/{pid}/fd"));
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(&dir).map_err(failed(pid, &dir))? {
        // A descriptor may be closed meanwhile.
        let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path())) else { continue };
        let inode: Option<u64> =
            target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inodes.extend(inode);
    }
    Ok(inodes)
}

/// What a process is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// As the kernel cut it: at most 15 bytes.
    pub name: String,
    /// `R` running, `S` sleeping, `D` waiting for a disk, `T` stopped, `Z` ended and not collected.
    pub state: char,
    /// User and system time since its start, in clock ticks ([`ticks_per_second`]).
    pub cpu_ticks: u64,
    pub resident_bytes: u64,
    pub parent: u32,
}

pub fn vitals(pid: u32) -> Result<Vitals, ProcessError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = fs::read(&path).map_err(failed(pid, &path))?;
    let odd = || ProcessError::Read { path: path.clone(), source: io::ErrorKind::InvalidData.into() };
    parse_stat(&String::from_utf8_lossy(&text)).ok_or_else(odd)
}

/// proc(5): the name stands in parentheses and may hold anything, parentheses too.
fn parse_stat(text: &str) -> Option<Vitals> {
    let (begin, end) = (text.find('(')?, text.rfind(')')?);
    let name = text.get(begin + 1..end)?.to_owned();
    let fields: Vec<&str> = text.get(end + 1..)?.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Vitals {
        name,
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        cpu_ticks: number(14)? + number(15)?,
        resident_bytes: number(24)?.saturating_mul(page_bytes()),
    })
}

fn page_bytes() -> u64 {
    // SAFETY: takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

pub fn ticks_per_second() -> u64 {
    // SAFETY: takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Numbers of all processes that can be seen.
fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A number, or the name of exactly one process: its program's, or its script's (`bot.py` of `python3 bot.py`). Not this process.
pub fn find(asked: &str) -> Result<u32, ProcessError> {
    if let Ok(pid) = asked.parse() {
        return vitals(pid).map(|_| pid);
    }
    let called = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let base = |word: &str| Path::new(word).file_name().is_some_and(|name| name == asked);
        *pid != std::process::id()
            && (words.split('\0').take(2).any(base) || vitals(*pid).is_ok_and(|vitals| vitals.name == asked))
    };
    let mut numbers: Vec<u32> = all().into_iter().filter(called).collect();
    numbers.sort_unstable();
    match numbers[..] {
        [] => Err(ProcessError::Unknown(asked.to_owned())),
        [one] => Ok(one),
        _ => Err(ProcessError::Several { name: asked.to_owned(), numbers }),
    }
}

/// The file that stands for the process's network namespace, where it is another one than this process's.
pub fn other_network(pid: u32) -> Result<Option<PathBuf>, ProcessError> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let theirs = fs::read_link(&path).map_err(failed(pid, &path))?;
    let ours = fs::read_link("/proc/self/ns/net").ok();
    Ok((ours != Some(theirs)).then_some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_what_it_likes() {
        let text =
            "42 (a) R (b)) S 7 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 12345 1000000 300 18446744073709551615";
        let vitals = parse_stat(text).unwrap();
        assert_eq!((vitals.name.as_str(), vitals.state, vitals.parent), ("a) R (b)", 'S', 7));
        assert_eq!((vitals.cpu_ticks, vitals.resident_bytes), (300, 300 * page_bytes()));
        for end in 0..text.len() {
            let _ = parse_stat(&text[..end]);
        }
    }

    #[test]
    fn sockets_are_found_by_their_owner_and_the_gone_are_told_from_the_forbidden() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().ino();
        assert!(socket_inodes(std::process::id()).unwrap().contains(&inode));
        assert!(vitals(std::process::id()).unwrap().resident_bytes > 100_000);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(find(&child.id().to_string()).unwrap(), child.id());
        assert_eq!(other_network(child.id()).unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(socket_inodes(child.id()), Err(ProcessError::Gone(pid)) if pid == child.id()));
        assert!(matches!(find("no-such-program-here"), Err(ProcessError::Unknown(_))));
    }
}
