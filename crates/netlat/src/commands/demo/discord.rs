//! The demo's Discord: an emulator in the server's namespace, the server bot beside the server, and a main bot beside each
//! worker, all of them the program's own commands.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use anyhow::Context;
use discord_emulator::{Config, Emulator, Handle, Snowflake};
use lab::{Lab, Place};
use model::report::Report;
use model::{Family, Metric};
use serde::Serialize;

use crate::commands::demo::programs::Programs;

const API_PORT: u16 = 8420;
const VOICE_PORT: u16 = 8421;
/// What this Discord takes for an answer to a REST call, and to a heartbeat, besides the network.
pub(super) const REST_MS: f64 = 15.0;
pub(super) const HEARTBEAT_MS: f64 = 20.0;
/// Latencies without which a city's bot has not shown what it is for. Voice comes when it comes.
pub(super) const METRICS: [Metric; 3] = [Metric::Rest, Metric::GatewayHeartbeat, Metric::MessageEcho];
const GUILD: &str = "demo";
const STATUS: &str = "**NetLat status**";

pub(super) struct Discord {
    handle: Handle,
    guild: Snowflake,
    cities: Vec<String>,
}

/// What stands in the channels at the end.
#[derive(Clone, Debug, Serialize)]
pub struct Board {
    /// In `netlat-control`; there is to be one, edited in place.
    pub status_messages: usize,
    /// Its first line.
    pub status: Option<String>,
    /// Messages in the workers' channels.
    pub messages: usize,
}

impl Discord {
    pub(super) fn start(lab: &Lab, program: &Path, dir: &Path, programs: &mut Programs) -> anyhow::Result<Discord> {
        let cities: Vec<String> = lab.scenario().cities.iter().map(|city| city.name.clone()).collect();
        let ca = dir.join("discord-ca.pem");
        let accounts = accounts(&cities)?;
        let (handle, address) = emulate(lab.namespace_file(Place::Server)?, config(&accounts, &ca)?)?;
        let guild = handle.guild(GUILD).context("the emulated Discord has no guild")?;
        let tokens = dir.join("discord-tokens.toml");
        write_tokens(&tokens, &accounts, &handle)?;
        for account in &accounts {
            let name = format!("bot-{}", account.name);
            let settings = dir.join(format!("{name}.toml"));
            // The worker of this city alone; not one that this host may really have.
            let text = format!(
                "[bot]\nrest_s = 1\npost_s = 2\nrefresh_s = 2\n[worker]\ndata_dir = {:?}\n",
                dir.join(&account.name)
            );
            fs::write(&settings, text).with_context(|| format!("cannot write {}", settings.display()))?;
            let place = if account.is_server { Place::Server } else { Place::City(&account.name) };
            let mut bot = lab.command(place, program)?;
            // What is shown is this program's own; the Legion would install from a registry first.
            bot.env("NETLAT_NO_PYTHON", "1");
            bot.args(["bot", "-b", "-r", if account.is_server { "server" } else { "main" }, "--name", &account.name]);
            bot.arg("--api").arg(format!("https://{address}/api/v10")).arg("--gateway").arg(format!("wss://{address}"));
            bot.arg("--ca").arg(&ca).arg("--tokens").arg(&tokens).arg("--config").arg(&settings);
            bot.arg("--data-dir").arg(dir.join(&name));
            if account.is_server {
                bot.arg("--server-data-dir").arg(dir.join("server")).env_remove(net::Clock::VARIABLE);
            }
            without_environment(&mut bot);
            programs.start(&name, &mut bot, &dir.join(format!("{name}.log")))?;
        }
        Ok(Discord { handle, guild, cities })
    }

    /// Whether every city's bot was heard of, and the status message stands.
    pub(super) fn has_all(&self, report: &Report) -> bool {
        let has = |city: &String, metric| {
            let of = |one: &&model::report::Application| one.worker.as_str() == city && one.metric == metric;
            report.applications.iter().find(of).is_some_and(|one| one.app_ms.is_some() && one.network_ms.is_some())
        };
        let measured = self.cities.iter().all(|city| METRICS.iter().all(|metric| has(city, *metric)));
        measured && self.board().status_messages > 0
    }

    pub(super) fn board(&self) -> Board {
        let contents = |channel: &str| {
            let channel = self.handle.channel(self.guild, channel);
            channel.map(|channel| self.handle.contents(channel)).unwrap_or_default()
        };
        let control = contents("netlat-control");
        let mut status = control.iter().filter(|text| text.starts_with(STATUS));
        let first = status.next().and_then(|text| text.lines().next()).map(str::to_owned);
        Board {
            status_messages: usize::from(first.is_some()) + status.count(),
            status: first,
            messages: self.cities.iter().map(|city| contents(city).len()).sum(),
        }
    }
}

