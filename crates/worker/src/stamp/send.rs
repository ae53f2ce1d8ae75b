//! The sending half: one paced thread that builds each request as late as possible.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use measure::Schedule;
use model::{Tos, UnixNanos};
use net::{Clock, Outgoing, UdpProbeSocket};
use wire::stamp::{ClassOfService, ErrorEstimate, SenderPacket, Timestamp, Tlv, TlvType, build_sender};

use super::{Amount, ClassOfServiceTlv, StampConfig, StampError};

/// Longest sleep in one piece, so that a stop is seen soon.
const NAP_NS: u64 = 50_000_000;
/// Between the start of the thread and the first probe.
const LEAD_NS: u64 = 2_000_000;

/// What the receiving half is told, in this order for one probe.
#[derive(Debug)]
pub(super) enum Event {
    /// Told before the packet can be answered. Sequences come in order, without gaps.
    Sending { timestamp: Timestamp, at: UnixNanos, tos: Tos, payload: u16 },
    /// The one just told of was refused by the kernel.
    Failed { sequence: u32 },
}

/// Runs `receive` while the sending thread works; the events end when it has sent everything.
pub(super) fn with_sender(
    config: &StampConfig,
    ssid: u16,
    seed: u64,
    socket: &UdpProbeSocket,
    stop: &AtomicBool,
    receive: impl FnOnce(Receiver<Event>),
) -> Result<(), StampError> {
    let (events, received) = channel();
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("stamp-send".to_owned())
            .spawn_scoped(scope, move || send_all(config, ssid, seed, socket, stop, &events))
            .map_err(StampError::Thread)?;
        receive(received);
        Ok(())
    })
}

fn send_all(
    config: &StampConfig,
    ssid: u16,
    seed: u64,
    socket: &UdpProbeSocket,
    stop: &AtomicBool,
    events: &Sender<Event>,
) {
    let _ = net::pacing::set_timer_slack(1);
    let end_ns = match config.amount {
        Amount::Count(_) => u64::MAX,
        Amount::Duration(duration) => u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
    };
    let count = usize::try_from(config.probes()).unwrap_or(usize::MAX);
    let slots = Schedule::new(config.classes.clone(), config.rate_pps, seed).take(count);
    let start_ns = Clock::monotonic_ns() + LEAD_NS;
    // Pseudorandom, as RFC 8972 (section 4.1) recommends, so that no link compresses it.
    let padding = filler(seed, config.padding.into());
    let mut packet = Vec::with_capacity(super::LONGEST_PACKET);
    for slot in slots.take_while(|slot| slot.at_ns < end_ns) {
        if !wait_until(start_ns.saturating_add(slot.at_ns), stop) {
            return;
        }
        let at = config.clock.now();
        let timestamp = Timestamp::from_unix_ns(at.0, config.timestamps);
        let request =
            SenderPacket { sequence: slot.sequence, timestamp, error: ErrorEstimate::unknown(config.timestamps), ssid };
        if build(&mut packet, &request, slot.tos, &padding, config).is_err() {
            // `StampConfig::check` bounds every length that could be too long.
            return;
        }
        let payload = packet.len() as u16;
        if events.send(Event::Sending { timestamp, at, tos: slot.tos, payload }).is_err() {
            return;
        }
        let outgoing = Outgoing { payload: &packet, to: None, tos: slot.tos, ttl: None, source: None };
        if let Err(error) = socket.send(&outgoing) {
            tracing::debug!(%error, sequence = slot.sequence, "a probe was not sent");
            let _ = events.send(Event::Failed { sequence: slot.sequence });
        }
    }
}

/// False if the run is to stop.
fn wait_until(at_ns: u64, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let now_ns = Clock::monotonic_ns();
        if now_ns >= at_ns {
            return true;
        }
        net::pacing::sleep_until(at_ns.min(now_ns + NAP_NS));
    }
}

fn build(
    packet: &mut Vec<u8>,
    request: &SenderPacket,
    tos: Tos,
    padding: &[u8],
    config: &StampConfig,
) -> Result<(), wire::WireError> {
    let class_of_service = match config.class_of_service {
        ClassOfServiceTlv::Off => None,
        ClassOfServiceTlv::Rfc8972 => Some(ClassOfService::request(tos.dscp())),
        ClassOfServiceTlv::Draft => {
            Some(ClassOfService { requested_ecn: tos.ecn(), ..ClassOfService::request(tos.dscp()) })
        }
    }
    .map(ClassOfService::bytes);
    // How many packets this session has sent, this one included; the reflector's two counters are zero.
    let mut counters = [0; 12];
    let sent = request.sequence.wrapping_add(1).to_be_bytes();
    counters.iter_mut().zip(sent).for_each(|(place, byte)| *place = byte);

    let mut tlvs = Vec::with_capacity(4);
    if let Some(value) = &class_of_service {
        tlvs.push(Tlv::request(TlvType::ClassOfService, value));
    }
    if config.direct_measurement {
        tlvs.push(Tlv::request(TlvType::DirectMeasurement, &counters));
    }
    if config.follow_up {
        tlvs.push(Tlv::request(TlvType::FollowUpTelemetry, &[0; 16]));
    }
    if !padding.is_empty() {
        tlvs.push(Tlv::request(TlvType::ExtraPadding, padding));
    }
    build_sender(packet, request, &tlvs, config.security())
}

/// SplitMix64's output bytes.
fn filler(seed: u64, len: usize) -> Vec<u8> {
    let words = (1u64..).map(|n| {
        let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    words.flat_map(u64::to_be_bytes).take(len).collect()
}
