//! DNS over TCP (RFC 1035, section 4.2.2): segments back in order, then messages by their length prefix. Everything is
//! bounded; a connection that goes beyond a bound, or that was not seen from its start, is not looked at.

use std::collections::HashMap;
use std::net::SocketAddr;

use model::UnixNanos;
use wire::frame::{TcpFlags, TcpView};

/// One message and its prefix.
const LONGEST: usize = 2 + 65_535;
const MOST_CONNECTIONS: usize = 64;
/// Segments of one direction that came before their turn.
const MOST_AHEAD: usize = 64;
/// Bytes of all connections together.
const MOST_BYTES: usize = 1 << 20;

/// One direction of a connection.
#[derive(Debug)]
struct Half {
    next: u32,
    bytes: Vec<u8>,
    ahead: Vec<(u32, Vec<u8>)>,
    begun: UnixNanos,
}

impl Half {
    fn held(&self) -> usize {
        self.bytes.len() + self.ahead.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// False where it goes beyond its bounds.
    fn add(&mut self, sequence: u32, payload: &[u8]) -> bool {
        // Wrapping distance (RFC 9293, section 3.4): negative is old.
        let distance = sequence.wrapping_sub(self.next).cast_signed();
        if distance > 0 {
            if self.ahead.iter().any(|(known, _)| *known == sequence) {
                return true;
            }
            let fits = self.ahead.len() < MOST_AHEAD && self.held() + payload.len() <= 2 * LONGEST;
            if fits {
                self.ahead.push((sequence, payload.to_vec()));
            }
            return fits;
        }
        let known = distance.unsigned_abs() as usize;
        if let Some(fresh) = payload.get(known..) {
            self.bytes.extend_from_slice(fresh);
            self.next = self.next.wrapping_add(fresh.len() as u32);
        }
        self.held() <= 3 * LONGEST
    }

    fn take_ahead(&mut self) -> Option<(u32, Vec<u8>)> {
        let due = |(sequence, _): &(u32, Vec<u8>)| sequence.wrapping_sub(self.next).cast_signed() <= 0;
        self.ahead.iter().position(due).map(|index| self.ahead.swap_remove(index))
    }

    /// Calls `f` with each whole message, and forgets them all at once: there may be thousands of empty ones in a segment.
    fn take_messages(&mut self, f: &mut dyn FnMut(&[u8])) {
        let mut at = 0;
        while let Some(length) = self.bytes[at..].first_chunk() {
            let end = at + 2 + usize::from(u16::from_be_bytes(*length));
            let Some(message) = self.bytes.get(at + 2..end) else { break };
            f(message);
            at = end;
        }
        self.bytes.drain(..at);
    }
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    halves: HashMap<(SocketAddr, SocketAddr), Half>,
    /// Directions given up because they went beyond a bound.
    pub(super) given_up: u64,
}

impl Streams {
    /// Calls `f` with each message that this segment completes.
    pub(super) fn add(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        segment: &TcpView<'_>,
        at: UnixNanos,
        f: &mut dyn FnMut(&[u8]),
    ) {
        let key = (from, to);
        if segment.flags.contains(TcpFlags::RST) {
            self.halves.remove(&key);
            self.halves.remove(&(to, from));
            return;
        }
        if segment.flags.contains(TcpFlags::SYN) {
            let next = segment.sequence.wrapping_add(1);
            // A SYN sent again is the same connection; another one is the ports' next.
            if self.halves.get(&key).is_none_or(|half| half.next != next) {
                self.halves.insert(key, Half::new(next, at));
            }
            return self.make_room();
        }
        let Some(half) = self.halves.get_mut(&key) else { return };
        let mut fits = half.add(segment.sequence, segment.payload);
        while let Some((sequence, payload)) = half.take_ahead() {
            fits &= half.add(sequence, &payload);
        }
        half.take_messages(f);
        if !fits {
            self.given_up += 1;
        }
        if !fits || segment.flags.contains(TcpFlags::FIN) && half.ahead.is_empty() {
            self.halves.remove(&key);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        let held = |halves: &HashMap<_, Half>| halves.values().map(Half::held).sum::<usize>();
        while (self.halves.len() > 2 * MOST_CONNECTIONS || held(&self.halves) > MOST_BYTES)
            && let Some(oldest) = self.halves.iter().min_by_key(|(_, half)| half.begun).map(|(key, _)| *key)
        {
            self.halves.remove(&oldest);
            self.given_up += 1;
        }
    }
}

impl Half {
    fn new(next: u32, begun: UnixNanos) -> Half {
        Half { next, bytes: Vec::new(), ahead: Vec::new(), begun }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: u32, flags: TcpFlags, payload: &[u8]) -> TcpView<'_> {
        let (source_port, destination_port) = (40_000, 53);
        TcpView {
            source_port,
            destination_port,
            sequence,
            acknowledgement: 0,
            flags,
            window: 1000,
            option_bytes: &[],
            payload,
        }
    }

