//! A bot's token: never printed, never logged, only sent in the one header it is for.

use std::fmt;

use data_encoding::BASE64_NOPAD;

use crate::snowflake::Snowflake;

/// Shown as `[hidden]` whatever is tried.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a bot token: copy it from the developer portal, under Bot, Reset Token, and nothing else with it")]
pub struct InvalidToken;

impl Token {
    /// Takes the token with or without its `Bot ` prefix and the white space around it.
    pub fn new(text: &str) -> Result<Token, InvalidToken> {
        let text = text.trim();
        let text = text.strip_prefix("Bot ").unwrap_or(text).trim();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        match (1..=256).contains(&text.len()) && text.bytes().all(allowed) {
            true => Ok(Token(text.to_owned())),
            false => Err(InvalidToken),
        }
    }

    /// For the `Authorization` header and the gateway's Identify only.
    /// Hands it to a program that is about to start: by its environment, which its user and root alone can read.
    pub fn hand_to(&self, command: &mut std::process::Command, variable: &str) {
        command.env(variable, self.reveal());
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The bot's user id, which is the token's first part in base64. `None` where it is not, as in an emulator.
    pub fn user_id(&self) -> Option<Snowflake> {
        let first = self.0.split('.').next()?;
        let digits = BASE64_NOPAD.decode(first.trim_end_matches('=').as_bytes()).ok()?;
        std::str::from_utf8(&digits).ok()?.parse().ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_hidden_and_names_its_user() {
        // The example of Discord's own reference, whose first part is the user id in base64.
        let token = Token::new(" Bot MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs\n").unwrap();
        assert_eq!(token.user_id().map(|id| id.0), Some(198622483471925248));
        assert_eq!(format!("{token:?} {:?}", Some(&token)), "[hidden] Some([hidden])");
    }

    #[test]
    fn other_text_is_refused_without_quoting_it() {
        for bad in ["", "s3cret\nx.b.c", "s3cret b.c.d", "s3cret\u{7f}", &"s3cret".repeat(50)] {
            let error = Token::new(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
