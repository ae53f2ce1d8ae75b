//! http and tls probes: one TCP connection each, marked before connecting, on a thread of its own. Times are those of the
//! packets with the request and the answer, not of the handshake.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{Family, Kind, ReceivedHalf, SampleFlags, SentHalf, Tos, UnixNanos};
use net::tcp::{MarkOf, TcpOptions, TcpProbe};
use net::{Clock, NetError};
use wire::token::TOKEN_LEN;

use super::STACK;
use super::link::Link;
use super::plan::{Due, Plan};
use super::stop::Flag;
use crate::capture::Watcher;

/// For connecting, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer answers are not ours.
const MAX_ANSWER: usize = 4096;
const MAX_CONNECTIONS: usize = 100;
const STAMP_TRIES: u32 = 20;

/// Bounds the connections of a flow and tells when none is left.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    used: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    pub(super) fn take(&self, stop: &Flag) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used >= MAX_CONNECTIONS {
            if stop.is_set() {
                return false;
            }
            let waited = self.freed.wait_timeout(used, Duration::from_millis(100));
            used = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *used += 1;
        true
    }

    pub(super) fn free(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.freed.notify_one();
    }
}

/// Begins a connection whenever one is due, until the plan ends or `stop`.
pub(crate) fn dispatch(link: &Arc<Link>, mut plan: Plan, watcher: Option<&Watcher>, stop: &Flag) {
    // Without it probes are some 50 us later, no more.
    let _ = net::pacing::set_timer_slack(1_000);
    let slots = Arc::new(Slots::default());
    while let Some(due) = plan.next() {
        if !stop.sleep_until(due.at_ns) || !slots.take(stop) {
            return;
        }
        let now_ns = Clock::monotonic_ns();
        let late_ns = now_ns.saturating_sub(due.at_ns);
        if late_ns > 1_000_000_000 {
            plan.postpone(late_ns);
        }
        launch(link, due, now_ns, watcher, &slots);
    }
}

/// One connection on a thread of its own, for which a slot was taken.
pub(super) fn launch(link: &Arc<Link>, due: Due, now_ns: u64, watcher: Option<&Watcher>, slots: &Arc<Slots>) {
    link.log.begin(now_ns, due.sequence);
    let (own, watcher, done) = (link.clone(), watcher.cloned(), slots.clone());
    let spawned = std::thread::Builder::new().name(format!("probe-{}", link.kind)).stack_size(STACK).spawn(move || {
        probe(&own, due, watcher.as_ref());
        done.free();
    });
    if let Err(error) = spawned {
        link.log.retract(due.sequence);
        link.log.note(format!("{}: cannot start a thread for a connection: {error}", link.kind));
        slots.free();
    }
}

fn probe(link: &Link, due: Due, watcher: Option<&Watcher>) {
    let began = link.clock.now();
    let began_ns = Clock::monotonic_ns();
    let mark = link.mark(due.tos);
    // A SYN with the usual options.
    let syn = if link.family == Family::Ipv4 { 60 } else { 80 };
    let unsent = |flags: SampleFlags| SentHalf {
        sequence: due.sequence,
        sent_at: began,
        tos: mark,
        size: syn,
        flags: flags.with(SampleFlags::TX_USER),
    };
    let connection = match TcpProbe::connect(link.peer, mark, PATIENCE, &TcpOptions::default()) {
        Ok(connection) => connection,
        Err(error) if is_local(&error) => {
            link.log.retract(due.sequence);
            return link.log.note(format!("{} over {}: {error}", link.kind, link.family));
        }
        Err(error) => {
            let refused =
                matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset);
            link.log.note(format!("{} over {}: {error}", link.kind, link.family));
            let flags = if refused { SampleFlags::REFUSED } else { SampleFlags::default() };
            return link.log.finish(began_ns, unsent(flags));
        }
    };
    // Of the SYN alone: nothing else has been sent yet.
    let handshake = connection.info().ok().and_then(|info| info.min_rtt);
    let captured =
        watcher.and_then(|watcher| Some(watcher.watch(connection.local_addr().ok()?, connection.peer_addr().ok()?)));
    let user_time = link.clock.now();
    let sent_ns = Clock::monotonic_ns();
    let header = link.header(due.sequence, due.tos, user_time);
    let mut request = Vec::with_capacity(768);
    if let Err(problem) = build(link, &mut request, &link.token(&header)) {
        link.log.retract(due.sequence);
        return link.log.note(format!("{}: {problem}", link.kind));
    }
    if let Err(error) = connection.send(&request, PATIENCE) {
        link.log.note(format!("{} over {}: {error}", link.kind, link.family));
        return link.log.finish(sent_ns, unsent(SampleFlags::REFUSED));
    }
    let outcome = read_answer(link, &connection, due.sequence);
    let retransmitted = connection.info().is_ok_and(|info| info.retransmits > 0);
    let stamp = transmit_stamp(&connection).map(|stamp| link.clock.stamp(stamp));
    let mut flags = if stamp.is_some() { SampleFlags::default() } else { SampleFlags::TX_USER };
    let data = outcome.half.as_ref().and_then(|half| u64::try_from(half.received_at.since(stamp?)).ok());
    let nearer = handshake
        .zip(data)
        .is_some_and(|(handshake, data_ns)| link.nearest.somebody_nearer(handshake, Duration::from_nanos(data_ns)));
    if outcome.somebody_else || nearer {
        flags = flags.with(SampleFlags::INTERCEPTED);
    }
    if outcome.reset {
        flags = flags.with(SampleFlags::REFUSED);
    }
    if retransmitted {
        flags = flags.with(SampleFlags::RETRANSMITTED);
    }
    if let Some(mut half) = outcome.half {
        if let Some(seen) = captured.as_ref().and_then(|watch| watch.mark()) {
            half.tos = Some(seen.tos);
            half.ttl = Some(seen.ttl);
            half.flags = half.flags.with(SampleFlags::CAPTURED);
        }
        link.log.answered(&half);
    }
    // Behind the IP header TCP's 20 bytes and the timestamps' 12.
    let headers = if link.family == Family::Ipv4 { 52 } else { 72 };
    let size = u16::try_from(request.len()).unwrap_or(u16::MAX).saturating_add(headers);
    let sent_at = stamp.unwrap_or(user_time);
    link.log.finish(sent_ns, SentHalf { sequence: due.sequence, sent_at, tos: mark, size, flags });
}

