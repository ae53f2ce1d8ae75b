//! Our bytes against other people's: RFCs, hand-written layouts, and packets made by independent implementations.

mod common;

mod discovery;
mod dns;
mod frames;
mod http;
mod icmp;
mod sealed;
mod stamp;
mod stamp_reflector;
mod tls;
