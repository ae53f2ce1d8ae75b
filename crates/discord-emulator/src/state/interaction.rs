//! Interactions: a user invokes a command or presses a button, and the application's bot learns of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::permission::{self, USE_APPLICATION_COMMANDS};
use super::{Audience, Command, Event, Message, Refusal, World};
use crate::id::Snowflake;

/// Interactions remembered; the tokens of older ones are over or nobody asked for an answer.
const KEPT: usize = 10_000;

pub struct Interaction {
    pub id: Snowflake,
    pub token: String,
    pub application: Snowflake,
    /// 2 command, 3 component.
    pub kind: u8,
    pub name: String,
    pub user: Snowflake,
    pub channel: Snowflake,
    pub guild: Option<Snowflake>,
    pub created: Instant,
    /// Type of the callback that answered it.
    pub answer: Option<u64>,
    /// The message of the answer; for a component, the one it stands on.
    pub original: Option<Snowflake>,
    /// Data of a modal or autocomplete answer.
    pub other_answer: Option<Value>,
    pub followups: Vec<Snowflake>,
    /// Messages only the user sees.
    pub ephemeral: BTreeMap<Snowflake, Message>,
}

/// A user's use of a slash command.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub user: Snowflake,
    pub channel: Snowflake,
    pub command: String,
    /// Option names and values; a subcommand's value is a map of its own options.
    pub options: Map<String, Value>,
    /// Where two bots have the same command.
    pub application: Option<Snowflake>,
}

impl World {
    /// The user invokes a slash command as Discord's client would: what that would not let through is refused here.
    /// `token`: fresh and unguessable.
    pub fn invoke(&mut self, invocation: Invocation, token: String) -> Result<Snowflake, Refusal> {
        let user = invocation.user;
        let channel = self.channel_for(user, invocation.channel, USE_APPLICATION_COMMANDS)?;
        let guild = channel.guild;
        let (application, command) = self.find_command(&invocation, guild)?;
        if let (Some(needed), Some(guild)) = (command.default_member_permissions, guild) {
            let bits = self.guilds.get(&guild).and_then(|guild| permission::in_guild(guild, user)).unwrap_or(0);
            if bits & needed != needed || needed == 0 && bits & permission::ADMINISTRATOR == 0 {
                return Err(Refusal::MISSING_PERMISSIONS);
            }
        }
        let options = given(&command.options, &invocation.options)?;
        let mut data = json!({ "id": command.id, "name": command.name, "type": command.kind });
        let resolved = self.resolved(&options, guild);
        if !options.is_empty() {
            data["options"] = json!(options);
        }
        if resolved.as_object().is_some_and(|map| !map.is_empty()) {
            data["resolved"] = resolved;
        }
        if let Some(guild) = command.guild {
            data["guild_id"] = json!(guild);
        }
        let name = spelled(&command.name, &options);
        self.begin(application, 2, name, user, invocation.channel, None, data, token)
    }

    /// The user presses a button or selects in a menu of a message.
    pub fn press(
        &mut self,
        user: Snowflake,
        channel: Snowflake,
        message: Snowflake,
        custom_id: &str,
        values: Option<Vec<String>>,
        token: String,
    ) -> Result<Snowflake, Refusal> {
        let message = self.message(user, channel, message)?;
        let component = find_component(&message.components, custom_id, 0);
        let component = component.filter(|component| component["disabled"] != true);
        let component = component.ok_or_else(|| Refusal::required("custom_id"))?;
        let mut data = json!({ "custom_id": custom_id, "component_type": component["type"], "id": component["id"] });
        if let Some(values) = values {
            data["values"] = json!(values);
        }
        let (author, id) = (message.author, message.id);
        self.begin(author, 3, custom_id.to_owned(), user, channel, Some(id), data, token)
    }

