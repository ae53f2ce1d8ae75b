//! Samples and halves as compact bytes: what a commit adds of one worker is one blob and not a row for each probe.
//!
//! A first byte says the format. Then every sample as a byte of bits, the fields that these bits announce, and its times, each as
//! the difference from the sample before it (LEB128; signed ones zigzag): about 9 bytes for a sample of a steady stream.
//! Any order of any samples packs and unpacks to the same.

use model::{Direction, Family, Kind, ReceivedHalf, Sample, SampleFlags, SentHalf, SessionId, Tos, UnixNanos};

const FORMAT: u8 = 1;

// Bits of a sample's first byte.
/// Session, direction, kind and family follow.
const STREAM: u8 = 1;
/// The sequence number is not the one after the last.
const JUMP: u8 = 1 << 1;
/// A byte of the bits below follows, and what they announce.
const LOOKS: u8 = 1 << 2;
const RECEIVED: u8 = 1 << 3;

const TOS_SENT: u8 = 1;
const TOS_RECEIVED: u8 = 1 << 1;
const HAS_TOS_RECEIVED: u8 = 1 << 2;
const TTL: u8 = 1 << 3;
const HAS_TTL: u8 = 1 << 4;
const SIZE: u8 = 1 << 5;
const FLAGS: u8 = 1 << 6;

/// What the first sample is told apart from.
const START: Sample = Sample {
    session: SessionId(0),
    sequence: u32::MAX,
    kind: Kind::Rtp,
    direction: Direction::Up,
    family: Family::Ipv4,
    tos_sent: Tos::from_byte(0),
    tos_received: None,
    sent_at: UnixNanos(0),
    received_at: None,
    ttl: None,
    size: 0,
    flags: SampleFlags(0),
};

pub(crate) struct Packer {
    bytes: Vec<u8>,
    last: Sample,
    /// Received less sent of the last sample that was received.
    delay: i64,
}

impl Default for Packer {
    fn default() -> Packer {
        Packer { bytes: vec![FORMAT], last: START, delay: 0 }
    }
}

