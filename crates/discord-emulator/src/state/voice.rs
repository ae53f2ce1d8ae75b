//! Voice: one state per user and guild, and which voice server each guild is sent to.

use std::time::Duration;

use serde_json::{Value, json};

use super::permission::{CONNECT, MOVE_MEMBERS, VIEW_CHANNEL};
use super::session::Dispatch;
use super::{Audience, Event, Refusal, World, intents};
use crate::faults::{Effect, Point, Surface};
use crate::id::Snowflake;

#[derive(Clone, Debug)]
pub struct Region {
    /// As in `rtc_region`: "rotterdam".
    pub id: String,
    pub name: String,
    pub optimal: bool,
    /// First labels of its voice servers' names: `c-ams08-44aff7ca`, `rotterdam1234`.
    pub hosts: Vec<String>,
}

/// How voice servers are announced in VOICE_SERVER_UPDATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoiceAddress {
    /// `HOST.discord.media:PORT`; needs the emulator's DNS.
    Names(u16),
    /// As it stands, the same for all regions.
    Fixed(String),
}

#[derive(Clone, Debug)]
pub struct VoiceState {
    pub user: Snowflake,
    pub guild: Snowflake,
    pub channel: Snowflake,
    pub session_id: String,
    /// What the voice server asks for.
    pub token: String,
    pub region: String,
    pub self_mute: bool,
    pub self_deaf: bool,
    /// The gateway session that holds the seat.
    pub gateway_session: String,
}

impl VoiceState {
    pub fn json(&self, member: Option<Value>) -> Value {
        let mut json = json!({
            "guild_id": self.guild,
            "channel_id": self.channel,
            "user_id": self.user,
            "session_id": self.session_id,
            "deaf": false,
            "mute": false,
            "self_deaf": self.self_deaf,
            "self_mute": self.self_mute,
            "self_video": false,
            "suppress": false,
            "request_to_speak_timestamp": null,
        });
        if let Some(member) = member {
            json["member"] = member;
        }
        json
    }
}

fn announced(data: &str) -> Dispatch<'_> {
    Dispatch { name: "VOICE_SERVER_UPDATE", data, subject: None }
}

/// What op 4 of the gateway asks for.
#[derive(Clone, Debug)]
pub struct VoiceRequest {
    pub user: Snowflake,
    pub guild: Snowflake,
    /// `None`: leave.
    pub channel: Option<Snowflake>,
    pub self_mute: bool,
    pub self_deaf: bool,
    pub gateway_session: String,
}

