//! What a reader asks for. A field left at its default does not filter.

use model::{Direction, Family, Kind, SessionId, Tos, UnixNanos, WorkerName};

/// Which samples. `since` and `until` compare [`crate::time_of`] the sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleQuery {
    pub worker: Option<WorkerName>,
    pub session: Option<SessionId>,
    /// Inclusive.
    pub since: Option<UnixNanos>,
    /// Exclusive.
    pub until: Option<UnixNanos>,
    /// Empty: all.
    pub kinds: Vec<Kind>,
    pub direction: Option<Direction>,
    pub family: Option<Family>,
}

/// Length of a rollup's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Period {
    Minute = 0,
    Hour = 1,
}

impl Period {
    pub const fn seconds(self) -> i64 {
        match self {
            Period::Minute => 60,
            Period::Hour => 3600,
        }
    }
}

/// Which rollups: those whose bucket starts within `since..until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupQuery {
    pub period: Period,
    pub worker: Option<WorkerName>,
    /// Inclusive; rounded down to a whole bucket.
    pub since: Option<UnixNanos>,
    /// Exclusive.
    pub until: Option<UnixNanos>,
    /// Empty: all.
    pub kinds: Vec<Kind>,
    pub direction: Option<Direction>,
    pub family: Option<Family>,
    /// Empty: all.
    pub classes: Vec<Tos>,
    /// Delays are most of a rollup's bytes: whoever wants counts and marks alone is spared them.
    pub without_delays: bool,
}

impl RollupQuery {
    pub fn all(period: Period) -> RollupQuery {
        RollupQuery {
            period,
            worker: None,
            since: None,
            until: None,
            kinds: Vec::new(),
            direction: None,
            family: None,
            classes: Vec::new(),
            without_delays: false,
        }
    }
}

/// Which sessions: those that were open at some time within `since..until`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionQuery {
    pub worker: Option<WorkerName>,
    pub since: Option<UnixNanos>,
    pub until: Option<UnixNanos>,
    pub open_only: bool,
}

/// Rows with one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeQuery {
    pub worker: Option<WorkerName>,
    /// Inclusive.
    pub since: Option<UnixNanos>,
    /// Exclusive.
    pub until: Option<UnixNanos>,
}
