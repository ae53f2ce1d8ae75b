//! `/guilds/{id}`: channels, members, roles, voice states.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::body::{Parameters, Payload};
use super::{Answer, Asked, Done};
use crate::hub::Hub;
use crate::id::Snowflake;
use crate::state::{Audience, Event, Fields, Refusal, Role, World, intents, permission};

type Member = (Snowflake, Snowflake);

pub async fn get(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Query(query): Parameters) -> Answer {
    let world = hub.world();
    let guild = world.guild_of(me, id)?;
    let mut json = guild.json();
    if query.get("with_counts").is_some_and(|value| value == "true" || value == "1") {
        json["approximate_member_count"] = json!(guild.members.len());
        json["approximate_presence_count"] = json!(guild.members.len());
    }
    Ok(Json(json))
}

pub async fn edit(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Payload(body): Payload) -> Answer {
    let name = Fields::of(&body)?.text("name", 2, 100)?;
    let mut world = hub.world();
    world.guild_for(me, id, permission::MANAGE_GUILD)?;
    let guild = world.guilds.get_mut(&id).ok_or(Refusal::UNKNOWN_GUILD)?;
    if let Some(name) = name {
        guild.name = name;
    }
    let json = guild.json();
    world.publish(Event::new("GUILD_UPDATE", json.clone(), intents::GUILDS, Audience::Guild(id)));
    Ok(Json(json))
}

pub async fn nothing(Asked { hub, me }: Asked, Path(id): Path<Snowflake>) -> Answer {
    hub.world().guild_of(me, id)?;
    Ok(Json(json!([])))
}

pub async fn channels(Asked { hub, me }: Asked, Path(id): Path<Snowflake>) -> Answer {
    let world = hub.world();
    let guild = world.guild_of(me, id)?;
    let channels = guild.channels.iter().filter_map(|id| world.channels.get(id));
    Ok(Json(channels.map(|channel| world.channel_json(channel)).collect()))
}

pub async fn create_channel(
    Asked { hub, me }: Asked,
    Path(id): Path<Snowflake>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let mut world = hub.world();
    let channel = world.create_channel(me, id, &body)?;
    Ok((StatusCode::CREATED, Json(world.channel_json(world.channel(channel)?))))
}