impl Packer {
    pub(crate) fn push(&mut self, sample: &Sample) {
        let (last, bytes) = (&self.last, &mut self.bytes);
        let changed = |bit: u8, changed: bool| if changed { bit } else { 0 };
        let looks = changed(TOS_SENT, sample.tos_sent != last.tos_sent)
            | changed(TOS_RECEIVED, sample.tos_received != last.tos_received)
            | changed(TTL, sample.ttl != last.ttl)
            | changed(SIZE, sample.size != last.size)
            | changed(FLAGS, sample.flags != last.flags);
        let stream = (sample.session, sample.direction, sample.kind, sample.family)
            != (last.session, last.direction, last.kind, last.family);
        let jump = sample.sequence != last.sequence.wrapping_add(1);
        bytes.push(
            changed(STREAM, stream)
                | changed(JUMP, jump)
                | changed(LOOKS, looks != 0)
                | changed(RECEIVED, sample.received_at.is_some()),
        );
        if stream {
            unsigned(bytes, sample.session.0.into());
            bytes.extend([sample.direction as u8, sample.kind as u8, sample.family as u8]);
        }
        if jump {
            signed(bytes, i64::from(sample.sequence.wrapping_sub(last.sequence) as i32));
        }
        if looks != 0 {
            let present =
                changed(HAS_TOS_RECEIVED, sample.tos_received.is_some()) | changed(HAS_TTL, sample.ttl.is_some());
            bytes.push(looks | present);
            if looks & TOS_SENT != 0 {
                bytes.push(sample.tos_sent.byte());
            }
            if let Some(tos) = sample.tos_received.filter(|_| looks & TOS_RECEIVED != 0) {
                bytes.push(tos.byte());
            }
            if let Some(ttl) = sample.ttl.filter(|_| looks & TTL != 0) {
                bytes.push(ttl);
            }
            if looks & SIZE != 0 {
                unsigned(bytes, sample.size.into());
            }
            if looks & FLAGS != 0 {
                unsigned(bytes, sample.flags.0.into());
            }
        }
        signed(bytes, sample.sent_at.0.wrapping_sub(last.sent_at.0));
        if let Some(received_at) = sample.received_at {
            let delay = received_at.0.wrapping_sub(sample.sent_at.0);
            signed(bytes, delay.wrapping_sub(self.delay));
            self.delay = delay;
        }
        self.last = *sample;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that no [`Packer`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packed samples end early or hold a value that is none")]
pub(crate) struct Damaged;

/// Calls `f` with each sample in the order in which they were packed; those before the damage where there is some.
pub(crate) fn unpack(bytes: &[u8], mut f: impl FnMut(&Sample)) -> Result<(), Damaged> {
    let mut rest = Bytes(bytes);
    if rest.byte()? != FORMAT {
        return Err(Damaged);
    }
    let (mut sample, mut delay) = (START, 0i64);
    while !rest.0.is_empty() {
        let bits = rest.byte()?;
        if bits & STREAM != 0 {
            sample.session = SessionId(u32::try_from(rest.unsigned()?).map_err(|_| Damaged)?);
            sample.direction = Direction::from_code(rest.byte()?).ok_or(Damaged)?;
            sample.kind = Kind::from_code(rest.byte()?).ok_or(Damaged)?;
            let family = rest.byte()?;
            sample.family = Family::ALL.into_iter().find(|known| *known as u8 == family).ok_or(Damaged)?;
        }
        let step = if bits & JUMP != 0 { i32::try_from(rest.signed()?).map_err(|_| Damaged)? as u32 } else { 1 };
        sample.sequence = sample.sequence.wrapping_add(step);
        if bits & LOOKS != 0 {
            let looks = rest.byte()?;
            if looks & TOS_SENT != 0 {
                sample.tos_sent = Tos::from_byte(rest.byte()?);
            }
            if looks & TOS_RECEIVED != 0 {
                let has = looks & HAS_TOS_RECEIVED != 0;
                sample.tos_received = if has { Some(Tos::from_byte(rest.byte()?)) } else { None };
            }
            if looks & TTL != 0 {
                sample.ttl = if looks & HAS_TTL != 0 { Some(rest.byte()?) } else { None };
            }
            if looks & SIZE != 0 {
                sample.size = u16::try_from(rest.unsigned()?).map_err(|_| Damaged)?;
            }
            if looks & FLAGS != 0 {
                sample.flags = SampleFlags(u16::try_from(rest.unsigned()?).map_err(|_| Damaged)?);
            }
        }
        sample.sent_at = UnixNanos(sample.sent_at.0.wrapping_add(rest.signed()?));
        sample.received_at = None;
        if bits & RECEIVED != 0 {
            delay = delay.wrapping_add(rest.signed()?);
            sample.received_at = Some(UnixNanos(sample.sent_at.0.wrapping_add(delay)));
        }
        f(&sample);
    }
    Ok(())
}

/// Halves are packed as samples of which the other half is not there.
pub(crate) fn of_sent(half: &SentHalf) -> Sample {
    let SentHalf { sequence, sent_at, tos: tos_sent, size, flags } = *half;
    Sample { sequence, sent_at, tos_sent, size, flags, ..START }
}

pub(crate) fn to_sent(sample: &Sample) -> SentHalf {
    let Sample { sequence, sent_at, tos_sent: tos, size, flags, .. } = *sample;
    SentHalf { sequence, sent_at, tos, size, flags }
}

/// Its one time stands where a sample's first one does.
pub(crate) fn of_received(half: &ReceivedHalf) -> Sample {
    let ReceivedHalf { sequence, received_at: sent_at, tos: tos_received, ttl, flags } = *half;
    Sample { sequence, sent_at, tos_received, ttl, flags, ..START }
}

pub(crate) fn to_received(sample: &Sample) -> ReceivedHalf {
    let Sample { sequence, sent_at: received_at, tos_received: tos, ttl, flags, .. } = *sample;
    ReceivedHalf { sequence, received_at, tos, ttl, flags }
}

fn unsigned(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn signed(bytes: &mut Vec<u8>, value: i64) {
    unsigned(bytes, ((value << 1) ^ (value >> 63)) as u64);
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    fn unsigned(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    fn signed(&mut self) -> Result<i64, Damaged> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::sample;

    fn unpacked(bytes: &[u8]) -> Result<Vec<Sample>, Damaged> {
        let mut all = Vec::new();
        unpack(bytes, |sample| all.push(*sample)).map(|()| all)
    }

    #[test]
    fn the_bytes_are_what_the_format_says() {
        let mut packer = Packer::default();
        let mut first = Sample { received_at: None, tos_received: None, ttl: None, ..sample(300, 1) };
        first.sent_at = UnixNanos(-2);
        packer.push(&first);
        packer.push(&Sample { sequence: 2, sent_at: UnixNanos(62), received_at: Some(UnixNanos(65)), ..first });
        let expected = [
            1, // format
            7, 0xac, 0x02, 1, 0, 4, // stream, jump and looks; session 300, down, rtp, IPv4
            4, // sequence: -1 and 2 more
            0x21, 0xb8, 0xdc, 0x01, // ToS and size
            3,    // sent at 0 - 2
            8,    // received
            0x80, 0x01, // 64 later
            6,    // delay 0 + 3
        ];
        assert_eq!(packer.bytes(), expected);
    }

    #[test]
    fn a_steady_stream_takes_nine_bytes_a_sample() {
        let mut packer = Packer::default();
        let one = sample(7, 0);
        let jitter = |i: i64| i * 7919 % 400_000;
        let at = |i: i64| Sample {
            sequence: i as u32,
            sent_at: UnixNanos(one.sent_at.0 + i * 20_000_000 + jitter(i) / 20),
            received_at: Some(UnixNanos(one.sent_at.0 + i * 20_000_000 + 25_000_000 + jitter(i))),
            ..one
        };
        (0..1000).for_each(|i| packer.push(&at(i)));
        assert!(packer.bytes().len() < 9 * 1000, "{}", packer.bytes().len());
        assert_eq!(unpacked(packer.bytes()).unwrap(), (0..1000).map(at).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn anything_may_be_read_and_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut formatted = vec![FORMAT];
            formatted.extend(&bytes);
            for bytes in [&bytes[..], &formatted] {
                if let Ok(samples) = unpacked(bytes) {
                    let mut packer = Packer::default();
                    samples.iter().for_each(|sample| packer.push(sample));
                    prop_assert_eq!(unpacked(packer.bytes()).unwrap(), samples);
                }
            }
        }
    }
}
