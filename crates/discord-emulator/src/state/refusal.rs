//! What Discord answers when it refuses: HTTP status, its own error code, text and, for bad fields, which ones.
//! Codes: Discord's reference, "Opcodes and Status Codes", JSON error codes.

use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub status: u16,
    pub code: u32,
    pub message: &'static str,
    /// `errors` of "Invalid Form Body".
    pub errors: Option<Value>,
}

const fn refusal(status: u16, code: u32, message: &'static str) -> Refusal {
    Refusal { status, code, message, errors: None }
}

impl Refusal {
    pub const UNAUTHORIZED: Refusal = refusal(401, 0, "401: Unauthorized");
    pub const NOT_FOUND: Refusal = refusal(404, 0, "404: Not Found");
    pub const METHOD_NOT_ALLOWED: Refusal = refusal(405, 0, "405: Method Not Allowed");
    pub const UNKNOWN_APPLICATION: Refusal = refusal(404, 10002, "Unknown Application");
    pub const UNKNOWN_CHANNEL: Refusal = refusal(404, 10003, "Unknown Channel");
    pub const UNKNOWN_GUILD: Refusal = refusal(404, 10004, "Unknown Guild");
    pub const UNKNOWN_MEMBER: Refusal = refusal(404, 10007, "Unknown Member");
    pub const UNKNOWN_MESSAGE: Refusal = refusal(404, 10008, "Unknown Message");
    pub const UNKNOWN_OVERWRITE: Refusal = refusal(404, 10009, "Unknown Permission Overwrite");
    pub const UNKNOWN_ROLE: Refusal = refusal(404, 10011, "Unknown Role");
    pub const UNKNOWN_USER: Refusal = refusal(404, 10013, "Unknown User");
    pub const UNKNOWN_EMOJI: Refusal = refusal(400, 10014, "Unknown Emoji");
    pub const UNKNOWN_WEBHOOK: Refusal = refusal(404, 10015, "Unknown Webhook");
    pub const UNKNOWN_INTERACTION: Refusal = refusal(404, 10062, "Unknown interaction");
    pub const UNKNOWN_COMMAND: Refusal = refusal(404, 10063, "Unknown application command");
    pub const UNKNOWN_VOICE_STATE: Refusal = refusal(404, 10065, "Unknown Voice State");
    pub const TOO_MANY_CHANNELS: Refusal = refusal(400, 30013, "Maximum number of guild channels reached (500)");
    pub const TOO_MANY_ROLES: Refusal = refusal(400, 30005, "Maximum number of guild roles reached (250)");
    pub const TOO_MANY_REACTIONS: Refusal = refusal(400, 30010, "Maximum number of reactions reached (20)");
    pub const TOO_MANY_COMMANDS: Refusal = refusal(400, 30032, "Maximum number of application commands reached (100)");
    pub const TOO_LARGE: Refusal = refusal(413, 40005, "Request entity too large");
    pub const NOT_IN_VOICE: Refusal = refusal(400, 40032, "Target user is not connected to voice");
    pub const ALREADY_ANSWERED: Refusal = refusal(400, 40060, "Interaction has already been acknowledged.");
    pub const MISSING_ACCESS: Refusal = refusal(403, 50001, "Missing Access");
    pub const NOT_ON_DM: Refusal = refusal(403, 50003, "Cannot execute action on a DM channel");
    pub const ANOTHERS_MESSAGE: Refusal = refusal(403, 50005, "Cannot edit a message authored by another user");
    pub const EMPTY_MESSAGE: Refusal = refusal(400, 50006, "Cannot send an empty message");
    pub const NO_MESSAGES_TO_USER: Refusal = refusal(403, 50007, "Cannot send messages to this user");
    pub const NOT_A_TEXT_CHANNEL: Refusal = refusal(400, 50008, "Cannot send messages in a non-text channel");
    pub const MISSING_PERMISSIONS: Refusal = refusal(403, 50013, "Missing Permissions");
    pub const BULK_DELETE_COUNT: Refusal = refusal(
        400,
        50016,
        "Provided too few or too many messages to delete. Must provide at least 2 and at most 100 messages to delete.",
    );
    pub const INVALID_ROLE: Refusal = refusal(400, 50028, "Invalid Role");
    pub const INVALID_WEBHOOK_TOKEN: Refusal = refusal(401, 50027, "Invalid Webhook Token");
    pub const TOO_OLD_FOR_BULK: Refusal =
        refusal(400, 50034, "You can only bulk delete messages that are under 14 days old.");
    pub const INVALID_FORM: Refusal = refusal(400, 50035, "Invalid Form Body");
    pub const WRONG_CHANNEL_TYPE: Refusal = refusal(400, 50024, "Cannot execute action on this channel type");
    pub const NOT_JSON: Refusal = refusal(400, 50109, "The request body contains invalid JSON.");
    pub const INTERNAL: Refusal = refusal(500, 0, "500: Internal Server Error");

    /// "Invalid Form Body" with one bad field. `code`: Discord's, such as `BASE_TYPE_BAD_LENGTH`.
    pub fn field(path: &str, code: &str, message: impl Into<String>) -> Refusal {
        let mut errors = json!({ "_errors": [{ "code": code, "message": message.into() }] });
        for part in path.rsplit('.') {
            errors = json!({ part: errors });
        }
        Refusal { errors: Some(errors), ..Refusal::INVALID_FORM }
    }

    pub fn required(path: &str) -> Refusal {
        Refusal::field(path, "BASE_TYPE_REQUIRED", "This field is required")
    }

    pub fn length(path: &str, low: usize, high: usize) -> Refusal {
        let text = format!("Must be between {low} and {high} in length.");
        Refusal::field(path, "BASE_TYPE_BAD_LENGTH", text)
    }

    pub fn body(&self) -> Value {
        let mut body = json!({ "message": self.message, "code": self.code });
        if let Some(errors) = &self.errors {
            body["errors"] = errors.clone();
        }
        body
    }
}
