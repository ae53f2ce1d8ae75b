//! What is left of a lab when it ends, however it ends: nothing, and the host's network was never touched.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::probe;

const PATIENCE: Duration = Duration::from_secs(20);

/// A process and when it started, so that a reused number is not taken for it.
type Process = (u32, String);

/// Parent and start time of every process.
fn processes() -> Vec<(Process, u32)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            // proc(5): state is field 3, so ppid is the second here and starttime (22) the twentieth.
            Some(((pid, (*fields.get(19)?).to_owned()), fields.get(1)?.parse().ok()?))
        })
        .collect()
}

fn descendants(of: u32) -> BTreeSet<Process> {
    let all = processes();
    let mut family = BTreeSet::from([of]);
    let mut found = BTreeSet::new();
    loop {
        let children: Vec<&Process> = all
            .iter()
            .filter(|(process, parent)| family.contains(parent) && !family.contains(&process.0))
            .map(|(process, _)| process)
            .collect();
        if children.is_empty() {
            return found;
        }
        family.extend(children.iter().map(|process| process.0));
        found.extend(children.into_iter().cloned());
    }
}

fn assert_all_gone(before: &BTreeSet<Process>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let now: BTreeSet<Process> = processes().into_iter().map(|(process, _)| process).collect();
        let left: Vec<&Process> = before.intersection(&now).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "still there: {left:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn host_network() -> (String, bool) {
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap();
    let names = interfaces.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    (names, fs::exists("/run/netns").unwrap())
}

/// Ends with the test, also with a failed one.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nothing_survives_when_the_process_outside_is_killed() {
    let before = host_network();
    let mut command = probe::unprivileged_command("hold", "delays.toml", &["lab-lifetime-test"]);
    let mut outside = Killed(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(outside.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "holding\n");
    let inside = descendants(outside.0.id());
    // unshare, its shell, lab-probe, two relays, a shell in each of the two cities; their sleepers may be on the way.
    assert!(inside.len() >= 7, "{inside:?}");
    // SIGKILL: it has no chance to clean up.
    drop(outside);
    assert_all_gone(&inside);
    assert_eq!(host_network(), before);
}

#[test]
fn dropping_the_lab_ends_what_still_runs_in_it() {
    let output = probe::printed(&mut probe::command("drop", "delays.toml", &[]));
    assert_eq!(probe::text(&output.stdout), "sgp1 signal: 9 (SIGKILL)\nblr1 signal: 9 (SIGKILL)\nnamespaces left: 0\n");
}

#[test]
fn the_status_of_what_ran_inside_comes_out() {
    let mut command = probe::command("run", "delays.toml", &["server", "sh", "-c", "exit 42"]);
    assert_eq!(command.status().unwrap().code(), Some(42));
}

#[test]
fn a_kernel_that_forbids_namespaces_is_told_in_one_line_with_the_sysctl() {
    // A user namespace in which no more can be made, and no capabilities to do without.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all -- \"$0\" \"$@\"";
    let wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", script];
    let output = probe::command_by(&wrapper, "run", "delays.toml", &["server", "true"]).output().unwrap();
    let said = probe::text(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("user.max_user_namespaces (is 0, wanted above 0)"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

#[test]
fn a_process_outside_cannot_build_a_lab() {
    let scenario = crate::scenarios::shipped("demo.toml");
    let relay = lab::RelayProgram { program: "/bin/true".into(), arguments: Vec::new() };
    assert!(matches!(lab::Lab::up(&scenario, &relay), Err(lab::LabError::NotInside)));
}
