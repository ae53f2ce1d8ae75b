//! A Discord that real, unmodified client libraries accept: REST, gateway, voice, DNS and a private CA on this machine, with
//! delays and faults that are known, and the true times of every exchange. It enforces what Discord enforces.
//!
//! Start one with [`Emulator::start`]; act as a user, disturb it and read the stamps through its [`Handle`].

mod admin;
mod clock;
pub mod config;
pub mod dns;
mod emulator;
mod error;
pub mod faults;
mod gateway;
mod handle;
mod hub;
mod id;
mod listen;
mod populate;
mod rest;
mod socket;
pub mod stamps;
pub mod state;
pub mod testing;
mod tls;
pub mod voice;
mod websocket;

pub use config::Config;
pub use emulator::{Addresses, Emulator};
pub use error::EmulatorError;
pub use handle::{Handle, InteractionView};
pub use id::Snowflake;

/// A configuration to start from, TOML.
pub const EXAMPLE: &str = include_str!("../example.toml");
