//! Answers to interactions: the callback (one, within three seconds), and messages by the interaction's token for fifteen minutes.

use std::time::Duration;

use serde_json::{Value, json};

use super::message::Cause;
use super::{Draft, Fields, Interaction, Message, Refusal, World};
use crate::id::Snowflake;

const EPHEMERAL: u64 = 1 << 6;
const LOADING: u64 = 1 << 7;

/// Which message of an interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Original,
    Followup(Snowflake),
}

impl World {
    fn by_interaction_token(&self, application: Snowflake, token: &str) -> Result<&Interaction, Refusal> {
        let mut known = self.interactions.values();
        let found = known.find(|interaction| interaction.application == application && interaction.token == token);
        let interaction = found.ok_or(Refusal::UNKNOWN_WEBHOOK)?;
        if interaction.created.elapsed() > Duration::from_millis(self.limits.interaction_token_ms) {
            return Err(Refusal::INVALID_WEBHOOK_TOKEN);
        }
        // Before it is answered, its token opens nothing.
        if interaction.answer.is_none() { Err(Refusal::UNKNOWN_WEBHOOK) } else { Ok(interaction) }
    }

    /// POST /interactions/{id}/{token}/callback. Gives the message the answer made, if any.
    pub fn answer(
        &mut self,
        id: Snowflake,
        token: &str,
        body: &Value,
        mut draft: Draft,
    ) -> Result<Option<Snowflake>, Refusal> {
        let interaction = self.interactions.get(&id).filter(|interaction| interaction.token == token);
        let interaction = interaction.ok_or(Refusal::UNKNOWN_INTERACTION)?;
        if interaction.answer.is_some() {
            return Err(Refusal::ALREADY_ANSWERED);
        }
        if interaction.created.elapsed() > Duration::from_millis(self.limits.interaction_answer_ms) {
            return Err(Refusal::UNKNOWN_INTERACTION);
        }
        let kind = Fields::of(body)?.integer("type", 1, 12)?.ok_or_else(|| Refusal::required("type"))?;
        let fits = match kind {
            4 | 5 => true,
            6 | 7 => interaction.kind == 3,
            9 => true,
            _ => false,
        };
        if !fits {
            return Err(Refusal::field("type", "INTERACTION_CALLBACK_TYPE_INVALID", "Wrong type for this interaction"));
        }
        let message = match kind {
            4 => {
                if draft.is_empty() {
                    return Err(Refusal::EMPTY_MESSAGE);
                }
                Some(self.say(id, draft))
            }
            5 => {
                let flags = draft.flags.unwrap_or(0) & EPHEMERAL | LOADING;
                draft = Draft { flags: Some(flags), ..Draft::default() };
                Some(self.say(id, draft))
            }
            7 => {
                let original = self.interactions.get(&id).and_then(|interaction| interaction.original);
                self.change(id, original.ok_or(Refusal::UNKNOWN_MESSAGE)?, draft)?;
                original
            }
            6 => self.interactions.get(&id).and_then(|interaction| interaction.original),
            _ => None,
        };
        let Some(interaction) = self.interactions.get_mut(&id) else { return Err(Refusal::UNKNOWN_INTERACTION) };
        interaction.answer = Some(kind);
        interaction.original = message.or(interaction.original);
        if kind == 9 {
            interaction.other_answer = body.get("data").cloned();
        }
        Ok(message)
    }

    /// As `InteractionCallbackResponse`.
    pub fn answer_json(&self, id: Snowflake) -> Value {
        let Some(interaction) = self.interactions.get(&id) else { return Value::Null };
        let mut json = json!({
            "interaction": {
                "id": id,
                "type": interaction.kind,
                "channel_id": interaction.channel,
            }
        });
        if let Some(guild) = interaction.guild {
            json["interaction"]["guild_id"] = json!(guild);
        }
        if let Some(message) = interaction.original.and_then(|original| self.answer_message(interaction, original)) {
            json["interaction"]["response_message_id"] = json!(message.id);
            json["interaction"]["response_message_loading"] = json!(message.flags & LOADING != 0);
            json["interaction"]["response_message_ephemeral"] = json!(message.flags & EPHEMERAL != 0);
            // A deferred answer has no resource yet.
            if matches!(interaction.answer, Some(4 | 7)) {
                json["resource"] = json!({ "type": interaction.answer, "message": self.message_json(message, interaction.application) });
            }
        }
        json
    }

    fn answer_message<'a>(&'a self, interaction: &'a Interaction, id: Snowflake) -> Option<&'a Message> {
        let public = || self.channels.get(&interaction.channel).and_then(|channel| channel.messages.get(&id));
        interaction.ephemeral.get(&id).or_else(public)
    }

