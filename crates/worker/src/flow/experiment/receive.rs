//! The receiving thread: answers and transmit stamps of all source ports of an experiment.

use std::time::Duration;

use net::Clock;
use net::udp::{ReceiveBatch, wait_any};

use super::{Bench, Port, sockets};
use crate::flow::datagram;
use crate::flow::stop::Flag;

const PACKET: usize = 1536;
const BATCH: usize = 16;
/// New ports are looked for so often.
const TICK: Duration = Duration::from_millis(20);
/// Bounds the wake-ups to some hundred a second.
const GATHER: Duration = Duration::from_millis(2);

/// Reads until `stop`.
pub(in crate::flow) fn receive(bench: &Bench, stop: &Flag) {
    let mut batch = ReceiveBatch::new(BATCH, PACKET);
    let opened = Flag::default();
    while !stop.is_set() {
        let ports = sockets::live(&bench.ports, Clock::monotonic_ns());
        if ports.is_empty() {
            stop.wait(TICK);
            continue;
        }
        let seen: Vec<&Port> = ports.iter().map(|port| &**port).collect();
        let ready = match wait_any(&seen, TICK) {
            Ok(ready) => ready,
            Err(error) => {
                seen[0].link.log.note(error.to_string());
                stop.wait(TICK);
                continue;
            }
        };
        if !ready.iter().any(|ready| ready.readable || ready.error_queue) {
            continue;
        }
        // The kernel notes the times, so nothing is lost by letting some packets and stamps gather.
        stop.wait(GATHER);
        for (port, ready) in seen.iter().zip(ready) {
            if ready.readable {
                datagram::answers(&port.link, &port.socket, &mut batch, &opened);
            }
            if ready.error_queue {
                stamps(bench, port);
            }
        }
    }
}

fn stamps(bench: &Bench, port: &Port) {
    let log = &port.link.log;
    datagram::stamps(&port.link, &port.socket, &mut |sequence, waited_ns| {
        if let Some(hypothesis) = sockets::lock(&bench.queue).push(sequence, Some(waited_ns)) {
            log.local_queue(hypothesis);
        }
    });
}
