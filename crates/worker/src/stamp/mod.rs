//! A STAMP Session-Sender (RFC 8762, RFC 8972) against any reflector: both one-way delays, and the marks both ways where
//! the reflector knows the Class of Service TLV. It needs no NetLat server and no privilege.
//!
//! One session is one 5-tuple and one run: a paced thread sends, the calling thread receives. Send times are the kernel's
//! transmit stamps; the T1 inside the packet is a user-space reading and only tells replies to one's own packets.

mod judge;
mod receive;
mod report;
mod send;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::{Family, Sample, SessionId, Tos, UnixNanos};
use net::{NetError, UdpOptions, UdpProbeSocket};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use wire::stamp::{Security, StampKey, TimestampFormat};

pub use report::report;

/// Probes of one run, which are kept in memory until it ends.
pub const MOST_PROBES: u32 = 1_000_000;
/// With all headers and TLVs that is less than 1,400 bytes of UDP payload, which common links carry whole.
pub const MOST_PADDING: u16 = 1200;
/// A request with all TLVs.
const LONGEST_PACKET: usize = 1400;

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Probes over all classes.
    Count(u32),
    Duration(Duration),
}

/// Which Class of Service TLV is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassOfServiceTlv {
    /// None: only round-trip statements about marks are possible.
    Off,
    /// RFC 8972: asks for the probe's DSCP on the reply; the reply's ECN is the reflector's choice.
    #[default]
    Rfc8972,
    /// draft-ietf-ippm-stamp-cos-ecn: asks for the probe's ECN as well. To a reflector of the RFC it is the RFC's TLV with
    /// two reserved bits set, which that ignores. Equal to the RFC's for Not-ECT classes.
    Draft,
}

#[derive(Clone, Debug)]
pub struct StampConfig {
    pub target: SocketAddr,
    /// Sent in random order, each equally often. Not empty.
    pub classes: Vec<Tos>,
    /// Packets per second over all classes, 0.1..=10,000.
    pub rate_pps: f64,
    pub amount: Amount,
    /// Value bytes of an Extra Padding TLV; 0: none. The reply is as long as the request.
    pub padding: u16,
    /// Given: authenticated mode, and the TLVs carry an HMAC of the same key.
    pub key: Option<StampKey>,
    pub class_of_service: ClassOfServiceTlv,
    /// Asks a stateful reflector when its previous reply really left.
    pub follow_up: bool,
    /// Asks a reflector how many packets it received and sent, which tells where a lost one was lost.
    pub direct_measurement: bool,
    /// `None`: a random one. 0: none, as before RFC 8972.
    pub ssid: Option<u16>,
    pub timestamps: TimestampFormat,
    /// How long to wait for replies after the last probe.
    pub linger: Duration,
    pub clock: net::Clock,
}

impl StampConfig {
    /// 100 best-effort and EF probes at 10 per second, open mode, with all TLVs that help.
    pub fn new(target: SocketAddr, clock: net::Clock) -> StampConfig {
        StampConfig {
            target,
            classes: vec![Tos::default(), Tos::new(wire::Dscp::EF, wire::Ecn::NotEct)],
            rate_pps: 10.0,
            amount: Amount::Count(100),
            padding: 0,
            key: None,
            class_of_service: ClassOfServiceTlv::default(),
            follow_up: true,
            direct_measurement: true,
            ssid: None,
            timestamps: TimestampFormat::Ntp,
            linger: Duration::from_secs(2),
            clock,
        }
    }

    /// Names the first thing that is out of range.
    pub fn check(&self) -> Result<(), StampError> {
        let problem = if self.classes.is_empty() {
            "name at least one traffic class"
        } else if !(0.1..=10_000.0).contains(&self.rate_pps) {
            "the rate lies between 0.1 and 10000 packets per second"
        } else if self.probes() == 0 {
            "the run has at least one probe"
        } else if self.probes() > u64::from(MOST_PROBES) {
            "one run has at most 1000000 probes: lower the rate, the count or the duration"
        } else if self.padding > MOST_PADDING {
            "the padding has at most 1200 bytes"
        } else if self.target.port() == 0 {
            "the target needs a port (862 is STAMP's)"
        } else {
            return Ok(());
        };
        Err(StampError::Config(problem))
    }

    /// How many probes a complete run sends.
    pub fn probes(&self) -> u64 {
        match self.amount {
            Amount::Count(count) => count.into(),
            // The one at time 0 counts as well.
            Amount::Duration(duration) => (duration.as_secs_f64() * self.rate_pps).ceil() as u64,
        }
    }

    fn security(&self) -> Security<'_> {
        self.key.as_ref().map_or(Security::Open, Security::Authenticated)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StampError {
    #[error("{0}")]
    Config(&'static str),
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("cannot start the sending thread: {0}")]
    Thread(std::io::Error),
    #[error("the system gives no random bytes")]
    Random,
}

/// For a progress display; from the calling thread, a few times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampProgress {
    pub sent: u64,
    pub answered: u64,
    pub planned: u64,
}

