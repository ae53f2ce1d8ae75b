//! Messages and their JSON, as each viewer may see them.

use serde_json::{Value, json};

use super::{Channel, World, intents};
use crate::clock::iso8601;
use crate::id::Snowflake;

#[derive(Clone, Debug)]
pub struct Attachment {
    pub id: Snowflake,
    pub filename: String,
    pub content_type: Option<String>,
    pub size: usize,
}

#[derive(Clone, Debug)]
pub struct Reaction {
    /// A Unicode emoji, or a custom one's name.
    pub name: String,
    pub emoji: Option<Snowflake>,
    pub users: Vec<Snowflake>,
}

impl Reaction {
    pub fn emoji_json(&self) -> Value {
        json!({ "id": self.emoji, "name": self.name })
    }
}

/// The interaction a message answers.
#[derive(Clone, Debug)]
pub struct Cause {
    pub id: Snowflake,
    pub kind: u8,
    pub name: String,
    pub user: Snowflake,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub id: Snowflake,
    pub channel: Snowflake,
    pub author: Snowflake,
    /// 0 default, 19 reply, 20 answer to a slash command.
    pub kind: u8,
    pub content: String,
    pub edited_ms: Option<i64>,
    pub embeds: Vec<Value>,
    pub components: Vec<Value>,
    pub attachments: Vec<Attachment>,
    pub mentions: Vec<Snowflake>,
    pub mention_roles: Vec<Snowflake>,
    pub mention_everyone: bool,
    pub nonce: Option<Value>,
    pub tts: bool,
    pub pinned: bool,
    pub flags: u64,
    pub reactions: Vec<Reaction>,
    pub reply_to: Option<Snowflake>,
    pub cause: Option<Cause>,
}

impl World {
    /// As `MessageResponse`, with everything in it. `viewer` decides `me` of reactions.
    pub fn message_json(&self, message: &Message, viewer: Snowflake) -> Value {
        let mut json = self.basic_message_json(message);
        if !message.reactions.is_empty() {
            let reactions = message.reactions.iter().map(|reaction| {
                json!({
                    "emoji": reaction.emoji_json(),
                    "count": reaction.users.len(),
                    "count_details": { "burst": 0, "normal": reaction.users.len() },
                    "burst_colors": [],
                    "me_burst": false,
                    "me": reaction.users.contains(&viewer),
                })
            });
            json["reactions"] = reactions.collect();
        }
        if let Some(id) = message.reply_to {
            let referenced = self.channels.get(&message.channel).and_then(|channel| channel.messages.get(&id));
            json["referenced_message"] = referenced.map_or(Value::Null, |message| self.basic_message_json(message));
        }
        json
    }

    fn basic_message_json(&self, message: &Message) -> Value {
        let guild = self.channels.get(&message.channel).and_then(|channel| channel.guild);
        let mut json = json!({
            "id": message.id,
            "channel_id": message.channel,
            "type": message.kind,
            "content": message.content,
            "author": self.user_json(message.author),
            "mentions": message.mentions.iter().map(|id| self.user_json(*id)).collect::<Vec<_>>(),
            "mention_roles": message.mention_roles,
            "mention_everyone": message.mention_everyone,
            "attachments": message.attachments.iter().map(|file| attachment_json(file, message.channel)).collect::<Vec<_>>(),
            "embeds": message.embeds,
            "components": message.components,
            "timestamp": iso8601(message.id.unix_ms()),
            "edited_timestamp": message.edited_ms.map(iso8601),
            "flags": message.flags,
            "pinned": message.pinned,
            "tts": message.tts,
        });
        if let Some(nonce) = &message.nonce {
            json["nonce"] = nonce.clone();
        }
        if let Some(id) = message.reply_to {
            json["message_reference"] = json!({ "type": 0, "channel_id": message.channel, "message_id": id });
            if let Some(guild) = guild {
                json["message_reference"]["guild_id"] = json!(guild);
            }
        }
        if let Some(cause) = &message.cause {
            json["application_id"] = json!(message.author);
            json["webhook_id"] = json!(message.author);
            let user = self.user_json(cause.user);
            json["interaction"] = json!({ "id": cause.id, "type": cause.kind, "name": cause.name, "user": user });
            json["interaction_metadata"] = json!({
                "id": cause.id,
                "type": cause.kind,
                "user": user,
                "authorizing_integration_owners": guild.map_or(json!({}), |guild| json!({ "0": guild })),
            });
        }
        json
    }

    /// What a viewer without MESSAGE_CONTENT gets: others' content, embeds, attachments and components are empty.
    pub fn redacted(&self, mut json: Value) -> Value {
        json["content"] = json!("");
        for name in ["embeds", "attachments", "components"] {
            json[name] = json!([]);
        }
        if let Some(referenced) = json.get_mut("referenced_message").filter(|value| value.is_object()) {
            *referenced = self.redacted(referenced.take());
        }
        json
    }

    /// Who sees the content whatever their intents: the author, those mentioned, and both sides of a direct channel.
    pub fn exempt(&self, message: &Message, channel: &Channel) -> Vec<Snowflake> {
        let mut exempt = message.mentions.clone();
        exempt.push(message.author);
        exempt.extend(&channel.recipients);
        exempt
    }

    /// The message over REST. A bot's right to content there is a switch of its application, not of a session.
    pub fn message_for(&self, message: &Message, viewer: Snowflake) -> Value {
        let json = self.message_json(message, viewer);
        let allowed = match self.applications.get(&viewer) {
            Some(application) => application.privileged & intents::MESSAGE_CONTENT != 0,
            None => true,
        };
        let exempt = || {
            self.channels.get(&message.channel).is_some_and(|channel| self.exempt(message, channel).contains(&viewer))
        };
        if allowed || exempt() { json } else { self.redacted(json) }
    }
}

fn attachment_json(file: &Attachment, channel: Snowflake) -> Value {
    let path = format!("attachments/{channel}/{}/{}", file.id, file.filename);
    let mut json = json!({
        "id": file.id,
        "filename": file.filename,
        "size": file.size,
        "url": format!("https://cdn.discordapp.com/{path}"),
        "proxy_url": format!("https://media.discordapp.net/{path}"),
    });
    if let Some(kind) = &file.content_type {
        json["content_type"] = json!(kind);
    }
    json
}
