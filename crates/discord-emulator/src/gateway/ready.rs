//! Identify and resume: who a client is, what it may ask for, and what it gets first.

use std::sync::Arc;

use serde_json::{Value, json};

use super::starts::Start;
use crate::hub::Hub;
use crate::id::Snowflake;
use crate::state::{Attached, Fields, Session, SessionEnd, intents};

/// How an identify or resume ends.
pub enum Outcome {
    /// The session, and the sequence number the client has seen.
    Session {
        id: String,
        user: Snowflake,
        seen: u64,
    },
    /// Op 9, not resumable.
    Invalid,
    Close(u16, &'static str),
}

const DECODE: Outcome = Outcome::Close(4002, "Error while decoding payload.");

fn token(fields: &Fields<'_>, hub: &Hub) -> Option<Snowflake> {
    let token = fields.get("token")?.as_str()?;
    hub.world().by_token(token.strip_prefix("Bot ").unwrap_or(token).trim())
}

pub fn identify(hub: &Arc<Hub>, data: &Value, attached: Attached, version: u64, resume_url: &str) -> Outcome {
    let Ok(fields) = Fields::of(data) else { return DECODE };
    let Some(user) = token(&fields, hub) else { return Outcome::Close(4004, "Authentication failed.") };
    let Ok(Some(wanted)) = fields.integer("intents", 0, u64::MAX) else {
        return Outcome::Close(4013, "Invalid intent(s).");
    };
    if wanted & !intents::KNOWN != 0 {
        return Outcome::Close(4013, "Invalid intent(s).");
    }
    let shard = match fields.get("shard") {
        None => (0, 1),
        Some(shard) => match (shard[0].as_u64(), shard[1].as_u64()) {
            (Some(this), Some(all)) if this < all && all <= 100_000 => (this, all),
            _ => return Outcome::Close(4010, "Invalid shard."),
        },
    };
    let allowed = hub.world().applications.get(&user).map_or(0, |application| application.privileged);
    if wanted & intents::PRIVILEGED & !allowed != 0 {
        return Outcome::Close(4014, "Disallowed intent(s).");
    }
    let start = {
        let mut starts = hub.starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        starts.start(user, shard.0, &hub.config.limits)
    };
    match start {
        Start::Allowed => {}
        Start::TooSoon => return Outcome::Invalid,
        Start::Exhausted => {
            let mut world = hub.world();
            let all: Vec<String> = world
                .sessions
                .values()
                .filter(|session| session.user == user)
                .map(|session| session.id.clone())
                .collect();
            for id in all {
                world.end_session(&id);
            }
            return Outcome::Close(4004, "Authentication failed.");
        }
    }
    let id = hub.secret();
    let mut world = hub.world();
    let session = Session::new(id.clone(), user, wanted, shard, attached);
    let sharded = fields.has("shard").then_some(shard);
    let mine: Vec<Snowflake> = world
        .guilds
        .values()
        .filter(|guild| guild.members.contains_key(&user) && session.has_guild(guild.id))
        .map(|guild| guild.id)
        .collect();
    if world.add_session(session).is_err() {
        return Outcome::Close(4000, "Too many sessions.");
    }
    let flags = world.applications.get(&user).map_or(0, |application| application.flags());
    let regions: Vec<&str> = world.regions.iter().map(|region| region.id.as_str()).collect();
    let mut ready = json!({
        "v": version,
        "user": world.user(user).map(|user| user.own_json()).unwrap_or(Value::Null),
        "guilds": mine.iter().map(|id| json!({ "id": id, "unavailable": true })).collect::<Vec<_>>(),
        "session_id": id,
        "session_type": "normal",
        "resume_gateway_url": resume_url,
        "application": { "id": user, "flags": flags },
        "geo_ordered_rtc_regions": regions,
        "user_settings": {},
        "private_channels": [],
        "presences": [],
        "relationships": [],
        "guild_join_requests": [],
        "auth": {},
        "_trace": ["[\"emulator\"]"],
    });
    if let Some((this, all)) = sharded {
        ready["shard"] = json!([this, all]);
    }
    world.publish_to(&id, "READY", &ready);
    if wanted & intents::GUILDS != 0 {
        for guild in mine {
            let Some(guild) = world.guilds.get(&guild).filter(|guild| !guild.unavailable) else { continue };
            let create = world.guild_create(guild, user, wanted);
            world.publish_to(&id, "GUILD_CREATE", &create);
        }
    }
    Outcome::Session { id, user, seen: 0 }
}

pub fn resume(hub: &Arc<Hub>, data: &Value, attached: Attached) -> Outcome {
    let Ok(fields) = Fields::of(data) else { return DECODE };
    let Some(user) = token(&fields, hub) else { return Outcome::Close(4004, "Authentication failed.") };
    let id = fields.get("session_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Ok(seq) = fields.integer("seq", 0, u64::MAX) else { return DECODE };
    let seen = seq.unwrap_or(0);
    let mut world = hub.world();
    match world.resume(&id, user, seen, attached) {
        Ok(()) => {
            world.publish_to(&id, "RESUMED", &json!({ "_trace": ["[\"emulator\"]"] }));
            Outcome::Session { id, user, seen }
        }
        Err(SessionEnd::InvalidSeq) => Outcome::Close(4007, "Invalid seq."),
        Err(SessionEnd::Unknown | SessionEnd::Forgotten) => Outcome::Invalid,
    }
}
