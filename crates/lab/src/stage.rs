//! Into the lab's namespaces and out of the host's: a process starts itself again inside a fresh user, network, mount
//! and process namespace, by util-linux' `unshare`.
//!
//! The process namespace is what makes the end certain: when its first process dies, the kernel kills all the others,
//! and the network namespaces go with them. That first process is killed when `unshare` dies (`--kill-child`), and
//! `unshare` when the process outside dies (`setpriv --pdeathsig`), however that happens.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::error::LabError;
use crate::tools::{Tools, run};

/// Holds the host's network namespace as the process outside saw it, so that the one inside can tell that it left.
const OUTSIDE_NETWORK: &str = "NETLAT_LAB_OUTSIDE_NETWORK";
const OWN_NETWORK: &str = "/proc/self/ns/net";

/// `/proc/self/status` shows capabilities as one mask; capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

/// First process of the new process namespace: a shell waits, reaps, and passes the status on. As such a process the
/// program itself would not be interrupted by Ctrl-C unless it handles the signal. The shell takes Ctrl-C as well, and
/// without a trap it would end by it once the program has ended, whatever the program's status.
const INIT: &str = "trap : INT; \"$@\"; exit $?";

/// Where this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the host's namespaces.
    Outside,
    /// In namespaces that [`reexec_command`] made.
    Inside,
}

/// Tells by comparing network namespaces, not by trusting a flag.
pub fn stage() -> Stage {
    let outside = std::env::var_os(OUTSIDE_NETWORK);
    match (outside, network_namespace()) {
        (Some(outside), Some(here)) if outside != here => Stage::Inside,
        _ => Stage::Outside,
    }
}

fn network_namespace() -> Option<OsString> {
    fs::read_link(OWN_NETWORK).ok().map(OsString::from)
}

/// A command that runs `program` with `args` inside fresh namespaces, where it must call [`enter`] first. Standard
/// streams and inherited descriptors pass through. When the thread that spawns the command ends, so does everything
/// inside: spawn it from a thread that lives as long, best the main thread. `unshare` ignores SIGINT and SIGTERM while
/// it waits: Ctrl-C reaches the program inside through the terminal, anything else wants `Child::kill`.
pub fn reexec_command<P, A>(program: P, args: A) -> Result<Command, LabError>
where
    P: AsRef<OsStr>,
    A: IntoIterator,
    A::Item: AsRef<OsStr>,
{
    let tools = Tools::find()?;
    check_allowed(&tools)?;
    let mut command = Command::new(&tools.setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(&tools.unshare).args(unshare_options());
    command.args(["--pid", "--kill-child=KILL", "--"]);
    command.arg(&tools.sh).args(["-c", INIT, "lab"]).arg(program).args(args);
    if let Some(here) = network_namespace() {
        command.env(OUTSIDE_NETWORK, here);
    }
    Ok(command)
}

/// First thing in `main`, before any thread starts. Outside, it runs this program again with the same arguments inside
/// fresh namespaces, waits, and exits with its status: it only returns to report that this was impossible. Inside, it
/// prepares the namespaces and returns.
///
/// Inside, `/run` is an empty tmpfs, and the user is root but for the host's things only who they were before.
pub fn enter() -> Result<(), LabError> {
    if stage() == Stage::Inside {
        return prepare(&Tools::find()?);
    }
    let spawn_failed = |source| LabError::Spawn { program: "this program".to_owned(), source };
    let program = std::env::current_exe().map_err(spawn_failed)?;
    let status = reexec_command(program, std::env::args_os().skip(1))?.status().map_err(spawn_failed)?;
    std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
}

/// Somewhere to put namespaces, a view of the own processes where the kernel gives one, and a loopback.
fn prepare(tools: &Tools) -> Result<(), LabError> {
    let mut mount = Command::new(&tools.mount);
    mount.args(["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"]);
    run(&mut mount, "", "mounting an empty /run inside the lab")?;
    // Refused where parts of /proc are masked, as in containers; then processes are only killed with the lab itself.
    let _ = run(Command::new(&tools.mount).args(["-t", "proc", "proc", "/proc"]), "", "mounting /proc inside the lab");
    run(Command::new(&tools.ip).args(["link", "set", "dev", "lo", "up"]), "", "bringing loopback up").map(|_| ())
}

fn unshare_options() -> Vec<&'static str> {
    let mut options = vec!["--net", "--mount", "--propagation", "private"];
    if !is_administrator() {
        options.extend(["--user", "--map-root-user"]);
    }
    options
}

/// May make network and mount namespaces without a user namespace around them.
fn is_administrator() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    is_root && effective >> CAP_SYS_ADMIN & 1 == 1
}

fn check_allowed(tools: &Tools) -> Result<(), LabError> {
    let mut trial = Command::new(&tools.unshare);
    trial.args(unshare_options()).args(["--pid", "--fork", "--"]).arg(&tools.mount);
    trial.args(["-t", "tmpfs", "tmpfs", "/run"]);
    let Err(error) = run(&mut trial, "", "making namespaces") else { return Ok(()) };
    let message = match error {
        LabError::Command { message, .. } => message,
        other => other.to_string(),
    };
    Err(LabError::NamespacesForbidden { message, look_at: suspicious_sysctls() })
}

/// Those that exist here, with their values; the first is the likeliest where it says so.
fn suspicious_sysctls() -> Vec<String> {
    let known = [
        ("kernel.unprivileged_userns_clone", "1"),
        ("user.max_user_namespaces", "above 0"),
        ("user.max_net_namespaces", "above 0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "0"),
    ];
    let value = |key: &str| fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).ok();
    known
        .into_iter()
        .filter_map(|(key, wanted)| value(key).map(|value| format!("{key} (is {}, wanted {wanted})", value.trim())))
        .collect()
}
