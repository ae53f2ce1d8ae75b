//! Posting, reading, editing and deleting messages.

use serde_json::{Value, json};

use super::event::Redaction;
use super::message::Cause;
use super::permission::{
    ATTACH_FILES, MANAGE_MESSAGES, MENTION_EVERYONE, READ_MESSAGE_HISTORY, SEND_MESSAGES, VIEW_CHANNEL,
};
use super::{Audience, Channel, Draft, Event, Message, Refusal, World, intents};
use crate::id::Snowflake;

/// Which part of a channel's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Latest,
    /// Older than, newest of them.
    Before(Snowflake),
    /// Newer than, oldest of them.
    After(Snowflake),
    Around(Snowflake),
}

/// How far back a nonce is looked for.
const NONCE_MEMORY: usize = 100;
const BULK_AGE_MS: i64 = 14 * 24 * 3600 * 1000;

impl World {
    pub fn post(&mut self, author: Snowflake, channel_id: Snowflake, draft: Draft) -> Result<Snowflake, Refusal> {
        let channel = self.channel(channel_id)?;
        if !channel.kind.has_messages() {
            return Err(Refusal::NOT_A_TEXT_CHANNEL);
        }
        let files = if draft.attachments.is_empty() { 0 } else { ATTACH_FILES };
        let channel = self.channel_for(author, channel_id, SEND_MESSAGES | files)?;
        if draft.is_empty() {
            return Err(Refusal::EMPTY_MESSAGE);
        }
        if draft.enforce_nonce && draft.nonce.is_some() {
            let mut recent = channel.messages.values().rev().take(NONCE_MEMORY);
            if let Some(known) = recent.find(|message| message.author == author && message.nonce == draft.nonce) {
                return Ok(known.id);
            }
        }
        if let Some(id) = draft.reply_to
            && draft.reply_must_exist
            && !channel.messages.contains_key(&id)
        {
            return Err(Refusal::field("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message"));
        }
        let message = self.compose(author, channel_id, draft, None);
        Ok(self.insert_message(message))
    }

    /// The message a draft becomes; not yet in its channel.
    pub fn compose(&mut self, author: Snowflake, channel: Snowflake, draft: Draft, cause: Option<Cause>) -> Message {
        let id = self.clock.snowflake();
        let kind = if cause.is_some() {
            20
        } else if draft.reply_to.is_some() {
            19
        } else {
            0
        };
        let mut message = Message {
            id,
            channel,
            author,
            kind,
            content: draft.content.unwrap_or_default(),
            edited_ms: None,
            embeds: draft.embeds.unwrap_or_default(),
            components: draft.components.unwrap_or_default(),
            attachments: draft.attachments,
            mentions: Vec::new(),
            mention_roles: Vec::new(),
            mention_everyone: false,
            nonce: draft.nonce,
            tts: draft.tts,
            pinned: false,
            // Ephemeral and loading are for answers; a client may set: suppress embeds, silent, components v2.
            flags: draft.flags.unwrap_or(0) & (1 << 2 | 1 << 6 | 1 << 7 | 1 << 12 | 1 << 15),
            reactions: Vec::new(),
            reply_to: draft.reply_to,
            cause,
        };
        if message.cause.is_none() {
            message.flags &= !(1 << 6 | 1 << 7);
        }
        self.find_mentions(&mut message, draft.allowed_mentions.as_ref());
        message
    }

    /// Puts a composed message into its channel and tells everyone.
    pub fn insert_message(&mut self, message: Message) -> Snowflake {
        let (id, place) = (message.id, message.channel);
        let limit = self.limits.messages_per_channel;
        let Some(channel) = self.channels.get_mut(&place) else { return id };
        channel.last_message = Some(id);
        channel.messages.insert(id, message);
        while channel.messages.len() > limit {
            channel.messages.pop_first();
        }
        self.publish_message("MESSAGE_CREATE", place, id);
        id
    }

    pub fn publish_message(&mut self, name: &'static str, channel: Snowflake, id: Snowflake) {
        let Some(channel) = self.channels.get(&channel) else { return };
        let Some(message) = channel.messages.get(&id) else { return };
        let mut data = self.message_json(message, Snowflake(0));
        data["channel_type"] = json!(channel.kind as u8);
        let needed = match channel.guild {
            Some(guild) => {
                data["guild_id"] = json!(guild);
                if let Some(member) = self.guilds.get(&guild).and_then(|guild| guild.members.get(&message.author)) {
                    data["member"] = member.partial_json();
                }
                intents::GUILD_MESSAGES
            }
            None => intents::DIRECT_MESSAGES,
        };
        let redaction = Redaction { data: self.redacted(data.clone()), exempt: self.exempt(message, channel) };
        let audience = Audience::Channel(channel.id);
        self.publish(Event { redaction: Some(redaction), ..Event::new(name, data, needed, audience) });
    }

