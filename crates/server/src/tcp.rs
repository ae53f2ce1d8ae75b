//! The TCP probe port: http and tls probes, told apart by their first byte. A bounded number of short-lived threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use model::{Kind, ReceivedHalf, SampleFlags, SentHalf, Tos, UnixNanos};
use net::tcp::{MarkOf, TcpProbe, TcpProbeListener};
use wire::bulk::{Dress, STREAM_OPENING_LEN};
use wire::token::TOKEN_LEN;
use wire::{ProbeFlags, ProbeHeader};

use crate::bulk;
use crate::counters;
use crate::ingest::Message;
use crate::observe::{Observation, Observer};
use crate::secrets;
use crate::sessions::{Admission, LiveSession};
use crate::udp::{Shared, TICK};

const MAX_CONNECTIONS: usize = 256;
/// A stranger may hold a connection this long.
const DEADLINE: Duration = Duration::from_secs(5);
/// A client of ours closes as soon as it has the answer.
const LINGER: Duration = Duration::from_secs(3);
/// Workers call a probe settled two seconds after it was sent: a half that waits longer than this comes too late.
const KNOWN: Duration = Duration::from_millis(1_200);
/// Longer requests are not ours (wire::http and wire::tls bound themselves to about as much).
const MAX_REQUEST: usize = 4096;
const STACK: usize = 128 * 1024;

/// Accepts until `shared.stop`.
pub(crate) fn run(listener: &TcpProbeListener, shared: &Shared, channel: &SyncSender<Message>) {
    let active = Arc::new(AtomicUsize::new(0));
    while !shared.stopping() {
        let probe = match listener.accept(Some(TICK)) {
            Ok(Some(probe)) => probe,
            Ok(None) => continue,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a probe connection");
                std::thread::sleep(TICK);
                continue;
            }
        };
        if active.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            active.fetch_sub(1, Ordering::AcqRel);
            counters::add(&shared.counters.connections_refused, 1);
            continue;
        }
        let (own, channel, done) = (shared.clone(), channel.clone(), active.clone());
        let spawned = std::thread::Builder::new().name("probe-tcp".to_owned()).stack_size(STACK).spawn(move || {
            let mut observer = Observer::new(channel, own.counters.clone());
            if connection(&probe, &own, &mut observer).is_none() {
                counters::add(&own.counters.connections_foreign, 1);
            }
            observer.flush(u64::MAX);
            done.fetch_sub(1, Ordering::AcqRel);
        });
        if let Err(error) = spawned {
            active.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "cannot start a thread for a probe connection");
        }
    }
}

/// One probe: reads a request, notes its times and mark, answers. `None`: it was nobody of ours.
fn connection(probe: &TcpProbe, shared: &Shared, observer: &mut Observer) -> Option<()> {
    let request = Request::read(probe, shared)?;
    let from = probe.peer_addr().ok()?;
    let to = probe.local_addr().ok().map(|address| address.ip());
    let now_ns = net::Clock::monotonic_ns();
    let session = &request.session;
    let sequence = request.header.sequence;
    match session.admit(sequence, from, now_ns) {
        Admission::Fresh { moved } => {
            if moved {
                observer.push(Observation::Peer(session.id, from.ip(), to));
            }
        }
        Admission::Duplicate => {
            // TCP delivers once: a second connection with the same token is somebody's replay or a proxy's second try.
            counters::add(&shared.counters.duplicated, 1);
            return Some(());
        }
        Admission::TooOld => {
            counters::add(&shared.counters.replayed, 1);
            return Some(());
        }
        Admission::TooFast => {
            counters::add(&shared.counters.rate_limited, 1);
            return Some(());
        }
    }
    if let Some(allowed) = &session.transfers {
        let dress = request.dress(probe)?;
        bulk::transfer(probe, session, allowed, &request.header, dress, shared);
        await_close(probe, LINGER);
        return Some(());
    }
    if request.form == Form::Upload {
        return None;
    }
    if session.direction.up() {
        observer.push(Observation::Received(session.id, request.received(probe, from.ip())));
    }
    if request.header.flags.contains(ProbeFlags::REPLY_WANTED)
        && let Some(mut half) = answer(probe, &request, shared)
    {
        // Whether anything was lost is known when the client has closed; the half must not come too late to be joined.
        let closed = await_close(probe, KNOWN);
        if probe.info().is_ok_and(|info| info.retransmits > 0) {
            half.flags = half.flags.with(SampleFlags::RETRANSMITTED);
        }
        observer.push(Observation::Sent(session.id, half));
        if !closed {
            observer.flush(u64::MAX);
            await_close(probe, LINGER);
        }
    }
    Some(())
}

