//! Typed identifiers, so that a session is never taken for a sequence number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a worker and of its city, `[a-z0-9]` and inner `-`, 1 to 63 characters (a DNS label, a Discord channel name).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker's name has 1 to 63 characters of a-z, 0-9 and '-', and neither starts nor ends with '-'")]
pub struct InvalidName;

impl WorkerName {
    pub fn new(name: &str) -> Result<WorkerName, InvalidName> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if name.is_empty()
            || name.len() > 63
            || !name.bytes().all(allowed)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            return Err(InvalidName);
        }
        Ok(WorkerName(name.to_owned()))
    }

    /// Makes a valid name from a host name: lower case, other characters become `-`.
    pub fn from_host_name(host: &str) -> WorkerName {
        let mapped: String = host
            .split('.')
            .next()
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(63)
            .collect();
        WorkerName::new(mapped.trim_matches('-')).unwrap_or_else(|_| WorkerName("worker".to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for WorkerName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<WorkerName, InvalidName> {
        WorkerName::new(text)
    }
}

impl TryFrom<String> for WorkerName {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<WorkerName, InvalidName> {
        WorkerName::new(&text)
    }
}

impl From<WorkerName> for String {
    fn from(name: WorkerName) -> String {
        name.0
    }
}

/// One run of one kind between one worker and the server. Also the RTP SSRC of its packets. Random and never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u32);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Names one start of a worker process; batches are numbered within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub u64);

/// A task's id, unique within a deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub String);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Nanoseconds since the Unix epoch on the clock of whoever read it (see [`crate::Sample`] for which clock is meant).
/// Covers the years 1678 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// `self - earlier` in nanoseconds; saturates instead of overflowing on hostile values.
    pub fn since(self, earlier: UnixNanos) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    pub fn plus(self, ns: i64) -> UnixNanos {
        UnixNanos(self.0.saturating_add(ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        assert!(WorkerName::new("nyc1").is_ok());
        for bad in ["", "-a", "a-", "NYC", "a_b", "a.b", &"x".repeat(64)] {
            assert_eq!(WorkerName::new(bad), Err(InvalidName), "{bad}");
        }
        assert_eq!(WorkerName::from_host_name("Web_01.example.org").as_str(), "web-01");
        assert_eq!(WorkerName::from_host_name("...").as_str(), "worker");
    }
}
