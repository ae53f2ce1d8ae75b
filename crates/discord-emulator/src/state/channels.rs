//! Making, changing and deleting channels.

use serde_json::{Value, json};

use super::channel::text_channel_name;
use super::permission::{ALL, MANAGE_CHANNELS, MANAGE_ROLES};
use super::{Audience, Channel, ChannelKind, Event, Fields, Overwrite, Refusal, World, intents, permission};
use crate::id::Snowflake;

/// Channels that may stand in one category.
const IN_CATEGORY: usize = 50;

impl World {
    /// POST /guilds/{id}/channels.
    pub fn create_channel(
        &mut self,
        actor: Snowflake,
        guild_id: Snowflake,
        body: &Value,
    ) -> Result<Snowflake, Refusal> {
        let guild = self.guild_for(actor, guild_id, MANAGE_CHANNELS)?;
        if guild.channels.len() >= self.limits.channels_per_guild {
            return Err(Refusal::TOO_MANY_CHANNELS);
        }
        let position = guild.channels.len() as u32;
        let fields = Fields::of(body)?;
        let kind = match ChannelKind::from_number(fields.integer("type", 0, 255)?.unwrap_or(0)) {
            Some(kind) if kind != ChannelKind::Direct => kind,
            _ => return Err(Refusal::field("type", "BASE_TYPE_CHOICES", "Value must be one of (0, 2, 4, 5, 13).")),
        };
        let name = fields.text("name", 1, 100)?.ok_or_else(|| Refusal::required("name"))?;
        let id = self.clock.snowflake();
        let mut channel = Channel::new(id, kind, Some(guild_id), &name);
        channel.position = position;
        self.fill(actor, &mut channel, &fields, true)?;
        let created = self.channel_json(&channel);
        self.channels.insert(id, channel);
        if let Some(guild) = self.guilds.get_mut(&guild_id) {
            guild.channels.push(id);
        }
        self.publish(Event::new("CHANNEL_CREATE", created, intents::GUILDS, Audience::Channel(id)));
        Ok(id)
    }

    /// PATCH /channels/{id}.
    pub fn edit_channel(&mut self, actor: Snowflake, id: Snowflake, body: &Value) -> Result<(), Refusal> {
        let needed = if self.channel(id)?.guild.is_some() { MANAGE_CHANNELS } else { 0 };
        self.channel_for(actor, id, needed)?;
        let fields = Fields::of(body)?;
        let channel = self.channel(id)?;
        if channel.kind == ChannelKind::Direct {
            return Err(Refusal::NOT_ON_DM);
        }
        // Changed aside, so that a bad field leaves the channel as it was.
        let mut changed = Channel::new(id, channel.kind, channel.guild, &channel.name);
        changed.parent = channel.parent;
        changed.position = channel.position;
        changed.overwrites = channel.overwrites.clone();
        changed.topic = channel.topic.clone();
        changed.nsfw = channel.nsfw;
        changed.rate_limit_per_user = channel.rate_limit_per_user;
        changed.bitrate = channel.bitrate;
        changed.user_limit = channel.user_limit;
        changed.rtc_region = channel.rtc_region.clone();
        changed.last_message = channel.last_message;
        self.fill(actor, &mut changed, &fields, false)?;
        let update = self.channel_json(&changed);
        if let Some(channel) = self.channels.get_mut(&id) {
            changed.messages = std::mem::take(&mut channel.messages);
            *channel = changed;
        }
        self.publish(Event::new("CHANNEL_UPDATE", update, intents::GUILDS, Audience::Channel(id)));
        Ok(())
    }