/// The client closes first: a FIN of ours could share a segment with the answer and spoil its stamp, and what an orphaned
/// socket still sends carries no mark of the class.
fn await_close(probe: &TcpProbe, patience: Duration) -> bool {
    let start = Instant::now();
    let mut rest = [0u8; 256];
    while let Some(left) = patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        match probe.receive(&mut rest, left) {
            Ok(received) if received.length > 0 => {}
            Ok(_) => return true,
            Err(_) => return start.elapsed() < patience,
        }
    }
    false
}

struct Request {
    session: Arc<LiveSession>,
    header: ProbeHeader,
    form: Form,
    /// Bytes read with it.
    length: usize,
    /// Kernel stamp of the read that completed the request.
    stamp: Option<UnixNanos>,
    user_time: UnixNanos,
}

impl Request {
    fn read(probe: &TcpProbe, shared: &Shared) -> Option<Request> {
        let start = Instant::now();
        let mut buffer = [0u8; MAX_REQUEST];
        let mut filled = 0;
        loop {
            let left = DEADLINE.checked_sub(start.elapsed())?;
            let received = probe.receive(&mut buffer[filled..], left).ok().filter(|received| received.length > 0)?;
            filled += received.length;
            let user_time = shared.clock.now();
            if let Some((form, token)) = token_of(&buffer[..filled])? {
                let (session, header) = authenticate(form, &token, shared)?;
                let stamp = received.stamp.map(|stamp| shared.clock.stamp(stamp));
                return Some(Request { session, header, form, length: filled, stamp, user_time });
            }
            if filled == buffer.len() {
                return None;
            }
        }
    }

    /// Of a transfer; reads what is left of a random opening. `None`: it does not come.
    fn dress(&self, probe: &TcpProbe) -> Option<Dress> {
        let start = Instant::now();
        match self.form {
            Form::Http | Form::Upload => Some(Dress::Http),
            Form::Tls => Some(Dress::Tls),
            Form::Stream => {
                let mut rest = [0; STREAM_OPENING_LEN];
                let mut filled = self.length;
                while filled < STREAM_OPENING_LEN {
                    let left = DEADLINE.checked_sub(start.elapsed())?;
                    let room = rest.get_mut(filled..)?;
                    filled += probe.receive(room, left).ok().filter(|received| received.length > 0)?.length;
                }
                Some(Dress::Stream)
            }
        }
    }

    fn received(&self, probe: &TcpProbe, from: std::net::IpAddr) -> ReceivedHalf {
        let mut flags = SampleFlags::default();
        if self.stamp.is_none() {
            flags = flags.with(SampleFlags::RX_USER);
        }
        // IPv6 shows the mark of the packet that carried the request; IPv4 only that of the SYN (TCP_SAVE_SYN).
        let latest = probe.received_mark().ok().flatten().filter(|mark| mark.of == MarkOf::LatestPacket);
        let syn = probe.syn_mark();
        let (tos, ttl) = match latest {
            Some(mark) => (Some(mark.tos), mark.ttl.or(syn.map(|(_, ttl)| ttl))),
            None => {
                flags = flags.with(SampleFlags::SYN_MARK);
                (syn.map(|(tos, _)| tos), syn.map(|(_, ttl)| ttl))
            }
        };
        if self.session.intercepted(from, ttl) || self.session.opened_by_another(probe.saved_syn()) {
            flags = flags.with(SampleFlags::INTERCEPTED);
        }
        let received_at = self.stamp.unwrap_or(self.user_time);
        ReceivedHalf { sequence: self.header.sequence, received_at, tos, ttl, flags }
    }
}