impl World {
    /// Op 4. What is not allowed is ignored, as Discord ignores it; `secrets` are fresh and unguessable: session id and token.
    pub fn update_voice(&mut self, request: VoiceRequest, secrets: (String, String)) -> Result<(), Refusal> {
        let (user, guild_id) = (request.user, request.guild);
        let guild = self.guild_of(user, guild_id)?;
        let Some(channel_id) = request.channel else {
            if guild.voice_states.contains_key(&user) {
                self.leave_voice(guild_id, user);
            }
            return Ok(());
        };
        let channel = self.channel(channel_id).ok().filter(|channel| channel.guild == Some(guild_id));
        let channel = channel.filter(|channel| channel.kind.has_voice()).ok_or(Refusal::UNKNOWN_CHANNEL)?;
        let bits = self.permissions(user, channel);
        if bits & (VIEW_CHANNEL | CONNECT) != VIEW_CHANNEL | CONNECT {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        let others =
            guild.voice_states.values().filter(|state| state.channel == channel_id && state.user != user).count();
        if channel.user_limit > 0 && others as u64 >= channel.user_limit && bits & MOVE_MEMBERS == 0 {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        let region = channel.rtc_region.clone().unwrap_or_else(|| guild.region.clone());
        let before = guild.voice_states.get(&user);
        let same_server =
            before.is_some_and(|old| old.region == region && old.gateway_session == request.gateway_session);
        let (session_id, token) = match before.filter(|_| same_server) {
            Some(old) => (old.session_id.clone(), old.token.clone()),
            None => secrets,
        };
        let state = VoiceState {
            user,
            guild: guild_id,
            channel: channel_id,
            session_id,
            token,
            region,
            self_mute: request.self_mute,
            self_deaf: request.self_deaf,
            gateway_session: request.gateway_session,
        };
        self.put_voice_state(state);
        if !same_server {
            self.announce_voice_server(guild_id, user);
        }
        Ok(())
    }

    fn put_voice_state(&mut self, state: VoiceState) {
        let guild_id = state.guild;
        let Some(guild) = self.guilds.get(&guild_id) else { return };
        let member = guild.members.get(&state.user).map(|member| self.member_json(member));
        let update = state.json(member);
        if let Some(guild) = self.guilds.get_mut(&guild_id) {
            guild.voice_states.insert(state.user, state);
        }
        self.publish(Event::new("VOICE_STATE_UPDATE", update, intents::GUILD_VOICE_STATES, Audience::Guild(guild_id)));
    }

    /// VOICE_SERVER_UPDATE to the session that holds the seat. A fault may announce no endpoint first.
    pub fn announce_voice_server(&mut self, guild_id: Snowflake, user: Snowflake) {
        let Some(guild) = self.guilds.get(&guild_id) else { return };
        let Some(state) = guild.voice_states.get(&user) else { return };
        let session = state.gateway_session.clone();
        let endpoint = self.voice_endpoint(&state.region, guild_id);
        let mut update = json!({ "token": state.token, "guild_id": guild_id, "endpoint": endpoint });
        let point = Point {
            event: Some("VOICE_SERVER_UPDATE"),
            region: Some(&state.region),
            guild: Some(guild_id),
            ..Point::new(Surface::Voice)
        };
        let decision = self.faults.decide(&point);
        // It is a dispatch too: rules of the gateway count as well.
        let username = self.users.get(&user).map(|user| user.username.as_str());
        let as_dispatch = self.faults.decide(&Point { surface: Surface::Gateway, user: username, ..point });
        let mut delay = decision.delay + as_dispatch.delay;
        let Some(session) = self.sessions.get_mut(&session) else { return };
        match decision.effect.or(as_dispatch.effect) {
            Some(Effect::Drop) => return,
            Some(Effect::NullEndpoint { for_ms }) => {
                let endpoint = std::mem::replace(&mut update["endpoint"], Value::Null);
                session.append(announced(&update.to_string()), delay, &self.limits);
                let Some(for_ms) = for_ms else { return };
                update["endpoint"] = endpoint;
                delay += Duration::from_millis(for_ms);
            }
            _ => {}
        }
        session.append(announced(&update.to_string()), delay, &self.limits);
    }

    /// Where a guild's voice server is: always the same host of its region.
    pub fn voice_endpoint(&self, region: &str, guild: Snowflake) -> String {
        match &self.voice_address {
            VoiceAddress::Fixed(address) => address.clone(),
            VoiceAddress::Names(port) => {
                let hosts =
                    self.regions.iter().find(|known| known.id == region).map_or(&[][..], |region| &region.hosts);
                let host = hosts.get((guild.0 >> 22) as usize % hosts.len().max(1)).map_or(region, String::as_str);
                format!("{host}.discord.media:{port}")
            }
        }
    }

    pub fn leave_voice(&mut self, guild_id: Snowflake, user: Snowflake) {
        let Some(guild) = self.guilds.get_mut(&guild_id) else { return };
        let Some(state) = guild.voice_states.remove(&user) else { return };
        self.close_voice(guild_id, user, 4014, "Disconnected");
        let member = self.guilds.get(&guild_id).and_then(|guild| guild.members.get(&user));
        let mut update = state.json(member.map(|member| self.member_json(member)));
        update["channel_id"] = Value::Null;
        self.publish(Event::new("VOICE_STATE_UPDATE", update, intents::GUILD_VOICE_STATES, Audience::Guild(guild_id)));
    }

    /// Moved by someone with MOVE_MEMBERS.
    pub fn move_voice(&mut self, guild_id: Snowflake, user: Snowflake, channel: Snowflake) -> Result<(), Refusal> {
        let fits = self.channel(channel)?;
        if fits.guild != Some(guild_id) || !fits.kind.has_voice() {
            return Err(Refusal::UNKNOWN_CHANNEL);
        }
        let region = fits.rtc_region.clone();
        let guild = self.guild(guild_id)?;
        let mut state = guild.voice_states.get(&user).cloned().ok_or(Refusal::NOT_IN_VOICE)?;
        let region = region.unwrap_or_else(|| guild.region.clone());
        let moved = region != state.region;
        state.channel = channel;
        state.region = region;
        self.put_voice_state(state);
        if moved {
            self.announce_voice_server(guild_id, user);
        }
        Ok(())
    }

    /// Whom a voice identify belongs to, if everything in it fits a voice state.
    pub fn voice_seat(&self, guild: Snowflake, user: Snowflake, session_id: &str, token: &str) -> Option<&VoiceState> {
        let state = self.guilds.get(&guild)?.voice_states.get(&user)?;
        (state.session_id == session_id && state.token == token).then_some(state)
    }
}