    /// Every message the interaction was answered with, the ephemeral too: what its user sees.
    pub fn answers(&self, id: Snowflake) -> Vec<Value> {
        let Some(interaction) = self.interactions.get(&id) else { return Vec::new() };
        let ids = interaction.original.iter().chain(&interaction.followups);
        ids.filter_map(|id| self.answer_message(interaction, *id))
            .map(|message| self.message_json(message, interaction.user))
            .collect()
    }

    fn locate(&self, interaction: &Interaction, which: Answer) -> Result<Snowflake, Refusal> {
        let id = match which {
            Answer::Original => interaction.original,
            Answer::Followup(id) => {
                let mut known = interaction.followups.iter().chain(&interaction.original);
                known.find(|known| **known == id).copied()
            }
        };
        id.filter(|id| self.answer_message(interaction, *id).is_some()).ok_or(Refusal::UNKNOWN_MESSAGE)
    }

    pub fn get_answer(&self, application: Snowflake, token: &str, which: Answer) -> Result<Value, Refusal> {
        let interaction = self.by_interaction_token(application, token)?;
        let id = self.locate(interaction, which)?;
        let message = self.answer_message(interaction, id).ok_or(Refusal::UNKNOWN_MESSAGE)?;
        Ok(self.message_json(message, application))
    }

    /// POST /webhooks/{application}/{token}. The first after a deferred answer fills that one.
    pub fn follow_up(&mut self, application: Snowflake, token: &str, draft: Draft) -> Result<Value, Refusal> {
        let interaction = self.by_interaction_token(application, token)?;
        if draft.is_empty() {
            return Err(Refusal::EMPTY_MESSAGE);
        }
        let id = interaction.id;
        let loading = interaction.original.and_then(|id| self.answer_message(interaction, id));
        if let Some(original) = loading.filter(|message| message.flags & LOADING != 0).map(|message| message.id) {
            self.change(id, original, draft)?;
            return self.get_answer(application, token, Answer::Original);
        }
        let message = self.say(id, draft);
        if let Some(interaction) = self.interactions.get_mut(&id) {
            interaction.followups.push(message);
        }
        self.get_answer(application, token, Answer::Followup(message))
    }

    pub fn edit_answer(
        &mut self,
        application: Snowflake,
        token: &str,
        which: Answer,
        draft: Draft,
    ) -> Result<Value, Refusal> {
        let interaction = self.by_interaction_token(application, token)?;
        let (id, message) = (interaction.id, self.locate(interaction, which)?);
        self.change(id, message, draft)?;
        self.get_answer(application, token, which)
    }

    pub fn delete_answer(&mut self, application: Snowflake, token: &str, which: Answer) -> Result<(), Refusal> {
        let interaction = self.by_interaction_token(application, token)?;
        let (id, channel, message) = (interaction.id, interaction.channel, self.locate(interaction, which)?);
        let Some(interaction) = self.interactions.get_mut(&id) else { return Err(Refusal::UNKNOWN_WEBHOOK) };
        interaction.followups.retain(|known| *known != message);
        if interaction.original == Some(message) {
            interaction.original = None;
        }
        if interaction.ephemeral.remove(&message).is_some() {
            return Ok(());
        }
        self.delete_message(application, channel, message)
    }

    /// A message of the application in the interaction's channel; whether it may write there does not matter.
    fn say(&mut self, id: Snowflake, draft: Draft) -> Snowflake {
        let Some(interaction) = self.interactions.get(&id) else { return Snowflake(0) };
        let cause = Cause { id, kind: interaction.kind, name: interaction.name.clone(), user: interaction.user };
        let (application, channel) = (interaction.application, interaction.channel);
        let message = self.compose(application, channel, draft, Some(cause));
        if message.flags & EPHEMERAL == 0 {
            return self.insert_message(message);
        }
        let message_id = message.id;
        if let Some(interaction) = self.interactions.get_mut(&id) {
            interaction.ephemeral.insert(message_id, message);
        }
        message_id
    }

    fn change(&mut self, id: Snowflake, message_id: Snowflake, draft: Draft) -> Result<(), Refusal> {
        let interaction = self.interactions.get(&id).ok_or(Refusal::UNKNOWN_WEBHOOK)?;
        let channel_id = interaction.channel;
        let message = self.answer_message(interaction, message_id).ok_or(Refusal::UNKNOWN_MESSAGE)?;
        let mut changed = message.clone();
        let loading = changed.flags & LOADING != 0;
        self.apply(&mut changed, draft)?;
        changed.flags &= !LOADING;
        if loading {
            changed.edited_ms = None;
        }
        let Some(interaction) = self.interactions.get_mut(&id) else { return Err(Refusal::UNKNOWN_WEBHOOK) };
        if let Some(ephemeral) = interaction.ephemeral.get_mut(&message_id) {
            *ephemeral = changed;
            return Ok(());
        }
        if let Some(channel) = self.channels.get_mut(&channel_id) {
            channel.messages.insert(message_id, changed);
        }
        self.publish_message("MESSAGE_UPDATE", channel_id, message_id);
        Ok(())
    }
}
