//! A main server and a worker as processes, and what the commands say of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::Report;
use serde::Deserialize;
use worker::{JoinString, Secret, ServerAddress, Uplink, WorkerError};

use crate::support::{Ended, NETLAT, Ports, Process, Scene, ended, eventually, tool};

/// Which addresses a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// 127.0.0.1.
    V4,
    /// Both families. The program has no way to listen on two loopback addresses, so this listens on all.
    Both,
}

/// A main server.
pub struct Server {
    process: Option<Process>,
    pub ports: Ports,
    pub data: PathBuf,
    through: Vec<String>,
    arguments: Vec<String>,
}

impl Server {
    pub fn start(scene: &Scene, reach: Reach) -> Server {
        Server::with(scene, reach, &[], &[])
    }

    pub fn with(scene: &Scene, reach: Reach, through: &[&str], extra: &[&str]) -> Server {
        Server::at(scene, scene.path("server"), reach, through, extra)
    }

    /// With `--interface`.
    pub fn capturing(scene: &Scene, reach: Reach, interface: &str) -> Server {
        let mut server = Server::prepared(scene.path("server"), reach, &[], &[]);
        server.arguments.extend(["--interface".to_owned(), interface.to_owned()]);
        server.start_again(scene);
        server
    }

    pub fn at(scene: &Scene, data: PathBuf, reach: Reach, through: &[&str], extra: &[&str]) -> Server {
        let mut server = Server::prepared(data, reach, through, extra);
        server.start_again(scene);
        server
    }

    /// `extra` comes before the subcommand.
    fn prepared(data: PathBuf, reach: Reach, through: &[&str], extra: &[&str]) -> Server {
        let ports = Ports::free();
        let (listen, advertise) = match reach {
            Reach::V4 => (format!("127.0.0.1:{}", ports.control), "127.0.0.1"),
            Reach::Both => (format!("[::]:{}", ports.control), "127.0.0.1,::1"),
        };
        let mut arguments: Vec<String> = extra.iter().map(ToString::to_string).collect();
        arguments.extend(["server", "--listen", &listen, "--advertise", advertise].map(str::to_owned));
        arguments.extend(["--probe-port".to_owned(), ports.probe.to_string()]);
        arguments.extend(["--data-dir".to_owned(), data.display().to_string()]);
        arguments.extend(["--dashboard", "off"].map(str::to_owned));
        let through = through.iter().map(ToString::to_string).collect();
        Server { process: None, ports, data, through, arguments }
    }

    /// On the same directory and ports; back when it answers.
    pub fn start_again(&mut self, scene: &Scene) {
        let through: Vec<&str> = self.through.iter().map(String::as_str).collect();
        let mut process = scene.start_by("server", &through, &self.arguments);
        eventually("the server prints its join string", || {
            assert!(process.is_running(), "the server ended: {}", process.stderr());
            process.stdout().contains('\n').then_some(())
        });
        self.process = Some(process);
        eventually("the server answers", || self.try_status(scene));
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("running")
    }

    pub fn kill(&mut self) {
        self.process.take().expect("running").kill();
    }

    pub fn interrupt(&mut self) {
        self.process.take().expect("running").interrupt();
    }

    /// What it printed at its last start: good for one worker.
    pub fn join(&mut self) -> String {
        let out = self.process().stdout();
        let line = out.lines().find_map(|line| line.strip_prefix("join: "));
        line.unwrap_or_else(|| panic!("no join string in {out:?}")).to_owned()
    }

    /// A fresh string from `netlat server join`.
    pub fn fresh_join(&self, scene: &Scene, many: bool) -> String {
        let mut arguments = vec!["server", "join"];
        arguments.extend(many.then_some("--many"));
        self.ask(scene, &arguments).succeeded().stdout.trim().to_owned()
    }

    /// `netlat ... --data-dir DIR`.
    pub fn ask(&self, scene: &Scene, arguments: &[&str]) -> Ended {
        let mut command = match &self.process {
            // Its data directory may be on a file system that only it sees.
            Some(process) if !self.through.is_empty() => {
                let mut command = Command::new(tool("nsenter", "util-linux"));
                let pid = process.id().to_string();
                command.args(["--preserve-credentials", "-U", "-m", "-t", &pid, NETLAT]);
                scene.within(command, arguments)
            }
            _ => scene.netlat(arguments),
        };
        command.arg("--data-dir").arg(&self.data);
        ended(command)
    }

    /// A file of the data directory, as this process reaches it.
    pub fn seen(&self, file: &str) -> PathBuf {
        let path = self.data.join(file);
        match &self.process {
            Some(process) if !self.through.is_empty() => {
                Path::new(&format!("/proc/{}/root", process.id())).join(path.strip_prefix("/").expect("absolute"))
            }
            _ => path,
        }
    }

