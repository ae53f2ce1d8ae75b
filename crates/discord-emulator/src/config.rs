//! The configuration file: where to listen, who exists, limits, delays and faults. Unknown fields are refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::EmulatorError;
use crate::faults::Rule;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub listen: Listen,
    pub tls: Tls,
    pub dns: Dns,
    pub rest: Rest,
    pub gateway: Gateway,
    pub voice: Voice,
    pub limits: Limits,
    /// Of random delays and probabilities.
    pub seed: u64,
    #[serde(rename = "application")]
    pub applications: Vec<ApplicationEntry>,
    #[serde(rename = "user")]
    pub users: Vec<UserEntry>,
    #[serde(rename = "guild")]
    pub guilds: Vec<GuildEntry>,
    #[serde(rename = "region")]
    pub regions: Vec<RegionEntry>,
    #[serde(rename = "fault")]
    pub faults: Vec<Rule>,
    #[serde(rename = "limit")]
    pub route_limits: Vec<RouteLimit>,
}

/// Addresses; port 0 is any free port. Every TCP port takes TLS and plain text alike, told apart by the first byte.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// REST, gateway and files.
    pub api: Vec<SocketAddr>,
    /// Voice gateways of all regions, and UDP on the same numbers.
    pub voice: Vec<SocketAddr>,
    /// UDP and TCP; none unless given.
    pub dns: Vec<SocketAddr>,
    /// Plain HTTP, for tests and tools; none unless given. Whoever reaches it rules this Discord.
    pub admin: Option<SocketAddr>,
}

