//! DNS over real sockets: both transports, faults, garbage.

use discord_emulator::faults::{Effect, Rule, Surface};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::support::{Scene, bounded};

/// `gateway.discord.gg` A, id 0xbeef.
const QUERY: &[u8] =
    b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07gateway\x07discord\x02gg\x00\x00\x01\x00\x01";

async fn ask(scene: &Scene, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(scene.emulator.addresses().dns[0]).await.unwrap();
    socket.send(query).await.unwrap();
    let mut buffer = [0; 1500];
    let length = bounded("an answer", socket.recv(&mut buffer)).await.unwrap();
    buffer[..length].to_vec()
}

#[tokio::test]
async fn answers_over_both_transports_and_fails_on_demand() {
    let scene = Scene::with("[listen]\ndns = ['127.0.0.1:0']\n[dns]\na = ['192.0.2.9']").await;
    let answer = ask(&scene, QUERY).await;
    assert_eq!(answer[..2], [0xbe, 0xef]);
    assert!(answer.ends_with(&[192, 0, 2, 9]));

    let mut stream = TcpStream::connect(scene.emulator.addresses().dns[0]).await.unwrap();
    for _ in 0..2 {
        stream.write_u16(QUERY.len() as u16).await.unwrap();
        stream.write_all(QUERY).await.unwrap();
        let length = bounded("a length", stream.read_u16()).await.unwrap();
        let mut over_tcp = vec![0; usize::from(length)];
        stream.read_exact(&mut over_tcp).await.unwrap();
        assert_eq!(over_tcp, answer);
    }

    let rule =
        Rule { host: Some("*.discord.gg".to_owned()), ..Rule::new(Surface::Dns).effect(Effect::ServFail).times(1) };
    scene.handle.add_fault(rule).unwrap();
    assert_eq!(ask(&scene, QUERY).await[3] & 0x0f, 2, "SERVFAIL");
    assert_eq!(ask(&scene, QUERY).await, answer, "once");

    // Garbage gets no answer and hurts nobody.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..64 {
        socket.send_to(&vec![0xff; length], scene.emulator.addresses().dns[0]).await.unwrap();
    }
    assert_eq!(ask(&scene, QUERY).await, answer);
}
