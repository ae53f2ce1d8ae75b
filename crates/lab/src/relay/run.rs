//! The relay process: two packet sockets, one thread, waits that end on time.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use net::packet_io::{Frame, MAX_FRAME, PacketSocket, PacketSocketError, use_precise_timers, wait_readable};
use serde::{Deserialize, Serialize};

use super::line::Treatment;
use super::{Counts, DelayLine, FAR, NEAR, READY, Relay};

/// The kernel wakes a sleeper about so late; the rest of the wait is spent awake.
const SPIN: Duration = Duration::from_micros(40);
/// So that an idle line's wait has an end.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Frames read from one side before the other side and the clock get their turn.
const BATCH: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the relay's argument is not understood: {0}")]
    Argument(String),
    #[error(transparent)]
    Socket(#[from] PacketSocketError),
    #[error("the relay cannot {doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
}

/// What a relay prints as TOML when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayCounts {
    pub up: Counts,
    pub down: Counts,
}

/// Forwards between the interfaces [`NEAR`] and [`FAR`] of this network namespace until standard input is closed, which
/// also happens when whoever started the relay dies. Prints [`READY`] once it forwards and [`RelayCounts`] at the end.
pub fn run(relay: &Relay) -> Result<(), RelayError> {
    let near = PacketSocket::open(NEAR)?;
    let far = PacketSocket::open(FAR)?;
    use_precise_timers().map_err(|source| RelayError::Io { doing: "set its timer slack", source })?;
    say(READY)?;
    let counts = forward(relay, &near, &far, io::stdin().as_fd())?;
    let text = toml::to_string(&counts).map_err(|error| RelayError::Argument(error.to_string()))?;
    say(text.trim_end())
}

fn say(text: &str) -> Result<(), RelayError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|source| RelayError::Io { doing: "write", source })
}

fn forward(
    relay: &Relay,
    near: &PacketSocket,
    far: &PacketSocket,
    stop: BorrowedFd<'_>,
) -> Result<RelayCounts, RelayError> {
    let mut buffer = vec![0; MAX_FRAME];
    let mut up = DelayLine::new(relay.up.clone(), relay.seed);
    let mut down = DelayLine::new(relay.down.clone(), !relay.seed);
    loop {
        let more = drain(near, &mut up, &mut buffer)? | drain(far, &mut down, &mut buffer)?;
        release(&mut up, far);
        release(&mut down, near);
        let next = [up.next_departure(), down.next_departure()].into_iter().flatten().min();
        let wait = next.map_or(LONGEST_WAIT, |next| next.saturating_duration_since(Instant::now()));
        if more || wait.is_zero() {
            continue;
        }
        if wait <= SPIN {
            while next.is_some_and(|next| Instant::now() < next) {
                std::hint::spin_loop();
            }
            continue;
        }
        let waited = wait_readable([near.as_fd(), far.as_fd(), stop], Some((wait - SPIN).min(LONGEST_WAIT)));
        let [_, _, stopped] = waited.map_err(|source| RelayError::Io { doing: "wait", source })?;
        if stopped {
            return Ok(RelayCounts { up: up.counts, down: down.counts });
        }
    }
}

/// Reads what has come; true when there may be more.
fn drain(from: &PacketSocket, line: &mut DelayLine<Frame>, buffer: &mut [u8]) -> Result<bool, RelayError> {
    for _ in 0..BATCH {
        match from.receive(buffer) {
            Ok(Some((frame, arrived))) => {
                let treatment = Treatment::of(frame.ethernet());
                line.take(frame, treatment, arrived);
            }
            Ok(None) => return Ok(false),
            Err(source) => return Err(RelayError::Io { doing: "receive", source }),
        }
    }
    Ok(true)
}

fn release(line: &mut DelayLine<Frame>, to: &PacketSocket) {
    while let Some(frame) = line.release(Instant::now()) {
        if to.send(&frame).is_err() {
            line.counts.unsent += 1;
        }
    }
}