impl Default for Listen {
    fn default() -> Listen {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Listen { api: vec![any], voice: vec![any], dns: Vec::new(), admin: None }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The private CA's certificate is written here, PEM, for clients to trust.
    pub ca_file: Option<PathBuf>,
    /// Further names and addresses of the certificate.
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Answers for Discord's names; empty: none of the family.
    pub a: Vec<std::net::Ipv4Addr>,
    pub aaaa: Vec<std::net::Ipv6Addr>,
    pub ttl: u32,
    /// Zones answered for, besides Discord's own.
    pub zones: Vec<String>,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns { a: vec![Ipv4Addr::LOCALHOST], aaaa: Vec::new(), ttl: 60, zones: Vec::new() }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rest {
    pub field_error_codes: FieldErrorCodes,
}

/// `code` of the errors of single fields in "Invalid Form Body".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldErrorCodes {
    /// As Discord's API description has it.
    #[default]
    Number,
    /// `BASE_TYPE_REQUIRED`, as Discord's reference shows and the live API sends.
    Text,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    pub heartbeat_interval_ms: u64,
    /// Between a heartbeat and its ACK, besides what rules say. Some libraries report nonsense below a few milliseconds.
    pub ack_delay_ms: f64,
    /// A session without connection can be resumed this long.
    pub resume_window_ms: u64,
    /// Given out by /gateway and READY [default: from the address a client came to].
    pub url: Option<String>,
    /// Shards that /gateway/bot recommends.
    pub shards: u64,
    /// Airport code of the edge, at the end of every `cf-ray` header.
    pub edge: String,
}

impl Default for Gateway {
    fn default() -> Gateway {
        Gateway {
            heartbeat_interval_ms: 41_250,
            ack_delay_ms: 0.0,
            resume_window_ms: 180_000,
            url: None,
            shards: 1,
            edge: "AMS".to_owned(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Voice {
    pub heartbeat_interval_ms: u64,
    /// `names`: HOST.discord.media:PORT (needs DNS); `address`: the voice listener itself; else as it stands.
    /// [default: names if DNS is served, else address]
    pub endpoint: Option<String>,
    /// Answers keep-alive datagrams; real servers do not all.
    pub keepalive_echo: bool,
    /// A client that cannot do end-to-end encryption (DAVE) is closed with 4017, as since 2026-03-01.
    pub require_dave: bool,
}

impl Default for Voice {
    fn default() -> Voice {
        Voice { heartbeat_interval_ms: 13_750, endpoint: None, keepalive_echo: true, require_dave: true }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// False: no 429 but those of rules; identify and send limits hold nevertheless.
    pub rest: bool,
    pub global_per_second: u32,
    /// 401, 403 and 429 answers to one address in ten minutes before it is banned for a while.
    pub invalid_per_10_minutes: u32,
    pub identifies_per_day: u32,
    pub max_concurrency: u64,
    /// In which `max_concurrency` identifies are taken.
    pub identify_window_ms: u64,
    /// Gateway payloads a client may send in 60 s.
    pub sends_per_minute: usize,
    pub interaction_answer_ms: u64,
    pub interaction_token_ms: u64,
    pub connections: usize,
    pub sessions: usize,
    pub voice_connections: usize,
    pub messages_per_channel: usize,
    pub channels_per_guild: usize,
    pub roles_per_guild: usize,
    pub replay_frames: usize,
    pub replay_bytes: usize,
    pub exchanges: usize,
    /// Of one file that is uploaded.
    pub upload_bytes: usize,
    /// Of attachments, all together.
    pub file_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            rest: true,
            global_per_second: 50,
            invalid_per_10_minutes: 10_000,
            identifies_per_day: 1000,
            max_concurrency: 1,
            identify_window_ms: 5000,
            sends_per_minute: 120,
            interaction_answer_ms: 3000,
            interaction_token_ms: 900_000,
            connections: 4096,
            sessions: 2048,
            voice_connections: 2048,
            messages_per_channel: 250_000,
            channels_per_guild: 500,
            roles_per_guild: 250,
            replay_frames: 2000,
            replay_bytes: 8 << 20,
            exchanges: 100_000,
            upload_bytes: 10 << 20,
            file_bytes: 64 << 20,
        }
    }
}

/// A bucket of REST: `limit` requests in `window_ms`, per channel, guild or webhook in the path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteLimit {
    /// As in faults: `POST /channels/{channel_id}/messages`.
    pub route: String,
    pub limit: u32,
    pub window_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationEntry {
    /// Of the application and its bot.
    pub name: String,
    /// Any text that is used for nothing else.
    pub token: String,
    /// Privileged intents that are switched on: GUILD_MEMBERS, GUILD_PRESENCES, MESSAGE_CONTENT.
    #[serde(default)]
    pub intents: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuildEntry {
    pub name: String,
    /// A user's name.
    pub owner: String,
    /// Voice region of its channels.
    #[serde(default)]
    pub region: Option<String>,
    /// Permissions of @everyone [default: Discord's for a new guild].
    #[serde(default)]
    pub everyone: Option<Vec<String>>,
    #[serde(default, rename = "role")]
    pub roles: Vec<RoleEntry>,
    #[serde(default, rename = "channel")]
    pub channels: Vec<ChannelEntry>,
    #[serde(default, rename = "member")]
    pub members: Vec<MemberEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleEntry {
    pub name: String,
    /// Discord's names: VIEW_CHANNEL, MANAGE_CHANNELS ...
    #[serde(default)]
    pub permissions: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelEntry {
    pub name: String,
    /// text, voice, category, announcement, stage.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name of a category above it in the file.
    #[serde(default)]
    pub parent: Option<String>,
    /// Voice region of this channel.
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default, rename = "overwrite")]
    pub overwrites: Vec<OverwriteEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverwriteEntry {
    /// Name of a role (`@everyone` too) or of a user or bot.
    pub target: String,
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub deny: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Name of a user or of an application.
    pub name: String,
    #[serde(default)]
    pub roles: Vec<String>,
    /// Of a bot: what its own role may do.
    #[serde(default)]
    pub permissions: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionEntry {
    pub id: String,
    /// Airport code in the names of its voice servers: `ams` gives `c-ams01-…`.
    #[serde(default)]
    pub iata: Option<String>,
    /// First labels of its voice servers, instead.
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub optimal: bool,
}

impl Config {
    /// `origin`: how errors call the text.
    pub fn parse(text: &str, origin: &str) -> Result<Config, EmulatorError> {
        let bad = |problem: String| EmulatorError::Config { origin: origin.to_owned(), problem };
        let config: Config =
            toml::from_str(text).map_err(|error| bad(error.to_string().trim().replace('\n', " | ")))?;
        for rule in &config.faults {
            if let Some(problem) = rule.problem() {
                return Err(bad(format!("fault {}: {problem}", rule.name.as_deref().unwrap_or("without a name"))));
            }
        }
        let intervals = [config.gateway.heartbeat_interval_ms, config.voice.heartbeat_interval_ms];
        if intervals.iter().any(|interval| !(50..=3_600_000).contains(interval)) {
            return Err(bad("heartbeat_interval_ms lies between 50 and 3600000".to_owned()));
        }
        if !(0.0..=60_000.0).contains(&config.gateway.ack_delay_ms) {
            return Err(bad("ack_delay_ms lies between 0 and 60000".to_owned()));
        }
        if config.listen.api.is_empty() {
            return Err(bad("listen.api names no address".to_owned()));
        }
        if config.limits.max_concurrency == 0 || config.gateway.shards == 0 {
            return Err(bad("max_concurrency and shards are at least 1".to_owned()));
        }
        Ok(config)
    }

    pub fn load(path: &Path) -> Result<Config, EmulatorError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| EmulatorError::Read { path: path.to_owned(), source })?;
        Config::parse(&text, &path.display().to_string())
    }

    /// What the world itself keeps to: with room for anything to work at all.
    pub(crate) fn world_limits(&self) -> Limits {
        let mut limits = self.limits.clone();
        limits.sessions = limits.sessions.max(1);
        limits.messages_per_channel = limits.messages_per_channel.max(1);
        limits.replay_frames = limits.replay_frames.max(16);
        limits.replay_bytes = limits.replay_bytes.max(1 << 20);
        limits
    }

    /// Addresses that belong into the certificate.
    pub(crate) fn listen_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let addresses = self.listen.api.iter().chain(&self.listen.voice).map(|address| address.ip());
        addresses.filter(|address| !address.is_unspecified())
    }
}
