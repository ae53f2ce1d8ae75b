//! One stay at a voice server: WebSocket, UDP, heartbeats, and no audio. What it measures goes out as it comes.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;
use tokio_websockets::{ClientBuilder, Limits, MaybeTlsStream, Message, WebSocketStream};
use wire::discovery::{DISCOVERY_LEN, build_discovery_request, parse_discovery_response};

use crate::rest::connection::{Socket, connect};
use crate::rest::{Endpoint, Trust};
use crate::voice::frame::{self, Admission, Frame, Numbered};
use crate::voice::reach;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A voice server says Hello, Ready and the session's description within this.
const OPENING: Duration = Duration::from_secs(15);
const DISCOVERY: Duration = Duration::from_secs(1);
const DISCOVERY_TRIES: u32 = 3;
const LONGEST_FRAME: usize = 1 << 20;
/// What a server may ask for; anything else is a mistake of one of the two.
const INTERVALS_MS: std::ops::RangeInclusive<f64> = 50.0..=300_000.0;

/// One voice heartbeat.
#[derive(Clone, Debug)]
pub(crate) struct VoiceBeat {
    pub(crate) sent: Instant,
    /// `None`: it was not acknowledged.
    pub(crate) app: Option<Duration>,
    pub(crate) network: Option<Duration>,
    /// A TCP connect to the same server just before.
    pub(crate) connect: Option<Duration>,
    /// IP discovery just before.
    pub(crate) udp: Option<Duration>,
    /// ICMP echo of the same server; `None` where this host may not ask, or nothing came.
    pub(crate) icmp: Option<Duration>,
    /// Which resolver was asked for the server's name, and how long it took.
    pub(crate) dns: Option<(IpAddr, Duration)>,
}

/// How a stay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Wants Resume on a new connection.
    Broken(String),
    /// 4006, 4009, 4011, 4014: the admission is no good any more, a new one has to be asked for.
    Refused(u16),
    /// 4016, 4017: the server wants end-to-end encryption that this bot has not, or not this version.
    Encryption(u16),
}

/// What a resumed stay takes with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    sequence: Option<i64>,
    udp: Option<(SocketAddr, u32)>,
}

pub(super) struct Session<'a> {
    admission: &'a Admission,
    stream: Stream,
    socket: Socket,
    connect_took: Duration,
    memory: &'a mut Memory,
    udp: Option<(UdpSocket, u32)>,
    host: String,
}

fn broken(problem: impl std::fmt::Display) -> Left {
    Left::Broken(problem.to_string())
}

impl<'a> Session<'a> {
    /// Connects and says Hello's interval.
    pub(super) async fn open(
        endpoint: &Endpoint,
        trust: &Trust,
        admission: &'a Admission,
        memory: &'a mut Memory,
    ) -> Result<(Session<'a>, Duration), Left> {
        let (stream, connect_took) = connect(&endpoint.host, endpoint.port).await.map_err(broken)?;
        let socket = Socket::of(&stream).map_err(broken)?;
        let opening = async {
            let stream = if endpoint.tls {
                let name = ServerName::try_from(endpoint.host.clone()).map_err(broken)?;
                MaybeTlsStream::Rustls(trust.connector().connect(name, stream).await.map_err(broken)?)
            } else {
                MaybeTlsStream::Plain(stream)
            };
            let limits = Limits::default().max_payload_len(Some(LONGEST_FRAME));
            let builder = ClientBuilder::new().uri(&format!("{}/?v=8", endpoint.websocket())).map_err(broken)?;
            let (stream, _) = builder.limits(limits).connect_on(stream).await.map_err(broken)?;
            let mut session =
                Session { admission, stream, socket, connect_took, memory, udp: None, host: endpoint.host.clone() };
            let interval = session.enter().await?;
            Ok((session, interval))
        };
        tokio::time::timeout(OPENING, opening).await.unwrap_or_else(|_| Err(broken("the voice server took too long")))
    }

