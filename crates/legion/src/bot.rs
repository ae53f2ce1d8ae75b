//! One bot: its process from start to end, its lines, its records, and what it posts.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use discord::batch::Batch;
use discord::journal::Journal;
use model::{BootId, Instrument, Metric, Record, RecordId};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::catalogue::Kind;
use crate::contract::{self, Hello, LONGEST_LINE, Line, MOST_LINES, Measured, Order, SECOND, printable};
use crate::network::min_rtt;
use crate::status::{BotStatus, State};
use crate::supervise::Shared;

/// A message holds fewer.
const MOST_RECORDS: usize = 40;
/// What became of a message is said within this, or it is handed in again: records are told apart by their numbers.
const POSTING: Duration = Duration::from_secs(60);
const STOPPING: Duration = Duration::from_secs(6);
const LOOK: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Whoever lived so long did not fail at its start.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// A log is begun anew beyond this.
const LONGEST_LOG: u64 = 1 << 20;

pub(crate) struct Bot<'a> {
    pub kind: &'static Kind,
    pub shared: &'a Shared,
    pub index: usize,
    boot: BootId,
    started_us: i64,
    counter: u64,
    journal: Journal,
    log: PathBuf,
    dir: PathBuf,
}

/// How one life of its process ended.
enum Life {
    /// It was told to.
    Stopped,
    /// It said that no waiting repairs it.
    Fatal(String),
    /// It ended by itself, or could not be started.
    Ended(String),
}