/// One bot of the demo.
struct Account {
    name: String,
    token: String,
    is_server: bool,
}

fn accounts(cities: &[String]) -> anyhow::Result<Vec<Account>> {
    let account = |name: &str, is_server| -> anyhow::Result<Account> {
        let token = server::secrets::hex(&server::secrets::random::<16>()?);
        Ok(Account { name: name.to_owned(), token, is_server })
    };
    std::iter::once(account("server", true)).chain(cities.iter().map(|city| account(city, false))).collect()
}

fn config(accounts: &[Account], ca: &Path) -> anyhow::Result<Config> {
    let server = lab::addresses::server(Family::Ipv4);
    let mut text = format!(
        "[listen]\napi = [\"{server}:{API_PORT}\"]\nvoice = [\"{server}:{VOICE_PORT}\"]\n[tls]\nca_file = {ca:?}\n\
         [gateway]\nheartbeat_interval_ms = 1000\nack_delay_ms = {HEARTBEAT_MS:.1}\n\
         [voice]\nheartbeat_interval_ms = 1000\n\
         [[fault]]\non = \"rest\"\nanswer_delay_ms = {REST_MS:.1}\n\
         [[user]]\nname = \"you\"\n"
    );
    for account in accounts {
        let intents = if account.is_server { "\"MESSAGE_CONTENT\"" } else { "" };
        text.push_str(&format!(
            "[[application]]\nname = \"netlat-{}\"\ntoken = \"{}\"\nintents = [{intents}]\n",
            account.name, account.token
        ));
    }
    text.push_str(&format!("[[guild]]\nname = \"{GUILD}\"\nowner = \"you\"\n"));
    for account in accounts {
        text.push_str(&format!(
            "[[guild.member]]\nname = \"netlat-{}\"\npermissions = [\"MANAGE_CHANNELS\", \"VIEW_CHANNEL\", \
             \"SEND_MESSAGES\", \"READ_MESSAGE_HISTORY\", \"ATTACH_FILES\", \"ADD_REACTIONS\", \"CONNECT\"]\n",
            account.name
        ));
    }
    Ok(Config::parse(&text, "the demo's Discord")?)
}

/// On a thread of its own, which is in the namespace whose addresses it listens on.
fn emulate(namespace: PathBuf, config: Config) -> anyhow::Result<(Handle, SocketAddr)> {
    let (started, starting) = mpsc::channel();
    let begin = move || -> anyhow::Result<(tokio::runtime::Runtime, Emulator)> {
        net::namespace::enter(&namespace)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let emulator = runtime.block_on(Emulator::start(config))?;
        Ok((runtime, emulator))
    };
    let serve = move || match begin() {
        Ok((runtime, mut emulator)) => {
            let address = emulator.addresses().api.first().copied();
            let _ = started.send(address.map(|address| (emulator.handle(), address)).context("it listens nowhere"));
            runtime.block_on(emulator.run());
        }
        Err(error) => drop(started.send(Err(error))),
    };
    std::thread::Builder::new().name("discord".to_owned()).spawn(serve).context("cannot start a thread")?;
    starting.recv().context("its thread ended").and_then(|started| started).context("cannot start the emulated Discord")
}

fn write_tokens(path: &Path, accounts: &[Account], handle: &Handle) -> anyhow::Result<()> {
    let mut text = String::new();
    for account in accounts {
        let workers = if account.is_server { String::new() } else { format!("\"{}\"", account.name) };
        text.push_str(&format!(
            "[[token]]\ntoken = \"{}\"\nserver = {}\nworkers = [{workers}]\n",
            account.token, account.is_server
        ));
    }
    for account in accounts.iter().filter(|account| !account.is_server) {
        let id = handle.user(&format!("netlat-{}", account.name)).context("an account is missing")?;
        text.push_str(&format!("[[author]]\nid = \"{id}\"\nworkers = [\"{}\"]\n", account.name));
    }
    let write = || {
        let _ = fs::remove_file(path);
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What the user's environment says of the user's own bots is not for these.
fn without_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NETLAT_DISCORD") || text.starts_with("NETLAT_BOT") || text == "NETLAT_NAME" {
            command.env_remove(name);
        }
    }
}
