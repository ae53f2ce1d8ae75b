//! Each resolver of this host asked by itself, over UDP, so that no cache of this process or of libc answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{Row, Step};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What libc asks at most (resolv.conf(5), MAXNS).
const MOST: usize = 3;
/// One answer is waited for so long; libc's own limit is five seconds.
const ANSWER: Duration = Duration::from_secs(2);
const TIMES: usize = 3;
const LONGEST: usize = 4096;
const A: u16 = 1;
const AAAA: u16 = 28;

/// `nameserver` lines, the first three; 127.0.0.1 where there is none, as resolv.conf(5) has it.
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let word = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // A zone (`fe80::1%eth0`) wants a scope that a plain address does not hold.
        Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, 53))
    };
    let found: Vec<SocketAddr> = text.lines().filter_map(address).take(MOST).collect();
    if found.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], 53))] } else { found }
}

pub(super) async fn ask(hosts: &[String], notes: &mut Vec<String>) -> Vec<Row> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let names: Vec<&String> =
        hosts.iter().filter(|host| host.parse::<IpAddr>().is_err() && *host != "localhost").collect();
    if names.is_empty() {
        notes.push("DNS is not looked at: Discord's place was given as an address".to_owned());
        return Vec::new();
    }
    let mut rows = Vec::new();
    for resolver in resolvers(&text) {
        for name in &names {
            rows.push(one(resolver, name).await);
        }
    }
    rows
}

/// A and AAAA at once, as libc asks; the time is until both are answered.
async fn one(resolver: SocketAddr, name: &str) -> Row {
    let target = format!("{} {name}", resolver.ip());
    let (mut times, mut problem, mut addresses) = (Vec::new(), None, 0);
    for _ in 0..TIMES {
        let begun = Instant::now();
        let (a, aaaa) = tokio::join!(exchange(resolver, name, A), exchange(resolver, name, AAAA));
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

/// The number of addresses of this type in the answer.
async fn exchange(resolver: SocketAddr, name: &str, kind: u16) -> Result<usize, String> {
    let failed = |error: std::io::Error| error.to_string();
    let any: IpAddr = if resolver.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(resolver).await.map_err(failed)?;
    let id = fastrand::u16(..);
    let query = query(id, name, kind).ok_or("this is no name that DNS can hold")?;
    socket.send(&query).await.map_err(failed)?;
    let mut buffer = [0; LONGEST];
    let answer = async {
        loop {
            let length = socket.recv(&mut buffer).await.map_err(failed)?;
            // Somebody else's, or too short to be anything: the right one may still come.
            if let Some(found) = read(&buffer[..length], id, &query, kind) {
                return found;
            }
        }
    };
    tokio::time::timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())))
}

/// RFC 1035 section 4.1: one question, recursion desired.
fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 18);
    bytes.extend(id.to_be_bytes());
    bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        bytes.push(length);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1u16.to_be_bytes());
    (bytes.len() <= 12 + 255 + 4).then_some(bytes)
}

/// `None`: this does not answer the query. Compressed names are skipped, never followed: nothing here can loop.
fn read(bytes: &[u8], id: u16, query: &[u8], kind: u16) -> Option<Result<usize, String>> {
    let short = |at: usize| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes);
    if short(0)? != id || bytes.get(2)? & 0x80 == 0 {
        return None;
    }
    let question = query.get(12..)?;
    if short(4)? != 1 || !bytes.get(12..12 + question.len())?.eq_ignore_ascii_case(question) {
        return None;
    }
    match bytes.get(3)? & 0x0f {
        0 => {}
        2 => return Some(Err("the resolver failed (SERVFAIL)".to_owned())),
        3 => return Some(Err("the name does not exist (NXDOMAIN)".to_owned())),
        5 => return Some(Err("the resolver refuses to answer (REFUSED)".to_owned())),
        code => return Some(Err(format!("the resolver answered with code {code}"))),
    }
    let mut at = 12 + question.len();
    let mut found = 0;
    for _ in 0..short(6)? {
        let Some(body) = skip_name(bytes, at) else { break };
        let (Some(of), Some(length)) = (short(body), short(body + 8)) else { break };
        found += usize::from(of == kind);
        at = body + 10 + usize::from(length);
    }
    // A truncated answer says that there are addresses, and took its time.
    let truncated = bytes[2] & 0x02 != 0;
    Some(Ok(if truncated { found.max(1) } else { found }))
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length < 64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_that_libc_asks() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n nameserver ::1\nnameserver 1.1.1.1\nnameserver 8.8.8.8\n";
        let found: Vec<String> = resolvers(text).iter().map(|at| at.ip().to_string()).collect();
        assert_eq!(found, ["10.0.0.1", "::1", "1.1.1.1"]);
        assert_eq!(resolvers(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    /// The answer of a resolver for `discord.com A`, as captured: two addresses behind a compressed name.
    #[test]
    fn an_answer_is_read_and_a_broken_one_breaks_nothing() {
        let query = query(0x1234, "discord.com", A).unwrap();
        assert_eq!(&query[12..], b"\x07discord\x03com\x00\x00\x01\x00\x01");
        let mut answer = query.clone();
        answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2]);
        for last in [1, 2] {
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 162, 159, 128, last]);
        }
        assert_eq!(read(&answer, 0x1234, &query, A), Some(Ok(2)));
        assert_eq!(read(&answer, 0x1235, &query, A), None);
        assert_eq!(read(&answer, 0x1234, &query, AAAA), Some(Ok(0)));
        answer[3] = 0x83;
        assert!(read(&answer, 0x1234, &query, A).unwrap().unwrap_err().contains("NXDOMAIN"));
        answer[3] = 0x80;
        for end in 0..answer.len() {
            let _ = read(&answer[..end], 0x1234, &query, A);
        }
        for at in 0..answer.len() {
            for byte in [0, 0x3f, 0xc0, 0xff] {
                let mut broken = answer.clone();
                broken[at] = byte;
                let _ = read(&broken, 0x1234, &query, A);
            }
        }
    }

    #[test]
    fn what_is_no_name_is_not_asked() {
        assert!(query(1, &"a".repeat(64), A).is_none());
        assert!(query(1, "a..b", A).is_none());
        assert!(query(1, &["a".repeat(60).as_str(); 5].join("."), A).is_none());
    }
}
