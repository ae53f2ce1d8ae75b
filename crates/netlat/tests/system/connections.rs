//! Connections that say nothing, half of something or rubbish: they do not stop service.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::forged::random;
use crate::serving::{Reach, Server, assert_nothing_lost};
use crate::support::{Scene, ended, eventually, tool};

fn connect(port: u16) -> TcpStream {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(30))
        .expect("connected")
}

#[test]
fn idle_slow_and_senseless_connections_do_not_stop_service() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let join = server.fresh_join(&scene, true);
    let (control, probe) = (server.ports.control, server.ports.probe);
    let slow = b"GET /probe/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: x\r\n";
    let mut held: Vec<TcpStream> = Vec::new();
    for index in 0..60 {
        // Nothing, half of something, and rubbish, on both ports.
        for port in [control, probe] {
            let mut stream = connect(port);
            let sent = match index % 3 {
                0 => Ok(()),
                1 => stream.write_all(&slow[..40]),
                _ => stream.write_all(&random(300)),
            };
            drop(sent);
            held.push(stream);
        }
    }
    let measured = scene.run(["probe", "--join", &join, "--kind", "http,tls,udp,dns", "--duration", "3", "--json"]);
    let report: model::Report = serde_json::from_str(&measured.succeeded().stdout).expect("a report");
    assert_nothing_lost(&report);
    // One byte at a time, the first connections are ended by the server after its deadline, and not before it said so.
    let mut closed = 0;
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut answer = [0; 512];
        loop {
            match stream.read(&mut answer) {
                Ok(0) => break closed += 1,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break closed += 1,
                Err(error) => panic!("held open: {error}"),
            }
        }
    }
    assert_eq!(closed, held.len());
    eventually("they are counted", || (server.counter(&scene, "connections_foreign") >= 60).then_some(()));
    assert!(server.process().is_running());
}

#[test]
fn more_idle_connections_than_are_served_only_delay_service() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, Reach::V4);
    let join = server.fresh_join(&scene, true);
    // 512 control connections and 256 probe connections are served at once.
    let held: Vec<TcpStream> = (0..520).map(|_| connect(server.ports.control)).collect();
    let arguments = ["probe", "--join", &join, "--kind", "udp", "--duration", "1", "--json"];
    eventually("a measurement gets through", || (scene.run(arguments).status == Some(0)).then_some(()));
    drop(held);
    let held: Vec<TcpStream> = (0..300).map(|_| connect(server.ports.probe)).collect();
    eventually("the surplus is refused", || (server.counter(&scene, "connections_refused") > 0).then_some(()));
    drop(held);
    let arguments = ["probe", "--join", &join, "--kind", "http,tls", "--duration", "2", "--json"];
    let report: model::Report = serde_json::from_str(&scene.run(arguments).succeeded().stdout).expect("a report");
    assert_nothing_lost(&report);
    assert!(server.process().is_running());
}

#[test]
fn an_enrolment_that_does_not_come_or_does_not_end_is_cut_off() {
    let curl = tool("curl", "curl");
    let scene = Scene::new();
    let server = Server::start(&scene, Reach::V4);
    let url = format!("https://127.0.0.1:{}/api/v1/enroll", server.ports.control);
    let request = |body: &str| {
        let mut command = Command::new(&curl);
        command.args(["--insecure", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "-X", "POST"]);
        command.args(["-H", "Expect:", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer x"]);
        command.args(["--upload-file", body, &url]);
        command
    };
    let big = scene.path("big.json");
    std::fs::write(&big, vec![b' '; 3 << 20]).expect("written");
    let answer = ended(request(big.to_str().expect("UTF-8")));
    assert!(answer.stdout == "413" || answer.stdout == "000", "{answer:?}");
    assert_ne!(answer.stdout, "401", "nobody's three megabytes were read");

    // Its standard input stays open and empty.
    let mut command = request(".");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("curl starts");
    let held = child.stdin.take();
    eventually("the server gives it up", || child.try_wait().expect("a child"));
    drop(held);
    let mut status = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut status).expect("text");
    assert!(status == "408" || status == "000", "{status}");
}