/// How the request was dressed, and so how its answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Http,
    /// The head of a POST, which only a transfer has.
    Upload,
    Tls,
    Stream,
}

/// `None`: not ours. `Some(None)`: read on.
pub(crate) fn token_of(stream: &[u8]) -> Option<Option<(Form, [u8; TOKEN_LEN])>> {
    let parsed = match stream.first()? {
        0x16 => wire::tls::parse_client_hello(stream).map(|hello| hello.map(|(token, _)| (Form::Tls, token))),
        b'P' => wire::http::parse_upload(stream).map(|request| request.map(|token| (Form::Upload, token))),
        b'G' => wire::http::parse_request(stream).map(|request| request.map(|token| (Form::Http, token))),
        _ => Err(wire::WireError::Unsupported),
    };
    match parsed {
        Ok(found) => Some(found),
        Err(_) => Some(wire::stream::parse_stream(stream).map(|token| (Form::Stream, token))),
    }
}

pub(crate) fn authenticate(
    form: Form,
    token: &[u8; TOKEN_LEN],
    shared: &Shared,
) -> Option<(Arc<LiveSession>, ProbeHeader)> {
    let peeked = wire::token::peek_token(token, &shared.mask);
    let kind = if matches!(form, Form::Http | Form::Upload) { Kind::Http } else { Kind::Tls };
    let Some(session) = shared.sessions.get(peeked.session).filter(|session| session.takes(kind)) else {
        // Any 28 bytes have the form of a stream's token: who sends them is a stranger, and has not claimed a session.
        if form != Form::Stream {
            counters::add(&shared.counters.unknown_session, 1);
        }
        return None;
    };
    match wire::token::open_token(token, &peeked, &session.key_up) {
        Ok(header) => Some((session, header)),
        Err(_) => {
            counters::add(&shared.counters.forged, 1);
            None
        }
    }
}

fn answer(probe: &TcpProbe, request: &Request, shared: &Shared) -> Option<SentHalf> {
    let session = &request.session;
    let tos = request.header.reply_tos;
    let header = ProbeHeader {
        flags: ProbeFlags::REPLY,
        tos,
        reply_tos: Tos::default(),
        sequence: request.header.sequence,
        in_reply_to: Some(request.header.sequence),
        sent_at_ns: 0,
    };
    let token = wire::token::seal_token(session.id.0, &header, &session.key_down, &shared.mask);
    let mut bytes = Vec::with_capacity(512);
    match request.form {
        Form::Tls => wire::tls::build_server_hello(&mut bytes, &token, &secrets::random().ok()?),
        Form::Http | Form::Upload => wire::http::build_response(&mut bytes, &token),
        Form::Stream => {
            // As long as the request, and never the same bytes under two answers' names.
            let mut filler = vec![0; request.length.saturating_sub(TOKEN_LEN)];
            secrets::fill(&mut filler).ok()?;
            wire::stream::build_stream(&mut bytes, &token, &filler);
        }
    }
    probe.set_tos(tos).ok()?;
    let user_time = shared.clock.now();
    if let Err(error) = probe.send(&bytes, DEADLINE) {
        tracing::debug!(%error, "an answer was not sent");
        counters::add(&shared.counters.answer_failed, 1);
        return None;
    }
    let stamp = transmit_stamp(probe).map(|stamp| shared.clock.stamp(stamp));
    let flags = if stamp.is_some() { SampleFlags::default() } else { SampleFlags::TX_USER };
    let headers = if session.family == model::Family::Ipv4 { 52 } else { 72 };
    Some(SentHalf {
        sequence: request.header.sequence,
        sent_at: stamp.unwrap_or(user_time),
        tos,
        size: (bytes.len() + headers) as u16,
        flags,
    })
}

/// The answer's first transmit stamp: it is usually on the error queue when send returns, at the latest a scheduler tick later.
fn transmit_stamp(probe: &TcpProbe) -> Option<UnixNanos> {
    let mut first = None;
    for _ in 0..20 {
        let _ = probe.transmit_stamps(&mut |stamp| {
            first.get_or_insert(stamp.stamp);
        });
        if first.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    first
}
