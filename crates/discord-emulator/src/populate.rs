//! Makes the world that a configuration describes. Names stand for ids; a name that is not known is an error.

use crate::config::{ChannelEntry, Config, GuildEntry, RegionEntry};
use crate::error::EmulatorError;
use crate::id::Snowflake;
use crate::state::{Channel, ChannelKind, Overwrite, Region, World, intents, permission};

/// Voice regions where the configuration names none.
const REGIONS: [(&str, &str); 4] = [("rotterdam", "ams"), ("us-east", "iad"), ("us-west", "sjc"), ("singapore", "sin")];

fn bad(problem: String) -> EmulatorError {
    EmulatorError::Config { origin: "configuration".to_owned(), problem }
}

fn bits(names: &[String]) -> Result<u64, EmulatorError> {
    names.iter().try_fold(0, |bits, name| {
        let bit = permission::by_name(name).ok_or_else(|| bad(format!("no permission is called {name}")))?;
        Ok(bits | bit)
    })
}

pub fn populate(world: &mut World, config: &Config) -> Result<(), EmulatorError> {
    world.regions = regions(&config.regions)?;
    for entry in &config.applications {
        let privileged = entry.intents.iter().try_fold(0, |bits, name| {
            let bit = intents::privileged_by_name(name);
            let bit =
                bit.ok_or_else(|| bad(format!("application {}: no privileged intent is called {name}", entry.name)))?;
            Ok::<u64, EmulatorError>(bits | bit)
        })?;
        if entry.token.is_empty() || world.by_token(&entry.token).is_some() {
            return Err(bad(format!("application {}: its token is empty or another's", entry.name)));
        }
        unused(world, &entry.name)?;
        world.add_application(&entry.name, &entry.token, privileged);
    }
    for entry in &config.users {
        unused(world, &entry.name)?;
        world.add_user(&entry.name, false);
    }
    for entry in &config.guilds {
        guild(world, entry)?;
    }
    Ok(())
}

fn unused(world: &World, name: &str) -> Result<(), EmulatorError> {
    match world.user_by_name(name) {
        Some(_) => Err(bad(format!("two users or applications are called {name}"))),
        None => Ok(()),
    }
}

fn regions(entries: &[RegionEntry]) -> Result<Vec<Region>, EmulatorError> {
    if entries.is_empty() {
        let region = |(id, iata): &(&str, &str)| RegionEntry {
            id: (*id).to_owned(),
            iata: Some((*iata).to_owned()),
            hosts: Vec::new(),
            optimal: *id == REGIONS[0].0,
        };
        return regions(&REGIONS.iter().map(region).collect::<Vec<_>>());
    }
    let made = entries.iter().map(|entry| {
        let label = |text: &str| {
            (1..=63).contains(&text.len()) && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
        };
        let mut hosts = entry.hosts.clone();
        if hosts.is_empty() {
            let code = entry.iata.clone().unwrap_or_else(|| entry.id.chars().take(3).collect());
            hosts = (1..=2).map(|number| voice_host(&code, &entry.id, number)).collect();
        }
        if let Some(wrong) = hosts.iter().chain([&entry.id]).find(|text| !label(text)) {
            return Err(bad(format!("region {}: {wrong} cannot be a part of a host name", entry.id)));
        }
        Ok(Region { id: entry.id.clone(), name: entry.id.clone(), optimal: entry.optimal, hosts })
    });
    made.collect()
}

/// `c-ams01-44aff7ca`: the hexadecimal part is FNV-1a of the region and number, so that it stays the same.
fn voice_host(code: &str, region: &str, number: u32) -> String {
    let hash = region
        .bytes()
        .chain(number.to_be_bytes())
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("c-{code}{number:02}-{hash:08x}")
}