    fn find_command(&self, wanted: &Invocation, guild: Option<Snowflake>) -> Result<(Snowflake, Command), Refusal> {
        let here = |application: Snowflake| match guild.and_then(|id| self.guilds.get(&id)) {
            Some(guild) => guild.members.contains_key(&application),
            None => self.channels.get(&wanted.channel).is_some_and(|channel| channel.recipients.contains(&application)),
        };
        let named = |command: &&Command| command.name == wanted.command && command.kind == 1;
        let mut candidates: Vec<_> = self
            .applications
            .values()
            .filter(|application| wanted.application.is_none_or(|id| id == application.id) && here(application.id))
            .collect();
        candidates.sort_by_key(|application| application.id);
        for application in candidates {
            let local = guild.and_then(|id| application.guild_commands.get(&id));
            let context = u64::from(guild.is_none());
            let fits = |command: &&Command| command.contexts.as_ref().is_none_or(|list| list.contains(&context));
            let found = local
                .and_then(|commands| commands.values().find(named))
                .or_else(|| application.global_commands.values().filter(fits).find(named));
            if let Some(command) = found {
                return Ok((application.id, command.clone()));
            }
        }
        Err(Refusal::UNKNOWN_COMMAND)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one interaction, named at both callers")]
    fn begin(
        &mut self,
        application: Snowflake,
        kind: u8,
        name: String,
        user: Snowflake,
        channel_id: Snowflake,
        message: Option<Snowflake>,
        data: Value,
        token: String,
    ) -> Result<Snowflake, Refusal> {
        let id = self.clock.snowflake();
        let channel = self.channel(channel_id)?;
        let guild_id = channel.guild;
        let mut event = json!({
            "id": id,
            "application_id": application,
            "type": kind,
            "token": token,
            "version": 1,
            "data": data,
            "channel_id": channel_id,
            "channel": self.channel_json(channel),
            "locale": "en-US",
            "entitlements": [],
            "entitlement_sku_ids": [],
            "app_permissions": self.permissions(application, channel).to_string(),
            "attachment_size_limit": 10_485_760,
            "context": u64::from(guild_id.is_none()),
            "authorizing_integration_owners": { "0": guild_id.map_or("0".to_owned(), |id| id.to_string()) },
        });
        let audience = match guild_id.and_then(|id| self.guilds.get(&id)) {
            Some(guild) => {
                event["guild_id"] = json!(guild.id);
                event["guild_locale"] = json!("en-US");
                event["guild"] = json!({ "id": guild.id, "locale": "en-US", "features": [] });
                let member = guild.members.get(&user).ok_or(Refusal::UNKNOWN_MEMBER)?;
                event["member"] = self.member_json(member);
                event["member"]["permissions"] = json!(self.permissions(user, channel).to_string());
                event["channel"]["permissions"] = event["member"]["permissions"].clone();
                Audience::UserInGuild(application, guild.id)
            }
            None => {
                event["user"] = self.user_json(user);
                Audience::User(application)
            }
        };
        if let Some(message) = message.and_then(|id| channel.messages.get(&id)) {
            event["message"] = self.message_json(message, application);
        }
        let interaction = Interaction {
            id,
            token,
            application,
            kind,
            name,
            user,
            channel: channel_id,
            guild: guild_id,
            created: Instant::now(),
            answer: None,
            original: message,
            other_answer: None,
            followups: Vec::new(),
            ephemeral: BTreeMap::new(),
        };
        self.interactions.insert(id, interaction);
        self.interaction_order.push_back(id);
        while self.interaction_order.len() > KEPT {
            if let Some(oldest) = self.interaction_order.pop_front() {
                self.interactions.remove(&oldest);
            }
        }
        self.publish(Event::new("INTERACTION_CREATE", event, 0, audience));
        Ok(id)
    }

    /// Users, roles and channels that options name.
    fn resolved(&self, options: &[Value], guild: Option<Snowflake>) -> Value {
        let mut resolved = json!({});
        let guild = guild.and_then(|id| self.guilds.get(&id));
        let mut pending: Vec<&Value> = options.iter().collect();
        while let Some(option) = pending.pop() {
            pending.extend(option["options"].as_array().into_iter().flatten());
            let Some(id) = option["value"].as_str().and_then(|text| text.parse::<Snowflake>().ok()) else { continue };
            let key = id.to_string();
            let kind = option["type"].as_u64().unwrap_or(0);
            if matches!(kind, 6 | 9) && self.users.contains_key(&id) {
                resolved["users"][&key] = self.user_json(id);
                if let Some((guild, member)) = guild.and_then(|guild| Some((guild, guild.members.get(&id)?))) {
                    let bits = permission::in_guild(guild, id).unwrap_or(0);
                    resolved["members"][&key] = member.partial_json();
                    resolved["members"][&key]["permissions"] = json!(bits.to_string());
                }
            }
            if kind == 7
                && let Some(channel) = self.channels.get(&id)
            {
                let bits = self.permissions(channel.recipients.first().copied().unwrap_or_default(), channel);
                resolved["channels"][&key] = self.channel_json(channel);
                resolved["channels"][&key]["permissions"] = json!(bits.to_string());
            }
            if matches!(kind, 8 | 9)
                && let Some(role) = guild.and_then(|guild| guild.roles.get(&id))
            {
                resolved["roles"][&key] = role.json();
            }
        }
        resolved
    }
}

/// What the client sends for the given values, checked against the command's own options.
fn given(known: &[Value], values: &Map<String, Value>) -> Result<Vec<Value>, Refusal> {
    for name in values.keys() {
        if !known.iter().any(|option| option["name"] == name.as_str()) {
            return Err(Refusal::field(
                &format!("options.{name}"),
                "APPLICATION_COMMAND_OPTION_UNKNOWN",
                "No such option",
            ));
        }
    }
    let mut options = Vec::new();
    for option in known {
        let name = option["name"].as_str().unwrap_or_default();
        let kind = option["type"].as_u64().unwrap_or(3);
        let Some(value) = values.get(name) else {
            if option["required"] == true {
                return Err(Refusal::required(&format!("options.{name}")));
            }
            continue;
        };
        let wrong =
            || Refusal::field(&format!("options.{name}"), "APPLICATION_COMMAND_OPTION_TYPE", "Wrong type of value");
        if kind <= 2 {
            let inner =
                given(option["options"].as_array().map_or(&[], Vec::as_slice), value.as_object().ok_or_else(wrong)?)?;
            options.push(json!({ "name": name, "type": kind, "options": inner }));
            continue;
        }
        let fits = match kind {
            4 => value.is_i64() || value.is_u64(),
            5 => value.is_boolean(),
            10 => value.is_number(),
            _ => value.is_string(),
        };
        let choices = option["choices"].as_array();
        let chosen = choices.is_none_or(|list| list.is_empty() || list.iter().any(|choice| choice["value"] == *value));
        if !fits || !chosen {
            return Err(wrong());
        }
        options.push(json!({ "name": name, "type": kind, "value": value }));
    }
    let uses_subcommands = known.iter().any(|option| option["type"].as_u64().unwrap_or(3) <= 2);
    if uses_subcommands && options.len() != 1 {
        return Err(Refusal::required("options"));
    }
    Ok(options)
}

/// `task start`: a command with the subcommands that were chosen.
fn spelled(command: &str, options: &[Value]) -> String {
    let mut name = command.to_owned();
    let mut level = options;
    while let [only] = level
        && only["type"].as_u64().is_some_and(|kind| kind <= 2)
    {
        name.push(' ');
        name.push_str(only["name"].as_str().unwrap_or_default());
        level = only["options"].as_array().map_or(&[], Vec::as_slice);
    }
    name
}

fn find_component<'a>(components: &'a [Value], custom_id: &str, depth: usize) -> Option<&'a Value> {
    components.iter().find_map(|component| {
        if component["custom_id"] == custom_id {
            return Some(component);
        }
        let children = component["components"].as_array().filter(|_| depth < 5);
        let inner = children.and_then(|children| find_component(children, custom_id, depth + 1));
        inner.or_else(|| component.get("accessory").filter(|accessory| accessory["custom_id"] == custom_id))
    })
}
