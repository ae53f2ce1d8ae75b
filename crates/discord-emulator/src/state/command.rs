//! Application commands: registering, listing, bulk overwrite, per application and per guild.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Fields, Refusal, World};
use crate::id::Snowflake;

/// Commands of one kind an application may have in one place.
const COMMANDS: usize = 100;
const OPTIONS: usize = 25;

#[derive(Clone, Debug)]
pub struct Command {
    pub id: Snowflake,
    pub version: Snowflake,
    pub name: String,
    /// 1 slash command, 2 of a user, 3 of a message.
    pub kind: u64,
    pub description: String,
    pub options: Vec<Value>,
    pub default_member_permissions: Option<u64>,
    pub nsfw: bool,
    pub guild: Option<Snowflake>,
    /// Where it may be used: 0 guilds, 1 the bot's direct channel, 2 other private channels. `None`: everywhere.
    pub contexts: Option<Vec<u64>>,
    pub name_localizations: Value,
    pub description_localizations: Value,
}

impl Command {
    fn parse(body: &Value, id: Snowflake, version: Snowflake, guild: Option<Snowflake>) -> Result<Command, Refusal> {
        let fields = Fields::of(body)?;
        let kind = fields.integer("type", 1, 3)?.unwrap_or(1);
        let name = fields.text("name", 1, 32)?.ok_or_else(|| Refusal::required("name"))?;
        if kind == 1 {
            slash_name("name", &name)?;
        }
        let description = match kind {
            1 => fields.text("description", 1, 100)?.ok_or_else(|| Refusal::required("description"))?,
            _ => String::new(),
        };
        let contexts = match fields.list("contexts", 3)? {
            Some(list) => Some(list.iter().filter_map(Value::as_u64).collect()),
            None if fields.boolean("dm_permission")? == Some(false) => Some(vec![0]),
            None => None,
        };
        Ok(Command {
            id,
            version,
            name,
            kind,
            description,
            options: options(&fields, 0)?,
            default_member_permissions: fields.bits("default_member_permissions")?,
            nsfw: fields.boolean("nsfw")?.unwrap_or(false),
            guild,
            contexts,
            name_localizations: fields.get("name_localizations").cloned().unwrap_or(Value::Null),
            description_localizations: fields.get("description_localizations").cloned().unwrap_or(Value::Null),
        })
    }

    /// As `ApplicationCommandResponse`.
    pub fn json(&self, application: Snowflake) -> Value {
        let mut json = json!({
            "id": self.id,
            "application_id": application,
            "version": self.version,
            "default_member_permissions": self.default_member_permissions.map(|bits| bits.to_string()),
            "type": self.kind,
            "name": self.name,
            "name_localizations": self.name_localizations,
            "description": self.description,
            "description_localizations": self.description_localizations,
            "nsfw": self.nsfw,
        });
        if !self.options.is_empty() {
            json["options"] = json!(self.options);
        }
        match self.guild {
            Some(guild) => json["guild_id"] = json!(guild),
            None => {
                json["dm_permission"] = json!(self.contexts.as_ref().is_none_or(|list| list.contains(&1)));
                json["contexts"] = json!(self.contexts);
                json["integration_types"] = json!([0]);
            }
        }
        json
    }
}

