//! The bots as programs against an emulated Discord over TLS: first start, records from a channel into the running server,
//! report and export, bad input, and no token anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use discord_emulator::faults::{Effect, Rule, Surface};
use discord_emulator::{Config, Emulator, Handle};

use crate::serving::{Reach, Server, worker};
use crate::support::{Ended, NETLAT, Process, Scene, ended, eventually};

const TOKEN: &str = "s3cret-main-token";
/// What a bot may keep resident. Unoptimised code is larger.
const RESIDENT_KIB: u64 = if cfg!(debug_assertions) { 45 } else { 30 } * 1024;

struct Discord {
    emulator: Emulator,
    handle: Handle,
    _runtime: tokio::runtime::Runtime,
}

impl Discord {
    fn start(scene: &Scene) -> Discord {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("starts");
        let text = format!(
            "[tls]\nca_file = \"{}\"\n[limits]\nidentify_window_ms = 0\n[gateway]\nheartbeat_interval_ms = 500\n\
             [[application]]\nname = \"main\"\ntoken = \"{TOKEN}\"\n[[user]]\nname = \"alice\"\n\
             [[guild]]\nname = \"home\"\nowner = \"alice\"\n[[guild.member]]\nname = \"main\"\n\
             permissions = [\"MANAGE_CHANNELS\", \"ADD_REACTIONS\", \"VIEW_CHANNEL\", \"SEND_MESSAGES\", \"ATTACH_FILES\", \"READ_MESSAGE_HISTORY\", \"CONNECT\"]\n",
            scene.path("ca.pem").display()
        );
        let config = Config::parse(&text, "test").expect("right");
        let emulator = runtime.block_on(Emulator::start(config)).expect("starts");
        Discord { handle: emulator.handle(), emulator, _runtime: runtime }
    }

    /// `netlat bot ...` that finds this Discord.
    fn arguments(&self, scene: &Scene, words: &[&str]) -> Vec<String> {
        let host = self.emulator.addresses().api[0];
        let place = [
            "--ca".to_owned(),
            scene.path("ca.pem").display().to_string(),
            "--api".to_owned(),
            format!("https://{host}/api/v10"),
            "--gateway".to_owned(),
            format!("wss://{host}"),
        ];
        ["bot"].iter().chain(words).map(ToString::to_string).chain(place).collect()
    }
}

fn resident_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("running");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn from_first_start_to_report_and_export() {
    let scene = Scene::new();
    let discord = Discord::start(&scene);
    fs::write(scene.path("token"), format!("{TOKEN}\n")).expect("written");
    let setup = scene.run(discord.arguments(&scene, &["setup", "--token", "@token"])).succeeded();
    for part in
        ["invite link: https://discord.com/oauth2/authorize?client_id=", "guild: ok", "channels: ok", "gateway: ok"]
    {
        assert!(setup.stdout.contains(part), "{setup:?}");
    }
    let tokens = scene.path(".config/netlat/tokens.toml");
    assert_eq!(fs::metadata(&tokens).expect("written").permissions().mode() & 0o777, 0o600);

    fs::write(scene.path("netlat.toml"), "[bot]\nrest_s = 1\npost_s = 2\nvoice = false\n").expect("written");
    let mut server = Server::start(&scene, Reach::V4);
    let data = server.data.display().to_string();
    let reader = scene.start("reader", discord.arguments(&scene, &["-b", "-r", "server", "--server-data-dir", &data]));
    let main = scene.start("main", discord.arguments(&scene, &["-b", "-r", "main", "--name", "nyc1"]));
    let report = eventually("records in the report", || {
        let report = server.ask(&scene, &["report", "--json"]).succeeded().stdout;
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let of = |metric: &str| {
            let applications = report["applications"].as_array().expect("a list").clone();
            applications.into_iter().find(|one| one["worker"] == "nyc1" && one["metric"] == metric)
        };
        (of("rest").is_some() && of("gateway_heartbeat").is_some() && of("message_echo").is_some())
            .then(|| report.clone())
    });
    for application in report["applications"].as_array().expect("a list") {
        assert!(application["network_ms"]["min"].is_f64() && application["app_ms"]["p50"].is_f64(), "{application}");
    }
    let table = server.ask(&scene, &["report"]).succeeded().stdout;
    assert!(table.contains("gateway_heartbeat") && table.contains("overhead"), "{table}");
    for (name, process) in [("main", &main), ("server", &reader)] {
        let kib = resident_kib(process);
        println!("{name} bot: {kib} KiB resident");
        assert!(kib < RESIDENT_KIB, "{name} bot: {kib} KiB resident");
    }
    main.interrupt();
    reader.interrupt();
    server.interrupt();
    let export = |format: &str, out: &str| {
        let words = ["export", "--dataset", "discord", "--format", format, "--out", out];
        server.ask(&scene, &words).succeeded();
        fs::read(scene.path(out)).expect("written")
    };
    let csv = String::from_utf8(export("csv", "a.csv")).expect("text");
    assert!(csv.starts_with("worker,boot,counter,") && csv.contains("nyc1,"), "{csv}");
    assert_eq!(export("parquet", "a.parquet"), export("parquet", "b.parquet"));
    for log in ["main.err", "reader.err", "server.err"] {
        assert!(!fs::read_to_string(scene.path(log)).expect("a log").contains("s3cret"), "{log}");
    }
    let grep = Command::new("grep").arg("-rl").arg("s3cret").arg(&server.data).output().expect("grep runs");
    assert!(grep.stdout.is_empty(), "{grep:?}");
}

