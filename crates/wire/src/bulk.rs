//! Whole TCP transfers that look like what they are compared with, and the sealed report that ends each of them.
//!
//! ```text
//! download  client: opening                    server: greeting, body, closing with report, FIN
//! upload    client: opening                    server: greeting
//!           client: body, FIN where cut short  server: closing with report, FIN
//!
//!           opening                 greeting               body                 closing
//! HTTP      GET or POST head        200 or 100 head        any bytes            head of 200 (upload), report
//! TLS       ClientHello             ServerHello, CCS       application data     an application data record
//! stream    512 random bytes        random bytes           any bytes            report
//! ```
//!
//! The opening carries the [`token`](crate::token) that authenticates it; the report, always the last bytes before the FIN, authenticates
//! the server and all that it says of the transfer.

use alloc::vec::Vec;

use crate::error::WireError;
use crate::probe::{DirectionKey, NonceSpace, TAG_LEN};

/// Length of every random opening, so that both ends know where it ends.
pub const STREAM_OPENING_LEN: usize = 512;
/// Bytes of a report, sealed.
pub const REPORT_LEN: usize = 48 + TAG_LEN;
/// An application data record with the most content that it may have, header included (RFC 8446, section 5.1).
pub const RECORD_LEN: usize = 5 + (1 << 14);

const APPLICATION_DATA: u8 = 23;

/// How a transfer is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dress {
    Http,
    Tls,
    Stream,
}

/// What the server's end of a transfer tells. For an upload it is what the server received, for a download what its kernel says of
/// what it sent; what it cannot tell is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub bytes: u64,
    pub elapsed_ns: u64,
    pub tail_bytes: u64,
    pub tail_ns: u64,
    pub retransmits: u32,
    pub min_rtt_us: u32,
    pub rtt_us: u32,
    /// The sender's kernel did answer; otherwise the three before are unknown.
    pub is_sender: bool,
}

impl Report {
    fn bytes(&self) -> [u8; REPORT_LEN - TAG_LEN] {
        let mut out = [0; REPORT_LEN - TAG_LEN];
        let longs = [self.bytes, self.elapsed_ns, self.tail_bytes, self.tail_ns];
        let words = [self.retransmits, self.min_rtt_us, self.rtt_us, u32::from(self.is_sender)];
        let bytes = longs.iter().flat_map(|long| long.to_be_bytes());
        for (place, byte) in out.iter_mut().zip(bytes.chain(words.iter().flat_map(|word| word.to_be_bytes()))) {
            *place = byte;
        }
        out
    }

    fn parse(bytes: &[u8]) -> Option<Report> {
        let long = |at: usize| bytes.get(at..at + 8)?.first_chunk().map(|chunk| u64::from_be_bytes(*chunk));
        let word = |at: usize| bytes.get(at..at + 4)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk));
        Some(Report {
            bytes: long(0)?,
            elapsed_ns: long(8)?,
            tail_bytes: long(16)?,
            tail_ns: long(24)?,
            retransmits: word(32)?,
            min_rtt_us: word(36)?,
            rtt_us: word(40)?,
            is_sender: word(44)? != 0,
        })
    }
}

/// Seals the report of a transfer. Once for each sequence: the sequence is the nonce.
pub fn seal_report(session: u32, sequence: u32, report: &Report, key: &DirectionKey) -> [u8; REPORT_LEN] {
    let mut sealed = report.bytes();
    // Far below every limit of AES-GCM; should ring refuse, a zero tag is a report nobody accepts.
    let tag = key.seal(NonceSpace::Bulk, sequence, &session.to_be_bytes(), &mut sealed).unwrap_or_default();
    let mut out = [0; REPORT_LEN];
    for (place, byte) in out.iter_mut().zip(sealed.into_iter().chain(tag)) {
        *place = byte;
    }
    out
}

/// The report that these bytes, the last of a stream, are.
pub fn open_report(
    session: u32,
    sequence: u32,
    sealed: &[u8; REPORT_LEN],
    key: &DirectionKey,
) -> Result<Report, WireError> {
    let mut sealed = *sealed;
    let plain = key.open(NonceSpace::Bulk, sequence, &session.to_be_bytes(), &mut sealed)?;
    Report::parse(plain).ok_or(WireError::Malformed)
}