/// What went by, and what was not used and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StampCounters {
    pub sent: u64,
    /// The kernel refused them: never on the wire, neither sent nor lost.
    pub send_failures: u64,
    /// Probes with at least one valid reply.
    pub answered: u64,
    /// Further valid replies to one probe.
    pub duplicates: u64,
    /// Packets whose HMAC is not of the key.
    pub unauthenticated: u64,
    /// Packets that are no STAMP reply in this mode.
    pub malformed: u64,
    /// Replies to something that this session did not send.
    pub foreign: u64,
    /// Replies in which the TLVs' integrity check failed, here or at the reflector; their TLVs are not used.
    pub integrity_failed: u64,
    /// Replies without an answer to the Class of Service TLV: the reflector does not know it (U flag) or dropped it.
    pub class_of_service_unsupported: u64,
    /// Replies that were sent with another DSCP than asked for, and say so (RP).
    pub dscp_refused: u64,
    /// Replies that were sent Not-ECT although ECN was asked for, and say so (RPE).
    pub ecn_refused: u64,
    /// ICMP errors about this session's packets.
    pub unreachable: u64,
    /// Replies that the kernel dropped because this program was too slow.
    pub receive_dropped: u64,
}

/// What the reflector showed of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReflectorAbilities {
    /// At least one Class of Service TLV was answered. Otherwise marks are round-trip statements only.
    pub class_of_service: bool,
    /// At least one reply says that it was sent with the ECN asked for (draft).
    pub reply_ecn: bool,
    /// It counts its own sequence (RFC 8762, section 4.2).
    pub stateful: bool,
    /// At least one reply's kernel transmit time is known.
    pub follow_up: bool,
    pub direct_measurement: bool,
    /// Losses in both directions could be told apart, at least some.
    pub loss_by_direction: bool,
    /// The S bit of its error estimate: its clock is said to be synchronised to UTC.
    pub synchronized: bool,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct StampOutcome {
    pub session: SessionId,
    pub family: Family,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub started_at: UnixNanos,
    pub ended_at: UnixNanos,
    /// Kind `Stamp`. `RoundTrip`: every probe. `Up` and `Down`: every probe of which both ends' times are known, and every
    /// lost one where it is known in which direction it was lost.
    pub samples: Vec<Sample>,
    /// What could not be seen or was odd, a line each.
    pub notes: Vec<String>,
    pub counters: StampCounters,
    pub reflector: ReflectorAbilities,
    /// Replies whose ECN the reflector did not tell: in their samples the ECN sent is the one received, which says nothing.
    pub reply_ecn_unknown: u64,
}

/// Runs one session to its end, or until `stop`; then waits for the replies still out, at most `linger`.
///
/// Having heard nothing is not an error: see the counters and notes.
pub fn run(
    config: &StampConfig,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(StampProgress),
) -> Result<StampOutcome, StampError> {
    config.check()?;
    let unspecified: SocketAddr =
        if config.target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let options = UdpOptions { timestamps: true, icmp_errors: true, receive_buffer: 4 << 20, ..UdpOptions::default() };
    let socket = UdpProbeSocket::bind(unspecified, &options)?;
    socket.connect(config.target)?;
    let from = socket.local_addr()?;

    let random = Random::draw()?;
    let ssid = config.ssid.unwrap_or(random.ssid);
    let started_at = config.clock.now();
    let mut collector = receive::Collector::new(config, ssid);
    send::with_sender(config, ssid, random.seed, &socket, stop, |events| {
        collector.run(&socket, &events, progress);
    })?;
    collector.counters.receive_dropped = socket.dropped().unwrap_or(0).into();

    let session = SessionId(random.session);
    let judged = judge::judge(&collector, session, Family::of(config.target.ip()), config.class_of_service);
    Ok(StampOutcome {
        session,
        family: Family::of(config.target.ip()),
        from,
        to: config.target,
        started_at,
        ended_at: config.clock.now(),
        samples: judged.samples,
        notes: judged.notes,
        counters: collector.counters,
        reflector: judged.reflector,
        reply_ecn_unknown: judged.reply_ecn_unknown,
    })
}

struct Random {
    session: u32,
    ssid: u16,
    seed: u64,
}

impl Random {
    fn draw() -> Result<Random, StampError> {
        let mut bytes = [0u8; 14];
        SystemRandom::new().fill(&mut bytes).map_err(|_| StampError::Random)?;
        let [a, b, c, d, e, f, seed @ ..] = bytes;
        Ok(Random {
            session: u32::from_be_bytes([a, b, c, d]).max(1),
            ssid: u16::from_be_bytes([e, f]).max(1),
            seed: u64::from_be_bytes(seed),
        })
    }
}
