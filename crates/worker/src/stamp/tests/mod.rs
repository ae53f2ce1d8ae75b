//! The sender against reflectors of every temper on loopback, and through real rewriting in a namespace.

mod judge;
mod loopback;
mod reflector;
mod rewriting;
