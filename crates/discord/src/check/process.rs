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
    /// The longest that arrived bytes waited without any being read, on one of its connections to Discord (on any, where none is
    /// known to be Discord's).
    pub unread_ms: f64,
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
    /// The longest that bytes waited here without any being read.
    pub unread_ms: f64,
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
        looks.unread_ms = longest_unread_ms(&looks.connections);
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
            problem: Some(problem),
        }
    }
}

/// An idle connection to somebody else may hold an unread farewell for hours: it says nothing of the bot.
fn longest_unread_ms(connections: &[Seen]) -> f64 {
    let any_known = connections.iter().any(|seen| seen.is_known);
    let judged = connections.iter().filter(|seen| seen.is_known || !any_known);
    judged.map(|seen| seen.unread_ms).fold(0.0, f64::max)
}

/// How long bytes waited while the process read none. That something waits at a look proves nothing: a busy reader's socket is seldom
/// empty. What tells is that the bytes read so far stay the same.
#[derive(Default)]
struct Stall {
    /// Since when, and how many bytes had been read by then.
    since: Option<(Instant, u64)>,
    longest: Duration,
}

impl Stall {
    fn see(&mut self, unread: u32, read: u64, now: Instant) {
        match self.since {
            _ if unread == 0 => self.since = None,
            Some((since, before)) if before == read => self.longest = self.longest.max(now - since),
            _ => self.since = Some((now, read)),
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
    let mut seen: Vec<(Seen, Stall)> = Vec::new();
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
        theirs.for_each(|one| note(&mut seen, one, now));
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
    let connections =
        seen.into_iter().map(|(seen, stall)| Seen { unread_ms: ms(stall.longest), ..seen }).collect::<Vec<_>>();
    Looks {
        pid,
        name: last.name,
        looks,
        cpu_percent: (1000.0 * ticks / ticks_per_second() as f64 / seconds).round() / 10.0,
        resident_mb: (last.resident_bytes as f64 / 1e5).round() / 10.0,
        running_percent: percent(running),
        unread_ms: longest_unread_ms(&connections),
        connections,
        problem: if nowhere { Some("it has no TLS connection (port 443) open".to_owned()) } else { problem },
    }
}

/// The newest figures of a connection, the most that ever waited, and how long.
fn note(seen: &mut Vec<(Seen, Stall)>, one: &TcpConnection, now: Instant) {
    const MOST: usize = 64;
    let at = match seen.iter().position(|(old, _)| (old.local, old.peer) == (one.local, one.peer)) {
        Some(at) => at,
        None if seen.len() < MOST => {
            let fresh = Seen {
                local: one.local,
                peer: one.peer,
                is_known: false,
                min_rtt_ms: None,
                rtt_ms: None,
                retransmits: None,
                most_unread_bytes: 0,
                unread_ms: 0.0,
            };
            seen.push((fresh, Stall::default()));
            seen.len() - 1
        }
        None => return,
    };
    let (old, stall) = &mut seen[at];
    old.min_rtt_ms = one.info.and_then(|info| info.min_rtt).map(ms);
    old.rtt_ms = one.info.map(|info| ms(info.smoothed_rtt));
    old.retransmits = one.info.map(|info| info.retransmits);
    old.most_unread_bytes = old.most_unread_bytes.max(one.unread_bytes);
    let read = one.info.map_or(0, |info| info.bytes_received.saturating_sub(one.unread_bytes.into()));
    stall.see(one.unread_bytes, read, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_while_nothing_is_read_is_a_stall_and_a_busy_reader_is_none() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut stalled = Stall::default();
        // More comes, none is read; then it is.
        for (unread, read, ms) in
            [(10, 0, 0), (10, 0, 25), (0, 10, 50), (5, 10, 75), (30, 10, 175), (60, 10, 300), (7, 63, 325)]
        {
            stalled.see(unread, read, at(ms));
        }
        assert_eq!(stalled.longest, Duration::from_millis(225));
        let mut busy = Stall::default();
        (0..100).for_each(|look| busy.see(400, look * 1_000, at(look * 25)));
        assert_eq!(busy.longest, Duration::ZERO);
    }

    #[test]
    fn a_connection_to_somebody_else_does_not_speak_for_the_bot() {
        let seen = |is_known, unread_ms| Seen {
            local: "10.0.0.1:1".parse().unwrap(),
            peer: "10.0.0.2:443".parse().unwrap(),
            is_known,
            min_rtt_ms: None,
            rtt_ms: None,
            retransmits: None,
            most_unread_bytes: 31,
            unread_ms,
        };
        assert_eq!(longest_unread_ms(&[seen(false, 8_000.0), seen(true, 20.0)]), 20.0);
        assert_eq!(longest_unread_ms(&[seen(false, 8_000.0), seen(false, 20.0)]), 8_000.0);
        assert_eq!(longest_unread_ms(&[]), 0.0);
    }
}
