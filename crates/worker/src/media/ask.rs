//! One resolver asked for a name's addresses, over UDP, so that no cache of this process or of libc answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use net::Clock;
use tokio::net::UdpSocket;

use super::OwnPorts;
use super::message::Dns;

/// libc's own limit is five seconds.
const ANSWER: Duration = Duration::from_secs(5);
const LONGEST: usize = 4096;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) resolver: IpAddr,
    /// Until both A and AAAA were answered. `None`: they were not.
    pub(super) took: Option<Duration>,
    pub(super) addresses: Vec<IpAddr>,
    /// Flags of the record.
    pub(super) words: Vec<String>,
}

/// A and AAAA at once, of the first of this host's resolvers that answers, as libc asks.
pub(super) async fn ask(name: &str, own: &OwnPorts) -> Option<Answer> {
    let mut last = None;
    for resolver in net::resolver::configured() {
        let began = Clock::monotonic_ns();
        let (a, aaaa) =
            tokio::join!(exchange(resolver, name, RecordType::A, own), exchange(resolver, name, RecordType::AAAA, own));
        let took = Duration::from_nanos(Clock::monotonic_ns().saturating_sub(began));
        let mut answer = Answer { resolver: resolver.ip(), took: None, addresses: Vec::new(), words: Vec::new() };
        if let (Ok(a), Ok(aaaa)) = (a, aaaa) {
            answer.took = Some(took);
            let code = a.code;
            answer.addresses = a.addresses.into_iter().chain(aaaa.addresses).collect();
            answer.addresses.truncate(model::record::MOST_ADDRESSES);
            match code {
                ResponseCode::NoError => {}
                ResponseCode::NXDomain => answer.words.push("nxdomain".to_owned()),
                code => answer.words.push(format!("rcode-{}", u16::from(code))),
            }
            return Some(answer);
        }
        answer.words.push("no-answer".to_owned());
        last = Some(answer);
    }
    last
}

async fn exchange(resolver: SocketAddr, name: &str, kind: RecordType, own: &OwnPorts) -> std::io::Result<Dns> {
    let invalid = |_| std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let any: IpAddr = if resolver.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    own.add(socket.local_addr()?.port());
    let mut asked = Name::from_ascii(name).map_err(invalid)?;
    asked.set_fqdn(true);
    let mut message = Message::query();
    let mut id = [0; 2];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id)
        .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    message.metadata.id = u16::from_ne_bytes(id);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(asked, kind));
    let bytes = message.to_vec().map_err(|error| std::io::Error::other(error.to_string()))?;
    socket.send(&bytes).await?;
    let mut buffer = [0; LONGEST];
    let wanted = name.trim_end_matches('.').to_ascii_lowercase();
    let answer = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            // Somebody else's, or nothing that DNS knows: the right one may still come.
            if let Some(dns) = Dns::read(&buffer[..length])
                && dns.is_answer
                && (dns.id, dns.kind) == (message.metadata.id, kind)
                && dns.name == wanted
            {
                return Ok(dns);
            }
        }
    };
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
