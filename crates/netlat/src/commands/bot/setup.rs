//! `netlat bot setup`: checks one by one, then writes the tokens file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, anyhow};
use discord::rest::Endpoint;
use discord::secret::Token;
use discord::setup::{PERMISSIONS, SetupConfig, check};
use discord::tokens::Tokens;

use super::{TOKEN, endpoint, guild, runtime, tokens, tokens_path};
use crate::Outcome;
use crate::cli::DiscordArgs;
use crate::config::BotSection;
use crate::usage::mistake;

pub fn run(given: Option<String>, force: bool, args: &DiscordArgs, section: &BotSection) -> anyhow::Result<Outcome> {
    let path = tokens_path(args, section)?;
    let (text, tokens) = match given {
        Some(given) => {
            let text = read(&given)?;
            let token = Token::new(&text).context("--token")?;
            (Some(text), Tokens::single(token))
        }
        None if std::env::var_os(TOKEN).is_none() && !path.exists() => {
            return Err(mistake(anyhow!(
                "no token: make a bot at https://discord.com/developers/applications, then give its token with --token @FILE or in {TOKEN}"
            )));
        }
        None => (std::env::var(TOKEN).ok(), tokens(args, section)?),
    };
    let config = SetupConfig {
        token: tokens.for_server()?.token,
        guild: guild(args, section, &tokens)?,
        api: endpoint(args.api.as_ref(), section.api.as_ref())?.unwrap_or_else(Endpoint::discord_api),
        gateway: endpoint(args.gateway.as_ref(), section.gateway.as_ref())?,
        clock: net::Clock::identity(),
    };
    println!("The bots use these permissions:");
    for (name, _, why) in PERMISSIONS {
        println!("  {name}: {why}");
    }
    let ready = runtime()?.block_on(check(config, &mut |line| println!("{line}")))?;
    let Some(text) = text else {
        println!("The tokens file {} stays as it is.", path.display());
        return Ok(Outcome::Done);
    };
    if path.exists() && !force {
        println!("The tokens file {} is there already and stays as it is (--force replaces it).", path.display());
        return Ok(Outcome::Done);
    }
    let token = text.trim().trim_start_matches("Bot ").trim();
    let contents = format!(
        "# Written by `netlat bot setup`. Keep it to yourself (mode 0600).\n\
         guild = \"{}\"\n\n\
         [[token]]\ntoken = \"{token}\"\nserver = true\nworkers = [\"*\"]\n",
        ready.guild
    );
    write(&path, &contents).with_context(|| format!("cannot write the tokens file {}", path.display()))?;
    println!(
        "Wrote {}. Next: netlat bot -b -r server, and on each worker's host netlat bot -b -r main",
        path.display()
    );
    Ok(Outcome::Done)
}

fn read(given: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    match given.strip_prefix('@') {
        Some(path) => {
            let file = fs::File::open(path).with_context(|| format!("cannot read the token from {path}"))?;
            file.take(4096).read_to_string(&mut text).with_context(|| format!("cannot read the token from {path}"))?;
        }
        None if given == "-" => {
            std::io::stdin().take(4096).read_to_string(&mut text).context("cannot read the token from stdin")?;
        }
        // A command line is everybody's to read.
        None => return Err(mistake(anyhow!("--token takes @FILE or -, so that the token is in no process list"))),
    }
    Ok(text)
}

fn write(path: &Path, contents: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let aside = path.with_extension("new");
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)
}
