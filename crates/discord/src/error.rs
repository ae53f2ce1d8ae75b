//! Why a bot ends, one line each.

use std::path::PathBuf;

use model::{Problem, WorkerName};

use crate::gateway::GatewayEnd;
use crate::rest::{NoTrust, RestError};
use crate::snowflake::Snowflake;

#[derive(Debug, thiserror::Error)]
pub enum BotError {
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error(transparent)]
    Gateway(#[from] GatewayEnd),
    #[error(transparent)]
    Trust(#[from] NoTrust),
    #[error(transparent)]
    Tokens(crate::tokens::TokensError),
    #[error(transparent)]
    Deployment(#[from] Problem),
    #[error("cannot use {}: {source}", path.display())]
    Data { path: PathBuf, source: std::io::Error },
    #[error("another bot already uses {}: one main bot serves one worker, stop the other or give this one another --name", path.display())]
    Locked { path: PathBuf },
    #[error(
        "another main bot posts for worker {worker} (boot {boot}), and it was first: stop one of the two, or give this one another --name"
    )]
    SecondBot { worker: WorkerName, boot: String },
    #[error("a worker cannot be called {0}, which is the task board's channel: give another --name")]
    ReservedName(WorkerName),
    #[error("the bot is in no guild: open the invite link that `netlat bot setup` prints")]
    NoGuild,
    #[error("the bot is not in guild {0}: check the id, or open the invite link that `netlat bot setup` prints")]
    UnknownGuild(Snowflake),
    #[error("the bot is in several guilds ({0}): say which with --guild or `guild` in the tokens file")]
    SeveralGuilds(String),
    #[error(
        "the bot may not {what} in guild {guild}: give its role the permission {permission}, or open the invite link of `netlat bot setup` again"
    )]
    Permission { what: String, permission: &'static str, guild: Snowflake },
    #[error(
        "the bot may not read or write channel {channel}: give its role View Channel, Send Messages and Read Message History there"
    )]
    ChannelPermission { channel: Snowflake },
    #[error("channel {channel} is gone: start the bot again to have it made anew")]
    ChannelGone { channel: Snowflake },
    #[error("the gateway gave no session within {} s: is it Discord's address, and does a proxy or firewall let WebSockets through?", .0.as_secs())]
    NoSession(std::time::Duration),
    #[error(
        "messages of known authors come without their content: enable Message Content Intent in the developer portal under Bot, Privileged Gateway Intents"
    )]
    NoContent,
}
