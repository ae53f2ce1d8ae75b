//! Everything this Discord remembers, and what may be done to it. No sockets: `rest`, `gateway`, `voice` and `handle` call in.
//!
//! One lock guards a `World`; it is held for microseconds and never across an await.

mod channel;
mod channels;
mod command;
mod draft;
mod event;
mod fields;
mod guild;
pub mod intents;
mod interaction;
mod members;
mod message;
mod messages;
pub mod permission;
mod reactions;
mod refusal;
mod respond;
mod session;
mod user;
mod voice;
mod voice_peers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::faults::Faults;
use crate::id::Snowflake;

pub use channel::{Channel, ChannelKind};
pub use channels::overwrite;
pub use command::Command;
pub use draft::Draft;
pub use event::{Audience, Event};
pub use fields::Fields;
pub use guild::{Guild, Member, Role};
pub use interaction::{Interaction, Invocation};
pub use message::{Attachment, Message, Reaction};
pub use messages::Page;
pub use permission::Overwrite;
pub use refusal::Refusal;
pub use respond::Answer;
pub use session::{Attached, Frame, Order, Session, SessionEnd};
pub use user::{Application, User};
pub use voice::{Region, VoiceAddress, VoiceRequest, VoiceState};
pub use voice_peers::{VoiceConnection, VoiceOrder};

pub struct World {
    pub clock: Clock,
    pub limits: Limits,
    /// A session without connection can be resumed this long.
    pub resume_window: Duration,
    pub faults: Arc<Faults>,
    pub users: HashMap<Snowflake, User>,
    /// By application id, which is its bot's user id too, as for every application made since 2016.
    pub applications: HashMap<Snowflake, Application>,
    pub guilds: BTreeMap<Snowflake, Guild>,
    pub channels: HashMap<Snowflake, Channel>,
    pub interactions: HashMap<Snowflake, Interaction>,
    /// Oldest first, to forget those whose tokens are over.
    interaction_order: VecDeque<Snowflake>,
    pub sessions: BTreeMap<String, Session>,
    pub regions: Vec<Region>,
    /// By RTP source: what a voice server knows.
    pub voice_connections: HashMap<u32, VoiceConnection>,
    pub voice_address: VoiceAddress,
    next_ssrc: u32,
    /// UDP datagrams of nobody known.
    pub stray_datagrams: u64,
    /// File contents of attachments, oldest first.
    files: VecDeque<(Snowflake, Arc<[u8]>)>,
    file_bytes: usize,
}

impl World {
    pub fn new(config: &Config, faults: Arc<Faults>) -> World {
        World {
            clock: Clock::default(),
            limits: config.world_limits(),
            resume_window: Duration::from_millis(config.gateway.resume_window_ms),
            faults,
            users: HashMap::new(),
            applications: HashMap::new(),
            guilds: BTreeMap::new(),
            channels: HashMap::new(),
            interactions: HashMap::new(),
            interaction_order: VecDeque::new(),
            sessions: BTreeMap::new(),
            regions: Vec::new(),
            voice_connections: HashMap::new(),
            voice_address: VoiceAddress::Names(443),
            next_ssrc: 1000,
            stray_datagrams: 0,
            files: VecDeque::new(),
            file_bytes: 0,
        }
    }

    pub fn guild(&self, id: Snowflake) -> Result<&Guild, Refusal> {
        self.guilds.get(&id).ok_or(Refusal::UNKNOWN_GUILD)
    }

    /// The guild as far as `actor` is in it; to a stranger it does not exist.
    pub fn guild_of(&self, actor: Snowflake, id: Snowflake) -> Result<&Guild, Refusal> {
        self.guild(id).ok().filter(|guild| guild.members.contains_key(&actor)).ok_or(Refusal::UNKNOWN_GUILD)
    }

    pub fn channel(&self, id: Snowflake) -> Result<&Channel, Refusal> {
        self.channels.get(&id).ok_or(Refusal::UNKNOWN_CHANNEL)
    }

    pub fn user(&self, id: Snowflake) -> Result<&User, Refusal> {
        self.users.get(&id).ok_or(Refusal::UNKNOWN_USER)
    }

    /// `actor`'s permissions in a channel: by roles and overwrites in a guild, by being one of the two in a DM.
    pub fn permissions(&self, actor: Snowflake, channel: &Channel) -> u64 {
        match channel.guild.and_then(|id| self.guilds.get(&id)) {
            Some(guild) => permission::in_channel(guild, channel, actor),
            None if channel.recipients.contains(&actor) => permission::DEFAULT & !permission::MANAGE_MESSAGES,
            None => 0,
        }
    }

    /// The channel if `actor` sees it (50001 else) and has `needed` in it (50013 else).
    pub fn channel_for(&self, actor: Snowflake, id: Snowflake, needed: u64) -> Result<&Channel, Refusal> {
        let channel = self.channel(id)?;
        let bits = self.permissions(actor, channel);
        if bits & permission::VIEW_CHANNEL == 0 {
            return Err(Refusal::MISSING_ACCESS);
        }
        if bits & needed != needed { Err(Refusal::MISSING_PERMISSIONS) } else { Ok(channel) }
    }

    /// The guild if `actor` is in it and has `needed`.
    pub fn guild_for(&self, actor: Snowflake, id: Snowflake, needed: u64) -> Result<&Guild, Refusal> {
        let guild = self.guild_of(actor, id)?;
        let bits = permission::in_guild(guild, actor).unwrap_or(0);
        if bits & needed != needed { Err(Refusal::MISSING_PERMISSIONS) } else { Ok(guild) }
    }

    pub fn store_file(&mut self, content: Arc<[u8]>) -> Snowflake {
        let id = self.clock.snowflake();
        self.file_bytes += content.len();
        self.files.push_back((id, content));
        while self.file_bytes > self.limits.file_bytes {
            let Some((_, oldest)) = self.files.pop_front() else { break };
            self.file_bytes -= oldest.len();
        }
        id
    }

    pub fn file(&self, id: Snowflake) -> Option<Arc<[u8]>> {
        self.files.iter().find(|(known, _)| *known == id).map(|(_, content)| content.clone())
    }
}
