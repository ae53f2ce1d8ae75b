//! Each resolver of this host asked by itself, over UDP, so that no cache of this process or of libc answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{Row, Step};

/// One answer is waited for so long; libc's own limit is five seconds.
const ANSWER: Duration = Duration::from_secs(2);
const TIMES: usize = 3;
const LONGEST: usize = 4096;

pub(super) async fn ask(hosts: &[String], notes: &mut Vec<String>) -> Vec<Row> {
    let names: Vec<&String> =
        hosts.iter().filter(|host| host.parse::<IpAddr>().is_err() && *host != "localhost").collect();
    if names.is_empty() {
        notes.push("DNS is not looked at: Discord's place was given as an address".to_owned());
        return Vec::new();
    }
    // All at once: resolvers that do not answer must not use up the time of what follows.
    let resolvers = net::resolver::configured();
    join_all(resolvers.iter().flat_map(|resolver| names.iter().map(|name| one(*resolver, name)))).await
}

/// A and AAAA at once, as libc asks; the time is until both are answered.
async fn one(resolver: SocketAddr, name: &str) -> Row {
    let target = format!("{} {name}", resolver.ip());
    let (mut times, mut problem, mut addresses) = (Vec::new(), None, 0);
    for _ in 0..TIMES {
        let begun = Instant::now();
        let (a, aaaa) =
            tokio::join!(exchange(resolver, name, RecordType::A), exchange(resolver, name, RecordType::AAAA));
        match (a, aaaa) {
            (Ok(four), Ok(six)) => {
                times.push(begun.elapsed());
                addresses = addresses.max(four + six);
            }
            (Err(error), _) | (_, Err(error)) => {
                problem = Some(error);
                break;
            }
        }
    }
    if problem.is_none() && addresses == 0 {
        problem = Some("the name has no address".to_owned());
    }
    Row { problem, ..Row::timed(Step::Dns, &target, &times, None, 1) }
}

/// A and AAAA at once of the first resolver that answers both: which one, and how long it took. Not for addresses.
pub(crate) async fn lookup(name: &str) -> Option<(IpAddr, Duration)> {
    if name.parse::<IpAddr>().is_ok() || name == "localhost" {
        return None;
    }
    for resolver in net::resolver::configured() {
        let begun = Instant::now();
        let both = tokio::join!(exchange(resolver, name, RecordType::A), exchange(resolver, name, RecordType::AAAA));
        if let (Ok(_), Ok(_)) = both {
            return Some((resolver.ip(), begun.elapsed()));
        }
    }
    None
}

/// The number of addresses of this type in the answer.
async fn exchange(resolver: SocketAddr, name: &str, kind: RecordType) -> Result<usize, String> {
    let failed = |error: std::io::Error| error.to_string();
    let any: IpAddr = if resolver.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(resolver).await.map_err(failed)?;
    let query = query(name, kind)?;
    socket.send(&query.to_vec().map_err(|error| error.to_string())?).await.map_err(failed)?;
    let mut buffer = [0; LONGEST];
    let answer = async {
        loop {
            let length = socket.recv(&mut buffer).await.map_err(failed)?;
            // Somebody else's, or nothing that DNS knows: the right one may still come.
            if let Some(found) = read(&buffer[..length], &query, kind) {
                return found;
            }
        }
    };
    tokio::time::timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())))
}

fn query(name: &str, kind: RecordType) -> Result<Message, String> {
    let mut asked = Name::from_ascii(name).map_err(|error| error.to_string())?;
    asked.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.id = fastrand::u16(..);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(asked, kind));
    Ok(message)
}

/// `None`: this does not answer the query.
fn read(bytes: &[u8], query: &Message, kind: RecordType) -> Option<Result<usize, String>> {
    let answer = Message::from_vec(bytes).ok()?;
    let head = &answer.metadata;
    if head.id != query.metadata.id || head.message_type != MessageType::Response || answer.queries != query.queries {
        return None;
    }
    match head.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Some(Err("the name does not exist (NXDOMAIN)".to_owned())),
        code => return Some(Err(format!("the resolver answered: {code}"))),
    }
    let found = answer.answers.iter().filter(|record| record.record_type() == kind).count();
    // A truncated answer says that there are addresses, and took its time.
    Some(Ok(if head.truncation { found.max(1) } else { found }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of a resolver for `discord.com A`: two addresses behind a compressed name (RFC 1035, section 4.1.4).
    #[test]
    fn an_answer_is_read_and_a_broken_one_breaks_nothing() {
        let asked = query("discord.com", RecordType::A).unwrap();
        let sent = asked.to_vec().unwrap();
        assert_eq!(&sent[12..], b"\x07discord\x03com\x00\x00\x01\x00\x01");
        let mut answer = sent.clone();
        answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2]);
        for last in [1, 2] {
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 162, 159, 128, last]);
        }
        assert_eq!(read(&answer, &asked, RecordType::A), Some(Ok(2)));
        assert_eq!(read(&answer, &asked, RecordType::AAAA), Some(Ok(0)));
        let mut other = asked.clone();
        other.metadata.id ^= 1;
        assert_eq!(read(&answer, &other, RecordType::A), None);
        assert_eq!(read(&sent, &asked, RecordType::A), None);
        answer[3] = 0x83;
        assert!(read(&answer, &asked, RecordType::A).unwrap().is_err());
        answer[3] = 0x80;
        for end in 0..answer.len() {
            let _ = read(&answer[..end], &asked, RecordType::A);
        }
        for at in 0..answer.len() {
            for byte in [0, 0x3f, 0xc0, 0xff] {
                let mut broken = answer.clone();
                broken[at] = byte;
                let _ = read(&broken, &asked, RecordType::A);
            }
        }
    }

    #[test]
    fn what_is_no_name_is_not_asked() {
        assert!(query(&"a".repeat(64), RecordType::A).is_err());
        assert!(query("a..b", RecordType::A).is_err());
        assert!(query(&["a".repeat(60).as_str(); 5].join("."), RecordType::A).is_err());
    }
}
