//! Everything that knows Discord: bots that measure its latency, channels as task board and as data set, voice endpoints.
//! Knows neither the command line, nor storage, nor the server: what it needs of them comes through `model`'s traits.
//!
//! [`main_bot`] measures from a worker's host and posts records to the worker's channel; [`server_bot`] reads all
//! channels. REST is this crate's own client over hyper, because a latency is worth something only beside the network time
//! of the very same connection; the gateway's session is twilight's.

pub mod api;
pub mod batch;
pub mod board;
pub mod check;
pub mod error;
pub mod gateway;
pub mod journal;
pub mod main_bot;
pub mod media;
pub mod place;
pub mod recorder;
pub mod rest;
pub mod secret;
pub mod server_bot;
pub mod setup;
pub mod snowflake;
pub mod stall;
pub mod tokens;
pub mod turns;
pub mod types;
mod vitals;
mod voice;

pub use error::BotError;
pub use snowflake::Snowflake;
pub use vitals::Pace;