/// A message that was handed in.
struct Posting {
    id: String,
    records: HashSet<RecordId>,
    at: Instant,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Bot<'a> {
    /// `data`: where it keeps what was not yet posted, and its log; a directory that is there.
    pub(crate) fn open(kind: &'static Kind, index: usize, shared: &'a Shared, data: &Path) -> io::Result<Bot<'a>> {
        let journal = Journal::open(&data.join(format!("{}.jsonl", kind.directory)))?;
        let bot = Bot {
            kind,
            shared,
            index,
            boot: BootId(fastrand::u64(1..)),
            started_us: model::record::micros(shared.config.clock.now()),
            counter: 0,
            journal,
            log: data.join(format!("{}.log", kind.directory)),
            dir: shared.config.root.join(kind.directory),
        };
        bot.tell(|status| status.waiting_records = bot.journal.len());
        Ok(bot)
    }

    fn tell(&self, change: impl FnOnce(&mut BotStatus)) {
        change(&mut lock(&self.shared.statuses)[self.index]);
    }

    /// Runs it, again and again, until `stop` says so or no waiting repairs it.
    pub(crate) async fn run(&mut self, mut stop: watch::Receiver<bool>) {
        let mut pause = FIRST_PAUSE;
        while !*stop.borrow() {
            let begun = Instant::now();
            match self.live(&mut stop).await {
                Life::Stopped => break,
                Life::Fatal(problem) => {
                    tracing::error!("{}: {problem}", self.kind.library);
                    self.tell(|status| status.state = State::Failed(problem));
                    return;
                }
                Life::Ended(problem) => {
                    if begun.elapsed() >= LONG_LIFE {
                        pause = FIRST_PAUSE;
                    }
                    let wait = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    tracing::warn!("{} {problem}; starting it again in {:.1} s", self.kind.library, wait.as_secs_f64());
                    self.tell(|status| {
                        status.restarts += 1;
                        status.state = State::Restarting(problem);
                    });
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = stop.wait_for(|stop| *stop) => break,
                    }
                }
            }
        }
        self.tell(|status| status.state = State::Stopped);
    }

    fn open_log(&self) -> io::Result<File> {
        let is_long = std::fs::metadata(&self.log).is_ok_and(|log| log.len() > LONGEST_LOG);
        let mut options = OpenOptions::new();
        // Appended to either way, so that a library that floods its log overwrites nothing in its middle.
        options.create(true).append(true).mode(0o600);
        if is_long {
            let _ = std::fs::rename(&self.log, self.log.with_extension("log.old"));
        }
        options.open(&self.log)
    }

    fn spawn(&self) -> io::Result<Child> {
        let config = &self.shared.config;
        let start = self.kind.tools.start(&self.dir);
        let mut command = Command::new(&start.program);
        command.args(&start.arguments).current_dir(&self.dir).kill_on_drop(true);
        // Ctrl-C in a terminal is for this program, which tells its bots.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(self.open_log()?);
        command.env("NETLAT_LEGION_CONTRACT", contract::VERSION.to_string());
        config.token.hand_to(command.as_std_mut(), "NETLAT_DISCORD_TOKEN");
        command.env("NETLAT_GUILD", self.shared.place.guild.to_string());
        command.env("NETLAT_CHANNEL", self.shared.place.channel.to_string());
        command.env("NETLAT_WORKER", config.worker.as_str());
        command.env("NETLAT_INTERVAL_S", config.interval.as_secs_f64().to_string());
        command.env("NETLAT_DISCORD_API", config.api.http());
        command.env("NETLAT_DISCORD_GATEWAY", config.gateway.websocket());
        if let Some(ca) = std::env::var_os("SSL_CERT_FILE") {
            command.env("NODE_EXTRA_CA_CERTS", ca);
        }
        command.spawn()
    }

    /// One life of the process.
    async fn live(&mut self, stop: &mut watch::Receiver<bool>) -> Life {
        self.tell(|status| status.state = State::Starting);
        let begun = Instant::now();
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => return Life::Ended(format!("could not be started: {error}")),
        };
        let (Some(input), Some(output), Some(pid)) = (child.stdin.take(), child.stdout.take(), child.id()) else {
            return Life::Ended("could not be started".to_owned());
        };
        let mut life = Running { input, lines: Lines::new(output), pid, begun, hello: None, posting: None, posted: 0 };
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut posts = tokio::time::interval_at(begun + self.shared.config.post, self.shared.config.post);
        posts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                line = life.lines.next() => match line {
                    Ok(Some(line)) => {
                        if let Some(problem) = self.heard(&mut life, &line) {
                            let _ = timeout(STOPPING, child.wait()).await;
                            return Life::Fatal(problem);
                        }
                    }
                    // Its end of the pipe is closed: it ends.
                    Ok(None) | Err(_) => break,
                },
                _ = looks.tick() => self.look(pid, begun),
                _ = posts.tick() => {
                    if self.post(&mut life).await.is_err() {
                        break;
                    }
                }
                _ = stop.wait_for(|stop| *stop) => {
                    self.last_post(&mut life).await;
                    let _ = life.input.write_all(Order::Stop {}.line().as_bytes()).await;
                    drop(life.input);
                    if timeout(STOPPING, child.wait()).await.is_err() {
                        tracing::warn!("{} did not end when it was told to, and was killed", self.kind.library);
                        let _ = child.kill().await;
                    }
                    return Life::Stopped;
                }
            }
        }
        drop(life.input);
        let ended = timeout(STOPPING, child.wait()).await;
        if ended.is_err() {
            let _ = child.kill().await;
        }
        Life::Ended(format!("{} (its log: {})", said(ended.ok().and_then(Result::ok)), self.log.display()))
    }

    /// A line of the bot; answers with the problem that no waiting repairs.
    fn heard(&mut self, life: &mut Running, line: &[u8]) -> Option<String> {
        let read = std::str::from_utf8(line).ok().map(contract::read);
        match read {
            Some(Ok(Line::Hello(hello))) => {
                if hello.contract != contract::VERSION {
                    return Some(format!(
                        "speaks version {} of the contract, not {}",
                        hello.contract,
                        contract::VERSION
                    ));
                }
                self.tell(|status| {
                    status.version = Some(printable(&hello.version, 20));
                    status.runtime = Some(printable(&hello.runtime, 40));
                });
                life.hello = Some(hello);
            }
            Some(Ok(Line::Ready {})) => {
                tracing::info!("{} is in", self.kind.library);
                self.tell(|status| {
                    status.state = State::Running;
                    status.start_ms.get_or_insert_with(|| (life.begun.elapsed().as_secs_f64() * 1e4).round() / 10.0);
                });
            }
            Some(Ok(Line::Measured(measured))) => self.measured(life, &measured),
            Some(Ok(Line::Posted { id })) => {
                if let Some(posting) = life.posting.take_if(|posting| posting.id == id) {
                    if let Err(error) = self.journal.posted(&posting.records) {
                        tracing::warn!(%error, "cannot write the journal");
                    }
                    self.tell(|status| {
                        status.posted += posting.records.len() as u64;
                        status.waiting_records = self.journal.len();
                    });
                }
            }
            Some(Ok(Line::Failed { id, problem })) => {
                tracing::debug!("{}: a message was not posted: {}", self.kind.library, printable(&problem, 200));
                life.posting.take_if(|posting| posting.id == id);
            }
            Some(Ok(Line::Fatal { why, problem })) => {
                return Some(format!("{} ({})", printable(&problem, 300), printable(&why, 20)));
            }
            Some(Err(error)) => self.refuse(&error.to_string()),
            None => self.refuse("a line that is no UTF-8"),
        }
        None
    }

    fn refuse(&self, problem: &str) {
        tracing::debug!("{}: {problem}", self.kind.library);
        self.tell(|status| status.dropped_lines += 1);
    }

    fn measured(&mut self, life: &Running, measured: &Measured) {
        let Some(hello) = &life.hello else { return self.refuse("a measurement before its hello") };
        let places = lock(&self.shared.places).clone();
        let place = if measured.metric == Metric::GatewayHeartbeat { &places.gateway } else { &places.api };
        let mut record = measured.record();
        record.network_us = min_rtt(life.pid, place).map(|rtt| rtt.as_micros() as u64);
        let record = Record {
            id: RecordId { worker: self.shared.config.worker.clone(), boot: self.boot, counter: self.counter + 1 },
            instrument: instrument(self.kind, hello),
            measured: record,
        };
        if let Err(error) = record.check() {
            return self.refuse(&error.to_string());
        }
        self.counter += 1;
        if let Err(error) = self.journal.push(record.clone()) {
            tracing::warn!(%error, "cannot write the journal; what is not posted before the Legion ends is lost");
        }
        self.tell(|status| {
            status.add(&record.measured);
            status.waiting_records = self.journal.len();
        });
        (self.shared.told)(&record);
    }

    /// Hands one batch of what waits to the bot, unless one is on its way.
    async fn post(&mut self, life: &mut Running) -> io::Result<()> {
        if life.posting.as_ref().is_some_and(|posting| posting.at.elapsed() < POSTING) {
            return Ok(());
        }
        let waiting = self.journal.oldest(MOST_RECORDS);
        let Some(first) = waiting.first() else { return Ok(()) };
        let started_us = if first.id.boot == self.boot { self.started_us } else { 0 };
        let Some((text, included)) = Batch::compose(&waiting, started_us) else { return Ok(()) };
        life.posted += 1;
        let id = life.posted.to_string();
        life.input.write_all(Order::Post { id: &id, content: &text }.line().as_bytes()).await?;
        let records = waiting[..included].iter().map(|record| record.id.clone()).collect();
        life.posting = Some(Posting { id, records, at: Instant::now() });
        Ok(())
    }

    /// What is left at the end, as far as it fits into a moment.
    async fn last_post(&mut self, life: &mut Running) {
        // Each post is an echo, and so a record, of its own: those wait for the next start.
        let (boot, last) = (self.boot, self.counter);
        let is_earlier = move |record: &Record| record.id.boot != boot || record.id.counter <= last;
        let posting = async {
            while self.journal.oldest(1).first().is_some_and(is_earlier) {
                if self.post(life).await.is_err() {
                    return;
                }
                while life.posting.is_some() {
                    match life.lines.next().await {
                        Ok(Some(line)) => {
                            self.heard(life, &line);
                        }
                        _ => return,
                    }
                }
            }
        };
        let _ = timeout(STOPPING / 2, posting).await;
    }

    /// Memory and processor time.
    fn look(&self, pid: u32, begun: Instant) {
        let Ok(vitals) = net::process::vitals(pid) else { return };
        let mib = (vitals.resident_bytes as f64 / (1 << 20) as f64 * 10.0).round() / 10.0;
        let spent = vitals.cpu_ticks as f64 / net::process::ticks_per_second() as f64;
        let percent = spent / begun.elapsed().as_secs_f64().max(0.01) * 100.0;
        self.tell(|status| {
            status.resident_mib = Some(mib);
            status.most_resident_mib = Some(status.most_resident_mib.unwrap_or(0.0).max(mib));
            status.cpu_percent = Some((percent * 10.0).round() / 10.0);
        });
    }
}

