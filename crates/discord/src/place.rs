//! Where a bot works: its guild, the category, the channels of the workers and of the task board.

use model::WorkerName;

use crate::error::BotError;
use crate::rest::{Rest, RestError};
use crate::snowflake::Snowflake;
use crate::types::{CATEGORY, Channel, TEXT};

pub const CATEGORY_NAME: &str = "netlat";
/// The task board; no worker may be called so.
pub const CONTROL_NAME: &str = "netlat-control";
/// The voice channel in which voice servers are measured.
pub const VOICE_NAME: &str = "netlat-voice";

/// The guild wanted, or the only one.
pub async fn guild(rest: &Rest, wanted: Option<Snowflake>) -> Result<Snowflake, BotError> {
    let guilds = rest.guilds().await?;
    match (wanted, guilds.as_slice()) {
        (Some(wanted), guilds) if guilds.iter().any(|guild| guild.id == wanted) => Ok(wanted),
        (Some(wanted), _) => Err(BotError::UnknownGuild(wanted)),
        (None, []) => Err(BotError::NoGuild),
        (None, [only]) => Ok(only.id),
        (None, several) => {
            let named = |guild: &crate::types::GuildSummary| {
                let name: String = guild.name.chars().filter(|c| !c.is_control()).take(40).collect();
                format!("{} {name}", guild.id)
            };
            Err(BotError::SeveralGuilds(several.iter().take(5).map(named).collect::<Vec<_>>().join(", ")))
        }
    }
}

/// The category and what is in it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub category: Option<Snowflake>,
    pub channels: Vec<Channel>,
}

impl Layout {
    pub async fn read(rest: &Rest, guild: Snowflake) -> Result<Layout, BotError> {
        Ok(Layout::of(rest.guild_channels(guild).await?))
    }

    /// Two categories of the name (two bots made one at the same time): the older one counts.
    pub fn of(all: Vec<Channel>) -> Layout {
        let ours = |channel: &&Channel| channel.kind == CATEGORY && channel.name.as_deref() == Some(CATEGORY_NAME);
        let category = all.iter().filter(ours).map(|channel| channel.id).min();
        Layout { category, channels: all }
    }

    fn find(&self, name: &str, kind: u8) -> Option<Snowflake> {
        let category = self.category?;
        let fits = |channel: &&Channel| {
            channel.kind == kind && channel.name.as_deref() == Some(name) && channel.parent_id == Some(category)
        };
        self.channels.iter().filter(fits).map(|channel| channel.id).min()
    }

    /// Every channel in the category that is named like a worker, oldest first. Of two with one name both are read.
    pub fn workers(&self) -> Vec<(Snowflake, WorkerName)> {
        let Some(category) = self.category else { return Vec::new() };
        let mut found: Vec<(Snowflake, WorkerName)> = self
            .channels
            .iter()
            .filter(|channel| channel.kind == TEXT && channel.parent_id == Some(category))
            .filter_map(|channel| Some((channel.id, WorkerName::new(channel.name.as_deref()?).ok()?)))
            .filter(|(_, name)| name.as_str() != CONTROL_NAME)
            .collect();
        found.sort();
        found
    }
}

/// A worker's channel, and whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerPlace {
    pub me: Snowflake,
    pub guild: Snowflake,
    pub channel: Snowflake,
}

/// Finds the worker's channel, or makes it.
pub async fn of_worker(rest: &Rest, wanted: Option<Snowflake>, worker: &WorkerName) -> Result<WorkerPlace, BotError> {
    let me = rest.me().await?.id;
    let guild = guild(rest, wanted).await?;
    let topic = format!("Latencies measured from {worker}. Written and read by netlat.");
    let channel = text_channel(rest, guild, worker.as_str(), &topic).await?;
    Ok(WorkerPlace { me, guild, channel })
}

/// The same, tried until Discord answers.
pub async fn of_worker_patiently(
    rest: &Rest,
    wanted: Option<Snowflake>,
    worker: &WorkerName,
) -> Result<WorkerPlace, BotError> {
    crate::main_bot::patiently(|| of_worker(rest, wanted, worker)).await
}

/// Finds a text channel in the category, or makes it, the category included.
pub async fn text_channel(rest: &Rest, guild: Snowflake, name: &str, topic: &str) -> Result<Snowflake, BotError> {
    channel(rest, guild, name, TEXT, topic).await
}

pub async fn channel(rest: &Rest, guild: Snowflake, name: &str, kind: u8, topic: &str) -> Result<Snowflake, BotError> {
    let layout = Layout::read(rest, guild).await?;
    if let Some(found) = layout.find(name, kind) {
        return Ok(found);
    }
    let category = match layout.category {
        Some(category) => category,
        None => {
            let made = create(rest, guild, CATEGORY_NAME, CATEGORY, None, "").await?;
            agreed(rest, made, Layout::read(rest, guild).await?.category).await
        }
    };
    let made = create(rest, guild, name, kind, Some(category), topic).await?;
    let oldest = Layout::read(rest, guild).await?.find(name, kind);
    Ok(agreed(rest, made, oldest).await)
}

/// Another bot may have made the same at the same time. All agree on the oldest; what is not needed goes.
async fn agreed(rest: &Rest, made: Snowflake, oldest: Option<Snowflake>) -> Snowflake {
    let Some(oldest) = oldest.filter(|oldest| *oldest != made) else { return made };
    if let Err(error) = rest.delete_channel(made).await {
        tracing::debug!("a channel that was made twice stays: {error}");
    }
    oldest
}

async fn create(
    rest: &Rest,
    guild: Snowflake,
    name: &str,
    kind: u8,
    parent: Option<Snowflake>,
    topic: &str,
) -> Result<Snowflake, BotError> {
    match rest.create_channel(guild, name, kind, parent, topic).await {
        Ok(channel) => {
            tracing::info!(name, "made a channel");
            Ok(channel.id)
        }
        Err(RestError::Forbidden { .. }) => Err(BotError::Permission {
            what: format!("create the channel {name}"),
            permission: "Manage Channels",
            guild,
        }),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: u64, kind: u8, name: &str, parent: Option<u64>) -> Channel {
        Channel {
            id: Snowflake(id),
            kind,
            name: Some(name.to_owned()),
            parent_id: parent.map(Snowflake),
            guild_id: None,
        }
    }

    #[test]
    fn only_channels_of_the_older_category_count() {
        let layout = Layout::of(vec![
            channel(9, CATEGORY, "netlat", None),
            channel(5, CATEGORY, "netlat", None),
            channel(6, TEXT, "nyc1", Some(9)),
            channel(8, TEXT, "nyc1", Some(5)),
            channel(7, TEXT, "netlat-control", Some(5)),
            channel(4, TEXT, "Not A Worker", Some(5)),
            channel(3, TEXT, "general", None),
        ]);
        assert_eq!(layout.workers(), [(Snowflake(8), WorkerName::new("nyc1").unwrap())]);
        assert_eq!((layout.find(CONTROL_NAME, TEXT), layout.find("general", TEXT)), (Some(Snowflake(7)), None));
        let bare = Layout::of(vec![channel(3, TEXT, "nyc1", None)]);
        assert_eq!((bare.workers().len(), bare.find("nyc1", TEXT)), (0, None));
    }
}
