//! TCP transfers in pairs, one after another, each on a connection of its own. Their times are the receiver's: ours of a download, the
//! server's (told in its sealed report) of an upload.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use measure::shaping::bulk::{BulkJudge, BulkPlan, BulkTurn, Curve, Measured};
use measure::shaping::campaign::{transfer_bound, transfer_cost};
use model::shaping::{BulkDesign, Payload, Transfer};
use model::{Direction, Tos};
use net::tcp::{TcpOptions, TcpProbe};
use net::{Clock, NetError};
use wire::bulk::{Dress, REPORT_LEN, Report};
use wire::{Ecn, ProbeFlags, ProbeHeader};

use super::Bench;
use crate::flow::connect;
use crate::flow::link::Link;
use crate::flow::stop::Flag;

/// For connecting, for the greeting, and for the report once the body is through.
const PATIENCE: Duration = Duration::from_secs(4);
/// Bytes written or read at a time.
const PIECE: usize = 16 * 1024;
/// What may wait in the socket beside what is on its way.
const UNSENT: u32 = 32 * 1024;
/// Between two transfers: the last one's acknowledgements are gone.
const GAP: Duration = Duration::from_millis(10);
/// Transfers in a row that came to nothing, whichever arm, until the path (or a refusing server) is given up.
const MOST_FAILURES: u32 = 12;

/// Transfers until the plan ends, all is decided, the budget is spent, or `stop`.
pub(in crate::flow) fn transfer_all(bench: &Bench, design: &BulkDesign, stop: &Flag) {
    let experiment = &bench.experiment;
    let plan = BulkPlan::new(design.clone(), bench.direction, experiment.seed);
    let family = bench.links.values().next().map_or(model::Family::Ipv4, |link| link.family);
    let mut judge = BulkJudge::new(design, bench.direction, family, &experiment.standard, experiment.seed);
    let bound = transfer_bound(design);
    let mut left = u64::from(plan.len()) * bound;
    let mut failures = 0;
    let mut skipped = None;
    for sequence in 0..plan.len() {
        let Some(turn) = plan.turn(sequence) else { break };
        if !turn.is_second {
            let enough = judge.is_decided(turn.cell);
            skipped = enough.then_some((turn.cell, turn.pair));
            let (decided, cells) = judge.progress();
            if decided == cells || left < 2 * bound {
                break;
            }
        }
        if skipped == Some((turn.cell, turn.pair)) {
            continue;
        }
        let Some(link) = bench.link(turn.arm) else { continue };
        if stop.wait(GAP) {
            return;
        }
        let mut run = Run { link, turn, sequence, design, stop, sent: 0, resent: 0, received: 0 };
        let outcome = run.carry_out();
        left = left.saturating_sub(transfer_cost(run.sent.max(run.received), run.resent));
        match outcome {
            Ok(transfer) => {
                failures = if transfer.bytes == 0 { failures + 1 } else { 0 };
                judge.push(&transfer);
                link.log.transferred(transfer);
                bench.course.note_transfer();
            }
            Err(Ended::Stopped) => return,
            Err(Ended::Here(problem)) => {
                failures += 1;
                link.log.note(format!("transfers of {}: {problem}", turn.arm.payload));
            }
        }
        if failures >= MOST_FAILURES {
            link.log.note("TCP throughput: given up after a row of transfers that brought nothing".to_owned());
            break;
        }
    }
    bench.course.finish();
}

/// Why a transfer is no observation.
enum Ended {
    Stopped,
    /// This host could not.
    Here(String),
}

struct Run<'a> {
    link: &'a Link,
    turn: BulkTurn,
    sequence: u32,
    design: &'a BulkDesign,
    stop: &'a Flag,
    /// Stream bytes handed to the kernel, segments it sent again, stream bytes read.
    sent: u64,
    resent: u32,
    received: u64,
}

