//! `netlat check`: where a bot's time goes, from this host.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use discord::check::{self, Check, CheckConfig, Culprit, Looks, Row, Step, Watched};
use discord::rest::{Endpoint, Trust};
use discord::secret::Token;

use super::bot::{TOKEN, endpoint, tokens, tokens_path, trust};
use super::{print_json, stop_signal};
use crate::Outcome;
use crate::cli::CheckArgs;
use crate::config::Config;
use crate::table;

/// 480 identifies a day, so that the bot itself has as many.
const LEAST_AS_BOT_S: u32 = 180;

pub fn run(args: CheckArgs, config: &Config) -> anyhow::Result<Outcome> {
    let section = &config.bot;
    trust(args.discord.ca.as_deref().or(section.ca.as_deref()))?;
    let api = endpoint(args.discord.api.as_ref(), section.api.as_ref())?.unwrap_or_else(Endpoint::discord_api);
    let gateway =
        endpoint(args.discord.gateway.as_ref(), section.gateway.as_ref())?.unwrap_or_else(Endpoint::discord_gateway);
    let ports = vec![api.port, gateway.port];
    let watched = args.pid.as_ref().map(|asked| Watched::find(asked, ports).context("--pid")).transpose()?;
    let token = token(&args, config)?;
    let is_bot = args.channel.is_some() || args.voice.is_some();
    anyhow::ensure!(
        token.is_some() || !is_bot,
        "--channel and --voice: only a bot may do that: set {TOKEN}, or name a tokens file with --tokens"
    );
    anyhow::ensure!(
        !is_bot || args.watch.is_none_or(|every| every >= LEAST_AS_BOT_S),
        "--watch: at least {LEAST_AS_BOT_S} with --channel or --voice: each look is one of the bot's 1000 identifies a day, after which Discord resets its token"
    );
    let (channel, voice) = (args.channel, args.voice);
    let asked = CheckConfig { api, gateway, trust: Trust::load()?, token, channel, voice };
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let mut before: Option<Check> = None;
        loop {
            let is_terminal = std::io::stderr().is_terminal();
            let mut progress = |step: &str| {
                if is_terminal {
                    eprint!("\r\x1b[K{step} ...");
                }
            };
            let found = tokio::select! {
                found = check::run(&asked, watched.clone(), &mut progress) => found,
                () = &mut stop => return Ok(Outcome::Done),
            };
            if is_terminal {
                eprint!("\r\x1b[K");
            }
            match (args.json, args.watch) {
                (true, None) => print_json(&found)?,
                (true, Some(_)) => writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(&found)?)?,
                (false, _) => write!(std::io::stdout().lock(), "{}", text(&found, before.as_ref()))?,
            }
            let stands_out = found.verdict.culprit != Culprit::Nothing;
            let Some(every) = args.watch else {
                return Ok(if stands_out && args.fail_on_finding { Outcome::Found } else { Outcome::Done });
            };
            before = Some(found);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(every.into())) => {}
                () = &mut stop => return Ok(Outcome::Done),
            }
        }
    })
}

/// The token of the environment or of a tokens file that is there; a file that was named must be there and hold one.
fn token(args: &CheckArgs, config: &Config) -> anyhow::Result<Option<Token>> {
    let section = &config.bot;
    let is_there = tokens_path(&args.discord, section).is_ok_and(|path| path.is_file());
    let is_named = args.discord.tokens.is_some() || std::env::var_os(TOKEN).is_some();
    if args.no_token || !(is_there || is_named) {
        return Ok(None);
    }
    let tokens = tokens(&args.discord, section)?;
    // Whichever bot the file is for: both ask the same of Discord here.
    Ok(Some(tokens.any()?.token))
}

fn number(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.2}"),
    }
}

fn text(found: &Check, before: Option<&Check>) -> String {
    let mut headings = vec!["step", "of", "median, ms", "max", "network", "rest", "sent again"];
    headings.extend(before.map(|_| "was"));
    let mut table = table::new(&headings);
    for row in &found.rows {
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), number);
        let mut cells = vec![
            row.step.name().to_owned(),
            row.target.clone(),
            cell(row.app_ms.map(|app| app.p50)),
            cell(row.app_ms.map(|app| app.max)),
            cell(row.network_ms),
            cell(row.rest_ms),
            row.retransmits.map_or("-".to_owned(), |count| count.to_string()),
        ];
        if let Some(before) = before {
            let same = |other: &&Row| (other.step, &other.target) == (row.step, &row.target);
            cells.push(cell(before.rows.iter().find(same).and_then(|other| Some(other.app_ms?.p50))));
        }
        table.add_row(cells);
    }
    let mut out = format!("{table}\n");
    let mut line = |text: &str| {
        let _ = writeln!(out, "{text}");
    };
    for row in &found.rows {
        if let Some(problem) = &row.problem {
            line(&format!("{} {}: {problem}", row.step.name(), row.target));
        }
    }
    if let Some(looks) = &found.process {
        process(looks, &mut line);
    }
    found.notes.iter().for_each(|note| line(note));
    if found.rows.iter().any(|row| row.step == Step::Rest) {
        line(
            "network: the kernel's least round trip of the same connection, which ends at Discord's edge; rest: edge to origin, and Discord",
        );
    }
    line(&format!("\n{}", found.verdict.sentence));
    if !found.verdict.also.is_empty() {
        let names: Vec<String> =
            found.verdict.also.iter().map(|culprit| format!("{culprit:?}").to_lowercase()).collect();
        line(&format!("Also beyond what is usual: {}.", names.join(", ")));
    }
    out
}

fn process(looks: &Looks, line: &mut impl FnMut(&str)) {
    if let Some(problem) = &looks.problem {
        line(&format!("process {}: {problem}", looks.pid));
    }
    if looks.looks == 0 {
        return;
    }
    line(&format!(
        "{} ({}): {} % of a processor, {} MB resident, {} looks",
        looks.name, looks.pid, looks.cpu_percent, looks.resident_mb, looks.looks
    ));
    for seen in &looks.connections {
        let ms = |value: Option<f64>| value.map_or("unknown".to_owned(), |ms| format!("{} ms", number(ms)));
        line(&format!(
            "  {}{}: network {}, smoothed {}, {} sent again, at most {} bytes unread, {} ms at the longest",
            seen.peer,
            if seen.is_known { " (Discord)" } else { "" },
            ms(seen.min_rtt_ms),
            ms(seen.rtt_ms),
            seen.retransmits.unwrap_or(0),
            seen.most_unread_bytes,
            number(seen.unread_ms)
        ));
    }
}
