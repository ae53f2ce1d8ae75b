//! The server's end of TCP transfers. It sends and takes what the session's registered experiment says, once for each sequence, one
//! transfer of a session after another, a few in all, and none without an authentic opening.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use measure::shaping::bulk::{BulkPlan, BulkTurn, Curve};
use model::control::SessionInfo;
use model::shaping::{Design, Transfer};
use model::{Direction, Tos};
use net::Clock;
use net::tcp::TcpProbe;
use wire::bulk::{Dress, Report};
use wire::{ProbeFlags, ProbeHeader};

use crate::counters;
use crate::secrets;
use crate::sessions::LiveSession;
use crate::udp::Shared;

/// Transfers of one session at a time: it has one, and the next may begin before this thread has noticed that the last is over.
const MOST_OF_SESSION: usize = 2;
/// Transfers of all sessions at a time.
const MOST_AT_ONCE: usize = 8;
/// Bytes written or read at a time.
const PIECE: usize = 16 * 1024;
/// What may wait in the socket beside what is on its way: a transfer that is cut short has little left to drain.
const UNSENT: u32 = 32 * 1024;
/// Beyond the transfer's own time: until its last bytes are there and acknowledged.
const DRAIN: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(2);

/// What a live session's experiment lets be transferred.
pub(crate) struct Allowed {
    plan: BulkPlan,
    busy: AtomicUsize,
}

impl Allowed {
    pub(crate) fn of(info: &SessionInfo) -> Option<Allowed> {
        let experiment = info.experiment.as_ref()?;
        let Design::Bulk(design) = &experiment.design else { return None };
        let plan = BulkPlan::new(design.clone(), info.direction, experiment.seed);
        Some(Allowed { plan, busy: AtomicUsize::new(0) })
    }

    pub(crate) fn turn(&self, sequence: u32) -> Option<BulkTurn> {
        self.plan.turn(sequence)
    }
}

/// Those that a worker tells of one of its sessions and that its plan has.
pub(crate) fn plausible_transfers(info: &SessionInfo, told: &[Transfer]) -> Vec<Transfer> {
    let Some(allowed) = Allowed::of(info) else { return Vec::new() };
    let bytes = u64::from(allowed.plan.design().bytes);
    let sane = |one: &&Transfer| {
        one.sequence < allowed.plan.len()
            && one.bytes <= bytes
            && one.tail_bytes <= one.bytes
            && one.tail_ns <= one.elapsed_ns
    };
    told.iter().filter(sane).copied().collect()
}

/// Gives its place back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(of: &'a AtomicUsize, most: usize) -> Option<Place<'a>> {
        let taken = of.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| (used < most).then_some(used + 1));
        taken.ok().map(|_| Place(of))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

static AT_ONCE: AtomicUsize = AtomicUsize::new(0);

/// One transfer, after its opening was authenticated and admitted.
pub(crate) fn transfer(
    probe: &TcpProbe,
    session: &Arc<LiveSession>,
    allowed: &Allowed,
    header: &ProbeHeader,
    dress: Dress,
    shared: &Shared,
) {
    let Some(turn) = allowed.turn(header.sequence) else { return };
    let (Some(_own), Some(_all)) = (Place::take(&allowed.busy, MOST_OF_SESSION), Place::take(&AT_ONCE, MOST_AT_ONCE))
    else {
        return counters::add(&shared.counters.transfers_refused, 1);
    };
    let transfer = Transfers { probe, session, header, dress, shared, plan: &allowed.plan };
    let done = match turn.direction {
        Direction::Up => transfer.take(),
        Direction::Down | Direction::RoundTrip => transfer.send(),
    };
    let counter = if done.is_some() { &shared.counters.transfers } else { &shared.counters.transfers_broken };
    counters::add(counter, 1);
}

struct Transfers<'a> {
    probe: &'a TcpProbe,
    session: &'a LiveSession,
    header: &'a ProbeHeader,
    dress: Dress,
    shared: &'a Shared,
    plan: &'a BulkPlan,
}

