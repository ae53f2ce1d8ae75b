//! The bots against the emulated Discord, over sockets on loopback.

mod accuracy;
mod board;
mod faults;
mod scraping;
mod support;
mod voice;
