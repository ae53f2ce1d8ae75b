//! Giving up capabilities, in a process that has some and only one thread: hence no test harness, which has threads.

mod support;

use std::process::{Command, ExitCode};

use net::capability;
use net::capture::{Capture, CaptureOptions};

const VARIABLE: &str = "NETLAT_NET_TEST_INSIDE";

fn main() -> ExitCode {
    match std::env::var(VARIABLE).as_deref() {
        Ok("early") => dropped_early(),
        Ok("late") => refused_late(),
        _ => {
            for case in ["early", "late"] {
                let program = std::env::current_exe().unwrap();
                let status = Command::new("unshare").arg("-Urnm").arg(program).env(VARIABLE, case).status();
                if !status.expect("unshare(1) is needed").success() {
                    eprintln!("capability, {case}: FAILED");
                    return ExitCode::FAILURE;
                }
            }
            println!("capability: 2 cases passed");
        }
    }
    ExitCode::SUCCESS
}

/// The four sets, as /proc shows them.
fn capability_sets(status: &str) -> Vec<&str> {
    let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
    let lines: Vec<&str> = status.lines().filter(|line| sets.iter().any(|set| line.starts_with(set))).collect();
    assert_eq!(lines.len(), 4);
    lines
}

fn nothing_left(status: &str) -> bool {
    capability_sets(status).iter().all(|line| line.ends_with("\t0000000000000000"))
}

/// Nothing is left in any thread, nor in programs the process starts.
fn dropped_early() {
    support::run("ip link set lo up");
    assert!(capability::has_net_raw() && capability::has_net_bind_service());
    assert!(!nothing_left(&std::fs::read_to_string("/proc/self/status").unwrap()));
    let open = || Capture::open("lo", &CaptureOptions::default());
    let _capture = open().unwrap();
    capability::drop_all().unwrap();
    assert!(!capability::has_net_raw() && !capability::has_net_bind_service());
    assert!(open().is_err());
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(std::thread::park)).collect();
    let tasks: Vec<_> = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path()).collect();
    assert_eq!(tasks.len(), 4);
    for task in tasks {
        assert!(nothing_left(&std::fs::read_to_string(task.join("status")).unwrap()));
    }
    threads.iter().for_each(|thread| thread.thread().unpark());
    // Root would get everything back by running a program.
    let status = Command::new("cat").arg("/proc/self/status").output().unwrap().stdout;
    assert!(nothing_left(&String::from_utf8(status).unwrap()));
}

fn refused_late() {
    let thread = std::thread::spawn(std::thread::park);
    let error = capability::drop_all().unwrap_err().to_string();
    assert!(error.contains("2 threads run already"), "{error}");
    assert!(capability::has_net_raw(), "and nothing was changed");
    thread.thread().unpark();
}
