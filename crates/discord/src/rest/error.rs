//! Why a request came to nothing, one line each.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// Final: nothing more is sent with this token, since thousands of such answers ban the address.
    #[error("Discord refuses the token (401): get a new one in the developer portal under Bot, Reset Token")]
    Unauthorized,
    #[error("{call} is forbidden (403, code {code}): {message}")]
    Forbidden { call: String, code: u64, message: String },
    #[error("{call} was refused ({status}, code {code}): {message}")]
    Refused { call: String, status: u16, code: u64, message: String },
    /// 5xx.
    #[error("Discord answers {call} with {status}")]
    Unavailable { call: String, status: u16 },
    #[error("{call} must wait {} s for a rate limit", wait.as_secs())]
    RateLimited { call: String, wait: Duration },
    #[error("cannot reach {endpoint}: {problem}")]
    Unreachable { endpoint: String, problem: String },
    /// The connection ended before the whole answer came.
    #[error("{call}: the connection broke off before the answer: {problem}")]
    Interrupted { call: String, problem: String, kept: bool },
    #[error("{call}: no answer within {} s", after.as_secs())]
    Timeout { call: String, after: Duration },
    #[error("the answer to {call} is not understood: {problem}")]
    Malformed { call: String, problem: String },
}

impl RestError {
    /// The same request may succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            RestError::Unavailable { .. }
                | RestError::RateLimited { .. }
                | RestError::Unreachable { .. }
                | RestError::Interrupted { .. }
                | RestError::Timeout { .. }
        )
    }

    /// Whether the request may have had its effect all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(
            self,
            RestError::Unavailable { .. }
                | RestError::Interrupted { .. }
                | RestError::Timeout { .. }
                | RestError::Malformed { .. }
        )
    }

    /// A word for a record's flags.
    pub fn word(&self) -> String {
        match self {
            RestError::Unauthorized => "status-401".to_owned(),
            RestError::Forbidden { .. } => "status-403".to_owned(),
            RestError::Refused { status, .. } | RestError::Unavailable { status, .. } => format!("status-{status}"),
            RestError::RateLimited { .. } => "rate-limited".to_owned(),
            RestError::Unreachable { .. } => "unreachable".to_owned(),
            RestError::Interrupted { .. } => "interrupted".to_owned(),
            RestError::Timeout { .. } => "timeout".to_owned(),
            RestError::Malformed { .. } => "malformed".to_owned(),
        }
    }
}
