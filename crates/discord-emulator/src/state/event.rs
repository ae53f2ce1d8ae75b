//! Dispatches: who gets one, and what each receiver may see of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::session::Dispatch;
use super::{World, intents, permission};
use crate::faults::{Effect, Point, Surface};
use crate::id::Snowflake;

/// Whose sessions receive an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every member.
    Guild(Snowflake),
    /// Members who see the channel; in a DM both sides.
    Channel(Snowflake),
    User(Snowflake),
    /// One user, on the shard that has the guild.
    UserInGuild(Snowflake, Snowflake),
}

/// What those without MESSAGE_CONTENT get instead.
pub struct Redaction {
    pub data: Value,
    /// See everything all the same: the author, those mentioned.
    pub exempt: Vec<Snowflake>,
}

pub struct Event {
    pub name: &'static str,
    pub data: Value,
    /// One of these intents is needed; 0: none.
    pub intents: u64,
    pub audience: Audience,
    pub redaction: Option<Redaction>,
}

impl Event {
    pub fn new(name: &'static str, data: Value, intents: u64, audience: Audience) -> Event {
        Event { name, data, intents, audience, redaction: None }
    }
}

impl World {
    /// Appends the event to every session that is to have it. Faults may delay it or leave it out.
    pub fn publish(&mut self, event: Event) {
        let guild = match event.audience {
            Audience::Guild(id) | Audience::UserInGuild(_, id) => Some(id),
            Audience::Channel(id) => self.channels.get(&id).and_then(|channel| channel.guild),
            Audience::User(_) => None,
        };
        let receivers: Vec<(String, bool)> = self
            .sessions
            .values()
            .filter(|session| event.intents == 0 || session.intents & event.intents != 0)
            .filter(|session| guild.map_or(session.has_direct(), |guild| session.has_guild(guild)))
            .filter(|session| self.hears(session.user, event.audience))
            .map(|session| {
                let redacted = event.redaction.as_ref().is_some_and(|redaction| {
                    session.intents & intents::MESSAGE_CONTENT == 0 && !redaction.exempt.contains(&session.user)
                });
                (session.id.clone(), redacted)
            })
            .collect();
        if receivers.is_empty() {
            return;
        }
        // Serialised once for each view, not once for each of many sessions.
        let full: Arc<str> = event.data.to_string().into();
        let redacted: Option<Arc<str>> = event.redaction.as_ref().map(|redaction| redaction.data.to_string().into());
        let subject = event.data["id"].as_str().and_then(|id| id.parse().ok());
        for (session, hidden) in receivers {
            let data = redacted.as_ref().filter(|_| hidden).unwrap_or(&full);
            self.append(&session, Dispatch { name: event.name, data, subject }, guild);
        }
    }

    /// Appends an event to one session, whatever its intents.
    pub fn publish_to(&mut self, session: &str, name: &'static str, data: &Value) {
        let subject = data["id"].as_str().and_then(|id| id.parse().ok());
        self.append(session, Dispatch { name, data: &data.to_string(), subject }, None);
    }

    fn append(&mut self, id: &str, dispatch: Dispatch<'_>, guild: Option<Snowflake>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let username = self.users.get(&session.user).map(|user| user.username.as_str());
        let point = Point { event: Some(dispatch.name), user: username, guild, ..Point::new(Surface::Gateway) };
        let decision = self.faults.decide(&point);
        if matches!(decision.effect, Some(Effect::Drop)) {
            return;
        }
        session.append(dispatch, decision.delay, &self.limits);
        if let Some(effect) = decision.effect {
            session.order(effect);
        }
    }

    fn hears(&self, user: Snowflake, audience: Audience) -> bool {
        match audience {
            Audience::Guild(id) => self.guilds.get(&id).is_some_and(|guild| guild.members.contains_key(&user)),
            Audience::Channel(id) => self
                .channels
                .get(&id)
                .is_some_and(|channel| self.permissions(user, channel) & permission::VIEW_CHANNEL != 0),
            Audience::User(id) | Audience::UserInGuild(id, _) => id == user,
        }
    }
}

/// No dispatch is held back longer, whatever a rule says.
pub const LONGEST_DELAY: Duration = Duration::from_secs(3600);
