//! Acting as a user, over HTTP.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::reference::{channel, guild, made, read, user};
use crate::handle::Handle;
use crate::id::Snowflake;
use crate::state::{Draft, Invocation, intents};

type Made = Result<Json<Value>, Failure>;

fn done() -> Json<Value> {
    Json(json!({ "ok": true }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: String,
}

pub async fn create_user(State(handle): State<Handle>, body: Bytes) -> Made {
    let new: NewUser = read(&body)?;
    if handle.user(&new.name).is_some() {
        return Err(Failure::Said(format!("a user is called {} already", new.name)));
    }
    Ok(made(handle.create_user(&new.name)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBot {
    name: String,
    token: String,
    #[serde(default)]
    intents: Vec<String>,
}

pub async fn create_bot(State(handle): State<Handle>, body: Bytes) -> Made {
    let new: NewBot = read(&body)?;
    let taken = handle.with_world(|world| world.by_token(&new.token).is_some());
    if taken || new.token.is_empty() || handle.user(&new.name).is_some() {
        return Err(Failure::Said("the name or the token is taken".to_owned()));
    }
    let mut privileged = 0;
    for name in &new.intents {
        let bit = intents::privileged_by_name(name);
        privileged |= bit.ok_or_else(|| Failure::Said(format!("no privileged intent is called {name}")))?;
    }
    Ok(made(handle.create_bot(&new.name, &new.token, privileged)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Membership {
    guild: String,
    user: String,
}

pub async fn join(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: Membership = read(&body)?;
    handle.join_guild(guild(&handle, &wanted.guild)?, user(&handle, &wanted.user)?);
    Ok(done())
}

pub async fn leave(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: Membership = read(&body)?;
    handle.leave_guild(guild(&handle, &wanted.guild)?, user(&handle, &wanted.user)?)?;
    Ok(done())
}

/// Who does something where; the rest of the fields are the act's own.
#[derive(Deserialize)]
struct Act {
    user: String,
    channel: String,
    #[serde(default)]
    message: Option<Snowflake>,
    #[serde(default)]
    emoji: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

struct Who {
    user: Snowflake,
    channel: Snowflake,
}

impl Act {
    fn who(&self, handle: &Handle) -> Result<Who, Failure> {
        Ok(Who { user: user(handle, &self.user)?, channel: channel(handle, &self.channel)? })
    }

    fn message(&self) -> Result<Snowflake, Failure> {
        self.message.ok_or_else(|| Failure::Said("message is missing: the id of one".to_owned()))
    }

    fn emoji(&self) -> Result<&str, Failure> {
        self.emoji.as_deref().ok_or_else(|| Failure::Said("emoji is missing".to_owned()))
    }

    fn draft(&self) -> Result<Draft, Failure> {
        Ok(Draft::parse(&Value::Object(self.rest.clone()))?)
    }
}

/// Fields besides `user` and `channel` are those of Discord's own POST: content, embeds, components ...
pub async fn post(State(handle): State<Handle>, body: Bytes) -> Made {
    let act: Act = read(&body)?;
    let who = act.who(&handle)?;
    Ok(made(handle.post_draft(who.user, who.channel, act.draft()?)?))
}

pub async fn edit(State(handle): State<Handle>, body: Bytes) -> Made {
    let act: Act = read(&body)?;
    let (who, message, draft) = (act.who(&handle)?, act.message()?, act.draft()?);
    handle.with_world(|world| world.edit_message(who.user, who.channel, message, draft))?;
    Ok(done())
}

pub async fn delete(State(handle): State<Handle>, body: Bytes) -> Made {
    let act: Act = read(&body)?;
    let who = act.who(&handle)?;
    handle.delete(who.user, who.channel, act.message()?)?;
    Ok(done())
}

pub async fn react(State(handle): State<Handle>, body: Bytes) -> Made {
    let act: Act = read(&body)?;
    let who = act.who(&handle)?;
    handle.react(who.user, who.channel, act.message()?, act.emoji()?)?;
    Ok(done())
}

pub async fn unreact(State(handle): State<Handle>, body: Bytes) -> Made {
    let act: Act = read(&body)?;
    let who = act.who(&handle)?;
    handle.unreact(who.user, who.channel, act.message()?, act.emoji()?)?;
    Ok(done())
}

pub async fn type_in(State(handle): State<Handle>, body: Bytes) -> Made {
    let act: Act = read(&body)?;
    let who = act.who(&handle)?;
    handle.type_in(who.user, who.channel)?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    user: String,
    channel: String,
    command: String,
    #[serde(default)]
    options: Map<String, Value>,
    /// Of several bots with the command.
    #[serde(default)]
    bot: Option<String>,
}

pub async fn invoke(State(handle): State<Handle>, body: Bytes) -> Made {
    let wanted: Use = read(&body)?;
    let invocation = Invocation {
        user: user(&handle, &wanted.user)?,
        channel: channel(&handle, &wanted.channel)?,
        command: wanted.command,
        options: wanted.options,
        application: wanted.bot.map(|bot| user(&handle, &bot)).transpose()?,
    };
    Ok(made(handle.invoke_as(invocation)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Press {
    user: String,
    channel: String,
    message: Snowflake,
    custom_id: String,
    #[serde(default)]
    values: Option<Vec<String>>,
}

pub async fn press(State(handle): State<Handle>, body: Bytes) -> Made {
    let press: Press = read(&body)?;
    let (user, channel) = (user(&handle, &press.user)?, channel(&handle, &press.channel)?);
    Ok(made(handle.press(user, channel, press.message, &press.custom_id, press.values)?))
}
