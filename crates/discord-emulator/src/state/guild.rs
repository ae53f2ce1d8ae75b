//! Guilds with their roles and members, and their JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{VoiceState, World, intents, permission};
use crate::clock::iso8601;
use crate::id::Snowflake;

#[derive(Clone, Debug)]
pub struct Role {
    pub id: Snowflake,
    pub name: String,
    pub permissions: u64,
    pub position: u32,
    pub color: u32,
    pub hoist: bool,
    pub mentionable: bool,
    /// The bot this role came with.
    pub bot: Option<Snowflake>,
}

impl Role {
    /// As `GuildRoleResponse`.
    pub fn json(&self) -> Value {
        let mut role = json!({
            "id": self.id,
            "name": self.name,
            "permissions": self.permissions.to_string(),
            "position": self.position,
            "color": self.color,
            "colors": { "primary_color": self.color, "secondary_color": null, "tertiary_color": null },
            "hoist": self.hoist,
            "managed": self.bot.is_some(),
            "mentionable": self.mentionable,
            "icon": null,
            "unicode_emoji": null,
            "flags": 0,
        });
        if let Some(bot) = self.bot {
            role["tags"] = json!({ "bot_id": bot });
        }
        role
    }
}

#[derive(Clone, Debug)]
pub struct Member {
    pub user: Snowflake,
    pub nick: Option<String>,
    pub roles: Vec<Snowflake>,
    pub joined_ms: i64,
}

impl Member {
    /// As `GuildMemberResponse` less `user`.
    pub fn partial_json(&self) -> Value {
        json!({
            "avatar": null,
            "banner": null,
            "communication_disabled_until": null,
            "flags": 0,
            "joined_at": iso8601(self.joined_ms),
            "nick": self.nick,
            "pending": false,
            "premium_since": null,
            "roles": self.roles,
            "mute": false,
            "deaf": false,
        })
    }
}

pub struct Guild {
    pub id: Snowflake,
    pub name: String,
    pub owner: Snowflake,
    /// By id; the role with the guild's own id is @everyone.
    pub roles: BTreeMap<Snowflake, Role>,
    pub members: BTreeMap<Snowflake, Member>,
    /// In the order of their making.
    pub channels: Vec<Snowflake>,
    /// One a user: joining a second channel moves.
    pub voice_states: BTreeMap<Snowflake, VoiceState>,
    /// Voice region of channels that name none.
    pub region: String,
    /// Down, as Discord calls it: READY lists it, GUILD_CREATE does not come.
    pub unavailable: bool,
}

impl Guild {
    /// As `GuildResponse`.
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "icon": null,
            "description": null,
            "home_header": null,
            "splash": null,
            "discovery_splash": null,
            "features": [],
            "banner": null,
            "owner_id": self.owner,
            "application_id": null,
            "region": "deprecated",
            "afk_channel_id": null,
            "afk_timeout": 300,
            "system_channel_id": null,
            "system_channel_flags": 0,
            "widget_enabled": false,
            "widget_channel_id": null,
            "verification_level": 0,
            "roles": self.roles.values().map(Role::json).collect::<Vec<_>>(),
            "default_message_notifications": 1,
            "mfa_level": 0,
            "explicit_content_filter": 0,
            "max_presences": null,
            "max_members": 500_000,
            "max_stage_video_channel_users": 50,
            "max_video_channel_users": 25,
            "vanity_url_code": null,
            "premium_tier": 0,
            "premium_subscription_count": 0,
            "preferred_locale": "en-US",
            "rules_channel_id": null,
            "safety_alerts_channel_id": null,
            "public_updates_channel_id": null,
            "premium_progress_bar_enabled": false,
            "nsfw": false,
            "nsfw_level": 0,
            "emojis": [],
            "stickers": [],
            "incidents_data": null,
        })
    }

    /// Position of the highest role of a member; the owner stands above all.
    pub fn rank(&self, user: Snowflake) -> u32 {
        if user == self.owner {
            return u32::MAX;
        }
        let roles = self.members.get(&user).map(|member| member.roles.as_slice()).unwrap_or_default();
        roles.iter().filter_map(|id| self.roles.get(id)).map(|role| role.position).max().unwrap_or(0)
    }
}

impl World {
    /// A guild with @everyone, one text and one voice channel, as Discord makes them.
    pub fn add_guild(&mut self, name: &str, owner: Snowflake, region: &str) -> Snowflake {
        let id = self.clock.snowflake();
        let everyone = Role {
            id,
            name: "@everyone".to_owned(),
            permissions: permission::DEFAULT,
            position: 0,
            color: 0,
            hoist: false,
            mentionable: false,
            bot: None,
        };
        let guild = Guild {
            id,
            name: name.to_owned(),
            owner,
            roles: BTreeMap::from([(id, everyone)]),
            members: BTreeMap::new(),
            channels: Vec::new(),
            voice_states: BTreeMap::new(),
            region: region.to_owned(),
            unavailable: false,
        };
        self.guilds.insert(id, guild);
        self.join(id, owner, Vec::new());
        id
    }

    pub fn guild_by_name(&self, name: &str) -> Option<Snowflake> {
        self.guilds.values().find(|guild| guild.name == name).map(|guild| guild.id)
    }

    /// As `GuildMemberResponse`.
    pub fn member_json(&self, member: &Member) -> Value {
        let mut json = member.partial_json();
        json["user"] = self.user_json(member.user);
        json
    }

    /// GUILD_CREATE for one session. Members: only the viewer and who is in voice, unless it has GUILD_PRESENCES.
    pub fn guild_create(&self, guild: &Guild, viewer: Snowflake, session_intents: u64) -> Value {
        let all = session_intents & intents::GUILD_PRESENCES != 0;
        let shown = |member: &&Member| all || member.user == viewer || guild.voice_states.contains_key(&member.user);
        let members: Vec<Value> = guild.members.values().filter(shown).map(|member| self.member_json(member)).collect();
        let presences: Vec<Value> = if all {
            let online = |member: &&Member| self.sessions.values().any(|session| session.user == member.user);
            guild.members.values().filter(online).map(|member| presence(member.user)).collect()
        } else {
            Vec::new()
        };
        let channels: Vec<Value> = guild
            .channels
            .iter()
            .filter_map(|id| self.channels.get(id))
            .map(|channel| self.channel_json(channel))
            .collect();
        let joined = guild.members.get(&viewer).map_or(0, |member| member.joined_ms);
        let mut json = guild.json();
        let extra = json!({
            "joined_at": iso8601(joined),
            "large": guild.members.len() > 250,
            "unavailable": false,
            "member_count": guild.members.len(),
            "voice_states": guild.voice_states.values().map(|state| state.json(None)).collect::<Vec<_>>(),
            "members": members,
            "channels": channels,
            "threads": [],
            "presences": presences,
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
            "activity_instances": [],
            "embedded_activities": [],
        });
        if let (Value::Object(json), Value::Object(extra)) = (&mut json, extra) {
            json.extend(extra);
        }
        json
    }
}

fn presence(user: Snowflake) -> Value {
    json!({ "user": { "id": user }, "status": "online", "activities": [], "client_status": { "web": "online" } })
}
