//! The two ends of the mark probes. Each sends with ordinary sockets and counts what arrives on its interface.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lab::addresses;
use model::Family;
use net::packet_io::{MAX_FRAME, PacketSocket, wait_readable};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use wire::Dscp;

use crate::Result;
use crate::frames::{DOWN, SYNC, TCP_PORT_BASE, Tally, UDP_PORT, UP, parse};

/// Nothing here waits longer in vain.
const PATIENCE: Duration = Duration::from_secs(20);
/// After which an unanswered question is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// Packets in flight before the sender makes sure that the other end has seen them.
const BATCH: u64 = 50;

fn set_tos(socket: &Socket, family: Family, tos: u8) -> io::Result<()> {
    match family {
        Family::Ipv4 => socket.set_tos_v4(tos.into()),
        Family::Ipv6 => socket.set_tclass_v6(tos.into()),
    }
}

fn domain(family: Family) -> Domain {
    if family == Family::Ipv4 { Domain::IPV4 } else { Domain::IPV6 }
}

fn udp(address: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn read_all(capture: &PacketSocket, buffer: &mut [u8], tally: &mut Tally, kind: u8) -> Result<()> {
    while let Some((frame, _)) = capture.receive(buffer)? {
        tally.add(frame.ethernet(), kind);
    }
    Ok(())
}

/// Answers, and counts what comes from the city until standard input ends.
pub(crate) fn server(city: &str) -> Result<()> {
    let capture = PacketSocket::open(city)?;
    let sockets = [udp((addresses::SERVER_V4, UDP_PORT).into())?, udp((addresses::SERVER_V6, UDP_PORT).into())?];
    let _listeners = listeners()?;
    let mut tally = Tally::default();
    let mut buffer = vec![0; MAX_FRAME];
    println!("ready");
    loop {
        let stdin = io::stdin();
        let descriptors = [capture.as_fd(), sockets[0].as_fd(), sockets[1].as_fd(), stdin.as_fd()];
        let [_, _, _, ended] = wait_readable(descriptors, Some(PATIENCE))?;
        read_all(&capture, &mut buffer, &mut tally, UP)?;
        for (socket, family) in sockets.iter().zip(Family::ALL) {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let request = &buffer[..length];
                let tos = if request[0] == DOWN { request[1] } else { 0 };
                if request[0] != UP {
                    set_tos(&SockRef::from(socket), family, tos)?;
                    socket.send_to(request, from)?;
                }
            }
        }
        if ended {
            tally.print("up");
            return Ok(());
        }
    }
}

/// Port and mark for each DSCP; the kernel answers by itself.
fn listeners() -> Result<Vec<Socket>> {
    let mut listeners = Vec::new();
    for family in Family::ALL {
        for dscp in 0..64 {
            let socket = Socket::new(domain(family), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            set_tos(&socket, family, dscp << 2)?;
            socket.bind(&SocketAddr::from((addresses::server(family), TCP_PORT_BASE + u16::from(dscp))).into())?;
            socket.listen(16)?;
            listeners.push(socket);
        }
    }
    Ok(listeners)
}

/// Sends `count` probes of each mark and counts the answers. With `dscp` = `all`, all 256 values of the byte.
pub(crate) fn worker(protocols: &str, count: u64, dscp: &str) -> Result<()> {
    let capture = PacketSocket::open(addresses::WORKER_INTERFACE)?;
    let marks: Vec<u8> = match dscp {
        "all" => (0..=255).collect(),
        list => list.split(',').map(|dscp| Ok(dscp.parse::<Dscp>()?.get() << 2)).collect::<Result<_>>()?,
    };
    let mut tally = Tally::default();
    for family in Family::ALL {
        let mut session = Session::open(family, &capture, &mut tally)?;
        for protocol in protocols.split(',') {
            match protocol {
                "udp" => session.udp(&marks, count)?,
                "icmp" => session.icmp(&marks)?,
                _ => session.tcp(&marks)?,
            }
        }
        session.sync()?;
    }
    tally.print("down");
    Ok(())
}

struct Session<'a> {
    family: Family,
    socket: UdpSocket,
    server: IpAddr,
    capture: &'a PacketSocket,
    tally: &'a mut Tally,
    syncs: u8,
}

impl<'a> Session<'a> {
    fn open(family: Family, capture: &'a PacketSocket, tally: &'a mut Tally) -> Result<Session<'a>> {
        let any: IpAddr = match family {
            Family::Ipv4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Family::Ipv6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let server = addresses::server(family);
        let socket = udp((any, 0).into())?;
        socket.connect((server, UDP_PORT))?;
        Ok(Session { family, socket, server, capture, tally, syncs: 0 })
    }

    fn send(&self, tos: u8, payload: [u8; 2]) -> Result<()> {
        set_tos(&SockRef::from(&self.socket), self.family, tos)?;
        self.socket.send(&payload)?;
        Ok(())
    }

    fn udp(&mut self, marks: &[u8], count: u64) -> Result<()> {
        let mut in_flight = 0;
        for kind in [UP, DOWN] {
            for &tos in marks {
                for _ in 0..count {
                    self.send(if kind == UP { tos } else { 0 }, [kind, tos])?;
                    in_flight += 1;
                    if in_flight % BATCH == 0 {
                        self.sync()?;
                    }
                }
            }
        }
        self.sync()
    }

