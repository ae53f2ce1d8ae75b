//! Acting as a user: what someone at Discord's own client would do.

use serde_json::{Map, Value};

use super::Handle;
use crate::id::Snowflake;
use crate::state::{Draft, Invocation, Refusal};

/// How an interaction stands.
#[derive(Clone, Debug)]
pub struct InteractionView {
    /// Of its callback and of messages by webhook; the bot's sessions get it with INTERACTION_CREATE.
    pub token: String,
    /// Type of the callback that answered it; `None`: not yet.
    pub answer: Option<u64>,
    /// Every message it was answered with, the ephemeral too, as the user sees them.
    pub messages: Vec<Value>,
}

impl Handle {
    /// A new user, in no guild.
    pub fn create_user(&self, name: &str) -> Snowflake {
        self.hub().world().add_user(name, false)
    }

    /// A new application with its bot, in no guild. `privileged`: intents that are switched on.
    pub fn create_bot(&self, name: &str, token: &str, privileged: u64) -> Snowflake {
        self.hub().world().add_application(name, token, privileged)
    }

    pub fn join_guild(&self, guild: Snowflake, user: Snowflake) {
        self.hub().world().join(guild, user, Vec::new());
    }

    pub fn leave_guild(&self, guild: Snowflake, user: Snowflake) -> Result<(), Refusal> {
        self.hub().world().leave(guild, user)
    }

    /// Posts as `user`, with the user's permissions; a user or a bot.
    pub fn post(&self, user: Snowflake, channel: Snowflake, content: &str) -> Result<Snowflake, Refusal> {
        self.post_draft(user, channel, Draft::text(content))
    }

    pub fn post_draft(&self, user: Snowflake, channel: Snowflake, draft: Draft) -> Result<Snowflake, Refusal> {
        self.hub().world().post(user, channel, draft)
    }

    pub fn edit(&self, user: Snowflake, channel: Snowflake, message: Snowflake, content: &str) -> Result<(), Refusal> {
        self.hub().world().edit_message(user, channel, message, Draft::text(content))
    }

    pub fn delete(&self, user: Snowflake, channel: Snowflake, message: Snowflake) -> Result<(), Refusal> {
        self.hub().world().delete_message(user, channel, message)
    }

    pub fn react(&self, user: Snowflake, channel: Snowflake, message: Snowflake, emoji: &str) -> Result<(), Refusal> {
        self.hub().world().react(user, channel, message, emoji)
    }

    pub fn unreact(&self, user: Snowflake, channel: Snowflake, message: Snowflake, emoji: &str) -> Result<(), Refusal> {
        self.hub().world().unreact(user, channel, message, emoji, user)
    }

    pub fn type_in(&self, user: Snowflake, channel: Snowflake) -> Result<(), Refusal> {
        self.hub().world().typing(user, channel)
    }

    /// Uses a slash command. `options`: names and values; a subcommand's value is a map of its own options.
    pub fn invoke(
        &self,
        user: Snowflake,
        channel: Snowflake,
        command: &str,
        options: Map<String, Value>,
    ) -> Result<Snowflake, Refusal> {
        let invocation = Invocation { user, channel, command: command.to_owned(), options, application: None };
        self.invoke_as(invocation)
    }

    pub fn invoke_as(&self, invocation: Invocation) -> Result<Snowflake, Refusal> {
        let token = self.hub().secret();
        self.hub().world().invoke(invocation, token)
    }

    /// Presses a button, or selects `values` in a menu.
    pub fn press(
        &self,
        user: Snowflake,
        channel: Snowflake,
        message: Snowflake,
        custom_id: &str,
        values: Option<Vec<String>>,
    ) -> Result<Snowflake, Refusal> {
        let token = self.hub().secret();
        self.hub().world().press(user, channel, message, custom_id, values, token)
    }

    pub fn interaction(&self, id: Snowflake) -> Option<InteractionView> {
        let world = self.hub().world();
        let interaction = world.interactions.get(&id)?;
        Some(InteractionView {
            token: interaction.token.clone(),
            answer: interaction.answer,
            messages: world.answers(id),
        })
    }

    /// The contents of a channel, oldest first, whatever anyone may see.
    pub fn contents(&self, channel: Snowflake) -> Vec<String> {
        let world = self.hub().world();
        let messages = world.channels.get(&channel).map(|channel| channel.messages.values());
        messages.into_iter().flatten().map(|message| message.content.clone()).collect()
    }
}
