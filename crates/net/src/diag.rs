//! TCP connections of other processes, by INET_DIAG (NETLINK_SOCK_DIAG, linux/inet_diag.h): what `ss -ti` shows. Needs no right within
//! one network namespace; whose a connection is, only `/proc` tells ([`crate::process`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::error::NetError;
use crate::sys;
use crate::tcp_info::TcpInfo;

/// An established TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Of the socket, as `/proc/PID/fd` names it.
    pub inode: u64,
    pub user: u32,
    /// Bytes that arrived and that the process has not read.
    pub unread_bytes: u32,
    /// Bytes written that the peer has not acknowledged.
    pub unacknowledged_bytes: u32,
    /// `None`: the kernel did not say.
    pub info: Option<TcpInfo>,
}

const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_INFO: u16 = 2;
const TCP_ESTABLISHED: u32 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const FLAGS: u16 = 0x0301; // NLM_F_REQUEST | NLM_F_DUMP
/// A host with more connections than this is not looked at to the end.
const MOST: usize = 65_536;

/// Every established TCP connection of the calling thread's network namespace, both families. IPv4 in IPv6 is IPv4.
pub fn tcp_connections() -> Result<Vec<TcpConnection>, NetError> {
    let failed = |source| NetError::new("asking the kernel for", "TCP connections (INET_DIAG)", source);
    let socket = open().map_err(failed)?;
    let mut found = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        dump(&socket, family, &mut found).map_err(failed)?;
    }
    Ok(found)
}

fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointer is passed; the result is checked before it is owned.
    let number = sys::check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) })?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn request(family: u8) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    bytes[0..4].copy_from_slice(&((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
    bytes[8..12].copy_from_slice(&1u32.to_ne_bytes());
    bytes[HEADER] = family;
    bytes[HEADER + 1] = libc::IPPROTO_TCP as u8;
    bytes[HEADER + 2] = 1 << (INET_DIAG_INFO - 1);
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&(1u32 << TCP_ESTABLISHED).to_ne_bytes());
    bytes
}

fn dump(socket: &OwnedFd, family: u8, found: &mut Vec<TcpConnection>) -> io::Result<()> {
    let asked = request(family);
    // SAFETY: the kernel reads `asked.len()` bytes of a live array.
    let sent = unsafe { libc::send(socket.as_raw_fd(), asked.as_ptr().cast(), asked.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into a live, exclusively borrowed buffer.
        let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let got = match usize::try_from(got) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => got,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
        };
        if read(&buffer[..got], found)? || found.len() > MOST {
            return Ok(());
        }
    }
}

/// Reads one datagram of netlink messages; true after the last.
fn read(mut bytes: &[u8], found: &mut Vec<TcpConnection>) -> io::Result<bool> {
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
    let short = |bytes: &[u8], at: usize| bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    while let (Some(length), Some(kind)) = (word(bytes, 0), short(bytes, 4)) {
        let length = length as usize;
        if length < HEADER || length > bytes.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let body = &bytes[HEADER..length];
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                // A positive number would be no error.
                let code = word(body, 0).unwrap_or(0) as i32;
                return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) };
            }
            SOCK_DIAG_BY_FAMILY => found.extend(connection(body)),
            _ => {}
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(false)
}

/// One `inet_diag_msg` with its attributes.
fn connection(body: &[u8]) -> Option<TcpConnection> {
    let word = |at: usize| body.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let port = |at: usize| body.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes);
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
        Some(match i32::from(*body.first()?) {
            libc::AF_INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
            _ => IpAddr::from(Ipv6Addr::from(bytes)).to_canonical(),
        })
    };
    let mut info = None;
    let mut attributes = body.get(MESSAGE..)?;
    while let Some(head) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        if length < 4 || length > attributes.len() {
            break;
        }
        if kind == INET_DIAG_INFO {
            info = TcpInfo::parse(&attributes[4..length]);
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    Some(TcpConnection {
        local: SocketAddr::new(address(8)?, port(4)?),
        peer: SocketAddr::new(address(24)?, port(6)?),
        unread_bytes: word(56)?,
        unacknowledged_bytes: word(60)?,
        user: word(64)?,
        inode: word(68)?.into(),
        info,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_connection_is_found_with_what_waits_unread_and_what_its_own_socket_says() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(bind).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            client.write_all(b"nobody reads this").unwrap();
            let begun = std::time::Instant::now();
            let found = loop {
                let all = tcp_connections().unwrap();
                let ours = |end: &TcpStream| {
                    let pair = (end.local_addr().unwrap(), end.peer_addr().unwrap());
                    all.iter().copied().find(|one| (one.local, one.peer) == pair).expect("listed")
                };
                let (near, far) = (ours(&client), ours(&server));
                if (far.unread_bytes, near.unacknowledged_bytes) == (17, 0) {
                    break near;
                }
                assert!(begun.elapsed().as_secs() < 30, "{near:?} {far:?}");
            };
            let own = crate::tcp_info::read(client.as_fd()).unwrap();
            let told = found.info.unwrap();
            assert_eq!((told.min_rtt, told.retransmits), (own.min_rtt, own.retransmits));
            assert_eq!((told.smoothed_rtt, told.bytes_acknowledged), (own.smoothed_rtt, own.bytes_acknowledged));
            let link = std::fs::metadata(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap();
            assert_eq!(found.inode, link.ino());
            assert_eq!(found.user, std::fs::metadata("/proc/self").unwrap().uid());
        }
    }

    #[test]
    fn what_is_cut_off_is_no_connection_and_no_panic() {
        let mut whole = Vec::new();
        let mut message = vec![0u8; MESSAGE];
        message[0] = libc::AF_INET as u8;
        message.extend([8, 0, INET_DIAG_INFO as u8, 0, 1, 2, 3, 4]);
        whole.extend(((HEADER + message.len()) as u32).to_ne_bytes());
        whole.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        whole.extend([0; 10]);
        whole.extend(&message);
        let mut found = Vec::new();
        assert!(!read(&whole, &mut found).unwrap());
        assert_eq!((found.len(), found[0].info), (1, None));
        for end in 0..whole.len() {
            let _ = read(&whole[..end], &mut Vec::new());
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            let _ = read(&broken, &mut Vec::new());
        }
    }
}
