//! A running bot from outside, in whatever language it is written: its connections by INET_DIAG, and whether what arrives there is read.
//! An event loop that stands still leaves bytes unread in its socket while Discord waits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::diag::{TcpConnection, tcp_connections};
use net::process::{ProcessError, other_network, socket_inodes, ticks_per_second, vitals};
use serde::Serialize;
use tokio::sync::oneshot;

use super::ms;

/// A look takes part of a millisecond.
const EVERY: Duration = Duration::from_millis(25);
/// Which descriptors are its sockets changes seldom.
const DESCRIPTORS: Duration = Duration::from_millis(500);
/// A loop that stalls now and then wants to be seen stalling.
pub(super) const LEAST: Duration = Duration::from_secs(8);
const HTTPS: u16 = 443;

/// A process that was found.
#[derive(Clone, Debug)]
pub struct Watched {
    pub pid: u32,
    /// Its network namespace, where it is another than ours.
    network: Option<PathBuf>,
    /// Ports besides 443 that count as Discord's: an emulator's.
    ports: Vec<u16>,
}

impl Watched {
    /// `asked`: a number or a name. `ports`: those of the addresses that were given for Discord.
    pub fn find(asked: &str, ports: Vec<u16>) -> Result<Watched, ProcessError> {
        let pid = net::process::find(asked)?;
        socket_inodes(pid)?;
        Ok(Watched { pid, network: other_network(pid)?, ports })
    }
}

/// What was seen of a process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Looks {
    pub pid: u32,
    pub name: String,
    pub looks: usize,
    /// Of one processor.
    pub cpu_percent: f64,
    pub resident_mb: f64,
    /// Share of the looks in each state (`R` running, `S` sleeping, `D` disk).
    pub running_percent: f64,
    pub connections: Vec<Seen>,
    /// The longest stretch of looks in which bytes waited unread.
    pub unread_ms: f64,
    /// Share of the looks in which bytes waited unread.
    pub unread_percent: f64,
    /// Why less was seen than could be.
    pub problem: Option<String>,
}

/// One of its connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// An address that Discord's names have here.
    pub is_known: bool,
    pub min_rtt_ms: Option<f64>,
    pub rtt_ms: Option<f64>,
    pub retransmits: Option<u32>,
    pub most_unread_bytes: u32,
}

pub(super) struct Watching {
    stop: Arc<AtomicBool>,
    result: oneshot::Receiver<Looks>,
}

impl Watching {
    /// On a thread of its own: a namespace is a thread's, and looks must not wait for this check's own work.
    pub(super) fn start(watched: Watched) -> Watching {
        let stop = Arc::new(AtomicBool::new(false));
        let (answer, result) = oneshot::channel();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let _ = answer.send(watch(&watched, &stopped));
        });
        Watching { stop, result }
    }

    pub(super) async fn end(self, known: &[SocketAddr]) -> Looks {
        self.stop.store(true, Ordering::Relaxed);
        let mut looks =
            self.result.await.unwrap_or_else(|_| Looks::nothing(0, "the thread that looked ended".to_owned()));
        for seen in &mut looks.connections {
            seen.is_known = known.iter().any(|at| at.ip().to_canonical() == seen.peer.ip());
        }
        looks
    }
}

impl Looks {
    fn nothing(pid: u32, problem: String) -> Looks {
        Looks {
            pid,
            name: String::new(),
            looks: 0,
            cpu_percent: 0.0,
            resident_mb: 0.0,
            running_percent: 0.0,
            connections: Vec::new(),
            unread_ms: 0.0,
            unread_percent: 0.0,
            problem: Some(problem),
        }
    }
}

/// Longest stretch and share of something that is so or not at each look.
#[derive(Default)]
struct Stretch {
    since: Option<Instant>,
    longest: Duration,
    times: usize,
}

impl Stretch {
    fn see(&mut self, is: bool, now: Instant) {
        self.times += usize::from(is);
        match (is, self.since) {
            (true, None) => self.since = Some(now),
            (true, Some(since)) => self.longest = self.longest.max(now - since),
            (false, _) => self.since = None,
        }
    }
}

