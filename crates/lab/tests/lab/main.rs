//! The lab held against RFC 9435 and against the kernel. Needs namespaces (as root or not): where they are forbidden
//! these tests fail, saying what to change.

mod kernel;
mod lifetime;
mod probe;
mod relay;
mod scenarios;
mod truth;
