//! The threads of an icmp flow. Its samples are round trips: the far kernel copies the mark into its reply.

use std::sync::Arc;
use std::time::Duration;

use model::{SampleFlags, SentHalf};
use net::icmp::EchoSocket;
use net::udp::ReceiveBatch;
use net::{Clock, NetError};

use super::link::Link;
use super::plan::Plan;
use super::stop::Flag;
use crate::config::EchoSockets;

const TICK: Duration = Duration::from_millis(250);
/// Bounds the wake-ups of a fast flow.
const GATHER: Duration = Duration::from_millis(2);
const STALL_NS: u64 = 1_000_000_000;

/// An unprivileged socket where the host has them, else one that was opened before the privileges were dropped.
pub(crate) fn open(link: &Link, kept: &EchoSockets) -> Result<Arc<EchoSocket>, NetError> {
    let error = match EchoSocket::open(link.family) {
        Ok(socket) => return Ok(Arc::new(socket)),
        Err(error) => error,
    };
    let socket = kept.free(link.family).ok_or(error)?;
    // What came while nobody read is not this flow's.
    let mut batch = ReceiveBatch::new(16, 1536);
    while matches!(socket.receive(&mut batch, Some(Duration::ZERO), &mut |_| {}), Ok(count) if count > 0) {}
    Ok(socket)
}

/// Sends until the plan ends or `stop`.
pub(crate) fn send(link: &Link, socket: &EchoSocket, mut plan: Plan, stop: &Flag) {
    // Without it probes are some 50 us later, no more.
    let _ = net::pacing::set_timer_slack(1_000);
    let mut data = Vec::new();
    while let Some(due) = plan.next() {
        if !stop.sleep_until(due.at_ns) {
            return;
        }
        let now_ns = Clock::monotonic_ns();
        let late_ns = now_ns.saturating_sub(due.at_ns);
        if late_ns > STALL_NS {
            plan.postpone(late_ns);
        }
        let sent_at = link.clock.now();
        let mut header = link.header(due.sequence, due.tos, sent_at);
        // Direction means nothing to an echo: the class is always on the request.
        header.tos = due.tos;
        if let Err(error) = link.build(&mut data, &header) {
            return link.log.note(format!("icmp: cannot build probes: {error}"));
        }
        let half = SentHalf {
            sequence: due.sequence,
            sent_at,
            tos: due.tos,
            size: link.layer3(data.len()),
            flags: SampleFlags::default(),
        };
        link.log.sending(now_ns, half);
        if let Err(error) = socket.send(link.peer.ip(), due.sequence as u16, &data, due.tos, None) {
            link.log.retract(due.sequence);
            link.log.note(format!("icmp over {}: not sent: {error}", link.family));
        }
    }
}

/// Reads until `stop`.
pub(crate) fn receive(link: &Arc<Link>, socket: &EchoSocket, stop: &Flag) {
    let mut batch = ReceiveBatch::new(16, 1536);
    while !stop.is_set() {
        match socket.wait(Some(TICK)) {
            Ok(ready) if ready.readable || ready.error_queue => {}
            Ok(_) => continue,
            Err(error) => {
                link.log.note(format!("icmp over {}: {error}", link.family));
                stop.wait(TICK);
                continue;
            }
        }
        stop.wait(GATHER);
        let replies = socket.receive(&mut batch, Some(Duration::ZERO), &mut |reply| match link.open_echo(reply.data) {
            Some(sequence) if reply.from == link.peer.ip() && reply.sequence == sequence as u16 => {
                let half = link.received(sequence, reply.stamp, reply.tos, reply.ttl);
                if !link.log.received(&half) {
                    link.log.foreign();
                }
            }
            _ => link.log.foreign(),
        });
        let stamps = socket.transmit_stamps(&mut |stamp| {
            if let Some(sequence) = link.log.widen(stamp.sequence) {
                link.log.stamped(sequence, link.clock.stamp(stamp.stamp), Some(stamp.tos));
            }
        });
        if let Err(error) = replies.and(stamps) {
            link.log.note(format!("icmp over {}: {error}", link.family));
        }
    }
}
