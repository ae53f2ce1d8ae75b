//! Joining, leaving, roles: what is done to members and roles of a guild.

use serde_json::json;

use super::permission::{ALL, KICK_MEMBERS, MANAGE_NICKNAMES, MANAGE_ROLES, MOVE_MEMBERS};
use super::{Audience, Event, Member, Refusal, Role, World, intents, permission};
use crate::id::Snowflake;

impl World {
    /// Makes `user` a member. A bot gets its managed role with nothing in it; its sessions learn of the guild.
    pub fn join(&mut self, guild_id: Snowflake, user: Snowflake, mut roles: Vec<Snowflake>) {
        let joined_ms = self.clock.now_ms();
        let Some(known) = self.users.get(&user).cloned() else { return };
        let bot_role = known.bot.then(|| self.clock.snowflake());
        let Some(guild) = self.guilds.get_mut(&guild_id) else { return };
        if guild.members.contains_key(&user) {
            return;
        }
        if let Some(id) = bot_role {
            let role = Role {
                id,
                name: known.username.clone(),
                permissions: 0,
                position: guild.roles.len() as u32,
                color: 0,
                hoist: false,
                mentionable: false,
                bot: Some(user),
            };
            guild.roles.insert(id, role);
            roles.push(id);
        }
        let member = Member { user, nick: None, roles, joined_ms };
        guild.members.insert(user, member.clone());
        let mut joined = self.member_json(&member);
        joined["guild_id"] = json!(guild_id);
        self.publish(Event::new("GUILD_MEMBER_ADD", joined, intents::GUILD_MEMBERS, Audience::Guild(guild_id)));
        self.publish_guild_create(guild_id, Some(user));
    }

    /// GUILD_CREATE to the sessions of one member, or of all.
    pub fn publish_guild_create(&mut self, guild_id: Snowflake, only: Option<Snowflake>) {
        let targets: Vec<(String, Snowflake, u64)> = self
            .sessions
            .values()
            .filter(|session| only.is_none_or(|user| session.user == user) && session.intents & intents::GUILDS != 0)
            .map(|session| (session.id.clone(), session.user, session.intents))
            .collect();
        for (session, user, bits) in targets {
            let Some(guild) = self.guilds.get(&guild_id).filter(|guild| guild.members.contains_key(&user)) else {
                continue;
            };
            let create = self.guild_create(guild, user, bits);
            self.publish_to(&session, "GUILD_CREATE", &create);
        }
    }

    /// An outage begins or ends.
    pub fn set_available(&mut self, guild_id: Snowflake, available: bool) {
        let Some(guild) = self.guilds.get_mut(&guild_id) else { return };
        guild.unavailable = !available;
        if available {
            return self.publish_guild_create(guild_id, None);
        }
        let gone = json!({ "id": guild_id, "unavailable": true });
        self.publish(Event::new("GUILD_DELETE", gone, intents::GUILDS, Audience::Guild(guild_id)));
    }

    /// Takes `user` out of the guild: left or kicked.
    pub fn leave(&mut self, guild_id: Snowflake, user: Snowflake) -> Result<(), Refusal> {
        let guild = self.guilds.get_mut(&guild_id).ok_or(Refusal::UNKNOWN_GUILD)?;
        guild.members.get(&user).ok_or(Refusal::UNKNOWN_MEMBER)?;
        self.leave_voice(guild_id, user);
        let gone = json!({ "id": guild_id });
        self.publish(Event::new("GUILD_DELETE", gone, intents::GUILDS, Audience::UserInGuild(user, guild_id)));
        if let Some(guild) = self.guilds.get_mut(&guild_id) {
            guild.members.remove(&user);
            guild.roles.retain(|_, role| role.bot != Some(user));
        }
        let left = json!({ "guild_id": guild_id, "user": self.user_json(user) });
        self.publish(Event::new("GUILD_MEMBER_REMOVE", left, intents::GUILD_MEMBERS, Audience::Guild(guild_id)));
        Ok(())
    }

