//! Carrying out a plan inside the lab's namespaces, running programs in places, and taking all down again.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::LabError;
use crate::plan::{Place, Plan, Step};
use crate::relay::{READY, Relay, RelayCounts};
use crate::scenario::Scenario;
use crate::stage::{Stage, stage};
use crate::tools::{self, Tools};

const NAMESPACE_DIRECTORY: &str = "/run/netns";
const LINK_LIMIT: Duration = Duration::from_secs(10);
const LINK_POLL: Duration = Duration::from_millis(5);
const RELAY_START_LIMIT: Duration = Duration::from_secs(10);
const RELAY_STOP_LIMIT: Duration = Duration::from_secs(2);

/// The program that [`crate::relay::run`]s, and the arguments before the relay's own.
#[derive(Clone, Debug)]
pub struct RelayProgram {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// A lab that stands. Dropping it kills what runs in it and removes its namespaces; the death of the process does the
/// same.
#[derive(Debug)]
pub struct Lab {
    scenario: Scenario,
    tools: Tools,
    namespaces: Vec<String>,
    relays: Vec<RunningRelay>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct RunningRelay {
    city: String,
    child: Child,
    output: mpsc::Receiver<String>,
}

impl Lab {
    /// Builds the lab; the process must be inside ([`crate::enter`]).
    pub fn up(scenario: &Scenario, relay: &RelayProgram) -> Result<Lab, LabError> {
        if stage() != Stage::Inside {
            return Err(LabError::NotInside);
        }
        let mut lab = Lab {
            scenario: scenario.clone(),
            tools: Tools::find()?,
            namespaces: Vec::new(),
            relays: Vec::new(),
            warnings: Vec::new(),
        };
        let plan = Plan::of(scenario);
        // Steps of one kind in one namespace go to one program.
        for group in plan.steps.chunk_by(|one, next| batch_of(one).is_some() && batch_of(one) == batch_of(next)) {
            lab.carry_out(group, relay)?;
        }
        lab.wait_for_links()?;
        Ok(lab)
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// What could not be set up as the scenario wants, one line each; measurements can still run.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A command that runs a program in a place. Its process is the program's own: `Child::kill` kills the program.
    pub fn command(&self, place: Place<'_>, program: impl AsRef<OsStr>) -> Result<Command, LabError> {
        let namespace = place.namespace();
        if !self.namespaces.contains(&namespace) {
            return Err(LabError::NoSuchPlace(namespace));
        }
        let mut command = self.inside(&namespace, Path::new(program.as_ref()));
        command.stdin(Stdio::inherit());
        Ok(command)
    }

    /// The file that stands for a place's network namespace, for a thread that enters it.
    pub fn namespace_file(&self, place: Place<'_>) -> Result<PathBuf, LabError> {
        let namespace = place.namespace();
        match self.namespaces.contains(&namespace) {
            true => Ok(Path::new(NAMESPACE_DIRECTORY).join(namespace)),
            false => Err(LabError::NoSuchPlace(namespace)),
        }
    }

    /// Takes the lab down and tells what the relays did, by city.
    pub fn down(mut self) -> Vec<(String, RelayCounts)> {
        self.stop_relays()
    }

    fn inside(&self, namespace: &str, program: &Path) -> Command {
        let mut command = Command::new(&self.tools.nsenter);
        command.arg(format!("--net={NAMESPACE_DIRECTORY}/{namespace}")).arg("--").arg(program);
        command
    }

    fn carry_out(&mut self, group: &[Step], relay_program: &RelayProgram) -> Result<(), LabError> {
        let Some(first) = group.first() else { return Ok(()) };
        let lines = |of: &dyn Fn(&Step) -> Option<String>| group.iter().filter_map(of).collect::<String>();
        match first {
            Step::Namespace(name) => {
                let doing = format!("adding the namespace {name}");
                tools::run(Command::new(&self.tools.ip).args(["netns", "add", name]), "", &doing)?;
                self.namespaces.push(name.clone());
            }
            Step::Sysctl { namespace, .. } => {
                let mut shell = self.inside(namespace, &self.tools.sh);
                let script = lines(&|step| sysctl_script(step));
                let output = tools::run(shell.arg("-s"), &script, &format!("setting sysctls in {namespace}"))?;
                self.warnings.extend(output.stdout.lines().map(|line| format!("{namespace}: {line}")));
            }
            Step::Ip { namespace, .. } => {
                let mut ip = Command::new(&self.tools.ip);
                if let Some(namespace) = namespace {
                    ip.args(["-n", namespace]);
                }
                let script =
                    lines(&|step| if let Step::Ip { line, .. } = step { Some(format!("{line}\n")) } else { None });
                let place = namespace.as_deref().unwrap_or("the lab");
                tools::run(ip.args(["-batch", "-"]), &script, &format!("setting up {place}"))?;
            }
            Step::Tc { namespace, .. } => {
                let script =
                    lines(&|step| if let Step::Tc { line, .. } = step { Some(format!("{line}\n")) } else { None });
                let mut tc = Command::new(&self.tools.tc);
                tools::run(tc.args(["-n", namespace, "-batch", "-"]), &script, &format!("shaping in {namespace}"))?;
            }
            Step::Nft { namespace, ruleset } => {
                let mut nft = self.inside(namespace, &self.tools.nft);
                tools::run(nft.args(["-f", "-"]), ruleset, &format!("loading the rules of {namespace}"))?;
            }
            Step::Relay { namespace, city, relay } => self.start_relay(namespace, city, relay, relay_program)?,
        }
        Ok(())
    }

    /// The kernel notices a link's carrier a little after both ends were set up, and drops what is sent before.
    fn wait_for_links(&self) -> Result<(), LabError> {
        let end = Instant::now() + LINK_LIMIT;
        for namespace in &self.namespaces {
            loop {
                let doing = format!("looking at the links of {namespace}");
                let mut ip = Command::new(&self.tools.ip);
                let links =
                    tools::run(ip.args(["-n", namespace, "-brief", "link", "show", "type", "veth"]), "", &doing)?;
                let Some(down) = links.stdout.lines().find(|line| line.split_whitespace().nth(1) != Some("UP")) else {
                    break;
                };
                if Instant::now() > end {
                    return Err(LabError::Command {
                        program: "ip".to_owned(),
                        doing: format!("waiting for the links of {namespace}"),
                        message: format!("still not up after {LINK_LIMIT:?}: {}", down.trim()),
                    });
                }
                thread::sleep(LINK_POLL);
            }
        }
        Ok(())
    }

    fn start_relay(
        &mut self,
        namespace: &str,
        city: &str,
        relay: &Relay,
        program: &RelayProgram,
    ) -> Result<(), LabError> {
        let failed = |message: String| LabError::Relay { city: city.to_owned(), message };
        let mut command = self.inside(namespace, &program.program);
        command.args(&program.arguments).arg(relay.to_argument().map_err(|error| failed(error.to_string()))?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tools::spawn(&mut command)?;
        let (sender, output) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || pass_on(stdout, &sender));
        }
        let answer = output.recv_timeout(RELAY_START_LIMIT);
        if answer.as_deref() != Ok(READY) {
            let _ = child.kill();
            let _ = child.wait();
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            return Err(failed(format!("it said '{}'", said.trim())));
        }
        self.relays.push(RunningRelay { city: city.to_owned(), child, output });
        Ok(())
    }