fn slash_name(path: &str, name: &str) -> Result<(), Refusal> {
    let fits = |char: char| char.is_alphanumeric() || "-_'".contains(char) || !char.is_ascii();
    if name.chars().all(fits) && name == name.to_lowercase() {
        return Ok(());
    }
    Err(Refusal::field(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid"))
}

/// `parent`: type of what they stand in, 0 for the command itself.
fn options(fields: &Fields<'_>, parent: u64) -> Result<Vec<Value>, Refusal> {
    let mut checked = Vec::new();
    for option in fields.list("options", OPTIONS)?.into_iter().flatten() {
        let inner = Fields::of(option)?;
        let kind = inner.integer("type", 1, 11)?.ok_or_else(|| Refusal::required("options.type"))?;
        let name = inner.text("name", 1, 32)?.ok_or_else(|| Refusal::required("options.name"))?;
        slash_name("options.name", &name)?;
        inner.text("description", 1, 100)?.ok_or_else(|| Refusal::required("options.description"))?;
        inner.list("choices", OPTIONS)?;
        // A group holds subcommands, a subcommand holds values; nothing else nests.
        let fits = match kind {
            1 => parent != 1,
            2 => parent == 0,
            _ => parent != 2,
        };
        if !fits {
            let text = "Sub-command or group is in the wrong place";
            return Err(Refusal::field("options.type", "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", text));
        }
        let mut option = option.clone();
        if let Value::Object(map) = &mut option {
            map.retain(|_, value| !value.is_null());
        }
        if kind <= 2 {
            let nested = options(&inner, kind)?;
            option["options"] = json!(nested);
        }
        checked.push(option);
    }
    Ok(checked)
}

impl World {
    fn commands_mut(
        &mut self,
        application: Snowflake,
        guild: Option<Snowflake>,
    ) -> Result<&mut BTreeMap<Snowflake, Command>, Refusal> {
        if let Some(guild) = guild {
            // The application must be in the guild.
            self.guild_of(application, guild).map_err(|_| Refusal::MISSING_ACCESS)?;
        }
        let application = self.applications.get_mut(&application).ok_or(Refusal::UNKNOWN_APPLICATION)?;
        Ok(match guild {
            Some(guild) => application.guild_commands.entry(guild).or_default(),
            None => &mut application.global_commands,
        })
    }

    pub fn commands(&mut self, application: Snowflake, guild: Option<Snowflake>) -> Result<Vec<Value>, Refusal> {
        let commands = self.commands_mut(application, guild)?;
        Ok(commands.values().map(|command| command.json(application)).collect())
    }

    pub fn command(
        &mut self,
        application: Snowflake,
        guild: Option<Snowflake>,
        id: Snowflake,
    ) -> Result<Value, Refusal> {
        let commands = self.commands_mut(application, guild)?;
        commands.get(&id).map(|command| command.json(application)).ok_or(Refusal::UNKNOWN_COMMAND)
    }

    /// Registers one; a command of the same name and type is replaced and keeps its id. The flag: it is new.
    pub fn put_command(
        &mut self,
        application: Snowflake,
        guild: Option<Snowflake>,
        body: &Value,
    ) -> Result<(Value, bool), Refusal> {
        let (id, version) = (self.clock.snowflake(), self.clock.snowflake());
        let mut command = Command::parse(body, id, version, guild)?;
        let commands = self.commands_mut(application, guild)?;
        let same = commands.values().find(|known| known.name == command.name && known.kind == command.kind);
        let new = same.is_none();
        match same {
            Some(known) => command.id = known.id,
            None if commands.len() >= COMMANDS => return Err(Refusal::TOO_MANY_COMMANDS),
            None => {}
        }
        let json = command.json(application);
        commands.insert(command.id, command);
        Ok((json, new))
    }

    pub fn edit_command(
        &mut self,
        application: Snowflake,
        guild: Option<Snowflake>,
        id: Snowflake,
        body: &Value,
    ) -> Result<Value, Refusal> {
        let version = self.clock.snowflake();
        let mut merged = self.command(application, guild, id)?;
        if let (Value::Object(merged), Value::Object(body)) = (&mut merged, body) {
            merged.extend(body.clone());
        }
        let command = Command::parse(&merged, id, version, guild)?;
        let json = command.json(application);
        self.commands_mut(application, guild)?.insert(id, command);
        Ok(json)
    }

    /// PUT: these and no others. Those that stay (by name and type) keep their ids.
    pub fn overwrite_commands(
        &mut self,
        application: Snowflake,
        guild: Option<Snowflake>,
        body: &Value,
    ) -> Result<Vec<Value>, Refusal> {
        let list = body.as_array().ok_or(Refusal::INVALID_FORM)?;
        if list.len() > COMMANDS {
            return Err(Refusal::TOO_MANY_COMMANDS);
        }
        let mut parsed: Vec<Command> = Vec::new();
        for body in list {
            let (id, version) = (self.clock.snowflake(), self.clock.snowflake());
            let command = Command::parse(body, id, version, guild)?;
            if parsed.iter().any(|other| other.name == command.name && other.kind == command.kind) {
                let text = "Application command names must be unique";
                return Err(Refusal::field("name", "APPLICATION_COMMANDS_DUPLICATE_NAME", text));
            }
            parsed.push(command);
        }
        let commands = self.commands_mut(application, guild)?;
        for command in &mut parsed {
            if let Some(known) =
                commands.values().find(|known| known.name == command.name && known.kind == command.kind)
            {
                command.id = known.id;
            }
        }
        *commands = parsed.into_iter().map(|command| (command.id, command)).collect();
        self.commands(application, guild)
    }

    pub fn delete_command(
        &mut self,
        application: Snowflake,
        guild: Option<Snowflake>,
        id: Snowflake,
    ) -> Result<(), Refusal> {
        let commands = self.commands_mut(application, guild)?;
        commands.remove(&id).map(|_| ()).ok_or(Refusal::UNKNOWN_COMMAND)
    }
}