    async fn enter(&mut self) -> Result<Duration, Left> {
        let opening = match self.memory.sequence {
            Some(sequence) => frame::resume(self.admission, sequence),
            None => frame::identify(self.admission),
        };
        self.send(Message::text(opening)).await?;
        let (mut interval, mut entered) = (None, false);
        loop {
            match self.next().await? {
                Frame::Hello { heartbeat_interval_ms } if INTERVALS_MS.contains(&heartbeat_interval_ms) => {
                    interval = Some(Duration::from_secs_f64(heartbeat_interval_ms / 1000.0));
                }
                Frame::Ready { ssrc, ip, port, modes } => {
                    let peer = SocketAddr::new(ip, port);
                    self.memory.udp = Some((peer, ssrc));
                    self.open_udp().await?;
                    let (own, own_port) = self.discover().await.map_or_else(
                        || (std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
                        |(_, address)| (address.ip(), address.port()),
                    );
                    let select = frame::select_protocol(own, own_port, frame::mode(&modes));
                    self.send(Message::text(select)).await?;
                }
                Frame::SessionDescription { dave_version } => {
                    self.offer_key_package(dave_version).await?;
                    entered = true;
                }
                Frame::Resumed => {
                    self.open_udp().await?;
                    entered = true;
                }
                _ => {}
            }
            if let (Some(interval), true) = (interval, entered) {
                return Ok(interval);
            }
        }
    }

    async fn open_udp(&mut self) -> Result<(), Left> {
        let Some((peer, ssrc)) = self.memory.udp else { return Ok(()) };
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(broken)?;
        socket.connect(peer).await.map_err(broken)?;
        self.udp = Some((socket, ssrc));
        Ok(())
    }

    /// Round trip of an IP discovery, and this host's address as the server sees it. `None` where nothing came back: UDP may
    /// be closed here, and everything else goes on.
    async fn discover(&self) -> Option<(Duration, SocketAddr)> {
        let (socket, ssrc) = self.udp.as_ref()?;
        for _ in 0..DISCOVERY_TRIES {
            let began = Instant::now();
            socket.send(&build_discovery_request(*ssrc)).await.ok()?;
            let answer = async {
                let mut bytes = [0; DISCOVERY_LEN + 1];
                loop {
                    let length = socket.recv(&mut bytes).await.ok()?;
                    let took = began.elapsed();
                    match parse_discovery_response(&bytes[..length]) {
                        Ok((answered, address, port)) if answered == *ssrc => {
                            return Some((took, SocketAddr::new(address, port)));
                        }
                        _ => {}
                    }
                }
            };
            if let Ok(Some(found)) = tokio::time::timeout(DISCOVERY, answer).await {
                return Some(found);
            }
        }
        None
    }

    /// This caller's part of the encryption; no audio is sent, so nothing else of it is needed.
    async fn offer_key_package(&mut self, dave_version: u16) -> Result<(), Left> {
        let Some(version) = NonZeroU16::new(dave_version) else { return Ok(()) };
        let package = davey::DaveSession::new(version, self.admission.user.0, self.admission.channel.0, None)
            .map_err(broken)?
            .create_key_package()
            .map_err(broken)?;
        self.send(Message::binary(frame::key_package(&package))).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Left> {
        self.stream.send(message).await.map_err(broken)
    }

    /// The next frame that is understood.
    async fn next(&mut self) -> Result<Frame, Left> {
        loop {
            let Some(message) = self.stream.next().await else { return Err(broken("the voice server hung up")) };
            let message = message.map_err(broken)?;
            let numbered = if let Some(text) = message.as_text() {
                frame::read_text(text)
            } else if message.is_binary() {
                Some(frame::read_binary(message.as_payload()))
            } else if let Some((code, _)) = message.as_close() {
                return Err(left(code.into()));
            } else {
                None
            };
            if let Some(Numbered { frame, sequence }) = numbered {
                self.memory.sequence = sequence.or(self.memory.sequence).or(Some(-1));
                return Ok(frame);
            }
        }
    }

    /// Heartbeats until the stay ends.
    pub(super) async fn stay(&mut self, interval: Duration, told: &mut dyn FnMut(VoiceBeat)) -> Left {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut nonce = 0u64;
        let mut waiting: Option<VoiceBeat> = None;
        let mut connect_took = Some(self.connect_took);
        loop {
            let outcome = tokio::select! {
                frame = self.next() => frame.map(Some),
                _ = tick.tick() => Ok(None),
            };
            match outcome {
                Err(left) => {
                    waiting.take().into_iter().for_each(told);
                    return left;
                }
                Ok(Some(Frame::Acknowledged { nonce: answered })) if answered == nonce => {
                    if let Some(beat) = waiting.take() {
                        let network = self.socket.info().and_then(|info| info.min_rtt);
                        told(VoiceBeat { app: Some(beat.sent.elapsed()), network, ..beat });
                    }
                }
                Ok(Some(Frame::PrepareEpoch { epoch: 1, dave_version })) => {
                    if let Err(left) = self.offer_key_package(dave_version).await {
                        return left;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    if let Some(unanswered) = waiting.take() {
                        told(unanswered);
                        return broken("a heartbeat was not acknowledged");
                    }
                    let began = Instant::now();
                    let peer = self.socket.peer;
                    let connected = connect_took.take();
                    let connect = async {
                        match connected {
                            Some(took) => Some(took),
                            None => crate::rest::connection::probe(peer).await,
                        }
                    };
                    let discovered = async { self.discover().await.map(|(took, _)| took) };
                    let (udp, connect, icmp, dns) = tokio::join!(
                        discovered,
                        connect,
                        reach::echo(peer.ip(), nonce as u16),
                        reach::lookup(&self.host)
                    );
                    nonce += 1;
                    let text = frame::heartbeat(nonce, self.memory.sequence.unwrap_or(-1));
                    let sent = Instant::now();
                    if let Err(left) = self.send(Message::text(text)).await {
                        return left;
                    }
                    // What was measured before it took so long that the next one would be due before this one can be answered.
                    if began.elapsed() >= interval / 2 {
                        tick.reset();
                    }
                    waiting = Some(VoiceBeat { sent, app: None, network: None, connect, udp, icmp, dns });
                }
            }
        }
    }
}

fn left(code: u16) -> Left {
    match code {
        4004 | 4006 | 4009 | 4011 | 4014 | 4021 | 4022 => Left::Refused(code),
        4016 | 4017 => Left::Encryption(code),
        code => Left::Broken(format!("close code {code}")),
    }
}
