//! Which resolvers this host asks.

use std::net::{IpAddr, SocketAddr};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What libc asks at most (resolv.conf(5), MAXNS).
const MOST: usize = 3;

/// Those of resolv.conf(5).
pub fn configured() -> Vec<SocketAddr> {
    of_text(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

/// `nameserver` lines, the first three; 127.0.0.1 where there is none, as resolv.conf(5) has it.
fn of_text(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let word = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // A zone (`fe80::1%eth0`) wants a scope that a plain address does not hold.
        Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, 53))
    };
    let found: Vec<SocketAddr> = text.lines().filter_map(address).take(MOST).collect();
    if found.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], 53))] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_that_libc_asks() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n nameserver ::1\nnameserver 1.1.1.1\nnameserver 8.8.8.8\n";
        let found: Vec<String> = of_text(text).iter().map(|at| at.ip().to_string()).collect();
        assert_eq!(found, ["10.0.0.1", "::1", "1.1.1.1"]);
        assert_eq!(of_text(""), ["127.0.0.1:53".parse().unwrap()]);
    }
}
