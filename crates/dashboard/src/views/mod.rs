//! What the pages show, one endpoint a file: sums read through the store, judged through `measure`, bounded in length.

pub(crate) mod applications;
pub(crate) mod cities;
pub(crate) mod classes;
mod fine;
pub(crate) mod marks;
pub(crate) mod media;
pub(crate) mod metrics;
pub(crate) mod path;
pub(crate) mod samples;
pub(crate) mod series;
pub(crate) mod state;
mod sums;
pub(crate) mod variation;
pub(crate) mod verdicts;
pub(crate) mod workers;