    pub fn try_status(&self, scene: &Scene) -> Option<Status> {
        let ended = self.ask(scene, &["server", "status", "--json"]);
        (ended.status == Some(0)).then(|| serde_json::from_str(&ended.stdout).expect("status is JSON"))
    }

    pub fn status(&self, scene: &Scene) -> Status {
        self.try_status(scene).expect("the server answers")
    }

    pub fn counter(&self, scene: &Scene, name: &str) -> u64 {
        self.status(scene).counters.get(name).copied().unwrap_or(0)
    }

    pub fn add_task(&self, scene: &Scene, spec: &[&str]) -> String {
        let mut arguments = vec!["server", "task", "add"];
        arguments.extend(spec);
        self.ask(scene, &arguments).succeeded().stdout.trim().to_owned()
    }

    pub fn report(&self, scene: &Scene) -> Report {
        let ended = self.ask(scene, &["report", "--json"]).succeeded();
        serde_json::from_str(&ended.stdout).expect("a report")
    }

    pub fn samples(&self, scene: &Scene) -> Vec<Row> {
        let ended = self.ask(scene, &["export", "--format", "jsonl", "--out", "-"]).succeeded();
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a sample")).collect()
    }

    /// Waits until samples fulfil something, and returns them.
    pub fn samples_until(&self, scene: &Scene, what: &str, enough: impl Fn(&[Row]) -> bool) -> Vec<Row> {
        eventually(what, || Some(self.samples(scene)).filter(|rows| enough(rows)))
    }
}

#[derive(Debug, Deserialize)]
pub struct Status {
    pub sessions: usize,
    pub workers: Vec<WorkerStatus>,
    pub counters: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
pub struct WorkerStatus {
    pub name: String,
}

/// A line of `netlat export --format jsonl`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub worker: String,
    pub session: u32,
    pub sequence: u32,
    pub kind: String,
    pub direction: String,
    pub family: String,
    pub tos_sent: u8,
    pub tos_received: Option<u8>,
    pub sent_at_ns: i64,
    pub received_at_ns: Option<i64>,
    pub ttl: Option<u8>,
    pub size: u16,
    pub flags: u16,
}

/// Sequence numbers by stream, in order; no number may be there twice.
pub fn streams(rows: &[Row]) -> BTreeMap<(u32, String), Vec<&Row>> {
    let mut streams: BTreeMap<(u32, String), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        streams.entry((row.session, row.direction.clone())).or_default().push(row);
    }
    for (stream, rows) in &mut streams {
        rows.sort_by_key(|row| row.sequence);
        let twice = rows.windows(2).find(|pair| pair[0].sequence == pair[1].sequence);
        assert!(twice.is_none(), "counted twice in {stream:?}: {twice:?}");
    }
    streams
}

/// Nothing of the report is lost.
pub fn assert_nothing_lost(report: &Report) {
    assert!(!report.paths.is_empty(), "the report has paths");
    for path in &report.paths {
        for class in &path.classes {
            assert_eq!(class.lost, 0, "{} {}: {class:?}", path.direction, path.family);
        }
    }
}

/// A worker with a data directory of its own.
pub fn worker(scene: &Scene, name: &str, join: Option<&str>) -> Process {
    let data = scene.path(name);
    let mut arguments = vec!["worker", "--name", name, "--data-dir", data.to_str().expect("UTF-8")];
    if let Some(join) = join {
        arguments.extend(["--join", join]);
    }
    scene.start(&format!("worker-{name}"), arguments)
}

/// The control plane as a worker's own code speaks to it.
pub struct Control {
    runtime: tokio::runtime::Runtime,
    pub uplink: Uplink,
}

impl Control {
    pub fn new(join: &str, bearer: Option<&str>) -> Control {
        let join: JoinString = join.parse().expect("a join string");
        let bearer = bearer.map_or(join.token, |bearer| Secret::new(bearer.to_owned()));
        let server = ServerAddress { host: join.server.host, port: join.server.port };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Control { runtime, uplink: Uplink::new(server, join.fingerprint, bearer).expect("an uplink") }
    }

    pub fn block<T>(&self, request: impl Future<Output = Result<T, WorkerError>>) -> Result<T, WorkerError> {
        self.runtime.block_on(request)
    }

    /// Enrols with the join string's token and goes on with the credential.
    pub fn enrolled(join: &str, name: &str) -> Control {
        let control = Control::new(join, None);
        let name = model::WorkerName::new(name).expect("a name");
        let enrolled = control.block(control.uplink.enroll(name, false)).expect("enrolled");
        let uplink = control.uplink.with_bearer(Secret::new(enrolled.credential));
        Control { uplink, ..control }
    }
}
