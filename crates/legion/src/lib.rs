//! The Legion: bots in many languages, each with its ecosystem's own library, measured alike. The bots are small programs
//! (`legion/` of the source tree) that follow one contract (`legion/CONTRACT.md`); this crate installs them, runs and restarts them, makes
//! records of what they say, adds the network's share of their own connections, and has them post the records to their worker's channel.

mod bot;
mod catalogue;
mod contract;
mod install;
mod memory;
mod network;
mod status;
mod supervise;

pub use catalogue::{KINDS, Kind, Unknown, named};
pub use install::{InstallError, install, is_installed, runtime};
pub use status::{BotStatus, Figures, State};
pub use supervise::{Ended, LegionConfig, run};