/// The host itself could not: nothing was on the wire.
pub(super) fn is_local(error: &NetError) -> bool {
    use std::io::ErrorKind as E;
    matches!(
        error.kind(),
        E::AddrNotAvailable | E::NetworkUnreachable | E::NetworkDown | E::PermissionDenied | E::OutOfMemory
    ) || error.raw_os_error().is_some_and(|code| code == TOO_MANY_FILES || code == TOO_MANY_FILES_IN_SYSTEM)
}

/// EMFILE and ENFILE, which `io::ErrorKind` does not name.
const TOO_MANY_FILES: i32 = 24;
const TOO_MANY_FILES_IN_SYSTEM: i32 = 23;

pub(super) fn build(link: &Link, request: &mut Vec<u8>, token: &[u8; TOKEN_LEN]) -> Result<(), String> {
    let random = |filler: &mut [u8]| {
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), filler)
            .map_err(|_| "the system has no random numbers".to_owned())
    };
    if let Some(length) = link.random_stream {
        let mut filler = vec![0; length.saturating_sub(TOKEN_LEN)];
        random(&mut filler)?;
        wire::stream::build_stream(request, token, &filler);
        return Ok(());
    }
    match link.kind {
        Kind::Tls => {
            let mut filler = [0; wire::tls::CLIENT_FILLER_LEN];
            random(&mut filler)?;
            wire::tls::build_client_hello(request, &link.sni, token, &filler)
                .map_err(|error| format!("cannot build a ClientHello for '{}': {error}", link.sni))
        }
        _ => {
            wire::http::build_request(request, &link.host, token);
            Ok(())
        }
    }
}

#[derive(Default)]
struct Outcome {
    half: Option<ReceivedHalf>,
    /// What answered was not the server, or not it alone.
    somebody_else: bool,
    reset: bool,
}

/// What the stream so far says: nothing yet, or a token or its absence, and a proxy's traces.
struct Verdict {
    token: Option<[u8; TOKEN_LEN]>,
    via: bool,
}

fn verdict(link: &Link, stream: &[u8], ended: bool) -> Option<Verdict> {
    let strange = || Some(Verdict { token: None, via: false });
    if link.random_stream.is_some() {
        return wire::stream::parse_stream(stream).map(|token| Verdict { token: Some(token), via: false });
    }
    match link.kind {
        Kind::Tls => match wire::tls::parse_server_hello(stream) {
            Ok(Some(answer)) => Some(Verdict { token: answer.token, via: false }),
            Ok(None) => None,
            Err(_) => strange(),
        },
        _ => {
            let parsed =
                if ended { wire::http::finish_response(stream).map(Some) } else { wire::http::parse_response(stream) };
            match parsed {
                Ok(Some(answer)) => Some(Verdict { token: answer.token, via: answer.via }),
                Ok(None) => None,
                Err(wire::WireError::Truncated) => None,
                Err(_) => strange(),
            }
        }
    }
}

fn read_answer(link: &Link, connection: &TcpProbe, sequence: u32) -> Outcome {
    let begin = Instant::now();
    let mut outcome = Outcome::default();
    let mut buffer = [0; MAX_ANSWER];
    let mut filled = 0;
    while let Some(left) = PATIENCE.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else {
            outcome.somebody_else = true;
            return outcome;
        };
        let received = match connection.receive(room, left) {
            Ok(received) => received,
            Err(error) => {
                outcome.reset = error.kind() == std::io::ErrorKind::ConnectionReset;
                return outcome;
            }
        };
        filled += received.length;
        let ended = received.length == 0;
        if let Some(verdict) = verdict(link, buffer.get(..filled).unwrap_or_default(), ended)
            && filled > 0
        {
            let authentic = verdict.token.and_then(|token| link.open_token(&token)) == Some(sequence);
            outcome.somebody_else = verdict.via || !authentic;
            if authentic {
                let (tos, ttl) = latest_mark(connection);
                outcome.half = Some(link.received(sequence, received.stamp, tos, ttl));
            }
            return outcome;
        }
        if ended {
            return outcome;
        }
    }
    outcome
}

/// The answer's own mark, which only IPv6 shows.
fn latest_mark(connection: &TcpProbe) -> (Option<Tos>, Option<u8>) {
    match connection.received_mark() {
        Ok(Some(mark)) if mark.of == MarkOf::LatestPacket => (Some(mark.tos), mark.ttl),
        _ => (None, None),
    }
}

/// The request's first stamp; it is on the error queue before the answer is there, save for a host under load.
fn transmit_stamp(connection: &TcpProbe) -> Option<UnixNanos> {
    let mut first = None;
    for _ in 0..STAMP_TRIES {
        let _ = connection.transmit_stamps(&mut |stamp| {
            first.get_or_insert(stamp.stamp);
        });
        if first.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    first
}
