//! Reactions: adding, removing, listing.

use serde_json::{Value, json};

use super::permission::{ADD_REACTIONS, MANAGE_MESSAGES, READ_MESSAGE_HISTORY};
use super::{Audience, Event, Reaction, Refusal, World, intents};
use crate::id::Snowflake;

/// Different emoji on one message.
const KINDS: usize = 20;
/// Users of one emoji that are kept by name.
const USERS: usize = 10_000;

/// `👍`, or `name:id` of a custom emoji, as it stands (decoded) in the path.
pub fn parse_emoji(text: &str) -> Result<(String, Option<Snowflake>), Refusal> {
    if let Some((name, id)) = text.rsplit_once(':')
        && let Ok(id) = id.parse()
        && (2..=32).contains(&name.len())
    {
        return Ok((name.to_owned(), Some(id)));
    }
    let plausible = !text.is_empty() && text.len() <= 64 && !text.chars().any(|char| char.is_ascii_alphabetic());
    if plausible && !text.chars().all(|char| char.is_ascii_digit()) {
        return Ok((text.to_owned(), None));
    }
    Err(Refusal::UNKNOWN_EMOJI)
}

impl World {
    pub fn react(
        &mut self,
        actor: Snowflake,
        channel: Snowflake,
        message: Snowflake,
        emoji: &str,
    ) -> Result<(), Refusal> {
        let (name, id) = parse_emoji(emoji)?;
        let known = self.message(actor, channel, message)?;
        let position = known.reactions.iter().position(|reaction| reaction.name == name && reaction.emoji == id);
        if position.is_none() {
            if known.reactions.len() >= KINDS {
                return Err(Refusal::TOO_MANY_REACTIONS);
            }
            self.channel_for(actor, channel, ADD_REACTIONS | READ_MESSAGE_HISTORY)?;
        }
        let Some(stored) = self.channels.get_mut(&channel).and_then(|channel| channel.messages.get_mut(&message))
        else {
            return Err(Refusal::UNKNOWN_MESSAGE);
        };
        let index = position.unwrap_or_else(|| {
            stored.reactions.push(Reaction { name, emoji: id, users: Vec::new() });
            stored.reactions.len() - 1
        });
        let reaction = &mut stored.reactions[index];
        if reaction.users.contains(&actor) || reaction.users.len() >= USERS {
            return Ok(());
        }
        reaction.users.push(actor);
        let emoji = reaction.emoji_json();
        let author = stored.author;
        self.publish_reaction("MESSAGE_REACTION_ADD", actor, channel, message, emoji, Some(author));
        Ok(())
    }

    /// Takes `user`'s reaction away; another's needs MANAGE_MESSAGES.
    pub fn unreact(
        &mut self,
        actor: Snowflake,
        channel: Snowflake,
        message: Snowflake,
        emoji: &str,
        user: Snowflake,
    ) -> Result<(), Refusal> {
        let (name, id) = parse_emoji(emoji)?;
        self.message(actor, channel, message)?;
        if user != actor {
            self.channel_for(actor, channel, MANAGE_MESSAGES)?;
        }
        let Some(stored) = self.channels.get_mut(&channel).and_then(|channel| channel.messages.get_mut(&message))
        else {
            return Err(Refusal::UNKNOWN_MESSAGE);
        };
        let found = stored.reactions.iter_mut().find(|reaction| reaction.name == name && reaction.emoji == id);
        let Some(reaction) = found else { return Err(Refusal::UNKNOWN_EMOJI) };
        if !reaction.users.contains(&user) {
            return Ok(());
        }
        reaction.users.retain(|known| *known != user);
        let emoji = reaction.emoji_json();
        stored.reactions.retain(|reaction| !reaction.users.is_empty());
        self.publish_reaction("MESSAGE_REACTION_REMOVE", user, channel, message, emoji, None);
        Ok(())
    }

    pub fn clear_reactions(&mut self, actor: Snowflake, channel: Snowflake, message: Snowflake) -> Result<(), Refusal> {
        self.message(actor, channel, message)?;
        let guild = self.channel_for(actor, channel, MANAGE_MESSAGES)?.guild;
        if let Some(stored) = self.channels.get_mut(&channel).and_then(|channel| channel.messages.get_mut(&message)) {
            stored.reactions.clear();
        }
        let data = json!({ "channel_id": channel, "message_id": message, "guild_id": guild });
        let event = Event::new(
            "MESSAGE_REACTION_REMOVE_ALL",
            data,
            intents::GUILD_MESSAGE_REACTIONS,
            Audience::Channel(channel),
        );
        self.publish(event);
        Ok(())
    }

    /// Users of one emoji after `after`, by id.
    pub fn reactors(
        &self,
        actor: Snowflake,
        channel: Snowflake,
        message: Snowflake,
        emoji: &str,
        after: Snowflake,
        limit: usize,
    ) -> Result<Vec<Value>, Refusal> {
        let (name, id) = parse_emoji(emoji)?;
        let message = self.message(actor, channel, message)?;
        let found = message.reactions.iter().find(|reaction| reaction.name == name && reaction.emoji == id);
        let mut users: Vec<Snowflake> = found.map(|reaction| reaction.users.clone()).unwrap_or_default();
        users.retain(|user| *user > after);
        users.sort_unstable();
        Ok(users.into_iter().take(limit).map(|user| self.user_json(user)).collect())
    }

    fn publish_reaction(
        &mut self,
        name: &'static str,
        user: Snowflake,
        channel_id: Snowflake,
        message: Snowflake,
        emoji: Value,
        author: Option<Snowflake>,
    ) {
        let guild = self.channels.get(&channel_id).and_then(|channel| channel.guild);
        let mut data = json!({
            "user_id": user,
            "channel_id": channel_id,
            "message_id": message,
            "emoji": emoji,
            "burst": false,
            "type": 0,
        });
        if let Some(author) = author {
            data["message_author_id"] = json!(author);
        }
        let needed = match guild {
            Some(guild_id) => {
                data["guild_id"] = json!(guild_id);
                if author.is_some()
                    && let Some(member) = self.guilds.get(&guild_id).and_then(|guild| guild.members.get(&user))
                {
                    data["member"] = self.member_json(member);
                }
                intents::GUILD_MESSAGE_REACTIONS
            }
            None => intents::DIRECT_MESSAGE_REACTIONS,
        };
        self.publish(Event::new(name, data, needed, Audience::Channel(channel_id)));
    }
}
