//! Sends a search's load and probes, and hears the ICMP errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use measure::shaping::hop::Answer;
use model::{Dscp, Family, UnixNanos};
use net::icmp::IcmpListener;
use net::{Clock, Outgoing, ReceiveBatch, UdpOptions, UdpProbeSocket};

use super::overload::prepare;
use super::plan::{Next, Probe, REST_NS, Windows};
use super::words::{Spot, tell};
use super::{Contrast, ContrastProgress, Sighting, Suffers};
use crate::quote::{self, Flow, ProbeName};
use crate::tracer::{MESSAGE, TICK, drain_old, random, source_for};
use crate::{DEFAULT_PORT, PathError, TraceConfig, Tracer};

/// Of the time, for learning which hops there are.
const DISCOVERY: Duration = Duration::from_secs(20);
/// Of a trace's probe and its answer, at most.
const TRACE_BYTES: u64 = 700;
/// With which probes to the target leave.
const FAR: u8 = 64;

impl Tracer {
    /// Learns the hops, then compares their answers for the class with those for its control until the place is known, until
    /// `stop`, or until time or bytes are spent.
    pub fn contrast(
        &self,
        contrast: &Contrast,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(ContrastProgress),
    ) -> Result<Sighting, PathError> {
        let begin_ns = Clock::monotonic_ns();
        let source = source_for(contrast.target, contrast.port)?;
        let options = UdpOptions { timestamps: false, ..UdpOptions::default() };
        let socket = UdpProbeSocket::bind(SocketAddr::new(source, 0), &options)?;
        let mut config = TraceConfig::new(contrast.target, contrast.clock.clone());
        config.port = contrast.port;
        config.classes = vec![contrast.sought.control];
        config.limit = DISCOVERY.min(contrast.limit / 2);
        let trace = self.trace_from(&config, &socket, stop, &mut |_| {})?;
        let answering = |hop: &&crate::Hop| !hop.silent && !hop.destination && !hop.refuses;
        let mut spots: Vec<Spot> =
            trace.hops.iter().filter(answering).map(|hop| Spot { hop: hop.hop, is_target: false }).collect();
        let last = trace.hops.iter().map(|hop| hop.hop).max().unwrap_or(0);
        let target_hop = trace.destination_hop.unwrap_or(last.saturating_add(1));
        spots.push(Spot { hop: target_hop, is_target: true });
        let spent = trace.sent * TRACE_BYTES;
        let limit_ns = u64::try_from(contrast.limit.as_nanos()).unwrap_or(u64::MAX);
        let bytes = contrast.budget_bytes.saturating_sub(spent);
        let prepared = match prepare(contrast, spots.len(), bytes, limit_ns) {
            Ok(prepared) => prepared,
            Err(reason) => return Ok(Sighting { bytes: spent, ..Sighting::none(reason) }),
        };
        let now_ns = Clock::monotonic_ns();
        let windows = Windows::new(
            spots.len(),
            prepared.effect,
            contrast.alpha,
            prepared.overload,
            prepared.sizes,
            bytes,
            // Routers' limits recover from the trace first.
            (now_ns + REST_NS, begin_ns.saturating_add(limit_ns)),
            u64::from_le_bytes(random()?),
        );
        let flow = |port: u16, nonce| Flow {
            from: trace.from,
            target: contrast.target,
            port,
            nonce,
            shortest: usize::from(prepared.shortest),
        };
        let nonce = random()?;
        let mut run = Run {
            contrast,
            socket: &socket,
            flows: [flow(contrast.port, nonce), flow(DEFAULT_PORT, nonce)],
            // Never taken for a probe: another nonce, and nobody answers it.
            filler: filler(random()?, usize::from(prepared.shortest)),
            excess: match contrast.sought.suffers {
                Suffers::Policed { excess, .. } => excess,
                _ => None,
            },
            spots,
            windows,
            sent_at: BTreeMap::new(),
        };
        drain_old(self.listener(Family::of(contrast.target))?);
        run.run(self.listener(Family::of(contrast.target))?, stop, begin_ns, progress)?;
        let mut sighting = tell(&run.windows, &run.spots, run.windows.end());
        sighting.bytes += spent;
        Ok(sighting)
    }
}

fn filler(seed: [u8; 8], len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(u64::from_le_bytes(seed));
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

struct Run<'a> {
    contrast: &'a Contrast,
    socket: &'a UdpProbeSocket,
    /// To the port that swallows, and to the closed one.
    flows: [Flow; 2],
    filler: Vec<u8>,
    excess: Option<Dscp>,
    spots: Vec<Spot>,
    windows: Windows,
    /// Of the latest probes.
    sent_at: BTreeMap<u32, UnixNanos>,
}

