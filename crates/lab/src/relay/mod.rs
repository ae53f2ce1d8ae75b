//! A userspace delay line between two interfaces: what netem does, where the kernel has none.
//! [`line`] decides without clock or socket; [`run`] is the process.

mod line;
mod run;

use std::time::Duration;

use model::Direction;
use serde::{Deserialize, Serialize};

pub use line::{Counts, DelayLine, Treatment};
pub use run::{RelayCounts, RelayError, run};

/// The interface towards the worker, in the relay's namespace.
pub const NEAR: &str = "near";
/// The interface towards the server.
pub const FAR: &str = "far";
/// The line a relay prints when it forwards.
pub const READY: &str = "ready";

/// A delay line for each direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Same seed, same decisions by order of arrival.
    pub seed: u64,
    pub up: Line,
    pub down: Line,
}

impl Relay {
    pub fn line(&self, direction: Direction) -> &Line {
        if direction == Direction::Down { &self.down } else { &self.up }
    }

    /// The one argument of the relay process; [`Relay::from_argument`] reads it.
    pub fn to_argument(&self) -> Result<String, RelayError> {
        toml::to_string(self).map_err(|error| RelayError::Argument(error.to_string()))
    }

    pub fn from_argument(argument: &str) -> Result<Relay, RelayError> {
        toml::from_str(argument).map_err(|error| RelayError::Argument(error.message().to_owned()))
    }
}

/// What happens to the IP packets of one direction. Shares are probabilities per packet, 0 to 1. Everything that is not
/// IP, and neighbour discovery, passes at once and whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Every packet waits so long.
    pub delay: Duration,
    /// And up to so much longer, uniformly distributed; packets keep their order, so a short wait behind a long one is
    /// lengthened.
    pub ipdv: Duration,
    pub loss: f64,
    /// Sent twice, the copy right behind.
    pub duplicate: f64,
    /// Waits `reorder_by` longer and lets others overtake.
    pub reorder: f64,
    pub reorder_by: Duration,
}
