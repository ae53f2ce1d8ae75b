//! `netlat.toml`: every setting has a default; flags and `NETLAT_*` variables come before it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use model::{TaskSpec, WorkerName};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: ServerSection,
    pub worker: WorkerSection,
    pub bot: BotSection,
    /// `[[task]]`: what the workers do; none: their default.
    pub task: Vec<TaskSection>,
    /// `[[alert]]`: what is worth a message to a webhook.
    pub alert: Vec<alerts::Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    pub listen: Option<SocketAddr>,
    pub probe_port: Option<u16>,
    #[serde(default)]
    pub advertise: Vec<String>,
    pub trigger_port: Vec<u16>,
    pub false_changes_per_year: Option<f64>,
    pub data_dir: Option<PathBuf>,
    pub interface: Option<String>,
    /// Loopback address of the dashboard, or `off`.
    pub dashboard: Option<String>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub storage: StorageSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSection {
    pub raw_days: Option<u32>,
    pub minute_days: Option<u32>,
    pub max_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSection {
    pub name: Option<WorkerName>,
    /// File that holds the join string.
    pub join_file: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub interface: Option<String>,
    pub spool_bytes: Option<u64>,
    /// Media hosts to ping: `HOST` or `HOST:PORT`.
    pub media: Vec<String>,
    pub media_every_s: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BotSection {
    /// Tokens file, mode 0600.
    pub tokens: Option<PathBuf>,
    pub guild: Option<String>,
    pub api: Option<String>,
    pub gateway: Option<String>,
    pub ca: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub standalone: bool,
    /// Ids of who may command; none: whoever may manage the guild, by slash command.
    pub allowed_roles: Vec<String>,
    pub allowed_users: Vec<String>,
    /// Ids of accounts whose steering a main bot obeys besides its own.
    pub steered_by: Vec<String>,
    pub rest_s: Option<u32>,
    pub post_s: Option<u32>,
    pub refresh_s: Option<u32>,
    pub voice: Option<bool>,
    pub python: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct TaskSection {
    pub id: String,
    pub worker: Option<WorkerName>,
    #[serde(flatten)]
    pub spec: TaskSpec,
}

const FILE: &str = "netlat.toml";

impl Config {
    /// Reads `explicit`, else `netlat.toml` here, else in the XDG configuration directory, else nothing.
    pub fn load(explicit: Option<&Path>) -> anyhow::Result<Config> {
        let path = match explicit {
            Some(path) => Some(path.to_owned()),
            None => {
                [Some(PathBuf::from(FILE)), xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("netlat").join(FILE))]
                    .into_iter()
                    .flatten()
                    .find(|path| path.is_file())
            }
        };
        let Some(path) = path else { return Ok(Config::default()) };
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Config::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    pub fn parse(text: &str) -> anyhow::Result<Config> {
        let config: Config = toml::from_str(text).map_err(|error| anyhow!(one_line(&error, text)))?;
        if config.server.false_changes_per_year.is_some_and(|rate| !(1e-6..=1e6).contains(&rate)) {
            anyhow::bail!("server.false_changes_per_year lies between 0.000001 and 1000000");
        }
        for task in &config.task {
            task.spec.check().with_context(|| format!("task '{}'", task.id))?;
        }
        for alert in &config.alert {
            alert.check()?;
        }
        Ok(config)
    }
}

fn one_line(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    let message = error.message().replace('\n', " ");
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}

pub fn xdg(variable: &str, fallback: &str) -> Option<PathBuf> {
    match std::env::var_os(variable).filter(|value| Path::new(value).is_absolute()) {
        Some(dir) => Some(dir.into()),
        None => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(fallback)),
    }
}

/// The data directory of a role (`server`, `worker`), unless one is given.
pub fn data_dir(given: Option<PathBuf>, configured: Option<&PathBuf>, role: &str) -> anyhow::Result<PathBuf> {
    given
        .or_else(|| configured.cloned())
        .or_else(|| xdg("XDG_DATA_HOME", ".local/share").map(|dir| dir.join("netlat").join(role)))
        .context("neither HOME nor XDG_DATA_HOME is set: give --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_is_valid_and_changes_no_default() {
        let config = Config::parse(include_str!("../../../netlat.example.toml")).unwrap();
        assert_eq!(config.task.len(), 1);
        assert!(config.task[0].spec.check().is_ok());
    }

    #[test]
    fn an_unknown_key_and_a_bad_value_name_their_line() {
        let error = format!("{:#}", Config::parse("[server]\nlisten = \"[::]:1\"\nport = 5\n").unwrap_err());
        assert!(error.contains("port"), "{error}");
        let error = format!("{:#}", Config::parse("[server]\nlisten = \"nowhere\"\n").unwrap_err());
        assert!(error.contains("line 2"), "{error}");
        let error = format!("{:#}", Config::parse("[[task]]\nid = \"a\"\ndscp = [64]\n").unwrap_err());
        assert!(error.contains("DSCP"), "{error}");
    }
}
