//! The bots against the emulated Discord, over sockets on loopback.

mod faults;
mod scraping;
mod support;