/// Positions and parents of several.
pub async fn move_channels(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Payload(body): Payload) -> Done {
    let mut world = hub.world();
    world.guild_for(me, id, permission::MANAGE_CHANNELS)?;
    for entry in body.as_array().ok_or(Refusal::INVALID_FORM)?.iter().take(500) {
        let channel = Fields::of(entry)?.snowflake("id")?.ok_or_else(|| Refusal::required("id"))?;
        if world.channel(channel)?.guild != Some(id) {
            return Err(Refusal::UNKNOWN_CHANNEL);
        }
        let mut change = json!({});
        for name in ["position", "parent_id"] {
            if let Some(value) = entry.get(name) {
                change[name] = value.clone();
            }
        }
        world.edit_channel(me, channel, &change)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Needs the privileged intent GUILD_MEMBERS, as at Discord.
pub async fn members(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Query(query): Parameters) -> Answer {
    let world = hub.world();
    let guild = world.guild_of(me, id)?;
    if world.applications.get(&me).is_some_and(|bot| bot.privileged & intents::GUILD_MEMBERS == 0) {
        return Err(Refusal::MISSING_ACCESS);
    }
    let after = query.get("after").and_then(|text| text.parse::<Snowflake>().ok()).unwrap_or_default();
    let limit = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(1).clamp(1, 1000);
    let members = guild.members.values().filter(|member| member.user > after).take(limit);
    Ok(Json(members.map(|member| world.member_json(member)).collect()))
}

pub async fn search_members(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Query(query): Parameters) -> Answer {
    let world = hub.world();
    let guild = world.guild_of(me, id)?;
    let wanted = query.get("query").ok_or_else(|| Refusal::required("query"))?.to_lowercase();
    let limit = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(1).clamp(1, 1000);
    let found = guild.members.values().filter(|member| {
        world.users.get(&member.user).is_some_and(|user| user.username.to_lowercase().starts_with(&wanted))
            || member.nick.as_ref().is_some_and(|nick| nick.to_lowercase().starts_with(&wanted))
    });
    Ok(Json(found.take(limit).map(|member| world.member_json(member)).collect()))
}

fn member_json(world: &World, me: Snowflake, (guild, user): Member) -> Result<Value, Refusal> {
    let member = world.guild_of(me, guild)?.members.get(&user).ok_or(Refusal::UNKNOWN_MEMBER)?;
    Ok(world.member_json(member))
}

pub async fn member(Asked { hub, me }: Asked, Path(path): Path<Member>) -> Answer {
    Ok(Json(member_json(&hub.world(), me, path)?))
}

fn change_member(hub: &Hub, me: Snowflake, path: Member, body: &Value) -> Answer {
    let fields = Fields::of(body)?;
    let nick = if fields.has("nick") { Some(fields.text("nick", 0, 32)?) } else { None };
    let roles = fields.snowflakes("roles", 250)?;
    let channel = fields.nullable_snowflake("channel_id")?;
    let mut world = hub.world();
    world.edit_member(me, path.0, path.1, nick, roles, channel)?;
    Ok(Json(member_json(&world, me, path)?))
}

pub async fn edit_member(Asked { hub, me }: Asked, Path(path): Path<Member>, Payload(body): Payload) -> Answer {
    change_member(&hub, me, path, &body)
}

pub async fn edit_self(Asked { hub, me }: Asked, Path(guild): Path<Snowflake>, Payload(body): Payload) -> Answer {
    change_member(&hub, me, (guild, me), &json!({ "nick": body.get("nick") }))
}

/// Needs an OAuth2 token of the user with the scope guilds.join; nobody has one here.
pub async fn add_member(Asked { hub, me }: Asked, Path((guild, user)): Path<Member>, _: Payload) -> Done {
    let world = hub.world();
    let guild = world.guild_of(me, guild)?;
    if guild.members.contains_key(&user) { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::MISSING_PERMISSIONS) }
}

pub async fn kick(Asked { hub, me }: Asked, Path((guild, user)): Path<Member>) -> Done {
    hub.world().kick(me, guild, user)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn give_role(
    Asked { hub, me }: Asked,
    Path((guild, user, role)): Path<(Snowflake, Snowflake, Snowflake)>,
) -> Done {
    hub.world().set_member_role(me, guild, user, role, true)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn take_role(
    Asked { hub, me }: Asked,
    Path((guild, user, role)): Path<(Snowflake, Snowflake, Snowflake)>,
) -> Done {
    hub.world().set_member_role(me, guild, user, role, false)?;
    Ok(StatusCode::NO_CONTENT)
}

fn roles_json(world: &World, me: Snowflake, id: Snowflake) -> Result<Value, Refusal> {
    Ok(world.guild_of(me, id)?.roles.values().map(Role::json).collect())
}

pub async fn roles(Asked { hub, me }: Asked, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(roles_json(&hub.world(), me, id)?))
}

pub async fn role(Asked { hub, me }: Asked, Path((guild, role)): Path<Member>) -> Answer {
    let world = hub.world();
    world.guild_of(me, guild)?.roles.get(&role).map(|role| Json(role.json())).ok_or(Refusal::UNKNOWN_ROLE)
}

pub async fn create_role(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Payload(body): Payload) -> Answer {
    let mut world = hub.world();
    let own = permission::in_guild(world.guild_for(me, id, permission::MANAGE_ROLES)?, me).unwrap_or(0);
    let permissions = Fields::of(&body)?.bits("permissions")?.unwrap_or(permission::DEFAULT & own);
    if permissions & !own != 0 {
        return Err(Refusal::MISSING_PERMISSIONS);
    }
    let name = Fields::of(&body)?.text("name", 1, 100)?.unwrap_or_else(|| "new role".to_owned());
    let role = world.add_role(id, &name, permissions)?;
    let role = match changed(&body)? {
        Some(change) if world.guild(id)?.rank(me) > 1 => world.edit_role(me, id, role, change)?,
        _ => world.guild(id)?.roles.get(&role).cloned().ok_or(Refusal::UNKNOWN_ROLE)?,
    };
    Ok(Json(role.json()))
}

/// What a body changes about how a role looks.
fn changed(body: &Value) -> Result<Option<impl FnOnce(&mut Role) + use<>>, Refusal> {
    let fields = Fields::of(body)?;
    let color = fields.integer("color", 0, 0xff_ffff)?;
    let (hoist, mentionable) = (fields.boolean("hoist")?, fields.boolean("mentionable")?);
    if color.is_none() && hoist.is_none() && mentionable.is_none() {
        return Ok(None);
    }
    Ok(Some(move |role: &mut Role| {
        role.color = color.map_or(role.color, |color| color as u32);
        role.hoist = hoist.unwrap_or(role.hoist);
        role.mentionable = mentionable.unwrap_or(role.mentionable);
    }))
}

pub async fn edit_role(Asked { hub, me }: Asked, Path((guild, role)): Path<Member>, Payload(body): Payload) -> Answer {
    let fields = Fields::of(&body)?;
    let name = fields.text("name", 1, 100)?;
    let permissions = fields.bits("permissions")?;
    let look = changed(&body)?;
    let mut world = hub.world();
    let own = permission::in_guild(world.guild_of(me, guild)?, me).unwrap_or(0);
    if permissions.is_some_and(|bits| bits & !own != 0) {
        return Err(Refusal::MISSING_PERMISSIONS);
    }
    let role = world.edit_role(me, guild, role, |role| {
        if let Some(name) = name {
            role.name = name;
        }
        role.permissions = permissions.unwrap_or(role.permissions);
        if let Some(look) = look {
            look(role);
        }
    })?;
    Ok(Json(role.json()))
}

pub async fn move_roles(Asked { hub, me }: Asked, Path(id): Path<Snowflake>, Payload(body): Payload) -> Answer {
    let mut world = hub.world();
    for entry in body.as_array().ok_or(Refusal::INVALID_FORM)?.iter().take(250) {
        let fields = Fields::of(entry)?;
        let role = fields.snowflake("id")?.ok_or_else(|| Refusal::required("id"))?;
        let rank = world.guild_of(me, id)?.rank(me);
        let Some(position) = fields.integer("position", 1, 10_000)? else { continue };
        if position as u32 >= rank {
            return Err(Refusal::MISSING_PERMISSIONS);
        }
        world.edit_role(me, id, role, |role| role.position = position as u32)?;
    }
    Ok(Json(roles_json(&world, me, id)?))
}

pub async fn delete_role(Asked { hub, me }: Asked, Path((guild, role)): Path<Member>) -> Done {
    hub.world().delete_role(me, guild, role)?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn voice_state(Asked { hub, me }: Asked, Path((guild, user)): Path<(Snowflake, String)>) -> Answer {
    let world = hub.world();
    let user = if user == "@me" { me } else { user.parse().map_err(|_| Refusal::UNKNOWN_USER)? };
    let guild = world.guild_of(me, guild)?;
    let state = guild.voice_states.get(&user).ok_or(Refusal::UNKNOWN_VOICE_STATE)?;
    let member = guild.members.get(&user).map(|member| world.member_json(member));
    Ok(Json(state.json(member)))
}
