//! First start: the invite link with exactly the permissions the bots use, and everything they need checked one by one.

use std::time::Duration;

use net::Clock;
use twilight_gateway::Intents;

use crate::error::BotError;
use crate::gateway::{Event, Gateway, GatewayConfig, Signal};
use crate::place;
use crate::rest::{Endpoint, Rest, RestConfig, Trust};
use crate::secret::Token;
use crate::snowflake::Snowflake;
use crate::types::GuildSummary;

/// Each permission the bots use, its bit (reference, "Permissions") and what for.
pub const PERMISSIONS: [(&str, u64, &str); 7] = [
    ("Manage Channels", 1 << 4, "to make the category and the channels"),
    ("Add Reactions", 1 << 6, "to hand out turns among bots that share a token"),
    ("View Channels", 1 << 10, "to read the channels"),
    ("Send Messages", 1 << 11, "to post records and the status"),
    ("Attach Files", 1 << 15, "to post an export"),
    ("Read Message History", 1 << 16, "to read records from where it stopped"),
    ("Connect", 1 << 20, "to measure voice servers"),
];
const ADMINISTRATOR: u64 = 1 << 3;
const TIMEOUT: Duration = Duration::from_secs(15);
/// A gateway that is asked politely answers within this.
const READY: Duration = Duration::from_secs(30);

/// All of [`PERMISSIONS`] as one number.
pub fn permissions() -> u64 {
    PERMISSIONS.iter().map(|(_, bit, _)| bit).sum()
}

/// The page on which a guild's owner lets the bot in.
pub fn invite(application: Snowflake) -> String {
    format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot%20applications.commands&permissions={}",
        permissions()
    )
}

pub struct SetupConfig {
    pub token: Token,
    pub guild: Option<Snowflake>,
    pub api: Endpoint,
    pub gateway: Option<Endpoint>,
    pub clock: Clock,
}

/// What was found right.
#[derive(Clone, Debug)]
pub struct Ready {
    pub guild: Snowflake,
    pub user: Snowflake,
    pub may_read_content: bool,
}

/// Checks step by step and tells each, `told` with a line; the first that fails is the error.
pub async fn check(config: SetupConfig, told: &mut dyn FnMut(String)) -> Result<Ready, BotError> {
    let rest = Rest::new(RestConfig {
        endpoint: config.api.clone(),
        token: config.token.clone(),
        trust: Trust::load()?,
        clock: config.clock.clone(),
        timeout: TIMEOUT,
    });
    let me = rest.me().await?;
    let name: String = me.username.chars().filter(|c| !c.is_control()).take(40).collect();
    told(format!("token: ok, it is the bot {name} ({})", me.id));
    let application = rest.application().await?;
    told(format!("invite link: {}", invite(application.id)));
    let may_read_content = application.may_read_content();
    told(match may_read_content {
        true => "intents: Message Content Intent is on".to_owned(),
        false => "intents: Message Content Intent is off; it is needed only where main bots have tokens of their own, or for text commands without a mention (developer portal, Bot, Privileged Gateway Intents)".to_owned(),
    });
    let guild = place::guild(&rest, config.guild).await?;
    let guilds = rest.guilds().await?;
    let summary = guilds.iter().find(|known| known.id == guild).ok_or(BotError::UnknownGuild(guild))?;
    check_permissions(summary)?;
    told(format!("guild: ok, {guild}, with every permission the bots use"));
    let control = place::text_channel(&rest, guild, place::CONTROL_NAME, "NetLat's task board").await?;
    rest.messages(control, crate::api::Page::Newest, 1).await.map_err(|error| match error {
        crate::rest::RestError::Forbidden { .. } => BotError::ChannelPermission { channel: control },
        error => error.into(),
    })?;
    told(format!("channels: ok, the task board is channel {control}"));
    let mut intents = Intents::GUILDS | Intents::GUILD_MESSAGES;
    if may_read_content {
        intents |= Intents::MESSAGE_CONTENT;
    }
    log_in(GatewayConfig { token: config.token, endpoint: config.gateway, intents, clock: config.clock }).await?;
    told("gateway: ok, a session was given".to_owned());
    Ok(Ready { guild, user: me.id, may_read_content })
}

fn check_permissions(guild: &GuildSummary) -> Result<(), BotError> {
    // Absent where Discord does not tell; then the channels' own answers will.
    let Some(has) = guild.permissions.as_deref().and_then(|text| text.parse::<u64>().ok()) else { return Ok(()) };
    let missing = PERMISSIONS.iter().find(|(_, bit, _)| has & (bit | ADMINISTRATOR) == 0);
    match missing {
        Some((permission, _, why)) => {
            Err(BotError::Permission { what: (*why).trim_start_matches("to ").to_owned(), permission, guild: guild.id })
        }
        None => Ok(()),
    }
}

async fn log_in(config: GatewayConfig) -> Result<(), BotError> {
    let mut gateway = Gateway::new(config);
    let session = async {
        loop {
            if let Signal::Event { event, .. } = gateway.next().await?
                && matches!(*event, Event::Ready(_))
            {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(READY, session).await.unwrap_or(Err(BotError::NoSession(READY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invite_asks_for_exactly_what_is_listed() {
        // Worked out by hand: 16 + 64 + 1024 + 2048 + 32768 + 65536 + 1048576.
        assert_eq!(permissions(), 1_150_032);
        assert!(invite(Snowflake(7)).ends_with("client_id=7&scope=bot%20applications.commands&permissions=1150032"));
    }

    #[test]
    fn the_first_missing_permission_is_named() {
        let guild =
            |bits: u64| GuildSummary { id: Snowflake(1), name: String::new(), permissions: Some(bits.to_string()) };
        assert!(check_permissions(&guild(permissions())).is_ok() && check_permissions(&guild(ADMINISTRATOR)).is_ok());
        let error = check_permissions(&guild(permissions() & !(1 << 16))).unwrap_err().to_string();
        assert!(error.contains("Read Message History"), "{error}");
    }
}