#[test]
fn alone_the_server_bot_keeps_a_directory_of_its_own() {
    let scene = Scene::new();
    let discord = Discord::start(&scene);
    fs::write(scene.path("netlat.toml"), "[bot]\nrest_s = 1\npost_s = 2\nvoice = false\n").expect("written");
    let with_token = |words: &[&str]| {
        let mut command = scene.netlat(discord.arguments(&scene, words));
        command.env("NETLAT_DISCORD_TOKEN", TOKEN);
        command
    };
    let reader = Process::spawn(with_token(&["-b", "-r", "server"]), &scene.path("reader"));
    let main = Process::spawn(with_token(&["-b", "-r", "main", "--name", "nyc1"]), &scene.path("main"));
    let rows = || {
        let ended = scene.run(["export", "--dataset", "discord", "--format", "jsonl", "--out", "-"]);
        ended.stdout.lines().filter(|line| line.contains("\"worker\":\"nyc1\"")).count()
    };
    eventually("records in its own directory", || (rows() > 3).then_some(()));
    main.interrupt();
    reader.interrupt();
    let guild = discord.handle.guild("home").expect("configured");
    let control = discord.handle.channel(guild, "netlat-control").expect("made");
    let status = discord.handle.contents(control);
    assert_eq!(status.iter().filter(|text| text.starts_with("**NetLat status**")).count(), 1, "{status:?}");
}

/// Steered by Discord alone: the worker's server is gone, the server bot keeps a directory of its own.
#[test]
fn a_worker_without_its_server_says_in_the_channel_what_it_cannot_begin() {
    let scene = Scene::new();
    let discord = Discord::start(&scene);
    let mut server = Server::start(&scene, Reach::V4);
    server.add_task(&scene, &["--id", "kept", "--kind", "udp", "--rate", "5"]);
    let join = server.join();
    let worker = worker(&scene, "nyc1", Some(&join));
    eventually("a session of the task", || (server.status(&scene).sessions > 1).then_some(()));
    server.kill();
    let alice = discord.handle.user("alice").expect("configured");
    let settings = format!(
        "[bot]\nrest_s = 1\npost_s = 2\nvoice = false\nallowed_users = [\"{alice}\"]\n[worker]\ndata_dir = \"nyc1\"\n"
    );
    fs::write(scene.path("netlat.toml"), settings).expect("written");
    let start = |name: &str, words: &[&str]| {
        let mut command = scene.netlat(discord.arguments(&scene, words));
        command.env("NETLAT_DISCORD_TOKEN", TOKEN);
        Process::spawn(command, &scene.path(name))
    };
    let reader = start("reader", &["-b", "-r", "server", "--standalone"]);
    let main = start("main", &["-b", "-r", "main", "--name", "nyc1"]);
    let guild = discord.handle.guild("home").expect("configured");
    let contents = |name: &str| {
        let channel = discord.handle.channel(guild, name);
        channel.map(|channel| discord.handle.contents(channel)).unwrap_or_default()
    };
    eventually("records, and the status of them", || {
        let is_read = contents("netlat-control").iter().any(|text| text.contains("nyc1"));
        (is_read && contents("nyc1").iter().any(|text| text.contains("record/1"))).then_some(())
    });
    let control = discord.handle.channel(guild, "netlat-control").expect("made");
    let me = discord.handle.user("main").expect("configured");
    for id in ["kept", "later"] {
        let command = format!("<@{me}> start id={id} worker=nyc1 kinds=udp rate=5");
        discord.handle.post(alice, control, &command).expect("allowed");
        eventually("that it is started", || {
            contents("netlat-control").iter().any(|text| text.contains(&format!("Started task `{id}`"))).then_some(())
        });
    }
    let refusal = eventually("the worker's answer", || {
        contents("nyc1").into_iter().find(|text| text.contains("Not begun: ") && text.contains("`later`"))
    });
    assert!(refusal.starts_with("`nyc1`: ") && refusal.contains("cannot reach the server"), "{refusal}");
    assert_eq!(refusal.lines().count(), 1);
    worker.kill();
    main.interrupt();
    reader.interrupt();
}

