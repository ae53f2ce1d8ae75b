//! Channels and their JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Message, Overwrite, World};
use crate::id::Snowflake;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    Text = 0,
    Direct = 1,
    Voice = 2,
    Category = 4,
    Announcement = 5,
    Stage = 13,
}

impl ChannelKind {
    pub fn from_number(number: u64) -> Option<ChannelKind> {
        [Self::Text, Self::Direct, Self::Voice, Self::Category, Self::Announcement, Self::Stage]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }

    pub fn by_name(name: &str) -> Option<ChannelKind> {
        match name {
            "text" => Some(Self::Text),
            "voice" => Some(Self::Voice),
            "category" => Some(Self::Category),
            "announcement" => Some(Self::Announcement),
            "stage" => Some(Self::Stage),
            _ => None,
        }
    }

    pub fn has_messages(self) -> bool {
        self != Self::Category
    }

    pub fn has_voice(self) -> bool {
        matches!(self, Self::Voice | Self::Stage)
    }
}

pub struct Channel {
    pub id: Snowflake,
    pub kind: ChannelKind,
    pub guild: Option<Snowflake>,
    pub name: String,
    pub parent: Option<Snowflake>,
    pub position: u32,
    pub overwrites: Vec<Overwrite>,
    pub topic: Option<String>,
    pub nsfw: bool,
    /// Slow mode, seconds.
    pub rate_limit_per_user: u64,
    pub bitrate: u64,
    pub user_limit: u64,
    /// Voice region; `None`: chosen for the guild.
    pub rtc_region: Option<String>,
    pub last_message: Option<Snowflake>,
    /// The two of a direct channel.
    pub recipients: Vec<Snowflake>,
    pub messages: BTreeMap<Snowflake, Message>,
}

impl Channel {
    pub fn new(id: Snowflake, kind: ChannelKind, guild: Option<Snowflake>, name: &str) -> Channel {
        Channel {
            id,
            kind,
            guild,
            name: name.to_owned(),
            parent: None,
            position: 0,
            overwrites: Vec::new(),
            topic: None,
            nsfw: false,
            rate_limit_per_user: 0,
            bitrate: 64_000,
            user_limit: 0,
            rtc_region: None,
            last_message: None,
            recipients: Vec::new(),
            messages: BTreeMap::new(),
        }
    }
}

/// Text channels' names as Discord keeps them: lower case, blanks as hyphens, no ASCII punctuation but - and _.
pub fn text_channel_name(name: &str) -> String {
    let mut out = String::new();
    for char in name.trim().chars() {
        let char = if char.is_whitespace() { '-' } else { char };
        if char == '-' && out.ends_with('-') || char.is_ascii_punctuation() && char != '-' && char != '_' {
            continue;
        }
        out.extend(char.to_lowercase());
    }
    out
}

impl World {
    /// As `GuildChannelResponse` or `PrivateChannelResponse`.
    pub fn channel_json(&self, channel: &Channel) -> Value {
        if channel.kind == ChannelKind::Direct {
            return json!({
                "id": channel.id,
                "type": 1,
                "flags": 0,
                "last_message_id": channel.last_message,
                "recipients": channel.recipients.iter().map(|id| self.user_json(*id)).collect::<Vec<_>>(),
            });
        }
        let mut json = json!({
            "id": channel.id,
            "type": channel.kind as u8,
            "guild_id": channel.guild,
            "name": channel.name,
            "position": channel.position,
            "flags": 0,
            "parent_id": channel.parent,
            "permission_overwrites": channel.overwrites.iter().map(Overwrite::json).collect::<Vec<_>>(),
        });
        if channel.kind.has_messages() {
            json["last_message_id"] = json!(channel.last_message);
            json["nsfw"] = json!(channel.nsfw);
            json["rate_limit_per_user"] = json!(channel.rate_limit_per_user);
            json["topic"] = json!(channel.topic);
        }
        if channel.kind.has_voice() {
            json["bitrate"] = json!(channel.bitrate);
            json["user_limit"] = json!(channel.user_limit);
            json["rtc_region"] = json!(channel.rtc_region);
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::text_channel_name;

    #[test]
    fn names_are_kept_as_discord_keeps_them() {
        assert_eq!(text_channel_name("New York"), "new-york");
        assert_eq!(text_channel_name("nyc1"), "nyc1");
        assert_eq!(text_channel_name("São  Paulo!"), "são-paulo");
    }
}
