//! A middlebox of the tests' own: forwards what a worker sends to 127.0.0.2 to the server on 127.0.0.1, and keeps it.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use crate::support::Ports;

const TICK: Duration = Duration::from_millis(50);

/// Ends with the value.
pub struct Proxy {
    stop: Arc<AtomicBool>,
    /// Datagrams to port P, as they came.
    voice: Arc<Mutex<Vec<Vec<u8>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// The control plane and all probe ports.
    pub fn start(ports: Ports) -> Proxy {
        Proxy::slow(ports, Duration::ZERO)
    }

    /// Accepts at once, and hands on what comes so much later, each way.
    pub fn slow(ports: Ports, delay: Duration) -> Proxy {
        let stop = Arc::new(AtomicBool::new(false));
        let voice = Arc::new(Mutex::new(Vec::new()));
        let mut threads = Vec::new();
        for port in [ports.probe, ports.probe + 1] {
            let front = UdpSocket::bind(outside(port)).expect("a port of 127.0.0.2");
            let kept = (port == ports.probe).then(|| voice.clone());
            let stop = stop.clone();
            threads.push(spawn(move || datagrams(&front, port, kept, delay, &stop)));
        }
        for port in [ports.control, ports.probe] {
            let listener = TcpListener::bind(outside(port)).expect("a port of 127.0.0.2");
            let stop = stop.clone();
            threads.push(spawn(move || connections(&listener, port, delay, &stop)));
        }
        Proxy { stop, voice, threads }
    }

    /// The server's join string with the proxy in the server's place.
    pub fn join(&self, join: &str) -> String {
        assert!(join.contains("//127.0.0.1:"), "{join}");
        join.replacen("//127.0.0.1:", "//127.0.0.2:", 1)
    }

    pub fn voice(&self) -> Vec<Vec<u8>> {
        self.voice.lock().expect("no panic").clone()
    }

    /// Datagrams to port P that were no IP discovery.
    pub fn probes(&self) -> usize {
        let probe = |packet: &&Vec<u8>| wire::discovery::parse_discovery_request(packet).is_err();
        self.voice.lock().expect("no panic").iter().filter(probe).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn outside(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], port))
}

fn inside(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn datagrams(front: &UdpSocket, port: u16, kept: Option<Arc<Mutex<Vec<Vec<u8>>>>>, delay: Duration, stop: &AtomicBool) {
    // When to hand on, the client, whether it is on the way to the server, what.
    let mut waiting: VecDeque<(Instant, SocketAddr, bool, Vec<u8>)> = VecDeque::new();
    let mut backs: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = [0; 65_536];
    front.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = front.recv_from(&mut buffer) {
            let packet = &buffer[..length];
            if let Some(kept) = &kept {
                kept.lock().expect("no panic").push(packet.to_vec());
            }
            backs.entry(from).or_insert_with(|| {
                let back = UdpSocket::bind(inside(0)).expect("a port");
                back.connect(inside(port)).expect("a route");
                back.set_nonblocking(true).expect("nonblocking");
                back
            });
            waiting.push_back((Instant::now() + delay, from, true, packet.to_vec()));
        }
        for (to, back) in &backs {
            while let Ok(length) = back.recv(&mut buffer) {
                waiting.push_back((Instant::now() + delay, *to, false, buffer[..length].to_vec()));
            }
        }
        while waiting.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
            let Some((_, client, up, packet)) = waiting.pop_front() else { break };
            let _ = if up { backs[&client].send(&packet) } else { front.send_to(&packet, client) };
        }
    }
}

fn connections(listener: &TcpListener, port: u16, delay: Duration, stop: &Arc<AtomicBool>) {
    listener.set_nonblocking(true).expect("nonblocking");
    while !stop.load(Ordering::Relaxed) {
        let Ok((near, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        // Where the server is away, dropping the connection tells its client.
        let Ok(far) = TcpStream::connect(inside(port)) else { continue };
        near.set_nonblocking(false).expect("blocking");
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (from, to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
            let stop = stop.clone();
            spawn(move || copy(from, to, delay, &stop));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, delay: Duration, stop: &AtomicBool) {
    from.set_read_timeout(Some(TICK)).expect("a timeout");
    let mut buffer = [0; 16_384];
    while !stop.load(Ordering::Relaxed) {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        std::thread::sleep(delay);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