/// Puts the bytes of a body from `from` on, of `total` in all, into `out`: random ones as they are there, and for TLS the headers of
/// records between them.
pub fn dress_body(dress: Dress, out: &mut [u8], from: u64, total: u64) {
    if dress != Dress::Tls {
        return;
    }
    let record = RECORD_LEN as u64;
    let mut at = (from / record) * record;
    while at < from + out.len() as u64 {
        let content = total.saturating_sub(at + 5).min(record - 5) as u16;
        let [high, low] = content.to_be_bytes();
        for (offset, byte) in (at..).zip([APPLICATION_DATA, 3, 3, high, low]) {
            let place = offset.checked_sub(from).and_then(|index| out.get_mut(usize::try_from(index).ok()?));
            if let Some(place) = place {
                *place = byte;
            }
        }
        at += record;
    }
}

/// The head of an HTTP answer whose body has this many bytes.
pub fn build_http_head(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ");
    push_decimal(out, length);
    out.extend_from_slice(b"\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
}

/// What an upload's head is answered with.
pub fn build_http_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// The closing that carries a report, after the body of a download or as the answer to an upload.
pub fn build_closing(out: &mut Vec<u8>, dress: Dress, is_upload: bool, sealed: &[u8; REPORT_LEN]) {
    match dress {
        Dress::Http if is_upload => build_http_head(out, REPORT_LEN as u64),
        Dress::Tls => out.extend_from_slice(&[APPLICATION_DATA, 3, 3, 0, REPORT_LEN as u8]),
        Dress::Http | Dress::Stream => {}
    }
    out.extend_from_slice(sealed);
}

/// Bytes of a closing behind a download's body.
pub const fn closing_len(dress: Dress) -> usize {
    match dress {
        Dress::Tls => 5 + REPORT_LEN,
        Dress::Http | Dress::Stream => REPORT_LEN,
    }
}

pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_report_is_read_by_its_own_session_and_sequence_only() {
        let key = DirectionKey::new(&[7; 32]);
        let report =
            Report { bytes: 1 << 40, elapsed_ns: 2, tail_ns: 9, retransmits: 3, is_sender: true, ..Report::default() };
        let sealed = seal_report(5, 6, &report, &key);
        assert_eq!(open_report(5, 6, &sealed, &key), Ok(report));
        assert!(open_report(5, 7, &sealed, &key).is_err() && open_report(6, 6, &sealed, &key).is_err());
        for index in 0..REPORT_LEN {
            let mut bent = sealed;
            bent[index] ^= 1;
            assert!(open_report(5, 6, &bent, &key).is_err(), "byte {index}");
        }
    }

    /// RFC 8446, section 5.1: type, version, length, and the next header right behind the content, wherever the stream is cut.
    #[test]
    fn a_dressed_body_is_records_from_end_to_end() {
        let total = 3 * RECORD_LEN as u64 - 1000;
        for piece in [1, 7, 1000, 16_384, 100_000] {
            let mut stream = vec![0xa5; total as usize];
            let mut from = 0;
            for part in stream.chunks_mut(piece) {
                dress_body(Dress::Tls, part, from, total);
                from += part.len() as u64;
            }
            let mut rest = stream.as_slice();
            let mut records = 0;
            while let [kind, major, minor, high, low, after @ ..] = rest {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                assert_eq!((*kind, *major, *minor), (23, 3, 3), "pieces of {piece}");
                assert!(length <= 1 << 14 && after[..length].iter().all(|byte| *byte == 0xa5));
                rest = &after[length..];
                records += 1;
            }
            assert_eq!((rest.len(), records), (0, 3));
        }
    }

    #[test]
    fn lengths_are_written_as_people_write_them() {
        for number in [0, 9, 10, 1_048_576, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(core::str::from_utf8(&out).unwrap().parse(), Ok(number));
        }
    }
}
