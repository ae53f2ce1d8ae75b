//! The few shapes of Discord's API that the bots use, lenient on purpose: fields that are not read are not required.
//! Everything here came from a network.

use serde::{Deserialize, Deserializer};

use crate::snowflake::Snowflake;

#[derive(Clone, Debug, Deserialize)]
pub struct User {
    pub id: Snowflake,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub bot: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct GuildSummary {
    pub id: Snowflake,
    #[serde(default)]
    pub name: String,
    /// The bot's own in the guild, a decimal string.
    #[serde(default)]
    pub permissions: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Application {
    pub id: Snowflake,
    #[serde(default)]
    pub flags: u64,
}

impl Application {
    /// Application flags `GATEWAY_MESSAGE_CONTENT` (verified bots) and `GATEWAY_MESSAGE_CONTENT_LIMITED` (others).
    pub fn may_read_content(&self) -> bool {
        self.flags & (1 << 18 | 1 << 19) != 0
    }
}

/// Kinds of channels (reference, "Channel Types").
pub const TEXT: u8 = 0;
pub const VOICE: u8 = 2;
pub const CATEGORY: u8 = 4;

#[derive(Clone, Debug, Deserialize)]
pub struct Channel {
    pub id: Snowflake,
    #[serde(rename = "type")]
    pub kind: u8,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub parent_id: Option<Snowflake>,
    #[serde(default)]
    pub guild_id: Option<Snowflake>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    pub id: Snowflake,
    pub channel_id: Snowflake,
    #[serde(default)]
    pub guild_id: Option<Snowflake>,
    pub author: User,
    #[serde(default)]
    pub content: String,
    #[serde(default)]
    pub edited_timestamp: Option<String>,
    #[serde(default)]
    pub webhook_id: Option<Snowflake>,
    /// 0 is an ordinary message, 19 a reply; others are the system's.
    #[serde(default, rename = "type")]
    pub kind: u8,
    #[serde(default, deserialize_with = "count")]
    pub attachments: usize,
    #[serde(default, deserialize_with = "count")]
    pub embeds: usize,
    #[serde(default)]
    pub mentions: Vec<User>,
    /// Of a guild member, with events only.
    #[serde(default)]
    pub member: Option<Member>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Member {
    #[serde(default)]
    pub roles: Vec<Snowflake>,
    #[serde(default)]
    pub user: Option<User>,
    /// Computed permissions of whoever used an interaction, a decimal string.
    #[serde(default)]
    pub permissions: Option<String>,
}

/// Lengths matter, contents do not.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Ok(Vec::<serde::de::IgnoredAny>::deserialize(deserializer)?.len())
}

/// MESSAGE_UPDATE: whatever of a message is sent again.
#[derive(Clone, Debug, Deserialize)]
pub struct MessageUpdate {
    pub id: Snowflake,
    pub channel_id: Snowflake,
    /// Absent where Discord itself only added an embed.
    #[serde(default)]
    pub edited_timestamp: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct MessageDelete {
    pub id: Snowflake,
    pub channel_id: Snowflake,
}

#[derive(Clone, Debug, Deserialize)]
pub struct MessageDeleteBulk {
    pub ids: Vec<Snowflake>,
    pub channel_id: Snowflake,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    pub user: User,
    #[serde(default)]
    pub session_id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct VoiceState {
    #[serde(default)]
    pub guild_id: Option<Snowflake>,
    #[serde(default)]
    pub channel_id: Option<Snowflake>,
    pub user_id: Snowflake,
    pub session_id: String,
}

#[derive(Clone, Deserialize)]
pub struct VoiceServer {
    pub guild_id: Snowflake,
    /// A secret of this call.
    pub token: String,
    /// `HOST:PORT`; null while Discord looks for a server.
    #[serde(default)]
    pub endpoint: Option<String>,
}

impl std::fmt::Debug for VoiceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoiceServer").field("guild_id", &self.guild_id).field("endpoint", &self.endpoint).finish()
    }
}

/// Kinds of interactions (reference, "Interaction Type").
pub const APPLICATION_COMMAND: u8 = 2;

#[derive(Clone, Deserialize)]
pub struct Interaction {
    pub id: Snowflake,
    #[serde(rename = "type")]
    pub kind: u8,
    /// Answers this interaction; lives 15 minutes. A secret.
    pub token: String,
    #[serde(default)]
    pub guild_id: Option<Snowflake>,
    #[serde(default)]
    pub channel_id: Option<Snowflake>,
    #[serde(default)]
    pub member: Option<Member>,
    #[serde(default)]
    pub user: Option<User>,
    #[serde(default)]
    pub data: Option<CommandData>,
}

impl std::fmt::Debug for Interaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interaction").field("id", &self.id).field("data", &self.data).finish()
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct CommandData {
    pub name: String,
    #[serde(default)]
    pub options: Vec<CommandOption>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CommandOption {
    pub name: String,
    #[serde(default)]
    pub value: Option<serde_json::Value>,
    #[serde(default)]
    pub options: Vec<CommandOption>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_needs_little_and_counts_what_is_attached() {
        let text = r#"{"id":"1","channel_id":"2","author":{"id":"3"},"content":"x","embeds":[{},{}],"surplus":[]}"#;
        let message: Message = serde_json::from_str(text).unwrap();
        assert_eq!((message.embeds, message.attachments, message.kind), (2, 0, 0));
    }

    #[test]
    fn secrets_of_events_are_not_shown() {
        let server: VoiceServer = serde_json::from_str(r#"{"guild_id":"1","token":"s3cret","endpoint":null}"#).unwrap();
        let interaction: Interaction = serde_json::from_str(r#"{"id":"1","type":2,"token":"s3cret"}"#).unwrap();
        assert!(!format!("{server:?}{interaction:?}").contains("s3cret"));
    }
}
