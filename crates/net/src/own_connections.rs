//! The TCP connections of this very process, with what the kernel knows of each: for connections that live inside a
//! library which does not hand its sockets out.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use socket2::{SockRef, Type};

use crate::NetError;
use crate::tcp_info::{self, TcpInfo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnConnection {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub info: TcpInfo,
}

/// Every connected TCP socket among this process's descriptors, in no particular order. What is closed meanwhile is left
/// out.
pub fn own_connections() -> Result<Vec<OwnConnection>, NetError> {
    let failed = |error| NetError::new("listing", "/proc/self/fd", error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(failed)? {
        let Ok(entry) = entry else { continue };
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        let Some(socket) = number.filter(|_| is_socket).and_then(duplicate) else { continue };
        found.extend(look(&socket));
    }
    Ok(found)
}

fn duplicate(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the descriptor is only duplicated. Where another thread closed it since it was listed, that fails with
    // EBADF or duplicates whatever has the number now; both end in an owned descriptor or in none, and the duplicate is
    // only asked questions.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().ok()
}

fn look(socket: &OwnedFd) -> Option<OwnConnection> {
    let asked = SockRef::from(socket);
    if asked.r#type().ok()? != Type::STREAM {
        return None;
    }
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let local = canonical(asked.local_addr().ok()?.as_socket()?);
    let peer = canonical(asked.peer_addr().ok()?.as_socket()?);
    Some(OwnConnection { local, peer, info: tcp_info::read(socket.as_fd()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn connected_tcp_sockets_are_found_and_no_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagram.connect(listener.local_addr().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let ends = [(client.local_addr().unwrap(), client.peer_addr().unwrap()), {
            (server.local_addr().unwrap(), server.peer_addr().unwrap())
        }];
        // Other tests of this process have connections as well.
        let about = |found: Vec<OwnConnection>| {
            let port = listener.local_addr().unwrap().port();
            let mut pairs: Vec<_> = found.iter().map(|one| (one.local, one.peer)).collect();
            pairs.retain(|(local, peer)| local.port() == port || peer.port() == port);
            pairs.sort();
            pairs
        };
        let mut expected = ends.to_vec();
        expected.sort();
        assert_eq!(about(own_connections().unwrap()), expected);
        drop((client, server));
        assert_eq!(about(own_connections().unwrap()), []);
    }
}
