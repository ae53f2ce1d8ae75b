//! Sends the probes and hears the ICMP errors.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Family, Tos, UnixNanos};
use net::icmp::IcmpListener;
use net::{Clock, NetError, Outgoing, ReceiveBatch, UdpOptions, UdpProbeSocket};
use ring::rand::{SecureRandom, SystemRandom};

use super::assemble::{Heard, end_of, hops, refusing_hop};
use super::explore::{Explorer, GAP, Next, Probe};
use super::quote::{self, Answer, Flow, ProbeName, Verdict};
use super::{Hop, Mark, PathError, Trace, TraceConfig, TraceProgress};

/// Longest wait in one piece, so that a stop is seen soon.
pub(super) const TICK: Duration = Duration::from_millis(50);
const PROGRESS_NS: u64 = 200_000_000;
/// A trace of which not one of so many probes could be sent is given up.
const FAILURES: u32 = 5;
pub(super) const MESSAGE: usize = 2048;

/// Open raw sockets, one per family. They are all that needs CAP_NET_RAW: drop it once this is open.
#[derive(Debug)]
pub struct Tracer {
    listeners: Vec<(Family, IcmpListener)>,
}

impl Tracer {
    /// [`PathError::NotPermitted`] without CAP_NET_RAW.
    pub fn open(families: &[Family]) -> Result<Tracer, PathError> {
        let mut listeners = Vec::new();
        for family in families {
            let listener = IcmpListener::open(*family).map_err(|error| match error.kind() {
                std::io::ErrorKind::PermissionDenied => PathError::NotPermitted(error),
                _ => PathError::Net(error),
            })?;
            listeners.push((*family, listener));
        }
        Ok(Tracer { listeners })
    }

    /// Those families that this host lets it open; an error if there is none.
    pub fn open_usable() -> Result<Tracer, PathError> {
        let mut listeners = Vec::new();
        let mut problem = None;
        for family in Family::ALL {
            match Tracer::open(&[family]) {
                Ok(tracer) => listeners.extend(tracer.listeners),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        match problem {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(Tracer { listeners }),
        }
    }

    /// Traces until every hop has answered often enough or is silent, until `stop`, or until the time is over; what was
    /// heard till then is returned. One trace at a time hears everything; others' quotes are counted as foreign.
    pub fn trace(
        &self,
        config: &TraceConfig,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(TraceProgress),
    ) -> Result<Trace, PathError> {
        config.check()?;
        let source = source_for(config.target, config.port)?;
        let options = UdpOptions { timestamps: true, ..UdpOptions::default() };
        let socket = UdpProbeSocket::bind(SocketAddr::new(source, config.source_port), &options)?;
        let from = socket.local_addr()?;
        self.run(config, &socket, from, Outlet::Own, stop, progress)
    }

    /// Like [`Tracer::trace`], sent from a socket that others read: the probes are of that socket's flow to the target, and
    /// what comes back on it, transmit stamps and answers, is left to its reader.
    pub fn trace_from(
        &self,
        config: &TraceConfig,
        socket: &UdpProbeSocket,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(TraceProgress),
    ) -> Result<Trace, PathError> {
        config.check()?;
        let mut from = socket.local_addr()?;
        if from.ip().is_unspecified() {
            from.set_ip(source_for(config.target, config.port)?);
        }
        self.run(config, socket, from, Outlet::Shared, stop, progress)
    }

    pub(super) fn listener(&self, family: Family) -> Result<&IcmpListener, PathError> {
        let found = self.listeners.iter().find(|(open, _)| *open == family);
        found.map(|(_, listener)| listener).ok_or(PathError::FamilyNotOpen(family))
    }

    fn run(
        &self,
        config: &TraceConfig,
        socket: &UdpProbeSocket,
        from: SocketAddr,
        outlet: Outlet,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(TraceProgress),
    ) -> Result<Trace, PathError> {
        let listener = self.listener(Family::of(config.target))?;
        let flow = Flow { from, target: config.target, port: config.port, nonce: random()?, shortest: quote::SHORTEST };
        let mut run = Run::new(config, flow, outlet);
        drain_old(listener);
        let complete = run.run(socket, listener, stop, progress)?;
        Ok(run.into_trace(complete))
    }
}

/// Whose socket the probes leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlet {
    Own,
    Shared,
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], PathError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PathError::Random)?;
    Ok(bytes)
}

/// What came since the tracer was opened is not of this trace.
pub(super) fn drain_old(listener: &IcmpListener) {
    let mut batch = ReceiveBatch::new(64, MESSAGE);
    while listener.receive(&mut batch, Some(Duration::ZERO)).is_ok_and(|count| count > 0) {}
}

/// The address from which this host reaches the target; bound, so that a change of routes does not change the flow.
pub(super) fn source_for(target: IpAddr, port: u16) -> Result<IpAddr, PathError> {
    let unspecified: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let ask = || {
        let socket = UdpSocket::bind((unspecified, 0))?;
        socket.connect((target, port))?;
        socket.local_addr()
    };
    ask().map(|local| local.ip()).map_err(|source| PathError::Unreachable { target, source })
}

