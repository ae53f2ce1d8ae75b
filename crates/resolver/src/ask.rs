//! One question over UDP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::configured::configured;
use crate::message::{Dns, MOST_ADDRESSES};

const LONGEST: usize = 4096;

/// What a name stands for.
#[derive(Clone, Debug)]
pub struct Answer {
    pub resolver: IpAddr,
    /// Until both A and AAAA were answered.
    pub took: Duration,
    /// Of A, where it is not that all went well: that of AAAA.
    pub code: ResponseCode,
    pub addresses: Vec<IpAddr>,
}

/// A and AAAA at once, as libc asks, of the first of this host's resolvers that answers both within `patience`. The error names
/// the last one. `bound` is told each local port before it sends.
pub async fn addresses(name: &str, patience: Duration, bound: &dyn Fn(u16)) -> Result<Answer, (IpAddr, io::Error)> {
    let mut last = (IpAddr::from([127, 0, 0, 1]), io::Error::from(io::ErrorKind::NotFound));
    for resolver in configured() {
        let begun = Instant::now();
        let one = |kind| ask(resolver, name, kind, patience, bound);
        match tokio::join!(one(RecordType::A), one(RecordType::AAAA)) {
            (Ok(four), Ok(six)) => {
                let took = begun.elapsed();
                let code = if four.code == ResponseCode::NoError { six.code } else { four.code };
                let mut addresses = [four.addresses, six.addresses].concat();
                addresses.truncate(MOST_ADDRESSES);
                return Ok(Answer { resolver: resolver.ip(), took, code, addresses });
            }
            (Err(error), _) | (_, Err(error)) => last = (resolver.ip(), error),
        }
    }
    Err(last)
}

/// One question to one resolver. Whatever does not answer it is passed over; silence is [`io::ErrorKind::TimedOut`], and what is no
/// name [`io::ErrorKind::InvalidInput`].
pub async fn ask(
    resolver: SocketAddr,
    name: &str,
    kind: RecordType,
    patience: Duration,
    bound: &dyn Fn(u16),
) -> io::Result<Dns> {
    let id = fastrand::u16(..);
    let query = query(name, kind, id)?;
    let any: IpAddr = if resolver.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    bound(socket.local_addr()?.port());
    socket.send(&query).await?;
    let asked = Dns::read(&query).ok_or(io::ErrorKind::InvalidInput)?;
    let mut buffer = [0; LONGEST];
    let answer = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            // Somebody else's, or nothing that DNS knows: the right one may still come.
            if let Some(answer) = Dns::read(&buffer[..length]).filter(|answer| answer.answers(&asked)) {
                return Ok(answer);
            }
        }
    };
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn query(name: &str, kind: RecordType, id: u16) -> io::Result<Vec<u8>> {
    let invalid = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let mut asked = Name::from_ascii(name).map_err(|error| invalid(&error))?;
    asked.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(asked, kind));
    message.to_vec().map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of a resolver for `discord.com A`: two addresses behind a compressed name (RFC 1035, section 4.1.4).
    #[test]
    fn what_answers_a_question_is_known_by_id_name_and_type() {
        let sent = query("discord.com", RecordType::A, 0x1234).unwrap();
        assert_eq!(&sent[..4], [0x12, 0x34, 1, 0]);
        assert_eq!(&sent[12..], b"\x07discord\x03com\x00\x00\x01\x00\x01");
        let mut answer = sent.clone();
        answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2]);
        for last in [1, 2] {
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 162, 159, 128, last]);
        }
        let read = |bytes: &[u8]| Dns::read(bytes).unwrap();
        let of = |name, kind, id| read(&query(name, kind, id).unwrap());
        let told = read(&answer);
        assert_eq!(told.addresses.len(), 2);
        assert!(told.answers(&of("Discord.com.", RecordType::A, 0x1234)));
        assert!(!told.answers(&of("discord.com", RecordType::AAAA, 0x1234)));
        assert!(!told.answers(&of("discord.com", RecordType::A, 0x1235)));
        assert!(!told.answers(&of("discord.gg", RecordType::A, 0x1234)));
        assert!(!read(&sent).answers(&read(&sent)), "a question answers nothing");
    }

    #[test]
    fn what_is_no_name_is_not_asked() {
        for name in ["a".repeat(64), "a..b".to_owned(), ["a".repeat(60).as_str(); 5].join(".")] {
            assert_eq!(query(&name, RecordType::A, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