impl Transfers<'_> {
    fn total(&self) -> u64 {
        u64::from(self.plan.design().bytes)
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(u64::from(self.plan.design().most_ms))
    }

    /// What an opening is answered with.
    fn greeting(&self, is_upload: bool) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(256);
        match self.dress {
            Dress::Http if is_upload => wire::bulk::build_http_continue(&mut out),
            Dress::Http => wire::bulk::build_http_head(&mut out, self.total() + wire::bulk::REPORT_LEN as u64),
            Dress::Tls => {
                let header = ProbeHeader {
                    flags: ProbeFlags::REPLY,
                    tos: self.header.reply_tos,
                    reply_tos: Tos::default(),
                    ..*self.header
                };
                let token =
                    wire::token::seal_token(self.session.id.0, &header, &self.session.key_down, &self.shared.mask);
                wire::tls::build_accepting_hello(&mut out, &token, &secrets::random().ok()?);
            }
            Dress::Stream => {
                out.resize(128, 0);
                secrets::fill(&mut out).ok()?;
            }
        }
        Some(out)
    }

    /// Ends the stream with a sealed report.
    fn close(&self, report: &Report, is_upload: bool) -> Option<()> {
        let sealed = wire::bulk::seal_report(self.session.id.0, self.header.sequence, report, &self.session.key_down);
        let mut closing = Vec::with_capacity(256);
        wire::bulk::build_closing(&mut closing, self.dress, is_upload, &sealed);
        self.probe.send(&closing, DRAIN).ok()?;
        self.probe.shutdown_write().ok()
    }

    fn send(&self) -> Option<()> {
        self.probe.prepare_bulk(UNSENT).ok()?;
        self.probe.set_tos(self.header.reply_tos).ok()?;
        self.probe.send(&self.greeting(false)?, DRAIN).ok()?;
        let mut filler = vec![0; 4 * PIECE];
        secrets::fill(&mut filler).ok()?;
        let mut piece = vec![0; PIECE];
        let (begin, total) = (Instant::now(), self.total());
        let mut sent = 0;
        while sent < total {
            let left = self.limit().saturating_sub(begin.elapsed());
            if left.is_zero() || self.shared.stopping() {
                break;
            }
            let length = PIECE.min((total - sent) as usize);
            let from = (sent as usize / 7) % (filler.len() - PIECE);
            piece[..length].copy_from_slice(&filler[from..from + length]);
            wire::bulk::dress_body(self.dress, &mut piece[..length], sent, total);
            match self.probe.send_some(&piece[..length], left) {
                Ok(written) => sent += written as u64,
                Err(error) if error.is_timeout() => break,
                Err(_) => return None,
            }
        }
        counters::add(&self.shared.counters.transfer_bytes, sent);
        self.drained();
        let info = self.probe.info().ok()?;
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let report = Report {
            bytes: sent,
            retransmits: info.retransmits,
            min_rtt_us: info.min_rtt.map_or(0, micros),
            rtt_us: micros(info.smoothed_rtt),
            is_sender: info.min_rtt.is_some(),
            ..Report::default()
        };
        self.close(&report, false)
    }

    /// Waits until all is acknowledged, so that the kernel's count of what was sent again is the transfer's.
    fn drained(&self) {
        let begin = Instant::now();
        while begin.elapsed() < DRAIN {
            match self.probe.info() {
                Ok(info) if info.unacknowledged == 0 && info.unsent_bytes == 0 => return,
                Ok(_) => std::thread::sleep(POLL),
                Err(_) => return,
            }
        }
    }

    fn take(&self) -> Option<()> {
        self.probe.prepare_bulk(UNSENT).ok()?;
        self.probe.send(&self.greeting(true)?, DRAIN).ok()?;
        let mut buffer = vec![0; PIECE];
        let mut curve = Curve::default();
        let (begin, patience, total) = (Instant::now(), self.limit() + DRAIN, self.total());
        let mut taken = 0;
        while taken < total {
            let left = patience.saturating_sub(begin.elapsed());
            if left.is_zero() || self.shared.stopping() {
                break;
            }
            match self.probe.receive(&mut buffer, left) {
                // The worker has cut it short.
                Ok(received) if received.length == 0 => break,
                Ok(received) => {
                    taken += received.length as u64;
                    curve.push(Clock::monotonic_ns(), taken);
                }
                Err(error) if error.is_timeout() => break,
                Err(_) => return None,
            }
        }
        counters::add(&self.shared.counters.transfer_bytes, taken);
        let measured = curve.measure(total);
        let report = Report {
            bytes: measured.bytes,
            elapsed_ns: measured.elapsed_ns,
            tail_bytes: measured.tail_bytes,
            tail_ns: measured.tail_ns,
            ..Report::default()
        };
        self.close(&report, true)
    }
}

#[cfg(test)]
mod tests {
    use model::shaping::{Arm, BulkDesign, Experiment, Hypothesis, Payload, Ports, Purpose, Standard};
    use model::{BootId, DirectionChoice, Family, Kind, SessionId, UnixNanos, WorkerName};

    use super::*;

    #[test]
    fn no_more_at_a_time_than_places_and_each_is_given_back() {
        let used = AtomicUsize::new(0);
        let first = Place::take(&used, 2);
        let second = Place::take(&used, 2);
        assert!(first.is_some() && second.is_some() && Place::take(&used, 2).is_none());
        drop(first);
        assert!(Place::take(&used, 2).is_some());
        drop(second);
        assert_eq!(used.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_a_worker_tells_of_transfers_must_fit_their_plan() {
        let arm = |payload| Arm { dscp: model::Dscp::default(), port: 8620, payload };
        let hypothesis = Hypothesis {
            subject: arm(Payload::Tls),
            control: arm(Payload::RandomStream),
            ports: Ports::Fresh,
            purpose: Purpose::Difference,
        };
        let design = BulkDesign { hypotheses: vec![hypothesis], bytes: 100_000, rounds: 3, most_ms: 1_000 };
        let experiment = Experiment { design: Design::Bulk(design), standard: Standard::default(), seed: 1 };
        let info = |experiment| SessionInfo {
            session: SessionId(7),
            worker: WorkerName::new("nyc1").unwrap(),
            boot: BootId(1),
            kind: Kind::Http,
            family: Family::Ipv4,
            direction: DirectionChoice::Up,
            started_at: UnixNanos(0),
            ended_at: None,
            from: None,
            to: None,
            notes: Vec::new(),
            experiment,
            local_queue: Vec::new(),
            transfers: Vec::new(),
        };
        let good = Transfer { sequence: 5, bytes: 100_000, elapsed_ns: 9, tail_bytes: 50_000, ..Transfer::default() };
        let bad = [
            Transfer { sequence: 6, ..good },
            Transfer { bytes: 100_001, ..good },
            Transfer { tail_bytes: 100_001, ..good },
            Transfer { tail_ns: 10, ..good },
        ];
        let told: Vec<Transfer> = bad.into_iter().chain([good]).collect();
        assert_eq!(plausible_transfers(&info(Some(experiment)), &told), [good]);
        assert_eq!(plausible_transfers(&info(None), &told), [], "it asked for none");
    }
}
