//! Gateway intents: which events a session asked for. Discord's reference, "Gateway", section "List of Intents".

pub const GUILDS: u64 = 1 << 0;
pub const GUILD_MEMBERS: u64 = 1 << 1;
pub const GUILD_VOICE_STATES: u64 = 1 << 7;
pub const GUILD_PRESENCES: u64 = 1 << 8;
pub const GUILD_MESSAGES: u64 = 1 << 9;
pub const GUILD_MESSAGE_REACTIONS: u64 = 1 << 10;
pub const GUILD_MESSAGE_TYPING: u64 = 1 << 11;
pub const DIRECT_MESSAGES: u64 = 1 << 12;
pub const DIRECT_MESSAGE_REACTIONS: u64 = 1 << 13;
pub const DIRECT_MESSAGE_TYPING: u64 = 1 << 14;
pub const MESSAGE_CONTENT: u64 = 1 << 15;

/// Needs a switch in the developer portal (here: `intents` of the application); asked for without it, the gateway closes with 4014.
pub const PRIVILEGED: u64 = GUILD_MEMBERS | GUILD_PRESENCES | MESSAGE_CONTENT;
/// Bits that mean something; any other closes with 4013.
pub const KNOWN: u64 = 0xffff | 1 << 16 | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25;

/// A privileged intent by Discord's name for it.
pub fn privileged_by_name(name: &str) -> Option<u64> {
    match name {
        "GUILD_MEMBERS" => Some(GUILD_MEMBERS),
        "GUILD_PRESENCES" => Some(GUILD_PRESENCES),
        "MESSAGE_CONTENT" => Some(MESSAGE_CONTENT),
        _ => None,
    }
}

/// `flags` of the application that go with its privileged intents (the "limited" bits, for fewer than 100 guilds).
pub fn application_flags(privileged: u64) -> u64 {
    let bit = |intent: u64, flag: u32| if privileged & intent != 0 { 1 << flag } else { 0 };
    bit(GUILD_PRESENCES, 13) | bit(GUILD_MEMBERS, 15) | bit(MESSAGE_CONTENT, 19)
}
