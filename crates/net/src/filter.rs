//! Which packets a capture takes, as a classic BPF program that the kernel runs (Linux' socket filter documentation).
//! Offsets count from the IP header, so one program serves every kind of interface.

use std::ops::RangeInclusive;

use libc::sock_filter;

/// Packets of the chosen protocols, IPv4 and IPv6. Nothing else passes: no ARP, and no later fragment, which has no ports.
/// IPv6 extension headers are not looked behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub udp: bool,
    pub tcp: bool,
    /// ICMP and ICMPv6, whatever the ports.
    pub icmp: bool,
    /// UDP and TCP ports, of the source or of the destination; empty: all.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Besides `ports`: TCP segments that accept a connection (SYN and ACK), whatever theirs are. Needs `tcp`.
    pub accepts: bool,
    pub side: Side,
}

/// On loopback every packet goes out and comes in, and so is seen twice by `Both`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Both,
    Incoming,
    Outgoing,
}

/// The kernel's limit is 4096 instructions; six for each range, for two families.
pub(crate) const RANGES_MAX: usize = 300;

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_BYTE_BEHIND_X: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
const LOAD_HALF_BEHIND_X: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const X_IS_IPV4_HEADER_LEN: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
const X_IS: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const ABOVE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Of a TCP header (RFC 9293 section 3.1).
const TCP_FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// An offset below this one names something the kernel knows about the packet instead of a byte of it.
const fn known(what: libc::c_int) -> u32 {
    (libc::SKF_AD_OFF + what) as u32
}

impl Filter {
    /// UDP and TCP of these ports, both ways.
    pub fn ports(ports: impl IntoIterator<Item = RangeInclusive<u16>>) -> Filter {
        Filter { udp: true, tcp: true, ports: ports.into_iter().collect(), ..Filter::default() }
    }

    /// The program; it takes the first `snaplen` bytes of what passes.
    pub(crate) fn program(&self, snaplen: u32) -> Vec<sock_filter> {
        let mut program = Vec::new();
        let pass = [statement(RETURN, snaplen)];
        let refuse = [statement(RETURN, 0)];
        if self.side != Side::Both {
            program.push(statement(LOAD_WORD, known(libc::SKF_AD_PKTTYPE)));
            let outgoing = u32::from(libc::PACKET_OUTGOING);
            match self.side {
                Side::Outgoing => program.extend([jump(EQUAL, outgoing, 1, 0), refuse[0]]),
                _ => program.extend([jump(EQUAL, outgoing, 0, 1), refuse[0]]),
            }
        }
        program.push(statement(LOAD_WORD, known(libc::SKF_AD_PROTOCOL)));
        for (ether_type, family) in
            [(libc::ETH_P_IP as u32, self.ipv4(&pass)), (libc::ETH_P_IPV6 as u32, self.ipv6(&pass))]
        {
            // Conditional jumps reach 255 instructions; an unconditional one reaches any.
            program.extend([jump(EQUAL, ether_type, 1, 0), jump_always(family.len() as u32)]);
            program.extend(family);
        }
        program.extend(refuse);
        program
    }

    /// For a packet whose family is known; always returns.
    fn ipv4(&self, pass: &[sock_filter]) -> Vec<sock_filter> {
        let mut program = vec![statement(LOAD_HALF, 6), jump(ANY_BIT, 0x1fff, 0, 1), statement(RETURN, 0)];
        program.push(statement(LOAD_BYTE, 9));
        self.protocols(libc::IPPROTO_ICMP, pass, &mut program);
        program.push(statement(X_IS_IPV4_HEADER_LEN, 0));
        self.accept_test(9, pass, &mut program);
        self.port_tests(pass, &mut program);
        program
    }

    fn ipv6(&self, pass: &[sock_filter]) -> Vec<sock_filter> {
        let mut program = vec![statement(LOAD_BYTE, 6)];
        self.protocols(libc::IPPROTO_ICMPV6, pass, &mut program);
        program.push(statement(X_IS, 40));
        self.accept_test(6, pass, &mut program);
        self.port_tests(pass, &mut program);
        program
    }

    /// With the protocol loaded: passes ICMP if wanted, goes on with wanted UDP and TCP, refuses the rest.
    fn protocols(&self, icmp: libc::c_int, pass: &[sock_filter], program: &mut Vec<sock_filter>) {
        if self.icmp {
            program.push(jump(EQUAL, icmp as u32, 0, 1));
            program.extend_from_slice(pass);
        }
        let with_ports: Vec<u32> = [(self.udp, libc::IPPROTO_UDP), (self.tcp, libc::IPPROTO_TCP)]
            .iter()
            .filter_map(|(wanted, protocol)| wanted.then_some(*protocol as u32))
            .collect();
        for (i, protocol) in with_ports.iter().enumerate() {
            // Over the remaining tests and the refusal.
            program.push(jump(EQUAL, *protocol, (with_ports.len() - i) as u8, 0));
        }
        program.push(statement(RETURN, 0));
    }

    /// With the transport header's offset in X; `protocol` is the offset of its number.
    fn accept_test(&self, protocol: u32, pass: &[sock_filter], program: &mut Vec<sock_filter>) {
        if !self.accepts {
            return;
        }
        program.extend([
            statement(LOAD_BYTE, protocol),
            jump(EQUAL, libc::IPPROTO_TCP as u32, 0, 3 + pass.len() as u8),
            statement(LOAD_BYTE_BEHIND_X, TCP_FLAGS),
            jump(ANY_BIT, SYN, 0, 1 + pass.len() as u8),
            jump(ANY_BIT, ACK, 0, pass.len() as u8),
        ]);
        program.extend_from_slice(pass);
    }

    /// With the transport header's offset in X.
    fn port_tests(&self, pass: &[sock_filter], program: &mut Vec<sock_filter>) {
        if self.ports.is_empty() {
            program.extend_from_slice(pass);
            return;
        }
        for offset in [0, 2] {
            program.push(statement(LOAD_HALF_BEHIND_X, offset));
            for range in &self.ports {
                program.push(jump(AT_LEAST, u32::from(*range.start()), 0, 2));
                program.push(jump(ABOVE, u32::from(*range.end()), 1, 0));
                program.extend_from_slice(pass);
            }
        }
        program.push(statement(RETURN, 0));
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Skips `yes` or `no` instructions.
fn jump(code: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: yes, jf: no, k }
}

fn jump_always(over: u32) -> sock_filter {
    statement(libc::BPF_JMP | libc::BPF_JA, over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_ranges_fit_the_kernels_limit() {
        let ports = (0..RANGES_MAX as u16).map(|i| i..=i);
        let filter = Filter { icmp: true, side: Side::Outgoing, ..Filter::ports(ports) };
        assert!(filter.program(128).len() <= libc::BPF_MAXINSNS as usize);
    }
}