    /// Returns once the server has answered after everything sent before, asking again where an answer is lost.
    fn sync(&mut self) -> Result<()> {
        self.syncs = self.syncs.wrapping_add(1);
        let end = Instant::now() + PATIENCE;
        let mut buffer = vec![0; MAX_FRAME];
        while Instant::now() < end {
            self.send(0, [SYNC, self.syncs])?;
            let retry = Instant::now() + RETRY;
            while Instant::now() < retry {
                wait_readable([self.socket.as_fd(), self.capture.as_fd()], Some(RETRY))?;
                let mut answered = false;
                while let Ok(length) = self.socket.recv(&mut buffer) {
                    answered |= buffer[..length] == [SYNC, self.syncs];
                }
                // After the answers, so that none is left behind.
                read_all(self.capture, &mut buffer, self.tally, DOWN)?;
                if answered {
                    return Ok(());
                }
            }
        }
        Err("the server does not answer".into())
    }

    /// One connection for each DSCP, as TCP masks the ECN bits.
    fn tcp(&mut self, marks: &[u8]) -> Result<()> {
        for tos in marks.iter().filter(|tos| **tos & 3 == 0) {
            let socket = Socket::new(domain(self.family), Type::STREAM, None)?;
            set_tos(&socket, self.family, *tos)?;
            let address = SocketAddr::from((self.server, TCP_PORT_BASE + u16::from(tos >> 2)));
            // A dropped mark is a finding, not a failure.
            let _ = socket.connect_timeout(&address.into(), Duration::from_millis(300));
        }
        self.sync()
    }

    /// Echo requests whose sequence number is the ToS byte.
    fn icmp(&mut self, marks: &[u8]) -> Result<()> {
        let (protocol, kind) = match self.family {
            Family::Ipv4 => (Protocol::ICMPV4, 8),
            Family::Ipv6 => (Protocol::ICMPV6, 128),
        };
        let socket = Socket::new(domain(self.family), Type::DGRAM, Some(protocol))?;
        for (number, &tos) in (1..).zip(marks) {
            set_tos(&socket, self.family, tos)?;
            socket.send_to(&[kind, 0, 0, 0, 0, 0, 0, tos], &SocketAddr::from((self.server, 0)).into())?;
            if number % BATCH == 0 {
                self.sync()?;
            }
        }
        self.sync()
    }
}

/// Sends one packet for each TTL and prints who says that it ended there: `family hop address tos_quoted`.
pub(crate) fn path(hops: u32) -> Result<()> {
    const SENT: u8 = 0xb8;
    let capture = PacketSocket::open(addresses::WORKER_INTERFACE)?;
    let mut buffer = vec![0; MAX_FRAME];
    for family in Family::ALL {
        let mut tally = Tally::default();
        let session = Session::open(family, &capture, &mut tally)?;
        for hop in 1..=hops {
            let socket = SockRef::from(&session.socket);
            match family {
                Family::Ipv4 => socket.set_ttl_v4(hop)?,
                Family::Ipv6 => socket.set_unicast_hops_v6(hop)?,
            }
            session.send(SENT, [UP, SENT])?;
            let end = Instant::now() + Duration::from_secs(2);
            let mut answer = None;
            while answer.is_none() && Instant::now() < end {
                wait_readable([capture.as_fd()], Some(RETRY))?;
                while let Some((frame, _)) = capture.receive(&mut buffer)? {
                    let packet = parse(frame.ethernet());
                    answer = answer.or(packet.and_then(|packet| Some((packet.source, packet.quoted()?.tos))));
                }
            }
            match answer {
                Some((address, tos)) => println!("{family} {hop} {address} {tos}"),
                None => println!("{family} {hop} silent"),
            }
            // The error is also reported by the next call on the socket.
            let _ = session.socket.take_error();
        }
    }
    Ok(())
}

/// Prints the number of each UDP packet as it arrives; ends with the packet numbered `u32::MAX`.
pub(crate) fn order_server() -> Result<()> {
    let socket = UdpSocket::bind((addresses::SERVER_V4, UDP_PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    println!("ready");
    let mut numbers = String::new();
    loop {
        let mut number = [0; 4];
        let (_, from) = socket.recv_from(&mut number)?;
        match u32::from_be_bytes(number) {
            u32::MAX => {
                print!("{numbers}");
                socket.send_to(&number, from)?;
                return Ok(());
            }
            number => numbers += &format!("{number}\n"),
        }
    }
}

/// Sends `count` numbered packets a tenth of a millisecond apart, and the end mark until it is answered. Prints how
/// often that took, and how many microseconds its round trip: `end-marks N` and `round-trip N`.
pub(crate) fn order_worker(count: u32) -> Result<()> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((addresses::SERVER_V4, UDP_PORT))?;
    for number in 0..count {
        socket.send(&number.to_be_bytes())?;
        std::thread::sleep(Duration::from_micros(100));
    }
    // Whatever was held back is through by then.
    std::thread::sleep(Duration::from_millis(500));
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = [0; 4];
    for end_marks in 1..=20 {
        let sent = Instant::now();
        socket.send(&u32::MAX.to_be_bytes())?;
        if socket.recv(&mut answer).is_ok() {
            println!("end-marks {end_marks}\nround-trip {}", sent.elapsed().as_micros());
            return Ok(());
        }
    }
    Err("the server does not answer".into())
}