    fn fill(&self, actor: Snowflake, channel: &mut Channel, fields: &Fields<'_>, new: bool) -> Result<(), Refusal> {
        if let Some(name) = fields.text("name", 1, 100)? {
            let text = matches!(channel.kind, ChannelKind::Text | ChannelKind::Announcement);
            channel.name = if text { text_channel_name(&name) } else { name.trim().to_owned() };
            if channel.name.is_empty() {
                return Err(Refusal::length("name", 1, 100));
            }
        }
        if fields.has("topic") {
            channel.topic = fields.text("topic", 0, 1024)?;
        }
        if let Some(nsfw) = fields.boolean("nsfw")? {
            channel.nsfw = nsfw;
        }
        if let Some(seconds) = fields.integer("rate_limit_per_user", 0, 21_600)? {
            channel.rate_limit_per_user = seconds;
        }
        if let Some(position) = fields.integer("position", 0, u64::from(u32::MAX / 2))? {
            channel.position = position as u32;
        }
        if let Some(bitrate) = fields.integer("bitrate", 8_000, 384_000)? {
            channel.bitrate = bitrate;
        }
        if let Some(limit) = fields.integer("user_limit", 0, 99)? {
            channel.user_limit = limit;
        }
        if fields.has("rtc_region") {
            let region = fields.text("rtc_region", 1, 100)?;
            if let Some(region) = &region
                && !self.regions.iter().any(|known| known.id == *region)
            {
                return Err(Refusal::field("rtc_region", "BASE_TYPE_CHOICES", "Unknown voice region."));
            }
            channel.rtc_region = region;
        }
        if let Some(parent) = fields.nullable_snowflake("parent_id")? {
            channel.parent = self.category(channel, parent)?;
        }
        if let Some(list) = fields.list("permission_overwrites", 1000)? {
            let overwrites: Vec<Overwrite> = list.iter().map(overwrite).collect::<Result<_, _>>()?;
            self.may_overwrite(actor, channel, &overwrites, new)?;
            channel.overwrites = overwrites;
        }
        Ok(())
    }

    fn category(&self, channel: &Channel, parent: Option<Snowflake>) -> Result<Option<Snowflake>, Refusal> {
        let Some(parent) = parent else { return Ok(None) };
        let bad = |code: &str, text: &str| Err(Refusal::field("parent_id", code, text));
        let known = self.channels.get(&parent).filter(|known| known.guild == channel.guild);
        if known.is_none_or(|known| known.kind != ChannelKind::Category) || channel.kind == ChannelKind::Category {
            return bad("CHANNEL_PARENT_INVALID_TYPE", "Not a category");
        }
        let inside =
            self.channels.values().filter(|other| other.parent == Some(parent) && other.id != channel.id).count();
        if inside >= IN_CATEGORY {
            return bad("CHANNEL_PARENT_MAX_CHANNELS", "Maximum number of channels in category reached (50)");
        }
        Ok(Some(parent))
    }

