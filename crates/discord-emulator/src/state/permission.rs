//! Permission bits and the algorithm that gives a member's permissions in a channel.
//! Discord's reference, "Permissions", section "Permission Overwrites".

use serde_json::{Value, json};

use crate::id::Snowflake;
use crate::state::{Channel, Guild};

pub const ADMINISTRATOR: u64 = 1 << 3;
pub const MANAGE_CHANNELS: u64 = 1 << 4;
pub const MANAGE_GUILD: u64 = 1 << 5;
pub const ADD_REACTIONS: u64 = 1 << 6;
pub const VIEW_CHANNEL: u64 = 1 << 10;
pub const SEND_MESSAGES: u64 = 1 << 11;
pub const MANAGE_MESSAGES: u64 = 1 << 13;
pub const EMBED_LINKS: u64 = 1 << 14;
pub const ATTACH_FILES: u64 = 1 << 15;
pub const READ_MESSAGE_HISTORY: u64 = 1 << 16;
pub const MENTION_EVERYONE: u64 = 1 << 17;
pub const CONNECT: u64 = 1 << 20;
pub const SPEAK: u64 = 1 << 21;
pub const MOVE_MEMBERS: u64 = 1 << 24;
pub const MANAGE_NICKNAMES: u64 = 1 << 27;
pub const MANAGE_ROLES: u64 = 1 << 28;
pub const USE_APPLICATION_COMMANDS: u64 = 1 << 31;
pub const KICK_MEMBERS: u64 = 1 << 1;
/// Every bit Discord defines today.
pub const ALL: u64 = (1 << 53) - 1;

/// What @everyone has in a new guild.
pub const DEFAULT: u64 = 1
    | ADD_REACTIONS
    | 1 << 9
    | VIEW_CHANNEL
    | SEND_MESSAGES
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_MESSAGE_HISTORY
    | MENTION_EVERYONE
    | 1 << 18
    | CONNECT
    | SPEAK
    | 1 << 25
    | 1 << 26
    | USE_APPLICATION_COMMANDS
    | 1 << 35
    | 1 << 38
    | 1 << 46;

const NAMES: [(&str, u64); 49] = [
    ("CREATE_INSTANT_INVITE", 0),
    ("KICK_MEMBERS", 1),
    ("BAN_MEMBERS", 2),
    ("ADMINISTRATOR", 3),
    ("MANAGE_CHANNELS", 4),
    ("MANAGE_GUILD", 5),
    ("ADD_REACTIONS", 6),
    ("VIEW_AUDIT_LOG", 7),
    ("PRIORITY_SPEAKER", 8),
    ("STREAM", 9),
    ("VIEW_CHANNEL", 10),
    ("SEND_MESSAGES", 11),
    ("SEND_TTS_MESSAGES", 12),
    ("MANAGE_MESSAGES", 13),
    ("EMBED_LINKS", 14),
    ("ATTACH_FILES", 15),
    ("READ_MESSAGE_HISTORY", 16),
    ("MENTION_EVERYONE", 17),
    ("USE_EXTERNAL_EMOJIS", 18),
    ("VIEW_GUILD_INSIGHTS", 19),
    ("CONNECT", 20),
    ("SPEAK", 21),
    ("MUTE_MEMBERS", 22),
    ("DEAFEN_MEMBERS", 23),
    ("MOVE_MEMBERS", 24),
    ("USE_VAD", 25),
    ("CHANGE_NICKNAME", 26),
    ("MANAGE_NICKNAMES", 27),
    ("MANAGE_ROLES", 28),
    ("MANAGE_WEBHOOKS", 29),
    ("MANAGE_GUILD_EXPRESSIONS", 30),
    ("USE_APPLICATION_COMMANDS", 31),
    ("REQUEST_TO_SPEAK", 32),
    ("MANAGE_EVENTS", 33),
    ("MANAGE_THREADS", 34),
    ("CREATE_PUBLIC_THREADS", 35),
    ("CREATE_PRIVATE_THREADS", 36),
    ("USE_EXTERNAL_STICKERS", 37),
    ("SEND_MESSAGES_IN_THREADS", 38),
    ("USE_EMBEDDED_ACTIVITIES", 39),
    ("MODERATE_MEMBERS", 40),
    ("VIEW_CREATOR_MONETIZATION_ANALYTICS", 41),
    ("USE_SOUNDBOARD", 42),
    ("CREATE_GUILD_EXPRESSIONS", 43),
    ("CREATE_EVENTS", 44),
    ("USE_EXTERNAL_SOUNDS", 45),
    ("SEND_VOICE_MESSAGES", 46),
    ("SEND_POLLS", 49),
    ("USE_EXTERNAL_APPS", 50),
];

/// A bit by Discord's name for it.
pub fn by_name(name: &str) -> Option<u64> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, bit)| 1 << bit)
}

/// A role's or a member's allow and deny in one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwrite {
    pub id: Snowflake,
    /// A member's, else a role's.
    pub member: bool,
    pub allow: u64,
    pub deny: u64,
}

impl Overwrite {
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "type": u8::from(self.member),
            "allow": self.allow.to_string(),
            "deny": self.deny.to_string(),
        })
    }
}

/// Permissions in the guild as a whole; `None` if not a member.
pub fn in_guild(guild: &Guild, user: Snowflake) -> Option<u64> {
    if guild.owner == user {
        return Some(ALL);
    }
    let member = guild.members.get(&user)?;
    let everyone = guild.roles.get(&guild.id).map_or(0, |role| role.permissions);
    let bits =
        member.roles.iter().filter_map(|id| guild.roles.get(id)).fold(everyone, |bits, role| bits | role.permissions);
    Some(if bits & ADMINISTRATOR != 0 { ALL } else { bits })
}

/// Permissions in one channel of the guild; 0 for a stranger.
pub fn in_channel(guild: &Guild, channel: &Channel, user: Snowflake) -> u64 {
    let Some(base) = in_guild(guild, user) else { return 0 };
    if base == ALL {
        return ALL;
    }
    let roles = guild.members.get(&user).map(|member| &member.roles);
    let mut bits = base;
    if let Some(everyone) = channel.overwrites.iter().find(|entry| !entry.member && entry.id == guild.id) {
        bits = bits & !everyone.deny | everyone.allow;
    }
    let mine = |entry: &&Overwrite| !entry.member && roles.is_some_and(|roles| roles.contains(&entry.id));
    let (allow, deny) = channel
        .overwrites
        .iter()
        .filter(mine)
        .fold((0, 0), |(allow, deny), entry| (allow | entry.allow, deny | entry.deny));
    bits = bits & !deny | allow;
    if let Some(own) = channel.overwrites.iter().find(|entry| entry.member && entry.id == user) {
        bits = bits & !own.deny | own.allow;
    }
    // Without sight of a channel nothing can be done in it; without the right to send, nothing that hangs on sending.
    if bits & VIEW_CHANNEL == 0 {
        return 0;
    }
    if bits & SEND_MESSAGES == 0 {
        bits &= !(MENTION_EVERYONE | ATTACH_FILES | EMBED_LINKS | 1 << 12);
    }
    bits
}
