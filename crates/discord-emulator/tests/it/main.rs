//! The emulator from outside, over sockets on loopback.

mod admin;
mod dns;
mod faults;
mod gateway;
mod interactions;
mod properties;
mod rest;
mod support;
mod twilight;
mod voice;
