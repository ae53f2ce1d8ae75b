//! The sender against reflectors of every temper on loopback, and through real rewriting in a namespace.

mod judge;
#[allow(unused)]
#[path = "../../../../path/src/tests/lab.rs"]
mod lab;
mod loopback;
mod reflector;
mod rewriting;
