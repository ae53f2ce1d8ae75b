//! What a store keeps and for how long.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Sealed samples are deleted this many days after they were sealed.
    pub raw_days: u32,
    /// One-minute rollups, clock rows and records of applications are deleted after this many days; one-hour rollups never.
    pub minute_days: u32,
    /// Upper bound of the whole directory in bytes; the oldest sealed samples go first.
    pub max_bytes: u64,
    /// [`crate::Store::seal`] seals once this many rows are unsealed.
    pub seal_rows: usize,
    /// [`crate::Store::seal`] seals whatever there is once it has waited this long.
    pub seal_age: Duration,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            raw_days: 30,
            minute_days: 365,
            max_bytes: 10_000_000_000,
            seal_rows: 200_000,
            seal_age: Duration::from_secs(3600),
        }
    }
}