    pub fn message(&self, actor: Snowflake, channel: Snowflake, id: Snowflake) -> Result<&Message, Refusal> {
        let channel = self.channel_for(actor, channel, VIEW_CHANNEL | READ_MESSAGE_HISTORY)?;
        channel.messages.get(&id).ok_or(Refusal::UNKNOWN_MESSAGE)
    }

    /// A message whoever asks.
    pub fn message_of(&self, channel: Snowflake, id: Snowflake) -> Result<&Message, Refusal> {
        self.channel(channel)?.messages.get(&id).ok_or(Refusal::UNKNOWN_MESSAGE)
    }

    /// At most `limit` messages, newest first.
    pub fn history(&self, actor: Snowflake, id: Snowflake, page: Page, limit: usize) -> Result<Vec<&Message>, Refusal> {
        let channel = self.channel_for(actor, id, 0)?;
        if !channel.kind.has_messages() {
            return Err(Refusal::WRONG_CHANNEL_TYPE);
        }
        // Without the right to read history, Discord gives an empty list.
        if self.permissions(actor, channel) & READ_MESSAGE_HISTORY == 0 {
            return Ok(Vec::new());
        }
        Ok(page_of(channel, page, limit))
    }

    pub fn edit_message(
        &mut self,
        actor: Snowflake,
        channel_id: Snowflake,
        id: Snowflake,
        draft: Draft,
    ) -> Result<(), Refusal> {
        let message = self.message(actor, channel_id, id)?;
        let own = message.author == actor;
        let only_flags = draft.content.is_none() && draft.embeds.is_none() && draft.components.is_none();
        if !(own || only_flags && draft.flags.is_some()) {
            return Err(Refusal::ANOTHERS_MESSAGE);
        }
        if !own {
            self.channel_for(actor, channel_id, MANAGE_MESSAGES)?;
        }
        let mut edited = message.clone();
        self.apply(&mut edited, draft)?;
        if let Some(channel) = self.channels.get_mut(&channel_id) {
            channel.messages.insert(id, edited);
        }
        self.publish_message("MESSAGE_UPDATE", channel_id, id);
        Ok(())
    }

    /// Changes a message as a PATCH body says.
    pub fn apply(&mut self, message: &mut Message, draft: Draft) -> Result<(), Refusal> {
        if let Some(content) = draft.content {
            message.content = content;
        }
        if let Some(embeds) = draft.embeds {
            message.embeds = embeds;
        }
        if let Some(components) = draft.components {
            message.components = components;
        }
        if let Some(kept) = draft.kept_attachments {
            message.attachments.retain(|file| kept.contains(&file.id));
        }
        message.attachments.extend(draft.attachments);
        if let Some(flags) = draft.flags {
            message.flags = message.flags & !(1 << 2) | flags & (1 << 2);
        }
        let empty = message.content.is_empty() && message.embeds.is_empty() && message.components.is_empty();
        if empty && message.attachments.is_empty() {
            return Err(Refusal::EMPTY_MESSAGE);
        }
        message.edited_ms = Some(self.clock.now_ms());
        self.find_mentions(message, draft.allowed_mentions.as_ref());
        Ok(())
    }

    pub fn delete_message(&mut self, actor: Snowflake, channel_id: Snowflake, id: Snowflake) -> Result<(), Refusal> {
        let channel = self.channel_for(actor, channel_id, 0)?;
        let message = channel.messages.get(&id).ok_or(Refusal::UNKNOWN_MESSAGE)?;
        if message.author != actor {
            self.channel_for(actor, channel_id, MANAGE_MESSAGES)?;
        }
        let guild = channel.guild;
        if let Some(channel) = self.channels.get_mut(&channel_id) {
            channel.messages.remove(&id);
        }
        let mut data = json!({ "id": id, "channel_id": channel_id });
        self.publish_deleted("MESSAGE_DELETE", &mut data, channel_id, guild);
        Ok(())
    }

