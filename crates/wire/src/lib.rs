//! Every byte layout of a probe, and nothing else: no I/O, no clock, no randomness, no sibling crate.
//!
//! Whatever varies (ids, keys, times, filler bytes) is an argument. No function here panics, whatever bytes it is
//! given: a parser answers with a [`WireError`], and `Ok(None)` where a stream simply has not delivered enough yet.
#![no_std]

extern crate alloc;

mod bytes;

pub mod base32;
pub mod bulk;
pub mod control;
pub mod discovery;
pub mod dns;
pub mod error;
pub mod frame;
pub mod http;
pub mod icmp;
pub mod ip;
pub mod probe;
pub mod rtp;
pub mod stamp;
pub mod stream;
pub mod tls;
pub mod token;
pub mod tos;

pub use error::WireError;
pub use ip::Family;
pub use probe::{DirectionKey, MaskKey, OPENING_MIN, Peeked, ProbeFlags, ProbeHeader, SEQUENCE_MAX};
pub use tos::{Dscp, Ecn, Tos};