impl Run<'_> {
    fn run(
        &mut self,
        listener: &IcmpListener,
        stop: &AtomicBool,
        begin_ns: u64,
        progress: &mut dyn FnMut(ContrastProgress),
    ) -> Result<(), PathError> {
        let mut batch = ReceiveBatch::new(64, MESSAGE);
        let mut shown = u32::MAX;
        while !stop.load(Ordering::Relaxed) {
            let now_ns = Clock::monotonic_ns();
            let next = self.windows.next(now_ns);
            if self.windows.windows() != shown {
                shown = self.windows.windows();
                let search = self.windows.search();
                let pairs = (0..self.spots.len()).map(|index| search.counts(index).pairs).sum();
                let elapsed = Duration::from_nanos(now_ns.saturating_sub(begin_ns));
                progress(ContrastProgress { elapsed, open_hops: search.open().len(), pairs });
            }
            let wait = match next {
                Next::Done => return Ok(()),
                Next::Load => {
                    self.load();
                    Duration::ZERO
                }
                Next::Probe(probe) => {
                    self.probe(probe);
                    Duration::ZERO
                }
                Next::Wait(until_ns) => Duration::from_nanos(until_ns.saturating_sub(now_ns)).min(TICK),
            };
            if listener.receive(&mut batch, Some(wait))? > 0 {
                for packet in batch.packets() {
                    let clock = &self.contrast.clock;
                    let at = packet.stamp.map_or_else(|| clock.now(), |at| clock.stamp(at));
                    self.message(packet.from.ip(), packet.payload, at);
                }
            }
        }
        Ok(())
    }

    /// One packet more or less of a load changes nothing; one probe that was not sent is one without an answer.
    fn send(&self, payload: &[u8], port: u16, tos: model::Tos, ttl: Option<u8>) {
        let to = Some(SocketAddr::new(self.contrast.target, port));
        let outgoing = Outgoing { payload, to, tos, ttl, source: None };
        if let Err(error) = self.socket.send(&outgoing) {
            tracing::debug!(%error, "a packet of a search was not sent");
        }
    }

    fn load(&self) {
        self.send(&self.filler, self.contrast.port, self.contrast.sought.subject, None);
    }

    fn probe(&mut self, probe: Probe) {
        let Some(spot) = self.spots.get(probe.hop).copied() else { return };
        let [flow, closed] = &self.flows;
        let (flow, ttl) = if spot.is_target { (closed, FAR) } else { (flow, spot.hop) };
        let mut payload = Vec::with_capacity(1_500);
        quote::payload(&mut payload, flow, probe.id);
        let sought = &self.contrast.sought;
        let tos = if probe.is_subject { sought.subject } else { sought.control };
        self.sent_at.insert(probe.id, self.contrast.clock.now());
        if self.sent_at.len() > 4_096 {
            self.sent_at.pop_first();
        }
        self.send(&payload, flow.port, tos, Some(ttl));
    }

    fn message(&mut self, from: std::net::IpAddr, message: &[u8], at: UnixNanos) {
        let family = if self.contrast.target.is_ipv4() { wire::Family::Ipv4 } else { wire::Family::Ipv6 };
        let found = self.flows.iter().find_map(|flow| quote::answer(flow, family, from, message));
        let Some(answer) = found else { return };
        let id = match answer.probe {
            ProbeName::Id(id) => id,
            ProbeName::Remainder(remainder) => match self.windows.latest(remainder) {
                Some(id) => id,
                None => return,
            },
        };
        let Some(sent_at) = self.sent_at.get(&id) else { return };
        let remarked = self.excess.is_some_and(|excess| answer.quoted.dscp() == excess);
        self.windows.answered(id, Answer { round_trip_ns: at.since(*sent_at), remarked });
        if answer.verdict == quote::Verdict::Arrived {
            self.arrived(answer.ttl);
        }
    }

    /// What is left of its TTL says how far away the target is.
    fn arrived(&mut self, ttl: u8) {
        let hop = (FAR + 1).saturating_sub(ttl);
        let last = self.spots.iter().filter(|spot| !spot.is_target).map(|spot| spot.hop).max().unwrap_or(0);
        if let Some(target) = self.spots.iter_mut().find(|spot| spot.is_target)
            && ttl <= FAR
            && hop > last
        {
            target.hop = hop;
        }
    }
}
