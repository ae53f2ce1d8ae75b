//! Starts netlat processes in a temporary directory on free loopback ports, and ends them whatever happens.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Report;
use serde::Deserialize;
use worker::{JoinString, Secret, ServerAddress, Uplink, WorkerError};

/// After so long a test has hung. Far above what anything here takes on a busy machine.
const HUNG: Duration = Duration::from_secs(120);

pub const NETLAT: &str = env!("CARGO_BIN_EXE_netlat");

/// Nanoseconds since the epoch: samples of processes on this host have the same clock.
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i64
}

/// Looks until there is an answer.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < HUNG, "waited {} s for this: {what}", HUNG.as_secs());
        sleep(Duration::from_millis(50));
    }
}

/// The program, or a panic that names its Debian package.
pub fn tool(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir: PathBuf| dir.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("this test needs {program}: install the Debian package {package}"))
}

/// A directory of its own, in which everything of one test happens.
pub struct Scene {
    dir: tempfile::TempDir,
    /// Keeps the network namespace of the scene, if it has one.
    namespace: Option<Process>,
}

impl Scene {
    pub fn new() -> Scene {
        let dir = tempfile::Builder::new().prefix("netlat-system-").tempdir().expect("a temporary directory");
        Scene { dir, namespace: None }
    }

    /// With a loopback interface of its own, on which its programs have every right.
    pub fn with_network() -> Scene {
        let mut scene = Scene::new();
        let ip = tool("ip", "iproute2");
        let script = format!("{} link set lo up && echo up && exec sleep 600", ip.display());
        let mut command = Command::new(tool("setpriv", "util-linux"));
        command.args(["--pdeathsig", "KILL"]).arg(tool("unshare", "util-linux")).args(["-Urn", "sh", "-c", &script]);
        let mut process = Process::spawn(command, &scene.path("namespace"));
        eventually("the namespace", || {
            assert!(process.is_running(), "no user and network namespace: {}", process.stderr());
            process.stdout().contains("up").then_some(())
        });
        scene.namespace = Some(process);
        scene
    }

    /// The words that bring what follows them into the scene's namespace.
    fn entering(&self) -> Vec<String> {
        let Some(namespace) = &self.namespace else { return Vec::new() };
        let nsenter = tool("nsenter", "util-linux").display().to_string();
        [&nsenter, "--preserve-credentials", "-U", "-n", "-t", &namespace.id().to_string()].map(str::to_owned).into()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `netlat` with these arguments; no configuration or data of this host's user is seen.
    pub fn netlat<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut words = self.entering();
        words.push(NETLAT.to_owned());
        let mut command = Command::new(words.remove(0));
        command.args(words);
        self.within(command, arguments)
    }

    /// The same without any capability, whoever runs this test.
    pub fn netlat_unprivileged<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let status = fs::read_to_string("/proc/self/status").expect("readable");
        let capable = status.lines().any(|line| line.starts_with("CapEff:") && !line.ends_with("0000000000000000"));
        if !capable {
            return self.netlat(arguments);
        }
        let mut command = Command::new(tool("setpriv", "util-linux"));
        command.args(["--bounding-set=-all", "--inh-caps=-all", NETLAT]);
        self.within(command, arguments)
    }

    fn within<S: AsRef<OsStr>>(&self, mut command: Command, arguments: impl IntoIterator<Item = S>) -> Command {
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let ours = ["NETLAT_", "XDG_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
            if ours {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.dir.path());
        command
    }

    /// Runs to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        ended(self.netlat(arguments))
    }

    /// Starts in the background, to be killed with the test. `name` is that of its log.
    pub fn start<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Process {
        self.start_by(name, &[], arguments)
    }

    /// The same through other programs, such as `unshare -rm`, each of which runs the rest of its arguments.
    pub fn start_by<S: AsRef<OsStr>>(
        &self,
        name: &str,
        through: &[&str],
        arguments: impl IntoIterator<Item = S>,
    ) -> Process {
        // Dies with the thread that starts it, should even this test be killed.
        let setpriv = tool("setpriv", "util-linux").into_os_string().into_string().expect("UTF-8");
        let mut words = self.entering();
        words.extend(through.iter().map(ToString::to_string));
        words.extend([setpriv.as_str(), "--pdeathsig", "KILL", NETLAT].map(str::to_owned));
        let mut command = Command::new(words.remove(0));
        command.args(words);
        Process::spawn(self.within(command, arguments), &self.path(name))
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Its only line on stderr; there must be one and only one, and no trace of a panic.
    pub fn one_line(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "one line on stderr: {self:?}");
        assert!(!lines[0].trim().is_empty() && !lines[0].contains("panicked"), "{self:?}");
        lines[0]
    }

    pub fn succeeded(self) -> Ended {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }
}

/// Runs a command to its end; one that hangs is killed.
pub fn ended(mut command: Command) -> Ended {
    let shown = format!("{command:?}");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.expect("piped").read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let status = wait(&mut child);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (stdout.join().expect("read"), stderr.join().expect("read"));
    assert!(status.is_some(), "{shown} did not end; stdout {stdout}; stderr {stderr}");
    Ended { status: status.and_then(|status| status.code()), stdout, stderr }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let begin = Instant::now();
    while begin.elapsed() < HUNG {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        sleep(Duration::from_millis(10));
    }
    None
}

/// A program in the background, killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn spawn(mut command: Command, log: &Path) -> Process {
        let out = File::create(log.with_extension("out")).expect("a log");
        // Appended to, so that a later process of the same name continues it.
        let log = log.with_extension("err");
        let err = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let child = command.stdout(out).stderr(err).spawn().expect("it starts");
        Process { child, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that programs of this name have written to stderr.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).unwrap_or_default()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// SIGKILL: the process gets no chance to put anything in order.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// A signal such as `INT` or `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.id())).status();
        assert!(sent.expect("sh runs").success());
    }

    /// The status it ends with by itself.
    pub fn end(&mut self) -> Option<i32> {
        let status = wait(&mut self.child);
        assert!(status.is_some(), "it did not end: {}", self.stderr());
        status.and_then(|status| status.code())
    }

    /// As by Ctrl-C; it must end with status 0.
    pub fn interrupt(mut self) {
        self.signal("INT");
        assert_eq!(self.end(), Some(0), "{}", self.stderr());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.stderr();
            let from = text.len().saturating_sub(3000);
            eprintln!("--- {}:\n{}", self.log.display(), text.get(from..).unwrap_or(&text));
        }
    }
}

/// A port for the control plane, and P of the probes.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub control: u16,
    pub probe: u16,
}

impl Ports {
    /// Below the range from which the kernel gives ports to others, and different in every test of this process.
    pub fn free() -> Ports {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        loop {
            let start = 14_000 + (std::process::id() % 1500) as u16 * 10;
            let port = start.wrapping_add(NEXT.fetch_add(3, Ordering::Relaxed) % 3000);
            let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
            let tcp = |port| TcpListener::bind(any(port)).is_ok();
            let udp = |port| UdpSocket::bind(any(port)).is_ok();
            if tcp(port) && tcp(port + 1) && udp(port + 1) && udp(port + 2) {
                return Ports { control: port, probe: port + 1 };
            }
        }
    }
}

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