fn guild(world: &mut World, entry: &GuildEntry) -> Result<(), EmulatorError> {
    let name = &entry.name;
    let known = |world: &World, user: &str| {
        world.user_by_name(user).ok_or_else(|| bad(format!("guild {name}: no user or application is called {user}")))
    };
    let region = entry.region.clone().unwrap_or_else(|| world.regions[0].id.clone());
    if !world.regions.iter().any(|known| known.id == region) {
        return Err(bad(format!("guild {name}: no region is called {region}")));
    }
    let owner = known(world, &entry.owner)?;
    let id = world.add_guild(name, owner, &region);
    if let Some(everyone) = &entry.everyone {
        let permissions = bits(everyone)?;
        if let Some(role) = world.guilds.get_mut(&id).and_then(|guild| guild.roles.get_mut(&id)) {
            role.permissions = permissions;
        }
    }
    for role in &entry.roles {
        let permissions = bits(&role.permissions)?;
        world
            .add_role(id, &role.name, permissions)
            .map_err(|refusal| bad(format!("guild {name}: {}", refusal.message)))?;
    }
    for member in &entry.members {
        let user = known(world, &member.name)?;
        let roles = member.roles.iter().map(|role| role_id(world, id, role)).collect::<Result<Vec<_>, _>>()?;
        world.join(id, user, roles);
        let permissions = bits(&member.permissions)?;
        let Some(guild) = world.guilds.get_mut(&id) else { continue };
        match guild.roles.values_mut().find(|role| role.bot == Some(user)) {
            Some(role) => role.permissions = permissions,
            None if permissions != 0 => {
                return Err(bad(format!("guild {name}: {} is no bot; give it a role instead", member.name)));
            }
            None => {}
        }
    }
    for channel in &entry.channels {
        add_channel(world, id, channel)?;
    }
    Ok(())
}

fn role_id(world: &World, guild: Snowflake, name: &str) -> Result<Snowflake, EmulatorError> {
    let roles = world.guilds.get(&guild).map(|guild| &guild.roles);
    let found = roles.and_then(|roles| roles.values().find(|role| role.name == name));
    found.map(|role| role.id).ok_or_else(|| bad(format!("no role is called {name}")))
}

fn add_channel(world: &mut World, guild: Snowflake, entry: &ChannelEntry) -> Result<(), EmulatorError> {
    let here = |problem: String| bad(format!("channel {}: {problem}", entry.name));
    let kind = entry.kind.as_deref().unwrap_or("text");
    let kind = ChannelKind::by_name(kind).ok_or_else(|| here(format!("no kind is called {kind}")))?;
    let id = world.clock.snowflake();
    let mut channel = Channel::new(id, kind, Some(guild), &entry.name);
    channel.position = world.guilds.get(&guild).map_or(0, |guild| guild.channels.len() as u32);
    if let Some(parent) = &entry.parent {
        let is_parent = |known: &&Channel| {
            known.guild == Some(guild) && known.kind == ChannelKind::Category && known.name == *parent
        };
        let found = world.channels.values().find(is_parent);
        channel.parent = Some(found.ok_or_else(|| here(format!("no category is called {parent}")))?.id);
    }
    if let Some(region) = &entry.region {
        if !world.regions.iter().any(|known| known.id == *region) {
            return Err(here(format!("no region is called {region}")));
        }
        channel.rtc_region = Some(region.clone());
    }
    for overwrite in &entry.overwrites {
        let (target, member) = match (role_id(world, guild, &overwrite.target), world.user_by_name(&overwrite.target)) {
            // A bot's own role has the bot's name: the bot is meant.
            (_, Some(user)) => (user, true),
            (Ok(role), None) => (role, false),
            (Err(_), None) => return Err(here(format!("no role or user is called {}", overwrite.target))),
        };
        let (allow, deny) = (bits(&overwrite.allow)?, bits(&overwrite.deny)?);
        channel.overwrites.push(Overwrite { id: target, member, allow, deny });
    }
    world.channels.insert(id, channel);
    if let Some(guild) = world.guilds.get_mut(&guild) {
        guild.channels.push(id);
    }
    Ok(())
}
