//! Runs the example `lab-probe`, which enters a lab of its own, and reads what it prints.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::SystemTime;

use lab::Protocol;
use model::{Direction, Family};
use wire::Tos;

/// Nobody's user and group id on Debian.
const NOBODY: &str = "65534";

/// Programs and scenarios, copied to where every user can read them.
struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The built example. Cargo builds examples for `cargo test`, but not where a filter is given, and an old one would
/// test an old lab: so one that is older than its sources is built here.
fn example() -> PathBuf {
    // Tests stand in TARGET/PROFILE/deps, examples beside that.
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let example = profile.join("examples/lab-probe");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = ["lab/src", "lab/examples", "lab/scenarios", "net/src", "model/src", "wire/src"];
    let newest = sources.iter().map(|source| newest_in(&crates.join(source))).max().unwrap();
    if std::fs::metadata(&example).and_then(|meta| meta.modified()).is_ok_and(|built| built > newest) {
        return example;
    }
    let name = match profile.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "lab", "--example", "lab-probe", "--profile", name]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().unwrap().success(), "{cargo:?} failed");
    example
}

fn newest_in(directory: &Path) -> SystemTime {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let times = entries.map(|path| match path.is_dir() {
        true => newest_in(&path),
        false => std::fs::metadata(path).unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let stage = Stage { directory };
        let example = example();
        std::fs::copy(example, stage.path("lab-probe")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_lab-relay"), stage.path("lab-relay")).unwrap();
        for scenario in ["demo.toml", "policies.toml", "delays.toml"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(scenario);
            std::fs::copy(from, stage.path(scenario)).unwrap();
            std::fs::set_permissions(stage.path(scenario), PermissionsExt::from_mode(0o644)).unwrap();
        }
        std::fs::set_permissions(stage.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        stage
    })
}

pub(crate) fn we_are_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn prepared(mut command: Command, mode: &str, scenario: &str, arguments: &[&str]) -> Command {
    let stage = stage();
    command.arg(mode).arg(stage.path(scenario)).args(arguments);
    command.env("LAB_RELAY", stage.path("lab-relay")).current_dir("/");
    command
}

/// `lab-probe MODE SCENARIO ARGUMENTS` as this user.
pub(crate) fn command(mode: &str, scenario: &str, arguments: &[&str]) -> Command {
    prepared(Command::new(stage().path("lab-probe")), mode, scenario, arguments)
}

/// The same behind another program, which gets lab-probe as its last argument.
pub(crate) fn command_by(wrapper: &[&str], mode: &str, scenario: &str, arguments: &[&str]) -> Command {
    let mut wrapped = Command::new(wrapper[0]);
    wrapped.args(&wrapper[1..]).arg(stage().path("lab-probe"));
    prepared(wrapped, mode, scenario, arguments)
}

/// The same as a user without any privilege: nobody where this user is root.
pub(crate) fn unprivileged_command(mode: &str, scenario: &str, arguments: &[&str]) -> Command {
    if we_are_root() {
        let wrapper = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"];
        command_by(&wrapper, mode, scenario, arguments)
    } else {
        command(mode, scenario, arguments)
    }
}

/// What the command printed; the test ends here where it failed.
pub(crate) fn printed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What was sent, and from which end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) city: String,
    pub(crate) direction: Direction,
    pub(crate) protocol: Protocol,
    pub(crate) family: Family,
    pub(crate) tos: Tos,
}

/// Marks as they arrived, with counts.
pub(crate) type Tallies = HashMap<Sent, Vec<(Tos, u64)>>;

/// Reads lines of `city direction protocol family sent received count`.
pub(crate) fn tallies(output: &Output) -> Tallies {
    let mut tallies = Tallies::new();
    for line in text(&output.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [city, direction, protocol, family, sent, received, count] = words[..] else { panic!("strange: {line}") };
        let byte = |text: &str| Tos::from_byte(text.parse().unwrap());
        let sent = Sent {
            city: city.to_owned(),
            direction: Direction::ALL.into_iter().find(|each| each.name() == direction).unwrap(),
            protocol: Protocol::ALL.into_iter().find(|each| each.name() == protocol).unwrap(),
            family: Family::ALL.into_iter().find(|each| each.name() == family).unwrap(),
            tos: byte(sent),
        };
        tallies.entry(sent).or_default().push((byte(received), count.parse().unwrap()));
    }
    tallies
}
