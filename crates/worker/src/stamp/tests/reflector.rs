//! A reflector for tests that can be told to misbehave. Its bytes are `wire`'s; independent ones are tried against by
//! `scripts/interop-stamp.sh`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Sample, Tos};
use net::{Outgoing, ReceiveBatch, UdpOptions, UdpProbeSocket};
use wire::stamp::{Counters, ErrorEstimate, FollowUp, ReflectContext, Security, StampKey, TimestampFormat, reflect};

use crate::stamp::{Amount, StampConfig, StampOutcome, run};

#[derive(Clone)]
pub(super) struct Temper {
    pub key: Option<StampKey>,
    pub stateful: bool,
    pub counts: bool,
    /// Knows no Class of Service TLV and sends replies with the mark it received, as RFC 8762 has it.
    pub plain: bool,
    pub allowed_dscp: u64,
    pub sets_ecn: bool,
    /// Numbers of requests that it behaves as if it had never received.
    pub deaf_to: Vec<u32>,
    /// Numbers of requests whose reply is lost.
    pub loses: Vec<u32>,
    /// Sends every reply twice.
    pub doubles: bool,
    /// Another byte of the reply is wrong.
    pub corrupts: Option<usize>,
}

impl Default for Temper {
    fn default() -> Temper {
        Temper {
            key: None,
            stateful: false,
            counts: true,
            plain: false,
            allowed_dscp: u64::MAX,
            sets_ecn: true,
            deaf_to: Vec::new(),
            loses: Vec::new(),
            doubles: false,
            corrupts: None,
        }
    }
}

/// Runs a session against such a reflector. `listen`: its address.
pub(super) fn session(listen: &str, temper: &Temper, adjust: impl FnOnce(&mut StampConfig)) -> StampOutcome {
    let listen: SocketAddr = listen.parse().unwrap();
    let options = UdpOptions { pktinfo: true, ..UdpOptions::default() };
    let socket = UdpProbeSocket::bind(listen, &options).unwrap();
    let mut config = StampConfig::new(socket.local_addr().unwrap(), net::Clock::identity());
    config.rate_pps = 1000.0;
    config.amount = Amount::Count(40);
    config.linger = Duration::from_millis(300);
    adjust(&mut config);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&socket, temper, &over));
        let outcome = run(&config, &AtomicBool::new(false), &mut |_| {});
        over.store(true, Ordering::Relaxed);
        outcome.unwrap()
    })
}

fn serve(socket: &UdpProbeSocket, temper: &Temper, over: &AtomicBool) {
    let clock = net::Clock::identity();
    let mut batch = ReceiveBatch::new(1, 2048);
    let (mut received, mut sequence, mut out) = (0, 0, Vec::new());
    let mut left: Option<FollowUp> = None;
    while !over.load(Ordering::Relaxed) {
        if socket.receive(&mut batch, Some(Duration::from_millis(20))).unwrap() == 0 {
            continue;
        }
        let packet = batch.packets().next().unwrap();
        let number = u32::from_be_bytes(*packet.payload.first_chunk().unwrap());
        if temper.deaf_to.contains(&number) {
            continue;
        }
        socket
            .transmit_stamps(&mut |stamp| {
                let (_, udp) = wire::frame::udp_in_frame(stamp.frame).unwrap();
                let sequence = u32::from_be_bytes(*udp.payload.first_chunk().unwrap());
                left = Some(FollowUp { sequence, transmit_ns: stamp.stamp.0, transmitted_by: 2 });
            })
            .unwrap();
        received += 1;
        let now = clock.now().0;
        let error = ErrorEstimate::unknown(TimestampFormat::Ptp);
        let context = ReflectContext {
            security: temper.key.as_ref().map_or(Security::Open, Security::Authenticated),
            received_tos: packet.tos.filter(|_| !temper.plain),
            received_ttl: packet.ttl,
            reply_sequence: temper.stateful.then_some(sequence),
            allowed_dscp: temper.allowed_dscp,
            sets_ecn: temper.sets_ecn,
            counters: temper.counts.then_some(Counters { received, transmitted: sequence + 1 }),
            follow_up: left,
            ..ReflectContext::new(packet.stamp.map_or(now, |stamp| stamp.0), now, error)
        };
        let Ok(plan) = reflect(packet.payload, &context, &mut out) else { continue };
        sequence += 1;
        let tos = if temper.plain { packet.tos.unwrap() } else { Tos::new(plan.dscp, plan.ecn) };
        if let Some(place) = temper.corrupts {
            out[place] ^= 0x55;
        }
        if !temper.loses.contains(&number) {
            let reply = Outgoing { payload: &out, to: Some(packet.from), tos, ttl: None, source: packet.to };
            socket.send(&reply).unwrap();
            if temper.doubles {
                socket.send(&reply).unwrap();
            }
        }
    }
}

/// The samples of one direction, by sequence.
pub(super) fn going(outcome: &StampOutcome, direction: model::Direction) -> Vec<Sample> {
    let mut samples: Vec<Sample> =
        outcome.samples.iter().copied().filter(|sample| sample.direction == direction).collect();
    samples.sort_by_key(|sample| sample.sequence);
    samples
}

/// Every DSCP of these with every ECN of these.
pub(super) fn marks(dscp: &[u8], ecn: &[u8]) -> Vec<Tos> {
    dscp.iter().flat_map(|d| ecn.iter().map(move |e| Tos::from_byte(d << 2 | e))).collect()
}