    /// One can allow or deny only what one has; a whole new channel needs no MANAGE_ROLES for that, a change does.
    fn may_overwrite(&self, actor: Snowflake, channel: &Channel, list: &[Overwrite], new: bool) -> Result<(), Refusal> {
        let Some(guild) = channel.guild.and_then(|id| self.guilds.get(&id)) else { return Err(Refusal::NOT_ON_DM) };
        let own = if new {
            permission::in_guild(guild, actor).unwrap_or(0)
        } else {
            permission::in_channel(guild, channel, actor)
        };
        if !new && own & MANAGE_ROLES == 0 {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        let before = |entry: &Overwrite| channel.overwrites.iter().find(|old| old.id == entry.id);
        for entry in list {
            let (allow, deny) = before(entry).map_or((0, 0), |old| (old.allow, old.deny));
            let changed = (entry.allow ^ allow) | (entry.deny ^ deny);
            if changed & !own != 0 {
                return Err(Refusal::MISSING_PERMISSIONS);
            }
        }
        Ok(())
    }

    /// PUT /channels/{id}/permissions/{overwrite}.
    pub fn set_overwrite(&mut self, actor: Snowflake, id: Snowflake, entry: Overwrite) -> Result<(), Refusal> {
        let channel = self.channel_for(actor, id, MANAGE_ROLES)?;
        self.may_overwrite(actor, channel, std::slice::from_ref(&entry), false)?;
        self.replace_overwrite(id, entry.id, Some(entry))
    }

    pub fn delete_overwrite(&mut self, actor: Snowflake, id: Snowflake, target: Snowflake) -> Result<(), Refusal> {
        let channel = self.channel_for(actor, id, MANAGE_ROLES)?;
        if !channel.overwrites.iter().any(|entry| entry.id == target) {
            return Err(Refusal::UNKNOWN_OVERWRITE);
        }
        self.replace_overwrite(id, target, None)
    }

    fn replace_overwrite(&mut self, id: Snowflake, target: Snowflake, entry: Option<Overwrite>) -> Result<(), Refusal> {
        let channel = self.channels.get_mut(&id).ok_or(Refusal::UNKNOWN_CHANNEL)?;
        channel.overwrites.retain(|old| old.id != target);
        channel.overwrites.extend(entry);
        let update = self.channel_json(self.channel(id)?);
        self.publish(Event::new("CHANNEL_UPDATE", update, intents::GUILDS, Audience::Channel(id)));
        Ok(())
    }

    /// DELETE /channels/{id}; gives its JSON of before. A category's channels stay.
    pub fn delete_channel(&mut self, actor: Snowflake, id: Snowflake) -> Result<Value, Refusal> {
        let channel = self.channel(id)?;
        let Some(guild_id) = channel.guild else {
            self.channel_for(actor, id, 0)?;
            return Ok(self.channel_json(channel));
        };
        self.channel_for(actor, id, MANAGE_CHANNELS)?;
        let deleted = self.channel_json(channel);
        let inside: Vec<Snowflake> = self
            .guilds
            .get(&guild_id)
            .map(|guild| {
                guild.voice_states.values().filter(|state| state.channel == id).map(|state| state.user).collect()
            })
            .unwrap_or_default();
        for user in inside {
            self.leave_voice(guild_id, user);
        }
        // Published while it is still there: who sees it is asked of the channel.
        self.publish(Event::new("CHANNEL_DELETE", deleted.clone(), intents::GUILDS, Audience::Channel(id)));
        self.channels.remove(&id);
        for child in self.channels.values_mut().filter(|child| child.parent == Some(id)) {
            child.parent = None;
        }
        if let Some(guild) = self.guilds.get_mut(&guild_id) {
            guild.channels.retain(|known| *known != id);
        }
        Ok(deleted)
    }

    /// The direct channel of two users, made if need be.
    pub fn direct_channel(&mut self, one: Snowflake, other: Snowflake) -> Result<Snowflake, Refusal> {
        if one == other || !self.users.contains_key(&other) {
            return Err(Refusal::NO_MESSAGES_TO_USER);
        }
        let both = |channel: &&Channel| {
            channel.kind == ChannelKind::Direct
                && channel.recipients.contains(&one)
                && channel.recipients.contains(&other)
        };
        if let Some(known) = self.channels.values().find(both) {
            return Ok(known.id);
        }
        let id = self.clock.snowflake();
        let mut channel = Channel::new(id, ChannelKind::Direct, None, "");
        channel.recipients = vec![other, one];
        self.channels.insert(id, channel);
        Ok(id)
    }

    /// TYPING_START in a channel one may write in.
    pub fn typing(&mut self, actor: Snowflake, id: Snowflake) -> Result<(), Refusal> {
        let channel = self.channel_for(actor, id, permission::SEND_MESSAGES)?;
        let mut data = json!({
            "channel_id": id,
            "user_id": actor,
            "timestamp": self.clock.now_ms() / 1000,
        });
        let needed = match channel.guild {
            Some(guild) => {
                data["guild_id"] = json!(guild);
                if let Some(member) = self.guilds.get(&guild).and_then(|guild| guild.members.get(&actor)) {
                    data["member"] = self.member_json(member);
                }
                intents::GUILD_MESSAGE_TYPING
            }
            None => intents::DIRECT_MESSAGE_TYPING,
        };
        self.publish(Event::new("TYPING_START", data, needed, Audience::Channel(id)));
        Ok(())
    }
}

/// One entry of `permission_overwrites`.
pub fn overwrite(value: &Value) -> Result<Overwrite, Refusal> {
    let fields = Fields::of(value)?;
    Ok(Overwrite {
        id: fields.snowflake("id")?.ok_or_else(|| Refusal::required("permission_overwrites"))?,
        member: fields.integer("type", 0, 1)?.unwrap_or(0) == 1,
        allow: fields.bits("allow")?.unwrap_or(0) & ALL,
        deny: fields.bits("deny")?.unwrap_or(0) & ALL,
    })
}