    pub fn bulk_delete(&mut self, actor: Snowflake, channel_id: Snowflake, ids: Vec<Snowflake>) -> Result<(), Refusal> {
        let guild = self.channel_for(actor, channel_id, MANAGE_MESSAGES)?.guild;
        if !(2..=100).contains(&ids.len()) {
            return Err(Refusal::BULK_DELETE_COUNT);
        }
        let oldest = self.clock.now_ms() - BULK_AGE_MS;
        if ids.iter().any(|id| id.unix_ms() < oldest) {
            return Err(Refusal::TOO_OLD_FOR_BULK);
        }
        let Some(channel) = self.channels.get_mut(&channel_id) else { return Err(Refusal::UNKNOWN_CHANNEL) };
        let gone: Vec<Snowflake> = ids.into_iter().filter(|id| channel.messages.remove(id).is_some()).collect();
        let mut data = json!({ "ids": gone, "channel_id": channel_id });
        self.publish_deleted("MESSAGE_DELETE_BULK", &mut data, channel_id, guild);
        Ok(())
    }

    fn publish_deleted(&mut self, name: &'static str, data: &mut Value, channel: Snowflake, guild: Option<Snowflake>) {
        let needed = match guild {
            Some(guild) => {
                data["guild_id"] = json!(guild);
                intents::GUILD_MESSAGES
            }
            None => intents::DIRECT_MESSAGES,
        };
        self.publish(Event::new(name, data.take(), needed, Audience::Channel(channel)));
    }

    fn find_mentions(&self, message: &mut Message, allowed: Option<&Value>) {
        let Some(channel) = self.channels.get(&message.channel) else { return };
        let parsed = |kind: &str| match allowed {
            Some(allowed) => allowed["parse"].as_array().is_some_and(|list| list.iter().any(|item| item == kind)),
            None => true,
        };
        let named = |list: &str, id: Snowflake| {
            let text = id.to_string();
            allowed.is_some_and(|allowed| {
                allowed[list].as_array().is_some_and(|ids| ids.iter().any(|known| known.as_str() == Some(&text)))
            })
        };
        let users = parsed("users");
        let roles = parsed("roles");
        message.mentions = references(&message.content, "<@")
            .filter(|id| self.users.contains_key(id) && (users || named("users", *id)))
            .collect();
        if let Some(author) = message.reply_to.and_then(|id| channel.messages.get(&id)).map(|message| message.author)
            && allowed.is_none_or(|allowed| allowed["replied_user"].as_bool().unwrap_or(false))
        {
            message.mentions.push(author);
        }
        message.mentions.sort_unstable();
        message.mentions.dedup();
        let guild = channel.guild.and_then(|id| self.guilds.get(&id));
        message.mention_roles = references(&message.content, "<@&")
            .filter(|id| guild.is_some_and(|guild| guild.roles.contains_key(id)) && (roles || named("roles", *id)))
            .collect();
        let shouts = message.content.contains("@everyone") || message.content.contains("@here");
        message.mention_everyone =
            shouts && parsed("everyone") && self.permissions(message.author, channel) & MENTION_EVERYONE != 0;
    }
}

/// Ids in `<@1>`, `<@!1>` (opening `<@`) or `<@&1>` (opening `<@&`).
fn references<'a>(content: &'a str, opening: &'a str) -> impl Iterator<Item = Snowflake> + 'a {
    content.split(opening).skip(1).filter_map(|rest| {
        let (inside, _) = rest.split_once('>')?;
        inside.strip_prefix('!').unwrap_or(inside).parse().ok()
    })
}

fn page_of(channel: &Channel, page: Page, limit: usize) -> Vec<&Message> {
    let messages = &channel.messages;
    let above = |id: Snowflake| (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
    match page {
        Page::Latest => messages.values().rev().take(limit).collect(),
        Page::Before(id) => messages.range(..id).rev().take(limit).map(|(_, message)| message).collect(),
        Page::After(id) => {
            let mut found: Vec<&Message> = messages.range(above(id)).take(limit).map(|(_, message)| message).collect();
            found.reverse();
            found
        }
        Page::Around(id) => {
            let older = limit.div_ceil(2);
            let mut found: Vec<&Message> =
                messages.range(above(id)).take(limit - older).map(|(_, message)| message).collect();
            found.reverse();
            found.extend(messages.range(..=id).rev().take(limit - found.len()).map(|(_, message)| message));
            found
        }
    }
}
