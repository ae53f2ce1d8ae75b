//! Alerts of the real program against a webhook that takes, refuses and stalls, and what is remembered over a kill.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::serving::{Reach, Server, worker};
use crate::support::{Scene, ended, eventually};

/// A web server that writes down what it is told and answers as it was told to, 204 where nothing is said.
struct Receiver {
    port: u16,
    took: Arc<Mutex<Vec<(String, Value)>>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let receiver = Receiver { port, took: Arc::default(), answers: Arc::default() };
        let (took, answers) = (receiver.took.clone(), receiver.answers.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (took, answers) = (took.clone(), answers.clone());
                thread::spawn(move || serve(stream, &took, &answers));
            }
        });
        receiver
    }

    fn took(&self) -> Vec<(String, Value)> {
        self.took.lock().expect("not poisoned").clone()
    }

    fn answer(&self, lines: &[&'static str]) {
        self.answers.lock().expect("not poisoned").extend(lines.iter().rev());
    }
}

fn serve(stream: TcpStream, took: &Mutex<Vec<(String, Value)>>, answers: &Mutex<Vec<&'static str>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let path = request.split(' ').nth(1).expect("a path").to_owned();
        let status = answers.lock().expect("not poisoned").pop().unwrap_or("204 No Content");
        if status.starts_with('2') {
            took.lock().expect("not poisoned").push((path, serde_json::from_slice(&body).expect("JSON")));
        }
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes());
    }
}

const SECRET: &str = "s3cr3t-hook-token";

fn configured(scene: &Scene, receiver: &Receiver) -> String {
    let (url, config) = (scene.path("hook"), scene.path("netlat.toml"));
    fs::write(&url, format!("http://127.0.0.1:{}/api/webhooks/1/{SECRET}\n", receiver.port)).expect("written");
    let url = url.display();
    let text = format!(
        "[[alert]]\nname = \"away\"\non = \"silent\"\nurl_file = \"{url}\"\nabove_s = 2\n\n\
         [[alert]]\nname = \"chat\"\non = \"verdict\"\nformat = \"discord\"\nurl_file = \"{url}\"\n"
    );
    fs::write(&config, text).expect("written");
    config.display().to_string()
}

#[test]
fn a_webhook_is_told_once_however_it_answers_at_first() {
    let scene = Scene::new();
    let receiver = Receiver::start();
    let config = configured(&scene, &receiver);
    let mut server = Server::with(&scene, Reach::V4, &[], &["--config", &config]);
    let test = |name: &str| server.ask(&scene, &["server", "alert", "test", name]);

    receiver.answer(&["429 Too Many Requests\r\nretry-after: 1", "503 Service Unavailable"]);
    test("away").succeeded();
    let (path, told) = receiver.took().remove(0);
    assert_eq!(path, format!("/api/webhooks/1/{SECRET}"));
    assert_eq!(
        (&told["schema"], &told["state"], &told["alert"]),
        (&"netlat.alert/1".into(), &"test".into(), &"away".into())
    );

    test("chat").succeeded();
    let (path, told) = receiver.took().remove(1);
    assert!(path.ends_with("?wait=true"), "{path}");
    assert_eq!(told["embeds"][0]["title"], "Test: chat");

    // A webhook that was deleted is not asked again.
    receiver.answer(&["404 Not Found"]);
    let ended = test("chat");
    assert_eq!(ended.status, Some(1));
    assert!(ended.one_line().contains("answered 404 Not Found; the test was given up"), "{}", ended.stderr);
    assert!(test("nobody").one_line().contains("there is no alert 'nobody'"));

    let list = server.ask(&scene, &["server", "alert", "list", "--json"]).succeeded().stdout;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let chat = list["alerts"].as_array().expect("alerts").iter().find(|alert| alert["name"] == "chat").expect("chat");
    assert_eq!((&chat["delivered"], &chat["failed"], &chat["waiting"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(server.counter(&scene, "alerts_failed"), 1);
    assert_eq!(receiver.took().len(), 2);
    let said = server.process().stderr();
    assert!(said.contains("which is given up") && !said.contains(SECRET), "{said}");
    server.interrupt();
}

#[test]
fn a_silent_worker_is_told_once_over_a_kill_and_again_when_it_is_back() {
    let scene = Scene::new();
    let receiver = Receiver::start();
    let config = configured(&scene, &receiver);
    let mut server = Server::with(&scene, Reach::V4, &[], &["--config", &config]);
    let join = server.join();
    let first = worker(&scene, "nyc1", Some(&join));
    server.samples_until(&scene, "samples", |rows| rows.len() > 5);
    first.interrupt();
    let states = || {
        let took = receiver.took();
        took.iter().map(|(_, told)| told["state"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    eventually("it is told", || (!states().is_empty()).then_some(()));
    assert_eq!(states(), ["raised"]);
    assert_eq!(receiver.took()[0].1["worker"], "nyc1");
    // What was told is remembered by the next start, which says only what is new: the worker is back.
    eventually("what was told is kept", || {
        let list = server.ask(&scene, &["server", "alert", "list", "--json"]).succeeded().stdout;
        let list: Value = serde_json::from_str(&list).expect("JSON");
        (list["alerts"][0]["waiting"] == 0 && list["alerts"][0]["raised"][0] == "nyc1").then_some(())
    });
    server.kill();
    server.start_again(&scene);
    let again = worker(&scene, "nyc1", None);
    eventually("it is over", || (states().len() > 1).then_some(()));
    assert_eq!(states(), ["raised", "cleared"]);
    again.interrupt();
    server.interrupt();
}

#[test]
fn a_rule_that_contradicts_itself_or_has_no_url_ends_the_server_with_one_line() {
    let scene = Scene::new();
    let start = |alert: &str| {
        fs::write(scene.path("bad.toml"), format!("[[alert]]\nname = \"a\"\n{alert}")).expect("written");
        let config = scene.path("bad.toml").display().to_string();
        let data = scene.path("data").display().to_string();
        let ports = crate::support::Ports::free();
        let listen = format!("127.0.0.1:{}", ports.control);
        let probe = ports.probe.to_string();
        let arguments =
            ["--config", &config, "server", "--data-dir", &data, "--listen", &listen, "--probe-port", &probe];
        let ended = ended(scene.netlat(arguments));
        assert_eq!(ended.status, Some(1), "{}", ended.stderr);
        ended.one_line().to_owned()
    };
    assert!(start("on = \"loss\"\nurl_env = \"X\"\nabove_ms = 3\n").contains("above_ms does not go with"));
    assert!(start("on = \"verdict\"\nurl_env = \"NETLAT_NO_SUCH\"\n").contains("NETLAT_NO_SUCH is not set"));
    fs::write(scene.path("hook"), format!("http://example.org/{SECRET}")).expect("written");
    let hook = scene.path("hook").display().to_string();
    let line = start(&format!("on = \"verdict\"\nurl_file = \"{hook}\"\n"));
    assert!(line.contains("https://") && !line.contains(SECRET), "{line}");
    assert!(start("on = \"verdict\"\nurl = \"https://example.org\"\n").contains("unknown field"));
}
