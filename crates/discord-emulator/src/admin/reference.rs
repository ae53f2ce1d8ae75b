//! How requests name things: by id, or by name (`alice`; `home/general` for a channel).

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::handle::Handle;
use crate::id::Snowflake;

pub fn user(handle: &Handle, text: &str) -> Result<Snowflake, Failure> {
    let by_name = handle.user(text);
    by_name.or_else(|| text.parse().ok()).ok_or_else(|| Failure::Said(format!("no user or bot is called {text}")))
}

pub fn guild(handle: &Handle, text: &str) -> Result<Snowflake, Failure> {
    let by_name = handle.guild(text);
    by_name.or_else(|| text.parse().ok()).ok_or_else(|| Failure::Said(format!("no guild is called {text}")))
}

pub fn channel(handle: &Handle, text: &str) -> Result<Snowflake, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let unknown = || Failure::Said(format!("no channel is called {text}; names are GUILD/CHANNEL"));
    let (guild_name, name) = text.split_once('/').ok_or_else(unknown)?;
    handle.channel(guild(handle, guild_name)?, name).ok_or_else(unknown)
}

/// A body as its type, with the reason if it is not one.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Said(format!("the body is not right: {error}")))
}

/// An id, in JSON.
pub fn made(id: Snowflake) -> axum::Json<Value> {
    axum::Json(serde_json::json!({ "id": id }))
}
