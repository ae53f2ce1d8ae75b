//! The bots against the emulated Discord, over sockets on loopback.

mod accuracy;
mod board;
mod faults;
mod hour;
mod refusals;
mod scraping;
mod support;
mod turns;
mod voice;
