//! Puts a bot's files into its directory and has its ecosystem's own tool install what they need. An installation is whole or is not
//! there: what marks it is written last, and names exactly what was installed with what.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::catalogue::{Invocation, Kind};

const MARK: &str = "installed";
const LOG: &str = "install.log";
/// A registry that hangs does not hang the setup.
const LONGEST_STEP: Duration = Duration::from_secs(900);
const VERSION: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{library}: {program} is not here: {hint}")]
    NoRuntime { library: &'static str, program: String, hint: &'static str },
    #[error("{library}: {what} failed{}; all of it is in {log}", if .last.is_empty() { String::new() } else { format!(": {}", .last) })]
    Step { library: &'static str, what: &'static str, last: String, log: PathBuf },
    #[error("{library}: {what} took more than {} minutes; what it said is in {log}", LONGEST_STEP.as_secs() / 60)]
    TooLong { library: &'static str, what: &'static str, log: PathBuf },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> InstallError + '_ {
    move |source| InstallError::Write { path: path.to_owned(), source }
}

/// The runtime's own words for its version.
pub async fn runtime(kind: &Kind) -> Result<String, InstallError> {
    let (asked, hint) = kind.tools.version();
    let missing =
        || InstallError::NoRuntime { library: kind.library, program: asked.program.display().to_string(), hint };
    let mut command = Command::new(&asked.program);
    command.args(&asked.arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output =
        tokio::time::timeout(VERSION, command.output()).await.map_err(|_| missing())?.map_err(|_| missing())?;
    let text = String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
    // Told what to prefer by its environment, a JVM says so first.
    let line: String = text
        .lines()
        .find(|line| !line.starts_with("Picked up"))
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(60)
        .collect();
    if output.status.success() && !line.is_empty() { Ok(line) } else { Err(missing()) }
}

/// What an installation of these files by this runtime says of itself.
fn mark(kind: &Kind, runtime: &str) -> String {
    let mut text = format!("{runtime}\n");
    for (name, contents) in kind.files() {
        text.push_str(&format!("{name} {:016x}\n", fnv1a(contents.as_bytes())));
    }
    text
}

/// Tells files apart that were changed on purpose; nothing is protected by it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether just these files were installed under `root` by just this runtime.
pub fn is_installed(kind: &Kind, root: &Path, runtime: &str) -> bool {
    fs::read_to_string(root.join(kind.directory).join(MARK)).is_ok_and(|text| text == mark(kind, runtime))
}

/// Installs the bot under `root` unless it is there. `progress` is told each step before it begins.
pub async fn install(kind: &Kind, root: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), InstallError> {
    let runtime = runtime(kind).await?;
    if is_installed(kind, root, &runtime) {
        return Ok(());
    }
    let dir = root.join(kind.directory);
    fs::create_dir_all(&dir).map_err(failed(&dir))?;
    let marked = dir.join(MARK);
    match fs::remove_file(&marked) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&marked)(error)),
        _ => {}
    }
    for (name, contents) in kind.files() {
        let path = dir.join(name);
        fs::write(&path, contents).map_err(failed(&path))?;
    }
    let log = dir.join(LOG);
    let _ = fs::remove_file(&log);
    for step in kind.tools.steps() {
        progress(step.what);
        take(kind, &dir, &log, &step).await?;
    }
    fs::write(&marked, mark(kind, &runtime)).map_err(failed(&marked))
}

async fn take(kind: &Kind, dir: &Path, log: &Path, step: &Invocation) -> Result<(), InstallError> {
    let mut file: File = OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(failed(log))?;
    let line = format!("$ {} {}\n", step.program.display(), step.arguments.join(" "));
    file.write_all(line.as_bytes()).map_err(failed(log))?;
    let (out, errors) = (file.try_clone().map_err(failed(log))?, file);
    // A path within the bot's directory is no name to be looked for.
    let program = if step.program.components().count() > 1 { dir.join(&step.program) } else { step.program.clone() };
    let mut command = Command::new(program);
    command.args(&step.arguments).current_dir(dir).stdin(Stdio::null()).stdout(out).stderr(errors).kill_on_drop(true);
    // Whoever installs needs no secret of ours.
    command.env_remove("NETLAT_DISCORD_TOKEN");
    let Ok(status) = tokio::time::timeout(LONGEST_STEP, command.status()).await else {
        return Err(InstallError::TooLong { library: kind.library, what: step.what, log: log.to_owned() });
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(InstallError::Step {
            library: kind.library,
            what: step.what,
            last: last_line(log),
            log: log.to_owned(),
        }),
        Err(error) => Err(InstallError::Step {
            library: kind.library,
            what: step.what,
            last: format!("{}: {error}", step.program.display()),
            log: log.to_owned(),
        }),
    }
}

/// The last line that says something, for people.
fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(8192)..]).into_owned();
    let line = text.lines().rev().find(|line| line.trim().len() > 3).unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_known_by_files_and_runtime() {
        let (dir, kind) = (tempfile::tempdir().unwrap(), &crate::KINDS[0]);
        assert!(!is_installed(kind, dir.path(), "Python 3.11.7"));
        fs::create_dir(dir.path().join(kind.directory)).unwrap();
        fs::write(dir.path().join(kind.directory).join(MARK), mark(kind, "Python 3.11.7")).unwrap();
        assert!(is_installed(kind, dir.path(), "Python 3.11.7"));
        assert!(!is_installed(kind, dir.path(), "Python 3.12.0"), "another runtime has other packages");
        assert!(!is_installed(&crate::KINDS[2], dir.path(), "Python 3.11.7"));
    }

    #[tokio::test]
    async fn a_step_that_fails_is_told_by_its_last_line() {
        let (dir, kind) = (tempfile::tempdir().unwrap(), &crate::KINDS[0]);
        let step = |script: &str| Invocation {
            program: "sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            what: "trying",
        };
        let log = dir.path().join(LOG);
        take(kind, dir.path(), &log, &step("echo fine")).await.unwrap();
        let error = take(kind, dir.path(), &log, &step("echo first; echo 'no such package' >&2; exit 3")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("discord.py: trying failed: no such package; all of it is in "), "{error}");
        let missing = Invocation { program: "no-such-program".into(), arguments: Vec::new(), what: "trying" };
        let error = take(kind, dir.path(), &log, &missing).await.unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
    }
}
