//! The emulator from outside, over sockets on loopback.

mod support;
mod twilight;
