//! Bots at scale, as programs against an emulated Discord with all of its limits on: two guilds, a history of 10,000 messages
//! with 100,000 records that is scraped twice, and fifty main bots that start at once. Prints what it took, and fails where
//! the data sets differ, a record is missing, a bot identifies twice, a rate limit is hit, or a bot grows beyond 30 MiB.
//!
//! `cargo bench -p netlat --bench bots [-- --bots 50 --shared 10]`; `--shared`: how many of them share two tokens, one a guild.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use discord::batch::Batch;
use discord_emulator::stamps::{Exchange, ExchangeKind};
use discord_emulator::{Config, Emulator, Handle, Snowflake};
use model::{BootId, Instrument, Measurement, Metric, Record, RecordId, WorkerName};

const GUILDS: [&str; 2] = ["east", "west"];
const MESSAGES: u64 = 10_000;
const PER_MESSAGE: u64 = 10;
/// The emulator's limits, as Discord's, are of five seconds: one identify, five reads of a channel. A process that follows another of the
/// same token knows nothing of what that one used.
const WINDOWS: Duration = Duration::from_secs(6);
/// Unoptimised code (`--profile dev`) is larger.
const RESIDENT_KIB: u64 = if cfg!(debug_assertions) { 45 } else { 30 } * 1024;
/// A machine on which a step takes so long is not measured but stuck.
const HUNG: Duration = Duration::from_secs(1200);

struct Bot {
    worker: String,
    guild: usize,
    /// Name of its account, which others may share.
    account: String,
}

fn main() {
    let number = |name: &str, otherwise: usize| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
        arguments.next().map_or(otherwise, |value| value.parse().expect("a number"))
    };
    let (count, shared) = (number("--bots", 50), number("--shared", 10));
    assert!(count >= GUILDS.len() && shared <= count, "at least a bot a guild, and not more shared than there are");
    let bots: Vec<Bot> = (0..count)
        .map(|n| {
            let guild = n % GUILDS.len();
            let worker = format!("w{n:02}");
            let account =
                if n < shared { format!("{}-shared", GUILDS[guild]) } else { format!("{}-{worker}", GUILDS[guild]) };
            Bot { worker, guild, account }
        })
        .collect();
    let place = tempfile::Builder::new().prefix("netlat-bots-").tempdir().expect("a directory");
    let scene = Scene::start(place.path(), bots);
    let records = scene.write_history();
    println!("history: {MESSAGES} messages, {records} records, {count} channels, {} guilds", GUILDS.len());

    let first = scene.scrape("first");
    let second = scene.scrape("second");
    assert!(first == second, "two scrapes of the same history differ");
    // On the same directory again: nothing is added, nothing changes.
    let again = scene.scrape("first");
    assert!(first == again, "scraping on changed what was there");
    let rows: usize = first.iter().map(|data| data.lines().count() - 1).sum();
    assert_eq!(rows as u64, records, "records in the data sets");
    println!("data sets: {rows} records, byte-identical three times");

    scene.live(shared);
}

