//! The routes that the bots use, typed.

use serde_json::{Value, json};

use crate::rest::{Call, Rest, RestError, Timed, Timing};
use crate::snowflake::Snowflake;
use crate::types::{Application, Channel, GuildSummary, Message, User};

/// The largest page of messages.
pub const PAGE: u32 = 100;

/// Which part of a channel's history to read. Discord excludes the message named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The oldest that are newer than it.
    After(Snowflake),
    Newest,
}

impl Rest {
    pub async fn me(&self) -> Result<User, RestError> {
        Ok(self.call(Call::new("GET /users/@me", 0, "/users/@me".to_owned())).await?.value)
    }

    pub async fn application(&self) -> Result<Application, RestError> {
        Ok(self.call(Call::new("GET /applications/@me", 0, "/applications/@me".to_owned())).await?.value)
    }

    /// The first 200, which a bot of one deployment never exceeds.
    pub async fn guilds(&self) -> Result<Vec<GuildSummary>, RestError> {
        Ok(self.call(Call::new("GET /users/@me/guilds", 0, "/users/@me/guilds".to_owned())).await?.value)
    }

    pub async fn guild_channels(&self, guild: Snowflake) -> Result<Vec<Channel>, RestError> {
        let path = format!("/guilds/{guild}/channels");
        Ok(self.call(Call::new("GET /guilds/{}/channels", guild.0, path)).await?.value)
    }

    pub async fn create_channel(
        &self,
        guild: Snowflake,
        name: &str,
        kind: u8,
        parent: Option<Snowflake>,
        topic: &str,
    ) -> Result<Channel, RestError> {
        let mut body = json!({ "name": name, "type": kind });
        if let Some(parent) = parent {
            body["parent_id"] = json!(parent);
        }
        if !topic.is_empty() {
            body["topic"] = json!(topic);
        }
        let path = format!("/guilds/{guild}/channels");
        Ok(self.call(Call::new("POST /guilds/{}/channels", guild.0, path).body(&body)).await?.value)
    }

    pub async fn delete_channel(&self, channel: Snowflake) -> Result<Timing, RestError> {
        self.send(Call::new("DELETE /channels/{}", channel.0, format!("/channels/{channel}"))).await
    }

    /// Oldest first, whatever the page.
    pub async fn messages(&self, channel: Snowflake, page: Page, limit: u32) -> Result<Vec<Message>, RestError> {
        let limit = limit.clamp(1, PAGE);
        let query = match page {
            Page::After(message) => format!("?after={message}&limit={limit}"),
            Page::Newest => format!("?limit={limit}"),
        };
        let path = format!("/channels/{channel}/messages{query}");
        let mut messages: Vec<Message> =
            self.call(Call::new("GET /channels/{}/messages", channel.0, path)).await?.value;
        messages.sort_by_key(|message| message.id);
        Ok(messages)
    }

    /// `nonce`: the same one within some minutes is the same message, so that sending again after a lost answer is
    /// harmless (`enforce_nonce`). Nobody is ever mentioned but `mention`.
    pub async fn post(
        &self,
        channel: Snowflake,
        content: &str,
        nonce: Option<&str>,
        mention: Option<Snowflake>,
    ) -> Result<Timed<Message>, RestError> {
        let mut body = json!({ "content": content, "allowed_mentions": mentions(mention) });
        let path = format!("/channels/{channel}/messages");
        let mut call = Call::new("POST /channels/{}/messages", channel.0, path);
        if let Some(nonce) = nonce {
            body["nonce"] = json!(nonce);
            body["enforce_nonce"] = json!(true);
            call = call.repeatable();
        }
        self.call(call.body(&body)).await
    }

    /// Posts a message with one text file.
    pub async fn post_file(&self, channel: Snowflake, content: &str, name: &str, file: &str) -> Result<(), RestError> {
        let payload = json!({ "content": content, "allowed_mentions": mentions(None) });
        let boundary = format!("netlat-{:032x}", fastrand::u128(..));
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n\
             Content-Type: application/json\r\n\r\n{payload}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"files[0]\"; filename=\"{name}\"\r\n\
             Content-Type: text/csv\r\n\r\n{file}\r\n--{boundary}--\r\n"
        );
        let path = format!("/channels/{channel}/messages");
        let call = Call::new("POST /channels/{}/messages", channel.0, path)
            .raw(body.into_bytes(), format!("multipart/form-data; boundary={boundary}"));
        self.send(call).await.map(drop)
    }

    pub async fn edit(&self, channel: Snowflake, message: Snowflake, content: &str) -> Result<Timing, RestError> {
        let body = json!({ "content": content, "allowed_mentions": mentions(None) });
        let path = format!("/channels/{channel}/messages/{message}");
        self.send(Call::new("PATCH /channels/{}/messages/{}", channel.0, path).body(&body)).await
    }

    pub async fn delete(&self, channel: Snowflake, message: Snowflake) -> Result<Timing, RestError> {
        let path = format!("/channels/{channel}/messages/{message}");
        self.send(Call::new("DELETE /channels/{}/messages/{}", channel.0, path)).await
    }

    /// Replaces all commands of the application in one guild.
    pub async fn set_commands(
        &self,
        application: Snowflake,
        guild: Snowflake,
        commands: &Value,
    ) -> Result<(), RestError> {
        let path = format!("/applications/{application}/guilds/{guild}/commands");
        let call = Call::new("PUT /applications/{}/guilds/{}/commands", guild.0, path).body(commands);
        self.send(call).await.map(drop)
    }

    /// Answers an interaction with a message; once per interaction, within three seconds of it.
    pub async fn answer(&self, interaction: Snowflake, token: &str, content: &str) -> Result<Timing, RestError> {
        let data = json!({ "content": content, "allowed_mentions": mentions(None) });
        self.callback(interaction, token, &json!({ "type": 4, "data": data })).await
    }

    /// Says that the answer comes later, by [`Rest::answer_later`] within 15 minutes.
    pub async fn defer(&self, interaction: Snowflake, token: &str) -> Result<Timing, RestError> {
        self.callback(interaction, token, &json!({ "type": 5 })).await
    }

    async fn callback(&self, interaction: Snowflake, token: &str, body: &Value) -> Result<Timing, RestError> {
        let path = format!("/interactions/{interaction}/{token}/callback");
        // Its token is in the path and stays out of the route's name, which errors show.
        self.send(Call::new("POST /interactions/{}/{}/callback", 0, path).body(body).unauthorised()).await
    }

    pub async fn answer_later(&self, application: Snowflake, token: &str, content: &str) -> Result<Timing, RestError> {
        let body = json!({ "content": content, "allowed_mentions": mentions(None) });
        let path = format!("/webhooks/{application}/{token}/messages/@original");
        let call = Call::new("PATCH /webhooks/{}/{}/messages/@original", 0, path);
        self.send(call.body(&body).unauthorised()).await
    }
}

fn mentions(mention: Option<Snowflake>) -> Value {
    json!({ "parse": [], "users": mention.into_iter().collect::<Vec<_>>() })
}