    fn stop_relays(&mut self) -> Vec<(String, RelayCounts)> {
        let mut counts = Vec::new();
        for relay in &mut self.relays {
            relay.child.stdin.take();
        }
        for mut relay in self.relays.drain(..) {
            tools::wait(&mut relay.child, RELAY_STOP_LIMIT);
            let text: String = relay.output.iter().map(|line| line + "\n").collect();
            if let Ok(each) = toml::from_str(&text) {
                counts.push((relay.city, each));
            }
        }
        counts
    }

    /// Only where `/proc` shows this lab's own processes; elsewhere their numbers would mean others'.
    fn kill_processes(&self, namespace: &str) {
        let own = fs::read_link("/proc/self").is_ok_and(|pid| pid == Path::new(&std::process::id().to_string()));
        if !own {
            return;
        }
        let doing = "listing the lab's processes";
        let Ok(output) = tools::run(Command::new(&self.tools.ip).args(["netns", "pids", namespace]), "", doing) else {
            return;
        };
        let pids: Vec<u32> = output.stdout.lines().filter_map(|line| line.trim().parse().ok()).collect();
        if !pids.is_empty() {
            let script: String = pids.iter().map(|pid| format!("kill -KILL {pid} 2>/dev/null\n")).collect();
            let _ = tools::run(Command::new(&self.tools.sh).arg("-s"), &(script + "exit 0\n"), "ending processes");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop_relays();
        for namespace in &self.namespaces {
            self.kill_processes(namespace);
            let mut ip = Command::new(&self.tools.ip);
            let doing = format!("removing the namespace {namespace}");
            if let Err(error) = tools::run(ip.args(["netns", "delete", namespace]), "", &doing) {
                tracing::warn!(%error, "the lab leaves a namespace until its process ends");
            }
        }
    }
}

/// What one program may do together: the kind of step and its namespace.
fn batch_of(step: &Step) -> Option<(u8, Option<&str>)> {
    match step {
        Step::Sysctl { namespace, .. } => Some((0, Some(namespace))),
        Step::Ip { namespace, .. } => Some((1, namespace.as_deref())),
        Step::Tc { namespace, .. } => Some((2, Some(namespace))),
        Step::Namespace(_) | Step::Nft { .. } | Step::Relay { .. } => None,
    }
}

/// Tries the values in turn; a key the kernel does not have, or refuses, is told on standard output.
fn sysctl_script(step: &Step) -> Option<String> {
    let Step::Sysctl { key, values, required, .. } = step else { return None };
    let file = format!("/proc/sys/{key}");
    let tries: String = values.iter().map(|value| format!("(echo '{value}' > {file}) 2>/dev/null || ")).collect();
    let otherwise = if *required {
        format!("{{ echo 'cannot set {key}' >&2; exit 1; }}")
    } else {
        format!("echo 'cannot set {key} to {}'", values.join(" or "))
    };
    Some(format!("{tries}{otherwise}\n"))
}

fn pass_on(stdout: ChildStdout, lines: &mpsc::Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if lines.send(line).is_err() {
            return;
        }
    }
}