    fn ends() -> (SocketAddr, SocketAddr) {
        ("192.0.2.1:40000".parse().unwrap(), "192.0.2.53:53".parse().unwrap())
    }

    fn run(segments: &[(u32, TcpFlags, &[u8])]) -> (Vec<Vec<u8>>, Streams) {
        let (mut streams, mut found) = (Streams::default(), Vec::new());
        let (from, to) = ends();
        for (at, (sequence, flags, payload)) in segments.iter().enumerate() {
            let view = segment(*sequence, *flags, payload);
            streams.add(from, to, &view, UnixNanos(at as i64), &mut |message| found.push(message.to_vec()));
        }
        (found, streams)
    }

    const START: u32 = u32::MAX - 2;

    #[test]
    fn messages_come_out_whole_whatever_way_their_segments_came() {
        let (syn, ack) = (TcpFlags::SYN, TcpFlags::ACK);
        // Sequence numbers wrap in the middle; segments are late, doubled and overlapping.
        let parts: [(u32, TcpFlags, &[u8]); 7] = [
            (START, syn, b""),
            (START, syn, b""),
            (START.wrapping_add(4), ack, b"bc\x00\x02d"),
            (START.wrapping_add(1), ack, b"\x00\x03a"),
            (START.wrapping_add(1), ack, b"\x00\x03a"),
            (START.wrapping_add(6), ack, b"\x00\x02de"),
            (START.wrapping_add(10), ack, b""),
        ];
        let (found, streams) = run(&parts);
        assert_eq!(found, [b"abc".to_vec(), b"de".to_vec()]);
        assert_eq!(streams.given_up, 0);
    }

    #[test]
    fn what_was_not_seen_from_its_start_or_goes_beyond_a_bound_is_let_go() {
        assert!(run(&[(5, TcpFlags::ACK, b"\x00\x01a")]).0.is_empty());
        let mut streams = Streams::default();
        let (from, to) = ends();
        streams.add(from, to, &segment(0, TcpFlags::SYN, b""), UnixNanos(0), &mut |_| {});
        let filler = vec![0xff; 1400];
        // A hole at the start: nothing of it can be read, and not all of it is kept.
        for index in 0..10_000_u32 {
            streams.add(from, to, &segment(2 + index * 1400, TcpFlags::ACK, &filler), UnixNanos(1), &mut |_| {});
        }
        assert_eq!((streams.given_up, streams.halves.len()), (1, 0));
        for port in 1..10_000 {
            let from = SocketAddr::new(from.ip(), port);
            streams.add(from, to, &segment(0, TcpFlags::SYN, b""), UnixNanos(i64::from(port)), &mut |_| {});
        }
        assert_eq!(streams.halves.len(), 2 * MOST_CONNECTIONS);
        // Connections that were there before, each of which is within its bound, do not fill more than all may.
        let long = vec![0xff; 60_000];
        for port in 9_900..10_000 {
            let from = SocketAddr::new(from.ip(), port);
            streams.add(from, to, &segment(1, TcpFlags::ACK, &long), UnixNanos(1), &mut |_| {});
        }
        assert!(streams.halves.values().map(Half::held).sum::<usize>() <= MOST_BYTES);
    }

    #[test]
    fn the_longest_message_is_read() {
        let mut bytes = vec![0xff, 0xff];
        bytes.resize(LONGEST, 7);
        let mut segments: Vec<(u32, TcpFlags, &[u8])> = vec![(0, TcpFlags::SYN, b"")];
        segments.extend(bytes.chunks(1400).enumerate().map(|(i, part)| (1 + i as u32 * 1400, TcpFlags::ACK, part)));
        let (found, _) = run(&segments);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), 65_535);
    }
}
