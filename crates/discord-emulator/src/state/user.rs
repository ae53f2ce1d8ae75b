//! Users, and applications with their bots.

use std::collections::BTreeMap;

use data_encoding::BASE64_NOPAD;
use serde_json::{Value, json};

use super::{Command, World, intents};
use crate::id::Snowflake;

#[derive(Clone, Debug)]
pub struct User {
    pub id: Snowflake,
    pub username: String,
    pub bot: bool,
}

impl User {
    /// As `UserResponse` of Discord's API description.
    pub fn json(&self) -> Value {
        let mut user = json!({
            "id": self.id,
            "username": self.username,
            "avatar": null,
            "discriminator": if self.bot { "0001" } else { "0" },
            "public_flags": 0,
            "flags": 0,
            "global_name": if self.bot { None } else { Some(&self.username) },
            "primary_guild": null,
        });
        if self.bot {
            user["bot"] = json!(true);
        }
        user
    }

    /// As `UserPIIResponse`: what the user itself sees.
    pub fn own_json(&self) -> Value {
        let mut user = self.json();
        user["mfa_enabled"] = json!(true);
        user["locale"] = json!("en-US");
        user["premium_type"] = json!(0);
        user["email"] = Value::Null;
        user["verified"] = json!(true);
        user
    }
}

pub struct Application {
    pub id: Snowflake,
    pub name: String,
    pub token: String,
    /// Privileged intents that are switched on.
    pub privileged: u64,
    pub owner: Snowflake,
    pub global_commands: BTreeMap<Snowflake, Command>,
    pub guild_commands: BTreeMap<Snowflake, BTreeMap<Snowflake, Command>>,
}

impl Application {
    pub fn flags(&self) -> u64 {
        intents::application_flags(self.privileged)
    }
}

/// Discord's tokens begin with the bot's id, decimal, in base64.
fn id_in_token(token: &str) -> Option<Snowflake> {
    let (first, _) = token.split_once('.')?;
    let decoded = BASE64_NOPAD.decode(first.trim_end_matches('=').as_bytes()).ok()?;
    std::str::from_utf8(&decoded).ok()?.parse().ok().filter(|id: &Snowflake| id.0 > 0)
}

impl World {
    /// Whoever is not known is shown as a deleted user, as Discord shows them.
    pub fn user_json(&self, id: Snowflake) -> Value {
        match self.users.get(&id) {
            Some(user) => user.json(),
            None => User { id, username: format!("deleted_user_{id}"), bot: false }.json(),
        }
    }

    pub fn add_user(&mut self, username: &str, bot: bool) -> Snowflake {
        let id = self.clock.snowflake();
        self.users.insert(id, User { id, username: username.to_owned(), bot });
        id
    }

    /// `token`: what the bot identifies with. One in Discord's form gives the id: some libraries read it there.
    pub fn add_application(&mut self, name: &str, token: &str, privileged: u64) -> Snowflake {
        let owner = self.add_user(&format!("{name}-owner"), false);
        let id = id_in_token(token).filter(|id| !self.users.contains_key(id)).unwrap_or_else(|| self.clock.snowflake());
        self.users.insert(id, User { id, username: name.to_owned(), bot: true });
        let application = Application {
            id,
            name: name.to_owned(),
            token: token.to_owned(),
            privileged,
            owner,
            global_commands: BTreeMap::new(),
            guild_commands: BTreeMap::new(),
        };
        self.applications.insert(id, application);
        id
    }

    /// The bot that a token belongs to; the `Bot ` prefix is the caller's business.
    pub fn by_token(&self, token: &str) -> Option<Snowflake> {
        let known = self.applications.values().find(|application| application.token == token)?;
        Some(known.id)
    }

    pub fn user_by_name(&self, name: &str) -> Option<Snowflake> {
        self.users.values().find(|user| user.username == name).map(|user| user.id)
    }

    /// As `PrivateApplicationResponse`.
    pub fn application_json(&self, id: Snowflake) -> Option<Value> {
        let application = self.applications.get(&id)?;
        let guilds = self.guilds.values().filter(|guild| guild.members.contains_key(&id)).count();
        Some(json!({
            "id": application.id,
            "name": application.name,
            "icon": null,
            "description": "",
            "type": null,
            "verify_key": "0".repeat(64),
            "flags": application.flags(),
            "flags_new": application.flags().to_string(),
            "redirect_uris": [],
            "interactions_endpoint_url": null,
            "role_connections_verification_url": null,
            "owner": self.user_json(application.owner),
            "approximate_guild_count": guilds,
            "approximate_user_install_count": 0,
            "approximate_user_authorization_count": 0,
            "explicit_content_filter": 0,
            "team": null,
            "eligible_oauth2_scopes": [],
            "bot": self.user_json(id),
            "bot_public": true,
            "bot_require_code_grant": false,
            "summary": "",
        }))
    }
}
