//! Each resolver of this host asked by itself, over UDP, so that no cache of this process or of libc answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use resolver::{RecordType, ResponseCode};
use tokio::time::Instant;

use super::{Row, Step};

/// One answer is waited for so long; libc's own limit is five seconds.
const ANSWER: Duration = Duration::from_secs(2);
const TIMES: usize = 3;

pub(super) async fn ask(hosts: &[String], notes: &mut Vec<String>) -> Vec<Row> {
    let names: Vec<&String> =
        hosts.iter().filter(|host| host.parse::<IpAddr>().is_err() && *host != "localhost").collect();
    if names.is_empty() {
        notes.push("DNS is not looked at: Discord's place was given as an address".to_owned());
        return Vec::new();
    }
    // All at once: resolvers that do not answer must not use up the time of what follows.
    let resolvers = resolver::configured();
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

/// The number of addresses in the answer.
async fn exchange(resolver: SocketAddr, name: &str, kind: RecordType) -> Result<usize, String> {
    let answer = resolver::ask(resolver, name, kind, ANSWER, &|_| {}).await.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => format!("no answer within {} s", ANSWER.as_secs()),
        _ => error.to_string(),
    })?;
    match answer.code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Err("the name does not exist (NXDOMAIN)".to_owned()),
        code => return Err(format!("the resolver answered: {code}")),
    }
    // A truncated answer says that there are addresses, and took its time.
    Ok(if answer.truncated { answer.addresses.len().max(1) } else { answer.addresses.len() })
}