    pub fn kick(&mut self, actor: Snowflake, guild_id: Snowflake, user: Snowflake) -> Result<(), Refusal> {
        let guild = self.guild_for(actor, guild_id, KICK_MEMBERS)?;
        if guild.rank(actor) <= guild.rank(user) {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        self.leave(guild_id, user)
    }

    fn publish_member(&mut self, guild_id: Snowflake, user: Snowflake) {
        let Some(member) = self.guilds.get(&guild_id).and_then(|guild| guild.members.get(&user)) else { return };
        let mut update = self.member_json(member);
        update["guild_id"] = json!(guild_id);
        self.publish(Event::new(
            "GUILD_MEMBER_UPDATE",
            update.clone(),
            intents::GUILD_MEMBERS,
            Audience::Guild(guild_id),
        ));
    }

    /// Gives or takes one role.
    pub fn set_member_role(
        &mut self,
        actor: Snowflake,
        guild_id: Snowflake,
        user: Snowflake,
        role: Snowflake,
        has: bool,
    ) -> Result<(), Refusal> {
        let guild = self.guild_for(actor, guild_id, MANAGE_ROLES)?;
        let position = guild.roles.get(&role).ok_or(Refusal::UNKNOWN_ROLE)?;
        if role == guild_id || position.bot.is_some() {
            return Err(Refusal::INVALID_ROLE);
        }
        if guild.rank(actor) <= position.position {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        let guild = self.guilds.get_mut(&guild_id).ok_or(Refusal::UNKNOWN_GUILD)?;
        let member = guild.members.get_mut(&user).ok_or(Refusal::UNKNOWN_MEMBER)?;
        member.roles.retain(|id| *id != role);
        if has {
            member.roles.push(role);
        }
        self.publish_member(guild_id, user);
        Ok(())
    }

    /// PATCH of a member: `nick`, `roles`, or `channel` (moved within voice, `Some(None)`: disconnected).
    pub fn edit_member(
        &mut self,
        actor: Snowflake,
        guild_id: Snowflake,
        user: Snowflake,
        nick: Option<Option<String>>,
        roles: Option<Vec<Snowflake>>,
        voice_channel: Option<Option<Snowflake>>,
    ) -> Result<(), Refusal> {
        let guild = self.guild_of(actor, guild_id)?;
        let bits = permission::in_guild(guild, actor).unwrap_or(0);
        guild.members.get(&user).ok_or(Refusal::UNKNOWN_MEMBER)?;
        let own_nick = actor == user && bits & (1 << 26) != 0;
        if nick.is_some() && !own_nick && bits & MANAGE_NICKNAMES == 0
            || roles.is_some() && bits & MANAGE_ROLES == 0
            || voice_channel.is_some() && bits & MOVE_MEMBERS == 0
        {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        if let Some(roles) = &roles
            && roles.iter().any(|id| !guild.roles.contains_key(id))
        {
            return Err(Refusal::UNKNOWN_ROLE);
        }
        if let Some(channel) = voice_channel {
            if !guild.voice_states.contains_key(&user) {
                return Err(Refusal::NOT_IN_VOICE);
            }
            match channel {
                Some(channel) => self.move_voice(guild_id, user, channel)?,
                None => self.leave_voice(guild_id, user),
            }
        }
        let guild = self.guilds.get_mut(&guild_id).ok_or(Refusal::UNKNOWN_GUILD)?;
        let member = guild.members.get_mut(&user).ok_or(Refusal::UNKNOWN_MEMBER)?;
        if let Some(nick) = nick {
            member.nick = nick.filter(|nick| !nick.is_empty());
        }
        if let Some(roles) = roles {
            member.roles = roles;
        }
        self.publish_member(guild_id, user);
        Ok(())
    }

    /// A role at the bottom, just above @everyone.
    pub fn add_role(&mut self, guild_id: Snowflake, name: &str, permissions: u64) -> Result<Snowflake, Refusal> {
        let id = self.clock.snowflake();
        let limit = self.limits.roles_per_guild;
        let guild = self.guilds.get_mut(&guild_id).ok_or(Refusal::UNKNOWN_GUILD)?;
        if guild.roles.len() >= limit {
            return Err(Refusal::TOO_MANY_ROLES);
        }
        for role in guild.roles.values_mut().filter(|role| role.id != guild_id) {
            role.position += 1;
        }
        let role = Role {
            id,
            name: name.to_owned(),
            permissions: permissions & ALL,
            position: 1,
            color: 0,
            hoist: false,
            mentionable: false,
            bot: None,
        };
        let created = json!({ "guild_id": guild_id, "role": role.json() });
        guild.roles.insert(id, role);
        self.publish(Event::new("GUILD_ROLE_CREATE", created, intents::GUILDS, Audience::Guild(guild_id)));
        Ok(id)
    }

    /// Changes a role by `change`, if `actor` may touch it.
    pub fn edit_role(
        &mut self,
        actor: Snowflake,
        guild_id: Snowflake,
        role_id: Snowflake,
        change: impl FnOnce(&mut Role),
    ) -> Result<Role, Refusal> {
        let guild = self.guild_for(actor, guild_id, MANAGE_ROLES)?;
        let position = guild.roles.get(&role_id).ok_or(Refusal::UNKNOWN_ROLE)?.position;
        if guild.rank(actor) <= position {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        let guild = self.guilds.get_mut(&guild_id).ok_or(Refusal::UNKNOWN_GUILD)?;
        let role = guild.roles.get_mut(&role_id).ok_or(Refusal::UNKNOWN_ROLE)?;
        change(role);
        role.permissions &= ALL;
        let role = role.clone();
        let update = json!({ "guild_id": guild_id, "role": role.json() });
        self.publish(Event::new("GUILD_ROLE_UPDATE", update, intents::GUILDS, Audience::Guild(guild_id)));
        Ok(role)
    }

    pub fn delete_role(&mut self, actor: Snowflake, guild_id: Snowflake, role_id: Snowflake) -> Result<(), Refusal> {
        self.edit_role(actor, guild_id, role_id, |_| {})?;
        let guild = self.guilds.get_mut(&guild_id).ok_or(Refusal::UNKNOWN_GUILD)?;
        if role_id == guild_id || guild.roles.get(&role_id).is_some_and(|role| role.bot.is_some()) {
            return Err(Refusal::INVALID_ROLE);
        }
        guild.roles.remove(&role_id);
        for member in guild.members.values_mut() {
            member.roles.retain(|id| *id != role_id);
        }
        let deleted = json!({ "guild_id": guild_id, "role_id": role_id });
        self.publish(Event::new("GUILD_ROLE_DELETE", deleted, intents::GUILDS, Audience::Guild(guild_id)));
        Ok(())
    }
}
