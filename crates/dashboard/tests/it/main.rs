//! The dashboard over HTTP, without a socket: a generated data directory, requests into the router.

mod access;
mod figures;
mod schema;
mod shell;
mod support;
#[path = "../../examples/generate/world.rs"]
mod world;
