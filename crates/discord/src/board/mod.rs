//! The task board: commands from slash commands and from text in the control channel, who may give them, what they do, and
//! the one status message that is edited in place.

pub mod command;
mod perform;
mod status;
pub mod steering;

pub use perform::{Board, BoardConfig};
pub use status::render;

use std::collections::BTreeSet;

use crate::snowflake::Snowflake;
use crate::types::{Interaction, Member, Message};

/// Who may command. Empty: whoever may manage the guild, by slash command only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    pub roles: BTreeSet<Snowflake>,
    pub users: BTreeSet<Snowflake>,
}

/// `ADMINISTRATOR` and `MANAGE_GUILD`.
const MANAGERS: u64 = 1 << 3 | 1 << 5;

impl Allowed {
    fn names(&self, user: Snowflake, member: Option<&Member>) -> bool {
        self.users.contains(&user)
            || member.is_some_and(|member| member.roles.iter().any(|role| self.roles.contains(role)))
    }

    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.users.is_empty()
    }

    pub fn interaction(&self, interaction: &Interaction) -> bool {
        let member = interaction.member.as_ref();
        let user = member.and_then(|member| member.user.as_ref()).or(interaction.user.as_ref());
        let permissions = member.and_then(|member| member.permissions.as_deref()?.parse::<u64>().ok()).unwrap_or(0);
        match user {
            Some(user) if !self.is_empty() => self.names(user.id, member),
            // Discord computed these for the channel of this very interaction.
            Some(_) => interaction.guild_id.is_some() && permissions & MANAGERS != 0,
            None => false,
        }
    }

    pub fn message(&self, message: &Message) -> bool {
        !message.author.bot && message.webhook_id.is_none() && self.names(message.author.id, message.member.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interaction(json: &str) -> Interaction {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn roles_and_users_are_allowed_and_nobody_else() {
        let allowed = Allowed { roles: [Snowflake(7)].into(), users: [Snowflake(3)].into() };
        let by = |user: u64, role: u64, permissions: u64| {
            interaction(&format!(
                r#"{{"id":"1","type":2,"token":"t","guild_id":"9","member":{{"user":{{"id":"{user}"}},"roles":["{role}"],"permissions":"{permissions}"}}}}"#
            ))
        };
        assert!(allowed.interaction(&by(3, 1, 0)) && allowed.interaction(&by(4, 7, 0)));
        assert!(!allowed.interaction(&by(4, 1, u64::MAX)));
        let nobody = Allowed::default();
        assert!(nobody.interaction(&by(4, 1, 1 << 5)) && !nobody.interaction(&by(4, 1, 1 << 11)));
        assert!(!nobody.interaction(&interaction(r#"{"id":"1","type":2,"token":"t","user":{"id":"4"}}"#)));
    }

    #[test]
    fn text_of_bots_and_webhooks_commands_nothing() {
        let allowed = Allowed { roles: BTreeSet::new(), users: [Snowflake(3)].into() };
        let from = |extra: &str| -> Message {
            serde_json::from_str(&format!(
                r#"{{"id":"1","channel_id":"2","author":{{"id":"3"{extra}}},"content":"status"}}"#
            ))
            .unwrap()
        };
        assert!(allowed.message(&from("")));
        assert!(!allowed.message(&from(r#","bot":true"#)));
        assert!(!Allowed::default().message(&from("")));
    }
}
