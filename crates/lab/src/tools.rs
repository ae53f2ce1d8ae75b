//! The programs the lab calls (iproute2, nftables, util-linux): finding them, and running them with an end in sight.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{LabError, MissingTool};

/// Far beyond what any of these programs takes, so only a hang meets it.
const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_micros(500);

/// Where administrators' programs are; an ordinary user's PATH often lacks these.
const MORE_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

macro_rules! tools {
    ($($name:ident: $program:literal from $package:literal),* $(,)?) => {
        /// Where each program is.
        #[derive(Clone, Debug)]
        pub(crate) struct Tools { $(pub(crate) $name: PathBuf),* }

        impl Tools {
            /// Finds all, or names all that are missing.
            pub(crate) fn find() -> Result<Tools, LabError> {
                let mut missing = Vec::new();
                $(let $name = find($program).unwrap_or_else(|| {
                    missing.push(MissingTool { program: $program, package: $package });
                    PathBuf::new()
                });)*
                if missing.is_empty() { Ok(Tools { $($name),* }) } else { Err(LabError::MissingTools(missing)) }
            }
        }
    };
}

tools! {
    ip: "ip" from "iproute2",
    tc: "tc" from "iproute2",
    nft: "nft" from "nftables",
    unshare: "unshare" from "util-linux",
    nsenter: "nsenter" from "util-linux",
    setpriv: "setpriv" from "util-linux",
    mount: "mount" from "mount",
    sh: "sh" from "dash",
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
}

/// What a program wrote.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs to the end, feeding `input`; a failure carries what the program said. `doing` completes "failed while".
pub(crate) fn run(command: &mut Command, input: &str, doing: &str) -> Result<Output, LabError> {
    let program = name_of(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let feeder = child.stdin.take().map(|mut stdin| {
        let input = input.to_owned();
        // A program that ends early closes its pipe; its exit status tells why.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())))
    });
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let status = wait(&mut child, LIMIT).ok_or_else(|| LabError::TimedOut {
        program: program.clone(),
        doing: doing.to_owned(),
        limit: LIMIT,
    })?;
    if let Some(feeder) = feeder {
        let _ = feeder.join();
    }
    let text =
        |reader: Option<thread::JoinHandle<String>>| reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    let output = Output { stdout: text(stdout), stderr: text(stderr) };
    if status.success() {
        return Ok(output);
    }
    let said = output.stderr.trim().replace('\n', "; ");
    let message = if said.is_empty() { status.to_string() } else { said };
    Err(LabError::Command { program, doing: doing.to_owned(), message })
}

pub(crate) fn spawn(command: &mut Command) -> Result<Child, LabError> {
    command.spawn().map_err(|source| LabError::Spawn { program: name_of(command), source })
}

/// The child's status; after `limit` it is killed and there is none.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => thread::sleep(POLL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn name_of(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}
