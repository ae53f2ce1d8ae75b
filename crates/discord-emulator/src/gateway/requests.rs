//! What an identified client may send besides heartbeats: voice state, member requests, sounds, presence.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::hub::Hub;
use crate::id::Snowflake;
use crate::state::{Fields, Refusal, VoiceRequest, intents};

/// Members in one GUILD_MEMBERS_CHUNK.
const CHUNK: usize = 1000;

/// False: no such op.
pub fn handle(hub: &Arc<Hub>, session: &str, user: Snowflake, op: u64, data: &Value) -> Result<bool, Refusal> {
    match op {
        // Presence: nobody looks at it here.
        3 => Ok(true),
        4 => voice_state(hub, session, user, data).map(|()| true),
        8 => members(hub, session, user, data).map(|()| true),
        31 => sounds(hub, session, user, data).map(|()| true),
        _ => Ok(false),
    }
}

fn voice_state(hub: &Arc<Hub>, session: &str, user: Snowflake, data: &Value) -> Result<(), Refusal> {
    let fields = Fields::of(data)?;
    let request = VoiceRequest {
        user,
        guild: fields.snowflake("guild_id")?.ok_or(Refusal::UNKNOWN_GUILD)?,
        channel: fields.snowflake("channel_id")?,
        self_mute: fields.boolean("self_mute")?.unwrap_or(false),
        self_deaf: fields.boolean("self_deaf")?.unwrap_or(false),
        gateway_session: session.to_owned(),
    };
    let secrets = (hub.secret(), hub.secret()[..16].to_owned());
    // What is not allowed is ignored, as Discord does: the client waits in vain.
    if let Err(refusal) = hub.world().update_voice(request, secrets) {
        tracing::debug!(%user, "voice state not taken: {}", refusal.message);
    }
    Ok(())
}

fn members(hub: &Arc<Hub>, session: &str, user: Snowflake, data: &Value) -> Result<(), Refusal> {
    let fields = Fields::of(data)?;
    let guild_id = match fields.get("guild_id") {
        Some(Value::Array(list)) => serde_json::from_value(list.first().cloned().unwrap_or_default()).ok(),
        _ => fields.snowflake("guild_id")?,
    };
    let guild_id = guild_id.ok_or(Refusal::UNKNOWN_GUILD)?;
    let mut world = hub.world();
    let allowed = world.sessions.get(session).map_or(0, |session| session.intents);
    let guild = world.guild_of(user, guild_id)?;
    let limit = fields.integer("limit", 0, u64::MAX)?.unwrap_or(0) as usize;
    let mut missing = Vec::new();
    let chosen: Vec<Value> = match fields.get("user_ids") {
        Some(ids) => {
            let list = ids.as_array().cloned().unwrap_or_else(|| vec![ids.clone()]);
            let ids = list.into_iter().take(100).filter_map(|id| serde_json::from_value::<Snowflake>(id).ok());
            let mut found = Vec::new();
            for id in ids {
                match guild.members.get(&id) {
                    Some(member) => found.push(world.member_json(member)),
                    None => missing.push(id),
                }
            }
            found
        }
        None => {
            let query = fields.text("query", 0, 100)?.unwrap_or_default().to_lowercase();
            if query.is_empty() && limit == 0 && allowed & intents::GUILD_MEMBERS == 0 {
                return Ok(());
            }
            let named = |id: &Snowflake| {
                world.users.get(id).is_some_and(|user| user.username.to_lowercase().starts_with(&query))
            };
            let most = if limit == 0 { usize::MAX } else { limit.min(100) };
            let found = guild.members.values().filter(|member| named(&member.user)).take(most);
            found.map(|member| world.member_json(member)).collect()
        }
    };
    let count = chosen.len().div_ceil(CHUNK).max(1);
    for index in 0..count {
        let part: Vec<&Value> = chosen.iter().skip(index * CHUNK).take(CHUNK).collect();
        let mut chunk = json!({ "guild_id": guild_id, "members": part, "chunk_index": index, "chunk_count": count });
        if !missing.is_empty() {
            chunk["not_found"] = json!(missing);
        }
        if fields.boolean("presences")?.unwrap_or(false) {
            chunk["presences"] = json!([]);
        }
        if let Some(nonce) = fields.text("nonce", 0, 32)? {
            chunk["nonce"] = json!(nonce);
        }
        world.publish_to(session, "GUILD_MEMBERS_CHUNK", &chunk);
    }
    Ok(())
}

fn sounds(hub: &Arc<Hub>, session: &str, user: Snowflake, data: &Value) -> Result<(), Refusal> {
    let guilds = Fields::of(data)?.snowflakes("guild_ids", 1000)?.unwrap_or_default();
    let mut world = hub.world();
    for guild in guilds {
        if world.guild_of(user, guild).is_ok() {
            world.publish_to(session, "SOUNDBOARD_SOUNDS", &json!({ "guild_id": guild, "soundboard_sounds": [] }));
        }
    }
    Ok(())
}
