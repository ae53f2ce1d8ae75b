//! The dashboard of the real program: on loopback as plain HTTP, on the HTTPS port with a login, and of a bare directory.

use std::process::Command;

use crate::support::{Ended, Ports, Process, Scene, ended, eventually, tool};

/// A request by curl; the answer's status comes behind its body.
fn curl(scene: &Scene, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(tool("curl", "curl"));
    command.current_dir(scene.path("")).args(["-sk", "--max-time", "60", "-w", "\n%{http_code}"]).args(arguments);
    let output = ended(command).succeeded().stdout;
    let (body, status) = output.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}

fn printed(process: &Process, words: &str) -> String {
    eventually(words, || {
        process.stdout().lines().find_map(|line| line.strip_prefix(words).map(|rest| rest.trim().to_owned()))
    })
}

fn log_in(scene: &Scene, base: &str, link: &str, jar: &str) {
    let (site, token) = link.split_once("/#login=").expect("a login link");
    assert_eq!(site, base);
    let body = format!("{{\"token\":\"{token}\"}}");
    let login = format!("{base}/api/v1/view/login");
    let (status, answer) = curl(scene, &["-c", jar, "-H", "content-type: application/json", "-d", &body, &login]);
    assert_eq!(status, "204", "{answer}");
}

#[test]
fn it_is_open_on_loopback_and_wants_a_login_elsewhere() {
    let scene = Scene::new();
    let ports = Ports::free();
    let (control, probe) = (format!("127.0.0.1:{}", ports.control), ports.probe.to_string());
    let data = scene.path("data").display().to_string();
    let arguments = ["server", "--listen", &control, "--probe-port", &probe, "--advertise", "127.0.0.1"];
    let mut server =
        scene.start("server", arguments.into_iter().chain(["--data-dir", &data, "--dashboard", "127.0.0.1:0"]));
    let plain = printed(&server, "dashboard: ");
    let (status, state) = curl(&scene, &[&format!("{plain}api/v1/view/state")]);
    assert_eq!(status, "200", "{state}");
    assert!(state.contains("\"role\":\"viewer\"") && state.contains("\"live\":true"), "{state}");
    let (status, page) = curl(&scene, &[&plain]);
    assert!(status == "200" && page.contains("app.js"), "{page}");
    // The workers' API is on the HTTPS port alone.
    assert_eq!(curl(&scene, &[&format!("{plain}api/v1/tasks")]).0, "404");

    let secure = format!("https://{control}");
    let state = format!("{secure}/api/v1/view/state");
    assert_eq!(curl(&scene, &[&state]).0, "401");
    log_in(&scene, &secure, &printed(&server, "dashboard from elsewhere, one login: "), "viewer.jar");
    assert_eq!(curl(&scene, &["-b", "viewer.jar", &state]).0, "200");
    let tasks = format!("{secure}/api/v1/view/tasks");
    let task = ["-H", "content-type: application/json", "-d", "{\"id\":\"t1\"}"];
    let post = |jar: &str| curl(&scene, &[&["-b", jar][..], &task, &[&tasks]].concat());
    assert_eq!(post("viewer.jar").0, "403");
    // Nor do a viewer's rights reach the other APIs of this port.
    for path in ["api/v1/tasks", "api/v1/admin/status", "api/v1/admin/tasks"] {
        assert_eq!(curl(&scene, &["-b", "viewer.jar", &format!("{secure}/{path}")]).0, "401", "{path}");
    }
    let link = scene.run(["server", "login", "--admin", "--data-dir", &data]).succeeded().stdout;
    log_in(&scene, &secure, link.trim(), "admin.jar");
    assert_eq!(post("admin.jar").0, "201");
    let listed = scene.run(["server", "task", "list", "--json", "--data-dir", &data]).succeeded().stdout;
    assert!(listed.contains("t1"), "{listed}");

    // Pages that listen for news do not keep the server from ending.
    let mut listening = Command::new(tool("curl", "curl"));
    listening.args(["-sN", "--max-time", "100", &format!("{plain}api/v1/view/events")]);
    let listener = Process::spawn(listening, &scene.path("events"));
    eventually("news", || listener.stdout().contains("event: data").then_some(()));
    server.signal("INT");
    assert_eq!(server.end(), Some(0), "{}", server.stderr());

    let mut shown = scene.start("shown", ["dashboard", "--data", &data, "--listen", "127.0.0.1:0"]);
    let plain = printed(&shown, "dashboard: ");
    let (_, state) = curl(&scene, &[&format!("{plain}api/v1/view/state")]);
    assert!(state.contains("\"live\":false"), "{state}");
    let (status, _) = curl(&scene, &[&task[..], &[&format!("{plain}api/v1/view/tasks")]].concat());
    assert_eq!(status, "403");
    shown.signal("INT");
    assert_eq!(shown.end(), Some(0), "{}", shown.stderr());
}

#[test]
fn it_listens_nowhere_else_and_says_so() {
    let scene = Scene::new();
    let data = scene.path("data").display().to_string();
    let says = |ended: &Ended, status: i32, words: &str| {
        assert_eq!(ended.status, Some(status), "{ended:?}");
        assert!(ended.one_line().contains(words), "{ended:?}");
    };
    says(&scene.run(["dashboard", "--data", &data]), 1, "there is no NetLat data");
    says(&scene.run(["dashboard", "--data", &data, "--listen", "0.0.0.0:0"]), 2, "plain HTTP is for this host alone");
    let ports = Ports::free();
    let listen = format!("127.0.0.1:{}", ports.control);
    let probe = ports.probe.to_string();
    let server = |dashboard: &'static str| {
        let arguments = ["server", "--listen", &listen, "--probe-port", &probe, "--data-dir", &data];
        scene.run(arguments.into_iter().chain(["--dashboard", dashboard]))
    };
    says(&server("0.0.0.0:8080"), 1, "plain HTTP is for this host alone");
    says(&server("nowhere"), 2, "--dashboard nowhere");
    says(&server("stdin"), 1, "standard input is no listening socket");
    let arguments = ["server", "--listen", &listen, "--probe-port", &probe, "--data-dir", &data, "--dashboard", "off"];
    let running = scene.start("server", arguments);
    printed(&running, "join: ");
    assert_eq!(running.stdout().lines().count(), 1, "{}", running.stdout());
    let login = eventually("an answer", || {
        let ended = scene.run(["server", "login", "--data-dir", &data]);
        ended.stderr.contains("--dashboard off").then_some(ended)
    });
    says(&login, 1, "--dashboard off");
    assert_eq!(curl(&scene, &[&format!("https://{listen}/")]).0, "404");
}
