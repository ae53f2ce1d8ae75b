//! irtt (https://github.com/heistp/irtt), the field's yardstick: its client and server run beside a bench, and what they say of
//! each packet. Its stamps are user-space readings, taken just before the send call and after the read.
#![allow(dead_code, unreachable_pub)]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One packet and its answer.
pub struct Trip {
    pub number: u32,
    /// On the client's monotonic clock, from an arbitrary start.
    pub sent_ns: i64,
    /// `None`: lost.
    pub delay_there_ns: Option<i64>,
    pub delay_back_ns: Option<i64>,
}

pub struct Run {
    pub trips: Vec<Trip>,
    /// Packets that fitted into the time at this interval: more than were sent if some were skipped.
    pub planned: usize,
}

/// A child that does not outlive the bench.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `enter`: words before the server's command, such as `nsenter ...`. Prints a line and answers `None` where irtt is missing.
pub fn run(enter: &str, server: &str, count: usize, interval: Duration) -> Option<Run> {
    if !Command::new("irtt").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("irtt: not installed (Debian package irtt): no yardstick beside this bench");
        return None;
    }
    let mut words = enter.split_whitespace().chain(["irtt", "server", "-b", server, "-i", "0"]);
    let mut command = Command::new(words.next()?);
    let _server = Running(command.args(words).stdout(Stdio::null()).spawn().ok()?);
    std::thread::sleep(Duration::from_millis(500));
    let file = std::env::temp_dir().join(format!("netlat-irtt-{}.json", std::process::id()));
    let output = Command::new("irtt")
        .args(["client", "-Q", "-l", "160", "--dscp=0xb8"])
        .args([
            "-i",
            &format!("{}us", interval.as_micros()),
            "-d",
            &format!("{}us", interval.as_micros() * count as u128),
        ])
        .arg("-o")
        .arg(&file)
        .arg(server)
        .output()
        .ok()?;
    let text = std::fs::read(&file);
    let _ = std::fs::remove_file(&file);
    let Some(json) = text.ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok()) else {
        println!("irtt: its client failed:");
        let _ = std::io::stdout().write_all(&output.stderr);
        return None;
    };
    let trips = json["round_trips"].as_array()?.iter().map(|trip| Trip {
        number: trip["seqno"].as_u64().unwrap_or_default() as u32,
        sent_ns: trip["timestamps"]["client"]["send"]["monotonic"].as_i64().unwrap_or_default(),
        delay_there_ns: trip["delay"]["send"].as_i64(),
        delay_back_ns: trip["delay"]["receive"].as_i64(),
    });
    Some(Run { trips: trips.collect(), planned: count })
}
