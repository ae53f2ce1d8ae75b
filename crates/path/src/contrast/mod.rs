//! Between which hops a class begins to be lost, limited, delayed or remarked: `measure::shaping::hop` weighs the answers, this
//! asks for them. [`Sought`] says what is looked for, `overload` how the class is kept in the state in which it is hit, `plan`
//! which probe when, all without sockets; `run` moves the packets, `words` tells the outcome.
//!
//! The load goes all the way to a port of the target that swallows it, so that it passes the place and no router answers it; the
//! probes among it are of its 5-tuple and end at a hop. The target itself is asked at another, closed port, and answers that
//! nothing listens there.

mod overload;
mod plan;
mod run;
mod sought;
mod words;

use std::net::IpAddr;
use std::time::Duration;

use model::report::Where;

pub use sought::{Sought, Suffers, sought};

#[cfg(test)]
pub(crate) use overload::prepare;
#[cfg(test)]
pub(crate) use plan::{Next, Probe, Windows};
#[cfg(test)]
pub(crate) use words::{Spot, tell};

/// One search.
#[derive(Clone, Debug)]
pub struct Contrast {
    pub target: IpAddr,
    /// UDP port of the target that takes packets without answering them.
    pub port: u16,
    pub sought: Sought,
    /// UDP payload bytes of the load, as the limit was measured with.
    pub size: u16,
    /// Chance of naming a wrong place.
    pub alpha: f64,
    /// It ends by then with what it has.
    pub limit: Duration,
    /// Layer 3, what it sends and causes.
    pub budget_bytes: u64,
    pub clock: net::Clock,
}

/// For a progress display; once a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContrastProgress {
    pub elapsed: Duration,
    /// Hops that can still tell something.
    pub open_hops: usize,
    pub pairs: u32,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Or, in words, why there is none.
    pub place: Result<Where, String>,
    /// What each hop answered, a line each.
    pub evidence: Vec<String>,
    pub bytes: u64,
}

impl Sighting {
    pub(crate) fn none(reason: impl Into<String>) -> Sighting {
        Sighting { place: Err(reason.into()), evidence: Vec::new(), bytes: 0 }
    }
}