fn instrument(kind: &Kind, hello: &Hello) -> Instrument {
    Instrument {
        library: printable(&format!("{} {}", hello.library, hello.version), 40),
        language: kind.language.to_owned(),
        version: printable(&hello.runtime, 20),
    }
}

fn said(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status)) {
        Some((Some(code), _)) => format!("ended with status {code}"),
        Some((None, status)) => format!("was ended: {status}"),
        None => "closed its output and went on, so it was killed".to_owned(),
    }
}

struct Running {
    input: ChildStdin,
    lines: Lines,
    pid: u32,
    begun: Instant,
    hello: Option<Hello>,
    posting: Option<Posting>,
    posted: u64,
}

/// A bot's lines, bounded in length and in number a second.
struct Lines {
    reader: BufReader<ChildStdout>,
    line: Vec<u8>,
    second: Instant,
    count: u32,
}

impl Lines {
    fn new(output: ChildStdout) -> Lines {
        Lines { reader: BufReader::new(output), line: Vec::new(), second: Instant::now(), count: 0 }
    }

    /// `None` at the end. May be dropped and called again: what was read so far is kept. A line that is too long comes in pieces, none of
    /// which is a line of the contract.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.second.elapsed() >= SECOND {
            (self.second, self.count) = (Instant::now(), 0);
        }
        if self.count >= MOST_LINES {
            tokio::time::sleep_until(self.second + SECOND).await;
            (self.second, self.count) = (Instant::now(), 0);
        }
        let room = (LONGEST_LINE + 1).saturating_sub(self.line.len()) as u64;
        let got = (&mut self.reader).take(room).read_until(b'\n', &mut self.line).await?;
        if got == 0 && self.line.is_empty() {
            return Ok(None);
        }
        self.count += 1;
        Ok(Some(std::mem::take(&mut self.line)))
    }
}
