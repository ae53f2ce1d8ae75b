//! A server whose disk is full says so once and goes on; workers keep what they have, and it arrives when there is room.

use std::fs::{self, File};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use crate::serving::{Reach, Server, assert_nothing_lost, streams, worker};
use crate::support::{Scene, eventually, now_ns, tool};

const SECOND: i64 = 1_000_000_000;

#[test]
fn a_full_disk_stops_nothing_and_loses_nothing() {
    let scene = Scene::new();
    let data = scene.path("server");
    fs::create_dir(&data).expect("a directory");
    let (unshare, mount) = (tool("unshare", "util-linux"), tool("mount", "mount"));
    // A file system of its own, small, seen by the server alone.
    let script = format!("{} -t tmpfs -o size=6m,mode=0700 none \"$0\" && exec \"$@\"", mount.display());
    let through = [unshare.to_str().expect("UTF-8"), "-rm", "sh", "-c", &script, data.to_str().expect("UTF-8")];
    let mut server = Server::with(&scene, Reach::V4, &through, &[]);
    server.add_task(&scene, &["--kind", "udp,rtp", "--dscp", "0,46", "--rate", "50"]);
    let join = server.join();
    let late = server.fresh_join(&scene, false);
    let process = worker(&scene, "nyc1", Some(&join));
    server.samples_until(&scene, "samples", |rows| rows.len() > 100);

    let filler = server.seen("filler");
    let mut file = File::create(&filler).expect("a file on the server's file system");
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    eventually("the server notices", || server.process().stderr().contains("cannot store").then_some(()));
    let from = now_ns();
    sleep(Duration::from_secs(4));
    let log = server.process().stderr();
    assert_eq!(log.matches("cannot store").count(), 1, "once: {log}");
    assert!(log.contains("no space left"), "{log}");
    assert!(server.process().is_running());
    server.status(&scene);
    assert!(!server.samples(&scene).is_empty(), "what is there can be read");
    let spooled: u64 = fs::read_dir(scene.path("nyc1/spool"))
        .expect("a spool")
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    assert!(spooled > 1000, "the worker keeps its data: {spooled} bytes");
    let refused = scene.run(["probe", "--join", &late, "--duration", "1"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.lines().last().is_some_and(|line| line.contains("try again later")), "{refused:?}");

    fs::remove_file(&filler).expect("removed");
    let to = now_ns();
    eventually("the server stores again", || server.process().stderr().contains("storing again").then_some(()));
    server.samples_until(&scene, "samples of after", |rows| {
        rows.iter().filter(|row| row.sent_at_ns > to + 3 * SECOND).count() > 100
    });
    process.interrupt();
    assert_eq!(fs::read_dir(scene.path("nyc1/spool")).expect("a spool").count(), 0);
    let rows = server.samples(&scene);
    assert!(rows.iter().filter(|row| row.sent_at_ns > from && row.sent_at_ns < to).count() > 400);
    for (stream, rows) in streams(&rows) {
        for (expected, row) in (0u32..).zip(rows) {
            assert_eq!(row.sequence, expected, "{stream:?} has no gap");
        }
    }
    assert_nothing_lost(&server.report(&scene));
    let measured = scene.run(["probe", "--join", &late, "--kind", "udp", "--duration", "1", "--json"]);
    measured.succeeded();
    server.interrupt();
}
