//! A server that is killed while it commits and seals.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use model::{BootId, UnixNanos};
use store::{Period, Reader, RollupQuery, SampleQuery, Store, StoreOptions};

use crate::generate::{START, commit_of, name, of_commits, plain, read};

const EACH: u32 = 300;
const DIRECTORY: &str = "NETLAT_STORE_TEST_DIRECTORY";

fn commit(number: u64) -> store::Commit {
    let first = number as u32 * EACH;
    let mut commit = commit_of("ams1", (first..first + EACH).map(|i| plain(1, i)));
    commit.batches.push((name("ams1"), BootId(1), number));
    commit
}

/// The process that gets killed: the test below starts it.
#[test]
#[ignore = "a part of the test below"]
fn child() {
    let Ok(dir) = std::env::var(DIRECTORY) else { return };
    let mut store = Store::open(dir.as_ref(), StoreOptions::default()).unwrap();
    let last = store.last_batch(&name("ams1"), BootId(1)).unwrap().unwrap_or(0);
    for number in last + 1.. {
        store.commit(&commit(number)).unwrap();
        println!("committed {number}");
        if number % 3 == 0 {
            store.seal_all(UnixNanos(START)).unwrap();
        }
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0u64;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let stop = acknowledged + 4 + round;
        // The kill falls wherever the child has got to since the line was written.
        while acknowledged < stop {
            let line = output.next().expect("the child ended early").unwrap();
            if let Some((_, number)) = line.split_once("committed ") {
                acknowledged = number.parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in output.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("committed ").and_then(|number| number.parse().ok()) {
                acknowledged = number;
            }
        }

        // Readable as it was left, before any server has put it in order.
        let before = read(dir.path(), &SampleQuery::default()).len();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let last = store.last_batch(&name("ams1"), BootId(1)).unwrap().unwrap();
        assert!(last == acknowledged || last == acknowledged + 1, "{last} of {acknowledged}");
        let commits: Vec<_> = (1..=last).map(commit).collect();
        assert_eq!(read(dir.path(), &SampleQuery::default()), of_commits(&commits));
        assert_eq!(before, commits.len() * EACH as usize);
        let mut sent = 0;
        Reader::open(dir.path())
            .unwrap()
            .rollups(&RollupQuery::all(Period::Minute), &mut |rollup| sent += rollup.tally.sent)
            .unwrap();
        assert_eq!(sent, last * u64::from(EACH));
        acknowledged = last;
    }
}