impl Run<'_> {
    fn dress(&self) -> Dress {
        match self.turn.arm.payload {
            Payload::Http => Dress::Http,
            Payload::Tls => Dress::Tls,
            _ => Dress::Stream,
        }
    }

    /// A transfer that brought nothing is an observation as well.
    fn nothing(&self) -> Transfer {
        Transfer { sequence: self.sequence, elapsed_ns: 1_000_000_000, ..Transfer::default() }
    }

    fn carry_out(&mut self) -> Result<Transfer, Ended> {
        let is_upload = self.turn.direction == Direction::Up;
        let class = Tos::new(self.turn.arm.dscp, Ecn::NotEct);
        let (own, reply) = if is_upload { (class, Tos::default()) } else { (Tos::default(), class) };
        let peer = SocketAddr::new(self.link.peer.ip(), self.turn.arm.port);
        let connection = match TcpProbe::connect(peer, own, PATIENCE, &TcpOptions::default()) {
            Ok(connection) => connection,
            Err(error) if connect::is_local(&error) => return Err(Ended::Here(error.to_string())),
            Err(_) => return Ok(self.nothing()),
        };
        connection.prepare_bulk(UNSENT).map_err(|error| Ended::Here(error.to_string()))?;
        let opening = self.opening(own, reply, is_upload).map_err(Ended::Here)?;
        if connection.send(&opening, PATIENCE).is_err() {
            return Ok(self.nothing());
        }
        if is_upload { self.upload(&connection) } else { self.download(&connection) }
    }

    fn opening(&self, tos: Tos, reply_tos: Tos, is_upload: bool) -> Result<Vec<u8>, String> {
        let header = ProbeHeader {
            flags: ProbeFlags::REPLY_WANTED,
            tos,
            reply_tos,
            sequence: self.sequence,
            in_reply_to: None,
            sent_at_ns: 0,
        };
        let token = self.link.token(&header);
        let mut out = Vec::with_capacity(768);
        if is_upload && self.dress() == Dress::Http {
            wire::http::build_upload(&mut out, &self.link.host, &token, u64::from(self.design.bytes));
        } else {
            connect::build(self.link, &mut out, &token)?;
        }
        Ok(out)
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(u64::from(self.design.most_ms))
    }

    /// The sealed report that these last bytes of the stream are.
    fn report(&self, tail: &[u8]) -> Option<Report> {
        let sealed = tail.last_chunk::<REPORT_LEN>()?;
        wire::bulk::open_report(self.link.session, self.sequence, sealed, &self.link.keys.down).ok()
    }

    fn download(&mut self, connection: &TcpProbe) -> Result<Transfer, Ended> {
        let mut reader = Reader::new(self.stop);
        let patience = self.limit() + PATIENCE;
        while reader.read(connection, patience)? {}
        self.received = reader.total;
        let Some(report) = self.report(&reader.tail) else {
            // Somebody else answered, or it broke off: what has come was carried all the same.
            return Ok(if reader.total == 0 {
                self.nothing()
            } else {
                reader.curve.measure(reader.total).of(self.sequence)
            });
        };
        let end = reader.total.saturating_sub(wire::bulk::closing_len(self.dress()) as u64);
        let measured = reader.curve.measure(end);
        if measured.bytes == 0 {
            return Ok(self.nothing());
        }
        let told = |value: u32| report.is_sender.then_some(value);
        Ok(Transfer {
            retransmits: told(report.retransmits),
            min_rtt_us: told(report.min_rtt_us),
            rtt_us: told(report.rtt_us),
            ..measured.of(self.sequence)
        })
    }

    fn upload(&mut self, connection: &TcpProbe) -> Result<Transfer, Ended> {
        let mut reader = Reader::new(self.stop);
        if !reader.read(connection, PATIENCE)? {
            return Ok(self.nothing());
        }
        self.body(connection)?;
        let patience = self.limit() + 2 * PATIENCE;
        while reader.read(connection, patience)? {}
        let info = connection.info().ok();
        self.resent = info.as_ref().map_or(0, |info| info.retransmits);
        let Some(report) = self.report(&reader.tail) else { return Ok(self.nothing()) };
        let Report { bytes, elapsed_ns, tail_bytes, tail_ns, .. } = report;
        if bytes == 0 {
            return Ok(self.nothing());
        }
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        Ok(Transfer {
            retransmits: info.map(|info| info.retransmits),
            min_rtt_us: info.and_then(|info| info.min_rtt).map(micros),
            rtt_us: info.map(|info| micros(info.smoothed_rtt)),
            ..Measured { bytes, elapsed_ns, tail_bytes, tail_ns }.of(self.sequence)
        })
    }

    /// Sends the body, as far as the time goes. An error of the connection shows in what the server tells, or does not.
    fn body(&mut self, connection: &TcpProbe) -> Result<(), Ended> {
        let mut filler = vec![0; 4 * PIECE];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut filler)
            .map_err(|_| Ended::Here("the system has no random numbers".to_owned()))?;
        let mut piece = vec![0; PIECE];
        let (begin, total) = (Instant::now(), u64::from(self.design.bytes));
        while self.sent < total {
            let left = self.limit().saturating_sub(begin.elapsed());
            if self.stop.is_set() {
                return Err(Ended::Stopped);
            }
            if left.is_zero() {
                let _ = connection.shutdown_write();
                break;
            }
            let length = PIECE.min((total - self.sent) as usize);
            let from = (self.sent as usize / 7) % (filler.len() - PIECE);
            piece[..length].copy_from_slice(&filler[from..from + length]);
            wire::bulk::dress_body(self.dress(), &mut piece[..length], self.sent, total);
            match connection.send_some(&piece[..length], left.min(TICK)) {
                Ok(sent) => self.sent += sent as u64,
                Err(error) if error.is_timeout() => {}
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// So often a waiting thread looks whether it is to stop.
const TICK: Duration = Duration::from_millis(200);

/// A stream as it comes in: when how much of it had come, and its last bytes.
struct Reader<'a> {
    stop: &'a Flag,
    begin: Instant,
    buffer: Vec<u8>,
    curve: Curve,
    total: u64,
    tail: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(stop: &'a Flag) -> Reader<'a> {
        let (buffer, tail) = (vec![0; PIECE], Vec::with_capacity(PIECE + REPORT_LEN));
        Reader { stop, begin: Instant::now(), buffer, curve: Curve::default(), total: 0, tail }
    }

    /// False: the stream has ended, or `patience` with all of it is over.
    fn read(&mut self, connection: &TcpProbe, patience: Duration) -> Result<bool, Ended> {
        loop {
            let left = patience.saturating_sub(self.begin.elapsed());
            if self.stop.is_set() {
                return Err(Ended::Stopped);
            }
            if left.is_zero() {
                return Ok(false);
            }
            match connection.receive(&mut self.buffer, left.min(TICK)) {
                Ok(received) if received.length == 0 => return Ok(false),
                Ok(received) => {
                    self.total += received.length as u64;
                    self.curve.push(Clock::monotonic_ns(), self.total);
                    self.tail.extend_from_slice(self.buffer.get(..received.length).unwrap_or_default());
                    let surplus = self.tail.len().saturating_sub(REPORT_LEN);
                    self.tail.drain(..surplus);
                    return Ok(true);
                }
                Err(error) if NetError::is_timeout(&error) => {}
                Err(_) => return Ok(false),
            }
        }
    }
}