fn watch(watched: &Watched, stop: &AtomicBool) -> Looks {
    let pid = watched.pid;
    if let Some(file) = &watched.network
        && let Err(error) = net::namespace::enter(file)
    {
        let hint = "it runs in a network namespace of its own (a container), which needs CAP_SYS_ADMIN to look into";
        return Looks::nothing(pid, format!("{hint}: {error}"));
    }
    let begun = Instant::now();
    let (mut looks, mut running) = (0usize, 0usize);
    let mut unread = Stretch::default();
    let mut seen: Vec<Seen> = Vec::new();
    let (mut first, mut last) = (None, None);
    let mut inodes = (Instant::now(), socket_inodes(pid));
    let problem = loop {
        if stop.load(Ordering::Relaxed) {
            break None;
        }
        let now = Instant::now();
        if now - inodes.0 > DESCRIPTORS {
            inodes = (now, socket_inodes(pid));
        }
        let (own, state, all) = match (&inodes.1, vitals(pid), tcp_connections()) {
            (Ok(own), Ok(state), Ok(all)) => (own, state, all),
            (Err(error), ..) => break Some(error.to_string()),
            (_, Err(error), _) => break Some(error.to_string()),
            (.., Err(error)) => break Some(error.to_string()),
        };
        if state.state == 'Z' {
            break Some(ProcessError::Gone(pid).to_string());
        }
        looks += 1;
        running += usize::from(state.state == 'R');
        let port = |one: &TcpConnection| one.peer.port() == HTTPS || watched.ports.contains(&one.peer.port());
        let theirs = all.iter().filter(|one| own.contains(&one.inode) && port(one));
        let mut waits = false;
        for one in theirs {
            waits |= one.unread_bytes > 0;
            note(&mut seen, one);
        }
        unread.see(waits, now);
        first.get_or_insert_with(|| state.clone());
        last = Some(state);
        std::thread::sleep(EVERY);
    };
    let Some((first, last)) = first.zip(last) else {
        return Looks::nothing(pid, problem.unwrap_or_else(|| "there was no time to look".to_owned()));
    };
    let ticks = last.cpu_ticks.saturating_sub(first.cpu_ticks) as f64;
    let seconds = begun.elapsed().as_secs_f64().max(1e-3);
    let percent = |part: usize| (1000.0 * part as f64 / looks as f64).round() / 10.0;
    let nowhere = seen.is_empty() && problem.is_none();
    Looks {
        pid,
        name: last.name,
        looks,
        cpu_percent: (1000.0 * ticks / ticks_per_second() as f64 / seconds).round() / 10.0,
        resident_mb: (last.resident_bytes as f64 / 1e5).round() / 10.0,
        running_percent: percent(running),
        unread_ms: ms(unread.longest),
        unread_percent: percent(unread.times),
        connections: seen,
        problem: if nowhere { Some("it has no TLS connection (port 443) open".to_owned()) } else { problem },
    }
}

/// The newest figures of a connection, and the most that ever waited.
fn note(seen: &mut Vec<Seen>, one: &TcpConnection) {
    const MOST: usize = 64;
    let fresh = Seen {
        local: one.local,
        peer: one.peer,
        is_known: false,
        min_rtt_ms: one.info.and_then(|info| info.min_rtt).map(ms),
        rtt_ms: one.info.map(|info| ms(info.smoothed_rtt)),
        retransmits: one.info.map(|info| info.retransmits),
        most_unread_bytes: one.unread_bytes,
    };
    match seen.iter().position(|old| (old.local, old.peer) == (one.local, one.peer)) {
        Some(at) => {
            seen[at] = Seen { most_unread_bytes: seen[at].most_unread_bytes.max(one.unread_bytes), ..fresh };
        }
        None if seen.len() < MOST => seen.push(fresh),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_from_the_first_to_the_last_look_of_it() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut unread = Stretch::default();
        for (is, ms) in [(true, 0), (true, 25), (false, 50), (true, 75), (true, 175), (true, 300), (false, 325)] {
            unread.see(is, at(ms));
        }
        assert_eq!((unread.longest, unread.times), (Duration::from_millis(225), 5));
    }
}
