//! What the kernel knows of a TCP connection: round-trip times, retransmits, bytes that wait. Of an own socket, so that an
//! application's latency stands beside the network's on the very same connection.
//!
//! The network's share is [`TcpInfo::min_rtt`], never [`TcpInfo::smoothed_rtt`]: acknowledgements ride on replies, so the
//! smoothed value grows by the time the peer thinks. The minimum is of the last five minutes (`net.ipv4.tcp_min_rtt_wlen`).

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::NetError;
use crate::sys;

/// Up to `tcpi_min_rtt` and some more; a newer kernel's rest is cut off, an older one's is zero.
const LEN: usize = 232;

/// A reading of `struct tcp_info` (linux/tcp.h), whose layout only ever grows at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// `None` before the first sample.
    pub min_rtt: Option<Duration>,
    pub smoothed_rtt: Duration,
    pub rtt_variation: Duration,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    pub bytes_received: u64,
    pub bytes_acknowledged: u64,
    /// Segments on their way, and bytes that wait to be sent at all.
    pub unacknowledged: u32,
    pub unsent_bytes: u32,
    /// Since anything was last received.
    pub idle: Duration,
}

impl TcpInfo {
    /// Reads the bytes of a `tcp_info`; `None` where they end before the fields needed.
    pub fn parse(bytes: &[u8]) -> Option<TcpInfo> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        let micros = |value: u32| Duration::from_micros(value.into());
        // The kernel's "none yet" is all ones.
        let min_rtt = word(148).filter(|value| *value != 0 && *value != u32::MAX).map(micros);
        Some(TcpInfo {
            min_rtt,
            smoothed_rtt: micros(word(68)?),
            rtt_variation: micros(word(72)?),
            retransmits: word(100)?,
            bytes_acknowledged: long(120).unwrap_or(0),
            unacknowledged: word(24)?,
            unsent_bytes: word(144).unwrap_or(0),
            bytes_received: long(128).unwrap_or(0),
            idle: Duration::from_millis(word(52)?.into()),
        })
    }
}

/// Asks the kernel about a connected TCP socket.
pub fn read(socket: BorrowedFd<'_>) -> Result<TcpInfo, NetError> {
    let mut bytes = [0u8; LEN];
    let failed = |error| NetError::new("reading TCP_INFO of", "a connection", error);
    let len = sys::get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes).map_err(failed)?;
    TcpInfo::parse(&bytes[..len]).ok_or_else(|| failed(std::io::ErrorKind::Unsupported.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn a_peer_that_thinks_shows_in_the_smoothed_time_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let answerer = std::thread::spawn(move || {
            let mut byte = [0];
            while server.read_exact(&mut byte).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
                server.write_all(&byte).unwrap();
            }
        });
        for _ in 0..5 {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        let info = read(client.as_fd()).unwrap();
        drop(client);
        answerer.join().unwrap();
        assert!(info.min_rtt.unwrap() < info.smoothed_rtt, "{info:?}");
        // The first byte counts as the handshake's acknowledgement in some kernels.
        assert!((5..=6).contains(&info.bytes_received) && (5..=6).contains(&info.bytes_acknowledged), "{info:?}");
        assert_eq!(info.retransmits, 0);
    }

    /// The kernel's own rendering of the same structure is `ss -ti`: the offsets are of linux/tcp.h, checked by writing
    /// a different number into every field.
    #[test]
    fn fields_are_where_the_kernel_puts_them() {
        let mut bytes = [0u8; LEN];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        put(24, 5);
        put(52, 7);
        put(68, 30_000);
        put(72, 4_000);
        put(100, 3);
        put(144, 900);
        put(148, 14);
        let info = TcpInfo::parse(&bytes).unwrap();
        assert_eq!(info.min_rtt, Some(Duration::from_micros(14)));
        assert_eq!(info.smoothed_rtt, Duration::from_millis(30));
        assert_eq!(info.rtt_variation, Duration::from_millis(4));
        assert_eq!((info.retransmits, info.idle), (3, Duration::from_millis(7)));
        assert_eq!((info.unacknowledged, info.unsent_bytes), (5, 900));
        assert_eq!(TcpInfo::parse(&bytes[..96]), None);
        assert_eq!(TcpInfo::parse(&bytes[..120]).unwrap().min_rtt, None);
    }
}
