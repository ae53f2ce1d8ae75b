//! What a run of comparisons is told, and what it tells of its course.

use std::time::Duration;

use model::shaping::Standard;

/// Of a run that was not told: 20 MB both ways, one minute.
pub const DEFAULT_BUDGET: u64 = 20_000_000;
pub const DEFAULT_SECONDS: u32 = 60;

/// What to compare, beside the classes and kinds of the task.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapingOptions {
    /// Server ports to compare with its own.
    pub ports: Vec<u16>,
    /// Also load the path to see who gets it: at the limit that the trains meet, or at this rate in bits per second.
    pub load: Option<Load>,
    /// Bytes, both ways and in all.
    pub budget_bytes: u64,
    pub alpha: f64,
    pub alpha_none: f64,
    pub least_delay_ms: f64,
    pub least_loss: f64,
    /// As a share of the control's.
    pub least_throughput: f64,
}

impl Default for ShapingOptions {
    fn default() -> ShapingOptions {
        let standard = Standard::default();
        ShapingOptions {
            ports: Vec::new(),
            load: None,
            budget_bytes: DEFAULT_BUDGET,
            alpha: standard.alpha,
            alpha_none: standard.alpha_none,
            least_delay_ms: standard.least_delay_ms,
            least_loss: standard.least_loss,
            least_throughput: standard.least_throughput,
        }
    }
}

/// How fast the path is that a contest loads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// As fast as the limit that the trains meet.
    AsMet,
    BitsPerSecond(f64),
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub enum ShapingProgress {
    /// What will be sent, in words, before anything is.
    Plan(String),
    Pairs {
        decided: usize,
        of: usize,
        elapsed: Duration,
        at_most: Duration,
    },
    /// TCP transfers carried out so far, and planned at most.
    Transfers {
        done: u32,
        of: u32,
    },
    Train {
        classes: usize,
        kbps: u64,
    },
    /// Two classes at once, together at this rate.
    Contest {
        kbps: u64,
    },
}