struct Scene {
    dir: PathBuf,
    bots: Vec<Bot>,
    handle: Handle,
    emulator: Emulator,
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn start(dir: &Path, bots: Vec<Bot>) -> Scene {
        let mut accounts: Vec<String> = bots.iter().map(|bot| bot.account.clone()).collect();
        accounts.extend(GUILDS.iter().map(|guild| format!("{guild}-server")));
        accounts.sort();
        accounts.dedup();
        let mut text = format!(
            "[tls]\nca_file = {:?}\n[limits]\nexchanges = 5000000\n[gateway]\nheartbeat_interval_ms = 5000\n\
             [[user]]\nname = \"owner\"\n",
            dir.join("ca.pem")
        );
        for account in &accounts {
            let intents = if account.ends_with("-server") { "\"MESSAGE_CONTENT\"" } else { "" };
            text +=
                &format!("[[application]]\nname = \"{account}\"\ntoken = \"token-{account}\"\nintents = [{intents}]\n");
        }
        for (index, guild) in GUILDS.iter().enumerate() {
            text += &format!("[[guild]]\nname = \"{guild}\"\nowner = \"owner\"\n");
            // Everybody is in both guilds, so that each has to know its own.
            for account in &accounts {
                text += &format!(
                    "[[guild.member]]\nname = \"{account}\"\npermissions = [\"MANAGE_CHANNELS\", \"VIEW_CHANNEL\", \"SEND_MESSAGES\", \"READ_MESSAGE_HISTORY\", \"ADD_REACTIONS\"]\n"
                );
            }
            text += "[[guild.channel]]\nname = \"netlat\"\nkind = \"category\"\n";
            for bot in bots.iter().filter(|bot| bot.guild == index) {
                text += &format!("[[guild.channel]]\nname = \"{}\"\nparent = \"netlat\"\n", bot.worker);
            }
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let config = Config::parse(&text, "bench").expect("right");
        let emulator = runtime.block_on(Emulator::start(config)).expect("it starts");
        let scene = Scene { dir: dir.to_owned(), bots, handle: emulator.handle(), emulator, _runtime: runtime };
        for (index, guild) in GUILDS.iter().enumerate() {
            scene.write_tokens(index, guild);
        }
        fs::write(dir.join("netlat.toml"), "[bot]\nrest_s = 5\npost_s = 5\nvoice = false\n").expect("written");
        scene
    }

    fn user(&self, account: &str) -> Snowflake {
        self.handle.user(account).expect("configured")
    }

    fn guild(&self, index: usize) -> Snowflake {
        self.handle.guild(GUILDS[index]).expect("configured")
    }

    fn write_tokens(&self, index: usize, guild: &str) {
        let mut workers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for bot in self.bots.iter().filter(|bot| bot.guild == index) {
            workers.entry(&bot.account).or_default().push(format!("\"{}\"", bot.worker));
        }
        let mut text =
            format!("guild = \"{}\"\n[[token]]\ntoken = \"token-{guild}-server\"\nserver = true\n", self.guild(index));
        for (account, named) in &workers {
            text += &format!("[[token]]\ntoken = \"token-{account}\"\nworkers = [{}]\n", named.join(", "));
        }
        for (account, named) in &workers {
            text += &format!("[[author]]\nid = \"{}\"\nworkers = [{}]\n", self.user(account), named.join(", "));
        }
        let path = self.dir.join(format!("{guild}.tokens"));
        fs::write(&path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
    }

    /// As many records as asked for, evenly over all channels; by the accounts that the bots have.
    fn write_history(&self) -> u64 {
        let mut written = 0;
        for message in 0..MESSAGES {
            let bot = &self.bots[message as usize % self.bots.len()];
            let now = net::Clock::identity().now();
            let record = |nth: u64| {
                let mut measured = Measurement::new(Metric::Rest, now.plus(nth as i64 * 1_000_000));
                measured.app_us = Some(20_000 + message + nth);
                measured.network_us = Some(1_000 + nth);
                Record {
                    id: RecordId {
                        worker: WorkerName::new(&bot.worker).expect("a name"),
                        boot: BootId(7),
                        counter: message * PER_MESSAGE + nth + 1,
                    },
                    instrument: Instrument { library: "bench".into(), language: "rust".into(), version: "1".into() },
                    measured,
                }
            };
            let records: Vec<Record> = (0..PER_MESSAGE).map(record).collect();
            let (content, included) = Batch::compose(&records, 0).expect("records");
            assert_eq!(included, records.len(), "they fit into a message");
            let channel = self.handle.channel(self.guild(bot.guild), &bot.worker).expect("configured");
            self.handle.post(self.user(&bot.account), channel, &content).expect("allowed");
            written += included as u64;
        }
        written
    }

    fn command(&self, home: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netlat"));
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if ["NETLAT_", "XDG_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .env("NETLAT_NO_PYTHON", "1")
            .env("HOME", self.dir.join(home))
            .env("SSL_CERT_FILE", self.dir.join("ca.pem"));
        command
    }

    fn bot(&self, home: &str, name: &str, guild: usize, words: &[&str]) -> Process {
        let host = self.emulator.addresses().api[0];
        let mut command = self.command(home, &["bot", "-b", "-r"]);
        command.args(words).arg("--tokens").arg(self.dir.join(format!("{}.tokens", GUILDS[guild])));
        command.arg("--api").arg(format!("https://{host}/api/v10")).arg("--gateway").arg(format!("wss://{host}"));
        let log = self.dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("it starts");
        Process { child, log }
    }

    fn server_bot(&self, home: &str, guild: usize) -> Process {
        let home = format!("{home}-{}", GUILDS[guild]);
        self.bot(&home, &home, guild, &["server", "--standalone"])
    }

    /// The data set without the server bot's own latencies, which differ every time.
    fn data(&self, home: &str, guild: usize) -> String {
        let home = format!("{home}-{}", GUILDS[guild]);
        let output = self
            .command(&home, &["export", "--dataset", "discord", "--format", "csv", "--out", "-"])
            .output()
            .expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().filter(|line| !line.starts_with("server,")).map(|line| format!("{line}\n")).collect()
    }

    /// Server bots of both guilds read until all is there, and end. Their data sets.
    fn scrape(&self, home: &str) -> Vec<String> {
        sleep(WINDOWS);
        let (began, from) = (Instant::now(), self.handle.next_exchange());
        let mut processes: Vec<Process> = (0..GUILDS.len()).map(|guild| self.server_bot(home, guild)).collect();
        let wanted: Vec<u64> = (0..GUILDS.len())
            .map(|guild| {
                let mine = |message: &u64| self.bots[*message as usize % self.bots.len()].guild == guild;
                (0..MESSAGES).filter(mine).count() as u64 * PER_MESSAGE
            })
            .collect();
        for (guild, wanted) in wanted.iter().enumerate() {
            eventually("the whole history", &mut processes, || self.data(home, guild).lines().count() as u64 > *wanted);
        }
        // Each has looked at every channel, also where there was nothing new.
        eventually("a look at every channel", &mut processes, || {
            let read = |exchange: &Exchange| exchange.name == "GET /channels/{channel_id}/messages";
            self.handle.exchanges(from, read).len() >= self.bots.len()
        });
        let took = began.elapsed();
        processes.iter_mut().for_each(Process::interrupt);
        let requests = self.handle.exchanges(from, |exchange| exchange.kind == ExchangeKind::Rest).len();
        self.refusals(from, 0);
        println!("scrape into '{home}': {:.1} s, {requests} requests", took.as_secs_f64());
        (0..GUILDS.len()).map(|guild| self.data(home, guild)).collect()
    }

    /// 429s since then, of which there may be so many.
    fn refusals(&self, from: u64, allowed: usize) -> usize {
        let refused = self.handle.exchanges(from, |exchange| exchange.status == Some(429));
        assert!(refused.len() <= allowed, "rate limits were hit {} times: {:?}", refused.len(), refused.first());
        refused.len()
    }

    fn live(&self, shared: usize) {
        sleep(WINDOWS);
        let (began, from) = (Instant::now(), self.handle.next_exchange());
        let mut processes: Vec<Process> = (0..GUILDS.len()).map(|guild| self.server_bot("first", guild)).collect();
        for bot in &self.bots {
            processes.push(self.bot(&bot.worker, &bot.worker, bot.guild, &["main", "--name", &bot.worker]));
        }
        let sessions = || -> usize {
            let mut accounts: Vec<&str> = self.bots.iter().map(|bot| bot.account.as_str()).collect();
            accounts.sort_unstable();
            accounts.dedup();
            accounts.into_iter().map(|account| self.handle.connected_sessions(self.user(account))).sum()
        };
        eventually("every bot's session", &mut processes, || sessions() == self.bots.len());
        println!(
            "{} main bots, {shared} of them on {} tokens, are all logged in after {:.1} s",
            self.bots.len(),
            GUILDS.len(),
            began.elapsed().as_secs_f64()
        );
        let metrics = ["rest", "gateway_heartbeat", "message_echo"];
        eventually("records of every bot and metric", &mut processes, || {
            let data: Vec<String> = (0..GUILDS.len()).map(|guild| self.data("first", guild)).collect();
            self.bots.iter().all(|bot| {
                // The history's are of a program that is called otherwise.
                let ours = |line: &&str| line.starts_with(&format!("{},", bot.worker)) && line.contains("twilight");
                let lines: Vec<&str> = data[bot.guild].lines().filter(ours).collect();
                metrics.iter().all(|metric| lines.iter().any(|line| line.contains(&format!(",{metric},"))))
            })
        });
        let took = began.elapsed();
        let mut resident: Vec<u64> = processes.iter().map(Process::peak_kib).collect();
        let mains = resident.split_off(GUILDS.len());
        let (server, main) = (resident.iter().max().expect("two"), mains.iter().max().expect("some"));
        println!("peak resident: main bots up to {main} KiB, server bots up to {server} KiB");
        let identifies = self.handle.exchanges(from, |exchange| exchange.kind == ExchangeKind::Identify).len();
        let requests = self.handle.exchanges(from, |exchange| exchange.kind == ExchangeKind::Rest).len();
        // Processes that share a token cannot know of each other's requests before the first refusal.
        let refused = self.refusals(from, requests / if shared > 20 { 20 } else { 200 });
        println!(
            "{:.1} s live: {requests} requests ({:.1}/s), {refused} refused by a rate limit, {identifies} identifies",
            took.as_secs_f64(),
            requests as f64 / took.as_secs_f64()
        );
        // A process that waits long for a processor may lose a connection: that is no storm.
        let once = self.bots.len() + GUILDS.len();
        assert!((once..=once + once / 10).contains(&identifies), "{identifies} identifies of {once} bots");
        assert!(*main < RESIDENT_KIB, "a main bot is beyond {RESIDENT_KIB} KiB");
        processes.iter_mut().for_each(Process::interrupt);
    }
}

fn eventually(what: &str, processes: &mut [Process], mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        for process in processes.iter_mut() {
            process.check();
        }
        assert!(began.elapsed() < HUNG, "waited {} s for {what}", HUNG.as_secs());
        sleep(Duration::from_millis(500));
    }
}

/// A bot, killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn check(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("a bot ended ({status}): {}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }

    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    }

    fn interrupt(&mut self) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", self.child.id())).status();
        assert!(sent.expect("sh runs").success());
        let began = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(began.elapsed() < HUNG, "a bot does not end");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
