//! Starts netlat processes in a temporary directory on free loopback ports, and ends them whatever happens.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// After so long a test has hung. Far above what anything here takes on a busy machine.
const HUNG: Duration = Duration::from_secs(300);

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

    pub fn within<S: AsRef<OsStr>>(&self, mut command: Command, arguments: impl IntoIterator<Item = S>) -> Command {
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let ours = ["NETLAT_", "XDG_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
            if ours {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.dir.path());
        // Installs from a registry, which scripts/check-legion.sh does.
        command.env("NETLAT_NO_PYTHON", "1");
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
    pub fn spawn(mut command: Command, log: &Path) -> Process {
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