/// When and with which mark a probe left, by the kernel.
#[derive(Clone, Copy, Debug)]
struct Left {
    at: UnixNanos,
    mark: Tos,
}

struct Run<'a> {
    config: &'a TraceConfig,
    flow: Flow,
    outlet: Outlet,
    explorer: Explorer,
    sent_at: Vec<UnixNanos>,
    left: BTreeMap<u32, Left>,
    heard: Vec<(u32, UnixNanos, Heard)>,
    foreign: u64,
    failures: u32,
    talks: bool,
}

impl<'a> Run<'a> {
    fn new(config: &'a TraceConfig, flow: Flow, outlet: Outlet) -> Run<'a> {
        let explorer =
            Explorer::new(config.classes.len(), config.probes, config.max_hops, config.timeout, config.rate_pps);
        Run {
            config,
            flow,
            outlet,
            explorer,
            sent_at: Vec::new(),
            left: BTreeMap::new(),
            heard: Vec::new(),
            foreign: 0,
            failures: 0,
            talks: false,
        }
    }

    /// True if it came to its own end.
    fn run(
        &mut self,
        socket: &UdpProbeSocket,
        listener: &IcmpListener,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(TraceProgress),
    ) -> Result<bool, PathError> {
        let mut batch = ReceiveBatch::new(64, MESSAGE);
        let limit_ns = u64::try_from(self.config.limit.as_nanos()).unwrap_or(u64::MAX);
        let deadline_ns = Clock::monotonic_ns().saturating_add(limit_ns);
        let mut shown_ns = 0;
        loop {
            let now_ns = Clock::monotonic_ns();
            if stop.load(Ordering::Relaxed) || now_ns >= deadline_ns {
                return Ok(false);
            }
            let wait = match self.explorer.next(now_ns) {
                Next::Done => return Ok(true),
                Next::Send(probe) => {
                    self.send(socket, probe, now_ns)?;
                    Duration::ZERO
                }
                Next::Wait(until_ns) => Duration::from_nanos(until_ns.saturating_sub(now_ns)).min(TICK),
            };
            if listener.receive(&mut batch, Some(wait))? > 0 {
                self.stamps(socket);
                for packet in batch.packets() {
                    let at = packet.stamp.map_or_else(|| self.config.clock.now(), |at| self.config.clock.stamp(at));
                    self.message(packet.from.ip(), packet.payload, at);
                }
            }
            self.stamps(socket);
            self.replies(socket);
            if now_ns - shown_ns >= PROGRESS_NS {
                shown_ns = now_ns;
                progress(self.progress());
            }
        }
    }

    fn progress(&self) -> TraceProgress {
        TraceProgress {
            sent: self.sent_at.len() as u64,
            answered: self.heard.len() as u64,
            farthest_hop: self.heard.iter().map(|(.., heard)| heard.ttl).max().unwrap_or(0),
            reached: self.heard.iter().any(|(.., heard)| heard.verdict == Verdict::Arrived),
        }
    }

    fn class(&self, probe: Probe) -> Tos {
        self.config.classes.get(probe.class).copied().unwrap_or_default()
    }

    fn send(&mut self, socket: &UdpProbeSocket, probe: Probe, now_ns: u64) -> Result<(), PathError> {
        let mut payload = Vec::with_capacity(512);
        quote::payload(&mut payload, &self.flow, probe.id);
        let outgoing = Outgoing {
            payload: &payload,
            to: Some(SocketAddr::new(self.flow.target, self.flow.port)),
            tos: self.class(probe),
            ttl: Some(probe.ttl),
            source: None,
        };
        self.explorer.sent(probe, now_ns);
        self.sent_at.push(self.config.clock.now());
        match socket.send(&outgoing) {
            Ok(()) => Ok(()),
            Err(error) => self.failed(error),
        }
    }

    /// One probe that was not sent is one without an answer; if none can be sent there is no use in going on.
    fn failed(&mut self, error: NetError) -> Result<(), PathError> {
        self.failures += 1;
        tracing::debug!(%error, "a probe was not sent");
        if self.failures >= FAILURES && self.failures as usize == self.sent_at.len() {
            return Err(error.into());
        }
        Ok(())
    }

    fn message(&mut self, from: IpAddr, message: &[u8], at: UnixNanos) {
        let family = if self.flow.target.is_ipv4() { wire::Family::Ipv4 } else { wire::Family::Ipv6 };
        let Some(answer) = quote::answer(&self.flow, family, from, message) else {
            return self.foreign += 1;
        };
        let probe = match answer.probe {
            ProbeName::Id(id) => self.explorer.probe(id),
            ProbeName::Remainder(remainder) => self.explorer.latest(remainder),
        };
        let Some(probe) = probe else { return self.foreign += 1 };
        let ends_at = match answer.verdict {
            Verdict::Expired => None,
            Verdict::Arrived => Some(probe.ttl),
            Verdict::Refused => {
                let heard: Vec<Heard> = self.heard.iter().map(|(.., heard)| *heard).collect();
                Some(refusing_hop(&heard, from, probe.ttl))
            }
        };
        if self.explorer.answered(probe.id, ends_at) {
            let Answer { verdict, address, quoted, translated, .. } = answer;
            let sent = self.class(probe);
            let heard = Heard { ttl: probe.ttl, sent, address, quoted, verdict, rtt_ns: None, translated };
            self.heard.push((probe.id, at, heard));
        }
    }

    fn stamps(&mut self, socket: &UdpProbeSocket) {
        if self.outlet == Outlet::Shared {
            return;
        }
        let (left, flow, clock) = (&mut self.left, &self.flow, &self.config.clock);
        let drained = socket.transmit_stamps(&mut |stamp| {
            let Ok((packet, udp)) = wire::frame::udp_in_frame(stamp.frame) else { return };
            if let Some(id) = quote::id_in(udp.payload, &flow.nonce) {
                left.insert(id, Left { at: clock.stamp(stamp.stamp), mark: packet.tos });
            }
        });
        if let Err(error) = drained {
            tracing::debug!(%error, "cannot read transmit stamps");
        }
    }

    /// A service at the target that answers: it is there, but shows no mark.
    fn replies(&mut self, socket: &UdpProbeSocket) {
        if self.outlet == Outlet::Shared {
            return;
        }
        let mut batch = ReceiveBatch::new(16, 64);
        while let Ok(count) = socket.receive(&mut batch, Some(Duration::ZERO))
            && count > 0
        {
            self.talks |= batch.packets().any(|packet| packet.from.ip() == self.flow.target);
        }
    }

    fn into_trace(self, complete: bool) -> Trace {
        let heard: Vec<Heard> = self
            .heard
            .iter()
            .map(|(id, at, heard)| {
                let sent_at = self.left.get(id).map(|left| left.at).or_else(|| self.sent_at.get(*id as usize).copied());
                Heard { rtt_ns: sent_at.map(|sent_at| at.since(sent_at)), ..*heard }
            })
            .collect();
        let end = end_of(&heard);
        let hops = hops(&heard, &self.explorer);
        let mut trace = Trace {
            target: self.config.target,
            family: Family::of(self.config.target),
            port: self.config.port,
            from: self.flow.from,
            left_with: self.left_with(),
            reached: end.destination_hop.is_some() || self.talks,
            destination_hop: end.destination_hop,
            sent: self.sent_at.len() as u64,
            answered: heard.len() as u64,
            foreign: self.foreign,
            complete,
            notes: Vec::new(),
            hops,
        };
        trace.notes = notes(&trace, self.talks, self.failures);
        trace
    }

    fn left_with(&self) -> Vec<Mark> {
        let mut counts: BTreeMap<(Tos, Tos), u32> = BTreeMap::new();
        for (id, left) in &self.left {
            if let Some(probe) = self.explorer.probe(*id) {
                *counts.entry((self.class(probe), left.mark)).or_default() += 1;
            }
        }
        let address = self.flow.from.ip();
        counts.into_iter().map(|((sent, quoted), count)| Mark { sent, quoted, address, count }).collect()
    }
}

fn notes(trace: &Trace, talks: bool, failures: u32) -> Vec<String> {
    let mut notes = Vec::new();
    let last = trace.hops.last();
    if !trace.complete {
        notes.push("the trace was stopped before every hop had answered often enough".to_owned());
    }
    if trace.hops.is_empty() && trace.sent > 0 {
        notes.push("no hop answered: ICMP errors are filtered here or at the first router".to_owned());
    } else if let Some(refusing) = last.filter(|hop| hop.refuses) {
        notes.push(format!("hop {} refuses to pass these probes on: what lies beyond is not seen", refusing.hop));
    } else if trace.destination_hop.is_none() {
        let farthest = last.map_or(0, |hop| hop.hop);
        let answers = if talks { ", whose service answers without showing a mark" } else { "" };
        notes.push(format!(
            "nothing beyond hop {farthest} answers (asked {GAP} hops farther): marks between it and the target{answers}, are not seen"
        ));
    }
    let listed = |wanted: fn(&Hop) -> bool| {
        let hops: Vec<String> = trace.hops.iter().filter(|hop| wanted(hop)).map(|hop| hop.hop.to_string()).collect();
        hops.join(", ")
    };
    let several = listed(|hop| hop.addresses.len() > 1);
    if !several.is_empty() {
        notes.push(format!("several routers answer at hop {several}: paths in parallel, or the route changed"));
    }
    let translated = listed(|hop| hop.translated);
    if !translated.is_empty() {
        notes.push(format!("hop {translated} quotes other addresses or ports than were sent: a NAT lies before it"));
    }
    if failures > 0 {
        notes.push(format!("{failures} probes could not be sent"));
    }
    notes
}