#[test]
fn a_wrong_clock_is_told_and_flagged() {
    let scene = Scene::new();
    let discord = Discord::start(&scene);
    fs::write(scene.path("netlat.toml"), "[bot]\nrest_s = 1\npost_s = 2\nvoice = false\n").expect("written");
    fs::write(scene.path("tokens.toml"), format!("[[token]]\ntoken = \"{TOKEN}\"\nworkers = [\"nyc1\"]\n"))
        .expect("written");
    fs::set_permissions(scene.path("tokens.toml"), fs::Permissions::from_mode(0o600)).expect("set");
    let words = ["-b", "-r", "main", "--name", "nyc1", "--tokens", "tokens.toml"];
    let mut command = scene.netlat(discord.arguments(&scene, &words));
    command.env("NETLAT_TEST_CLOCK", "step=-90s@0s");
    let bot = Process::spawn(command, &scene.path("bot"));
    let guild = discord.handle.guild("home").expect("configured");
    let posted = || discord.handle.channel(guild, "nyc1").map(|channel| discord.handle.contents(channel).join("\n"));
    eventually("flagged records", || posted().filter(|text| text.contains("\"clock-off\"")));
    let told = bot.stderr();
    let line = told.lines().find(|line| line.contains("this host's clock is about"));
    assert!(line.is_some_and(|line| line.contains(" s behind Discord's: set it")), "{told}");
    bot.interrupt();
}

/// What is wrong is said in the last line; what was done before it may be logged above.
fn last(ended: &Ended) -> &str {
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("netlat: ") && !ended.stderr.contains("panicked"), "{ended:?}");
    assert!(!ended.stderr.contains("s3cret") && !ended.stdout.contains("s3cret"), "{ended:?}");
    last
}

#[test]
fn bad_input_is_one_line() {
    let scene = Scene::new();
    let discord = Discord::start(&scene);
    let with = |token: &str, words: &[&str]| {
        let mut command = scene.netlat(discord.arguments(&scene, words));
        command.env("NETLAT_DISCORD_TOKEN", token);
        ended(command)
    };
    let main = ["-b", "-r", "main", "--name", "nyc1"];
    for (case, ended, status, about) in [
        ("no role", with(TOKEN, &["-b"]), 2, "-r server"),
        ("wrong token", with("s3cret-wrong", &main), 1, "401"),
        ("no token's shape", with("s3cret wrong", &main), 1, "developer portal"),
        ("unknown guild", with(TOKEN, &["-b", "-r", "main", "--name", "nyc1", "--guild", "7"]), 1, "not in guild 7"),
        ("no tokens file", scene.run(discord.arguments(&scene, &main)), 1, "netlat bot setup"),
        (
            "token in the process list",
            scene.run(discord.arguments(&scene, &["setup", "--token", "s3cret"])),
            2,
            "@FILE",
        ),
    ] {
        let line = last(&ended);
        assert!(line.contains(about), "{case}: {line}");
        assert_eq!(ended.status, Some(status), "{case}: {ended:?}");
    }
    fs::write(scene.path("open.toml"), "[[token]]\ntoken = \"s3cret\"\n").expect("written");
    let set = |mode| fs::set_permissions(scene.path("open.toml"), fs::Permissions::from_mode(mode)).expect("set");
    let tokens = ["-b", "-r", "server", "--tokens", "open.toml"];
    set(0o644);
    assert!(last(&scene.run(discord.arguments(&scene, &tokens))).contains("chmod 600"));
    set(0o600);
    fs::write(scene.path("open.toml"), "[[token]]\ntokn = \"s3cret\"\n").expect("written");
    assert!(last(&scene.run(discord.arguments(&scene, &tokens))).contains("line 2"));
    // A token of its own, so that no turn is waited for.
    fs::write(scene.path("open.toml"), format!("[[token]]\ntoken = \"{TOKEN}\"\nworkers = [\"nyc1\"]\n"))
        .expect("written");
    for (code, part) in [(4004, "(4004): get a new one"), (4014, "enable Message Content Intent")] {
        let identify = Rule {
            event: Some("IDENTIFY".to_owned()),
            effect: Some(Effect::Close { code }),
            ..Rule::new(Surface::Gateway)
        };
        discord.handle.set_faults(vec![identify]).expect("right");
        let refused =
            scene.run(discord.arguments(&scene, &["-b", "-r", "main", "--name", "nyc1", "--tokens", "open.toml"]));
        assert!(last(&refused).contains(part), "{refused:?}");
        assert_eq!((refused.status, discord.handle.faults()[0].1), (Some(1), 1), "{refused:?}");
    }
    discord.handle.clear_faults();
    let clear = ended(scene.netlat(["bot", "-b", "-r", "main", "--api", "http://discord.com/api/v10"]));
    assert!(last(&clear).contains("loopback") || last(&clear).contains("tokens file"), "{clear:?}");
    assert!(!NETLAT.is_empty());
}
